//! A client's socket, plain or TLS, in a form that makes no difference to whoever uses it; and options of sockets.

use std::io;
use std::net::SocketAddr;
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
    /// The connection's place among those that the server may have. Whoever takes the stream out keeps the seat for as long
    /// as the client is connected.
    pub seat: Seat,
}

/// The bytes of a connection. `Tls` is boxed, since its state is large and most sockets are plain.
pub enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// What a page that has taken the socket of its request does with it. Called once, on the shard that owns the socket, with
/// the bytes that arrived behind the request.
pub type Takeover = Box<dyn FnOnce(Socket, Bytes) + Send>;

impl Socket {
    /// The TCP socket below, for addresses and options.
    pub fn tcp(&self) -> &TcpStream {
        match &self.stream {
            Stream::Plain(stream) => stream,
            Stream::Tls(stream) => stream.get_ref().0,
        }
    }

    /// Whether the connection is encrypted.
    pub fn is_tls(&self) -> bool {
        matches!(self.stream, Stream::Tls(_))
    }

    /// Moves a plain socket to the event loop of this thread; a TLS socket stays with the one it has.
    pub fn move_here(self) -> io::Result<Self> {
        let stream = match self.stream {
            Stream::Plain(stream) => Stream::Plain(TcpStream::from_std(stream.into_std()?)?),
            tls => tls,
        };
        Ok(Self { stream, ..self })
    }
}

/// TCP keepalive: how soon the server finds out that the other end of a silent connection has vanished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keepalive {
    /// Silence before the first probe.
    pub idle: Duration,
    /// Time between probes.
    pub interval: Duration,
}

impl Keepalive {
    /// The interval is a tenth of `idle` unless given, and at least 3 s.
    pub fn new(idle: Duration, interval: Option<Duration>) -> Self {
        let interval = interval.unwrap_or(idle / 10).max(Duration::from_secs(3));
        Self { idle, interval }
    }

    /// As a socket option.
    pub fn option(self) -> socket2::TcpKeepalive {
        socket2::TcpKeepalive::new().with_time(self.idle).with_interval(self.interval)
    }

    /// Sets it for one connection, which works without it, too: a failure is only logged.
    pub fn apply(self, socket: &TcpStream) {
        if let Err(error) = socket2::SockRef::from(socket).set_tcp_keepalive(&self.option()) {
            tracing::debug!("no TCP keepalive for {:?}: {error}", socket.peer_addr());
        }
    }
}

impl Default for Keepalive {
    fn default() -> Self {
        Self::new(Duration::from_secs(230), None)
    }
}

/// An address as it is shown and counted: an IPv4 address as such, also if the socket is one for IPv6 and has it in that form.
pub fn canonical(mut address: SocketAddr) -> SocketAddr {
    address.set_ip(address.ip().to_canonical());
    address
}

/// Makes the kernel hand over a new connection only when its client has sent something. Every client of this server speaks
/// first, so the server wakes once for it, not twice. A client that stays silent is handed over after about a second. A
/// listener works without this, too: a failure is only logged.
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

/// Only Linux has this option.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probes_come_ten_times_as_often_as_the_first_one_unless_told_otherwise_and_never_in_quick_succession() {
        let interval = |idle, interval: Option<u64>| {
            Keepalive::new(Duration::from_secs(idle), interval.map(Duration::from_secs)).interval.as_secs()
        };
        assert_eq!(interval(230, None), 23);
        assert_eq!(interval(20, None), 3);
        assert_eq!(interval(230, Some(5)), 5);
        assert_eq!(interval(230, Some(1)), 3);
    }
}
