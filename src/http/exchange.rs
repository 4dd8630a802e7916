//! The socket below hyper, and the state that it shares with the service and the connection loop.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use super::head_tap::HeadTap;
use super::limits::WRITE_STALL_TIME;
use crate::socket::{Socket, Takeover};

/// Shared by the parts of one connection. They all belong to one task, so the lock is never contended; it is needed only
/// since a task has to be `Send`.
#[derive(Default)]
pub struct Exchange {
    /// Keeps the headers as they were sent.
    pub tap: HeadTap,
    /// Set by the service once a page has taken the socket; from then on the service never answers.
    pub takeover: Option<Takeover>,
    /// Whether hyper holds bytes of an earlier response that the socket has not taken yet.
    unflushed: bool,
    /// Wakes the task that waits until hyper has written all that it holds.
    flush_waiter: Option<Waker>,
    /// Whether reading was given up because of a request line that is too long.
    pub is_overlong: bool,
}

impl Exchange {
    /// The takeover, when everything that was sent before it has been written.
    pub fn ready_takeover(&mut self) -> Option<Takeover> {
        if self.unflushed { None } else { self.takeover.take() }
    }

    /// From now on, until hyper has written all that it holds, [`Exchange::is_waiting_for_flush`].
    pub fn wake_when_flushed(&mut self, waiter: Waker) {
        self.flush_waiter = Some(waiter);
    }

    pub fn is_waiting_for_flush(&self) -> bool {
        self.flush_waiter.is_some()
    }

    fn note_flush(&mut self) {
        self.unflushed = false;
        if let Some(waiter) = self.flush_waiter.take() {
            waiter.wake();
        }
    }
}

/// A socket that shows the head tap what is read, and that fails if a client takes nothing of a response for too long.
pub struct TappedSocket {
    socket: Socket,
    exchange: Arc<Mutex<Exchange>>,
    /// Runs while the client takes nothing.
    stall: Option<Pin<Box<Sleep>>>,
}

impl TappedSocket {
    pub fn new(socket: Socket, exchange: Arc<Mutex<Exchange>>) -> Self {
        Self { socket, exchange, stall: None }
    }

    pub fn into_socket(self) -> Socket {
        self.socket
    }

    /// Passes on what came of writing, or an error if nothing could be written for too long.
    fn watch<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stall = None;
            return written;
        }
        let stall = self.stall.get_or_insert_with(|| Box::pin(sleep(WRITE_STALL_TIME)));
        stall.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for TappedSocket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let read = Pin::new(&mut this.socket).poll_read(cx, buf);
        if buf.filled().len() > before {
            let mut exchange = this.exchange.lock();
            exchange.tap.note(&buf.filled()[before..]);
            if exchange.tap.has_overlong_line() {
                exchange.is_overlong = true;
                return Poll::Ready(Err(io::Error::other("the request line is too long")));
            }
        }
        read
    }
}

impl AsyncWrite for TappedSocket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.exchange.lock().unflushed = true;
        let written = Pin::new(&mut this.socket).poll_write(cx, buf);
        this.watch(cx, written)
    }

    // hyper flushes the socket only when its own buffer is empty.
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flushed = Pin::new(&mut this.socket).poll_flush(cx);
        if flushed.is_ready() {
            this.exchange.lock().note_flush();
        }
        this.watch(cx, flushed)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.exchange.lock().unflushed = true;
        let written = Pin::new(&mut this.socket).poll_write_vectored(cx, bufs);
        this.watch(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }
}
