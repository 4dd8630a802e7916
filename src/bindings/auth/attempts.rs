//! How often an address has tried to log in and failed.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use tokio::time::Instant;

/// After so long failures are forgotten.
const MEMORY: Duration = Duration::from_secs(600);
/// Addresses that are remembered.
const MAX_ADDRESSES: usize = 4096;

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
