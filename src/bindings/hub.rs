//! `require"smq.hub"`: the documented SMQ hub API as userdata methods on a broker [`Hub`].
//!
//! | file | what it does |
//! | --- | --- |
//! | `methods` | what scripts call |
//! | `options` | reads the options of `create` |
//! | `connect` | turns a request into a connection |
//! | `owner` | carries the broker's questions from the shards to the Lua thread |
//! | `callbacks` | the script's functions; runs those for connecting, closing and logging |
//! | `packets` | runs the callbacks that permit or observe a client's packets |
//! | `messages` | runs the callbacks for messages to the server itself (the server is a peer, too) |
//! | `nesting` | how deep callbacks may run within each other |
//! | `waiting_room` | how many callbacks may wait, as tasks of their own |
//! | `peers` | peer tables and sockets, as scripts see them |
//!
//! All of this is on the Lua thread, except for `owner`. A callback may wait; then it goes on as a task of its own. For
//! one client the order is kept nevertheless: `onconnect`, its packets one after the other, `onclose`.

mod callbacks;
mod connect;
mod messages;
mod methods;
mod nesting;
mod options;
mod owner;
mod packets;
mod peers;
mod waiting_room;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::poll_fn;
use std::rc::{Rc, Weak};
use std::task::Poll;

use mlua::{Lua, MultiValue, Result, Table, Value};
use tokio::sync::Mutex;

use super::args::Args;
use super::request::Request;
use super::tally::Tally;
use super::{callback, modules};
use crate::broker::outbound::Duty;
use crate::broker::{Hub, Options};
use crate::lua::life::Life;
use crate::lua::{LuaThread, World};
use callbacks::{Callbacks, Observer, TopicCallbacks};
use nesting::Nesting;
use options::HubOptions;
use peers::PeerTables;
use waiting_room::WaitingRoom;

pub use peers::HubSocket;

/// All hubs of the Lua thread, by number.
#[derive(Default)]
pub struct Hubs {
    next: Cell<u64>,
    hubs: RefCell<HashMap<u64, Rc<HubState>>>,
}

/// A hub as scripts know it: the broker, and all that belongs to Lua.
pub struct HubState {
    /// See [`Hubs::get`].
    number: u64,
    broker: Hub,
    lua: Lua,
    thread: LuaThread,
    callbacks: Callbacks,
    /// The callback for messages that have no callback of their own.
    onmsg: RefCell<Option<mlua::Function>>,
    /// The callbacks of the server's subscriptions, by topic.
    topics: RefCell<HashMap<u32, TopicCallbacks>>,
    /// The callbacks of the server's observations, by topic or etid.
    observers: RefCell<HashMap<u32, Observer>>,
    peers: PeerTables,
    /// Connections whose handshake is going on, by token.
    connecting: RefCell<HashMap<u64, connect::Connecting>>,
    next_token: Cell<u64>,
    /// What scripts were told to be the queue size; nothing depends on it.
    queue_size: u32,
    runners: Runners,
    nesting: Nesting,
    /// Whether the callback of an observer is running, up to where it waits.
    tells_change: Cell<bool>,
    /// Messages to the server whose callbacks have yet to run.
    inbox: Rc<messages::Inbox>,
    /// Locked while the inbox is emptied, see [`HubState::take_turn`].
    turn: Mutex<()>,
    waiting_room: WaitingRoom,
    tallies: Tallies,
    /// Whether the script's handle was garbage-collected.
    is_forgotten: Cell<bool>,
    /// The life of the app whose script made the hub.
    life: Life,
}

/// How often each of these has happened.
#[derive(Default)]
struct Tallies {
    /// Messages without a callback.
    unheard: Tally,
    /// Messages that were dropped because callbacks were nested too deep or too long.
    nested: Tally,
    /// Messages of the server to itself that were dropped because too many callbacks were waiting.
    crowded: Tally,
}

/// The coroutines that run the callbacks for messages.
struct Runners {
    packets: callback::Runners<packets::Packets>,
    messages: callback::Runners<messages::Messages>,
}

impl Drop for HubState {
    fn drop(&mut self) {
        // Wakes the task of `serve`, which then ends.
        self.broker.server().outbound.wake();
    }
}

/// The userdata that scripts hold. It does not own the hub, [`Hubs`] does: the hub's callbacks may refer to the handle,
/// and such a cycle through Lua would never be freed.
pub struct HubHandle(pub Weak<HubState>);

impl Drop for HubHandle {
    fn drop(&mut self) {
        if let Some(state) = self.0.upgrade() {
            state.is_forgotten.set(true);
        }
    }
}

/// Makes `require"smq.hub"` available.
pub fn install(world: &Rc<World>) -> Result<()> {
    let lua = &world.lua;
    let for_create = Rc::downgrade(world);
    let create = lua.create_function(move |lua, values: MultiValue| {
        let world = for_create.upgrade().ok_or_else(|| mlua::Error::runtime("the server is stopping"))?;
        create(&world, lua, values)
    })?;
    let is_smq = lua.create_function(|lua, values: MultiValue| is_smq(lua, values))?;
    modules::register(lua, "smq.hub", move |lua| {
        let module = lua.create_table()?;
        module.set("create", create.clone())?;
        module.set("isSMQ", is_smq.clone())?;
        Ok(Value::Table(module))
    })
}

/// `create([op])`.
fn create(world: &Rc<World>, lua: &Lua, values: MultiValue) -> Result<Value> {
    let args = Args::new(lua, "hub.create", values);
    let options = HubOptions::read(&args)?;
    let state = HubState::start(world, options);
    Ok(Value::UserData(lua.create_userdata(HubHandle(Rc::downgrade(&state)))?))
}

/// `isSMQ(request)`.
fn is_smq(lua: &Lua, values: MultiValue) -> Result<bool> {
    let args = Args::new(lua, "hub.isSMQ", values);
    let request = args.object::<Request>(1, "request", "request")?;
    Ok(connect::is_smq(&request))
}

impl Hubs {
    /// The hub with this number.
    pub fn get(&self, number: u64) -> Option<Rc<HubState>> {
        self.hubs.borrow().get(&number).cloned()
    }

    fn enter(&self, number: u64, state: &Rc<HubState>) {
        let mut hubs = self.hubs.borrow_mut();
        // A hub that no script holds any more stays as long as it has clients.
        hubs.retain(|_, state| !state.is_forgotten.get() || state.broker.client_count() > 0);
        hubs.insert(number, state.clone());
    }

    /// Closes the clients of an app's hubs, as `hub:shutdown()` does, and waits until their `onclose` has returned;
    /// likewise for clients that connect meanwhile.
    pub async fn shut_down(&self, life: &Life) {
        loop {
            let clients: Vec<_> = self.of(life).iter().flat_map(|state| state.shut_down(None)).collect();
            if clients.is_empty() {
                return;
            }
            for client in clients {
                client.ended().await;
            }
        }
    }

    /// Removes the hubs of an app that has ended.
    pub fn forget(&self, life: &Life) {
        for state in self.of(life) {
            state.shut_down(None);
        }
        self.hubs.borrow_mut().retain(|_, state| !state.life.is(life));
    }

    fn of(&self, life: &Life) -> Vec<Rc<HubState>> {
        self.hubs.borrow().values().filter(|state| state.life.is(life)).cloned().collect()
    }

    fn new_number(&self) -> u64 {
        self.next.set(self.next.get() + 1);
        self.next.get()
    }
}

impl HubState {
    /// Makes the hub and starts the task that serves the server's own subscriptions.
    fn start(world: &Rc<World>, options: HubOptions) -> Rc<Self> {
        let number = world.hubs.new_number();
        let broker = Hub::new(Options {
            hooks: Box::new(owner::Owner::new(world.thread.clone(), number, options.callbacks.interest())),
            random_server_etid: options.random_server_etid,
            handshake_timeout: options.handshake_timeout,
            keepalive: options.keepalive,
            limits: Default::default(),
        });
        let state = Rc::new(Self {
            number,
            broker,
            lua: world.lua.clone(),
            thread: world.thread.clone(),
            callbacks: options.callbacks,
            onmsg: RefCell::new(options.onmsg),
            topics: RefCell::default(),
            observers: RefCell::default(),
            peers: PeerTables::default(),
            connecting: RefCell::default(),
            next_token: Cell::new(0),
            queue_size: options.queue_size,
            runners: Runners {
                packets: callback::Runners::new(&world.lua),
                messages: callback::Runners::new(&world.lua),
            },
            nesting: Nesting::default(),
            tells_change: Cell::new(false),
            inbox: Rc::default(),
            turn: Mutex::default(),
            waiting_room: WaitingRoom::default(),
            tallies: Tallies::default(),
            is_forgotten: Cell::new(false),
            life: Life::current(),
        });
        world.hubs.enter(number, &state);
        state.life.clone().spawn(serve(Rc::downgrade(&state), state.broker.clone()));
        state
    }

    /// The table of a peer, the same one each time. A script may find a client before `onconnect` is called for it; then
    /// the table has the socket of the handshake already.
    fn peer_table(&self, peer: &std::sync::Arc<crate::broker::peer::Peer>) -> Result<Table> {
        match self.peers.existing(peer) {
            Some(table) => Ok(table),
            None => self.peers.enter(&self.lua, &self.broker, peer, self.socket_in_handshake(peer)),
        }
    }
}

/// Runs the callbacks for messages to the server, whenever there are any.
async fn serve(state: Weak<HubState>, hub: Hub) {
    let server = hub.server();
    loop {
        poll_fn(|cx| {
            server.outbound.register(cx.waker());
            let is_due = server.outbound.duty() == Duty::Send || state.strong_count() == 0;
            if is_due { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        let Some(state) = state.upgrade() else { return };
        state.take_turn().await;
        drop(state);
        tokio::task::yield_now().await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use mlua::UserDataRef;

    use super::*;

    #[tokio::test]
    async fn nothing_is_left_of_a_hub_that_was_forgotten() {
        let (lua, _) = LuaThread::start().unwrap();
        let left = lua.call(|world| async move {
            let create =
                || world.lua.load("return require'smq.hub'.create()").eval::<UserDataRef<HubHandle>>().unwrap();
            let others = async || {
                for _ in 0..10 {
                    tokio::task::yield_now().await;
                }
            };
            let server = Arc::downgrade(create().0.upgrade().unwrap().broker.server());
            others().await;
            world.lua.gc_collect().unwrap();
            create();
            others().await;
            server.strong_count()
        });
        assert_eq!(left.await.unwrap(), 0);
        lua.stop();
    }
}
