//! What a hub is made with: its owner, its limits, its times.

use std::time::Duration;

use super::hooks::{Hooks, NoHooks};
use crate::protocol::MAX_NAME;
use crate::socket::Keepalive;

/// The most that clients can make a hub keep. What would exceed a limit is denied: with the number 0 in the
/// acknowledgement, or with a Change to 0 for an Observe; and with a line in the log for a client's 1st, 2nd, 4th, 8th denial
/// and so on.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Topics of the hub.
    pub topics: usize,
    /// Sub-topics of the hub.
    pub subtopics: usize,
    /// Bytes of all topic names together, and likewise of all sub-topic names. They are kept as long as the hub.
    pub names: usize,
    /// Topics and sub-topics that one connection may create.
    pub created: usize,
    /// Topics that one client may be subscribed to.
    pub subscriptions: usize,
    /// Topics and peers that one client may observe.
    pub observations: usize,
    /// Bytes of one topic or sub-topic name; at most [`MAX_NAME`].
    pub name: usize,
    /// Bytes queued for one client; messages that would exceed it are dropped.
    pub queued: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            topics: 1_000_000,
            subtopics: 1_000_000,
            names: 64 << 20,
            created: 100_000,
            subscriptions: 100_000,
            observations: 100_000,
            name: MAX_NAME,
            queued: 16 << 20,
        }
    }
}

/// What a hub is made with.
pub struct Options {
    /// The hub's owner.
    pub hooks: Box<dyn Hooks>,
    /// Give the server a random etid instead of [`super::SERVER_ETID`].
    pub random_server_etid: bool,
    /// The time that a client has to send its Connect.
    pub handshake_timeout: Duration,
    /// Of the connections of clients, until [`super::Hub::set_keepalive`].
    pub keepalive: Keepalive,
    /// What clients can make the hub keep.
    pub limits: Limits,
}

/// The default of [`Options::handshake_timeout`].
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_millis(4000);

impl Default for Options {
    fn default() -> Self {
        Self {
            hooks: Box::new(NoHooks),
            random_server_etid: false,
            handshake_timeout: HANDSHAKE_TIMEOUT,
            keepalive: Keepalive::default(),
            limits: Limits::default(),
        }
    }
}
