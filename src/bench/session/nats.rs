//! The text protocol of NATS, as far as a load needs it.

use std::io::Write;

use anyhow::{Context, Result, bail};

use super::{Event, Role, Session, Step, reply_topic};

/// The longest line a server may send; its INFO is the long one.
const MAX_LINE: usize = 64 * 1024;

pub struct Nats {
    uid: String,
    subscription: Option<String>,
    /// The words of a PUB in front of the payload's length.
    publish_words: Vec<u8>,
    /// Where to send the answer to the message that was received last.
    reply_subject: Vec<u8>,
}

impl Nats {
    pub fn new(role: &Role, uid: &str) -> Self {
        let (subscription, publish_words) = match role {
            Role::Publisher(topic) => (None, format!("PUB {topic} ")),
            Role::Subscriber(topic) | Role::Responder(topic) => (Some(topic.clone()), String::new()),
            Role::Requester(topic) => (Some(reply_topic(topic)), format!("PUB {topic} {} ", reply_topic(topic))),
        };
        Self { uid: uid.to_owned(), subscription, publish_words: publish_words.into(), reply_subject: Vec::new() }
    }

    fn connect(&self, out: &mut Vec<u8>) {
        let name = &self.uid;
        let connect = format!(r#"CONNECT {{"verbose":false,"pedantic":false,"lang":"rust","name":"{name}"}}"#) + "\r\n";
        out.extend_from_slice(connect.as_bytes());
        if let Some(subject) = &self.subscription {
            out.extend_from_slice(format!("SUB {subject} 1\r\n").as_bytes());
        }
        // The PONG tells that the lines before it were accepted.
        out.extend_from_slice(b"PING\r\n");
    }

    /// Takes `MSG subject sid [reply] length`, a line of `head` bytes, and the payload that follows.
    fn message<'a>(&mut self, line: &str, head: usize, input: &'a [u8]) -> Step<'a> {
        let mut words = line.split(' ').skip(3);
        let (reply, length) = match (words.next(), words.next()) {
            (Some(reply), Some(length)) => (reply, length),
            (Some(length), None) => ("", length),
            _ => bail!("the broker sent a malformed line: {line}"),
        };
        let length: usize = length.parse().with_context(|| format!("the broker sent a malformed line: {line}"))?;
        let end = head.saturating_add(length);
        let Some(payload) = input.get(head..end).filter(|_| input.len() >= end + 2) else { return Ok(None) };
        self.reply_subject.clear();
        self.reply_subject.extend_from_slice(reply.as_bytes());
        Ok(Some((end + 2, Event::Message(payload))))
    }

    fn handle(&self, line: &str, out: &mut Vec<u8>) -> Result<Event<'static>> {
        match line.split(' ').next() {
            Some("PONG") => return Ok(Event::Ready),
            Some("PING") => out.extend_from_slice(b"PONG\r\n"),
            Some("INFO") => self.connect(out),
            _ => bail!("the broker sent {line}"),
        }
        Ok(Event::Housekeeping)
    }
}

impl Session for Nats {
    fn start(&mut self, _out: &mut Vec<u8>) {
        // The server speaks first.
    }

    fn decode<'a>(&mut self, input: &'a [u8], out: &mut Vec<u8>) -> Step<'a> {
        let Some(newline) = input.iter().position(|&byte| byte == b'\n') else {
            if input.len() > MAX_LINE {
                bail!("the broker sent a line without an end");
            }
            return Ok(None);
        };
        let line = str::from_utf8(&input[..newline])?.trim_end();
        if line.starts_with("MSG ") {
            return self.message(line, newline + 1, input);
        }
        Ok(Some((newline + 1, self.handle(line, out)?)))
    }

    fn publish(&mut self, payload: &[u8], out: &mut Vec<u8>) {
        write_publish(&self.publish_words, payload, out);
    }

    fn reply(&mut self, payload: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(b"PUB ");
        out.extend_from_slice(&self.reply_subject);
        write_publish(b" ", payload, out);
    }

    fn disconnect(&mut self, _out: &mut Vec<u8>) {
        // Clients leave by closing the connection.
    }
}

fn write_publish(words: &[u8], payload: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(words);
    // Writing to a vector does not fail.
    let _ = write!(out, "{}\r\n", payload.len());
    out.extend_from_slice(payload);
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_requester_subscribes_to_its_replies() {
        let mut session = Nats::new(&Role::Requester("t".into()), "u");
        let mut out = Vec::new();
        session.decode(b"INFO {}\r\n", &mut out).unwrap();
        assert!(out.ends_with(b"}\r\nSUB t.reply 1\r\nPING\r\n"));
        assert_eq!(session.decode(b"PONG\r\n", &mut out).unwrap(), Some((6, Event::Ready)));
        out.clear();
        session.publish(b"hi", &mut out);
        assert_eq!(out, b"PUB t t.reply 2\r\nhi\r\n");
    }

    #[test]
    fn a_reply_goes_where_the_message_says() {
        let mut session = Nats::new(&Role::Responder("t".into()), "u");
        let mut out = Vec::new();
        assert_eq!(session.decode(b"MSG t 1 r 2\r\nhi\r", &mut out).unwrap(), None);
        assert_eq!(session.decode(b"MSG t 1 r 2\r\nhi\r\n", &mut out).unwrap(), Some((17, Event::Message(b"hi"))));
        session.reply(b"yo", &mut out);
        assert_eq!(out, b"PUB r 2\r\nyo\r\n");
    }
}
