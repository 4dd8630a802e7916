//! `hub:connect(request [, arg])`: the request's socket becomes a connection to the hub.

use std::net::SocketAddr;
use std::rc::Rc;

use mlua::{AnyUserData, Result, Table, Value};
use tokio::sync::oneshot;

use super::HubState;
use super::peers::HubSocket;
use crate::bindings::request::Request;
use crate::broker::hooks::Newcomer;
use crate::broker::peer::Peer;
use crate::connection::{Greeting, Upgrade};
use crate::transport::{Framing, websocket};

/// What scripts see of a connection during its handshake.
#[derive(Clone)]
pub struct Connecting {
    info: Table,
    socket: AnyUserData,
}

/// Whether a request asks for an SMQ connection.
pub fn is_smq(request: &Request) -> bool {
    request.header("SimpleMQ").is_some() || request.header("Sec-WebSocket-Key").is_some()
}

/// What the connection of a request begins with; `None` if it is no SMQ request.
fn greeting(request: &Request) -> Option<Greeting> {
    if request.header("SimpleMQ").is_some() {
        let wants_response = request.header("SendSmqHttpResponse").is_some_and(|value| &value[..] == b"true");
        return Some(if wants_response { Greeting::Http } else { Greeting::None });
    }
    let key = request.header("Sec-WebSocket-Key")?;
    Some(Greeting::WebSocket { accept: websocket::accept_key(&key) })
}

impl HubState {
    /// Makes the request's socket a connection of the hub, and waits until the handshake has succeeded or failed. False
    /// if the request is no SMQ request. An error if the socket cannot be taken.
    pub(super) async fn connect(self: Rc<Self>, request: Request, arg: Value) -> Result<bool> {
        let Some(greeting) = greeting(&request) else { return Ok(false) };
        let address = request.peer_addr();
        let token = self.next_token.get() + 1;
        self.next_token.set(token);
        if self.broker.interest().onconnect {
            let connecting = self.connecting(&request, arg, address, greeting.framing())?;
            self.connecting.borrow_mut().insert(token, connecting);
        }
        let upgrade = Upgrade { hub: self.broker.clone(), greeting, token, address };
        let (tell, is_over) = oneshot::channel();
        let (thread, hub) = (self.thread.clone(), self.number);
        let over = move || {
            // The Lua thread may have ended meanwhile.
            let _ = thread.send(move |world| {
                // The page may have ended, too, with its app; the hub may be another app's.
                if let Some(state) = world.hubs.get(hub) {
                    state.connecting.borrow_mut().remove(&token);
                }
                let _ = tell.send(());
            });
        };
        let takeover = upgrade.into_takeover(over);
        let taken = request.take_socket(takeover);
        if taken.is_ok() {
            // An error means that the connection is gone, and so the handshake is over.
            let _ = is_over.await;
        }
        self.connecting.borrow_mut().remove(&token);
        taken.map(|()| true).map_err(|error| mlua::Error::runtime(format!("hub:connect: {error}")))
    }

    fn connecting(
        &self,
        request: &Request,
        arg: Value,
        address: Option<SocketAddr>,
        framing: Framing,
    ) -> Result<Connecting> {
        let info = self.lua.create_table()?;
        info.set("arg", arg)?;
        info.set("url", request.uri())?;
        info.set("data", request.data_table(&self.lua)?)?;
        info.set("header", request.headers_table(&self.lua)?)?;
        info.set("uname", request.user())?;
        info.set("session", request.session_value(&self.lua)?)?;
        let socket = self.lua.create_userdata(HubSocket::new(address, framing))?;
        info.set("sock", &socket)?;
        Ok(Connecting { info, socket })
    }

    /// The info table for `authenticate`, and later for `onconnect`. An error if the page that connected the client is
    /// gone.
    pub(super) fn info_table(&self, newcomer: &Newcomer) -> Result<Table> {
        let info = match self.connecting.borrow().get(&newcomer.token) {
            Some(connecting) => connecting.info.clone(),
            None => return Err(mlua::Error::runtime("the page that connected this client has ended")),
        };
        info.set("seed", newcomer.seed)?;
        info.set("uid", self.lua.create_string(&newcomer.identity.uid)?)?;
        info.set("info", self.lua.create_string(&newcomer.identity.info)?)?;
        Ok(info)
    }

    /// The socket that scripts see of a connection during its handshake.
    pub(super) fn socket_in_handshake(&self, peer: &Peer) -> Option<AnyUserData> {
        self.connecting.borrow().get(&peer.token()).map(|connecting| connecting.socket.clone())
    }
}
