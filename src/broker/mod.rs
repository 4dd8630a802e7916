//! The broker: topics, peers, subscriptions, observers, routing. It decides and pushes to queues, and never waits.
//!
//! [`Hub`] is a handle that any thread may clone and use. Publishing reads [`Hub::route`]'s table and a topic's snapshot;
//! everything else changes the directory under one lock. Locks are taken in the order directory, routes, topic, outbound queue;
//! none is held during a system call or while a script runs.

pub mod directory;
pub mod hooks;
mod hub;
pub mod id_map;
pub mod names;
mod options;
pub mod outbound;
pub mod outbox;
pub mod peer;
pub mod session;
pub mod topic;

use crate::protocol::Packet;
pub use hub::{Hub, InUse, Named, Observed, SERVER_ETID, Shutdowns};
pub use options::{HANDSHAKE_TIMEOUT, Keepalive, Limits, Options};

/// A packet of the server as a raw frame. Names, reasons and payloads are bounded before they come here; a packet that
/// were too long all the same would be no frame, and nothing is sent.
pub fn encoded(packet: &Packet<'_>) -> Vec<u8> {
    let mut frame = Vec::with_capacity(128);
    if let Err(error) = packet.encode(&mut frame) {
        tracing::error!("a packet of type {} was not sent: {error}", packet.kind());
    }
    frame
}
