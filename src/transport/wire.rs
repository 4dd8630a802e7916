//! A connection's socket and framing, for the connection's task: reading whole packets, sending what no other thread can
//! send, and closing.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::BufMut;
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio_rustls::server::TlsStream;

use super::websocket::{self, Decoder, Role, Status};
use super::{Framing, Stop, raw};
use crate::broker::outbound::{Duty, Outbound, Writer};
use crate::broker::outbox::{Outbox, Span};
use crate::seats::Seat;
use crate::socket::{Socket, Stream};

/// The most bytes that one read takes.
const READ: usize = 64 * 1024;
/// The most time for sending what is left on a connection that is closed, and for reading what its client still sends.
const LINGER: Duration = Duration::from_secs(1);
/// The most bytes that are read from a connection that is closed.
const LINGER_BYTES: usize = 1 << 20;

/// A connection's socket and framing, owned by the connection's task.
pub struct Wire {
    io: Io,
    /// Present on a WebSocket.
    decoder: Option<Box<Decoder>>,
    /// Bytes that were read, and are not a whole frame yet.
    input: Vec<u8>,
    /// Whether `input` may hold whole frames, since nobody has looked yet.
    is_fresh: bool,
    sending: Sending,
    /// Held for as long as the socket is open.
    _seat: Seat,
}

enum Io {
    Plain(OwnedReadHalf),
    Tls(Box<TlsStream<TcpStream>>),
}

/// What the connection's task has taken from the peer's queue and not sent yet.
#[derive(Default)]
struct Sending {
    bytes: Vec<u8>,
    at: usize,
}

/// What a read brought.
pub enum Filled {
    /// Whole raw frames, and the end of the connection if it ends behind them.
    Frames(Span, Option<Stop>),
    /// The client has closed.
    EndOfFile,
}

/// The write side of a plain socket, for all threads. Dropping it does not shut the socket down: the connection's task may
/// have more to send.
pub struct PlainWriter(Option<OwnedWriteHalf>);

impl Drop for PlainWriter {
    fn drop(&mut self) {
        if let Some(writer) = self.0.take() {
            writer.forget();
        }
    }
}

impl Writer for PlainWriter {
    fn try_write(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        match (&self.0, parts) {
            (Some(writer), [part]) => writer.try_write(part),
            (Some(writer), parts) => writer.try_write_vectored(parts),
            (None, _) => Err(io::ErrorKind::NotConnected.into()),
        }
    }
}

impl Wire {
    /// Takes a socket over. `early` is what its client has sent already. The write side is returned if the socket is plain;
    /// on a TLS connection only the task can write.
    pub fn new(socket: Socket, framing: Framing, early: &[u8]) -> (Self, Option<PlainWriter>) {
        let Socket { stream, seat } = socket;
        let (io, writer) = match stream {
            Stream::Plain(stream) => {
                let (reader, writer) = stream.into_split();
                (Io::Plain(reader), Some(PlainWriter(Some(writer))))
            }
            Stream::Tls(stream) => (Io::Tls(stream), None),
        };
        let decoder = (framing == Framing::WebSocket).then(Box::default);
        let (input, is_fresh) = (early.to_vec(), !early.is_empty());
        let wire = Self { io, decoder, input, is_fresh, sending: Sending::default(), _seat: seat };
        (wire, writer)
    }

    /// The TCP socket below, for its options.
    pub fn tcp(&self) -> &TcpStream {
        match &self.io {
            Io::Plain(reader) => reader.as_ref(),
            Io::Tls(stream) => stream.get_ref().0,
        }
    }

    /// Whether the client has closed or reset the connection, and everything that it sent before has been read.
    pub fn has_been_left(&self) -> bool {
        let mut byte = [std::mem::MaybeUninit::uninit()];
        self.input.is_empty()
            && match socket2::SockRef::from(self.tcp()).peek(&mut byte) {
                Ok(length) => length == 0,
                Err(error) => !matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted),
            }
    }

    /// How packets are framed on this connection.
    pub fn framing(&self) -> Framing {
        if self.decoder.is_some() { Framing::WebSocket } else { Framing::Raw }
    }

    /// Whether the connection is encrypted.
    pub fn is_tls(&self) -> bool {
        matches!(self.io, Io::Tls(_))
    }

    /// Reads once, and appends all whole frames to the arena, as raw frames. The beginning of another frame is kept for the
    /// next call. What a WebSocket has to answer (Pong, close) is appended to `answers`. Nothing is lost when this is
    /// pending.
    pub fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        outbox: &mut Outbox,
        answers: &mut Vec<u8>,
    ) -> Poll<io::Result<Filled>> {
        match self.decoder {
            None => self.poll_fill_raw(cx, &mut outbox.arena),
            Some(_) => self.poll_fill_websocket(cx, outbox, answers),
        }
    }

    fn poll_fill_raw(&mut self, cx: &mut Context<'_>, arena: &mut Vec<u8>) -> Poll<io::Result<Filled>> {
        let start = arena.len();
        if ready!(self.poll_read(cx, arena))? == 0 {
            return Poll::Ready(Ok(Filled::EndOfFile));
        }
        let (length, fault) = raw::whole_frames(&arena[start..]);
        let stop = fault.err().map(|_| Stop::Malformed);
        self.keep(&arena[start + length..]);
        arena.truncate(start + length);
        Poll::Ready(Ok(Filled::Frames(Span { start, end: start + length }, stop)))
    }

    fn poll_fill_websocket(
        &mut self,
        cx: &mut Context<'_>,
        outbox: &mut Outbox,
        answers: &mut Vec<u8>,
    ) -> Poll<io::Result<Filled>> {
        let mut masked = std::mem::take(&mut outbox.masked);
        masked.clear();
        let read = self.poll_read(cx, &mut masked);
        let filled = read.map_ok(|count| match &mut self.decoder {
            Some(decoder) if count > 0 => {
                let start = outbox.arena.len();
                let decoded = decoder.decode(&masked, &mut outbox.arena, answers);
                self.keep(&masked[decoded.consumed..]);
                Filled::Frames(Span { start, end: outbox.arena.len() }, decoded.stop)
            }
            _ => Filled::EndOfFile,
        });
        outbox.masked = masked;
        filled
    }

    /// Appends the input that was kept, and what one read brings. Returns the number of bytes appended; 0 at the end of the
    /// stream.
    fn poll_read(&mut self, cx: &mut Context<'_>, out: &mut Vec<u8>) -> Poll<io::Result<usize>> {
        let start = out.len();
        out.extend_from_slice(&self.input);
        if std::mem::take(&mut self.is_fresh) {
            return Poll::Ready(Ok(out.len() - start));
        }
        out.reserve(READ);
        let read = pin!(self.io.read(&mut (&mut *out).limit(READ))).poll(cx);
        match read {
            Poll::Ready(Ok(1..)) => Poll::Ready(Ok(out.len() - start)),
            other => {
                out.truncate(start);
                other
            }
        }
    }

    /// Keeps the beginning of a frame. Without one the buffer is freed: an idle client keeps none.
    fn keep(&mut self, rest: &[u8]) {
        if rest.is_empty() {
            self.input = Vec::new();
        } else {
            self.input.clear();
            self.input.extend_from_slice(rest);
        }
    }

    /// The first message (type and body) of the connection, for the handshake. What follows it is left for
    /// [`Wire::poll_fill`].
    pub async fn first_message(&mut self) -> io::Result<First> {
        loop {
            if let Some(first) = self.take_first() {
                return Ok(first);
            }
            self.input.reserve(1024);
            if self.io.read(&mut self.input).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// The first message, if it is whole.
    fn take_first(&mut self) -> Option<First> {
        match self.decoder {
            None => self.take_first_raw(),
            Some(_) => self.take_first_websocket(),
        }
    }

    fn take_first_raw(&mut self) -> Option<First> {
        match crate::protocol::frame_length(&self.input) {
            Err(_) => Some(First::Malformed),
            Ok(Some(length)) if length <= self.input.len() => {
                let message = self.input[2..length].to_vec();
                self.consume(length);
                Some(First::Message(message))
            }
            Ok(_) => None,
        }
    }

    /// Decodes one frame at a time, so that the frames behind the first message stay masked in the input.
    fn take_first_websocket(&mut self) -> Option<First> {
        while let Some(length) = websocket::client_frame_length(&self.input) {
            let length = length.min(self.input.len());
            let (mut packets, mut answers) = (Vec::new(), Vec::new());
            let stop = self.decoder.as_mut()?.decode(&self.input[..length], &mut packets, &mut answers).stop;
            self.consume(length);
            match stop {
                Some(Stop::Malformed) => return Some(First::Malformed),
                Some(Stop::WebSocket) => return Some(First::Closed(answers)),
                None if !answers.is_empty() => return Some(First::Answer(answers)),
                None if !packets.is_empty() => return Some(First::Message(packets.split_off(2))),
                None => {}
            }
        }
        None
    }

    /// Removes what the handshake has used from the input. The rest, if any, may hold whole frames.
    fn consume(&mut self, length: usize) {
        self.input = self.input.split_off(length);
        self.is_fresh = !self.input.is_empty();
    }

    /// Sends what only the connection's task can send. Ready when nothing of that is left; an error when a write has
    /// failed, here or on another thread.
    pub fn poll_send(&mut self, cx: &mut Context<'_>, outbound: &Outbound) -> Poll<io::Result<()>> {
        loop {
            if self.sending.is_done() {
                // The buffer is freed: an idle client keeps none.
                self.sending = Sending::default();
                self.sending = match outbound.duty() {
                    Duty::Nothing | Duty::Wait => return self.poll_flush(cx),
                    Duty::End => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
                    Duty::Send => Sending { bytes: outbound.take(), at: 0 },
                };
                continue;
            }
            let count = ready!(self.poll_write(cx))?;
            self.sending.at += count;
            outbound.sent(count);
        }
    }

    /// Takes what is left in the queue, to be sent by [`Wire::close`].
    pub fn take_last_words(&mut self, outbound: &Outbound) {
        self.sending.bytes.append(&mut outbound.take());
    }

    /// Adds to what [`Wire::close`] sends.
    pub fn add_last_words(&mut self, bytes: &[u8]) {
        self.sending.bytes.extend_from_slice(bytes);
    }

    /// Adds the close frame of a connection that ends normally, if it is a WebSocket.
    pub fn add_close_frame(&mut self) {
        if self.framing() == Framing::WebSocket {
            Role::Server.encode_close(Status::NORMAL, &mut self.sending.bytes);
        }
    }

    /// Whether nothing is left to send, so that a client that reads no more can be dropped without [`Wire::close`]. A TLS
    /// connection still has to send its end.
    pub fn can_be_dropped(&self) -> bool {
        self.sending.is_done() && matches!(self.io, Io::Plain(_))
    }

    /// Sends what is left, then closes. Input that nobody has read would turn the close into a reset, which the client may
    /// see before it has read what was sent last; so input is read and discarded until the client closes, too.
    pub async fn close(mut self) {
        let _ = tokio::time::timeout(LINGER, async {
            self.send_all().await?;
            self.io.shutdown().await?;
            self.discard_input().await
        })
        .await;
    }

    async fn discard_input(&mut self) -> io::Result<()> {
        let mut left = LINGER_BYTES;
        let mut discarded = Vec::with_capacity(4096);
        while left > 0 {
            discarded.clear();
            match self.io.read(&mut discarded).await? {
                0 => break,
                count => left = left.saturating_sub(count),
            }
        }
        Ok(())
    }

    /// Sends what is in `sending`.
    async fn send_all(&mut self) -> io::Result<()> {
        while !self.sending.is_done() {
            self.sending.at += poll_fn(|cx| self.poll_write(cx)).await?;
        }
        Ok(())
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let bytes = &self.sending.bytes[self.sending.at..];
        let stream: &TcpStream = match &mut self.io {
            Io::Tls(stream) => return Pin::new(stream).poll_write(cx, bytes),
            Io::Plain(reader) => (*reader).as_ref(),
        };
        loop {
            ready!(stream.poll_write_ready(cx))?;
            match stream.try_write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                written => return Poll::Ready(written),
            }
        }
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.io {
            Io::Plain(_) => Poll::Ready(Ok(())),
            Io::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    /// Writes `bytes`; on a TLS connection nothing else shares their record. For the handshake.
    pub async fn write_all(&mut self, bytes: Vec<u8>) -> io::Result<()> {
        self.sending = Sending { bytes, at: 0 };
        self.send_all().await?;
        self.sending = Sending::default();
        poll_fn(|cx| self.poll_flush(cx)).await
    }
}

impl Io {
    /// Reads once and appends; 0 at the end of the stream.
    async fn read(&mut self, out: &mut impl BufMut) -> io::Result<usize> {
        match self {
            Self::Plain(reader) => reader.read_buf(out).await,
            Self::Tls(stream) => stream.read_buf(out).await,
        }
    }

    /// Tells the client that nothing more will be sent.
    async fn shutdown(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(reader) => socket2::SockRef::from(reader.as_ref()).shutdown(std::net::Shutdown::Write),
            Self::Tls(stream) => stream.shutdown().await,
        }
    }
}

/// The first message of a connection.
pub enum First {
    Message(Vec<u8>),
    /// What came is no message.
    Malformed,
    /// The WebSocket has ended; these bytes are the answer.
    Closed(Vec<u8>),
    /// A Ping came before the message; these bytes are the answer.
    Answer(Vec<u8>),
}

impl Sending {
    fn is_done(&self) -> bool {
        self.at == self.bytes.len()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::Arc;

    use rcgen::generate_simple_self_signed;
    use socket2::SockRef;
    use tokio::net::TcpListener;
    use tokio::time::timeout;
    use tokio::{join, try_join};

    use super::*;
    use crate::seats::Seats;
    use crate::tls::acceptor;
    use crate::tls::certificate::Certificate;
    use crate::tls::client::{Trust, connector};

    /// Both ends of a connection.
    async fn connected() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (client, listener.accept().await.unwrap().0)
    }

    fn wire(stream: Stream) -> Wire {
        let seat = Seats::new(1, 0, 1).take([127, 0, 0, 1].into()).ok().unwrap();
        Wire::new(Socket { stream, seat }, Framing::Raw, b"").0
    }

    fn certificate() -> Arc<Certificate> {
        let folder = tempfile::tempdir().unwrap();
        let (certificate, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
        let made = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        fs::write(&certificate, made.cert.pem()).unwrap();
        fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        Arc::new(Certificate::open(&certificate, &key).unwrap())
    }

    #[tokio::test]
    async fn a_client_that_goes_on_sending_gets_the_last_words_and_the_end_and_no_reset() {
        let (mut client, server) = connected().await;
        let mut wire = wire(Stream::Plain(server));
        client.write_all(&[0; 100_000]).await.unwrap();
        let outbound = Outbound::new(Framing::Raw, 0);
        outbound.push_control(b"queued, ");
        wire.take_last_words(&outbound);
        wire.add_last_words(b"bye");
        let closing = tokio::spawn(wire.close());
        let mut received = Vec::new();
        client.read_to_end(&mut received).await.unwrap();
        assert_eq!(received, b"queued, bye");
        assert!(!closing.is_finished(), "the server waits for the client's end");
        client.write_all(&[0; 100_000]).await.expect("the server reads it");
        drop(client);
        closing.await.unwrap();
    }

    #[tokio::test]
    async fn what_tls_kept_since_the_socket_was_full_is_sent_when_there_is_room() {
        let (client, server) = connected().await;
        SockRef::from(&server).set_send_buffer_size(4096).unwrap();
        SockRef::from(&client).set_recv_buffer_size(4096).unwrap();
        let connects = connector(&Trust::Anybody).unwrap().connect("localhost".try_into().unwrap(), client);
        let (mut client, server) = try_join!(connects, acceptor(certificate()).unwrap().accept(server)).unwrap();
        let mut wire = wire(Stream::Tls(Box::new(server)));
        let outbound = Outbound::new(Framing::Raw, usize::MAX);
        // More than the socket takes, and no more than TLS does.
        let sent = vec![7; 60_000];
        outbound.push_control(&sent);
        let mut received = vec![0; sent.len()];
        let both = async { join!(poll_fn(|cx| wire.poll_send(cx, &outbound)), client.read_exact(&mut received)) };
        let (sending, reading) = timeout(10 * LINGER, both).await.expect("nothing is kept back");
        assert!(sending.is_ok() && reading.is_ok());
        assert_eq!(received, sent);
        assert_eq!(outbound.held(), 0, "what is sent leaves room for more");
    }
}
