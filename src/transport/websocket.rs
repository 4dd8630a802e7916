//! RFC 6455 as functions of bytes: whole messages without extensions.
//!
//! `frame` is one frame, `reader` the rules for what one end sends, `packets` and `messages` what is made of its messages: SMQ
//! packets, and what scripts read.
//!
//! Our own rather than a crate's because messages are unmasked right into the shard's arena, as raw frames, and leave from
//! there in one write with those of other publishers; a crate that owns the stream would copy each once more.

mod frame;
pub mod messages;
mod packets;
mod reader;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest, Sha1};

use frame::Frame;
pub use packets::{Decoder, client_frame_length};

pub const TEXT: u8 = 0x1;
pub const BINARY: u8 = 0x2;
pub const CLOSE: u8 = 0x8;
pub const PING: u8 = 0x9;
pub const PONG: u8 = 0xA;
const CONTINUATION: u8 = 0x0;

const FINAL: u8 = 0x80;
const MASKED: u8 = 0x80;

/// The status of a close frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status(pub u16);

impl Status {
    pub const NORMAL: Self = Self(1000);
    pub const PROTOCOL_ERROR: Self = Self(1002);
    /// What SMQ servers answer to a message that is too large.
    pub const UNACCEPTABLE: Self = Self(1003);
    /// Text that is no UTF-8.
    pub const NOT_TEXT: Self = Self(1007);

    /// The status that a close frame carries, if any; an error if it is none that may be sent (RFC 6455, section 7.4).
    fn of_close(payload: &[u8]) -> Result<Option<Self>, Self> {
        let Some(&status) = payload.first_chunk() else {
            return if payload.is_empty() { Ok(None) } else { Err(Self::PROTOCOL_ERROR) };
        };
        match u16::from_be_bytes(status) {
            status @ (1000..=1003 | 1007..=1014 | 3000..=4999) => Ok(Some(Self(status))),
            _ => Err(Self::PROTOCOL_ERROR),
        }
    }
}

/// The value of Sec-WebSocket-Accept for a Sec-WebSocket-Key.
pub fn accept_key(key: &[u8]) -> String {
    let mut hash = Sha1::new();
    hash.update(key);
    hash.update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    STANDARD.encode(hash.finalize())
}

/// Appends a server's frame: final, not masked.
pub fn encode(opcode: u8, payload: &[u8], out: &mut Vec<u8>) {
    out.push(FINAL | opcode);
    match payload.len() {
        length @ 0..126 => out.push(length as u8),
        length @ 126..0x1_0000 => {
            out.push(126);
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            out.push(127);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(payload);
}

/// Appends a close frame.
pub fn encode_close(status: Status, out: &mut Vec<u8>) {
    encode(CLOSE, &status.0.to_be_bytes(), out);
}

/// The length of the server's frame that `bytes` begin with.
pub fn first_length(bytes: &[u8]) -> usize {
    match *bytes {
        [_, 126, high, low, ..] => 4 + usize::from(u16::from_be_bytes([high, low])),
        [_, 127, a, b, c, d, e, f, g, h, ..] => {
            10usize.saturating_add(u64::from_be_bytes([a, b, c, d, e, f, g, h]) as usize)
        }
        [_, length, ..] => 2 + usize::from(length),
        _ => bytes.len(),
    }
}

/// Which end of a WebSocket this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Server,
    /// Masks what it sends, and takes nothing that is masked.
    Client,
}

impl Role {
    /// Appends a frame of this end.
    pub fn encode(self, opcode: u8, payload: &[u8], out: &mut Vec<u8>) {
        let start = out.len();
        encode(opcode, payload, out);
        if self == Self::Client {
            mask(out, start, out.len() - payload.len());
        }
    }

    /// Appends a close frame.
    pub fn encode_close(self, status: Status, out: &mut Vec<u8>) {
        self.encode(CLOSE, &status.0.to_be_bytes(), out);
    }

    /// The other end's frame that `input` begins with.
    fn parse(self, input: &[u8], max: usize) -> Result<Option<Frame<'_>>, Status> {
        match self {
            Self::Server => Frame::parse::<MASKED>(input, max),
            Self::Client => Frame::parse::<0>(input, max),
        }
    }
}

/// Masks the frame that ends `out`, which begins at `start` and its payload at `payload`.
fn mask(out: &mut Vec<u8>, start: usize, payload: usize) {
    let mask: [u8; 4] = rand::random();
    out[start + 1] |= MASKED;
    out.splice(payload..payload, mask);
    out[payload + 4..].iter_mut().zip(mask.iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_accept_key_is_the_one_of_the_rfc() {
        assert_eq!(accept_key(b"dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn the_length_of_a_servers_frame_is_found_again() {
        for length in [0, 1, 125, 126, 65_535, 65_536] {
            let mut frame = Vec::new();
            encode(BINARY, &vec![0; length], &mut frame);
            assert_eq!(first_length(&frame), frame.len());
        }
    }
}
