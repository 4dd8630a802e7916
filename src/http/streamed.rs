//! A body that is sent while it is still being written.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Frame;
use tokio::sync::mpsc;

use super::Body;

/// A piece of the body. An error closes the connection, so that the other end notices that something is missing.
pub type Piece = io::Result<Bytes>;

/// A channel for pieces, and the body that consists of them. Up to `count` pieces may be on their way; who writes more
/// waits.
pub fn streamed(count: usize) -> (mpsc::Sender<Piece>, Body) {
    let (channel, pieces) = mpsc::channel(count);
    (channel, Streamed { pieces, failed: false }.boxed_unsync())
}

struct Streamed {
    pieces: mpsc::Receiver<Piece>,
    failed: bool,
}

impl hyper::body::Body for Streamed {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if self.failed {
            return Poll::Ready(None);
        }
        self.pieces.poll_recv(cx).map(|piece| {
            self.failed = matches!(piece, Some(Err(_)));
            piece.map(|piece| piece.map(Frame::data))
        })
    }
}
