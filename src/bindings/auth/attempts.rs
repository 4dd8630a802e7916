//! Failed logins by address. The more of them there are, the longer further attempts have to wait, which makes guessing
//! passwords slow.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use tokio::time::{Instant, sleep};

/// An address's failures are forgotten when this time has passed since the last one.
const MEMORY: Duration = Duration::from_secs(600);
/// The most addresses that are remembered.
const MAX_ADDRESSES: usize = 4096;
/// The number of failures that cause no delay, since people mistype.
const FREE: u32 = 10;
/// How much longer each further failure makes the next attempts wait.
const STEP: Duration = Duration::from_secs(1);
/// The longest wait. Others may share the address and want to log in, too.
const MAX_DELAY: Duration = Duration::from_secs(10);

/// The failed logins of one authenticator.
#[derive(Default)]
pub struct Attempts(RefCell<HashMap<IpAddr, Failed>>);

#[derive(Clone, Copy)]
struct Failed {
    count: u32,
    last: Instant,
}

impl Attempts {
    /// The failures that are not forgotten yet.
    pub fn count(&self, address: IpAddr) -> u32 {
        let known = self.0.borrow().get(&address).copied();
        known.filter(|failed| failed.last.elapsed() < MEMORY).map_or(0, |failed| failed.count)
    }

    /// Waits before an attempt is checked. Failures during the wait prolong it; otherwise a client could make many
    /// guesses at the same time.
    pub async fn wait(&self, address: IpAddr) {
        let begun = Instant::now();
        while let Some(rest) = self.delay(address).checked_sub(begun.elapsed()).filter(|rest| !rest.is_zero()) {
            sleep(rest).await;
        }
    }

    fn delay(&self, address: IpAddr) -> Duration {
        MAX_DELAY.min(STEP * self.count(address).saturating_sub(FREE))
    }

    /// Counts a failure. When too many addresses are known already, a new one is not remembered.
    pub fn note_failure(&self, address: IpAddr) {
        let count = self.count(address).saturating_add(1);
        let mut known = self.0.borrow_mut();
        if known.len() >= MAX_ADDRESSES {
            known.retain(|_, failed| failed.last.elapsed() < MEMORY);
        }
        // Without room there are thousands of addresses that failed lately; one more matters little.
        if known.len() < MAX_ADDRESSES || known.contains_key(&address) {
            known.insert(address, Failed { count, last: Instant::now() });
        }
    }

    /// Forgets the address's failures.
    pub fn note_success(&self, address: IpAddr) {
        self.0.borrow_mut().remove(&address);
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use tokio::task::LocalSet;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn failures_beyond_the_free_ones_delay_further_attempts_until_they_are_forgotten() {
        let (attempts, address) = (Attempts::default(), IpAddr::from([192, 0, 2, 7]));
        for count in 1..=FREE {
            attempts.note_failure(address);
            assert_eq!((attempts.count(address), attempts.delay(address)), (count, Duration::ZERO));
        }
        attempts.note_failure(address);
        assert_eq!(attempts.delay(address), STEP);
        (0..1000).for_each(|_| attempts.note_failure(address));
        assert_eq!(attempts.delay(address), MAX_DELAY);
        assert_eq!(attempts.delay(IpAddr::from([192, 0, 2, 8])), Duration::ZERO);
        tokio::time::advance(MEMORY).await;
        assert_eq!((attempts.count(address), attempts.delay(address)), (0, Duration::ZERO));
    }

    #[tokio::test(start_paused = true)]
    async fn attempts_at_the_same_time_delay_each_other() {
        let (attempts, address) = (Rc::new(Attempts::default()), IpAddr::from([192, 0, 2, 7]));
        let begun = Instant::now();
        let tasks = LocalSet::new();
        let guesses: Vec<_> = (0..100)
            .map(|_| {
                let attempts = attempts.clone();
                tasks.spawn_local(async move {
                    attempts.wait(address).await;
                    attempts.note_failure(address);
                    begun.elapsed()
                })
            })
            .collect();
        tasks.await;
        let mut early = 0;
        for guess in guesses {
            early += u32::from(guess.await.unwrap() < MAX_DELAY);
        }
        assert_eq!(early, FREE + 10, "the free ones, and one for each second");
        assert!(begun.elapsed() <= MAX_DELAY + Duration::from_millis(1), "nobody waits longer than the longest wait");
    }

    #[tokio::test]
    async fn the_number_of_remembered_addresses_is_limited() {
        let attempts = Attempts::default();
        for number in 0..MAX_ADDRESSES as u32 + 10 {
            attempts.note_failure(IpAddr::from(number.to_be_bytes()));
        }
        assert_eq!(attempts.0.borrow().len(), MAX_ADDRESSES);
        attempts.note_success(IpAddr::from([0, 0, 0, 0]));
        assert_eq!(attempts.count(IpAddr::from([0, 0, 0, 0])), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_that_is_forgotten_takes_no_room() {
        let attempts = Attempts::default();
        for number in 0..MAX_ADDRESSES as u32 {
            attempts.note_failure(IpAddr::from(number.to_be_bytes()));
        }
        tokio::time::advance(MEMORY).await;
        for late in [IpAddr::from([192, 0, 2, 7]), IpAddr::from([192, 0, 2, 8])] {
            attempts.note_failure(late);
            assert_eq!(attempts.count(late), 1);
        }
    }
}
