//! The callbacks of a hub that wait, as tasks of their own, and how many of them there may be.

use std::cell::Cell;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::timeout;

/// How many callbacks may wait at a time. When there are more, further messages stay in the inbox, and the clients that
/// send them are not read. The number is smaller than that of coroutines that may wait to write to one socket: so if
/// all of them write to the same socket, and that is read, nothing is lost.
const MAX_WAITING: usize = 1000;
/// If no waiting callback returns for this time, more may begin. If they write to a socket that nobody reads, they soon
/// fail there, which lets the others go on.
const PATIENCE: Duration = Duration::from_secs(1);
/// How many callbacks may wait even then. When there are more, messages of the server to itself are dropped, since the
/// script that sends them cannot be made to wait.
pub const MAX_STUCK: usize = 10_000;

/// Counts them.
#[derive(Default)]
pub struct WaitingRoom {
    count: Cell<usize>,
    /// Whether none of them has returned for [`PATIENCE`].
    is_stuck: Cell<bool>,
    /// Notified when one of them returns.
    returned: Notify,
}

impl WaitingRoom {
    /// One more callback waits.
    pub fn enter(&self) {
        self.count.set(self.count.get() + 1);
    }

    /// One of them has returned.
    pub fn leave(&self) {
        self.count.set(self.count.get() - 1);
        self.is_stuck.set(false);
        self.returned.notify_waiters();
    }

    /// Whether as many wait as may.
    pub fn is_full(&self) -> bool {
        self.count.get() >= if self.is_stuck.get() { MAX_STUCK } else { MAX_WAITING }
    }

    /// Whether as many wait as there may ever be.
    pub fn is_overcrowded(&self) -> bool {
        self.count.get() >= MAX_STUCK
    }

    /// Waits until there is room for one more.
    pub async fn room(&self) {
        loop {
            let returned = self.returned.notified();
            if !self.is_full() {
                return;
            }
            if timeout(PATIENCE, returned).await.is_err() {
                self.is_stuck.set(true);
            }
        }
    }
}
