//! The rules of RFC 6455 for the frames that one end sends: which may follow which, what is a message, what is answered.

use super::frame::Frame;
use super::{BINARY, CLOSE, CONTINUATION, PING, PONG, Role, Status, TEXT};

/// A whole message.
#[derive(Debug, PartialEq, Eq)]
pub struct Message {
    pub data: Vec<u8>,
    pub is_text: bool,
}

/// What ends a WebSocket; the close frame for it is among the answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The other end has closed, with this status if any.
    Closed(Option<Status>),
    /// The other end has broken the rules, and is told this status.
    Refused(Status),
}

/// Makes messages of the other end's frames. Keeps the fragments of a message until its last one has come.
pub struct Reader {
    role: Role,
    max: usize,
    fragments: Option<Message>,
}

impl Reader {
    /// `max` is the most bytes of a message, whether it comes whole or in fragments.
    pub fn new(role: Role, max: usize) -> Self {
        Self { role, max, fragments: None }
    }

    /// Parses the frame at the start of `input`; `None` while it is incomplete.
    #[inline]
    pub fn frame<'a>(&self, input: &'a [u8], answers: &mut Vec<u8>) -> Result<Option<Frame<'a>>, End> {
        self.role.parse(input, self.max).map_err(|status| self.refuse(status, answers))
    }

    /// Whether the frame is a whole message, as most frames are.
    pub fn is_message(&self, frame: &Frame<'_>) -> bool {
        frame.is_final && matches!(frame.opcode, TEXT | BINARY) && self.fragments.is_none()
    }

    /// Handles the next frame; returns the message of which it is the last frame, if it is. What has to be answered (Pong,
    /// close) is appended to `answers` as frames.
    pub fn accept(&mut self, frame: &Frame<'_>, answers: &mut Vec<u8>) -> Result<Option<Message>, End> {
        match frame.opcode {
            TEXT | BINARY if self.fragments.is_some() => Err(self.refuse(Status::PROTOCOL_ERROR, answers)),
            TEXT | BINARY => {
                self.fragments = Some(Message { data: Vec::new(), is_text: frame.opcode == TEXT });
                self.collect(frame, answers)
            }
            CONTINUATION => self.collect(frame, answers),
            PING => {
                self.role.encode(PONG, &frame.unmasked(), answers);
                Ok(None)
            }
            PONG => Ok(None),
            // A close frame, since Frame::parse refuses all other opcodes.
            _ => Err(self.close(frame, answers)),
        }
    }

    /// Tells the other end in a close frame what it did wrong.
    pub fn refuse(&self, status: Status, answers: &mut Vec<u8>) -> End {
        self.role.encode_close(status, answers);
        End::Refused(status)
    }

    fn collect(&mut self, frame: &Frame<'_>, answers: &mut Vec<u8>) -> Result<Option<Message>, End> {
        let Some(message) = &mut self.fragments else { return Err(self.refuse(Status::PROTOCOL_ERROR, answers)) };
        if message.data.len() + frame.payload.len() > self.max {
            return Err(self.refuse(Status::UNACCEPTABLE, answers));
        }
        frame.append_unmasked(&mut message.data);
        Ok(if frame.is_final { self.fragments.take() } else { None })
    }

    /// Answers a close frame with its own status.
    fn close(&self, frame: &Frame<'_>, answers: &mut Vec<u8>) -> End {
        match Status::of_close(&frame.unmasked()) {
            Err(status) => self.refuse(status, answers),
            Ok(status) => {
                match status {
                    Some(status) => self.role.encode_close(status, answers),
                    None => self.role.encode(CLOSE, b"", answers),
                }
                End::Closed(status)
            }
        }
    }
}
