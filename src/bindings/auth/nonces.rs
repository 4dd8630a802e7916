//! The nonces of digest authentication. A nonce is valid for a while, and each nonce count is accepted once, so that a
//! request that somebody has recorded cannot be replayed.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use crate::bindings::ba::encoding::random_hex;

/// How long a nonce is valid.
const LIFE: Duration = Duration::from_secs(300);
/// The most nonces at a time. One more displaces the oldest, whose client is then given a new one.
const MAX_NONCES: usize = 4096;
/// By how many requests the requests of one client may overtake each other: as many as `Nonce::seen` has bits.
const WINDOW: u64 = 64;

/// The nonces that one authenticator has given out.
#[derive(Default)]
pub struct Nonces(RefCell<Known>);

#[derive(Default)]
struct Known {
    by_text: HashMap<String, Nonce>,
    /// In the order in which they were made.
    order: VecDeque<String>,
}

struct Nonce {
    made: Instant,
    /// The highest count of a request so far.
    highest: u64,
    /// Bit n is set if a request with the count `highest - n` has come.
    seen: u64,
}

impl Nonces {
    /// A new nonce.
    pub fn make(&self) -> String {
        let text = random_hex();
        let mut known = self.0.borrow_mut();
        known.forget_old();
        known.by_text.insert(text.clone(), Nonce { made: Instant::now(), highest: 0, seen: 0 });
        known.order.push_back(text.clone());
        text
    }

    /// Accepts a request with this nonce and count: false if the nonce is unknown or has expired, or the count has been
    /// used.
    pub fn take(&self, text: &str, count: u64) -> bool {
        let mut known = self.0.borrow_mut();
        let nonce = known.by_text.get_mut(text).filter(|nonce| nonce.made.elapsed() < LIFE);
        nonce.is_some_and(|nonce| nonce.take(count))
    }
}

impl Known {
    fn forget_old(&mut self) {
        while let Some(oldest) = self.order.front() {
            let is_old = self.by_text.get(oldest).is_none_or(|nonce| nonce.made.elapsed() >= LIFE);
            if !is_old && self.order.len() < MAX_NONCES {
                return;
            }
            if let Some(text) = self.order.pop_front() {
                self.by_text.remove(&text);
            }
        }
    }
}

impl Nonce {
    /// A sliding window as IPsec has (RFC 4303, 3.4.3): a count beyond the highest moves the window, one within it is
    /// checked against its bit, and one below it is refused.
    fn take(&mut self, count: u64) -> bool {
        if count > self.highest {
            let step = count - self.highest;
            self.seen = if step < WINDOW { self.seen << step } else { 0 } | 1;
            self.highest = count;
            return true;
        }
        let age = self.highest - count;
        let is_new = count > 0 && age < WINDOW && self.seen & (1 << age) == 0;
        if is_new {
            self.seen |= 1 << age;
        }
        is_new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_nonce_expires() {
        let nonces = Nonces::default();
        let nonce = nonces.make();
        assert!(nonces.take(&nonce, 1));
        tokio::time::advance(LIFE).await;
        assert!(!nonces.take(&nonce, 2));
    }

    #[tokio::test]
    async fn each_count_is_accepted_once_in_any_order_within_the_window() {
        let nonces = Nonces::default();
        let nonce = nonces.make();
        for (count, is_new) in [
            (0, false),
            (1, true),
            (1, false),
            (3, true),
            (1, false),
            (2, true),
            (2, false),
            (3 + WINDOW, true),
            (3, false),
            (4, true),
            (4, false),
            (200, true),
            (5, false),
            (0, false),
        ] {
            assert_eq!(nonces.take(&nonce, count), is_new, "{count}");
        }
        assert!(!nonces.take("another", 1));
    }

    #[tokio::test]
    async fn one_nonce_too_many_displaces_the_oldest() {
        let nonces = Nonces::default();
        let first = nonces.make();
        let last = (0..MAX_NONCES).map(|_| nonces.make()).last().expect("one at least");
        assert!(!nonces.take(&first, 1) && nonces.take(&last, 1));
    }
}
