//! A hub: the state that its methods share. Each of the other files here holds the methods of one subject.

mod clients;
mod naming;
mod observations;
mod routing;
mod subscriptions;
mod turns;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;

use super::directory::{Directory, Member};
use super::hooks::{Hooks, Interest};
use super::id_map::IdMap;
use super::names::random_number;
use super::options::{Limits, Options};
use super::outbound::{NO_LIMIT, Outbound};
use super::peer::Peer;
use super::topic::Topic;
use crate::protocol::{Etid, Tid};
use crate::socket::Keepalive;
use crate::transport::Framing;
pub use clients::InUse;
pub use naming::Creator;
pub use observations::Observed;
use turns::Turns;

/// The server's own etid, unless a hub asks for a random one.
pub const SERVER_ETID: Etid = Etid(1);

/// What a number on the wire leads to.
#[derive(Clone)]
enum Route {
    Topic(Arc<Topic>),
    Peer(Arc<Peer>),
}

/// A broker instance. Clones are handles to the same one.
#[derive(Clone)]
pub struct Hub(Arc<Shared>);

struct Shared {
    hooks: Box<dyn Hooks>,
    /// The answer of `hooks`, asked once: every packet looks at it.
    interest: Interest,
    server: Arc<Peer>,
    handshake_timeout: Duration,
    keepalive: Mutex<Keepalive>,
    limits: Limits,
    /// All that messages need, apart from the directory so that publishers do not wait for it. Written only by those who
    /// have locked the directory.
    routes: RwLock<IdMap<u32, Route>>,
    directory: Mutex<Directory>,
    /// The number of clients in the directory, to be read without its lock.
    clients: AtomicU32,
    turns: Mutex<Turns>,
    shutdowns: watch::Sender<Farewell>,
}

/// The shutdowns of a hub from some time on.
pub struct Shutdowns(watch::Receiver<Farewell>);

/// What clients are sent before they are closed.
type Farewell = Option<Box<[u8]>>;

impl Shutdowns {
    /// Waits for the next one; for ever if the hub is gone.
    pub async fn next(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending().await
        }
    }

    /// The farewell of the last one, if there was any since this was made.
    pub fn farewell(&self) -> Option<Farewell> {
        self.0.has_changed().is_ok_and(|has_changed| has_changed).then(|| self.0.borrow().clone())
    }
}

impl Hub {
    /// A hub whose only peer is the server itself.
    pub fn new(options: Options) -> Self {
        let etid = if options.random_server_etid { Etid(random_number(|_| false)) } else { SERVER_ETID };
        let server = Arc::new(Peer::server(etid, Outbound::new(Framing::Raw, NO_LIMIT)));
        let hub = Self(Arc::new(Shared {
            interest: options.hooks.interest(),
            hooks: options.hooks,
            server: server.clone(),
            handshake_timeout: options.handshake_timeout,
            keepalive: Mutex::new(options.keepalive),
            limits: options.limits,
            routes: RwLock::default(),
            directory: Mutex::default(),
            clients: AtomicU32::new(0),
            turns: Mutex::default(),
            shutdowns: watch::Sender::default(),
        }));
        hub.0.routes.write().insert(etid.0, Route::Peer(server.clone()));
        hub.0.directory.lock().peers.insert(etid, Member::new(server));
        hub
    }

    /// The owner, who is asked.
    pub fn hooks(&self) -> &dyn Hooks {
        &*self.0.hooks
    }

    /// What the owner wants to be asked and told.
    pub fn interest(&self) -> Interest {
        self.0.interest
    }

    /// The peer of the hub's own side.
    pub fn server(&self) -> &Arc<Peer> {
        &self.0.server
    }

    /// What clients can make the hub keep.
    pub fn limits(&self) -> &Limits {
        &self.0.limits
    }

    /// The time that a client has to send its Connect.
    pub fn handshake_timeout(&self) -> Duration {
        self.0.handshake_timeout
    }

    /// The TCP keepalive of connections that come now.
    pub fn keepalive(&self) -> Keepalive {
        *self.0.keepalive.lock()
    }

    /// Sets the TCP keepalive of connections that come later; those that are open keep theirs.
    pub fn set_keepalive(&self, keepalive: Keepalive) {
        *self.0.keepalive.lock() = keepalive;
    }

    /// The number of connected clients.
    pub fn client_count(&self) -> usize {
        self.0.clients.load(Ordering::Relaxed) as usize
    }

    /// For the server's own side: `count` bytes that it took from its queue have been handled.
    pub fn server_took(&self, count: usize) {
        self.0.server.outbound.sent(count);
    }

    /// For a connection that is to be a client's: it ends at the first of them if it is in its handshake then.
    pub fn shutdowns(&self) -> Shutdowns {
        Shutdowns(self.0.shutdowns.subscribe())
    }

    /// Closes the connections that are in their handshake. Returns the clients, whom the caller has to close likewise.
    pub fn begin_shutdown(&self, farewell: Option<&[u8]>) -> Vec<Arc<Peer>> {
        self.0.shutdowns.send_replace(farewell.map(Into::into));
        // Who is registered from here on sees that there was a shutdown.
        let mut clients = self.peers();
        clients.retain(|peer| !peer.is_server());
        clients
    }

    /// Whether `other` is a handle to the same hub.
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    fn topic(&self, tid: Tid) -> Option<Arc<Topic>> {
        match self.0.routes.read().get(&tid.0) {
            Some(Route::Topic(topic)) => Some(topic.clone()),
            _ => None,
        }
    }
}
