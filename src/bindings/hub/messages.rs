//! What comes for the server's own peer: messages of its subscriptions, and changes that it observes.

use std::rc::Rc;
use std::time::{Duration, Instant};

use mlua::{Result, Value};
use tokio::time::timeout;

use super::super::ba::json;
use super::super::callback::{Call, Calls, Ran, Waiting};
use super::super::console;
use super::HubState;
use super::callbacks::Handler;
use crate::broker::outbox::{Outbox, with_outbox};
use crate::protocol::{Packet, Publish, Subtid, Target};
use crate::transport::raw;

/// How deep callbacks of the server may nest by publishing to the server.
const MAX_DEPTH: u32 = 21;
/// How long one message may go on to cause others in that way: two for each are two million at the greatest depth.
const MAX_NESTED: Duration = Duration::from_secs(1);

/// Callbacks for messages that may wait at a time. Further messages then stay in front of them, and what their publishers
/// send is not read. Fewer than may wait to write to one socket, so that a socket that is read loses nothing.
const MAX_WAITING: usize = 1000;
/// If none of them returns for so long, more may begin: those that write to a socket that nobody reads soon fail there, and
/// the others go on.
const PATIENCE: Duration = Duration::from_secs(1);
/// So many may wait even then.
const MAX_STUCK: usize = 10_000;

/// Packets for the server, on their way to its callbacks.
pub struct Messages {
    state: Rc<HubState>,
    frames: Vec<u8>,
    /// Where the packets begin that are still to be told.
    at: usize,
}

impl HubState {
    /// Runs the callbacks for what is queued for the server, as soon as few enough of them wait. Where none waits, that is
    /// done when this is polled first.
    pub(super) async fn take_turn(self: &Rc<Self>) {
        // What is taken first is told first. A callback that ends a client is within a turn already.
        let _turn = match self.turn.try_lock() {
            Err(_) if self.depth.get() == 0 => Some(self.turn.lock().await),
            turn => turn.ok(),
        };
        let server = self.hub.server();
        with_outbox(|outbox| outbox.queue_for_server(server));
        let queued = server.outbound.take();
        let count = queued.len();
        let mut rest = Some(Messages { state: self.clone(), frames: queued, at: 0 });
        while let Some(messages) = rest {
            self.room().await;
            let depth = self.depth.replace(self.depth.get().max(1));
            rest = self.tell(messages, Self::is_full);
            self.depth.set(depth);
        }
        self.hub.server_took(count);
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
        let depth = self.depth.get();
        if depth <= 1 {
            self.nested_since.set(Instant::now());
        }
        if depth >= MAX_DEPTH || self.nested_since.get().elapsed() > MAX_NESTED {
            return self.log_often(&self.tallies.nested, || {
                let bounds = format!("{MAX_DEPTH} deep, or for more than {MAX_NESTED:?}");
                format!("a message was dropped: callbacks that publish to the server cause each other, {bounds}")
            });
        }
        self.depth.set(depth + 1);
        // The script that publishes cannot wait.
        self.tell(Messages { state: self.clone(), frames, at: 0 }, |_| false);
        self.depth.set(depth);
    }

    /// Runs the callbacks for these messages. A callback that waits goes on as a task of its own; if one does and the hub
    /// `is_full` then, the messages behind it are returned.
    fn tell(self: &Rc<Self>, mut messages: Messages, is_full: impl Fn(&Self) -> bool) -> Option<Messages> {
        while messages.at < messages.frames.len() {
            let from = messages.at;
            messages = match self.runners.messages.run(messages) {
                Ran::All(_) => return None,
                Ran::Waiting(rest, waiting) => {
                    self.let_wait(waiting);
                    if is_full(self) {
                        return Some(rest);
                    }
                    rest
                }
                Ran::Failed(rest, error) => {
                    console::report("onmsg", &error);
                    rest
                }
            };
            if messages.at == from {
                // No callback can be called at all.
                return None;
            }
        }
        None
    }

    fn let_wait(self: &Rc<Self>, callback: Waiting) {
        self.waiting.set(self.waiting.get() + 1);
        let state = self.clone();
        tokio::task::spawn_local(async move {
            if let Err(error) = callback.await {
                console::report("onmsg", &error);
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

    fn log_unheard(&self, publish: &Publish<'_>) {
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

    fn tell_change(&self, target: Target, subscribers: u32) {
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

impl Calls for Messages {
    fn next(&mut self, _: Option<bool>) -> Result<Option<Call>> {
        while let Some(frame) = raw::frames(&self.frames[self.at..]).next() {
            self.at += frame.len();
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
