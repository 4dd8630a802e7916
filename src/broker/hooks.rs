//! What a hub asks its owner, which is the script that made it.
//!
//! No lock is held while the owner is asked, and waiting for the answer does not block the thread. A hub asks only what its
//! owner wants to be asked ([`Interest`]), so the packets of a hub without callbacks are handled on the thread that read
//! them.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use super::outbox::{Outbox, with_outbox};
use super::peer::{CloseReason, Identity, Peer};
use super::session::{Handled, Session};
use crate::protocol::ReturnCode;
use crate::transport::raw;

/// The owner's answer, which may take its time.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What the owner wants to be asked and told. Fixed for the hub's life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Interest {
    /// May this client connect?
    pub authenticate: bool,
    /// May this client subscribe, or publish, to a topic?
    pub permittop: bool,
    /// May this client create a sub-topic?
    pub permitsubtop: bool,
    /// A client has connected.
    pub onconnect: bool,
    /// A client has gone.
    pub onclose: bool,
    /// Shall this message be delivered?
    pub onpublish: bool,
    /// A message has reached nobody.
    pub ondrop: bool,
    /// A line for the log.
    pub log: bool,
}

/// A client that wants to connect.
#[derive(Clone, Debug)]
pub struct Newcomer {
    /// The number by which the owner knows the connection.
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
    /// The client may connect.
    pub fn accepted() -> Self {
        Self { code: ReturnCode::ACCEPTED, reason: Vec::new() }
    }

    /// The client may not connect, and is told no reason.
    pub fn denied() -> Self {
        Self { code: ReturnCode::ACCESS_DENIED, reason: Vec::new() }
    }
}

/// The packets of one read from the first one on that the owner has to be asked about. The session travels with them and
/// comes back with the answer, so the peer's packets are handled in order, by one thread at a time.
pub struct Batch {
    pub session: Session,
    /// Whole raw frames.
    pub frames: Vec<u8>,
    /// The first frame is a message that was routed and reached nobody.
    pub first_was_dropped: bool,
}

impl Batch {
    /// Handles the packets with everything granted.
    fn handle_unasked(mut self, outbox: &mut Outbox) -> (Session, Option<CloseReason>) {
        for frame in raw::frames(&self.frames).skip(usize::from(self.first_was_dropped)) {
            if let Handled::Close(reason) = self.session.handle_one(outbox, frame, true) {
                return (self.session, Some(reason));
            }
        }
        (self.session, None)
    }
}

/// The owner has ended and will not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnerGone;

/// A client's connection, from its handshake to its end.
pub type ClientTask = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A hub's owner. The defaults want to be asked nothing, and agree with everything.
pub trait Hooks: Send + Sync + 'static {
    /// What the owner wants to be asked and told. Called once, when the hub is made.
    fn interest(&self) -> Interest {
        Interest::default()
    }

    /// Runs a client's connection on the owner's thread. Called for plain sockets if [`Interest::onpublish`] is set: every
    /// message of the client has to be answered by that thread, and this way none has to change threads.
    fn adopt(&self, task: ClientTask) {
        tokio::spawn(task);
    }

    /// May this client connect? Asked if [`Interest::authenticate`] is set. Code and reason of a refusal go into the Connack.
    /// [`OwnerGone`] closes the connection without one: a client that is refused does not come back.
    fn authenticate(&self, _newcomer: Newcomer) -> Answer<'_, Result<Verdict, OwnerGone>> {
        Box::pin(std::future::ready(Ok(Verdict::accepted())))
    }

    /// A client is registered and its Connack queued. Called if [`Interest::onconnect`] is set; the client's packets wait
    /// until this returns.
    fn connected(&self, _peer: Arc<Peer>, _newcomer: Newcomer) -> Answer<'_, ()> {
        Box::pin(std::future::ready(()))
    }

    /// A client has gone. Called if [`Interest::onclose`] is set; the client stays registered until this returns.
    fn closed(&self, _peer: Arc<Peer>, _reason: CloseReason) -> Answer<'_, ()> {
        Box::pin(std::future::ready(()))
    }

    /// A line for the log, which begins with the client's name. Must not wait.
    fn log(&self, peer: &Arc<Peer>, text: String) {
        tracing::warn!("{peer} {text}");
    }

    /// Handles packets that the owner must be asked about, and tells it that the first one reached nobody if that is so.
    /// Returns the session, and the reason if the peer must be closed: then the packets that follow are not handled.
    /// [`OwnerGone`] closes the peer, too.
    ///
    /// What the peer's earlier packets caused may still be in the outbox of the calling thread. So that nothing overtakes
    /// it, an owner on another thread has that outbox flushed first, and flushes its own before it answers.
    fn packets(&self, batch: Batch) -> Answer<'_, Result<(Session, Option<CloseReason>), OwnerGone>> {
        let handled = with_outbox(|outbox| batch.handle_unasked(outbox));
        Box::pin(std::future::ready(Ok(handled)))
    }
}

/// An owner with all the defaults.
pub struct NoHooks;

impl Hooks for NoHooks {}
