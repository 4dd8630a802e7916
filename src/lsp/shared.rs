//! What other threads know about an app's directories, so that they need not ask the Lua thread about each request.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hyper::HeaderMap;
use parking_lot::RwLock;

/// Flags, which are set and never cleared. A flag that is set without need costs a search. One that is missing would
/// hide a directory, or let in a client that an authenticator would not.
#[derive(Default)]
pub struct Shared {
    directories: AtomicBool,
    gate: AtomicBool,
    headers: RwLock<Option<Arc<HeaderMap>>>,
}

impl Shared {
    /// Whether any directory function may answer after files and pages.
    pub fn has_directories(&self) -> bool {
        self.directories.load(Ordering::Acquire)
    }

    /// Sets what [`Shared::has_directories`] tells.
    pub fn note_directories(&self) {
        self.directories.store(true, Ordering::Release);
    }

    /// Whether there may be a guard or a prologue, which comes before files and pages.
    pub fn has_gate(&self) -> bool {
        self.gate.load(Ordering::Acquire)
    }

    /// Sets what [`Shared::has_gate`] tells.
    pub fn note_gate(&self) {
        self.gate.store(true, Ordering::Release);
    }

    /// The headers of responses from the app, if its root directory has set some.
    pub fn headers(&self) -> Option<Arc<HeaderMap>> {
        self.headers.read().clone()
    }

    /// Sets what [`Shared::headers`] gives.
    pub fn set_headers(&self, headers: HeaderMap) {
        *self.headers.write() = Some(Arc::new(headers));
    }
}
