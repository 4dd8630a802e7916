//! Peer tables and sockets, as scripts see them. They are made when a script first asks for a peer, and stay the same.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use mlua::{AnyUserData, Lua, MetaMethod, MultiValue, Result, Table, UserData, UserDataMethods, Value};

use crate::bindings::request::address;
use crate::broker::Hub;
use crate::broker::peer::Peer;
use crate::protocol::Etid;
use crate::transport::Framing;

/// Tables of peers that have ended are removed when there are more than twice as many tables as clients and this
/// number.
const SLACK: usize = 16;

/// The peer tables that scripts have seen.
#[derive(Default)]
pub struct PeerTables {
    entries: RefCell<HashMap<Etid, Entry>>,
    /// The metatable of this hub's peer tables.
    metatable: RefCell<Option<Table>>,
}

struct Entry {
    peer: Arc<Peer>,
    table: Table,
}

/// A client's socket, or the server's pseudo socket, as scripts see it.
pub struct HubSocket {
    address: Option<SocketAddr>,
    framing: Option<Framing>,
    /// Known once the client is accepted.
    peer: RefCell<Option<Arc<Peer>>>,
    is_lost: std::cell::Cell<bool>,
}

impl HubSocket {
    /// The socket of a client during its handshake.
    pub fn new(address: Option<SocketAddr>, framing: Framing) -> Self {
        Self { address, framing: Some(framing), peer: RefCell::default(), is_lost: Default::default() }
    }

    fn of(peer: &Arc<Peer>) -> Self {
        let framing = (!peer.is_server()).then(|| peer.outbound.framing());
        Self { address: peer.address(), framing, peer: RefCell::new(Some(peer.clone())), is_lost: Default::default() }
    }

    /// The peer that the socket belongs to.
    pub fn peer(&self) -> Option<Arc<Peer>> {
        self.peer.borrow().clone()
    }

    /// Notes that the connection was lost. From now on the socket has no address.
    pub fn set_lost(&self) {
        self.is_lost.set(true);
    }

    fn peername(&self) -> Option<SocketAddr> {
        self.address.filter(|_| !self.is_lost.get())
    }
}

impl UserData for HubSocket {
    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_method("peername", |lua, socket, _: MultiValue| address(lua, socket.peername()));
        methods.add_method("websocket", |_, socket, _: MultiValue| Ok(socket.framing == Some(Framing::WebSocket)));
        methods.add_meta_method(MetaMethod::ToString, |_, socket, ()| {
            Ok(match (socket.framing, socket.address) {
                (None, _) => "smq server socket".to_owned(),
                (Some(_), Some(address)) => format!("smq socket {address}"),
                (Some(_), None) => "smq socket".to_owned(),
            })
        });
    }
}

impl PeerTables {
    /// The peer's table, if a script has seen it.
    pub fn existing(&self, peer: &Arc<Peer>) -> Option<Table> {
        let entries = self.entries.borrow();
        entries.get(&peer.etid()).filter(|entry| Arc::ptr_eq(&entry.peer, peer)).map(|entry| entry.table.clone())
    }

    /// Removes the table of a peer that has ended.
    pub fn forget(&self, peer: &Peer) {
        let mut entries = self.entries.borrow_mut();
        if entries.get(&peer.etid()).is_some_and(|entry| std::ptr::eq(&*entry.peer, peer)) {
            entries.remove(&peer.etid());
        }
    }

    /// Makes the table of a peer, with the socket that scripts have seen before, if they have.
    pub fn enter(&self, lua: &Lua, hub: &Hub, peer: &Arc<Peer>, seen: Option<AnyUserData>) -> Result<Table> {
        let socket = match seen {
            Some(socket) => {
                *socket.borrow::<HubSocket>()?.peer.borrow_mut() = Some(peer.clone());
                socket
            }
            None => lua.create_userdata(HubSocket::of(peer))?,
        };
        let table = lua.create_table()?;
        table.raw_set("sock", socket)?;
        table.raw_set("tid", peer.etid().0)?;
        table.raw_set("uid", lua.create_string(peer.uid())?)?;
        table.raw_set("info", lua.create_string(peer.info())?)?;
        table.set_metatable(Some(self.metatable(lua, hub)?))?;
        self.sweep(hub);
        // Of a peer that has ended nothing is kept: its etid may be that of another by now.
        if is_registered(hub, peer) {
            let entry = Entry { peer: peer.clone(), table: table.clone() };
            self.entries.borrow_mut().insert(peer.etid(), entry);
        }
        Ok(table)
    }

    /// Removes the tables of peers that have ended, now and then: without an `onclose` callback the Lua thread is not
    /// told of a client's end.
    fn sweep(&self, hub: &Hub) {
        let mut entries = self.entries.borrow_mut();
        if entries.len() > 2 * (hub.client_count() + SLACK) {
            entries.retain(|_, entry| entry.peer.is_alive());
        }
    }

    /// Makes `topics` a field that is computed when it is read, so that it is current. All others are plain fields.
    fn metatable(&self, lua: &Lua, hub: &Hub) -> Result<Table> {
        if let Some(metatable) = &*self.metatable.borrow() {
            return Ok(metatable.clone());
        }
        let metatable = lua.create_table()?;
        let (for_index, for_pairs) = (hub.clone(), hub.clone());
        metatable.set(
            "__index",
            lua.create_function(move |lua, (table, key): (Table, Value)| match key {
                Value::String(key) if key == "topics" => topics(lua, &for_index, &table),
                _ => Ok(Value::Nil),
            })?,
        )?;
        let next: mlua::Function = lua.globals().get("next")?;
        metatable.set(
            "__pairs",
            lua.create_function(move |lua, table: Table| {
                let fields = lua.create_table()?;
                table.for_each(|key: Value, value: Value| fields.raw_set(key, value))?;
                fields.raw_set("topics", topics(lua, &for_pairs, &table)?)?;
                Ok((next.clone(), fields))
            })?,
        )?;
        *self.metatable.borrow_mut() = Some(metatable.clone());
        Ok(metatable)
    }
}

/// The topics of a peer: tid to socket, or nil without any.
fn topics(lua: &Lua, hub: &Hub, table: &Table) -> Result<Value> {
    let socket: Value = table.raw_get("sock")?;
    let Value::UserData(data) = &socket else { return Ok(Value::Nil) };
    let peer = data.borrow::<HubSocket>()?.peer();
    let Some(peer) = peer.filter(|peer| is_registered(hub, peer)) else { return Ok(Value::Nil) };
    let subscriptions = hub.subscriptions(peer.etid());
    if subscriptions.is_empty() {
        return Ok(Value::Nil);
    }
    let topics = lua.create_table()?;
    for tid in subscriptions {
        topics.raw_set(tid.0, socket.clone())?;
    }
    Ok(Value::Table(topics))
}

/// Whether the hub knows this very peer.
pub fn is_registered(hub: &Hub, peer: &Arc<Peer>) -> bool {
    hub.peer(peer.etid()).is_some_and(|known| Arc::ptr_eq(&known, peer))
}
