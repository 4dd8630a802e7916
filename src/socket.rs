//! A client's socket, plain or TLS, while nobody above cares which.

use std::io;
#[cfg(target_os = "linux")]
use std::os::fd::AsRawFd;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use crate::seats::Seat;

/// One accepted connection.
pub struct Socket {
    pub stream: Stream,
    /// The connection's place among those the server may have. Whoever takes the stream out keeps it for as long as the
    /// client is connected.
    pub seat: Seat,
}

/// The bytes of a connection. `Tls` is boxed because its state is large and most sockets are plain.
pub enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// What a page does with the socket of its request once it has taken it: called once, on the shard that owns the
/// socket, with the bytes that arrived behind the request.
pub type Takeover = Box<dyn FnOnce(Socket, Bytes) + Send>;

impl Socket {
    /// The TCP socket below, for addresses and options.
    pub fn tcp(&self) -> &TcpStream {
        match &self.stream {
            Stream::Plain(stream) => stream,
            Stream::Tls(stream) => stream.get_ref().0,
        }
    }

    pub fn is_tls(&self) -> bool {
        matches!(self.stream, Stream::Tls(_))
    }

    /// The socket under the event loop of this thread, if it is a plain one; a TLS socket stays where it is.
    pub fn move_here(self) -> io::Result<Self> {
        let stream = match self.stream {
            Stream::Plain(stream) => Stream::Plain(TcpStream::from_std(stream.into_std()?)?),
            tls => tls,
        };
        Ok(Self { stream, ..self })
    }
}

/// Probes a silent connection, so that a peer that has vanished without a word is found out: after `idle`, and again after
/// each `interval`. A connection works without probes, too; so a failure is only logged.
pub fn keep_alive(socket: &TcpStream, idle: Duration, interval: Duration) {
    let probes = socket2::TcpKeepalive::new().with_time(idle).with_interval(interval);
    if let Err(error) = socket2::SockRef::from(socket).set_tcp_keepalive(&probes) {
        tracing::debug!("no TCP keepalive for {:?}: {error}", socket.peer_addr());
    }
}

/// Lets the kernel keep a new connection to itself until its client has sent something, since every client of this server
/// speaks first: the server then wakes once for it, and not twice. A client that stays silent is accepted after about a
/// second; when the server ends before that, the client hears so when it speaks. A listener works without this, too; so a
/// failure is only logged.
#[cfg(target_os = "linux")]
pub fn defer_accept(listener: &socket2::Socket) {
    let seconds: libc::c_int = 1;
    let length = size_of_val(&seconds) as libc::socklen_t;
    // SAFETY: the kernel reads `length` bytes of `seconds` during the call and keeps no pointer; the descriptor is open,
    // since its socket is borrowed.
    let result = unsafe {
        let option = (&raw const seconds).cast();
        libc::setsockopt(listener.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_DEFER_ACCEPT, option, length)
    };
    if result != 0 {
        tracing::debug!("no TCP_DEFER_ACCEPT: {}", io::Error::last_os_error());
    }
}

/// Only Linux can do that.
#[cfg(not(target_os = "linux"))]
pub fn defer_accept(_: &socket2::Socket) {}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stream {
            Stream::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Stream::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().stream {
            Stream::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Stream::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stream {
            Stream::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stream {
            Stream::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().stream {
            Stream::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Stream::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.stream {
            Stream::Plain(stream) => stream.is_write_vectored(),
            Stream::Tls(stream) => stream.is_write_vectored(),
        }
    }
}
