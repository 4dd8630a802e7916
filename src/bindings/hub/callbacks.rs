//! The script's functions: when each runs, with what, and what its answer means. An error in one is logged with its
//! traceback and harms nobody; where an answer was asked for, it denies.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use mlua::{Function, IntoLuaMulti, MultiValue, Result, Table, Value};

use super::super::ba::json;
use super::super::callback::{self, Started};
use super::super::console;
use super::HubState;
use super::peers::HubSocket;
use crate::broker::hooks::{Batch, Interest, Newcomer, Verdict};
use crate::broker::outbox::{Outbox, with_outbox};
use crate::broker::peer::{CloseReason, Peer};
use crate::broker::session::{Handled, Question, Session};
use crate::lua::budget;
use crate::protocol::{Packet, Publish, ReturnCode, Subtid, Target};
use crate::transport::raw;

/// How deep callbacks of the server may nest by publishing to the server.
const MAX_DEPTH: u32 = 21;

/// The functions given to `create`.
#[derive(Default)]
pub struct Callbacks {
    pub authenticate: Option<Function>,
    pub permittop: Option<Function>,
    pub permitsubtop: Option<Function>,
    pub onconnect: Option<Function>,
    pub onclose: Option<Function>,
    pub onpublish: Option<Function>,
    pub ondrop: Option<Function>,
    pub log: Option<Function>,
}

/// The callbacks of one topic the server is subscribed to.
#[derive(Default)]
pub struct TopicCallbacks {
    pub catch_all: Option<Handler>,
    pub by_subtopic: HashMap<u32, Handler>,
}

/// A callback for messages.
#[derive(Clone)]
pub struct Handler {
    pub function: Function,
    /// Decode the payload before the call.
    pub json: bool,
}

/// A callback for changes.
#[derive(Clone)]
pub struct Observer {
    pub function: Function,
    /// The topic's name, or the etid.
    pub name: Value,
    pub is_topic: bool,
}

impl Callbacks {
    pub fn interest(&self) -> Interest {
        Interest {
            authenticate: self.authenticate.is_some(),
            permittop: self.permittop.is_some(),
            permitsubtop: self.permitsubtop.is_some(),
            // The socket that authenticate has seen becomes the peer's.
            onconnect: self.onconnect.is_some() || self.authenticate.is_some(),
            onclose: self.onclose.is_some(),
            onpublish: self.onpublish.is_some(),
            ondrop: self.ondrop.is_some(),
        }
    }
}

// ---- The life of a client ----

impl HubState {
    pub(super) async fn authenticate(self: Rc<Self>, newcomer: Newcomer) -> Verdict {
        match self.ask_authenticate(newcomer).await {
            Ok(verdict) => verdict,
            Err(error) => {
                console::report("authenticate", &error);
                Verdict::denied()
            }
        }
    }

    async fn ask_authenticate(&self, newcomer: Newcomer) -> Result<Verdict> {
        let Some(authenticate) = &self.callbacks.authenticate else { return Ok(Verdict::accepted()) };
        let info = self.info_table(&newcomer)?;
        let credentials = self.lua.create_string(&newcomer.credentials)?;
        let answer: MultiValue = budget::call(authenticate, (credentials, info)).await?;
        verdict(&answer)
    }

    pub(super) async fn connected(self: Rc<Self>, peer: Arc<Peer>, newcomer: Newcomer) {
        if let Err(error) = self.tell_connected(&peer, &newcomer).await {
            console::report("onconnect", &error);
        }
    }

    async fn tell_connected(&self, peer: &Arc<Peer>, newcomer: &Newcomer) -> Result<()> {
        let table = self.adopt_peer(peer)?;
        let Some(onconnect) = &self.callbacks.onconnect else { return Ok(()) };
        let info = self.info_table(newcomer)?;
        budget::call(onconnect, (peer.etid().0, info, table)).await
    }

    pub(super) async fn closed(self: Rc<Self>, peer: &Arc<Peer>, reason: CloseReason) {
        // What the client sent before it went is told before its end.
        self.take_turn();
        if let Err(error) = self.tell_closed(peer, reason).await {
            console::report("onclose", &error);
        }
        self.peers.forget(peer);
    }

    async fn tell_closed(&self, peer: &Arc<Peer>, reason: CloseReason) -> Result<()> {
        let Some(onclose) = &self.callbacks.onclose else { return Ok(()) };
        let table = self.peer_table(peer)?;
        let socket: Value = table.raw_get("sock")?;
        if let (Value::UserData(data), CloseReason::ReadFailed | CloseReason::WriteFailed) = (&socket, reason) {
            data.borrow::<HubSocket>()?.set_lost();
        }
        let reason = match reason {
            CloseReason::Disconnect | CloseReason::Protocol | CloseReason::Shutdown => Value::Integer(0),
            CloseReason::Kicked => self.text("reconnect")?,
            CloseReason::ReadFailed => self.text("socketreadfailed")?,
            CloseReason::SocketClosed => self.text("socketclosed")?,
            CloseReason::WriteFailed | CloseReason::Overflow => self.text("socketwritefailed")?,
        };
        budget::call(onclose, (peer.etid().0, socket, table, reason)).await
    }

    /// Ends a client now: `onclose` begins to run, and unless it waits the client is forgotten when this returns.
    pub(super) fn end_now(self: &Rc<Self>, peer: Arc<Peer>) {
        if !peer.begin_end() {
            return;
        }
        let state = self.clone();
        run_now(async move {
            if state.callbacks.onclose.is_some() {
                state.clone().closed(&peer, CloseReason::Shutdown).await;
            }
            state.act(|outbox| state.hub.disconnect(outbox, &peer));
        });
    }

    fn text(&self, text: &str) -> Result<Value> {
        Ok(Value::String(self.lua.create_string(text)?))
    }
}

/// What `authenticate` returned: a code and, with a refusal, a reason. What is no code denies.
fn verdict(answer: &MultiValue) -> Result<Verdict> {
    let code = match answer.front() {
        None | Some(Value::Nil | Value::Boolean(false)) => return Ok(Verdict::denied()),
        Some(Value::Integer(code)) => u8::try_from(*code).ok(),
        Some(Value::Number(code)) if code.fract() == 0.0 && (0.0..256.0).contains(code) => Some(*code as u8),
        Some(_) => None,
    };
    let Some(code) = code else {
        let got = answer.front().map_or("nothing", |value| value.type_name());
        return Err(mlua::Error::runtime(format!("a code of 0..255 expected as the first result, got {got}")));
    };
    let reason = match answer.get(1) {
        Some(Value::String(reason)) => reason.as_bytes().to_vec(),
        _ => Vec::new(),
    };
    Ok(Verdict { code: ReturnCode(code), reason })
}

// ---- Packets that need permission ----

impl HubState {
    /// Handles a client's packets one by one, asking the script where it wants to be asked.
    pub(super) async fn packets(self: Rc<Self>, batch: Batch) -> (Session, Option<CloseReason>) {
        let Batch { mut session, frames, first_was_dropped } = batch;
        let mut was_dropped = first_was_dropped;
        // What the client sent before these comes first.
        self.take_turn();
        for frame in raw::frames(&frames) {
            if let Some(reason) = session.peer().closing() {
                return (session, Some(reason));
            }
            let frame = match session.assemble(frame) {
                Ok(Some(frame)) => frame,
                Ok(None) => continue,
                Err(reason) => return (session, Some(reason)),
            };
            let handled = if std::mem::take(&mut was_dropped) {
                Handled::Dropped
            } else {
                self.handle(&mut session, &frame).await
            };
            match handled {
                Handled::Done => {}
                Handled::Close(reason) => return (session, Some(reason)),
                Handled::Dropped => self.dropped(&frame, session.peer()).await,
            }
        }
        (session, None)
    }

    /// Asks, handles the packet, and runs the server's callbacks for what it caused.
    async fn handle(&self, session: &mut Session, frame: &[u8]) -> Handled {
        let granted = match session.question(frame) {
            Some(question) => self.permits(question, session.peer()).await,
            None => true,
        };
        self.act(|outbox| session.handle_one(outbox, frame, granted))
    }

    /// Whether the script allows it; an error denies.
    async fn permits(&self, question: Question<'_>, peer: &Arc<Peer>) -> bool {
        let (name, answer) = match question {
            Question::Topic { name, is_subscription } => {
                ("permittop", self.ask_topic(name, is_subscription, peer).await)
            }
            Question::Subtopic { name } => ("permitsubtop", self.ask_subtopic(name, peer).await),
            Question::Publish(publish) => ("onpublish", self.ask_publish(&publish, peer).await),
        };
        answer.unwrap_or_else(|error| {
            console::report(name, &error);
            false
        })
    }

    async fn ask_topic(&self, name: &[u8], is_subscription: bool, peer: &Arc<Peer>) -> Result<bool> {
        let Some(permittop) = &self.callbacks.permittop else { return Ok(true) };
        let arguments = (self.lua.create_string(name)?, is_subscription, self.peer_table(peer)?);
        callback::call(&self.lua, permittop, arguments).await
    }

    async fn ask_subtopic(&self, name: &[u8], peer: &Arc<Peer>) -> Result<bool> {
        let Some(permitsubtop) = &self.callbacks.permitsubtop else { return Ok(true) };
        let arguments = (self.lua.create_string(name)?, self.peer_table(peer)?);
        callback::call(&self.lua, permitsubtop, arguments).await
    }

    async fn ask_publish(&self, publish: &Publish<'_>, peer: &Arc<Peer>) -> Result<bool> {
        let Some(onpublish) = &self.callbacks.onpublish else { return Ok(true) };
        let arguments = self.message_and_peer(publish, peer)?;
        callback::call(&self.lua, onpublish, arguments).await
    }

    /// `onpublish` for a message of the script's own: within its call of `publish`, so it may not wait.
    pub(super) fn permits_own(&self, publish: &Publish<'_>, peer: &Arc<Peer>) -> bool {
        let Some(onpublish) = &self.callbacks.onpublish else { return true };
        let answer = self.message_and_peer(publish, peer).and_then(|arguments| onpublish.call::<Value>(arguments));
        match answer {
            Ok(answer) => is_truthy(&answer),
            Err(error) => {
                console::report("onpublish", &error);
                false
            }
        }
    }

    async fn dropped(&self, frame: &[u8], peer: &Arc<Peer>) {
        let Some(ondrop) = &self.callbacks.ondrop else { return };
        let Ok(Packet::Publish(publish)) = Packet::decode(&frame[2..]) else { return };
        let told = match self.message_and_peer(&publish, peer) {
            Ok(arguments) => callback::call(&self.lua, ondrop, arguments).await.map(drop),
            Err(error) => Err(error),
        };
        if let Err(error) = told {
            console::report("ondrop", &error);
        }
    }

    /// `ondrop` for a message of the script's own.
    pub(super) fn dropped_own(&self, publish: &Publish<'_>, peer: &Arc<Peer>) {
        let Some(ondrop) = &self.callbacks.ondrop else { return };
        match self.message_and_peer(publish, peer) {
            Ok(arguments) => self.run("ondrop", ondrop, arguments),
            Err(error) => console::report("ondrop", &error),
        }
    }

    fn message_and_peer(&self, publish: &Publish<'_>, peer: &Arc<Peer>) -> Result<(Value, u32, u32, u32, Table)> {
        let data = Value::String(self.lua.create_string(publish.payload)?);
        Ok((data, publish.publisher.0, publish.target.0, publish.subtid.0, self.peer_table(peer)?))
    }
}

// ---- What comes for the server ----

impl HubState {
    /// Runs the callbacks for what is queued for the server. True if there may be more.
    pub(super) fn take_turn(&self) -> bool {
        let queued = self.hub.server().outbound.take();
        let depth = self.depth.replace(self.depth.get().max(1));
        self.dispatch_all(&queued);
        self.depth.set(depth);
        self.hub.server_took(queued.len());
        !queued.is_empty()
    }

    /// Does something on the server's side, and runs the callbacks for what that sends to the server itself before it
    /// returns.
    pub(super) fn act<T>(&self, work: impl FnOnce(&mut Outbox) -> T) -> T {
        let (result, for_server) = with_outbox(|outbox| {
            outbox.make_room();
            outbox.capture(work)
        });
        if !for_server.is_empty() {
            self.nest(&for_server);
        }
        result
    }

    fn nest(&self, frames: &[u8]) {
        let depth = self.depth.get();
        if depth >= MAX_DEPTH {
            return self
                .log(&format!("a message was dropped: callbacks that publish to the server nest {MAX_DEPTH} deep"));
        }
        self.depth.set(depth + 1);
        self.dispatch_all(frames);
        self.depth.set(depth);
    }

    fn dispatch_all(&self, frames: &[u8]) {
        for message in raw::messages(frames) {
            self.dispatch(message);
        }
    }

    fn dispatch(&self, message: &[u8]) {
        match Packet::decode(message) {
            Ok(Packet::Publish(publish)) => self.deliver(&publish),
            Ok(Packet::Change { target, subscribers }) => self.tell_change(target, subscribers),
            // The server's peer is sent nothing else.
            _ => {}
        }
    }

    /// The callback for topic and sub-topic, else the topic's catch-all, else the global one.
    fn deliver(&self, publish: &Publish<'_>) {
        let handler = self.handler(publish.target, publish.subtid);
        let ids = (publish.publisher.0, publish.target.0, publish.subtid.0);
        if let Some(handler) = handler {
            let data = if handler.json {
                json::decode(&self.lua, publish.payload).ok()
            } else {
                self.lua.create_string(publish.payload).ok().map(Value::String)
            };
            if let Some(data) = data {
                return self.run("onmsg", &handler.function, (data, ids.0, ids.1, ids.2));
            }
        }
        let Ok(data) = self.lua.create_string(publish.payload) else { return };
        let onmsg = self.onmsg.borrow().clone();
        match onmsg {
            Some(onmsg) => self.run("onmsg", &onmsg, (data, ids.0, ids.1, ids.2)),
            None => self.log(&format!(
                "a message of {} bytes from {} to {} has no callback",
                publish.payload.len(),
                publish.publisher,
                publish.target
            )),
        }
    }

    fn handler(&self, target: Target, subtid: Subtid) -> Option<Handler> {
        let topics = self.topics.borrow();
        let topic = topics.get(&target.0)?;
        topic.by_subtopic.get(&subtid.0).or(topic.catch_all.as_ref()).cloned()
    }

    fn tell_change(&self, target: Target, subscribers: u32) {
        let Some(observer) = self.observers.borrow().get(&target.0).cloned() else { return };
        if !observer.is_topic {
            self.observers.borrow_mut().remove(&target.0);
        }
        self.run("observe", &observer.function, (subscribers, observer.name));
    }

    /// A line of the hub's own log.
    pub(super) fn log(&self, text: &str) {
        match &self.callbacks.log {
            Some(log) => self.run("log", log, (Value::Nil, text)),
            None => console::line(&format!("smq: {text}")),
        }
    }

    /// Runs a callback as a coroutine. If it waits, it goes on as a task of its own, and the caller does not wait.
    fn run(&self, what: &'static str, function: &Function, arguments: impl IntoLuaMulti) {
        match callback::start(&self.lua, function, arguments) {
            Started::Done(Ok(_)) => {}
            Started::Done(Err(error)) => console::report(what, &error),
            Started::Waiting(rest) => drop(tokio::task::spawn_local(async move {
                if let Err(error) = rest.await {
                    console::report(what, &error);
                }
            })),
        }
    }
}

fn is_truthy(value: &Value) -> bool {
    !matches!(value, Value::Nil | Value::Boolean(false))
}

/// Runs a future up to where it waits; from there on it is a task.
fn run_now(work: impl Future<Output = ()> + 'static) {
    let mut work: Pin<Box<dyn Future<Output = ()>>> = Box::pin(work);
    let first = work.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    if first == Poll::Pending {
        tokio::task::spawn_local(work);
    }
}
