//! Logging what clients can cause often: the 1st, 2nd, 4th, 8th time and so on.

use std::cell::Cell;

/// How often something has happened.
#[derive(Default)]
pub struct Tally(Cell<u64>);

impl Tally {
    /// Counts once more. Returns the count if a line in the log is due.
    pub fn count(&self) -> Option<u64> {
        self.0.set(self.0.get() + 1);
        Some(self.0.get()).filter(|count| count.is_power_of_two())
    }
}
