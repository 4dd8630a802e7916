//! The script's functions, and running those about a client's connection: `authenticate`, `onconnect`, `onclose`,
//! `log`.
//!
//! An error in a callback is logged with its traceback. Where a callback has to permit something, an error denies it.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use mlua::{Function, IntoLuaMulti, Lua, MultiValue, Result, Value};

use super::HubState;
use super::peers::HubSocket;
use crate::bindings::args::{kind, plain_text};
use crate::bindings::console;
use crate::bindings::tally::Tally;
use crate::broker::hooks::{Interest, Newcomer, Verdict};
use crate::broker::outbox::with_outbox;
use crate::broker::peer::{CloseReason, Peer};
use crate::lua::{budget, run_now};
use crate::protocol::{Etid, ReturnCode};

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

/// A callback for changes of the number of subscribers.
#[derive(Clone)]
pub struct Observer {
    pub function: Function,
    /// The topic's name, or the etid.
    pub name: Value,
    pub is_topic: bool,
}

impl Callbacks {
    /// Which questions the broker has to ask at all.
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
            log: self.log.is_some(),
        }
    }
}

// ---- The life of a client ----

impl HubState {
    /// Asks `authenticate` whether a client may connect.
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
        verdict(&self.lua, &answer)
    }

    /// Calls `onconnect`, unless the client has been ended already.
    pub(super) async fn connected(self: Rc<Self>, peer: Arc<Peer>, newcomer: Newcomer) {
        // First, the messages that are queued: the end of an earlier client with the same etid may be among them.
        self.take_turn().await;
        if !peer.announce() {
            return;
        }
        if let Err(error) = self.tell_connected(&peer, &newcomer).await {
            console::report("onconnect", &error);
        }
        peer.announced();
    }

    async fn tell_connected(&self, peer: &Arc<Peer>, newcomer: &Newcomer) -> Result<()> {
        let table = self.peer_table(peer)?;
        let Some(onconnect) = &self.callbacks.onconnect else { return Ok(()) };
        let info = self.info_table(newcomer)?;
        budget::call(onconnect, (peer.etid().0, info, table)).await
    }

    /// Calls `onclose`, if `onconnect` was called for this client. The client can still be found until the hub has
    /// disconnected it, so its table is kept until then.
    pub(super) async fn closed(self: Rc<Self>, peer: &Arc<Peer>, reason: CloseReason) {
        // First, the messages that are queued: the client's last ones may be among them.
        self.take_turn().await;
        // A script may end a client before `onconnect` could be called.
        let was_announced = peer.was_announced().await;
        let is_known = was_announced || self.callbacks.onconnect.is_none();
        if is_known && let Err(error) = self.tell_closed(peer, reason).await {
            console::report("onclose", &error);
        }
        let (state, peer) = (self.clone(), peer.clone());
        self.life.clone().spawn(async move {
            peer.ended().await;
            state.peers.forget(&peer);
        });
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

    /// Closes all connections, each after a Disconnect packet if there is a `farewell`. Returns the clients that were
    /// closed.
    pub(super) fn shut_down(self: &Rc<Self>, farewell: Option<&[u8]>) -> Vec<Arc<Peer>> {
        let clients = self.broker.begin_shutdown(farewell);
        self.end_now(&clients, farewell);
        clients
    }

    /// Closes the connection of the client with this etid, if there is one, as [`HubState::shut_down`] does.
    pub(super) fn shut_down_one(self: &Rc<Self>, etid: Etid, farewell: Option<&[u8]>) {
        self.end_now(self.broker.client(etid).as_slice(), farewell);
    }

    /// Closes connections, then calls `onclose` for each client and disconnects it. If `onclose` waits, this returns
    /// before that.
    fn end_now(self: &Rc<Self>, clients: &[Arc<Peer>], farewell: Option<&[u8]>) {
        // Begun before they are closed, or else their own tasks might do it, and this would return too early.
        let ending: Vec<_> = clients.iter().filter(|client| client.begin_end()).cloned().collect();
        with_outbox(|outbox| {
            clients.iter().for_each(|client| self.broker.close(outbox, client, CloseReason::Shutdown, farewell));
            outbox.flush();
        });
        for peer in ending {
            let state = self.clone();
            run_now(async move {
                if state.callbacks.onclose.is_some() {
                    state.life.clone().run(state.clone().closed(&peer, CloseReason::Shutdown)).await;
                }
                state.act(|outbox| state.broker.disconnect(outbox, &peer));
            });
        }
    }

    fn text(&self, text: &str) -> Result<Value> {
        Ok(Value::String(self.lua.create_string(text)?))
    }
}

/// What `authenticate` returned: a code and, with a refusal, a reason, which is text or a number. Nil, false or nothing
/// denies. Anything else that is no code is an error.
fn verdict(lua: &Lua, answer: &MultiValue) -> Result<Verdict> {
    let code = match answer.front() {
        None | Some(Value::Nil | Value::Boolean(false)) => return Ok(Verdict::denied()),
        Some(Value::Integer(code)) => u8::try_from(*code).ok(),
        Some(Value::Number(code)) if code.fract() == 0.0 && (0.0..256.0).contains(code) => Some(*code as u8),
        Some(_) => None,
    };
    let Some(code) = code else {
        let got = answer.front().map_or("nothing".into(), kind);
        return Err(mlua::Error::runtime(format!("a code of 0..255 expected as the first result, got {got}")));
    };
    let reason = answer.get(1).and_then(|reason| plain_text(lua, reason)).unwrap_or_default();
    Ok(Verdict { code: ReturnCode(code), reason })
}

// ---- Logging, and running any callback ----

impl HubState {
    /// Logs something that clients can cause often, when its `tally` says so: through the script's `log`, or else to the
    /// console.
    pub(super) fn log_often(self: &Rc<Self>, tally: &Tally, text: impl FnOnce() -> String) {
        let Some(count) = tally.count() else { return };
        let text = if count == 1 { text() } else { format!("{} ({count} such so far)", text()) };
        match &self.callbacks.log {
            Some(log) => self.run("log", log, (Value::Nil, text)),
            None => console::line(&format!("smq: {text}")),
        }
    }

    /// Tells the script's `log`, if there is one, something about a client.
    pub(super) fn log_about(self: &Rc<Self>, peer: &Arc<Peer>, text: String) -> Result<()> {
        let Some(log) = &self.callbacks.log else { return Ok(()) };
        let socket: Value = self.peer_table(peer)?.raw_get("sock")?;
        self.run("log", log, (socket, format!("{peer} {text}")));
        Ok(())
    }

    /// Calls a callback, which errors call `what`, as a coroutine. If it waits, it goes on as a task of its own; the
    /// caller does not wait.
    pub(super) fn run(self: &Rc<Self>, what: &'static str, function: &Function, arguments: impl IntoLuaMulti) {
        let mut call = Box::pin(budget::call::<()>(function, arguments));
        match self.life.enter(|| call.as_mut().poll(&mut Context::from_waker(Waker::noop()))) {
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(error)) => console::report(what, &error),
            Poll::Pending => self.let_wait(what, call),
        }
    }
}
