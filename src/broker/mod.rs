//! The broker: topics, peers, subscriptions, observers, routing. It decides and pushes to queues, and never waits.
//!
//! [`Hub`] is a handle that any thread may clone and use. Publishing reads [`Hub::route`]'s table and a topic's snapshot;
//! everything else changes the directory under one lock. Locks are taken in the order directory, topic, outbound queue;
//! none is held during a system call or while a script runs.

pub mod directory;
pub mod hooks;
pub mod id_map;
pub mod names;
mod options;
pub mod outbound;
pub mod outbox;
pub mod peer;
pub mod session;
pub mod topic;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};

use crate::protocol::{Etid, Packet, Subtid, Target, Tid};
use crate::transport::Framing;
use directory::{Directory, Member, Subscription};
use hooks::{Hooks, Interest};
use id_map::{IdMap, remove_from};
use names::random_number;
pub use options::{Keepalive, Limits, Options};
use outbound::Outbound;
use outbox::{Outbox, Span};
use peer::{CloseReason, Peer};
use topic::Topic;

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
}

/// What came of a request for a name's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Named<T> {
    Known(T),
    /// The name is too long, or the hub is full.
    Refused,
}

/// What came of an observation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Observed {
    Topic,
    Peer,
    /// Neither a topic nor a peer, and nothing is remembered; or the limit is reached.
    Nothing,
    /// The observer's own etid.
    Own,
}

impl Hub {
    pub fn new(options: Options) -> Self {
        let etid = if options.random_server_etid { Etid(random_number(|_| false)) } else { SERVER_ETID };
        let server = Arc::new(Peer::server(etid, Outbound::new(Framing::Raw, usize::MAX / 2)));
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

    // ---- Publishing ----

    /// Routes whole Publish frames of the arena, all to one target. True if somebody gets them.
    pub fn route(&self, outbox: &mut Outbox, target: Target, frames: Span) -> bool {
        outbox.settle();
        let route = self.0.routes.read().get(&target.0).cloned();
        match route {
            Some(Route::Topic(topic)) => deliver(outbox, &topic.snapshot(), frames),
            Some(Route::Peer(peer)) => deliver(outbox, std::slice::from_ref(&peer), frames),
            None => false,
        }
    }

    /// Routes one message, together with those for the same target before and behind it. What reaches the server's own
    /// peer is routed at once: its callbacks run before anything that comes later.
    pub fn route_soon(&self, outbox: &mut Outbox, target: Target, frame: &[u8]) {
        if outbox.is_gathering(self, target) || !self.reaches_server(target) {
            return outbox.gather(self, target, frame);
        }
        let span = outbox.place(frame);
        self.route(outbox, target, span);
    }

    /// Whether `other` is a handle to the same hub.
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    // ---- Names ----

    /// The number of a topic, which is created if it is new. A `wanted` number is used if it is free.
    pub fn create(&self, name: &[u8], wanted: Option<Tid>) -> Named<Tid> {
        self.create_in(&mut self.0.directory.lock(), name, wanted)
    }

    fn create_in(&self, directory: &mut Directory, name: &[u8], wanted: Option<Tid>) -> Named<Tid> {
        if let Some(number) = directory.topics.number(name) {
            return Named::Known(Tid(number));
        }
        if name.len() > self.0.limits.name || directory.topics.len() >= self.0.limits.topics {
            return Named::Refused;
        }
        let mut routes = self.0.routes.write();
        let number = match wanted {
            Some(Tid(number)) if number != 0 && !routes.contains_key(&number) => number,
            _ => random_number(|number| routes.contains_key(&number)),
        };
        routes.insert(number, Route::Topic(Arc::new(Topic::new(Tid(number)))));
        directory.topics.insert(name, number);
        Named::Known(Tid(number))
    }

    /// The number of a sub-topic, likewise.
    pub fn createsub(&self, name: &[u8], wanted: Option<Subtid>) -> Named<Subtid> {
        let names = &mut self.0.directory.lock().subtopics;
        if let Some(number) = names.number(name) {
            return Named::Known(Subtid(number));
        }
        if name.len() > self.0.limits.name || names.len() >= self.0.limits.subtopics {
            return Named::Refused;
        }
        let number = match wanted {
            Some(Subtid(number)) if number != 0 && names.name(number).is_none() => number,
            _ => random_number(|number| names.name(number).is_some()),
        };
        names.insert(name, number);
        Named::Known(Subtid(number))
    }

    pub fn topic_number(&self, name: &[u8]) -> Option<Tid> {
        self.0.directory.lock().topics.number(name).map(Tid)
    }

    pub fn topic_name(&self, tid: Tid) -> Option<Arc<[u8]>> {
        self.0.directory.lock().topics.name(tid.0).cloned()
    }

    pub fn subtopic_number(&self, name: &[u8]) -> Option<Subtid> {
        self.0.directory.lock().subtopics.number(name).map(Subtid)
    }

    pub fn subtopic_name(&self, subtid: Subtid) -> Option<Arc<[u8]>> {
        self.0.directory.lock().subtopics.name(subtid.0).cloned()
    }

    /// All topics, in no order.
    pub fn topics(&self) -> Vec<(u32, Arc<[u8]>)> {
        self.0.directory.lock().topics.all()
    }

    /// All sub-topics, in no order.
    pub fn subtopics(&self) -> Vec<(u32, Arc<[u8]>)> {
        self.0.directory.lock().subtopics.all()
    }

    fn topic(&self, tid: Tid) -> Option<Arc<Topic>> {
        match self.0.routes.read().get(&tid.0) {
            Some(Route::Topic(topic)) => Some(topic.clone()),
            _ => None,
        }
    }

    // ---- Peers ----

    /// The peer with this etid, the server included.
    pub fn peer(&self, etid: Etid) -> Option<Arc<Peer>> {
        match self.0.routes.read().get(&etid.0) {
            Some(Route::Peer(peer)) => Some(peer.clone()),
            _ => None,
        }
    }

    /// All peers, the server included.
    pub fn peers(&self) -> Vec<Arc<Peer>> {
        self.0.directory.lock().peers.values().map(|member| member.peer.clone()).collect()
    }

    /// The topics a peer is subscribed to.
    pub fn subscriptions(&self, etid: Etid) -> Vec<Tid> {
        let directory = self.0.directory.lock();
        directory.peers.get(&etid).map(|member| member.subscriptions.keys().copied().collect()).unwrap_or_default()
    }

    /// A number for a client to come.
    pub fn new_etid(&self) -> Etid {
        let routes = self.0.routes.read();
        Etid(random_number(|number| number == SERVER_ETID.0 || routes.contains_key(&number)))
    }

    /// The client that has this uid now.
    pub fn client_with_uid(&self, uid: &[u8]) -> Option<Arc<Peer>> {
        self.0.directory.lock().uids.get(uid).cloned()
    }

    /// Registers a client and queues its Connack. Fails, and changes nothing, if its uid or etid is in use.
    pub fn connect(&self, outbox: &mut Outbox, peer: &Arc<Peer>, connack: &Packet<'_>) -> Result<(), InUse> {
        outbox.settle();
        let mut directory = self.0.directory.lock();
        if directory.uids.contains_key(peer.uid()) {
            return Err(InUse);
        }
        if self.0.routes.read().contains_key(&peer.etid().0) {
            return Err(InUse);
        }
        // Queued before anybody can find the peer, so that it comes before every message.
        outbox.control(peer, &encoded(connack));
        self.0.routes.write().insert(peer.etid().0, Route::Peer(peer.clone()));
        directory.uids.insert(peer.uid().into(), peer.clone());
        directory.peers.insert(peer.etid(), Member::new(peer.clone()));
        self.0.clients.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Forgets a client: first its address, then its subscriptions, with a Change for each topic, then a Change for its
    /// end. The caller won [`Peer::begin_end`].
    pub fn disconnect(&self, outbox: &mut Outbox, peer: &Arc<Peer>) {
        outbox.settle();
        let mut guard = self.0.directory.lock();
        let directory = &mut *guard;
        let Some(member) = remove_from(&mut directory.peers, &peer.etid()) else { return };
        remove_from(&mut self.0.routes.write(), &peer.etid().0);
        remove_from(&mut directory.uids, peer.uid());
        self.0.clients.fetch_sub(1, Ordering::Relaxed);
        for target in member.observing {
            directory.forget_observer(target, peer.etid());
        }
        for (tid, Subscription { topic, place }) in member.subscriptions {
            topic.remove(place);
            tell_change(outbox, directory, tid, topic.len());
        }
        let end = encoded(&Packet::Change { target: peer.etid().into(), subscribers: 0 });
        for (etid, observer) in member.observers {
            outbox.control(&observer, &end);
            if let Some(observer) = directory.peers.get_mut(&etid) {
                observer.observing.remove(&peer.etid().into());
            }
        }
        drop(guard);
        peer.outbound.end();
        peer.finish_end();
    }

    /// Asks a client's connection to end, after a Disconnect packet if there is a `farewell`.
    pub fn close(&self, outbox: &mut Outbox, peer: &Arc<Peer>, reason: CloseReason, farewell: Option<&[u8]>) {
        if let Some(text) = farewell {
            let text = &text[..text.len().min(crate::protocol::MAX_BODY)];
            outbox.control(peer, &encoded(&Packet::Disconnect { reason: text }));
        }
        peer.close(reason);
    }

    // ---- Subscriptions ----

    /// Whether a peer is subscribed to the topic with this name.
    pub fn is_subscribed(&self, peer: &Peer, name: &[u8]) -> bool {
        let directory = self.0.directory.lock();
        let tid = directory.topics.number(name).map(Tid);
        tid.zip(directory.peers.get(&peer.etid())).is_some_and(|(tid, member)| member.subscriptions.contains_key(&tid))
    }

    /// Whether a message to `target` would reach the server's own peer.
    fn reaches_server(&self, target: Target) -> bool {
        let server = self.0.server.etid();
        let is_subscribed = || {
            let directory = self.0.directory.lock();
            directory.peers.get(&server).is_some_and(|member| member.subscriptions.contains_key(&Tid(target.0)))
        };
        target == server.into() || is_subscribed()
    }

    /// Subscribes a client by name and acknowledges it: Change for itself if it observes the topic, then Suback, then
    /// whatever is published. To subscribe twice is no change.
    pub fn subscribe(&self, outbox: &mut Outbox, peer: &Arc<Peer>, name: &[u8]) {
        outbox.settle();
        let mut guard = self.0.directory.lock();
        let directory = &mut *guard;
        let has_room = directory
            .peers
            .get(&peer.etid())
            .is_some_and(|member| member.subscriptions.len() < self.0.limits.subscriptions);
        let granted = match self.create_in(directory, name, None) {
            Named::Known(tid) if has_room => Some(tid),
            _ => None,
        };
        let suback = Packet::Suback(crate::protocol::Ack { granted: granted.map(u32::from), name });
        match granted {
            Some(tid) => self.join(outbox, directory, peer, tid, Some(&suback)),
            None => outbox.control(peer, &encoded(&suback)),
        }
    }

    /// Subscribes the server to a topic.
    pub fn subscribe_server(&self, outbox: &mut Outbox, tid: Tid) {
        outbox.settle();
        let mut guard = self.0.directory.lock();
        self.join(outbox, &mut guard, &self.0.server, tid, None);
    }

    /// Makes a peer a subscriber. The acknowledgement is queued before the first publisher can see the peer, and behind
    /// the peer's own Change.
    fn join(
        &self,
        outbox: &mut Outbox,
        directory: &mut Directory,
        peer: &Arc<Peer>,
        tid: Tid,
        ack: Option<&Packet<'_>>,
    ) {
        let topic = self.topic(tid);
        let Some((member, topic)) = directory.peers.get_mut(&peer.etid()).zip(topic) else { return };
        if member.subscriptions.contains_key(&tid) {
            if let Some(ack) = ack {
                outbox.control(peer, &encoded(ack));
            }
            return;
        }
        let change = Packet::Change { target: tid.into(), subscribers: topic.len() as u32 + 1 };
        let change = encoded(&change);
        if member.observing.contains(&tid.into()) {
            outbox.control(peer, &change);
        }
        if let Some(ack) = ack {
            outbox.control(peer, &encoded(ack));
        }
        let place = topic.insert(peer.clone());
        member.subscriptions.insert(tid, Subscription { topic, place });
        for (etid, observer) in directory.topic_observers.get(&tid).into_iter().flatten() {
            if *etid != peer.etid() {
                outbox.control(observer, &change);
            }
        }
    }

    /// Ends a subscription; what is not subscribed is ignored.
    pub fn unsubscribe(&self, outbox: &mut Outbox, peer: &Peer, tid: Tid) {
        outbox.settle();
        let mut guard = self.0.directory.lock();
        let directory = &mut *guard;
        let Some(member) = directory.peers.get_mut(&peer.etid()) else { return };
        let Some(Subscription { topic, place }) = member.subscriptions.remove(&tid) else { return };
        topic.remove(place);
        tell_change(outbox, directory, tid, topic.len());
    }

    // ---- Observations ----

    /// Observes a topic or a peer. A client (`tells`) hears at once how many subscribers a topic has, and 0 for what does
    /// not exist.
    pub fn observe(&self, outbox: &mut Outbox, observer: &Arc<Peer>, target: Target, tells: bool) -> Observed {
        outbox.settle();
        if target == observer.etid().into() {
            return Observed::Own;
        }
        let mut guard = self.0.directory.lock();
        let directory = &mut *guard;
        let topic = self.topic(Tid(target.0));
        let (observed, now) = self.enter_observer(directory, observer, target, topic.as_deref());
        if let Some(subscribers) = now.filter(|_| tells) {
            outbox.control(observer, &encoded(&Packet::Change { target, subscribers }));
        }
        observed
    }

    /// Remembers an observer; with it, the number that a client is told at once.
    fn enter_observer(
        &self,
        directory: &mut Directory,
        observer: &Arc<Peer>,
        target: Target,
        topic: Option<&Topic>,
    ) -> (Observed, Option<u32>) {
        let Some(member) = directory.peers.get_mut(&observer.etid()) else { return (Observed::Nothing, None) };
        let is_new = !member.observing.contains(&target);
        if is_new && member.observing.len() >= self.0.limits.observations {
            return (Observed::Nothing, Some(0));
        }
        let observed = match topic {
            Some(topic) => {
                let observers = directory.topic_observers.entry(topic.tid()).or_default();
                observers.insert(observer.etid(), observer.clone());
                (Observed::Topic, Some(topic.len() as u32))
            }
            None => match directory.peers.get_mut(&Etid(target.0)) {
                Some(peer) => {
                    peer.observers.insert(observer.etid(), observer.clone());
                    (Observed::Peer, None)
                }
                None => return (Observed::Nothing, Some(0)),
            },
        };
        if let Some(member) = directory.peers.get_mut(&observer.etid()) {
            member.observing.insert(target);
        }
        observed
    }

    /// Ends an observation; nothing else changes.
    pub fn unobserve(&self, observer: &Peer, target: Target) {
        let mut directory = self.0.directory.lock();
        let Some(member) = directory.peers.get_mut(&observer.etid()) else { return };
        if member.observing.remove(&target) {
            directory.forget_observer(target, observer.etid());
        }
    }
}

/// The uid or the etid of a client that wants to connect belongs to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InUse;

/// Notes the frames for each receiver; converts them once for all receivers of another framing.
fn deliver(outbox: &mut Outbox, receivers: &[Arc<Peer>], frames: Span) -> bool {
    let mut converted = None;
    for peer in receivers {
        let span = match peer.outbound.framing() {
            Framing::Raw => frames,
            framing => *converted.get_or_insert_with(|| outbox.convert(frames, framing)),
        };
        outbox.note(peer, span);
    }
    !receivers.is_empty()
}

/// Tells a topic's observers how many subscribers it has.
fn tell_change(outbox: &mut Outbox, directory: &Directory, tid: Tid, subscribers: usize) {
    let Some(observers) = directory.topic_observers.get(&tid) else { return };
    let change = encoded(&Packet::Change { target: tid.into(), subscribers: subscribers as u32 });
    for observer in observers.values() {
        outbox.control(observer, &change);
    }
}

/// A packet of the server as a raw frame. Names, reasons and payloads are bounded before they come here; a packet that
/// were too long all the same would be no frame, and nothing is sent.
pub fn encoded(packet: &Packet<'_>) -> Vec<u8> {
    let mut frame = Vec::with_capacity(128);
    if let Err(error) = packet.encode(&mut frame) {
        tracing::error!("a packet of type {} was not sent: {error}", packet.kind());
    }
    frame
}
