//! How often an address has tried to log in and failed.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use tokio::time::{Instant, sleep};

/// After so long failures are forgotten.
const MEMORY: Duration = Duration::from_secs(600);
/// Addresses that are remembered.
const MAX_ADDRESSES: usize = 4096;
/// So many failures cost nothing: people mistype.
const FREE: u32 = 10;
/// Each further one makes the next attempts wait so much longer,
const STEP: Duration = Duration::from_secs(1);
/// up to this: others who share the address want to log in, too.
const MAX_DELAY: Duration = Duration::from_secs(10);

#[derive(Default)]
pub struct Attempts(RefCell<HashMap<IpAddr, Failed>>);

#[derive(Clone, Copy)]
struct Failed {
    count: u32,
    last: Instant,
}

impl Attempts {
    /// Failures of late.
    pub fn count(&self, address: IpAddr) -> u32 {
        let known = self.0.borrow().get(&address).copied();
        known.filter(|failed| failed.last.elapsed() < MEMORY).map_or(0, |failed| failed.count)
    }

    /// Waits before an attempt is looked at, so that guessing takes its time. Failures meanwhile count: of many guesses at
    /// the same time only a few are looked at before the longest wait is over.
    pub async fn wait(&self, address: IpAddr) {
        let begun = Instant::now();
        while let Some(rest) = self.delay(address).checked_sub(begun.elapsed()).filter(|rest| !rest.is_zero()) {
            sleep(rest).await;
        }
    }

    fn delay(&self, address: IpAddr) -> Duration {
        MAX_DELAY.min(STEP * self.count(address).saturating_sub(FREE))
    }

    pub fn note_failure(&self, address: IpAddr) {
        let count = self.count(address).saturating_add(1);
        let mut known = self.0.borrow_mut();
        if known.len() >= MAX_ADDRESSES {
            known.retain(|_, failed| failed.last.elapsed() < MEMORY);
        }
        // An address that finds no room is one of thousands that fail at the same time.
        if known.len() < MAX_ADDRESSES || known.contains_key(&address) {
            known.insert(address, Failed { count, last: Instant::now() });
        }
    }

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
    async fn guessing_takes_its_time_until_it_is_forgotten() {
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
    async fn guesses_at_the_same_time_wait_for_each_other() {
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
        // Whoever shares the address waits no longer than ever.
        assert!(begun.elapsed() <= MAX_DELAY + Duration::from_millis(1));
    }

    #[tokio::test]
    async fn the_memory_for_addresses_is_limited() {
        let attempts = Attempts::default();
        for number in 0..MAX_ADDRESSES as u32 + 10 {
            attempts.note_failure(IpAddr::from(number.to_be_bytes()));
        }
        assert_eq!(attempts.0.borrow().len(), MAX_ADDRESSES);
        attempts.note_success(IpAddr::from([0, 0, 0, 0]));
        assert_eq!(attempts.count(IpAddr::from([0, 0, 0, 0])), 0);
    }
}
