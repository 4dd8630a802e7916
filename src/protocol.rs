//! The SMQ wire protocol, version 1 and 2: a pure function of bytes, without I/O.
//!
//! On a raw socket each packet is a frame: a 16 bit length that counts itself, an 8 bit type, the body. On a WebSocket
//! each packet is one message: the type, the body. All integers are unsigned and big endian; names and payloads are byte
//! strings in which every byte value is allowed.
//!
//! ```
//! use smq::protocol::{Packet, Tid, decode_frame};
//!
//! let mut wire = Vec::new();
//! Packet::Subscribe { name: b"news" }.encode(&mut wire).unwrap();
//! assert_eq!(wire, b"\x00\x07\x04news");
//! let (packet, length) = decode_frame(&wire).unwrap().unwrap();
//! assert_eq!((packet, length), (Packet::Subscribe { name: b"news" }, 7));
//! ```

use std::fmt;

/// Bytes of a raw frame before the body: the length and the type.
pub const FRAME_HEAD: usize = 3;
/// The most bytes of a raw frame, its head included.
pub const MAX_FRAME: usize = 0xFFFF;
/// The most bytes of a packet's body, on either transport.
pub const MAX_BODY: usize = MAX_FRAME - FRAME_HEAD;
/// Bytes of a Publish's body before the payload: target, publisher, sub-topic.
pub const PUBLISH_HEAD: usize = 12;
/// The most bytes of a message's payload: 0xFFF0.
pub const MAX_PAYLOAD: usize = MAX_BODY - PUBLISH_HEAD;
/// The most bytes of a name: its acknowledgement, which is longer than the request, must still fit into a packet.
pub const MAX_NAME: usize = MAX_BODY - 5;
/// The protocol version that a server offers in Init.
pub const VERSION: u8 = 1;
/// The shortest uid that a client may have, in bytes.
pub const MIN_UID: usize = 6;

/// The bytes that stand for the packet types on the wire; [`Packet`] describes each.
pub mod kind {
    pub const INIT: u8 = 1;
    pub const CONNECT: u8 = 2;
    pub const CONNACK: u8 = 3;
    pub const SUBSCRIBE: u8 = 4;
    pub const SUBACK: u8 = 5;
    pub const CREATE: u8 = 6;
    pub const CREATEACK: u8 = 7;
    pub const PUBLISH: u8 = 8;
    pub const UNSUBSCRIBE: u8 = 9;
    pub const DISCONNECT: u8 = 11;
    pub const PING: u8 = 12;
    pub const PONG: u8 = 13;
    pub const OBSERVE: u8 = 14;
    pub const UNOBSERVE: u8 = 15;
    pub const CHANGE: u8 = 16;
    pub const CREATESUB: u8 = 17;
    pub const CREATESUBACK: u8 = 18;
    pub const PUBFRAG: u8 = 19;
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
        pub struct $name(pub u32);

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({:#x})"), self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0)
            }
        }

        impl From<u32> for $name {
            fn from(number: u32) -> Self {
                Self(number)
            }
        }

        impl From<$name> for u32 {
            fn from(id: $name) -> Self {
                id.0
            }
        }
    };
}

id! {
    /// A topic's number: random, never 0, and the same for the life of the hub.
    Tid
}
id! {
    /// A peer's number, its ephemeral topic id. No peer and topic of a hub have the same number.
    Etid
}
id! {
    /// A sub-topic's number, which may be the same as a topic's; 0 means no sub-topic.
    Subtid
}
id! {
    /// A number on the wire that is a topic's or a peer's.
    Target
}

impl From<Tid> for Target {
    fn from(tid: Tid) -> Self {
        Self(tid.0)
    }
}

impl From<Etid> for Target {
    fn from(etid: Etid) -> Self {
        Self(etid.0)
    }
}

/// The code of a Connack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReturnCode(pub u8);

impl ReturnCode {
    /// The client is connected.
    pub const ACCEPTED: Self = Self(0);
    /// The version is not 1 or 2, or the Connect is malformed.
    pub const VERSION: Self = Self(1);
    /// No whole Connect came in time.
    pub const UNAVAILABLE: Self = Self(2);
    /// The credentials are wrong. Only scripts refuse with this code and the next two.
    pub const CREDENTIALS: Self = Self(3);
    /// The client must have a certificate.
    pub const CERTIFICATE_REQUIRED: Self = Self(4);
    /// The client's certificate is not accepted.
    pub const CERTIFICATE_REFUSED: Self = Self(5);
    /// The client may not connect.
    pub const ACCESS_DENIED: Self = Self(6);
}

/// A message: the body of Publish and PubFrag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Publish<'a> {
    /// The topic or the peer that it is for.
    pub target: Target,
    /// The peer that sent it.
    pub publisher: Etid,
    /// The sub-topic; 0 for none.
    pub subtid: Subtid,
    /// At most [`MAX_PAYLOAD`] bytes.
    pub payload: &'a [u8],
}

/// The first packet of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connect<'a> {
    /// 1 or 2. In version 2 a 16 bit number follows, which has no effect.
    pub version: u8,
    /// What tells the client from all others; at most 255 bytes.
    pub uid: &'a [u8],
    /// For the script that decides whether the client may connect; at most 255 bytes.
    pub credentials: &'a [u8],
    /// Whatever the client wants scripts to know.
    pub info: &'a [u8],
}

/// An acknowledgement: granted with the number, or denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack<'a> {
    /// The number. On the wire, status 0 and the number, or status 1 and 0.
    pub granted: Option<u32>,
    /// The name as the client sent it.
    pub name: &'a [u8],
}

/// A packet. Each variant lists its type and then its fields in wire order, with their bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packet<'a> {
    /// 1, from the server: version (8 bit), seed (32 bit), the client's address as text.
    Init { version: u8, seed: u32, address: &'a [u8] },
    /// 2, from the client: version (8), \[number (16), version 2 only\], uid length (8), uid, credentials length (8),
    /// credentials, info.
    Connect(Connect<'a>),
    /// 3, from the server: code (8), etid (32; 0 if refused), reason.
    Connack { code: ReturnCode, etid: Etid, reason: &'a [u8] },
    /// 4, from the client: topic name.
    Subscribe { name: &'a [u8] },
    /// 5, from the server: status (8), tid (32), name.
    Suback(Ack<'a>),
    /// 6, from the client: topic name.
    Create { name: &'a [u8] },
    /// 7, from the server: status (8), tid (32), name.
    Createack(Ack<'a>),
    /// 8, both ways: target (32), publisher (32), subtid (32), payload.
    Publish(Publish<'a>),
    /// 9, from the client: tid (32).
    Unsubscribe { target: Target },
    /// 11, both ways: reason.
    Disconnect { reason: &'a [u8] },
    /// 12, both ways; a body is ignored.
    Ping,
    /// 13, both ways; a body is ignored.
    Pong,
    /// 14, from the client: tid or etid (32).
    Observe { target: Target },
    /// 15, from the client: tid or etid (32).
    Unobserve { target: Target },
    /// 16, from the server: tid or etid (32), number of subscribers (32).
    Change { target: Target, subscribers: u32 },
    /// 17, from the client: sub-topic name.
    Createsub { name: &'a [u8] },
    /// 18, from the server: status (8), subtid (32), name.
    Createsuback(Ack<'a>),
    /// 19, from the client, raw transport only: target (32; 0 in all but the last fragment), publisher (32), subtid (32),
    /// part of a payload.
    PubFrag(Publish<'a>),
}

/// Why bytes are not a packet, or a packet cannot be encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("a frame length of {0}, less than its own head of {FRAME_HEAD} bytes")]
    FrameLength(usize),
    #[error("an empty message")]
    Empty,
    #[error("packet type {0} is unknown")]
    Unknown(u8),
    #[error("a packet of type {0} ends early")]
    Short(u8),
    #[error("protocol version {0} is not 1 or 2")]
    Version(u8),
    #[error("a body of {0} bytes exceeds {MAX_BODY}")]
    TooLong(usize),
}

/// Decodes the raw frame at the start of `input`. Returns its packet and its length; `None` while it is incomplete.
pub fn decode_frame(input: &[u8]) -> Result<Option<(Packet<'_>, usize)>, Error> {
    let Some(length) = frame_length(input)? else { return Ok(None) };
    match input.get(2..length) {
        Some(message) => Ok(Some((Packet::decode(message)?, length))),
        None => Ok(None),
    }
}

/// The length that the raw frame at the start of `input` declares, its head included; `None` while the length is incomplete.
pub fn frame_length(input: &[u8]) -> Result<Option<usize>, Error> {
    let [high, low, ..] = *input else { return Ok(None) };
    let length = usize::from(u16::from_be_bytes([high, low]));
    if length < FRAME_HEAD {
        return Err(Error::FrameLength(length));
    }
    Ok(Some(length))
}

impl<'a> Packet<'a> {
    /// Decodes a message: the type byte and the body.
    pub fn decode(message: &'a [u8]) -> Result<Self, Error> {
        let (&kind, body) = message.split_first().ok_or(Error::Empty)?;
        let mut fields = Fields { kind, rest: body };
        Ok(match kind {
            kind::INIT => Self::Init { version: fields.u8()?, seed: fields.u32()?, address: fields.rest },
            kind::CONNECT => Self::Connect(fields.connect()?),
            kind::CONNACK => {
                Self::Connack { code: ReturnCode(fields.u8()?), etid: Etid(fields.u32()?), reason: fields.rest }
            }
            kind::SUBSCRIBE => Self::Subscribe { name: body },
            kind::SUBACK => Self::Suback(fields.ack()?),
            kind::CREATE => Self::Create { name: body },
            kind::CREATEACK => Self::Createack(fields.ack()?),
            kind::PUBLISH => Self::Publish(fields.publish()?),
            kind::UNSUBSCRIBE => Self::Unsubscribe { target: Target(fields.u32()?) },
            kind::DISCONNECT => Self::Disconnect { reason: body },
            kind::PING => Self::Ping,
            kind::PONG => Self::Pong,
            kind::OBSERVE => Self::Observe { target: Target(fields.u32()?) },
            kind::UNOBSERVE => Self::Unobserve { target: Target(fields.u32()?) },
            kind::CHANGE => Self::Change { target: Target(fields.u32()?), subscribers: fields.u32()? },
            kind::CREATESUB => Self::Createsub { name: body },
            kind::CREATESUBACK => Self::Createsuback(fields.ack()?),
            kind::PUBFRAG => Self::PubFrag(fields.publish()?),
            unknown => return Err(Error::Unknown(unknown)),
        })
    }

    /// Appends the packet to `out` as a raw frame. If it is too long, `out` is left as it was.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), Error> {
        let start = out.len();
        out.extend_from_slice(&[0, 0, self.kind()]);
        self.encode_body(out);
        let length = out.len() - start;
        let Ok(frame_length) = u16::try_from(length) else {
            out.truncate(start);
            return Err(Error::TooLong(length - FRAME_HEAD));
        };
        out[start..start + 2].copy_from_slice(&frame_length.to_be_bytes());
        Ok(())
    }

    /// The packet's type byte.
    pub fn kind(&self) -> u8 {
        match self {
            Self::Init { .. } => kind::INIT,
            Self::Connect(_) => kind::CONNECT,
            Self::Connack { .. } => kind::CONNACK,
            Self::Subscribe { .. } => kind::SUBSCRIBE,
            Self::Suback(_) => kind::SUBACK,
            Self::Create { .. } => kind::CREATE,
            Self::Createack(_) => kind::CREATEACK,
            Self::Publish(_) => kind::PUBLISH,
            Self::Unsubscribe { .. } => kind::UNSUBSCRIBE,
            Self::Disconnect { .. } => kind::DISCONNECT,
            Self::Ping => kind::PING,
            Self::Pong => kind::PONG,
            Self::Observe { .. } => kind::OBSERVE,
            Self::Unobserve { .. } => kind::UNOBSERVE,
            Self::Change { .. } => kind::CHANGE,
            Self::Createsub { .. } => kind::CREATESUB,
            Self::Createsuback(_) => kind::CREATESUBACK,
            Self::PubFrag(_) => kind::PUBFRAG,
        }
    }

    fn encode_body(&self, out: &mut Vec<u8>) {
        match *self {
            Self::Init { version, seed, address } => {
                out.push(version);
                out.extend_from_slice(&seed.to_be_bytes());
                out.extend_from_slice(address);
            }
            Self::Connect(connect) => connect.encode(out),
            Self::Connack { code, etid, reason } => {
                out.push(code.0);
                out.extend_from_slice(&etid.0.to_be_bytes());
                out.extend_from_slice(reason);
            }
            Self::Suback(ack) | Self::Createack(ack) | Self::Createsuback(ack) => ack.encode(out),
            Self::Publish(publish) | Self::PubFrag(publish) => publish.encode(out),
            Self::Unsubscribe { target } | Self::Observe { target } | Self::Unobserve { target } => {
                out.extend_from_slice(&target.0.to_be_bytes());
            }
            Self::Change { target, subscribers } => {
                out.extend_from_slice(&target.0.to_be_bytes());
                out.extend_from_slice(&subscribers.to_be_bytes());
            }
            Self::Subscribe { name: bytes }
            | Self::Create { name: bytes }
            | Self::Createsub { name: bytes }
            | Self::Disconnect { reason: bytes } => out.extend_from_slice(bytes),
            Self::Ping | Self::Pong => {}
        }
    }
}

impl Publish<'_> {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.target.0.to_be_bytes());
        out.extend_from_slice(&self.publisher.0.to_be_bytes());
        out.extend_from_slice(&self.subtid.0.to_be_bytes());
        out.extend_from_slice(self.payload);
    }
}

impl Connect<'_> {
    /// Uid and credentials are cut to 255 bytes, since their length fields have 8 bits.
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(self.version);
        if self.version == 2 {
            out.extend_from_slice(&[0, 0]);
        }
        for field in [self.uid, self.credentials] {
            let field = &field[..field.len().min(255)];
            out.push(field.len() as u8);
            out.extend_from_slice(field);
        }
        out.extend_from_slice(self.info);
    }
}

impl Ack<'_> {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(u8::from(self.granted.is_none()));
        out.extend_from_slice(&self.granted.unwrap_or(0).to_be_bytes());
        out.extend_from_slice(self.name);
    }
}

/// What is left of a body to decode.
struct Fields<'a> {
    kind: u8,
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], Error> {
        let (field, rest) = self.rest.split_at_checked(length).ok_or(Error::Short(self.kind))?;
        self.rest = rest;
        Ok(field)
    }

    fn u8(&mut self) -> Result<u8, Error> {
        Ok(self.take(1)?[0])
    }

    fn u32(&mut self) -> Result<u32, Error> {
        let (field, rest) = self.rest.split_first_chunk().ok_or(Error::Short(self.kind))?;
        self.rest = rest;
        Ok(u32::from_be_bytes(*field))
    }

    fn with_length(&mut self) -> Result<&'a [u8], Error> {
        let length = self.u8()?;
        self.take(usize::from(length))
    }

    fn connect(&mut self) -> Result<Connect<'a>, Error> {
        let version = self.u8()?;
        match version {
            1 => {}
            2 => {
                self.take(2)?;
            }
            other => return Err(Error::Version(other)),
        }
        Ok(Connect { version, uid: self.with_length()?, credentials: self.with_length()?, info: self.rest })
    }

    fn ack(&mut self) -> Result<Ack<'a>, Error> {
        let granted = self.u8()? == 0;
        let number = self.u32()?;
        Ok(Ack { granted: granted.then_some(number), name: self.rest })
    }

    fn publish(&mut self) -> Result<Publish<'a>, Error> {
        Ok(Publish {
            target: Target(self.u32()?),
            publisher: Etid(self.u32()?),
            subtid: Subtid(self.u32()?),
            payload: self.rest,
        })
    }
}
