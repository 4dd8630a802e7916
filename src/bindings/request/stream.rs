//! A response body that is sent to the client while a page writes it.

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::http::Piece;

/// How many pieces may be on their way to the client. A page that writes more waits.
pub const PIECES: usize = 4;

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
