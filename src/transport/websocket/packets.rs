//! A client's messages as raw SMQ frames: each message is one packet.

use super::frame::Frame;
use super::reader::{End, Reader};
use super::{MASKED, Role};
use crate::protocol::{FRAME_HEAD, MAX_BODY};
use crate::transport::Stop;

/// The most bytes of a message: a packet's type and body.
const MAX_MESSAGE: usize = 1 + MAX_BODY;

impl From<End> for Stop {
    fn from(_: End) -> Self {
        Self::WebSocket
    }
}

/// What [`Decoder::decode`] made of its input.
#[derive(Debug, PartialEq, Eq)]
pub struct Decoded {
    /// How much of the input was used; the rest is the beginning of a frame.
    pub consumed: usize,
    /// Set when the connection ends behind what was decoded.
    pub stop: Option<Stop>,
}

/// Makes raw SMQ frames of a client's frames. Keeps the fragments of a message until its last one has come.
pub struct Decoder(Reader);

impl Default for Decoder {
    fn default() -> Self {
        Self(Reader::new(Role::Server, MAX_MESSAGE))
    }
}

impl Decoder {
    /// Decodes the whole frames of `input`: appends their messages to `packets` as raw SMQ frames, and what must be
    /// answered (Pong, close) to `answers` as WebSocket frames.
    pub fn decode(&mut self, input: &[u8], packets: &mut Vec<u8>, answers: &mut Vec<u8>) -> Decoded {
        let mut consumed = 0;
        loop {
            let step = match self.0.frame(&input[consumed..], answers) {
                Ok(None) => return Decoded { consumed, stop: None },
                Ok(Some(frame)) => {
                    consumed += frame.length;
                    self.accept(&frame, packets, answers)
                }
                Err(end) => Err(end.into()),
            };
            if let Err(stop) = step {
                return Decoded { consumed, stop: Some(stop) };
            }
        }
    }

    fn accept(&mut self, frame: &Frame<'_>, packets: &mut Vec<u8>, answers: &mut Vec<u8>) -> Result<(), Stop> {
        // A whole message is unmasked right into its place; one that came in fragments has to be copied.
        if self.0.is_message(frame) {
            begin_packet(frame.payload.len(), packets)?;
            frame.append_unmasked(packets);
        } else if let Some(message) = self.0.accept(frame, answers)? {
            begin_packet(message.data.len(), packets)?;
            packets.extend_from_slice(&message.data);
        }
        Ok(())
    }
}

/// Appends the head of a raw frame for a message of `length` bytes, which is at most [`MAX_MESSAGE`].
fn begin_packet(length: usize, packets: &mut Vec<u8>) -> Result<(), Stop> {
    if length == 0 {
        return Err(Stop::Malformed);
    }
    packets.extend_from_slice(&((length + FRAME_HEAD - 1) as u16).to_be_bytes());
    Ok(())
}

/// The length of the client's frame at the start of `input`; `None` while it is incomplete. If no frame can begin like that,
/// all of `input`, for the decoder to refuse.
pub fn client_frame_length(input: &[u8]) -> Option<usize> {
    match Frame::parse::<MASKED>(input, MAX_MESSAGE) {
        Ok(frame) => frame.map(|frame| frame.length),
        Err(_) => Some(input.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::client_frame;
    use super::super::{BINARY, CLOSE, FINAL, PING, TEXT};
    use super::*;

    fn decode(input: &[u8]) -> (Decoded, Vec<u8>, Vec<u8>) {
        let (mut packets, mut answers) = (Vec::new(), Vec::new());
        let decoded = Decoder::default().decode(input, &mut packets, &mut answers);
        (decoded, packets, answers)
    }

    #[test]
    fn a_message_becomes_a_raw_frame() {
        let input = client_frame(FINAL | BINARY, b"\x04news");
        let (decoded, packets, answers) = decode(&input);
        assert_eq!(decoded, Decoded { consumed: input.len(), stop: None });
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
            assert_eq!(decode(&input[..input.len() - 1]).0, Decoded { consumed: 0, stop: None });
        }
    }

    #[test]
    fn a_fragmented_message_is_one_packet_and_a_ping_may_come_in_between() {
        let mut input = client_frame(BINARY, b"\x04ne");
        input.extend(client_frame(FINAL | PING, b"hello"));
        input.extend(client_frame(FINAL, b"ws"));
        let (decoded, packets, answers) = decode(&input);
        assert_eq!(decoded.stop, None);
        assert_eq!(packets, b"\x00\x07\x04news");
        assert_eq!(answers, b"\x8a\x05hello");
    }

    #[test]
    fn a_close_frame_is_answered() {
        let (decoded, _, answers) = decode(&client_frame(FINAL | CLOSE, &[0x03, 0xE8, b'b', b'y', b'e']));
        assert_eq!(decoded.stop, Some(Stop::WebSocket));
        assert_eq!(answers, [0x88, 2, 0x03, 0xE8]);
    }

    #[test]
    fn what_the_rfc_forbids_is_refused_with_1002() {
        for input in [
            vec![FINAL | BINARY, 1, 12],                                       // no mask
            client_frame(FINAL | 0x40 | BINARY, b"x"),                         // a reserved bit
            client_frame(FINAL | 3, b""),                                      // an unknown opcode
            client_frame(FINAL | 0xB, b""),                                    // an unknown control frame
            client_frame(FINAL, b"x"),                                         // a continuation of nothing
            client_frame(PING, b"x"),                                          // a fragmented control frame
            client_frame(CLOSE, b""),                                          // another
            client_frame(FINAL | PING, &[0; 126]),                             // a long control frame
            [client_frame(BINARY, b"x"), client_frame(BINARY, b"y")].concat(), // a message within a message
        ] {
            let (decoded, _, answers) = decode(&input);
            assert_eq!(decoded.stop, Some(Stop::WebSocket), "{input:?}");
            assert_eq!(answers, [0x88, 2, 0x03, 0xEA]);
        }
    }

    #[test]
    fn a_message_in_fragments_may_be_as_long_as_a_whole_one() {
        let fragmented = [client_frame(BINARY, &[8; MAX_MESSAGE - 1]), client_frame(FINAL, b"x")].concat();
        let (decoded, packets, answers) = decode(&fragmented);
        assert_eq!((decoded.stop, packets.len(), answers.len()), (None, 2 + MAX_MESSAGE, 0));
    }

    #[test]
    fn a_message_that_fits_no_packet_is_refused_with_1003() {
        let whole = client_frame(FINAL | BINARY, &[8; MAX_MESSAGE + 1]);
        let fragmented = [client_frame(BINARY, &[8; MAX_MESSAGE]), client_frame(FINAL, b"x")].concat();
        for input in [whole, fragmented] {
            let (decoded, packets, answers) = decode(&input);
            assert_eq!(decoded.stop, Some(Stop::WebSocket));
            assert!(packets.is_empty());
            assert_eq!(answers, [0x88, 2, 0x03, 0xEB]);
        }
    }

    #[test]
    fn an_empty_message_ends_the_connection() {
        assert_eq!(decode(&client_frame(FINAL | BINARY, b"")).0.stop, Some(Stop::Malformed));
        let fragmented = [client_frame(BINARY, b""), client_frame(FINAL, b"")].concat();
        assert_eq!(decode(&fragmented).0.stop, Some(Stop::Malformed));
    }
}
