//! A client's packets that the script has to permit, or wants to know about. They are handled one by one, in order.
//!
//! `onpublish` may be called for each of thousands of messages in one read. So it is called in a loop within one
//! coroutine (see [`callback`](crate::bindings::callback)), which [`Packets`] provides with calls. For everything else the
//! loop is left, with the reason in [`Pause`].

use std::borrow::Cow;
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mlua::{LuaString, Result, Table, Value};

use super::HubState;
use crate::bindings::args::is_truthy;
use crate::bindings::callback::{Call, Calls, Ran};
use crate::bindings::console;
use crate::broker::hooks::Batch;
use crate::broker::peer::{CloseReason, Peer};
use crate::broker::session::{Handled, Question, Session};
use crate::lua::budget;
use crate::protocol::{Packet, Publish};
use crate::transport::raw;

/// How long the messages of one read, or those to the server, may take before other tasks have a turn.
pub(super) const TURN: Duration = Duration::from_millis(5);
/// The number of messages between two looks at the clock.
pub(super) const MESSAGES_PER_LOOK: u32 = 32;

/// The packets of one read of a client, while they are handled.
pub struct Packets {
    state: Rc<HubState>,
    session: Session,
    /// All of them, as raw frames.
    frames: Vec<u8>,
    /// The position of the next frame.
    at: usize,
    /// Whether the first message has been routed already, and reached nobody: `ondrop` has to be called for it.
    first_was_dropped: bool,
    /// The message that `onpublish` is being called for.
    asked: Option<Frame>,
    /// Why the loop was left.
    pause: Pause,
    /// When the current turn began.
    since: Instant,
    /// The number of callbacks since the clock was looked at.
    unclocked: u32,
}

/// One packet as a raw frame.
enum Frame {
    /// Its place in the frames that were read.
    Read(Range<usize>),
    /// Assembled from fragments.
    Assembled(Vec<u8>),
}

/// What has to be done outside the loop.
enum Pause {
    /// Nothing: the loop goes on.
    None,
    /// Other tasks have to have a turn, among them the callbacks that wait.
    Rest,
    /// `permittop` or `permitsubtop` has to be called for this packet.
    Ask(Vec<u8>),
    /// `ondrop` has to be called for this message, which reached nobody.
    Dropped(Vec<u8>),
    /// All packets are handled; or the client must be closed, if there is a reason.
    End(Option<CloseReason>),
}

impl HubState {
    /// Handles the packets of one read. Returns the session, and the reason if the client must be closed.
    pub(super) async fn packets(self: Rc<Self>, batch: Batch) -> (Session, Option<CloseReason>) {
        let Batch { session, frames, first_was_dropped } = batch;
        // First, the messages that are queued: earlier ones of this client may be among them.
        self.take_turn().await;
        let mut packets = Packets {
            state: self.clone(),
            session,
            frames,
            at: 0,
            first_was_dropped,
            asked: None,
            pause: Pause::None,
            since: Instant::now(),
            unclocked: 0,
        };
        loop {
            packets = self.advance(packets).await;
            match std::mem::replace(&mut packets.pause, Pause::None) {
                Pause::None => {}
                Pause::Rest => {
                    tokio::task::yield_now().await;
                    self.waiting_room.room().await;
                    packets.since = Instant::now();
                }
                Pause::Ask(frame) => self.while_alive(packets.ask(&frame)).await.unwrap_or_default(),
                Pause::Dropped(frame) => {
                    self.while_alive(self.dropped(&frame, packets.session.peer())).await.unwrap_or_default();
                }
                Pause::End(reason) => return (packets.session, reason),
            }
            packets.look_at_clock();
        }
    }

    /// Handles packets until there is a reason to pause, or `onpublish` was waited for.
    async fn advance(&self, mut packets: Packets) -> Packets {
        if self.callbacks.onpublish.is_none() {
            packets.handle_some();
            return packets;
        }
        match self.life.enter(|| self.runners.packets.run(packets)) {
            Ran::All(packets) => packets,
            Ran::Waiting(mut packets, answer) => {
                packets.answered(self.while_alive(answer).await.unwrap_or(Ok(false)));
                packets
            }
            Ran::Failed(mut packets, error) => {
                if packets.asked.is_none() {
                    // `onpublish` could not be called at all.
                    packets.pause = Pause::End(Some(CloseReason::Shutdown));
                }
                packets.answered(Err(error));
                packets
            }
        }
    }

    /// Waits for a callback; `None` if its app ends meanwhile. Boxed, so that the future of packets that need no
    /// callback stays small.
    async fn while_alive<T>(&self, callback: impl Future<Output = T>) -> Option<T> {
        self.life.clone().run(Box::pin(callback)).await
    }

    /// Asks `permittop` or `permitsubtop`; an error denies.
    async fn permits(&self, question: Question<'_>, peer: &Arc<Peer>) -> bool {
        let (name, answer) = match question {
            Question::Topic { name, is_subscription } => {
                ("permittop", self.ask_topic(name, is_subscription, peer).await)
            }
            Question::Subtopic { name } => ("permitsubtop", self.ask_subtopic(name, peer).await),
            // `onpublish` is called in the loop only.
            Question::Publish(_) => return false,
        };
        match answer {
            Ok(answer) => is_truthy(&answer),
            Err(error) => {
                console::report(name, &error);
                false
            }
        }
    }

    async fn ask_topic(&self, name: &[u8], is_subscription: bool, peer: &Arc<Peer>) -> Result<Value> {
        let Some(permittop) = &self.callbacks.permittop else { return Ok(Value::Boolean(true)) };
        budget::call(permittop, (self.lua.create_string(name)?, is_subscription, self.peer_table(peer)?)).await
    }

    async fn ask_subtopic(&self, name: &[u8], peer: &Arc<Peer>) -> Result<Value> {
        let Some(permitsubtop) = &self.callbacks.permitsubtop else { return Ok(Value::Boolean(true)) };
        budget::call(permitsubtop, (self.lua.create_string(name)?, self.peer_table(peer)?)).await
    }

    /// Asks `onpublish` about a message of the script itself. It runs within the script's call of `publish`, so it must
    /// not wait.
    pub(super) fn permits_own(self: &Rc<Self>, publish: &Publish<'_>, peer: &Arc<Peer>) -> bool {
        let Some(onpublish) = &self.callbacks.onpublish else { return true };
        let ask = || onpublish.call::<Value>(self.message_and_peer(publish, peer)?);
        match self.deeper(ask) {
            Some(Ok(answer)) => is_truthy(&answer),
            None => false,
            Some(Err(error)) => {
                console::report("onpublish", &error);
                false
            }
        }
    }

    /// Calls `ondrop` for a client's message.
    async fn dropped(&self, frame: &[u8], peer: &Arc<Peer>) {
        let Some(ondrop) = &self.callbacks.ondrop else { return };
        let Ok(Packet::Publish(publish)) = Packet::decode(&frame[2..]) else { return };
        let told: Result<()> = match self.message_and_peer(&publish, peer) {
            Ok(arguments) => budget::call(ondrop, arguments).await,
            Err(error) => Err(error),
        };
        if let Err(error) = told {
            console::report("ondrop", &error);
        }
    }

    /// Calls `ondrop` for a message of the script itself.
    pub(super) fn dropped_own(self: &Rc<Self>, publish: &Publish<'_>, peer: &Arc<Peer>) {
        let Some(ondrop) = &self.callbacks.ondrop else { return };
        match self.message_and_peer(publish, peer) {
            Ok(arguments) => {
                self.deeper(|| self.run("ondrop", ondrop, arguments));
            }
            Err(error) => console::report("ondrop", &error),
        }
    }

    /// The arguments of `onpublish` and `ondrop`.
    fn message_and_peer(&self, publish: &Publish<'_>, peer: &Arc<Peer>) -> Result<(LuaString, u32, u32, u32, Table)> {
        let data = self.lua.create_string(publish.payload)?;
        Ok((data, publish.publisher.0, publish.target.0, publish.subtid.0, self.peer_table(peer)?))
    }
}

impl Calls for Packets {
    /// The next call of `onpublish(data, ptid, tid, subtid, peer)`; function and peer stay the same after the first.
    fn next(&mut self, result: Option<bool>) -> Result<Option<Call>> {
        if let Some(granted) = result {
            self.decided(granted);
            self.look_at_clock();
        }
        if matches!(self.pause, Pause::None) {
            self.handle_some();
        }
        let Some(asked) = &self.asked else { return Ok(None) };
        let Ok(Packet::Publish(publish)) = Packet::decode(&asked.bytes(&self.frames)[2..]) else { return Ok(None) };
        let data = self.state.lua.create_string(publish.payload)?;
        let mut call = Call::about(&publish, Value::String(data));
        if result.is_none() {
            call.callback = self.state.callbacks.onpublish.clone();
            call.peer = Some(self.state.peer_table(self.session.peer())?);
        }
        Ok(Some(call))
    }
}

impl Packets {
    /// Handles packets up to one for which a callback has to be called, or to the end.
    fn handle_some(&mut self) {
        while matches!(self.pause, Pause::None) && self.asked.is_none() {
            if let Some(reason) = self.session.peer().closing() {
                self.pause = Pause::End(Some(reason));
                return;
            }
            if self.state.waiting_room.is_full() {
                self.pause = Pause::Rest;
                return;
            }
            let Some(read) = self.next_frame() else {
                self.pause = Pause::End(None);
                return;
            };
            let frame = match self.session.assemble(&self.frames[read.clone()]) {
                Ok(Some(Cow::Borrowed(_))) => Frame::Read(read),
                Ok(Some(Cow::Owned(frame))) => Frame::Assembled(frame),
                Ok(None) => continue,
                Err(reason) => {
                    self.pause = Pause::End(Some(reason));
                    return;
                }
            };
            if std::mem::take(&mut self.first_was_dropped) {
                self.pause = Pause::Dropped(frame.bytes(&self.frames).to_vec());
                return;
            }
            self.begin(frame);
        }
    }

    /// Pauses when other tasks should have a turn. The clock is looked at now and then only.
    fn look_at_clock(&mut self) {
        if !matches!(self.pause, Pause::None) {
            // It is looked at behind that pause.
            return;
        }
        self.unclocked += 1;
        if self.unclocked < MESSAGES_PER_LOOK {
            return;
        }
        self.unclocked = 0;
        if self.since.elapsed() > TURN {
            self.pause = Pause::Rest;
        }
    }

    fn next_frame(&mut self) -> Option<Range<usize>> {
        let frame = raw::frames(&self.frames[self.at..]).next()?;
        let range = self.at..self.at + frame.len();
        self.at = range.end;
        Some(range)
    }

    /// Handles a packet, or notes which callback has to be called first.
    fn begin(&mut self, frame: Frame) {
        match self.session.question(frame.bytes(&self.frames)) {
            None => self.handle(&frame),
            Some(Question::Publish(_)) => self.asked = Some(frame),
            Some(_) => self.pause = Pause::Ask(frame.bytes(&self.frames).to_vec()),
        }
    }

    /// Takes the answer of `onpublish` after it has waited or failed.
    fn answered(&mut self, answer: Result<bool>) {
        let granted = answer.unwrap_or_else(|error| {
            console::report("onpublish", &error);
            false
        });
        self.decided(granted);
    }

    /// Handles the message that `onpublish` was asked about, if it was granted.
    fn decided(&mut self, granted: bool) {
        let Some(frame) = self.asked.take() else { return };
        if granted && self.session.peer().closing().is_none() {
            self.handle(&frame);
        }
    }

    /// Asks `permittop` or `permitsubtop`, and handles the packet.
    async fn ask(&mut self, frame: &[u8]) {
        let granted = match self.session.question(frame) {
            Some(question) => self.state.permits(question, self.session.peer()).await,
            None => true,
        };
        // If the client is closing, the hub may have removed it meanwhile. Then the next step ends this loop.
        if self.session.peer().closing().is_none() {
            self.handle_bytes(frame, granted);
        }
    }

    fn handle(&mut self, frame: &Frame) {
        let frames = std::mem::take(&mut self.frames);
        self.handle_bytes(frame.bytes(&frames), true);
        self.frames = frames;
    }

    /// Handles the packet, and runs the server's callbacks for what it caused.
    fn handle_bytes(&mut self, frame: &[u8], granted: bool) {
        let handled = self.state.act(|outbox| self.session.handle_one(outbox, frame, granted));
        match handled {
            Handled::Done => {}
            Handled::Dropped if self.state.callbacks.ondrop.is_some() => self.pause = Pause::Dropped(frame.to_vec()),
            Handled::Dropped => {}
            Handled::Close(reason) => self.pause = Pause::End(Some(reason)),
        }
    }
}

impl Frame {
    fn bytes<'a>(&'a self, frames: &'a [u8]) -> &'a [u8] {
        match self {
            Self::Read(range) => &frames[range.clone()],
            Self::Assembled(frame) => frame,
        }
    }
}
