//! Sockets of scripts. A script has a [`Reader`] and a [`Writer`] on the Lua thread; they are the ends of two bounded queues.
//! At the other ends a task on the thread that owns the socket, the [`Pump`], moves the bytes.
//!
//! Reading and writing do not wait for each other, since the other end may want to be read before it reads itself. Only
//! what the protocol makes the pump answer (a Pong) holds up reading, if the other end does not read that.

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

/// The most bytes of a WebSocket message from the other end. A longer one ends the connection.
pub const MAX_MESSAGE: usize = 1 << 20;
/// Pieces or messages that wait for the script; while there are so many, the socket is not read.
const RECEIVED: usize = 2;
/// Bytes up to which writes are joined to one system call.
const JOINED: usize = 64 * 1024;
/// Bytes that one read of a raw stream makes room for.
const PIECE: usize = 16 * 1024;
/// Bytes of answers (Pong) that wait to be sent; while there are so many, the socket is not read.
const ANSWERS: usize = 4096;
/// Time to send what is left, once the script has closed the socket.
const LINGER: Duration = Duration::from_secs(5);
/// Time for the other end to close, too. Meanwhile its input is discarded: unread, it would turn the close into a reset.
const FAREWELL: Duration = Duration::from_millis(500);

/// What the script reads and writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A stream of bytes, in pieces as they come.
    Raw,
    /// The messages of a WebSocket, of which the script is this end.
    WebSocket(Role),
}

/// What the script reads.
#[derive(Debug, PartialEq, Eq)]
pub enum Received {
    /// A piece of a stream, or a message.
    Data {
        data: Vec<u8>,
        /// Of a message: whether it is a text message.
        is_text: bool,
    },
    /// Nothing more will come. With a status if a WebSocket ended with a close frame.
    End(Option<u16>),
}

/// The script's side for reading.
pub struct Reader(mpsc::Receiver<Received>);

/// The socket's side of the queues.
pub struct Pump {
    received: mpsc::Sender<Received>,
    writes: mpsc::UnboundedReceiver<Write>,
    form: Form,
}

/// Both sides of a socket, which may be opened later.
pub fn queues(form: Form) -> (Reader, Writer, Pump) {
    let (to_script, reader) = mpsc::channel(RECEIVED);
    let (writer, writes) = Writer::new();
    (Reader(reader), writer, Pump { received: to_script, writes, form })
}

impl Reader {
    /// Waits for the next piece or message. Nothing is lost if the future is dropped.
    pub async fn read(&mut self) -> Received {
        self.0.recv().await.unwrap_or(Received::End(None))
    }
}

impl Pump {
    /// Moves bytes until both sides are done. `head` is sent first; `early` is what has been received already.
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

/// What happened in a turn.
enum Event {
    Read(io::Result<usize>),
    ClosedByScript,
    /// A write of the script; `None` when it has closed, and all its writes have been taken.
    Write(Option<Write>),
    Written(io::Result<usize>),
    /// The script's queue has taken what waited for it.
    HandedOver,
    /// The time to send what is left is over, or there is nothing to wait for.
    TimeUp,
}

/// A pump at work: the socket, and what is between it and the queues.
struct Flow<S> {
    reader: ReadHalf<S>,
    writer: WriteHalf<S>,
    /// `None` for a raw stream.
    messages: Option<Messages>,
    /// What was read and is not decoded yet.
    input: BytesMut,
    /// What waits for room in the script's queue.
    next: Option<Received>,
    /// Frames (Pong, close) to be sent to the other end, between two writes of the script.
    answers: Vec<u8>,
    /// What is being sent.
    output: Vec<u8>,
    /// How much of `output` the socket has taken.
    written: usize,
    /// Whether the socket keeps nothing back of what it has taken.
    is_flushed: bool,
    /// The room that the writes in `output` take in the queue.
    writing: Option<OwnedSemaphorePermit>,
    pump: Pump,
    /// Whether the other end may still send, and the script wants it.
    is_open: bool,
    /// Whether the close frame of a WebSocket is sent or in `output`: nothing may follow it.
    close_sent: bool,
    /// Set when the script has closed.
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
        let may_read = self.is_open && self.next.is_none() && self.answers.len() < ANSWERS;
        let limit = self.deadline.unwrap_or_else(Instant::now);
        let event = tokio::select! {
            count = read(&mut self.reader, &mut self.input), if may_read => Event::Read(count),
            () = hand_over(&self.pump.received, &mut self.next), if self.next.is_some() => Event::HandedOver,
            () = self.pump.received.closed(), if !is_closed => Event::ClosedByScript,
            write = self.pump.writes.recv(), if !has_output && !self.close_sent => Event::Write(write),
            written = write(&mut self.writer, &self.output[self.written..]), if has_output => Event::Written(written),
            () = sleep_until(limit), if is_closed => Event::TimeUp,
            else => Event::TimeUp,
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
            Event::HandedOver => {}
            Event::TimeUp => return false,
        }
        true
    }

    /// Takes what the script reads next from the input.
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
            // A raw stream whose other end sends no more may still be written. One that is broken ends, and so does a WebSocket.
            self.close_sent = self.messages.is_some() || count.is_err();
        }
    }

    fn is_closed_by_script(&mut self) {
        // What waits or comes now is for nobody.
        self.is_open = false;
        self.next = None;
        self.deadline = Some(Instant::now() + LINGER);
    }

    /// Joins this write and those behind it, for one system call.
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

    /// The script has closed, and everything it wrote is sent: sends a close frame. False if there is none to send.
    fn finish(&mut self) -> bool {
        let Form::WebSocket(role) = self.pump.form else { return false };
        role.encode_close(Status::NORMAL, &mut self.output);
        self.next = None;
        self.close_sent = true;
        true
    }

    fn has_written(&mut self, written: io::Result<usize>) -> bool {
        let Ok(count) = written else { return false };
        self.is_flushed = count == 0;
        self.written += count;
        if self.written == self.output.len() {
            // The buffer is freed: an idle socket keeps none.
            self.output = Vec::new();
            self.written = 0;
            self.writing = None;
        }
        true
    }

    async fn end(mut self) {
        self.pump.writes.close();
        if let Some(last) = self.next.take() {
            // If the queue is full, the script learns of the end when it has read everything: the queue is closed then.
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

/// Writes some of the output, or flushes if there is none: a TLS stream keeps bytes that its socket did not take.
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
    use tokio::io::{BufWriter, DuplexStream, duplex};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    /// More bytes than all queues and buffers between the two ends can hold.
    const MUCH: usize = 1 << 20;

    /// A client, and the script's side of its connection.
    fn connected(form: Form) -> (DuplexStream, Reader, Writer) {
        let (client, server) = duplex(1024);
        let (reader, writer, pump) = queues(form);
        tokio::spawn(pump.run(server, Vec::new(), Bytes::new()));
        (client, reader, writer)
    }

    #[tokio::test(start_paused = true)]
    async fn the_other_end_is_read_while_it_does_not_read() {
        for form in [Form::Raw, Form::WebSocket(Role::Server)] {
            let (mut client, mut reader, writer) = connected(form);
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
    async fn a_websocket_that_sends_pings_and_reads_no_pongs_is_not_read_for_ever() {
        let (mut client, _reader, _writer) = connected(Form::WebSocket(Role::Server));
        let mut ping = Vec::new();
        Role::Client.encode(websocket::PING, &[0; 100], &mut ping);
        let asking = async {
            for _ in 0..1000 {
                client.write_all(&ping).await.unwrap();
            }
        };
        assert!(timeout(LINGER, asking).await.is_err(), "it has to wait");
    }

    fn masked(opcode: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = Vec::new();
        Role::Client.encode(opcode, payload, &mut frame);
        frame
    }

    /// Waits until every task has done what it can do.
    async fn settled() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn messages_that_wait_are_read_in_order_and_then_the_status_and_nothing_follows_the_close_frame() {
        let (mut client, mut reader, writer) = connected(Form::WebSocket(Role::Server));
        let messages = [b"1", b"2", b"3", b"4"].map(|text| masked(websocket::TEXT, text)).concat();
        let close = masked(websocket::CLOSE, &4001_u16.to_be_bytes());
        client.write_all(&[messages, close].concat()).await.unwrap();
        settled().await;
        writer.write(b"!".into(), true).await.unwrap();
        settled().await;
        let text = |text: &[u8]| Received::Data { data: text.to_vec(), is_text: true };
        assert_eq!([reader.read().await, reader.read().await], [text(b"1"), text(b"2")]);
        settled().await;
        // The close frame has been answered, and its status waits behind two messages.
        let _ = writer.write(b"too late".into(), true).await;
        settled().await;
        assert_eq!([reader.read().await, reader.read().await], [text(b"3"), text(b"4")]);
        assert_eq!(reader.read().await, Received::End(Some(4001)));
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).await.unwrap();
        assert_eq!(answer, b"\x81\x01!\x88\x02\x0f\xa1", "and the connection ends without the script");
    }

    #[tokio::test(start_paused = true)]
    async fn a_script_that_closes_with_messages_unread_ends_the_connection_at_once() {
        let (mut client, reader, writer) = connected(Form::WebSocket(Role::Server));
        client.write_all(&masked(websocket::TEXT, b"unread").repeat(9)).await.unwrap();
        settled().await;
        drop((reader, writer));
        let mut answer = Vec::new();
        timeout(LINGER / 2, client.read_to_end(&mut answer)).await.expect("no need to linger").unwrap();
        assert_eq!(answer, b"\x88\x02\x03\xe8");
    }

    #[tokio::test(start_paused = true)]
    async fn all_that_was_written_is_sent_before_the_socket_closes() {
        let (mut client, reader, writer) = connected(Form::Raw);
        writer.write(vec![b's'; 100_000], false).await.unwrap();
        drop((reader, writer));
        settled().await;
        let mut received = Vec::new();
        timeout(FAREWELL / 2, client.read_to_end(&mut received)).await.expect("the end is told at once").unwrap();
        assert_eq!(received, [b's'; 100_000]);
        client.write_all(&[b'c'; 10_000]).await.expect("it is still read, and no reset");
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_stream_keeps_until_it_is_flushed_is_sent() {
        let (mut client, server) = duplex(1024);
        let (_reader, writer, pump) = queues(Form::Raw);
        tokio::spawn(pump.run(BufWriter::new(server), Vec::new(), Bytes::new()));
        for text in [b"one", b"two"] {
            writer.write(text.to_vec(), false).await.unwrap();
            let mut received = [0; 3];
            timeout(LINGER, client.read_exact(&mut received)).await.expect("it is flushed").unwrap();
            assert_eq!(&received, text);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_raw_stream_whose_other_end_sends_no_more_can_still_be_written_and_a_websocket_ends() {
        for (form, answer) in [(Form::Raw, &b"answer"[..]), (Form::WebSocket(Role::Server), b"")] {
            let (mut client, mut reader, writer) = connected(form);
            client.shutdown().await.unwrap();
            assert_eq!(reader.read().await, Received::End(None));
            settled().await;
            let written = writer.write(b"answer".into(), false).await;
            assert_eq!(written.is_ok(), form == Form::Raw);
            let ends = (form == Form::Raw).then_some((reader, writer));
            drop(ends);
            let mut received = Vec::new();
            client.read_to_end(&mut received).await.unwrap();
            assert_eq!(received, answer);
        }
    }

    #[tokio::test]
    async fn a_stream_that_breaks_ends_although_the_script_keeps_its_side() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (server, _) = listener.accept().await.unwrap();
        let (mut reader, _writer, pump) = queues(Form::Raw);
        let pump = tokio::spawn(pump.run(server, Vec::new(), Bytes::new()));
        // So that closing resets the connection.
        socket2::SockRef::from(&client).set_linger(Some(Duration::ZERO)).unwrap();
        drop(client);
        assert_eq!(reader.read().await, Received::End(None));
        timeout(LINGER, pump).await.expect("nothing can be done with it").unwrap();
    }
}
