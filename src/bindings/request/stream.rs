//! A response body that goes to the client while a page writes it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Frame;
use tokio::sync::mpsc;

use crate::http::Body;

/// Pieces on their way to the client; a page that writes more waits.
const PIECES: usize = 4;

/// An error instead of a piece cuts the connection, so that the client sees that something is missing.
pub type Piece = io::Result<Bytes>;

/// Where the pieces go in, and the body that they make.
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
    pub async fn send(self) {
        for piece in self.pieces {
            // A client that is gone needs no rest.
            let _ = self.channel.send(piece).await;
        }
    }
}

/// Waits until the connection has taken the head and all pieces.
pub async fn hand_over(channel: mpsc::Sender<Piece>) {
    // The empty piece comes behind the head, of which the channel knows nothing.
    if channel.send(Ok(Bytes::new())).await.is_ok() {
        // Room for all of them means that all were taken; a client that is gone is noted when there is something for it.
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
