//! A response body that is sent to the client while a page writes it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Frame;
use tokio::sync::mpsc;

use crate::http::Body;

/// How many pieces may be on their way to the client. A page that writes more waits.
const PIECES: usize = 4;

/// A piece of the body. An error closes the connection, so that the client notices that something is missing.
pub type Piece = io::Result<Bytes>;

/// A channel for pieces, and the body that consists of them.
pub fn open() -> (mpsc::Sender<Piece>, Body) {
    let (channel, pieces) = mpsc::channel(PIECES);
    (channel, Streamed { pieces, failed: false }.boxed_unsync())
}

/// The last pieces of a streamed response, which may have to wait for the client.
pub struct Rest {
    pub channel: mpsc::Sender<Piece>,
    pub pieces: Vec<Piece>,
}

impl Rest {
    /// Sends the pieces, and waits for the client if need be.
    pub async fn send(self) {
        for piece in self.pieces {
            // A client that is gone needs no rest.
            let _ = self.channel.send(piece).await;
        }
    }
}

/// Waits until the connection has taken the head and all pieces.
pub async fn hand_over(channel: mpsc::Sender<Piece>) {
    // The head does not go through this channel, but is sent before any piece: so wait for an empty one.
    if channel.send(Ok(Bytes::new())).await.is_ok() {
        // When there is room for as many pieces as the channel holds, it is empty. That the client is gone will be
        // noticed by the next write.
        let _ = channel.reserve_many(channel.max_capacity()).await;
    }
}

/// A body that arrives in pieces.
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
