//! MQTT 3.1.1 at QoS 0, as far as a load needs it.

use anyhow::{Context, Result, bail};

use super::{Event, Role, Session, Step, reply_topic};

// The first bytes of what is sent.
const CONNECT: u8 = 0x10;
const PUBLISH: u8 = 0x30;
const SUBSCRIBE: u8 = 0x82;
const DISCONNECT: u8 = 0xE0;

// The types of what is received.
const CONNACK: u8 = 2;
const PUBLISHED: u8 = 3;
const SUBACK: u8 = 9;

/// Protocol name and level, a clean session, no keepalive.
const CONNECT_HEAD: &[u8] = b"\0\x04MQTT\x04\x02\0\0";

pub struct Mqtt {
    uid: String,
    subscription: Option<String>,
    destination: String,
}

impl Mqtt {
    pub fn new(role: &Role, uid: &str) -> Self {
        let (subscription, destination) = match role {
            Role::Publisher(topic) => (None, topic.clone()),
            Role::Subscriber(topic) => (Some(topic.clone()), String::new()),
            Role::Requester(topic) => (Some(reply_topic(topic)), topic.clone()),
            Role::Responder(topic) => (Some(topic.clone()), reply_topic(topic)),
        };
        Self { uid: uid.to_owned(), subscription, destination }
    }

    fn handle<'a>(&mut self, kind: u8, body: &'a [u8], out: &mut Vec<u8>) -> Result<Event<'a>> {
        match (kind, body) {
            (PUBLISHED, [high, low, rest @ ..]) => {
                let topic = usize::from(u16::from_be_bytes([*high, *low]));
                Ok(Event::Message(rest.get(topic..).context("the broker sent a PUBLISH that ends early")?))
            }
            (CONNACK, [_, 0]) => match &self.subscription {
                None => Ok(Event::Ready),
                Some(topic) => {
                    write_packet(SUBSCRIBE, &[&[0, 1], &length(topic), topic.as_bytes(), &[0]], out);
                    Ok(Event::Housekeeping)
                }
            },
            (CONNACK, [_, code]) => bail!("the broker refused the client with code {code}"),
            (SUBACK, [_, _, 0]) => Ok(Event::Ready),
            (SUBACK, _) => bail!("the broker refused the topic"),
            _ => bail!("the broker sent an unexpected packet of type {kind}"),
        }
    }
}

impl Session for Mqtt {
    fn start(&mut self, out: &mut Vec<u8>) {
        write_packet(CONNECT, &[CONNECT_HEAD, &length(&self.uid), self.uid.as_bytes()], out);
    }

    fn decode<'a>(&mut self, input: &'a [u8], out: &mut Vec<u8>) -> Step<'a> {
        let Some((head, length)) = lengths(input)? else { return Ok(None) };
        let Some(body) = input.get(head..length) else { return Ok(None) };
        Ok(Some((length, self.handle(input[0] >> 4, body, out)?)))
    }

    fn publish(&mut self, payload: &[u8], out: &mut Vec<u8>) {
        let topic = &self.destination;
        write_packet(PUBLISH, &[&length(topic), topic.as_bytes(), payload], out);
    }

    fn reply(&mut self, payload: &[u8], out: &mut Vec<u8>) {
        self.publish(payload, out);
    }

    fn disconnect(&mut self, out: &mut Vec<u8>) {
        write_packet(DISCONNECT, &[], out);
    }
}

fn length(text: &str) -> [u8; 2] {
    (text.len() as u16).to_be_bytes()
}

fn write_packet(first: u8, parts: &[&[u8]], out: &mut Vec<u8>) {
    out.push(first);
    let mut left: usize = parts.iter().map(|part| part.len()).sum();
    while left > 0x7F {
        out.push((left & 0x7F) as u8 | 0x80);
        left >>= 7;
    }
    out.push(left as u8);
    parts.iter().for_each(|part| out.extend_from_slice(part));
}

/// The length of the packet's head, and of the whole packet.
fn lengths(input: &[u8]) -> Result<Option<(usize, usize)>> {
    let mut size = 0;
    for (index, byte) in input.iter().skip(1).take(4).enumerate() {
        size |= usize::from(byte & 0x7F) << (7 * index);
        if byte & 0x80 == 0 {
            return Ok(Some((index + 2, index + 2 + size)));
        }
    }
    if input.len() > 4 {
        bail!("the broker sent a malformed length");
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_of_any_size_is_read_as_written() {
        for size in [0, 127, 128, 16_383, 16_384, 70_000] {
            let mut wire = Vec::new();
            write_packet(PUBLISH, &[&vec![7; size]], &mut wire);
            let (head, length) = lengths(&wire).unwrap().unwrap();
            assert_eq!((length, length - head), (wire.len(), size));
        }
    }

    #[test]
    fn a_requester_subscribes_to_its_replies() {
        let mut session = Mqtt::new(&Role::Requester("t".into()), "u");
        let mut out = Vec::new();
        session.start(&mut out);
        assert_eq!(out, b"\x10\x0D\0\x04MQTT\x04\x02\0\0\0\x01u");
        out.clear();
        session.decode(&[0x20, 2, 0, 0], &mut out).unwrap();
        assert_eq!(out, b"\x82\x0C\0\x01\0\x07t.reply\0");
        assert_eq!(session.decode(&[0x90, 3, 0, 1, 0], &mut out).unwrap(), Some((5, Event::Ready)));
        assert_eq!(session.decode(b"\x30\x05\0\x01thi", &mut out).unwrap(), Some((7, Event::Message(b"hi"))));
    }
}
