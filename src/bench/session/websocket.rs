//! The part of the WebSocket protocol (RFC 6455) that a client needs whose messages are binary and not fragmented.

use anyhow::{Result, bail};

use crate::transport::websocket::{BINARY, CLOSE, PING, PONG};

const FINAL: u8 = 0x80;
const MASKED: u8 = 0x80;
/// A constant mask is enough here. Random masks protect proxies from malicious scripts in browsers.
const MASK: [u8; 4] = [0x5A, 0xC3, 0x96, 0x0F];

/// The headers of the request that come after Host.
pub const HEADERS: &str = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                           Sec-WebSocket-Key: c21xIGJlbmNoIGNsaWVudA==\r\n";

/// A frame of the server: its payload, if it is a binary message, and the length of the whole frame.
pub struct Frame<'a> {
    pub message: Option<&'a [u8]>,
    pub length: usize,
}

/// Appends a client's frame.
pub fn encode(opcode: u8, payload: &[u8], out: &mut Vec<u8>) {
    out.push(FINAL | opcode);
    match payload.len() {
        length @ 0..126 => out.push(MASKED | length as u8),
        length @ 126..0x1_0000 => {
            out.push(MASKED | 126);
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            out.push(MASKED | 127);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(&MASK);
    out.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
}

/// The frame that `input` begins with, `None` while it is incomplete. Answers a Ping.
pub fn decode<'a>(input: &'a [u8], out: &mut Vec<u8>) -> Result<Option<Frame<'a>>> {
    let Some((head, length)) = lengths(input)? else { return Ok(None) };
    let Some(payload) = input.get(head..length) else { return Ok(None) };
    let message = match input[0] & 0x0F {
        BINARY => Some(payload),
        PING => {
            encode(PONG, payload, out);
            None
        }
        PONG => None,
        CLOSE => bail!("the broker closed the WebSocket"),
        other => bail!("the broker sent a WebSocket frame with opcode {other}"),
    };
    Ok(Some(Frame { message, length }))
}

/// The length of the head, and of the whole frame.
fn lengths(input: &[u8]) -> Result<Option<(usize, usize)>> {
    let [first, second, rest @ ..] = input else { return Ok(None) };
    if first & FINAL == 0 {
        bail!("the broker fragments its messages, which SMQ servers never do");
    }
    Ok(match second {
        126 => rest.first_chunk().map(|&bytes| (4, usize::from(u16::from_be_bytes(bytes)))),
        127 => rest.first_chunk().map(|&bytes| (10, u64::from_be_bytes(bytes) as usize)),
        128.. => bail!("the broker masks its WebSocket frames"),
        short => Some((2, usize::from(*short))),
    }
    .map(|(head, payload): (usize, usize)| (head, head.saturating_add(payload))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::websocket;

    #[test]
    fn the_server_can_read_the_frames_of_a_client() {
        for length in [1, 125, 126, 65_000] {
            let (mut sent, mut packets) = (Vec::new(), Vec::new());
            encode(BINARY, &vec![8; length], &mut sent);
            let decoded = websocket::Decoder::default().decode(&sent, &mut packets, &mut Vec::new());
            assert_eq!((decoded.consumed, decoded.stop, packets.len()), (sent.len(), None, length + 2));
        }
    }

    #[test]
    fn a_frame_of_the_server_is_read_when_it_is_complete() {
        for length in [0, 125, 126, 65_535, 65_536] {
            let (mut sent, mut out) = (Vec::new(), Vec::new());
            websocket::encode(BINARY, &vec![8; length], &mut sent);
            assert!(decode(&sent[..sent.len() - 1], &mut out).unwrap().is_none());
            let frame = decode(&sent, &mut out).unwrap().unwrap();
            assert_eq!((frame.length, frame.message.map(<[u8]>::len)), (sent.len(), Some(length)));
        }
    }
}
