//! What other threads know of an app's directories, so that a request that no script waits for costs no hop to Lua.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hyper::HeaderMap;
use parking_lot::RwLock;

/// A flag that is true without need costs only a search. One that is false would hide a directory, or admit clients that its
/// authenticator would not. So flags are set and never cleared.
#[derive(Default)]
pub struct Shared {
    directories: AtomicBool,
    gate: AtomicBool,
    headers: RwLock<Option<Arc<HeaderMap>>>,
}

impl Shared {
    pub fn has_directories(&self) -> bool {
        self.directories.load(Ordering::Acquire)
    }

    pub fn note_directories(&self) {
        self.directories.store(true, Ordering::Release);
    }

    pub fn has_gate(&self) -> bool {
        self.gate.load(Ordering::Acquire)
    }

    pub fn note_gate(&self) {
        self.gate.store(true, Ordering::Release);
    }

    pub fn headers(&self) -> Option<Arc<HeaderMap>> {
        self.headers.read().clone()
    }

    pub fn set_headers(&self, headers: HeaderMap) {
        *self.headers.write() = Some(Arc::new(headers));
    }
}
