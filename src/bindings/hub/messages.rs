//! Callbacks for messages to the server's own peer: those of its subscriptions, and the changes that it observes.
//!
//! Messages reach the server in two ways. What clients send is queued by the broker, and its callbacks run when the hub
//! takes its turn ([`HubState::take_turn`]). What the script itself sends reaches its callbacks within the call that
//! sends it ([`HubState::act`]), so callbacks that publish are nested, up to a limit.
//!
//! Changes take one way, whoever has caused them: through the queue, since their order matters. Those that the script causes
//! are told within its call, too, unless something is queued before them or an observer has caused them.
//!
//! A callback may wait. The number of those that wait is limited, too: at first by making clients wait, which are not
//! read any more, and if no callback returns, by dropping messages.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Instant;

use bytes::Bytes;
use mlua::{Result, Value};

use super::HubState;
use super::callbacks::Handler;
use super::packets::{MESSAGES_PER_LOOK, TURN};
use super::waiting_room::MAX_STUCK;
use crate::bindings::ba::json;
use crate::bindings::callback::{Call, Calls, Ran};
use crate::bindings::console;
use crate::broker::outbox::{Captured, Outbox, with_outbox};
use crate::protocol::{Packet, Publish, Subtid, Target, kind};
use crate::transport::raw;

/// Bytes that may be queued for the server where changes are told one by one: taking one moves the rest.
const MAX_MOVED: usize = 64 << 10;

/// Packets to the server whose callbacks have yet to run, as raw frames. Several coroutines may take from it.
pub struct Inbox {
    frames: RefCell<Bytes>,
    /// How many frames were taken, ever.
    taken: Cell<u64>,
    /// When the current turn began.
    since: Cell<Instant>,
}

/// The calls for the packets of an inbox.
pub struct Messages {
    state: Rc<HubState>,
    inbox: Rc<Inbox>,
    /// Whether packets may be left in the inbox when too many callbacks wait, or others should have a turn.
    may_rest: bool,
}

impl HubState {
    /// Runs the callbacks for what is queued for the server, when few enough of them wait. If no callback waits and
    /// there are few messages, this is done the first time it is polled.
    pub(super) async fn take_turn(self: &Rc<Self>) {
        // Within a callback the lock is held by the turn that the callback belongs to.
        let _turn = if self.nesting.is_within_callback() { None } else { Some(self.turn.lock().await) };
        self.empty_inbox().await;
        let server = self.broker.server();
        let queued = server.outbound.take();
        let count = queued.len();
        self.inbox.fill(queued);
        self.empty_inbox().await;
        self.broker.server_took(count);
        // The callbacks of this turn may have caused some.
        self.tell_changes();
    }

    async fn empty_inbox(self: &Rc<Self>) {
        while !self.inbox.is_empty() {
            self.waiting_room.room().await;
            self.inbox.since.set(Instant::now());
            self.nesting.queued(|| self.tell(&self.inbox, true));
            if self.inbox.is_due_to_rest() {
                tokio::task::yield_now().await;
            }
        }
    }

    /// Whether what is left in the inbox should stay there for now.
    fn is_to_rest(&self, inbox: &Inbox) -> bool {
        self.waiting_room.is_full() || inbox.is_due_to_rest()
    }

    /// Does something in the broker for the script. Callbacks for what that sends to the server itself run before this
    /// returns; those for changes only if there is nothing that they have to wait for.
    pub(super) fn act<T>(self: &Rc<Self>, work: impl FnOnce(&mut Outbox) -> T) -> T {
        let (result, Captured { messages, has_changes }) = with_outbox(|outbox| {
            outbox.make_room();
            outbox.capture(work)
        });
        if has_changes {
            self.tell_changes();
        }
        if !messages.is_empty() {
            self.nest(messages);
        }
        result
    }

    /// Runs the callbacks for the changes that are queued, up to the first message. The observers learn of all changes in
    /// the order in which they happened, whoever has caused them; of those that an observer causes, behind its call. What
    /// is too much for one turn is left to the server's next one.
    fn tell_changes(self: &Rc<Self>) {
        let outbound = &self.broker.server().outbound;
        let is_change = |frame: &[u8]| frame.get(2) == Some(&kind::CHANGE);
        let since = Instant::now();
        while self.inbox.is_empty()
            && !self.tells_change.get()
            && !self.nesting.is_too_deep()
            && !self.waiting_room.is_full()
            && outbound.held() <= MAX_MOVED
            && let Some(change) = outbound.take_first(is_change)
        {
            self.broker.server_took(change.len());
            self.nest(change);
            if since.elapsed() > TURN {
                return;
            }
        }
    }

    /// Runs the callbacks for what the script has sent to the server itself.
    fn nest(self: &Rc<Self>, frames: Vec<u8>) {
        if self.waiting_room.is_overcrowded() {
            return self.log_often(&self.tallies.crowded, || {
                format!("a message of the server to itself was dropped, since {MAX_STUCK} callbacks wait")
            });
        }
        let inbox = Rc::<Inbox>::default();
        inbox.fill(frames);
        // All of them at once, since the script that publishes cannot wait.
        self.deeper(|| self.tell(&inbox, false));
    }

    /// Runs nested callbacks. `None`, and a line in the log, if they are nested too deep.
    pub(super) fn deeper<T>(self: &Rc<Self>, callbacks: impl FnOnce() -> T) -> Option<T> {
        let result = self.nesting.deeper(callbacks);
        let log = |refusal| self.log_often(&self.tallies.nested, || format!("a message was dropped: {refusal}"));
        result.map_err(log).ok()
    }

    /// Runs the callbacks for the messages of an inbox. A callback that waits goes on as a task of its own. With
    /// `may_rest`, messages stay in the inbox when too many callbacks wait. Of an app that has ended, none is run.
    fn tell(self: &Rc<Self>, inbox: &Rc<Inbox>, may_rest: bool) {
        if self.life.has_ended() {
            return inbox.clear();
        }
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

    /// Lets a callback that waits, which errors call `what`, go on as a task of its own.
    pub(super) fn let_wait<T>(
        self: &Rc<Self>,
        what: &'static str,
        callback: impl Future<Output = Result<T>> + 'static,
    ) {
        self.waiting_room.enter();
        let state = self.clone();
        self.life.clone().spawn(async move {
            if let Err(error) = callback.await {
                console::report(what, &error);
            }
            state.waiting_room.leave();
        });
    }

    /// The call for a message: of the callback for its topic and sub-topic, else of the topic's catch-all, else of the
    /// global `onmsg`. `None` if there is none. A payload that is no JSON goes to the global `onmsg`, too, if the
    /// callback wants JSON.
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
            None => {
                // Not borrowed while Lua makes the text: that may run a finalizer which sets another.
                let global = self.onmsg.borrow().clone();
                match global {
                    // A callback may have unsubscribed while the message was on its way.
                    Some(global) if self.broker.reaches_server(target) => (global, text()?),
                    _ => return Ok(None),
                }
            }
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

    /// Calls the observer of a topic or etid, if there is one.
    fn tell_change(self: &Rc<Self>, target: Target, subscribers: u32) {
        let Some(observer) = self.observers.borrow().get(&target.0).cloned() else { return };
        if !observer.is_topic {
            if self.broker.observes(self.broker.server(), target) {
                // The change is about an earlier peer with this etid; the script observes its successor by now.
                return;
            }
            self.observers.borrow_mut().remove(&target.0);
        }
        let within_another = self.tells_change.replace(true);
        self.run("observe", &observer.function, (subscribers, observer.name));
        self.tells_change.set(within_another);
    }
}

impl Default for Inbox {
    fn default() -> Self {
        Self { frames: RefCell::default(), taken: Cell::new(0), since: Cell::new(Instant::now()) }
    }
}

impl Inbox {
    /// Puts whole frames into the empty inbox.
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

    /// Whether other tasks should have a turn. The clock is looked at now and then only.
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
