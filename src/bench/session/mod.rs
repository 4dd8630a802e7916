//! The client's side of each protocol, without I/O: a session turns what came into events, and appends what it wants sent
//! to a buffer.

mod mqtt;
mod nats;
mod smq;
mod websocket;

use anyhow::Result;

use super::target::Target;

/// What a client does. A requester and the responder of the same topic form a pair.
#[derive(Clone, Debug)]
pub enum Role {
    Publisher(String),
    Subscriber(String),
    Requester(String),
    Responder(String),
}

#[derive(Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// Nothing the workload need know.
    Housekeeping,
    /// The broker has accepted the client and set up its topic.
    Ready,
    /// A message for this client: its payload.
    Message(&'a [u8]),
}

/// How many bytes of the input an event took; `None` while the input holds no whole one.
pub type Step<'a> = Result<Option<(usize, Event<'a>)>>;

pub trait Session {
    /// The connection is open.
    fn start(&mut self, out: &mut Vec<u8>);

    /// Takes the event that `input` begins with.
    ///
    /// # Errors
    /// When the broker refuses the client or breaks its protocol.
    fn decode<'a>(&mut self, input: &'a [u8], out: &mut Vec<u8>) -> Step<'a>;

    /// Sends to the topic of a publisher or requester.
    fn publish(&mut self, payload: &[u8], out: &mut Vec<u8>);

    /// Answers the message decoded last; for responders.
    fn reply(&mut self, payload: &[u8], out: &mut Vec<u8>);

    /// Says goodbye, where the protocol has a word for it.
    fn disconnect(&mut self, out: &mut Vec<u8>);
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Smq,
    SmqWebSocket,
    Mqtt,
    Nats,
}

impl Protocol {
    pub fn smq(websocket: bool) -> Self {
        if websocket { Self::SmqWebSocket } else { Self::Smq }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Smq => "SMQ",
            Self::SmqWebSocket => "SMQ over WebSocket",
            Self::Mqtt => "MQTT 3.1.1, QoS 0",
            Self::Nats => "NATS",
        }
    }
}

/// The session of a new client with this universally unique id.
pub fn new(target: &Target, role: &Role, uid: &str) -> Box<dyn Session> {
    match target.protocol {
        Protocol::Smq => Box::new(smq::Smq::raw(role, uid, &target.authority, &target.path)),
        Protocol::SmqWebSocket => Box::new(smq::Smq::websocket(role, uid, &target.authority, &target.path)),
        Protocol::Mqtt => Box::new(mqtt::Mqtt::new(role, uid)),
        Protocol::Nats => Box::new(nats::Nats::new(role, uid)),
    }
}

/// Where a requester awaits its answers, in the protocols that cannot address a single client.
fn reply_topic(topic: &str) -> String {
    format!("{topic}.reply")
}
