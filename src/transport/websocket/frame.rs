//! Parsing one frame of RFC 6455.

use super::{BINARY, CLOSE, CONTINUATION, FINAL, MASKED, PING, PONG, Status, TEXT};

const RESERVED: u8 = 0x70;
/// The longest payload of a control frame.
const MAX_CONTROL: usize = 125;

/// A frame, still masked if it is a client's.
pub struct Frame<'a> {
    pub is_final: bool,
    pub opcode: u8,
    mask: [u8; 4],
    pub payload: &'a [u8],
    /// Bytes of the whole frame.
    pub length: usize,
}

impl<'a> Frame<'a> {
    /// Parses the frame at the start of `input`; `None` while it is incomplete. `MASK` is [`MASKED`] for frames that a
    /// client sends, 0 for a server's. A payload of more than `max` bytes is refused.
    pub fn parse<const MASK: u8>(input: &'a [u8], max: usize) -> Result<Option<Self>, Status> {
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

    pub fn unmasked(&self) -> Vec<u8> {
        let mut payload = Vec::with_capacity(self.payload.len());
        self.append_unmasked(&mut payload);
        payload
    }

    /// Unmasks eight bytes at a time, since this loop is most of what a WebSocket costs the server beyond a raw socket.
    pub fn append_unmasked(&self, out: &mut Vec<u8>) {
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

/// The length of a frame's payload, and where its mask begins; `None` while the length is incomplete.
fn payload_length(input: &[u8], short: u8) -> Option<(u64, usize)> {
    match short {
        126 => input[2..].first_chunk().map(|&length| (u64::from(u16::from_be_bytes(length)), 4)),
        127 => input[2..].first_chunk().map(|&length| (u64::from_be_bytes(length), 10)),
        length => Some((u64::from(length), 2)),
    }
}
