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

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    fn with_callbacks(count: usize) -> WaitingRoom {
        let room = WaitingRoom::default();
        (0..count).for_each(|_| room.enter());
        room
    }

    /// How long somebody waits for room who begins now.
    async fn wait(room: &WaitingRoom) -> Duration {
        let began = Instant::now();
        timeout(10 * PATIENCE, room.room()).await.expect("there is room at last");
        began.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn when_as_many_callbacks_wait_as_may_the_next_one_begins_as_soon_as_one_returns() {
        assert_eq!(wait(&with_callbacks(MAX_WAITING - 1)).await, Duration::ZERO);
        let room = with_callbacks(MAX_WAITING);
        let soon = PATIENCE / 2;
        let returning = async {
            tokio::time::sleep(soon).await;
            room.leave();
        };
        assert_eq!(tokio::join!(wait(&room), returning).0, soon);
    }

    #[tokio::test(start_paused = true)]
    async fn when_none_returns_for_a_while_more_may_begin_until_one_does() {
        let room = with_callbacks(MAX_WAITING);
        assert_eq!(wait(&room).await, PATIENCE);
        room.enter();
        assert_eq!(wait(&room).await, Duration::ZERO, "and more at once");
        room.leave();
        assert!(room.is_full(), "they move again, so the others wait");
    }

    #[tokio::test(start_paused = true)]
    async fn there_is_a_number_of_callbacks_that_is_never_exceeded() {
        let room = with_callbacks(MAX_STUCK - 1);
        wait(&room).await;
        assert!(!room.is_full() && !room.is_overcrowded());
        room.enter();
        assert!(room.is_full() && room.is_overcrowded());
        assert!(timeout(10 * PATIENCE, room.room()).await.is_err());
    }
}
