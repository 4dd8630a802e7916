//! The client's side of each protocol, without I/O: a session turns received bytes into events, and appends what is to
//! be sent to a buffer.

mod mqtt;
mod nats;
mod smq;
mod websocket;

use anyhow::Result;

use super::target::Target;

/// What a client does with which topic. A requester and the responder of the same topic form a pair.
#[derive(Clone, Debug)]
pub enum Role {
    Publisher(String),
    Subscriber(String),
    Requester(String),
    Responder(String),
}

/// What was received.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// Nothing that concerns the workload.
    Housekeeping,
    /// The broker has accepted the client and set up its topic.
    Ready,
    /// The payload of a message for this client.
    Message(&'a [u8]),
}

/// An event, and the number of its bytes; `None` if it is incomplete.
pub type Step<'a> = Result<Option<(usize, Event<'a>)>>;

/// The client's side of one connection. What is to be sent is appended to `out`.
pub trait Session {
    /// Called when the connection is open.
    fn start(&mut self, out: &mut Vec<u8>);

    /// Reads the event that `input` begins with.
    ///
    /// # Errors
    /// If the broker refuses the client or breaks its protocol.
    fn decode<'a>(&mut self, input: &'a [u8], out: &mut Vec<u8>) -> Step<'a>;

    /// Publishes to the topic; for publishers and requesters.
    fn publish(&mut self, payload: &[u8], out: &mut Vec<u8>);

    /// Answers the message that was decoded last; for responders.
    fn reply(&mut self, payload: &[u8], out: &mut Vec<u8>);

    /// Disconnects, if the protocol has a message for that.
    fn disconnect(&mut self, out: &mut Vec<u8>);
}

/// The protocols that a broker may speak.
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

    /// The name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Smq => "SMQ",
            Self::SmqWebSocket => "SMQ over WebSocket",
            Self::Mqtt => "MQTT 3.1.1, QoS 0",
            Self::Nats => "NATS",
        }
    }
}

/// The session of a new client. `uid` is unique among all clients of the broker.
pub fn new(target: &Target, role: &Role, uid: &str) -> Box<dyn Session> {
    match target.protocol {
        Protocol::Smq => Box::new(smq::Smq::raw(role, uid, &target.authority, &target.path)),
        Protocol::SmqWebSocket => Box::new(smq::Smq::websocket(role, uid, &target.authority, &target.path)),
        Protocol::Mqtt => Box::new(mqtt::Mqtt::new(role, uid)),
        Protocol::Nats => Box::new(nats::Nats::new(role, uid)),
    }
}

/// The topic of a requester's answers, in protocols that cannot address a single client.
fn reply_topic(topic: &str) -> String {
    format!("{topic}.reply")
}
