//! Callbacks that run within each other, since one that publishes may cause others within its call. How deep, and for how
//! long, is limited.

use std::cell::Cell;
use std::time::{Duration, Instant};

/// How deep callbacks that publish may be nested.
const MAX_DEPTH: u32 = 21;
/// How long one message may go on to cause others. The depth alone is no limit: if each callback publishes twice, there
/// are two million calls at the greatest depth.
const MAX_TIME: Duration = Duration::from_secs(1);

/// How deep the callbacks that are running are nested.
pub struct Nesting {
    depth: Cell<u32>,
    /// When the outermost of them began.
    since: Cell<Instant>,
}

/// No callbacks may be nested in those that are running.
#[derive(Debug, thiserror::Error)]
#[error("callbacks that publish cause each other, {MAX_DEPTH} deep, or for more than {MAX_TIME:?}")]
pub struct TooDeep;

impl Default for Nesting {
    fn default() -> Self {
        Self { depth: Cell::new(0), since: Cell::new(Instant::now()) }
    }
}

impl Nesting {
    /// Whether a callback is running.
    pub fn is_within_callback(&self) -> bool {
        self.depth.get() > 0
    }

    /// Whether no callbacks may be nested in those that are running.
    pub fn is_too_deep(&self) -> bool {
        let depth = self.depth.get();
        depth >= MAX_DEPTH || depth > 1 && self.since.get().elapsed() > MAX_TIME
    }

    /// Runs the callbacks for what was queued. They are the outermost, unless it is a callback that has them run.
    pub fn queued<T>(&self, callbacks: impl FnOnce() -> T) -> T {
        let depth = self.depth.replace(self.depth.get().max(1));
        let result = callbacks();
        self.depth.set(depth);
        result
    }

    /// Runs callbacks within those that are running.
    pub fn deeper<T>(&self, callbacks: impl FnOnce() -> T) -> Result<T, TooDeep> {
        let depth = self.depth.get();
        if depth <= 1 {
            self.since.set(Instant::now());
        }
        if self.is_too_deep() {
            return Err(TooDeep);
        }
        self.depth.set(depth + 1);
        let result = callbacks();
        self.depth.set(depth);
        Ok(result)
    }
}
