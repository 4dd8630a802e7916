//! The order in which clients with the same uid are registered: that of their coming, so that the last one stays.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::mem;
use std::sync::Arc;

use tokio::sync::{Mutex, MutexGuard};

use super::Hub;

/// For each uid, those who want to be registered with it.
pub(super) type Turns = HashMap<Box<[u8]>, Line>;

/// Those who want to be registered with one uid.
#[derive(Default)]
pub(super) struct Line {
    /// What each of them locks.
    turn: Arc<Mutex<()>>,
    /// How many they are.
    places: usize,
}

/// The place of one who wants to be registered, from its coming until it is registered or gives up.
pub struct Place {
    hub: Hub,
    uid: Box<[u8]>,
    turn: Arc<Mutex<()>>,
}

impl Hub {
    /// A place behind those who want to be registered with the same uid.
    pub fn line_up(&self, uid: &[u8]) -> Place {
        let mut turns = self.0.turns.lock();
        let line = turns.entry(uid.into()).or_default();
        line.places += 1;
        Place { hub: self.clone(), uid: uid.into(), turn: line.turn.clone() }
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
        let Entry::Occupied(mut line) = turns.entry(mem::take(&mut self.uid)) else { return };
        line.get_mut().places -= 1;
        if line.get().places == 0 {
            line.remove();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::thread;

    use super::*;
    use crate::broker::options::Options;

    #[test]
    fn nothing_is_left_of_places_that_are_given_up_at_the_same_time() {
        let hub = Hub::new(Options::default());
        let barrier = Barrier::new(2);
        let come_and_go = || {
            for number in 0..10_000_u32 {
                let place = hub.line_up(&number.to_be_bytes());
                barrier.wait();
                drop(place);
            }
        };
        thread::scope(|scope| {
            scope.spawn(come_and_go);
            scope.spawn(come_and_go);
        });
        assert_eq!(hub.0.turns.lock().len(), 0);
    }
}
