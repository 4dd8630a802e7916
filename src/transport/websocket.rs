//! WebSocket framing (RFC 6455, without extensions) as functions of bytes, without I/O.
//!
//! - `frame.rs` parses one frame.
//! - `reader.rs` has the rules for the frames that one end sends: what may follow what, and what is answered.
//! - `packets.rs` makes raw SMQ frames of a client's messages, `messages.rs` what scripts read.
//!
//! It is not taken from a crate, since messages are unmasked right into the thread's arena as raw frames, and leave from
//! there in one write together with those of other publishers. A crate that owns the stream would copy each message once
//! more.

mod frame;
pub mod messages;
mod packets;
mod reader;

use std::ops::Range;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest, Sha1};

use super::raw;
use crate::protocol::FRAME_HEAD;
use frame::Frame;
pub use packets::{Decoder, client_frame_length};

/// Opcode of a text message.
pub const TEXT: u8 = 0x1;
/// Opcode of a binary message.
pub const BINARY: u8 = 0x2;
/// Opcode of a close frame; the opcodes from here on are control frames.
pub const CLOSE: u8 = 0x8;
/// Opcode of a Ping.
pub const PING: u8 = 0x9;
/// Opcode of a Pong.
pub const PONG: u8 = 0xA;
const CONTINUATION: u8 = 0x0;

/// In a frame's first byte: it is the last frame of its message.
const FINAL: u8 = 0x80;
/// In a frame's second byte: its payload is masked.
const MASKED: u8 = 0x80;

/// The status code of a close frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status(pub u16);

impl Status {
    /// The connection has done its work.
    pub const NORMAL: Self = Self(1000);
    /// The other end has broken the rules of RFC 6455.
    pub const PROTOCOL_ERROR: Self = Self(1002);
    /// A message is too large. SMQ servers send this status, and not 1009.
    pub const UNACCEPTABLE: Self = Self(1003);
    /// The payload of a text message is not UTF-8.
    pub const NOT_TEXT: Self = Self(1007);

    /// The status in the payload of a close frame, if there is one; an error if it may not be sent (RFC 6455, section 7.4).
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

/// Appends a server's frame: a whole message or a control frame, not masked.
pub fn encode(opcode: u8, payload: &[u8], out: &mut Vec<u8>) {
    encode_head(opcode, payload.len(), out);
    out.extend_from_slice(payload);
}

/// Appends the packets of the whole raw frames at `frames` in `bytes` to `bytes` itself, each as a server's frame, and
/// copies each only once: for large messages this is much of what a WebSocket costs.
pub fn convert_within(bytes: &mut Vec<u8>, frames: Range<usize>) {
    let mut at = frames.start;
    while at < frames.end {
        let end = at + raw::first_length(&bytes[at..]).max(FRAME_HEAD);
        encode_head(BINARY, end - at - 2, bytes);
        bytes.extend_from_within(at + 2..end);
        at = end;
    }
}

fn encode_head(opcode: u8, length: usize, out: &mut Vec<u8>) {
    out.push(FINAL | opcode);
    match length {
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
}

/// The length of the server's frame at the start of `bytes`.
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

/// Which end of a WebSocket this program is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Sends frames that are not masked, and accepts only masked ones.
    Server,
    /// Sends masked frames, and accepts only those that are not.
    Client,
}

impl Role {
    /// Appends a frame that this end sends.
    pub fn encode(self, opcode: u8, payload: &[u8], out: &mut Vec<u8>) {
        let start = out.len();
        encode(opcode, payload, out);
        if self == Self::Client {
            mask(out, start, out.len() - payload.len());
        }
    }

    /// Appends a close frame that this end sends.
    pub fn encode_close(self, status: Status, out: &mut Vec<u8>) {
        self.encode(CLOSE, &status.0.to_be_bytes(), out);
    }

    /// Parses the other end's frame at the start of `input`; `None` while it is incomplete.
    fn parse(self, input: &[u8], max: usize) -> Result<Option<Frame<'_>>, Status> {
        match self {
            Self::Server => Frame::parse::<MASKED>(input, max),
            Self::Client => Frame::parse::<0>(input, max),
        }
    }
}

/// Masks the last frame in `out`. The frame begins at `start`, its payload at `payload`.
fn mask(out: &mut Vec<u8>, start: usize, payload: usize) {
    let mask: [u8; 4] = rand::random();
    out[start + 1] |= MASKED;
    out.splice(payload..payload, mask);
    out[payload + 4..].iter_mut().zip(mask.iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);
}

#[cfg(test)]
mod tests {
    use super::*;

    const MASK: [u8; 4] = [1, 2, 3, 4];

    /// A client's frame, which begins with the byte `first`. Written out, so that our own encoder cannot make up for a
    /// mistake of the parser.
    pub fn client_frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![first];
        match payload.len() {
            length @ 0..126 => frame.push(MASKED | length as u8),
            length @ 126..0x1_0000 => {
                frame.push(MASKED | 126);
                frame.extend((length as u16).to_be_bytes());
            }
            length => {
                frame.push(MASKED | 127);
                frame.extend((length as u64).to_be_bytes());
            }
        }
        frame.extend(MASK);
        frame.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        frame
    }

    #[test]
    fn the_accept_key_is_the_one_of_the_rfc() {
        assert_eq!(accept_key(b"dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn the_statuses_that_may_be_sent_are_those_of_the_rfc_and_its_registry() {
        let may_be_sent = |status: &u16| Status::of_close(&status.to_be_bytes()) == Ok(Some(Status(*status)));
        let statuses: Vec<u16> = (0..=u16::MAX).filter(may_be_sent).collect();
        assert_eq!(statuses, (1000..=1003).chain(1007..=1014).chain(3000..=4999).collect::<Vec<_>>());
    }

    #[test]
    fn the_length_of_a_servers_frame_is_found_again() {
        for length in [0, 1, 125, 126, 65_535, 65_536] {
            let mut frame = Vec::new();
            encode(BINARY, &vec![0; length], &mut frame);
            let first = frame.len();
            encode(BINARY, b"behind it", &mut frame);
            assert_eq!(first_length(&frame), first);
        }
    }
}
