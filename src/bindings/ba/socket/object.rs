//! A socket as scripts see it.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use mlua::{
    AnyUserData, IntoLuaMulti, Lua, MetaMethod, MultiValue, Result, UserData, UserDataMethods, UserDataRef, Value,
};
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::bindings::args::{Args, no_object};
use crate::bindings::coroutine::spawn;
use crate::bindings::outcome::outcome;
use crate::bindings::request::address;
use crate::bindings::tally::Tally;
use crate::dial::Connection;
use crate::transport::queued::{Form, Reader, Received, Unwritten, Writer, queues};

/// What a socket tells about itself.
#[derive(Clone, Copy, Debug)]
pub struct Description {
    pub peer: Option<SocketAddr>,
    pub local: Option<SocketAddr>,
    pub is_tls: bool,
    pub form: Form,
}

/// A socket. It is closed by either side, or when no script holds it any more.
pub struct Socket {
    description: Description,
    reader: RefCell<Side<Reader>>,
    writer: RefCell<Option<Writer>>,
    /// The status of a WebSocket that the client has closed.
    status: Cell<Option<u16>>,
    /// The number of writes that failed because too many were waiting.
    lost: Tally,
    /// Notifies the coroutine that reads when another one closes the socket.
    closed: Notify,
}

/// A side that one coroutine at a time may use.
enum Side<T> {
    Free(T),
    InUse,
    /// The other end sends no more, and can still be written. Without a reader the connection would end soon.
    Ended(T),
    Closed,
}

/// The reader while a coroutine reads. When this is dropped, also because the coroutine is, the reader goes back to its
/// socket.
struct Reading<'socket> {
    socket: &'socket Socket,
    reader: Option<Reader>,
    has_ended: bool,
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        let mut side = self.socket.reader.borrow_mut();
        *side = match self.reader.take() {
            Some(_) if matches!(*side, Side::Closed) => Side::Closed,
            Some(reader) if self.has_ended => Side::Ended(reader),
            Some(reader) => Side::Free(reader),
            None => Side::Closed,
        };
    }
}

impl Socket {
    pub fn new(reader: Reader, writer: Writer, description: Description) -> Self {
        Self {
            description,
            reader: RefCell::new(Side::Free(reader)),
            writer: RefCell::new(Some(writer)),
            status: Cell::new(None),
            lost: Tally::default(),
            closed: Notify::new(),
        }
    }

    /// The socket of a connection that a script has opened; `early` was received on it before.
    pub fn opened(connection: Connection, early: Bytes, form: Form) -> Self {
        let (peer, local) = (Some(connection.peer), Some(connection.local));
        let description = Description { peer, local, is_tls: connection.is_tls, form };
        let (reader, writer, pump) = queues(form);
        tokio::spawn(pump.run(connection.stream, Vec::new(), early));
        Self::new(reader, writer, description)
    }

    /// Closes the socket after what was written has been sent.
    pub fn close(&self) {
        *self.reader.borrow_mut() = Side::Closed;
        *self.writer.borrow_mut() = None;
        self.closed.notify_waiters();
    }

    fn is_closed(&self) -> bool {
        self.writer.borrow().is_none()
    }

    async fn read(&self, limit: Option<Duration>) -> Result<Outcome> {
        let (reader, has_ended) = match std::mem::replace(&mut *self.reader.borrow_mut(), Side::InUse) {
            Side::Free(reader) => (Some(reader), false),
            Side::Ended(reader) => (Some(reader), true),
            Side::InUse => {
                return Err(mlua::Error::runtime("socket:read: another coroutine reads this socket already"));
            }
            Side::Closed => (None, true),
        };
        let mut reading = Reading { socket: self, reader, has_ended };
        let Some(reader) = reading.reader.as_mut().filter(|_| !has_ended) else { return Ok(Outcome::Closed) };
        let received = async {
            tokio::select! {
                received = reader.read() => received,
                () = self.closed.notified() => Received::End(None),
            }
        };
        let received = match limit {
            None => received.await,
            Some(limit) => match timeout(limit, received).await {
                Ok(received) => received,
                Err(_) => return Ok(Outcome::Timeout),
            },
        };
        match received {
            Received::Data { data, is_text } => Ok(Outcome::Data(data, is_text)),
            Received::End(status) => {
                reading.has_ended = true;
                self.status.set(status);
                Ok(Outcome::Closed)
            }
        }
    }

    async fn write(&self, data: Vec<u8>, is_text: bool) -> std::result::Result<(), Unwritten> {
        let writer = self.writer.borrow().clone().filter(|_| !self.is_over()).ok_or(Unwritten::Closed)?;
        let written = writer.write(data, is_text).await;
        if written == Err(Unwritten::Overflow) {
            self.note_loss();
        }
        written
    }

    fn note_loss(&self) {
        if let Some(lost) = self.lost.count() {
            let peer = self.description.peer.map(tracing::field::display);
            tracing::warn!(peer, lost, "a socket's other end does not read, and what scripts write to it is lost");
        }
    }

    /// Whether a script has read the end of a WebSocket. Unlike a plain socket it cannot be closed in one direction
    /// only.
    fn is_over(&self) -> bool {
        self.description.form != Form::Raw && matches!(*self.reader.borrow(), Side::Ended(_) | Side::Closed)
    }
}

enum Outcome {
    Data(Vec<u8>, bool),
    Timeout,
    Closed,
}

impl UserData for Socket {
    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_async_method("read", read);
        methods.add_async_method("write", write);
        methods.add_function("event", event);
        methods.add_method("close", |_, this, _: MultiValue| {
            let was_open = !this.is_closed();
            this.close();
            Ok(was_open)
        });
        methods.add_method("peername", |lua, this, _: MultiValue| address(lua, this.description.peer));
        methods.add_method("sockname", |lua, this, _: MultiValue| address(lua, this.description.local));
        methods.add_method("issecure", |_, this, _: MultiValue| Ok(this.description.is_tls));
        methods.add_method("websocket", |_, this, _: MultiValue| Ok(this.description.form != Form::Raw));
        methods.add_meta_method(MetaMethod::Close, |_, this, _: MultiValue| {
            this.close();
            Ok(())
        });
        methods.add_meta_method(MetaMethod::ToString, |_, this, _: MultiValue| {
            let state = if this.is_closed() { "closed " } else { "" };
            Ok(match this.description.peer {
                Some(peer) => format!("{state}socket {peer}"),
                None => format!("{state}socket"),
            })
        });
    }
}

/// `socket:read([milliseconds])`: data and, of a WebSocket, whether it is text; or nil and "timeout"; or nil,
/// "socketclosed" and, of a WebSocket, the status.
async fn read(lua: Lua, this: UserDataRef<Socket>, args: MultiValue) -> Result<MultiValue> {
    let args = Args::new(&lua, "socket:read", args);
    let limit = if args.is_absent(1) { None } else { Some(args.milliseconds(1)?) };
    match this.read(limit).await? {
        Outcome::Data(data, is_text) => match this.description.form {
            Form::WebSocket(_) => (lua.create_string(data)?, is_text).into_lua_multi(&lua),
            Form::Raw => lua.create_string(data)?.into_lua_multi(&lua),
        },
        Outcome::Timeout => (Value::Nil, "timeout").into_lua_multi(&lua),
        Outcome::Closed => (Value::Nil, "socketclosed", this.status.get()).into_lua_multi(&lua),
    }
}

/// `socket:write(data[, text])`: waits until there is room for the data, not until it is sent. `text` makes a WebSocket
/// message of text, which has to be UTF-8. True; or nil and "socketclosed"; or nil and "overflow", at once, when too many
/// coroutines wait for this socket already.
async fn write(lua: Lua, this: UserDataRef<Socket>, args: MultiValue) -> Result<MultiValue> {
    let args = Args::new(&lua, "socket:write", args);
    let (data, is_text) = (args.string(1, "data")?, args.truth(2));
    if is_text && this.description.form != Form::Raw && std::str::from_utf8(&data).is_err() {
        return Err(args.refuse(1, "data", "UTF-8 expected for a text message"));
    }
    outcome(&lua, this.write(data, is_text).await.map(|()| true).map_err(|unwritten| unwritten.code()))
}

/// `socket:event(f, "s", ...)`: runs `f(socket, ...)` as a coroutine and closes the socket when it returns.
fn event(lua: &Lua, args: MultiValue) -> Result<bool> {
    // The socket itself comes first; arguments count from behind it.
    let mut values = args.into_iter();
    let this = match values.next() {
        Some(Value::UserData(this)) if this.is::<Socket>() => this,
        _ => return Err(no_object("socket:event", "a socket")),
    };
    let values: MultiValue = values.collect();
    let args = Args::new(lua, "socket:event", values.clone());
    let function = args.function(1, "function")?;
    let option = args.optional_text(2, "option")?;
    if let Some(other) = option.filter(|option| option != "s") {
        return Err(args.refuse(2, "option", &format!("\"s\" expected, got {other}")));
    }
    let mut call: MultiValue = values.into_iter().skip(2).collect();
    call.push_front(Value::UserData(this.clone()));
    spawn("socket:event", function, call, move || close(&this));
    Ok(true)
}

fn close(socket: &AnyUserData) {
    // The type was checked when the call began; sockets are only ever borrowed shared.
    if let Ok(socket) = socket.borrow::<Socket>() {
        socket.close();
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;
    use crate::transport::websocket::Role;

    const HOUR: Duration = Duration::from_secs(3600);
    /// Masked with zeros: the status 1000.
    const CLOSE: [u8; 8] = [0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe8];

    #[tokio::test]
    async fn a_websocket_cannot_be_written_to_after_its_end_was_read() {
        let form = Form::WebSocket(Role::Server);
        // The answer to the close does not fit, so the connection is still there.
        let (mut client, server) = duplex(2);
        let (reader, writer, pump) = queues(form);
        tokio::spawn(pump.run(server, Vec::new(), Bytes::new()));
        let socket = Socket::new(reader, writer, Description { peer: None, local: None, is_tls: false, form });
        client.write_all(&CLOSE).await.unwrap();
        assert!(matches!(socket.read(None).await, Ok(Outcome::Closed)));
        assert_eq!(socket.write(b"late".to_vec(), false).await, Err(Unwritten::Closed));
    }

    #[tokio::test]
    async fn a_coroutine_that_reads_learns_at_once_that_another_has_closed_the_socket() {
        // What is written does not fit, so the connection is still there.
        let (_client, server) = duplex(2);
        let (reader, writer, pump) = queues(Form::Raw);
        tokio::spawn(pump.run(server, Vec::new(), Bytes::new()));
        let description = Description { peer: None, local: None, is_tls: false, form: Form::Raw };
        let socket = Socket::new(reader, writer, description);
        socket.write(b"unread".to_vec(), false).await.unwrap();
        let (read, ()) = tokio::join!(socket.read(None), async { socket.close() });
        assert!(matches!(read, Ok(Outcome::Closed)));
        assert!(matches!(socket.read(None).await, Ok(Outcome::Closed)));
        assert_eq!(socket.write(b"late".to_vec(), false).await, Err(Unwritten::Closed));
    }

    #[tokio::test]
    async fn what_has_arrived_is_not_read_from_a_socket_that_the_script_has_closed() {
        let (mut client, server) = duplex(1024);
        let (reader, writer, pump) = queues(Form::Raw);
        tokio::spawn(pump.run(server, Vec::new(), Bytes::from_static(b"first")));
        let description = Description { peer: None, local: None, is_tls: false, form: Form::Raw };
        let socket = Socket::new(reader, writer, description);
        client.write_all(b"second").await.unwrap();
        assert!(matches!(socket.read(None).await, Ok(Outcome::Data(..))));
        socket.close();
        assert!(matches!(socket.read(None).await, Ok(Outcome::Closed)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_plain_socket_whose_other_end_sends_no_more_can_be_written_until_the_script_closes_it() {
        let (mut client, server) = duplex(1024);
        let (reader, writer, pump) = queues(Form::Raw);
        tokio::spawn(pump.run(server, Vec::new(), Bytes::new()));
        let description = Description { peer: None, local: None, is_tls: false, form: Form::Raw };
        let socket = Socket::new(reader, writer, description);
        client.shutdown().await.unwrap();
        for _ in 0..2 {
            assert!(matches!(socket.read(None).await, Ok(Outcome::Closed)));
        }
        tokio::time::sleep(HOUR).await;
        socket.write(b"late".into(), false).await.unwrap();
        socket.close();
        assert!(matches!(socket.read(None).await, Ok(Outcome::Closed)));
        let mut received = Vec::new();
        client.read_to_end(&mut received).await.unwrap();
        assert_eq!(received, b"late");
    }
}
