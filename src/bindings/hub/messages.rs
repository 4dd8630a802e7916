//! What comes for the server's own peer: messages of its subscriptions, and changes that it observes.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use mlua::{Result, Value};
use tokio::time::timeout;

use super::super::ba::json;
use super::super::callback::{Call, Calls, Ran};
use super::super::console;
use super::HubState;
use super::callbacks::Handler;
use super::packets::{MESSAGES_PER_LOOK, TURN};
use crate::broker::outbox::{Outbox, with_outbox};
use crate::protocol::{Packet, Publish, Subtid, Target};
use crate::transport::raw;

/// How deep callbacks may nest by publishing.
const MAX_DEPTH: u32 = 21;
/// How long one message may go on to cause others in that way: two for each are two million at the greatest depth.
const MAX_NESTED: Duration = Duration::from_secs(1);

/// Callbacks of the server that may wait at a time. Further messages and changes then stay in front of them, and who causes
/// them is not read. Fewer than may wait to write to one socket, so that a socket that is read loses nothing.
const MAX_WAITING: usize = 1000;
/// If none of them returns for so long, more may begin: those that write to a socket that nobody reads soon fail there, and
/// the others go on.
const PATIENCE: Duration = Duration::from_secs(1);
/// So many may wait even then. What the server sends itself is dropped when there are more: the script that does so cannot
/// wait.
const MAX_STUCK: usize = 10_000;

/// Packets for the server whose callbacks have yet to run, as raw frames. Whoever runs callbacks takes the oldest.
pub struct Inbox {
    frames: RefCell<Bytes>,
    /// How many frames were ever taken.
    taken: Cell<u64>,
    /// When the turn of these frames began.
    since: Cell<Instant>,
}

/// Packets for the server, on their way to its callbacks.
pub struct Messages {
    state: Rc<HubState>,
    inbox: Rc<Inbox>,
    /// Whether those that are left may wait where too many callbacks do.
    may_rest: bool,
}

impl HubState {
    /// Runs the callbacks for what is queued for the server, as soon as few enough of them wait. Where none waits and there
    /// is little to tell, that is done when this is polled first.
    pub(super) async fn take_turn(self: &Rc<Self>) {
        // Within a callback that one's turn goes on.
        let _turn = if self.depth.get() == 0 { Some(self.turn.lock().await) } else { None };
        self.empty_inbox().await;
        let server = self.hub.server();
        with_outbox(|outbox| outbox.queue_for_server(server));
        let queued = server.outbound.take();
        let count = queued.len();
        self.inbox.fill(queued);
        self.empty_inbox().await;
        self.hub.server_took(count);
    }

    async fn empty_inbox(self: &Rc<Self>) {
        while !self.inbox.is_empty() {
            self.room().await;
            self.inbox.since.set(Instant::now());
            let depth = self.depth.replace(self.depth.get().max(1));
            self.tell(&self.inbox, true);
            self.depth.set(depth);
            if self.inbox.is_due_to_rest() {
                tokio::task::yield_now().await;
            }
        }
    }

    /// Waits while too many callbacks do.
    pub(super) async fn room(&self) {
        loop {
            let returned = self.returned.notified();
            if !self.is_full() {
                return;
            }
            if timeout(PATIENCE, returned).await.is_err() {
                self.is_stuck.set(true);
            }
        }
    }

    /// Whether what is left in the inbox waits for others.
    fn is_to_rest(&self, inbox: &Inbox) -> bool {
        self.is_full() || inbox.is_due_to_rest()
    }

    /// Whether as many callbacks wait as may.
    pub(super) fn is_full(&self) -> bool {
        self.waiting.get() >= if self.is_stuck.get() { MAX_STUCK } else { MAX_WAITING }
    }

    /// Does something on the server's side, and runs the callbacks for what that sends to the server itself before it
    /// returns.
    pub(super) fn act<T>(self: &Rc<Self>, work: impl FnOnce(&mut Outbox) -> T) -> T {
        let (result, for_server) = with_outbox(|outbox| {
            outbox.make_room();
            outbox.capture(work)
        });
        if !for_server.is_empty() {
            self.nest(for_server);
        }
        result
    }

    fn nest(self: &Rc<Self>, frames: Vec<u8>) {
        if self.waiting.get() >= MAX_STUCK {
            return self.log_often(&self.tallies.crowded, || {
                format!("a message of the server to itself was dropped, since {MAX_STUCK} callbacks wait")
            });
        }
        let inbox = Rc::<Inbox>::default();
        inbox.fill(frames);
        // The script that publishes cannot wait.
        self.deeper(|| self.tell(&inbox, false));
    }

    /// Runs callbacks for what a script sends, which may send more, and so on: up to a depth, and not for ever.
    pub(super) fn deeper<T>(self: &Rc<Self>, callbacks: impl FnOnce() -> T) -> Option<T> {
        let depth = self.depth.get();
        if depth <= 1 {
            self.nested_since.set(Instant::now());
        }
        if depth >= MAX_DEPTH || self.nested_since.get().elapsed() > MAX_NESTED {
            self.log_often(&self.tallies.nested, || {
                let bounds = format!("{MAX_DEPTH} deep, or for more than {MAX_NESTED:?}");
                format!("a message was dropped: callbacks that publish cause each other, {bounds}")
            });
            return None;
        }
        self.depth.set(depth + 1);
        let result = callbacks();
        self.depth.set(depth);
        Some(result)
    }

    /// Runs the callbacks for these messages. A callback that waits goes on as a task of its own; too many of them make the
    /// messages behind them stay in the inbox, if these `may_rest`.
    fn tell(self: &Rc<Self>, inbox: &Rc<Inbox>, may_rest: bool) {
        while !inbox.is_empty() {
            let taken = inbox.taken.get();
            let messages = Messages { state: self.clone(), inbox: inbox.clone(), may_rest };
            match self.life.enter(|| self.runners.messages.run(messages)) {
                Ran::All(_) => {}
                Ran::Waiting(_, waiting) => self.let_wait("onmsg", waiting),
                Ran::Failed(_, error) => console::report("onmsg", &error),
            }
            if may_rest && self.is_to_rest(inbox) {
                return;
            }
            if inbox.taken.get() == taken {
                // No callback can be called at all.
                return inbox.clear();
            }
        }
    }

    /// A callback that waits goes on as a task of its own.
    pub(super) fn let_wait<T>(
        self: &Rc<Self>,
        what: &'static str,
        callback: impl Future<Output = Result<T>> + 'static,
    ) {
        self.waiting.set(self.waiting.get() + 1);
        let state = self.clone();
        self.life.clone().spawn(async move {
            if let Err(error) = callback.await {
                console::report(what, &error);
            }
            state.waiting.set(state.waiting.get() - 1);
            state.is_stuck.set(false);
            state.returned.notify_waiters();
        });
    }

    /// What to call for a message: the callback for topic and sub-topic, else the topic's catch-all, else the global one.
    fn onmsg(&self, publish: &Publish<'_>) -> Result<Option<Call>> {
        let Publish { target, subtid, payload, .. } = *publish;
        let text = || self.lua.create_string(payload).map(Value::String);
        let heard = match self.handler(target, subtid) {
            Some(Handler { function, json: true }) => {
                json::decode(&self.lua, payload).ok().map(|data| (function, data))
            }
            Some(Handler { function, json: false }) => Some((function, text()?)),
            None => None,
        };
        let (function, data) = match heard {
            Some(heard) => heard,
            // A callback may have unsubscribed while the message was on its way.
            None => match &*self.onmsg.borrow() {
                Some(global) if self.hub.reaches_server(target) => (global.clone(), text()?),
                _ => return Ok(None),
            },
        };
        Ok(Some(Call { callback: Some(function), ..Call::about(publish, data) }))
    }

    fn log_unheard(self: &Rc<Self>, publish: &Publish<'_>) {
        self.log_often(&self.tallies.unheard, || {
            let Publish { payload, publisher, target, .. } = publish;
            format!("a message of {} bytes from {publisher} to {target} has no callback", payload.len())
        });
    }

    fn handler(&self, target: Target, subtid: Subtid) -> Option<Handler> {
        let topics = self.topics.borrow();
        let topic = topics.get(&target.0)?;
        topic.by_subtopic.get(&subtid.0).or(topic.catch_all.as_ref()).cloned()
    }

    fn tell_change(self: &Rc<Self>, target: Target, subscribers: u32) {
        let Some(observer) = self.observers.borrow().get(&target.0).cloned() else { return };
        if !observer.is_topic {
            if self.hub.observes(self.hub.server(), target) {
                // It observes a successor with the same etid by now, and this is the end of the predecessor.
                return;
            }
            self.observers.borrow_mut().remove(&target.0);
        }
        self.run("observe", &observer.function, (subscribers, observer.name));
    }
}

impl Default for Inbox {
    fn default() -> Self {
        Self { frames: RefCell::default(), taken: Cell::new(0), since: Cell::new(Instant::now()) }
    }
}

impl Inbox {
    /// Takes in whole frames, when there are none.
    fn fill(&self, frames: Vec<u8>) {
        debug_assert!(self.is_empty());
        self.frames.replace(frames.into());
    }

    /// Takes the oldest frame.
    fn next(&self) -> Option<Bytes> {
        let mut frames = self.frames.borrow_mut();
        let length = raw::frames(&frames).next()?.len();
        self.taken.set(self.taken.get() + 1);
        Some(frames.split_to(length))
    }

    fn is_empty(&self) -> bool {
        self.frames.borrow().is_empty()
    }

    /// Whether others should have their turn.
    fn is_due_to_rest(&self) -> bool {
        self.taken.get().is_multiple_of(MESSAGES_PER_LOOK.into()) && self.since.get().elapsed() > TURN
    }

    fn clear(&self) {
        self.frames.take();
    }
}

impl Calls for Messages {
    fn next(&mut self, _: Option<bool>) -> Result<Option<Call>> {
        while !(self.may_rest && self.state.is_to_rest(&self.inbox)) {
            let Some(frame) = self.inbox.next() else { break };
            match Packet::decode(&frame[2..]) {
                Ok(Packet::Publish(publish)) => {
                    if let Some(call) = self.state.onmsg(&publish)? {
                        return Ok(Some(call));
                    }
                    self.state.log_unheard(&publish);
                }
                Ok(Packet::Change { target, subscribers }) => self.state.tell_change(target, subscribers),
                // The server's peer is sent nothing else.
                _ => {}
            }
        }
        Ok(None)
    }
}
