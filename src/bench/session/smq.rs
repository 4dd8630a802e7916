//! SMQ, in raw frames or over WebSocket.

use anyhow::{Context, Result, bail};

use super::{Event, Role, Session, Step, websocket};
use crate::protocol::{Connect, Etid, Packet, Publish, ReturnCode, Subtid, Target, VERSION, decode_frame};
use crate::transport::websocket::BINARY;

pub struct Smq {
    is_websocket: bool,
    request: String,
    uid: String,
    role: Role,
    awaits_response: bool,
    etid: Etid,
    /// Where this client publishes to.
    topic: Target,
    /// Who sent the message received last.
    last_publisher: Etid,
    /// A raw frame on its way into a WebSocket.
    frame: Vec<u8>,
}

impl Smq {
    pub fn raw(role: &Role, uid: &str, host: &str, path: &str) -> Self {
        Self::new(false, "SimpleMQ: 1\r\nSendSmqHttpResponse: true\r\n", role, uid, host, path)
    }

    pub fn websocket(role: &Role, uid: &str, host: &str, path: &str) -> Self {
        Self::new(true, websocket::HEADERS, role, uid, host, path)
    }

    fn new(is_websocket: bool, headers: &str, role: &Role, uid: &str, host: &str, path: &str) -> Self {
        Self {
            is_websocket,
            request: format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{headers}\r\n"),
            uid: uid.to_owned(),
            role: role.clone(),
            awaits_response: true,
            etid: Etid(0),
            topic: Target(0),
            last_publisher: Etid(0),
            frame: Vec::new(),
        }
    }

    fn response<'a>(&mut self, input: &'a [u8]) -> Step<'a> {
        let Some(end) = input.windows(4).position(|window| window == b"\r\n\r\n") else { return Ok(None) };
        let head = String::from_utf8_lossy(&input[..end]);
        let line = head.lines().next().unwrap_or_default();
        let is_hub = match line.split(' ').nth(1) {
            Some("101") => self.is_websocket,
            // Any other page would be answered with 200, too.
            Some("200") => !self.is_websocket && head.to_ascii_lowercase().contains("\r\nsmqbroker:"),
            _ => false,
        };
        if !is_hub {
            bail!("{}", refusal(&head));
        }
        self.awaits_response = false;
        Ok(Some((end + 4, Event::Housekeeping)))
    }

    fn handle<'a>(&mut self, packet: Packet<'a>, out: &mut Vec<u8>) -> Result<Event<'a>> {
        match packet {
            Packet::Publish(publish) => {
                self.last_publisher = publish.publisher;
                return Ok(Event::Message(publish.payload));
            }
            Packet::Init { .. } => {
                let uid = std::mem::take(&mut self.uid);
                let connect = Connect { version: VERSION, uid: uid.as_bytes(), credentials: b"", info: b"smq bench" };
                self.send(&Packet::Connect(connect), out);
            }
            Packet::Connack { code: ReturnCode::ACCEPTED, etid, .. } => {
                self.etid = etid;
                self.ask_for_topic(out);
            }
            Packet::Connack { code, reason, .. } => {
                bail!("the broker refused the client with code {}: {}", code.0, String::from_utf8_lossy(reason))
            }
            Packet::Suback(ack) | Packet::Createack(ack) => {
                let name = String::from_utf8_lossy(ack.name);
                self.topic = Target(ack.granted.with_context(|| format!("the broker denied the topic {name}"))?);
                return Ok(Event::Ready);
            }
            Packet::Disconnect { reason } => {
                bail!("the broker disconnected the client: {}", String::from_utf8_lossy(reason))
            }
            Packet::Ping => self.send(&Packet::Pong, out),
            Packet::Pong | Packet::Change { .. } => {}
            other => bail!("the broker sent what no client expects: {other:?}"),
        }
        Ok(Event::Housekeeping)
    }

    fn ask_for_topic(&mut self, out: &mut Vec<u8>) {
        let (name, is_subscription) = match &self.role {
            Role::Subscriber(topic) | Role::Responder(topic) => (topic.clone(), true),
            Role::Publisher(topic) | Role::Requester(topic) => (topic.clone(), false),
        };
        let name = name.as_bytes();
        let packet = if is_subscription { Packet::Subscribe { name } } else { Packet::Create { name } };
        self.send(&packet, out);
    }

    fn send(&mut self, packet: &Packet<'_>, out: &mut Vec<u8>) {
        // Nothing here is too long: payloads are limited on the command line, names are our own.
        if !self.is_websocket {
            let _ = packet.encode(out);
            return;
        }
        self.frame.clear();
        let _ = packet.encode(&mut self.frame);
        websocket::encode(BINARY, &self.frame[2..], out);
    }

    fn publish_to(&mut self, target: Target, payload: &[u8], out: &mut Vec<u8>) {
        let publish = Publish { target, publisher: self.etid, subtid: Subtid(0), payload };
        self.send(&Packet::Publish(publish), out);
    }
}

/// What the head of another response than a hub's means for the user.
fn refusal(head: &str) -> String {
    let line = head.lines().next().unwrap_or_default();
    let location = head.lines().find(|line| line.to_ascii_lowercase().starts_with("location:"));
    match (line.split(' ').nth(1), location) {
        (Some("503"), _) => format!("the server takes no more clients, its log may tell why: {line}"),
        (_, Some(location)) => format!("the URL does not lead to a hub: {line}, {location}"),
        _ => format!("the URL does not lead to a hub: {line}"),
    }
}

impl Session for Smq {
    fn start(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.request.as_bytes());
    }

    fn decode<'a>(&mut self, input: &'a [u8], out: &mut Vec<u8>) -> Step<'a> {
        if self.awaits_response {
            return self.response(input);
        }
        if !self.is_websocket {
            let Some((packet, length)) = decode_frame(input)? else { return Ok(None) };
            return Ok(Some((length, self.handle(packet, out)?)));
        }
        let Some(frame) = websocket::decode(input, out)? else { return Ok(None) };
        let event = match frame.message {
            Some(message) => self.handle(Packet::decode(message)?, out)?,
            None => Event::Housekeeping,
        };
        Ok(Some((frame.length, event)))
    }

    fn publish(&mut self, payload: &[u8], out: &mut Vec<u8>) {
        self.publish_to(self.topic, payload, out);
    }

    fn reply(&mut self, payload: &[u8], out: &mut Vec<u8>) {
        self.publish_to(self.last_publisher.into(), payload, out);
    }

    fn disconnect(&mut self, out: &mut Vec<u8>) {
        self.send(&Packet::Disconnect { reason: b"" }, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Ack;

    fn receive(session: &mut Smq, packet: &Packet<'_>) -> Vec<u8> {
        let (mut input, mut out) = (Vec::new(), Vec::new());
        packet.encode(&mut input).unwrap();
        let (length, _) = session.decode(&input, &mut out).unwrap().unwrap();
        assert_eq!(length, input.len());
        out
    }

    #[test]
    fn a_client_introduces_itself_and_asks_for_its_topic() {
        let mut session = Smq::raw(&Role::Subscriber("t".into()), "uid-001", "localhost", "/smq.lsp");
        let mut out = Vec::new();
        session.start(&mut out);
        assert!(out.starts_with(b"GET /smq.lsp HTTP/1.1\r\nHost: localhost\r\nSimpleMQ: 1\r\n"));
        assert!(session.decode(b"HTTP/1.1 200 OK\r\nSmqBroker: true\r\n", &mut out).unwrap().is_none());
        assert!(session.decode(b"HTTP/1.1 200 OK\r\nSmqBroker: true\r\n\r\n", &mut out).unwrap().is_some());
        let connect = receive(&mut session, &Packet::Init { version: 1, seed: 1, address: b"::1" });
        assert_eq!(connect, b"\0\x16\x02\x01\x07uid-001\0smq bench");
        let accepted = Packet::Connack { code: ReturnCode::ACCEPTED, etid: Etid(7), reason: b"" };
        assert_eq!(receive(&mut session, &accepted), b"\0\x04\x04t");
        receive(&mut session, &Packet::Suback(Ack { granted: Some(5), name: b"t" }));
        assert_eq!((session.etid, session.topic), (Etid(7), Target(5)));
    }

    #[test]
    fn refusals_are_errors() {
        let mut session = Smq::raw(&Role::Publisher("t".into()), "uid-001", "localhost", "/");
        for (answer, expected) in [
            ("404 Not Found\r\n", "the URL does not lead to a hub: HTTP/1.1 404 Not Found"),
            ("200 OK\r\nContent-Length: 7\r\n", "the URL does not lead to a hub: HTTP/1.1 200 OK"),
            ("302 Found\r\nLocation: /smq/\r\n", "the URL does not lead to a hub: HTTP/1.1 302 Found, Location: /smq/"),
            ("503 Busy\r\n", "the server takes no more clients, its log may tell why: HTTP/1.1 503 Busy"),
        ] {
            let head = format!("HTTP/1.1 {answer}\r\n");
            let refusal = session.decode(head.as_bytes(), &mut Vec::new()).unwrap_err();
            assert_eq!(refusal.to_string(), expected);
        }
    }
}
