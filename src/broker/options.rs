//! How a hub is made: its owner, its limits, its times.

use std::time::Duration;

use super::hooks::{Hooks, NoHooks};
use crate::protocol::MAX_NAME;

/// The most that clients can make a hub keep. What passes a limit is denied and, now and then, logged: a number of 0 in the
/// acknowledgement, or a Change to 0 for what is not observed.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub topics: usize,
    pub subtopics: usize,
    /// Bytes of all topic names together, and of all sub-topic names: names are kept for good.
    pub names: usize,
    /// Topics and sub-topics that one connection may create.
    pub created: usize,
    /// Topics that one client may be subscribed to.
    pub subscriptions: usize,
    /// Numbers that one client may observe.
    pub observations: usize,
    /// Bytes of one topic or sub-topic name; at most [`MAX_NAME`].
    pub name: usize,
    /// Bytes queued for one client that does not read; messages beyond it are dropped.
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

/// How a hub is made.
pub struct Options {
    pub hooks: Box<dyn Hooks>,
    /// Give the server a random etid instead of [`super::SERVER_ETID`].
    pub random_server_etid: bool,
    /// The time a client has to send its Connect.
    pub handshake_timeout: Duration,
    pub keepalive: Keepalive,
    pub limits: Limits,
}

/// The time a client has to send its Connect, unless a hub says otherwise.
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

/// TCP keepalive of client connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keepalive {
    /// Silence before the first probe.
    pub idle: Duration,
    /// Between probes.
    pub interval: Duration,
}

impl Keepalive {
    /// An interval of at least 3 s; a tenth of `idle` unless given.
    pub fn new(idle: Duration, interval: Option<Duration>) -> Self {
        let interval = interval.unwrap_or(idle / 10).max(Duration::from_secs(3));
        Self { idle, interval }
    }
}

impl Default for Keepalive {
    fn default() -> Self {
        Self::new(Duration::from_secs(230), None)
    }
}
