//! What a hub asks its owner: the script that made it.
//!
//! Questions are asked with every lock free, and the asker waits for the answer without blocking its thread. A hub asks
//! only what its owner wants to hear ([`Interest`]), so a hub without callbacks never leaves the thread that read a
//! packet.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use super::outbox::{Outbox, with_outbox};
use super::peer::{CloseReason, Identity, Peer};
use super::session::{Handled, Session};
use crate::protocol::ReturnCode;
use crate::transport::raw;

pub type Answer<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Which questions the owner wants to be asked. Fixed for the hub's life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Interest {
    pub authenticate: bool,
    pub permittop: bool,
    pub permitsubtop: bool,
    pub onconnect: bool,
    pub onclose: bool,
    pub onpublish: bool,
    pub ondrop: bool,
    pub log: bool,
}

/// A client that wants to connect.
#[derive(Clone, Debug)]
pub struct Newcomer {
    /// The number under which the owner announced the connection.
    pub token: u64,
    /// The seed sent in Init, for credentials that are hashed with it.
    pub seed: u32,
    pub identity: Identity,
    pub credentials: Box<[u8]>,
    pub address: Option<SocketAddr>,
}

/// The answer to a newcomer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub code: ReturnCode,
    pub reason: Vec<u8>,
}

impl Verdict {
    pub fn accepted() -> Self {
        Self { code: ReturnCode::ACCEPTED, reason: Vec::new() }
    }

    pub fn denied() -> Self {
        Self { code: ReturnCode::ACCESS_DENIED, reason: Vec::new() }
    }
}

/// Packets of one peer that need the owner's answer, beginning with the first that does. The session goes with them and
/// comes back, so the peer's packets are handled in order by one thread at a time.
pub struct Batch {
    pub session: Session,
    /// Whole raw frames.
    pub frames: Vec<u8>,
    /// The first frame is a message that was routed and reached nobody.
    pub first_was_dropped: bool,
}

impl Batch {
    /// Handles the packets with everything granted, for an owner who has nothing to say.
    fn handle_unasked(mut self, outbox: &mut Outbox) -> (Session, Option<CloseReason>) {
        for frame in raw::frames(&self.frames).skip(usize::from(self.first_was_dropped)) {
            if let Handled::Close(reason) = self.session.handle_one(outbox, frame, true) {
                return (self.session, Some(reason));
            }
        }
        (self.session, None)
    }
}

/// The owner has ended, and with it what it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnerGone;

/// A client's connection, from its handshake to its end.
pub type ClientTask = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A hub's owner. The defaults agree with everything.
pub trait Hooks: Send + Sync + 'static {
    fn interest(&self) -> Interest {
        Interest::default()
    }

    /// Runs a client's connection on the thread that answers, so that no message has to change threads. Called for plain
    /// sockets if [`Interest::onpublish`] is set: then every message of a client waits for an answer anyway.
    fn adopt(&self, task: ClientTask) {
        tokio::spawn(task);
    }

    /// May this client connect? Asked if [`Interest::authenticate`] is set. A refusal's code goes into the Connack.
    fn authenticate(&self, _newcomer: Newcomer) -> Answer<'_, Verdict> {
        Box::pin(std::future::ready(Verdict::accepted()))
    }

    /// The client is registered and its Connack queued; its packets wait until this returns.
    fn connected(&self, _peer: Arc<Peer>, _newcomer: Newcomer) -> Answer<'_, ()> {
        Box::pin(std::future::ready(()))
    }

    /// The client is gone; it is still registered until this returns.
    fn closed(&self, _peer: Arc<Peer>, _reason: CloseReason) -> Answer<'_, ()> {
        Box::pin(std::future::ready(()))
    }

    /// A line for the log, about a client. Not waited for.
    fn log(&self, peer: &Arc<Peer>, text: String) {
        tracing::warn!("{peer} {text}");
    }

    /// Handles packets that need permission, or the news that a message reached nobody. What the session's earlier packets
    /// caused may still be in the calling thread's outbox; an owner on another thread has that flushed first, and flushes
    /// its own before it answers. Returns the session, and the reason if the peer must be closed; [`OwnerGone`] closes it,
    /// too. When the peer is to be closed, the owner handles no further packet.
    fn packets(&self, batch: Batch) -> Answer<'_, Result<(Session, Option<CloseReason>), OwnerGone>> {
        let handled = with_outbox(|outbox| batch.handle_unasked(outbox));
        Box::pin(std::future::ready(Ok(handled)))
    }
}

/// The owner who agrees with everything.
pub struct NoHooks;

impl Hooks for NoHooks {}
