//! A peer: whoever attaches to a hub, a client's connection or the hub's own Lua side.

use std::fmt::{self, Display};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU8, Ordering};

use parking_lot::Mutex;
use slab::Slab;
use tokio::sync::Notify;

use super::outbound::{Outbound, Pushed};
use crate::protocol::Etid;

/// Gives each living peer of the process a small number, by which threads find what they have pending for it.
static SLOTS: Mutex<Slab<()>> = Mutex::new(Slab::new());

/// Why a peer ended; `onclose` reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// The client sent Disconnect.
    Disconnect,
    /// The client broke the protocol.
    Protocol,
    /// The hub was told to close it.
    Shutdown,
    /// Another client came with the same uid.
    Kicked,
    /// The connection was lost, or reset.
    ReadFailed,
    /// A WebSocket close frame, or a WebSocket protocol error.
    SocketClosed,
    WriteFailed,
    /// It did not read even its control packets.
    Overflow,
}

/// Whether a peer takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    Alive = 0,
    /// Its end is being told.
    Ending = 1,
    Ended = 2,
}

/// Whether the hub's owner has been told that a client has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Announcement {
    Due = 0,
    /// It is being told.
    Begun = 1,
    Made = 2,
    /// The client's end came first.
    Void = 3,
}

/// What a client says of itself.
#[derive(Clone, Debug, Default)]
pub struct Identity {
    pub uid: Box<[u8]>,
    pub info: Box<[u8]>,
}

/// One peer. Shared by the thread that reads it, all that write to it, and the hub.
pub struct Peer {
    slot: u32,
    etid: Etid,
    kind: Kind,
    identity: Identity,
    /// For who asks on behalf of Lua: the number under which the connection was announced.
    token: u64,
    pub outbound: Outbound,
    closing: Mutex<Option<CloseReason>>,
    life: AtomicU8,
    announcement: AtomicU8,
    /// Told of the end of an announcement, and of the peer.
    changed: Notify,
    /// How many binary digits the number of dropped messages had when it was last logged.
    reported_drops: AtomicU8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Client(Option<SocketAddr>),
    Server,
}

impl Peer {
    /// A client, not yet known to any hub. `token` is the caller's own number for the connection.
    pub fn client(etid: Etid, identity: Identity, address: Option<SocketAddr>, token: u64, outbound: Outbound) -> Self {
        Self::new(etid, identity, Kind::Client(address), token, outbound)
    }

    /// The hub's own side.
    pub fn server(etid: Etid, outbound: Outbound) -> Self {
        let name: Box<[u8]> = b"SMQ server client"[..].into();
        let identity = Identity { uid: name.clone(), info: name };
        Self::new(etid, identity, Kind::Server, 0, outbound)
    }

    fn new(etid: Etid, identity: Identity, kind: Kind, token: u64, outbound: Outbound) -> Self {
        Self {
            slot: SLOTS.lock().insert(()) as u32,
            etid,
            kind,
            identity,
            token,
            outbound,
            closing: Mutex::new(None),
            life: AtomicU8::new(Life::Alive as u8),
            announcement: AtomicU8::new(Announcement::Due as u8),
            changed: Notify::new(),
            reported_drops: AtomicU8::new(0),
        }
    }

    pub fn slot(&self) -> usize {
        self.slot as usize
    }

    pub fn etid(&self) -> Etid {
        self.etid
    }

    pub fn is_server(&self) -> bool {
        self.kind == Kind::Server
    }

    pub fn uid(&self) -> &[u8] {
        &self.identity.uid
    }

    pub fn info(&self) -> &[u8] {
        &self.identity.info
    }

    pub fn token(&self) -> u64 {
        self.token
    }

    /// The client's address; `None` for the server and in tests without sockets.
    pub fn address(&self) -> Option<SocketAddr> {
        match self.kind {
            Kind::Client(address) => address,
            Kind::Server => None,
        }
    }

    /// Asked before the hub's owner is told that the client has come. False if its end came first; then neither is told.
    pub fn announce(&self) -> bool {
        let (due, begun) = (Announcement::Due as u8, Announcement::Begun as u8);
        self.announcement.compare_exchange(due, begun, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// The hub's owner has been told that the client has come.
    pub fn announced(&self) {
        self.announcement.store(Announcement::Made as u8, Ordering::Release);
        self.changed.notify_waiters();
    }

    /// Asked before the hub's owner is told of the client's end: whether it has been told that the client came. Waits while
    /// it is being told; if it has not begun to be, it never will.
    pub async fn was_announced(&self) -> bool {
        let (due, void) = (Announcement::Due as u8, Announcement::Void as u8);
        loop {
            let changed = self.changed.notified();
            let announcement = self.announcement.compare_exchange(due, void, Ordering::AcqRel, Ordering::Acquire);
            if announcement != Err(Announcement::Begun as u8) {
                return announcement == Err(Announcement::Made as u8);
            }
            changed.await;
        }
    }

    /// Asks the peer's own task to end the connection behind what is queued, as far as the client takes that within a second.
    /// The first reason counts.
    pub fn close(&self, reason: CloseReason) {
        self.closing.lock().get_or_insert(reason);
        self.outbound.wake();
    }

    /// Why the peer is to be closed, if it is.
    pub fn closing(&self) -> Option<CloseReason> {
        *self.closing.lock()
    }

    pub(super) fn push_control(&self, frame: &[u8]) {
        self.check(self.outbound.push_control(frame));
    }

    pub(super) fn push_last(&self, frame: &[u8]) {
        self.check(self.outbound.push_last(frame));
    }

    fn check(&self, pushed: Pushed) {
        if pushed == Pushed::Overflow {
            self.close(CloseReason::Overflow);
        }
    }

    /// True for the one caller who then tells the peer's end and removes it from its hub.
    pub fn begin_end(&self) -> bool {
        let (alive, ending) = (Life::Alive as u8, Life::Ending as u8);
        self.life.compare_exchange(alive, ending, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    pub(super) fn finish_end(&self) {
        self.life.store(Life::Ended as u8, Ordering::Release);
        self.changed.notify_waiters();
    }

    /// Whether the peer still takes part: nobody has begun to end it.
    pub fn is_alive(&self) -> bool {
        self.life.load(Ordering::Acquire) == Life::Alive as u8
    }

    /// Waits until the hub has forgotten the peer.
    pub async fn ended(&self) {
        loop {
            let notified = self.changed.notified();
            if self.life.load(Ordering::Acquire) == Life::Ended as u8 {
                return;
            }
            notified.await;
        }
    }

    /// The number of messages lost to this peer, if it is worth a log line: at 1, 2, 4, 8 … of them.
    pub fn drops_to_report(&self) -> Option<u64> {
        let dropped = self.outbound.dropped();
        let digits = (u64::BITS - dropped.leading_zeros()) as u8;
        (self.reported_drops.fetch_max(digits, Ordering::Relaxed) < digits).then_some(dropped)
    }
}

/// For the log: a client says of itself what it likes, so nothing in it may end the line.
impl Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "client {}", String::from_utf8_lossy(self.uid()).escape_debug())?;
        match self.address() {
            Some(address) => write!(f, " ({address})"),
            None => Ok(()),
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        SLOTS.lock().try_remove(self.slot());
    }
}
