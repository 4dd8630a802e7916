//! The part of RFC 6455 that a server of whole messages needs, as functions of bytes: one SMQ packet per message.
//!
//! Our own rather than a crate's because messages are unmasked right into the shard's arena, as raw frames, and leave from
//! there in one write with those of other publishers; a crate that owns the stream would copy each once more.

pub mod messages;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest, Sha1};

use crate::protocol::{FRAME_HEAD, MAX_BODY};

pub const TEXT: u8 = 0x1;
pub const BINARY: u8 = 0x2;
pub const CLOSE: u8 = 0x8;
pub const PING: u8 = 0x9;
pub const PONG: u8 = 0xA;
const CONTINUATION: u8 = 0x0;

const FINAL: u8 = 0x80;
const RESERVED: u8 = 0x70;
const MASKED: u8 = 0x80;
/// The longest payload of a control frame.
const MAX_CONTROL: usize = 125;
/// The longest message: a packet's type and body.
const MAX_MESSAGE: usize = 1 + MAX_BODY;

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

/// What ends a WebSocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The client sent a close frame.
    Closed,
    /// The client broke the rules; the close frame that tells it has this status.
    Refused(Status),
    /// An empty message: no packet, so the connection ends as with any malformed packet.
    EmptyMessage,
}

/// What [`Decoder::decode`] made of its input.
#[derive(Debug, PartialEq, Eq)]
pub struct Decoded {
    /// How much of the input was used; the rest is the beginning of a frame.
    pub consumed: usize,
    /// Set when the connection must end, after what was decoded before.
    pub end: Option<End>,
}

/// Turns a client's frames into raw SMQ frames. Holds the part of a fragmented message that has come so far.
#[derive(Default)]
pub struct Decoder {
    fragments: Option<Vec<u8>>,
}

/// A frame, still masked if it is a client's.
struct Frame<'a> {
    is_final: bool,
    opcode: u8,
    mask: [u8; 4],
    payload: &'a [u8],
    length: usize,
}

impl Decoder {
    /// Decodes the whole frames of `input`: appends their messages to `packets` as raw SMQ frames, and what must be
    /// answered (Pong, close) to `answers` as WebSocket frames.
    pub fn decode(&mut self, input: &[u8], packets: &mut Vec<u8>, answers: &mut Vec<u8>) -> Decoded {
        let mut consumed = 0;
        loop {
            let step = match Frame::parse(&input[consumed..], MAX_MESSAGE) {
                Ok(None) => return Decoded { consumed, end: None },
                Ok(Some(frame)) => {
                    consumed += frame.length;
                    self.accept(&frame, packets, answers)
                }
                Err(status) => Err(End::Refused(status)),
            };
            if let Err(end) = step {
                if let End::Refused(status) = end {
                    encode_close(status, answers);
                }
                return Decoded { consumed, end: Some(end) };
            }
        }
    }

    fn accept(&mut self, frame: &Frame<'_>, packets: &mut Vec<u8>, answers: &mut Vec<u8>) -> Result<(), End> {
        match frame.opcode {
            TEXT | BINARY if self.fragments.is_some() => Err(End::Refused(Status::PROTOCOL_ERROR)),
            TEXT | BINARY if frame.is_final => frame.append_packet(packets),
            TEXT | BINARY => {
                self.fragments = Some(Vec::new());
                self.collect(frame, packets)
            }
            CONTINUATION => self.collect(frame, packets),
            PING => {
                encode(PONG, &frame.unmasked(), answers);
                Ok(())
            }
            PONG => Ok(()),
            // A close frame: Frame::parse lets no other opcode through.
            _ => {
                let status = Status::of_close(&frame.unmasked()).map_err(End::Refused)?;
                encode(
                    CLOSE,
                    status.map(|status| status.0.to_be_bytes()).as_ref().map_or(&[], |status| status),
                    answers,
                );
                Err(End::Closed)
            }
        }
    }

    fn collect(&mut self, frame: &Frame<'_>, packets: &mut Vec<u8>) -> Result<(), End> {
        let Some(message) = self.fragments.as_mut() else {
            return Err(End::Refused(Status::PROTOCOL_ERROR));
        };
        if message.len() + frame.payload.len() > MAX_MESSAGE {
            return Err(End::Refused(Status::UNACCEPTABLE));
        }
        frame.append_unmasked(message);
        if frame.is_final {
            let message = self.fragments.take().unwrap_or_default();
            if message.is_empty() {
                return Err(End::EmptyMessage);
            }
            super::raw::encode(&message, packets);
        }
        Ok(())
    }
}

impl<'a> Frame<'a> {
    /// The client's frame that `input` begins with; `None` while it is incomplete. A payload of more than `max` bytes is
    /// refused.
    fn parse(input: &'a [u8], max: usize) -> Result<Option<Self>, Status> {
        Self::parse_with::<MASKED>(input, max)
    }

    /// The same for a frame with [`MASKED`], as clients send it, or without.
    fn parse_with<const MASK: u8>(input: &'a [u8], max: usize) -> Result<Option<Self>, Status> {
        let [first, second, ..] = *input else { return Ok(None) };
        let opcode = first & 0x0F;
        let is_control = opcode >= CLOSE;
        let is_known = matches!(opcode, CONTINUATION | TEXT | BINARY | CLOSE | PING | PONG);
        if first & RESERVED != 0 || second & MASKED != MASK || !is_known {
            return Err(Status::PROTOCOL_ERROR);
        }
        if is_control && (first & FINAL == 0 || usize::from(second & !MASKED) > MAX_CONTROL) {
            return Err(Status::PROTOCOL_ERROR);
        }
        let Some((size, mask_at)) = payload_length(input, second & !MASKED) else { return Ok(None) };
        if size > max as u64 {
            return Err(Status::UNACCEPTABLE);
        }
        let payload_at = mask_at + if MASK == MASKED { 4 } else { 0 };
        let length = payload_at + size as usize;
        let Some(payload) = input.get(payload_at..length) else { return Ok(None) };
        let mask = input[mask_at..payload_at].first_chunk().copied().unwrap_or_default();
        Ok(Some(Self { is_final: first & FINAL != 0, opcode, mask, payload, length }))
    }

    fn append_packet(&self, packets: &mut Vec<u8>) -> Result<(), End> {
        if self.payload.is_empty() {
            return Err(End::EmptyMessage);
        }
        let length = (self.payload.len() + FRAME_HEAD - 1) as u16;
        packets.extend_from_slice(&length.to_be_bytes());
        self.append_unmasked(packets);
        Ok(())
    }

    fn unmasked(&self) -> Vec<u8> {
        let mut payload = Vec::with_capacity(self.payload.len());
        self.append_unmasked(&mut payload);
        payload
    }

    /// Unmasks eight bytes at a time: most of what a WebSocket costs a server is this loop.
    fn append_unmasked(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(self.payload);
        let [a, b, c, d] = self.mask;
        let mask = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
        let (words, tail) = out[start..].as_chunks_mut::<8>();
        for word in words {
            *word = (u64::from_ne_bytes(*word) ^ mask).to_ne_bytes();
        }
        for (byte, mask) in tail.iter_mut().zip(self.mask.iter().cycle()) {
            *byte ^= mask;
        }
    }
}

/// The length of the client's frame that `input` begins with; all of `input` if no frame can begin like that, `None` while
/// it is incomplete.
pub fn client_frame_length(input: &[u8]) -> Option<usize> {
    match Frame::parse(input, MAX_MESSAGE) {
        Ok(frame) => frame.map(|frame| frame.length),
        Err(_) => Some(input.len()),
    }
}

/// The length of a frame's payload, and where its mask begins; `None` while the length is incomplete.
fn payload_length(input: &[u8], short: u8) -> Option<(u64, usize)> {
    match short {
        126 => input[2..].first_chunk().map(|&length| (u64::from(u16::from_be_bytes(length)), 4)),
        127 => input[2..].first_chunk().map(|&length| (u64::from_be_bytes(length), 10)),
        length => Some((u64::from(length), 2)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MASK: [u8; 4] = [1, 2, 3, 4];

    fn client_frame(first: u8, payload: &[u8]) -> Vec<u8> {
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

    fn decode(input: &[u8]) -> (Decoded, Vec<u8>, Vec<u8>) {
        let (mut packets, mut answers) = (Vec::new(), Vec::new());
        let decoded = Decoder::default().decode(input, &mut packets, &mut answers);
        (decoded, packets, answers)
    }

    #[test]
    fn the_accept_key_is_the_one_of_the_rfc() {
        assert_eq!(accept_key(b"dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn a_message_becomes_a_raw_frame() {
        let input = client_frame(FINAL | BINARY, b"\x04news");
        let (decoded, packets, answers) = decode(&input);
        assert_eq!(decoded, Decoded { consumed: input.len(), end: None });
        assert_eq!(packets, b"\x00\x07\x04news");
        assert!(answers.is_empty());
    }

    #[test]
    fn a_text_message_counts_like_a_binary_one() {
        assert_eq!(decode(&client_frame(FINAL | TEXT, b"\x0c")).1, b"\x00\x03\x0c");
    }

    #[test]
    fn every_length_class_is_decoded_and_waits_for_its_last_byte() {
        for length in [1, 7, 8, 9, 125, 126, 127, 65_532, MAX_MESSAGE] {
            let message: Vec<u8> = (0..length).map(|index| index as u8).collect();
            let input = client_frame(FINAL | BINARY, &message);
            let (decoded, packets, _) = decode(&input);
            assert_eq!(decoded.consumed, input.len());
            assert_eq!(packets[2..], message);
            assert_eq!(decode(&input[..input.len() - 1]).0, Decoded { consumed: 0, end: None });
        }
    }

    #[test]
    fn a_fragmented_message_is_one_packet_and_a_ping_may_come_in_between() {
        let mut input = client_frame(BINARY, b"\x04ne");
        input.extend(client_frame(FINAL | PING, b"hello"));
        input.extend(client_frame(FINAL, b"ws"));
        let (decoded, packets, answers) = decode(&input);
        assert_eq!(decoded.end, None);
        assert_eq!(packets, b"\x00\x07\x04news");
        assert_eq!(answers, b"\x8a\x05hello");
    }

    #[test]
    fn a_close_frame_is_answered() {
        let (decoded, _, answers) = decode(&client_frame(FINAL | CLOSE, &[0x03, 0xE8, b'b', b'y', b'e']));
        assert_eq!(decoded.end, Some(End::Closed));
        assert_eq!(answers, [0x88, 2, 0x03, 0xE8]);
    }

    #[test]
    fn what_the_rfc_forbids_is_refused_with_1002() {
        for input in [
            vec![FINAL | BINARY, 1, 12],                                       // no mask
            client_frame(FINAL | 0x40 | BINARY, b"x"),                         // a reserved bit
            client_frame(FINAL | 3, b"x"),                                     // an unknown opcode
            client_frame(FINAL, b"x"),                                         // a continuation of nothing
            client_frame(PING, b"x"),                                          // a fragmented control frame
            client_frame(FINAL | PING, &[0; 126]),                             // a long control frame
            [client_frame(BINARY, b"x"), client_frame(BINARY, b"y")].concat(), // a message within a message
        ] {
            let (decoded, _, answers) = decode(&input);
            assert_eq!(decoded.end, Some(End::Refused(Status::PROTOCOL_ERROR)), "{input:?}");
            assert_eq!(answers, [0x88, 2, 0x03, 0xEA]);
        }
    }

    #[test]
    fn a_message_that_fits_no_packet_is_refused_with_1003() {
        let whole = client_frame(FINAL | BINARY, &[8; MAX_MESSAGE + 1]);
        let fragmented = [client_frame(BINARY, &[8; MAX_MESSAGE]), client_frame(FINAL, b"x")].concat();
        for input in [whole, fragmented] {
            let (decoded, packets, answers) = decode(&input);
            assert_eq!(decoded.end, Some(End::Refused(Status::UNACCEPTABLE)));
            assert!(packets.is_empty());
            assert_eq!(answers, [0x88, 2, 0x03, 0xEB]);
        }
    }

    #[test]
    fn an_empty_message_ends_the_connection() {
        assert_eq!(decode(&client_frame(FINAL | BINARY, b"")).0.end, Some(End::EmptyMessage));
        let fragmented = [client_frame(BINARY, b""), client_frame(FINAL, b"")].concat();
        assert_eq!(decode(&fragmented).0.end, Some(End::EmptyMessage));
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
