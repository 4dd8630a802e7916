//! WebSocket messages as scripts read them: text or binary, whole, and of a limited length.

use bytes::{Buf, BytesMut};

pub use super::reader::Message;
use super::reader::{End, Reader};
use super::{Role, Status};

/// The connection is over. The status is the other end's, or the one that tells it what it did wrong; the close frame for it
/// is among the answers.
#[derive(Debug, PartialEq, Eq)]
pub struct Closed(pub Status);

/// Finds messages in what the other end sends.
pub struct Messages(Reader);

impl Messages {
    /// `max` is the most bytes of a message, whether it comes whole or in fragments.
    pub fn new(role: Role, max: usize) -> Self {
        Self(Reader::new(role, max))
    }

    /// Removes the next message from `input`; `None` while it holds no whole one. What has to be answered (Pong, close) is
    /// appended to `answers` as frames.
    pub fn next(&mut self, input: &mut BytesMut, answers: &mut Vec<u8>) -> Result<Option<Message>, Closed> {
        self.find(input, answers).map_err(|end| match end {
            // A close frame without a status means a normal end.
            End::Closed(status) => Closed(status.unwrap_or(Status::NORMAL)),
            End::Refused(status) => Closed(status),
        })
    }

    fn find(&mut self, input: &mut BytesMut, answers: &mut Vec<u8>) -> Result<Option<Message>, End> {
        while let Some(frame) = self.0.frame(input, answers)? {
            let length = frame.length;
            let message = self.0.accept(&frame, answers)?;
            input.advance(length);
            match message {
                Some(text) if text.is_text && std::str::from_utf8(&text.data).is_err() => {
                    return Err(self.0.refuse(Status::NOT_TEXT, answers));
                }
                Some(message) => return Ok(Some(message)),
                None => {}
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::super::frame::Frame;
    use super::super::tests::client_frame as frame;
    use super::super::{BINARY, CLOSE, FINAL, MASKED, PING, PONG, TEXT};
    use super::*;

    fn read(input: &[u8]) -> (Result<Option<Message>, Closed>, Vec<u8>) {
        let mut answers = Vec::new();
        let found = Messages::new(Role::Server, 1000).next(&mut BytesMut::from(input), &mut answers);
        (found, answers)
    }

    fn text(data: &str) -> Message {
        Message { data: data.into(), is_text: true }
    }

    #[test]
    fn messages_are_read_one_after_the_other() {
        let input = [frame(FINAL | TEXT, b"one"), frame(FINAL | BINARY, b""), frame(FINAL | TEXT, b"two")].concat();
        let (mut input, mut answers) = (BytesMut::from(&input[..]), Vec::new());
        let mut messages = Messages::new(Role::Server, 10);
        assert_eq!(messages.next(&mut input, &mut answers), Ok(Some(text("one"))));
        assert_eq!(messages.next(&mut input, &mut answers), Ok(Some(Message { data: vec![], is_text: false })));
        assert_eq!(messages.next(&mut input, &mut answers), Ok(Some(text("two"))));
        assert_eq!(messages.next(&mut input, &mut answers), Ok(None));
    }

    #[test]
    fn a_fragmented_message_is_put_together_around_a_ping() {
        let input = [frame(TEXT, b"o"), frame(FINAL | PING, b"p"), frame(0, b"n"), frame(FINAL, b"e")].concat();
        assert_eq!(read(&input), (Ok(Some(text("one"))), b"\x8a\x01p".to_vec()));
    }

    #[test]
    fn a_close_frame_tells_its_status_and_is_answered() {
        assert_eq!(read(&frame(FINAL | CLOSE, &[0x0F, 0xA1, b'!'])).0, Err(Closed(Status(4001))));
        assert_eq!(read(&frame(FINAL | CLOSE, &[0x0F, 0xA1])).1, [0x88, 2, 0x0F, 0xA1]);
        assert_eq!(read(&frame(FINAL | CLOSE, b"")), (Err(Closed(Status::NORMAL)), vec![0x88, 0]));
    }

    #[test]
    fn a_message_beyond_the_limit_is_refused_whole_or_in_pieces() {
        let pieces = [frame(BINARY, &[0; 600]), frame(FINAL, &[0; 600])].concat();
        for input in [frame(FINAL | BINARY, &[0; 1001]), pieces] {
            assert_eq!(read(&input), (Err(Closed(Status::UNACCEPTABLE)), vec![0x88, 2, 0x03, 0xEB]));
        }
    }

    #[test]
    fn text_has_to_be_utf8() {
        assert_eq!(read(&frame(FINAL | TEXT, b"\xff")).0, Err(Closed(Status::NOT_TEXT)));
        assert!(read(&frame(FINAL | BINARY, b"\xff")).0.is_ok());
    }

    #[test]
    fn what_the_rfc_forbids_is_refused() {
        for input in [vec![FINAL | TEXT, 1, b'x'], frame(FINAL, b"x"), [frame(TEXT, b"x"), frame(TEXT, b"y")].concat()]
        {
            assert_eq!(read(&input).0, Err(Closed(Status::PROTOCOL_ERROR)));
        }
    }

    #[test]
    fn what_one_end_sends_the_other_understands_and_its_own_kind_does_not() {
        for (from, to) in [(Role::Client, Role::Server), (Role::Server, Role::Client)] {
            for length in [0, 1, 125, 126, 65_535, 65_536] {
                let (data, mut sent, mut answers) = (vec![7; length], Vec::new(), Vec::new());
                from.encode(BINARY, &data, &mut sent);
                let whole = Messages::new(to, 100_000).next(&mut BytesMut::from(&sent[..]), &mut answers);
                assert_eq!(whole, Ok(Some(Message { data, is_text: false })));
                let cut = Messages::new(to, 100_000).next(&mut BytesMut::from(&sent[..sent.len() - 1]), &mut answers);
                assert_eq!(cut, Ok(None));
                let own = Messages::new(from, 100_000).next(&mut BytesMut::from(&sent[..]), &mut answers);
                assert_eq!(own, Err(Closed(Status::PROTOCOL_ERROR)));
            }
        }
    }

    #[test]
    fn what_a_client_answers_is_masked_like_all_it_sends() {
        for (asked, answer) in [
            (&b"\x89\x02hi"[..], frame(FINAL | PONG, b"hi")),
            (b"\x88\x02\x0f\xa1", frame(FINAL | CLOSE, b"\x0f\xa1")),
            (b"\x88\0", frame(FINAL | CLOSE, b"")),
            (b"\x83\0", frame(FINAL | CLOSE, b"\x03\xea")),
        ] {
            let mut answers = Vec::new();
            let _ = Messages::new(Role::Client, 10).next(&mut BytesMut::from(asked), &mut answers);
            let unmasked =
                |frame: &[u8]| Frame::parse::<MASKED>(frame, 10).ok().flatten().map(|frame| frame.unmasked());
            assert_eq!((&answers[..2], unmasked(&answers)), (&answer[..2], unmasked(&answer)));
        }
    }

    #[test]
    fn a_client_uses_another_mask_for_each_frame() {
        let masks: HashSet<Vec<u8>> = (0..9)
            .map(|_| {
                let mut sent = Vec::new();
                Role::Client.encode(TEXT, b"", &mut sent);
                sent[2..].to_vec()
            })
            .collect();
        // That even two are the same is possible, and does not happen.
        assert_eq!(masks.len(), 9);
    }
}
