//! The broker: topics, peers, subscriptions, observers, routing. It decides and pushes to queues, and never waits.
//!
//! [`Hub`] is a handle that any thread may clone and use. To follow a packet, read in this order:
//!
//! - [`session`]: the rules of the protocol for one connected peer's packets.
//! - [`Hub`]: its methods change the directory (`directory.rs`), or route messages by the table of routes, which leads from a
//!   number to a topic or peer, and by a topic's snapshot of its subscribers (`topic.rs`).
//! - [`outbox`]: one thread's outgoing messages, until they are written at the end of the turn.
//! - [`outbound`]: one peer's writer and queue, shared by all threads.
//! - [`hooks`]: what the hub asks its owner, such as whether a client may subscribe.
//!
//! # Locks
//!
//! Publishing takes the routes' and the snapshot's lock for reading, one after the other, and each receiver's queue; where
//! messages are handled one by one ([`Hub::route_soon`]), the directory's, too. Everything else changes the directory under
//! that one lock. Where locks are nested, the order is: directory, routes, topic, outbound queue. No lock is held during a
//! system call or while a script runs.
//!
//! # Order
//!
//! Messages from one publisher to one subscriber arrive in the order in which they were published, and a peer learns of
//! changes in the order in which they happened: a change and the control packets about it are one step under the
//! directory's lock.

mod directory;
pub mod hooks;
mod hub;
mod id_map;
mod names;
mod options;
pub mod outbound;
pub mod outbox;
pub mod peer;
pub mod session;
mod topic;

use crate::protocol::Packet;
pub use crate::socket::Keepalive;
pub use hub::{Creator, Hub, InUse, Observed, SERVER_ETID, Shutdowns};
pub use options::{HANDSHAKE_TIMEOUT, Limits, Options};

/// A packet of the server as a raw frame. Names, reasons and payloads are bounded before they come here; should a packet
/// be too long all the same, that is logged, and the result is empty: nothing is sent.
pub fn encoded(packet: &Packet<'_>) -> Vec<u8> {
    let mut frame = Vec::with_capacity(128);
    if let Err(error) = packet.encode(&mut frame) {
        tracing::error!("a packet of type {} was not sent: {error}", packet.kind());
    }
    frame
}
