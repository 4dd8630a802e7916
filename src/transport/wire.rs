//! A connection's socket with its framing: bytes in, raw SMQ frames out, and the peer's own sending.

use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::BufMut;
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio_rustls::server::TlsStream;

use super::websocket::{self, Decoder, End};
use super::{Framing, raw};
use crate::broker::outbound::{Duty, Outbound, Writer};
use crate::broker::outbox::{Outbox, Span};
use crate::seats::Seat;
use crate::socket::{Socket, Stream};

/// The most that one read takes.
const READ: usize = 64 * 1024;
/// The most that a closed connection is listened to, so that its last words arrive before a reset can.
const LINGER: Duration = Duration::from_secs(1);
/// The most that the client of a closed connection may still send.
const LINGER_BYTES: usize = 1 << 20;

/// A connection's socket and framing, owned by the connection's task.
pub struct Wire {
    io: Io,
    decoder: Option<Box<Decoder>>,
    /// Bytes that have come and are no whole frame yet.
    input: Vec<u8>,
    /// Whether `input` has not been looked at yet.
    is_fresh: bool,
    sending: Sending,
    /// Held, and given back with the socket.
    _seat: Seat,
}

enum Io {
    Plain(OwnedReadHalf),
    Tls(Box<TlsStream<TcpStream>>),
}

/// What the peer's task took from its queue and has not sent yet.
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

/// Why nothing more can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The WebSocket ended; what its client must be told is queued or not needed.
    WebSocket,
    /// Bytes that are no frame.
    Malformed,
}

/// The write side of a plain socket, for all threads. Dropping it shuts nothing down: the peer's task, which keeps the
/// socket, sends the last words.
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
    /// Takes over a socket; `early` is what its client sent so far. With a plain socket comes its write side.
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

    pub fn tcp(&self) -> &TcpStream {
        match &self.io {
            Io::Plain(reader) => reader.as_ref(),
            Io::Tls(stream) => stream.get_ref().0,
        }
    }

    /// Whether the client has closed the connection, and nothing that it sent before waits to be read.
    pub fn has_been_left(&self) -> bool {
        let mut byte = [std::mem::MaybeUninit::uninit()];
        self.input.is_empty() && matches!(socket2::SockRef::from(self.tcp()).peek(&mut byte), Ok(0))
    }

    pub fn framing(&self) -> Framing {
        if self.decoder.is_some() { Framing::WebSocket } else { Framing::Raw }
    }

    pub fn is_tls(&self) -> bool {
        matches!(self.io, Io::Tls(_))
    }

    /// Reads once into the arena, behind the beginning of a frame that came before. `answers` gets what a WebSocket client
    /// must be told. Nothing is lost when this is pending.
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
        let (length, stop) = whole_frames(&arena[start..]);
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
                let stop = decoded.end.map(|end| match end {
                    End::WebSocket => Stop::WebSocket,
                    End::EmptyMessage => Stop::Malformed,
                });
                Filled::Frames(Span { start, end: outbox.arena.len() }, stop)
            }
            _ => Filled::EndOfFile,
        });
        outbox.masked = masked;
        filled
    }

    /// Appends the kept input and what one read brings. Returns the number of bytes appended, 0 at the end of the stream.
    fn poll_read(&mut self, cx: &mut Context<'_>, out: &mut Vec<u8>) -> Poll<io::Result<usize>> {
        let start = out.len();
        out.extend_from_slice(&self.input);
        if std::mem::take(&mut self.is_fresh) {
            return Poll::Ready(Ok(out.len() - start));
        }
        out.reserve(READ);
        let mut room = (&mut *out).limit(READ);
        let read = match &mut self.io {
            Io::Plain(reader) => pin!(reader.read_buf(&mut room)).poll(cx),
            Io::Tls(stream) => pin!(stream.read_buf(&mut room)).poll(cx),
        };
        match read {
            Poll::Ready(Ok(1..)) => Poll::Ready(Ok(out.len() - start)),
            other => {
                out.truncate(start);
                other
            }
        }
    }

    /// Keeps the beginning of a frame; without one, no memory.
    fn keep(&mut self, rest: &[u8]) {
        if rest.is_empty() {
            self.input = Vec::new();
        } else {
            self.input.clear();
            self.input.extend_from_slice(rest);
        }
    }

    /// The first message (type and body) of the connection, for the handshake. What comes behind it stays for
    /// [`Wire::poll_fill`].
    pub async fn first_message(&mut self) -> io::Result<First> {
        loop {
            if let Some(first) = self.take_first() {
                return Ok(first);
            }
            self.input.reserve(1024);
            let count = match &mut self.io {
                Io::Plain(reader) => reader.read_buf(&mut self.input).await?,
                Io::Tls(stream) => stream.read_buf(&mut self.input).await?,
            };
            if count == 0 {
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

    /// Decodes one frame at a time, so that those behind the first message stay masked in the input.
    fn take_first_websocket(&mut self) -> Option<First> {
        while let Some(length) = websocket::client_frame_length(&self.input) {
            let length = length.min(self.input.len());
            let (mut packets, mut answers) = (Vec::new(), Vec::new());
            let end = self.decoder.as_mut()?.decode(&self.input[..length], &mut packets, &mut answers).end;
            self.consume(length);
            match end {
                Some(End::EmptyMessage) => return Some(First::Malformed),
                Some(End::WebSocket) => return Some(First::Closed(answers)),
                None if !answers.is_empty() => return Some(First::Answer(answers)),
                None if !packets.is_empty() => return Some(First::Message(packets.split_off(2))),
                None => {}
            }
        }
        None
    }

    /// Forgets input of the handshake; what is behind it has yet to be looked at.
    fn consume(&mut self, length: usize) {
        let rest = self.input.split_off(length);
        self.is_fresh = !rest.is_empty();
        // Without a rest this is an empty vector: an idle client keeps no buffer.
        self.input = rest;
    }

    /// Sends what only the peer's task can send. Ready when nothing is left for it; an error when the write side is broken.
    pub fn poll_send(&mut self, cx: &mut Context<'_>, outbound: &Outbound) -> Poll<io::Result<()>> {
        loop {
            if self.sending.is_done() {
                // What is done with is given back: an idle client keeps no buffer.
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

    /// Everything that is still to be sent, before the queue is forgotten.
    pub fn take_last_words(&mut self, outbound: &Outbound) {
        self.sending.bytes.drain(..self.sending.at);
        self.sending.at = 0;
        self.sending.bytes.append(&mut outbound.take());
    }

    /// Adds to what is sent last.
    pub fn add_last_words(&mut self, bytes: &[u8]) {
        self.sending.bytes.extend_from_slice(bytes);
    }

    /// Whether dropping the wire ends the connection as well as [`Wire::close`] does: there is nothing left to send.
    pub fn can_be_dropped(&self) -> bool {
        self.sending.is_done() && matches!(self.io, Io::Plain(_))
    }

    /// Sends the last words, and listens a little so that unread input does not turn the close into a reset, which could
    /// overtake them.
    pub async fn close(mut self) {
        let _ = tokio::time::timeout(LINGER, async {
            self.send_last_words().await?;
            self.discard_input().await
        })
        .await;
    }

    /// Sends the last words and shuts the write side down.
    async fn send_last_words(&mut self) -> io::Result<()> {
        while !self.sending.is_done() {
            let count = std::future::poll_fn(|cx| self.poll_write(cx)).await?;
            self.sending.at += count;
        }
        match &mut self.io {
            Io::Plain(reader) => socket2::SockRef::from(reader.as_ref()).shutdown(std::net::Shutdown::Write),
            Io::Tls(stream) => stream.shutdown().await,
        }
    }

    async fn discard_input(&mut self) -> io::Result<()> {
        let mut left = LINGER_BYTES;
        let mut discarded = Vec::with_capacity(4096);
        while left > 0 {
            discarded.clear();
            let count = match &mut self.io {
                Io::Plain(reader) => reader.read_buf(&mut discarded).await?,
                Io::Tls(stream) => stream.read_buf(&mut discarded).await?,
            };
            if count == 0 {
                break;
            }
            left = left.saturating_sub(count);
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

    /// Writes `bytes` in a TLS record of its own, or as it is.
    pub async fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.sending = Sending { bytes: bytes.to_vec(), at: 0 };
        while !self.sending.is_done() {
            let count = std::future::poll_fn(|cx| self.poll_write(cx)).await?;
            self.sending.at += count;
        }
        self.sending = Sending::default();
        std::future::poll_fn(|cx| self.poll_flush(cx)).await
    }
}

/// The first message of a connection.
pub enum First {
    Message(Vec<u8>),
    /// No message can be read from what came.
    Malformed,
    /// The WebSocket ended; these bytes answer it.
    Closed(Vec<u8>),
    /// A Ping came before; these bytes answer it.
    Answer(Vec<u8>),
}

impl Sending {
    fn is_done(&self) -> bool {
        self.at == self.bytes.len()
    }
}

/// How many bytes at the start of `input` are whole frames, and whether what follows can never be one.
fn whole_frames(input: &[u8]) -> (usize, Option<Stop>) {
    match raw::whole_frames(input) {
        (length, Ok(())) => (length, None),
        (length, Err(_)) => (length, Some(Stop::Malformed)),
    }
}
