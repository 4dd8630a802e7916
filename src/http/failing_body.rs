//! A body whose failure waits until what came before it has been written.
//!
//! hyper gives a connection up as soon as a body fails, and with it all that it has not written yet: the head, too, if the
//! body fails early.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use parking_lot::Mutex;

use super::Body;
use super::exchange::Exchange;

pub struct FailingBody {
    body: Body,
    exchange: Arc<Mutex<Exchange>>,
    /// The failure that waits.
    failure: Option<io::Error>,
}

impl FailingBody {
    pub fn new(body: Body, exchange: Arc<Mutex<Exchange>>) -> Self {
        Self { body, exchange, failure: None }
    }

    fn wait(&mut self, failure: io::Error, cx: &mut Context<'_>) {
        self.failure = Some(failure);
        self.exchange.lock().wake_when_flushed(cx.waker().clone());
        // hyper does not flush in every turn in which it has nothing to write, but in the next one it does.
        cx.waker().wake_by_ref();
    }
}

impl hyper::body::Body for FailingBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if self.failure.is_none() {
            match Pin::new(&mut self.body).poll_frame(cx) {
                Poll::Ready(Some(Err(failure))) => self.wait(failure, cx),
                other => return other,
            }
        }
        if self.exchange.lock().is_waiting_for_flush() {
            return Poll::Pending;
        }
        Poll::Ready(self.failure.take().map(Err))
    }

    fn is_end_stream(&self) -> bool {
        self.failure.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
