//! A hub: what its parts share, and what they are told.

mod clients;
mod naming;
mod observations;
mod routing;
mod subscriptions;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;

use super::directory::{Directory, Member};
use super::hooks::{Hooks, Interest};
use super::id_map::IdMap;
use super::names::random_number;
use super::options::{Keepalive, Limits, Options};
use super::outbound::{NO_LIMIT, Outbound};
use super::outbox::Outbox;
use super::peer::{CloseReason, Peer};
use super::topic::Topic;
use crate::protocol::{Etid, Tid};
use crate::transport::Framing;
pub use clients::InUse;
pub use naming::Named;
pub use observations::Observed;

/// The server's own etid, unless a hub asks for a random one.
pub const SERVER_ETID: Etid = Etid(1);

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
    interest: Interest,
    server: Arc<Peer>,
    handshake_timeout: Duration,
    keepalive: Mutex<Keepalive>,
    limits: Limits,
    routes: RwLock<IdMap<u32, Route>>,
    directory: Mutex<Directory>,
    clients: AtomicU32,
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
            shutdowns: watch::Sender::default(),
        }));
        hub.0.routes.write().insert(etid.0, Route::Peer(server.clone()));
        hub.0.directory.lock().peers.insert(etid, Member::new(server));
        hub
    }

    pub fn hooks(&self) -> &dyn Hooks {
        &*self.0.hooks
    }

    pub fn interest(&self) -> Interest {
        self.0.interest
    }

    /// The hub's own side.
    pub fn server(&self) -> &Arc<Peer> {
        &self.0.server
    }

    pub fn limits(&self) -> &Limits {
        &self.0.limits
    }

    pub fn handshake_timeout(&self) -> Duration {
        self.0.handshake_timeout
    }

    pub fn keepalive(&self) -> Keepalive {
        *self.0.keepalive.lock()
    }

    /// For connections that come later.
    pub fn set_keepalive(&self, keepalive: Keepalive) {
        *self.0.keepalive.lock() = keepalive;
    }

    /// The number of connected clients.
    pub fn client_count(&self) -> usize {
        self.0.clients.load(Ordering::Relaxed) as usize
    }

    /// For the server's own side: `count` bytes that it took from its queue are done with.
    pub fn server_took(&self, count: usize) {
        self.0.server.outbound.sent(count);
    }

    /// For a connection that is to be a client's: it ends at the first of them if it is in its handshake then.
    pub fn shutdowns(&self) -> Shutdowns {
        Shutdowns(self.0.shutdowns.subscribe())
    }

    /// Closes all connections: those in their handshake, and those of the clients, which are returned.
    pub fn shut_down(&self, outbox: &mut Outbox, farewell: Option<&[u8]>) -> Vec<Arc<Peer>> {
        self.0.shutdowns.send_replace(farewell.map(Into::into));
        // Who is registered from here on sees that there was a shutdown.
        let mut clients = self.peers();
        clients.retain(|peer| !peer.is_server());
        for client in &clients {
            self.close(outbox, client, CloseReason::Shutdown, farewell);
        }
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
