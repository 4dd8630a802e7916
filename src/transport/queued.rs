//! A socket as two bounded queues, so that a script on the Lua thread can read and write it while a task on whatever
//! thread owns it moves the bytes.

mod writer;

use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::{Instant, sleep_until, timeout};

use super::websocket::messages::{Closed, Messages};
use super::websocket::{self, Role, Status};
use writer::Write;
pub use writer::{Unwritten, Writer};

/// The longest WebSocket message that is taken from the other end, in bytes. A longer one ends the connection.
pub const MAX_MESSAGE: usize = 1 << 20;
/// Pieces or messages that wait for the script; the socket is not read while there are so many.
const RECEIVED: usize = 2;
/// Writes are joined until they are so long.
const JOINED: usize = 64 * 1024;
/// A piece of a raw stream.
const PIECE: usize = 16 * 1024;
/// Answers (Pong) that wait for the client, in bytes; it is not read while there are more. What the script writes holds up
/// no reading: the other end may want to be read before it reads.
const ANSWERS: usize = 4096;
/// Time for what was written last, once the script has closed the socket.
const LINGER: Duration = Duration::from_secs(5);
/// Time in which the client may react to the end, so that unread input does not turn it into a reset.
const FAREWELL: Duration = Duration::from_millis(500);

/// How bytes become what the script reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A stream, in pieces as they come.
    Raw,
    /// This end of a WebSocket.
    WebSocket(Role),
}

/// What the script reads.
#[derive(Debug, PartialEq, Eq)]
pub enum Received {
    Data {
        data: Vec<u8>,
        is_text: bool,
    },
    /// Nothing more will come; the status of a WebSocket that was closed in order.
    End(Option<u16>),
}

/// The script's side for reading.
pub struct Reader(mpsc::Receiver<Received>);

/// The socket's side.
pub struct Pump {
    received: mpsc::Sender<Received>,
    writes: mpsc::UnboundedReceiver<Write>,
    form: Form,
}

/// Both sides of a socket to come.
pub fn queues(form: Form) -> (Reader, Writer, Pump) {
    let (to_script, reader) = mpsc::channel(RECEIVED);
    let (writer, writes) = Writer::new();
    (Reader(reader), writer, Pump { received: to_script, writes, form })
}

impl Reader {
    /// Waits for the next piece or message. It may be dropped and called again without loss.
    pub async fn read(&mut self) -> Received {
        self.0.recv().await.unwrap_or(Received::End(None))
    }
}

impl Pump {
    /// Moves bytes until both sides are done. `head` is sent before all else, `early` was received before all else.
    pub async fn run<S: AsyncRead + AsyncWrite>(self, socket: S, head: Vec<u8>, early: Bytes) {
        let (reader, writer) = tokio::io::split(socket);
        let messages = match self.form {
            Form::Raw => None,
            Form::WebSocket(role) => Some(Messages::new(role, MAX_MESSAGE)),
        };
        let mut flow = Flow {
            reader,
            writer,
            messages,
            input: BytesMut::from(early),
            next: None,
            answers: Vec::new(),
            output: head,
            written: 0,
            is_flushed: true,
            writing: None,
            pump: self,
            is_open: true,
            close_sent: false,
            deadline: None,
        };
        while flow.turn().await {}
        flow.end().await;
    }
}

/// What a turn brought.
enum Event {
    Read(io::Result<usize>),
    ClosedByScript,
    /// `None` when the script has closed and all its writes were taken.
    Write(Option<Write>),
    Written(io::Result<usize>),
    Done,
    TooLate,
}

/// A socket while its bytes are moved.
struct Flow<S> {
    reader: ReadHalf<S>,
    writer: WriteHalf<S>,
    /// `None` for a raw stream.
    messages: Option<Messages>,
    input: BytesMut,
    /// What waits for room in the script's queue.
    next: Option<Received>,
    /// What a WebSocket's other end has to be told, between the writes of the script.
    answers: Vec<u8>,
    output: Vec<u8>,
    /// How much of `output` the socket has taken.
    written: usize,
    is_flushed: bool,
    /// The writes that `output` holds.
    writing: Option<OwnedSemaphorePermit>,
    pump: Pump,
    /// Whether the peer may still send.
    is_open: bool,
    /// Whether a WebSocket's close frame is sent, behind which nothing may follow.
    close_sent: bool,
    /// Set once the script has closed.
    deadline: Option<Instant>,
}

impl<S: AsyncRead + AsyncWrite> Flow<S> {
    /// One step; false when there is nothing left to do.
    async fn turn(&mut self) -> bool {
        self.decode();
        if self.output.is_empty() {
            self.output = std::mem::take(&mut self.answers);
        }
        let has_output = !self.output.is_empty() || !self.is_flushed;
        let is_closed = self.deadline.is_some();
        if self.close_sent && !has_output && self.next.is_none() {
            return false;
        }
        let may_read = self.is_open && !is_closed && self.next.is_none() && self.answers.len() < ANSWERS;
        let limit = self.deadline.unwrap_or_else(Instant::now);
        let event = tokio::select! {
            count = read(&mut self.reader, &mut self.input), if may_read => Event::Read(count),
            () = hand_over(&self.pump.received, &mut self.next), if self.next.is_some() && !is_closed => Event::Done,
            () = self.pump.received.closed(), if !is_closed => Event::ClosedByScript,
            write = self.pump.writes.recv(), if !has_output && !self.close_sent => Event::Write(write),
            written = write(&mut self.writer, &self.output[self.written..]), if has_output => Event::Written(written),
            () = sleep_until(limit), if is_closed => Event::TooLate,
            else => Event::TooLate,
        };
        self.handle(event)
    }

    fn handle(&mut self, event: Event) -> bool {
        match event {
            Event::Read(count) => self.has_read(count),
            Event::ClosedByScript => self.is_closed_by_script(),
            Event::Write(Some(write)) => self.start_all(write),
            Event::Write(None) => return self.finish(),
            Event::Written(written) => return self.has_written(written),
            Event::Done => {}
            Event::TooLate => return false,
        }
        true
    }

    /// Finds what the script reads next.
    fn decode(&mut self) {
        if self.next.is_some() || self.input.is_empty() || !self.is_open {
            return;
        }
        self.next = match &mut self.messages {
            None => Some(Received::Data { data: self.input.split().to_vec(), is_text: false }),
            Some(messages) => match messages.next(&mut self.input, &mut self.answers) {
                Ok(message) => message.map(|message| Received::Data { data: message.data, is_text: message.is_text }),
                Err(Closed(status)) => {
                    self.is_open = false;
                    self.close_sent = true;
                    Some(Received::End(Some(status.0)))
                }
            },
        };
    }

    fn has_read(&mut self, count: io::Result<usize>) {
        if !matches!(count, Ok(1..)) {
            self.is_open = false;
            self.next = Some(Received::End(None));
            // A WebSocket has no half that could go on.
            self.close_sent = self.messages.is_some();
        }
    }

    fn is_closed_by_script(&mut self) {
        self.next = None;
        self.deadline = Some(Instant::now() + LINGER);
    }

    /// Takes this write and those behind it: one system call for all of them.
    fn start_all(&mut self, first: Write) {
        self.start(first);
        while self.output.len() < JOINED
            && let Ok(next) = self.pump.writes.try_recv()
        {
            self.start(next);
        }
    }

    fn start(&mut self, write: Write) {
        match (self.pump.form, write.is_text) {
            (Form::Raw, _) if self.output.is_empty() => self.output = write.data,
            (Form::Raw, _) => self.output.extend_from_slice(&write.data),
            (Form::WebSocket(role), true) => role.encode(websocket::TEXT, &write.data, &mut self.output),
            (Form::WebSocket(role), false) => role.encode(websocket::BINARY, &write.data, &mut self.output),
        }
        match &mut self.writing {
            Some(room) => room.merge(write.room),
            none => *none = Some(write.room),
        }
    }

    /// The script has closed and all it wrote is sent.
    fn finish(&mut self) -> bool {
        let Form::WebSocket(role) = self.pump.form else { return false };
        role.encode_close(Status::NORMAL, &mut self.output);
        self.next = None;
        self.close_sent = true;
        true
    }

    fn has_written(&mut self, written: io::Result<usize>) -> bool {
        let Ok(count) = written else {
            self.next.get_or_insert(Received::End(None));
            return false;
        };
        self.is_flushed = count == 0;
        self.written += count;
        if self.written == self.output.len() {
            // Given back, too: an idle socket keeps no buffer.
            self.output = Vec::new();
            self.written = 0;
            self.writing = None;
        }
        true
    }

    async fn end(mut self) {
        self.pump.writes.close();
        if let Some(last) = self.next.take() {
            // A script that has stopped reading learns the end from the closed queue.
            let _ = self.pump.received.try_send(last);
        }
        drop(self.pump);
        let _ = timeout(FAREWELL, async {
            self.writer.shutdown().await?;
            loop {
                self.input.clear();
                if self.reader.read_buf(&mut self.input).await? == 0 {
                    return io::Result::Ok(());
                }
            }
        })
        .await;
    }
}

/// Waits for room in the script's queue.
async fn hand_over(queue: &mpsc::Sender<Received>, next: &mut Option<Received>) {
    if let Ok(room) = queue.reserve().await
        && let Some(next) = next.take()
    {
        room.send(next);
    }
}

async fn read<S: AsyncRead>(reader: &mut ReadHalf<S>, input: &mut BytesMut) -> io::Result<usize> {
    input.reserve(PIECE);
    reader.read_buf(input).await
}

/// Writes some of the output, or flushes when there is none: a TLS stream keeps bytes that the socket did not take.
async fn write<S: AsyncWrite>(writer: &mut WriteHalf<S>, output: &[u8]) -> io::Result<usize> {
    if output.is_empty() {
        return writer.flush().await.map(|()| 0);
    }
    match writer.write(output).await {
        Ok(0) => Err(io::ErrorKind::WriteZero.into()),
        written => written,
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::duplex;

    use super::*;

    /// More than anything on the way holds.
    const MUCH: usize = 1 << 20;

    #[tokio::test(start_paused = true)]
    async fn an_end_that_writes_before_it_reads_is_read_meanwhile() {
        for form in [Form::Raw, Form::WebSocket(Role::Server)] {
            let (mut client, server) = duplex(1024);
            let (mut reader, writer, pump) = queues(form);
            tokio::spawn(pump.run(server, Vec::new(), Bytes::new()));
            writer.write(vec![b's'; MUCH], false).await.unwrap();
            let mut sent = vec![0; MUCH];
            if form != Form::Raw {
                sent.clear();
                for _ in 0..2 {
                    Role::Client.encode(websocket::BINARY, &vec![0; MUCH / 2], &mut sent);
                }
            }
            let count = async {
                let mut count = 0;
                while count < MUCH {
                    let Received::Data { data, .. } = reader.read().await else { return count };
                    count += data.len();
                }
                count
            };
            let both = async { tokio::join!(client.write_all(&sent), count) };
            let (written, count) = timeout(LINGER, both).await.expect("neither end waits for the other");
            assert!(written.is_ok() && count == MUCH, "{form:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_websocket_whose_end_asks_and_never_listens_is_not_read_for_ever() {
        let (mut client, server) = duplex(1024);
        let (_reader, _writer, pump) = queues(Form::WebSocket(Role::Server));
        tokio::spawn(pump.run(server, Vec::new(), Bytes::new()));
        let mut ping = Vec::new();
        Role::Client.encode(websocket::PING, &[0; 100], &mut ping);
        let asking = async {
            for _ in 0..1000 {
                client.write_all(&ping).await.unwrap();
            }
        };
        assert!(timeout(LINGER, asking).await.is_err(), "it has to wait");
    }
}
