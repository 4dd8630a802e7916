//! A line on the terminal that shows the progress of a run.

use std::cell::Cell;
use std::io::{IsTerminal, Write, stderr};
use std::time::{Duration, Instant};

/// The line changes at most this often.
const INTERVAL: Duration = Duration::from_millis(100);

/// Writes to standard error, if that is a terminal.
pub struct Progress {
    workload: &'static str,
    is_shown: bool,
    last: Cell<Option<Instant>>,
}

impl Progress {
    pub fn new(workload: &'static str) -> Self {
        Self { workload, is_shown: stderr().is_terminal(), last: Cell::new(None) }
    }

    /// Shows a text, unless another one was shown just now.
    pub fn show(&self, text: &str) {
        if !self.is_shown || self.last.get().is_some_and(|last| last.elapsed() < INTERVAL) {
            return;
        }
        self.last.set(Some(Instant::now()));
        write(&format!("{}: {text}", self.workload));
    }

    /// Clears the line.
    pub fn clear(&self) {
        if self.is_shown {
            write("");
        }
    }
}

/// Replaces the line. A failure, such as a terminal that is gone, does not matter.
fn write(line: &str) {
    let mut out = stderr().lock();
    let _ = write!(out, "\r\x1b[K{line}").and_then(|()| out.flush());
}
