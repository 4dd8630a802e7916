//! A peer: whoever attaches to a hub, which is a client's connection or the hub's own Lua side.
//!
//! Two things about a client happen once each, and in this order: the hub's owner is told that it has come
//! ([`Peer::announce`], [`Peer::announced`]) and that it has gone ([`Peer::was_announced`]). If the client goes first, the
//! owner is told neither.

use std::fmt::{self, Display};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU8, Ordering};

use parking_lot::Mutex;
use slab::Slab;
use tokio::sync::Notify;

use super::outbound::{Outbound, Pushed};
use crate::protocol::Etid;

/// The slots in use: a small number for each living peer of the process, used again when the peer is gone. A thread's
/// outbox finds by it what it has for the peer.
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
    /// Another client has connected with the same uid.
    Kicked,
    /// The connection was lost, or reset.
    ReadFailed,
    /// A WebSocket close frame, or a WebSocket protocol error.
    SocketClosed,
    /// The connection was lost while the server wrote.
    WriteFailed,
    /// The client did not read, and its queue had no room even for control packets.
    Overflow,
}

/// Whether a peer takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    Alive = 0,
    /// The hub's owner and the observers are being told of its end.
    Ending = 1,
    Ended = 2,
}

/// Whether the hub's owner has been told that a client has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Announcement {
    Due = 0,
    /// The owner is being told.
    Begun = 1,
    Made = 2,
    /// The client's end came first, and the owner is told neither.
    Void = 3,
}

/// What a client's Connect says about it.
#[derive(Clone, Debug, Default)]
pub struct Identity {
    /// Unique in the hub: a later client with the same uid takes the place of the earlier one.
    pub uid: Box<[u8]>,
    /// Whatever the client wants scripts to know.
    pub info: Box<[u8]>,
}

/// One peer. Shared by the thread that reads from it, the threads that write to it, and the hub.
pub struct Peer {
    slot: u32,
    etid: Etid,
    kind: Kind,
    identity: Identity,
    token: u64,
    /// Where everything for the peer goes.
    pub outbound: Outbound,
    /// Set when the peer is to be closed.
    closing: Mutex<Option<CloseReason>>,
    /// A [`Life`].
    life: AtomicU8,
    /// An [`Announcement`].
    announcement: AtomicU8,
    /// Notified when an announcement is made, and when the peer has ended.
    changed: Notify,
    /// The number of binary digits of the number of dropped messages that was last logged.
    reported_drops: AtomicU8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Client(Option<SocketAddr>),
    Server,
}

impl Peer {
    /// A client, not yet registered at any hub. `token` is the number by which the hub's owner knows the connection.
    pub fn client(etid: Etid, identity: Identity, address: Option<SocketAddr>, token: u64, outbound: Outbound) -> Self {
        Self::new(etid, identity, Kind::Client(address), token, outbound)
    }

    /// The peer of a hub's own side.
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

    /// A small number that no other living peer of the process has.
    pub fn slot(&self) -> usize {
        self.slot as usize
    }

    /// The peer's number in its hub.
    pub fn etid(&self) -> Etid {
        self.etid
    }

    /// Whether this is a hub's own side.
    pub fn is_server(&self) -> bool {
        self.kind == Kind::Server
    }

    /// The uid that the client connected with.
    pub fn uid(&self) -> &[u8] {
        &self.identity.uid
    }

    /// The info that the client connected with.
    pub fn info(&self) -> &[u8] {
        &self.identity.info
    }

    /// The number by which the hub's owner knows the connection.
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

    /// To be called before the hub's owner is told that the client has come. False if the client's end came first: then the
    /// owner is told neither.
    pub fn announce(&self) -> bool {
        let (due, begun) = (Announcement::Due as u8, Announcement::Begun as u8);
        // The end of a client is no question to an owner that is told of no ends, so `was_announced` may not be called.
        self.is_alive() && self.announcement.compare_exchange(due, begun, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// The hub's owner has been told that the client has come.
    pub fn announced(&self) {
        self.announcement.store(Announcement::Made as u8, Ordering::Release);
        self.changed.notify_waiters();
    }

    /// To be called before the hub's owner is told of the client's end. Whether the owner has been told that the client
    /// has come; waits while the owner is being told. If that has not begun, it never will.
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

    /// Asks the peer's own task to end the connection. What is queued is still sent, as far as the client takes it within a
    /// second. Of several reasons the first counts.
    pub fn close(&self, reason: CloseReason) {
        self.closing.lock().get_or_insert(reason);
        self.outbound.wake();
    }

    /// The reason for which the peer is to be closed, if it is.
    pub fn closing(&self) -> Option<CloseReason> {
        *self.closing.lock()
    }

    pub(super) fn push_control(&self, frame: &[u8]) -> Pushed {
        let pushed = self.outbound.push_control(frame);
        self.close_on_overflow(pushed);
        pushed
    }

    pub(super) fn push_last(&self, frame: &[u8]) {
        self.close_on_overflow(self.outbound.push_last(frame));
    }

    /// Closes a peer that cannot be told what it has to know.
    fn close_on_overflow(&self, pushed: Pushed) {
        if pushed == Pushed::Overflow {
            self.close(CloseReason::Overflow);
        }
    }

    /// True for the first caller, who then tells of the peer's end and removes it from its hub.
    pub fn begin_end(&self) -> bool {
        let (alive, ending) = (Life::Alive as u8, Life::Ending as u8);
        self.life.compare_exchange(alive, ending, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// The hub has forgotten the peer: those who wait in [`Peer::ended`] go on.
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

    /// The number of messages dropped for this peer, if a log line about it is due: at the first, and whenever the number
    /// has doubled.
    pub fn drops_to_report(&self) -> Option<u64> {
        let dropped = self.outbound.dropped();
        let digits = (u64::BITS - dropped.leading_zeros()) as u8;
        (digits > 0 && self.reported_drops.fetch_max(digits, Ordering::Relaxed) < digits).then_some(dropped)
    }
}

/// For the log. A client chooses its uid, so control characters are escaped: none may begin another line.
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
