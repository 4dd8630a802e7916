//! WebSocket messages of any use, for scripts: text or binary, whole, and of a limited length.

use bytes::{Buf, BytesMut};

use super::{BINARY, CLOSE, CONTINUATION, Frame, PING, PONG, Status, TEXT, encode, encode_close};

/// A message as a script reads it.
#[derive(Debug, PartialEq, Eq)]
pub struct Message {
    pub data: Vec<u8>,
    pub is_text: bool,
}

/// The connection is over, with this status: the client's, or the one that tells the client what it did wrong. The close
/// frame for the client is among the answers.
#[derive(Debug, PartialEq, Eq)]
pub struct Closed(pub Status);

/// Finds messages in what a client sends. Holds the part of a fragmented message that has come so far.
pub struct Messages {
    max: usize,
    fragments: Option<Message>,
}

impl Messages {
    /// `max` is the length of the longest message, in bytes; so long may also grow what is held of a fragmented one.
    pub fn new(max: usize) -> Self {
        Self { max, fragments: None }
    }

    /// Takes the next message from `input`; `None` if it holds no whole one. What has to be answered meanwhile is
    /// appended to `answers` as WebSocket frames.
    pub fn next(&mut self, input: &mut BytesMut, answers: &mut Vec<u8>) -> Result<Option<Message>, Closed> {
        let found = self.find(input, answers);
        if let Err(Ending::Refused(status)) = found {
            encode_close(status, answers);
        }
        found.map_err(|ending| match ending {
            Ending::Closed(status) | Ending::Refused(status) => Closed(status),
        })
    }

    fn find(&mut self, input: &mut BytesMut, answers: &mut Vec<u8>) -> Result<Option<Message>, Ending> {
        while let Some(frame) = Frame::parse(input, self.max).map_err(Ending::Refused)? {
            let length = frame.length;
            let message = self.accept(&frame, answers)?;
            input.advance(length);
            if message.is_some() {
                return Ok(message);
            }
        }
        Ok(None)
    }

    fn accept(&mut self, frame: &Frame<'_>, answers: &mut Vec<u8>) -> Result<Option<Message>, Ending> {
        match frame.opcode {
            TEXT | BINARY if self.fragments.is_some() => Err(Ending::Refused(Status::PROTOCOL_ERROR)),
            TEXT | BINARY => {
                self.fragments = Some(Message { data: Vec::new(), is_text: frame.opcode == TEXT });
                self.collect(frame)
            }
            CONTINUATION => self.collect(frame),
            PING => {
                encode(PONG, &frame.unmasked(), answers);
                Ok(None)
            }
            PONG => Ok(None),
            // A close frame: Frame::parse lets no other opcode through.
            _ => Err(close(frame, answers)),
        }
    }

    fn collect(&mut self, frame: &Frame<'_>) -> Result<Option<Message>, Ending> {
        let Some(message) = self.fragments.as_mut() else { return Err(Ending::Refused(Status::PROTOCOL_ERROR)) };
        if message.data.len() + frame.payload.len() > self.max {
            return Err(Ending::Refused(Status::UNACCEPTABLE));
        }
        frame.append_unmasked(&mut message.data);
        if !frame.is_final {
            return Ok(None);
        }
        let message = self.fragments.take();
        match &message {
            Some(text) if text.is_text && std::str::from_utf8(&text.data).is_err() => {
                Err(Ending::Refused(Status::NOT_TEXT))
            }
            _ => Ok(message),
        }
    }
}

enum Ending {
    /// The client has closed, and was answered.
    Closed(Status),
    /// The client has to be told.
    Refused(Status),
}

/// Answers a close frame with the same status; one without a status says that all is well.
fn close(frame: &Frame<'_>, answers: &mut Vec<u8>) -> Ending {
    let payload = frame.unmasked();
    match payload.first_chunk() {
        Some(&status) => {
            encode(CLOSE, &status, answers);
            Ending::Closed(Status(u16::from_be_bytes(status)))
        }
        None => {
            encode(CLOSE, b"", answers);
            Ending::Closed(Status::NORMAL)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{FINAL, MASKED};
    use super::*;

    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![first];
        match payload.len() {
            length @ 0..126 => frame.push(MASKED | length as u8),
            length => {
                frame.push(MASKED | 126);
                frame.extend((length as u16).to_be_bytes());
            }
        }
        frame.extend([1, 2, 3, 4]);
        frame.extend(payload.iter().zip([1, 2, 3, 4].iter().cycle()).map(|(byte, mask)| byte ^ mask));
        frame
    }

    fn read(input: &[u8]) -> (Result<Option<Message>, Closed>, Vec<u8>) {
        let mut answers = Vec::new();
        let found = Messages::new(1000).next(&mut BytesMut::from(input), &mut answers);
        (found, answers)
    }

    fn text(data: &str) -> Message {
        Message { data: data.into(), is_text: true }
    }

    #[test]
    fn messages_are_read_one_after_the_other() {
        let input = [frame(FINAL | TEXT, b"one"), frame(FINAL | BINARY, b""), frame(FINAL | TEXT, b"two")].concat();
        let (mut input, mut answers) = (BytesMut::from(&input[..]), Vec::new());
        let mut messages = Messages::new(10);
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
}
