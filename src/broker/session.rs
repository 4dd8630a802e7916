//! What a connected peer's packets do: the rules of the protocol, without I/O.
//!
//! There are two ways through a [`Session`]. [`Session::handle`] takes all frames of one read, on the thread that read them,
//! as far as the hub's owner need not be asked. The rest goes to the owner ([`super::hooks::Hooks::packets`]), who asks
//! [`Session::question`] what each frame needs and hands the answer to [`Session::handle_one`].

use std::borrow::Cow;
use std::sync::Arc;

use super::outbox::{Outbox, Span};
use super::peer::{CloseReason, Peer};
use super::{Creator, Hub, Observed, encoded};
use crate::protocol::{Ack, FRAME_HEAD, MAX_PAYLOAD, PUBLISH_HEAD, Packet, Publish, Target, Tid, kind};
use crate::transport::Framing;
use crate::transport::raw;

/// The state of one connected peer that only its own packets touch. One thread at a time handles them.
pub struct Session {
    hub: Hub,
    peer: Arc<Peer>,
    /// The payload of the PubFrag packets that have come since the last whole message.
    fragments: Vec<u8>,
    /// The number of topics and sub-topics that the peer has created.
    created: usize,
    /// How often the peer was refused something because of a limit of the hub.
    refused: u64,
}

/// What the owner has to decide before a packet is handled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question<'a> {
    /// May the peer subscribe (`is_subscription`) or publish to the topic `name`?
    Topic { name: &'a [u8], is_subscription: bool },
    /// May the peer create the sub-topic?
    Subtopic { name: &'a [u8] },
    /// Shall this message be delivered?
    Publish(Publish<'a>),
}

/// What came of one packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handled {
    Done,
    /// The message reached nobody.
    Dropped,
    /// The connection has to end.
    Close(CloseReason),
}

/// What came of all packets of one read.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    Done,
    /// The owner has to go on: it must be asked about the next packet, or first run its callbacks for what reached the
    /// server.
    Ask {
        /// Where in the arena the packets begin that are not handled yet; there may be none.
        from: usize,
        /// The first of them has been routed and reached nobody, which the owner wants to be told.
        dropped: bool,
    },
    /// The connection has to end.
    Close(CloseReason),
}

impl Session {
    /// A session of a peer that is registered at the hub.
    pub fn new(hub: Hub, peer: Arc<Peer>) -> Self {
        Self { hub, peer, fragments: Vec::new(), created: 0, refused: 0 }
    }

    /// The peer whose packets these are.
    pub fn peer(&self) -> &Arc<Peer> {
        &self.peer
    }

    /// The hub at which the peer is registered.
    pub fn hub(&self) -> &Hub {
        &self.hub
    }

    /// Handles whole frames in the arena, in order, up to the first packet that the owner must be asked about. It also
    /// stops behind a packet that reached the server: what the server's callback for it publishes must come before
    /// anything that the later packets cause.
    pub fn handle(&mut self, outbox: &mut Outbox, frames: Span) -> Outcome {
        let mut at = frames.start;
        outbox.reached_server = false;
        while at < frames.end {
            let (next, outcome) = if outbox.arena[at + 2] == kind::PUBLISH {
                self.handle_run(outbox, Span { start: at, end: frames.end })
            } else {
                self.handle_other(outbox, at)
            };
            if outcome != Outcome::Done {
                return outcome;
            }
            at = next;
            if outbox.reached_server {
                return Outcome::Ask { from: at, dropped: false };
            }
        }
        Outcome::Done
    }

    /// Handles the Publish frames at the start of `frames` that go to one target, and routes them together. Returns where
    /// the next frame begins.
    fn handle_run(&mut self, outbox: &mut Outbox, frames: Span) -> (usize, Outcome) {
        let publishes = &outbox.arena[frames.start..frames.end];
        let target = match self.check_publish(&publishes[..raw::first_length(publishes)]) {
            Ok(target) => target,
            Err(fault) => return (frames.start, Outcome::Close(self.refuse_publish(outbox, fault))),
        };
        let run = Span { start: frames.start, end: frames.start + run_length(publishes) };
        let interest = self.hub.interest();
        if interest.onpublish {
            return (run.start, Outcome::Ask { from: run.start, dropped: false });
        }
        if !self.hub.route(outbox, target, run) && interest.ondrop {
            return (run.start, Outcome::Ask { from: run.start, dropped: true });
        }
        (run.end, Outcome::Done)
    }

    /// Handles the frame at `at`, which is no Publish. Returns where the next frame begins.
    fn handle_other(&mut self, outbox: &mut Outbox, at: usize) -> (usize, Outcome) {
        let end = at + raw::first_length(&outbox.arena[at..]);
        let frame = outbox.arena[at..end].to_vec();
        let interest = self.hub.interest();
        let is_for_owner = match frame[2] {
            kind::PUBFRAG => interest.onpublish || interest.ondrop,
            _ => self.question(&frame).is_some(),
        };
        if is_for_owner {
            return (at, Outcome::Ask { from: at, dropped: false });
        }
        match self.handle_one(outbox, &frame, true) {
            Handled::Close(reason) => (end, Outcome::Close(reason)),
            Handled::Done | Handled::Dropped => (end, Outcome::Done),
        }
    }

    /// Collects a PubFrag: the last one of a message gives the whole as a Publish frame, the others give `None`. Any other
    /// packet is returned as it is.
    pub fn assemble<'a>(&mut self, frame: &'a [u8]) -> Result<Option<Cow<'a, [u8]>>, CloseReason> {
        if frame[2] != kind::PUBFRAG {
            return Ok(Some(Cow::Borrowed(frame)));
        }
        let Ok(Packet::PubFrag(fragment)) = Packet::decode(&frame[2..]) else { return Err(CloseReason::Protocol) };
        let is_too_long = self.fragments.len() + fragment.payload.len() > MAX_PAYLOAD;
        if self.peer.outbound.framing() == Framing::WebSocket || is_too_long {
            return Err(CloseReason::Protocol);
        }
        self.fragments.extend_from_slice(fragment.payload);
        if fragment.target == Target(0) {
            return Ok(None);
        }
        let payload = std::mem::take(&mut self.fragments);
        Ok(Some(Cow::Owned(encoded(&Packet::Publish(Publish { payload: &payload, ..fragment })))))
    }

    /// What the owner must be asked before this frame is handled, if anything.
    pub fn question<'a>(&self, frame: &'a [u8]) -> Option<Question<'a>> {
        let interest = self.hub.interest();
        match Packet::decode(&frame[2..]) {
            Ok(Packet::Subscribe { name }) if interest.permittop && !self.hub.is_subscribed(&self.peer, name) => {
                Some(Question::Topic { name, is_subscription: true })
            }
            Ok(Packet::Create { name }) if interest.permittop => Some(Question::Topic { name, is_subscription: false }),
            Ok(Packet::Createsub { name }) if interest.permitsubtop && self.hub.subtopic_number(name).is_none() => {
                Some(Question::Subtopic { name })
            }
            Ok(Packet::Publish(publish)) if interest.onpublish && publish.publisher == self.peer.etid() => {
                Some(Question::Publish(publish))
            }
            _ => None,
        }
    }

    /// Handles one frame. `granted` is the owner's answer to its [`Session::question`]; true if there was none.
    pub fn handle_one(&mut self, outbox: &mut Outbox, frame: &[u8], granted: bool) -> Handled {
        let packet = match Packet::decode(&frame[2..]) {
            Ok(packet) => packet,
            Err(_) => return Handled::Close(CloseReason::Protocol),
        };
        match packet {
            Packet::Subscribe { name } | Packet::Create { name } | Packet::Createsub { name } if !fits(name) => {
                return Handled::Close(CloseReason::Protocol);
            }
            Packet::Subscribe { name } => self.subscribe(outbox, name, granted),
            Packet::Create { name } => {
                let granted = if granted { self.create(name) } else { None };
                outbox.control(&self.peer, &encoded(&Packet::Createack(Ack { granted, name })));
            }
            Packet::Createsub { name } => {
                let granted = if granted { self.createsub(name) } else { None };
                outbox.control(&self.peer, &encoded(&Packet::Createsuback(Ack { granted, name })));
            }
            Packet::Publish(_) => return self.publish(outbox, frame, granted),
            Packet::PubFrag(_) => {
                return match self.assemble(frame) {
                    Ok(Some(whole)) => self.publish(outbox, &whole, granted),
                    Ok(None) => Handled::Done,
                    Err(reason) => Handled::Close(reason),
                };
            }
            Packet::Unsubscribe { target } => self.hub.unsubscribe(outbox, &self.peer, Tid(target.0)),
            Packet::Observe { target } => {
                if self.hub.observe(outbox, &self.peer, target, true) == Observed::Refused {
                    self.refuse();
                }
            }
            Packet::Unobserve { target } => self.hub.unobserve(&self.peer, target),
            Packet::Disconnect { .. } => return Handled::Close(CloseReason::Disconnect),
            Packet::Ping => outbox.control(&self.peer, &encoded(&Packet::Pong)),
            Packet::Pong => {}
            Packet::Init { .. }
            | Packet::Connect(_)
            | Packet::Connack { .. }
            | Packet::Suback(_)
            | Packet::Createack(_)
            | Packet::Createsuback(_)
            | Packet::Change { .. } => return Handled::Close(CloseReason::Protocol),
        }
        Handled::Done
    }

    fn subscribe(&mut self, outbox: &mut Outbox, name: &[u8], granted: bool) {
        let is_known = self.hub.topic_number(name).is_some();
        if !granted || !self.may_create(is_known) {
            outbox.control(&self.peer, &encoded(&Packet::Suback(Ack { granted: None, name })));
        } else if !self.hub.subscribe(outbox, &self.peer, name) {
            self.refuse();
        }
    }

    fn create(&mut self, name: &[u8]) -> Option<u32> {
        let is_known = self.hub.topic_number(name).is_some();
        if self.may_create(is_known) { self.number(self.hub.create(Creator::Client, name, None)) } else { None }
    }

    fn createsub(&mut self, name: &[u8]) -> Option<u32> {
        let is_known = self.hub.subtopic_number(name).is_some();
        if self.may_create(is_known) { self.number(self.hub.createsub(Creator::Client, name, None)) } else { None }
    }

    /// Whether the peer may name a topic or sub-topic. One that is not known yet counts as created by the peer, which
    /// may not create more than the limit.
    fn may_create(&mut self, is_known: bool) -> bool {
        if is_known {
            return true;
        }
        if self.created >= self.hub.limits().created {
            self.refuse();
            return false;
        }
        self.created += 1;
        true
    }

    /// The number of what the hub was asked to create.
    fn number<T: Into<u32>>(&mut self, created: Option<T>) -> Option<u32> {
        if created.is_none() {
            self.refuse();
        }
        created.map(Into::into)
    }

    /// Counts a refusal because of a limit, and logs it: the 1st, 2nd, 4th, 8th and so on.
    fn refuse(&mut self) {
        self.refused += 1;
        if self.refused.is_power_of_two() {
            let text =
                format!("was refused {} topics, subscriptions or observations: a limit of the hub", self.refused);
            self.hub.hooks().log(&self.peer, text);
        }
    }

    fn publish(&self, outbox: &mut Outbox, frame: &[u8], granted: bool) -> Handled {
        match self.check_publish(frame) {
            Err(fault) => Handled::Close(self.refuse_publish(outbox, fault)),
            Ok(_) if !granted => Handled::Done,
            Ok(target) if self.hub.interest().ondrop => {
                let span = outbox.append(frame);
                if self.hub.route(outbox, target, span) { Handled::Done } else { Handled::Dropped }
            }
            Ok(target) => {
                self.hub.route_soon(outbox, target, frame);
                Handled::Done
            }
        }
    }

    /// The target of a Publish frame, if its head is complete and names this peer as the publisher.
    fn check_publish(&self, frame: &[u8]) -> Result<Target, Fault> {
        let head = frame.get(FRAME_HEAD..FRAME_HEAD + PUBLISH_HEAD).ok_or(Fault::Malformed)?;
        let number = |at: usize| u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        if number(4) != self.peer.etid().0 {
            return Err(Fault::WrongPublisher);
        }
        Ok(Target(number(0)))
    }

    /// Tells the client what is wrong with its Publish. Returns the reason for which the connection has to end.
    fn refuse_publish(&self, outbox: &mut Outbox, fault: Fault) -> CloseReason {
        if fault == Fault::WrongPublisher {
            outbox.control(&self.peer, &encoded(&Packet::Disconnect { reason: b"corrupt frame" }));
        }
        CloseReason::Protocol
    }
}

/// Why a Publish is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Malformed,
    /// It does not name its sender as the publisher.
    WrongPublisher,
}

/// How many bytes at the start of `frames` are Publish frames with a whole head and with the target and publisher of the
/// first, which has been checked.
fn run_length(frames: &[u8]) -> usize {
    const HEAD: usize = FRAME_HEAD + PUBLISH_HEAD;
    // Type, target and publisher.
    let alike = FRAME_HEAD - 1..FRAME_HEAD + 8;
    let mut end = raw::first_length(frames);
    while let Some(head) = frames[end..].first_chunk::<HEAD>()
        && head[alike.clone()] == frames[alike.clone()]
        && raw::first_length(head) >= HEAD
    {
        end += raw::first_length(head);
    }
    end
}

/// Whether an acknowledgement can repeat the name: it is a little longer than the request.
fn fits(name: &[u8]) -> bool {
    name.len() <= crate::protocol::MAX_NAME
}
