//! The order in which clients with the same uid are registered: that of their coming, so that the last one stays.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::{Mutex, MutexGuard};

use super::Hub;

/// For each uid, what those lock who want to be registered with it.
pub(super) type Turns = HashMap<Box<[u8]>, Arc<Mutex<()>>>;

/// The place of one who wants to be registered, from its coming until it is registered or gives up.
pub struct Place {
    hub: Hub,
    uid: Box<[u8]>,
    turn: Arc<Mutex<()>>,
}

impl Hub {
    /// A place behind those who want to be registered with the same uid.
    pub fn line_up(&self, uid: &[u8]) -> Place {
        let turn = self.0.turns.lock().entry(uid.into()).or_default().clone();
        Place { hub: self.clone(), uid: uid.into(), turn }
    }
}

impl Place {
    /// Waits until those who came before are registered or have given up.
    pub async fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().await
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut turns = self.hub.0.turns.lock();
        // One for the map, and one for each place.
        if Arc::strong_count(&self.turn) == 2 {
            turns.remove(&self.uid);
        }
    }
}
