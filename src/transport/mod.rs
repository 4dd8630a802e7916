//! How packets are framed on a connection. Inside the server packets are raw frames; those of a WebSocket are converted
//! when they come and when they leave.

pub mod queued;
pub mod raw;
pub mod websocket;
pub mod wire;

use std::borrow::Cow;

/// The framing of one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// Raw frames, see [`crate::protocol`].
    Raw,
    /// One binary WebSocket message per packet.
    WebSocket,
}

/// Why nothing more is read from a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The WebSocket has ended: the client closed it, or broke its rules. A close frame for it is among the answers.
    WebSocket,
    /// What the client sent is no packet: a frame shorter than its own head, or an empty message.
    Malformed,
}

impl Framing {
    /// A raw frame in this framing; nothing, if that is nothing. For single packets: messages are converted within the
    /// arena, see [`websocket::convert_within`].
    pub fn converted(self, frame: &[u8]) -> Cow<'_, [u8]> {
        match (self, frame.get(2..)) {
            (Self::WebSocket, Some(message)) => {
                let mut converted = Vec::new();
                websocket::encode(websocket::BINARY, message, &mut converted);
                Cow::Owned(converted)
            }
            _ => Cow::Borrowed(frame),
        }
    }

    /// The length of the first frame of `bytes`, which hold whole frames in this framing.
    pub fn first_length(self, bytes: &[u8]) -> usize {
        let length = match self {
            Self::Raw => raw::first_length(bytes),
            Self::WebSocket => websocket::first_length(bytes),
        };
        length.clamp(1, bytes.len())
    }
}
