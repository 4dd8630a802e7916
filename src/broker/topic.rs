//! A topic: who is subscribed, and the list of them that publishers share.

use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use slab::Slab;

use super::id_map::IdMap;
use super::peer::Peer;
use crate::protocol::{Etid, Tid};

/// Subscribers at one moment, shared by all that publish to the topic meanwhile.
pub type Snapshot = Arc<[Arc<Peer>]>;

/// A topic. Publishers read its snapshot; a change only drops that, and the next publisher makes a new one, so that a
/// thousand clients who subscribe in a row cost one copy of the list and not a thousand.
pub struct Topic {
    tid: Tid,
    members: Mutex<Slab<Arc<Peer>>>,
    /// Locked inside `members` when written.
    snapshot: RwLock<Option<Snapshot>>,
}

impl Topic {
    pub fn new(tid: Tid) -> Self {
        Self { tid, members: Mutex::default(), snapshot: RwLock::default() }
    }

    pub fn tid(&self) -> Tid {
        self.tid
    }

    /// Adds a subscriber and returns its place, by which it is removed.
    pub fn insert(&self, peer: Arc<Peer>) -> usize {
        let mut members = self.members.lock();
        *self.snapshot.write() = None;
        members.insert(peer)
    }

    pub fn remove(&self, place: usize) {
        let mut members = self.members.lock();
        *self.snapshot.write() = None;
        members.try_remove(place);
        if members.is_empty() {
            members.shrink_to_fit();
        }
    }

    /// The number of subscribers.
    pub fn len(&self) -> usize {
        self.members.lock().len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The subscribers now.
    pub fn snapshot(&self) -> Snapshot {
        if let Some(snapshot) = &*self.snapshot.read() {
            return snapshot.clone();
        }
        let members = self.members.lock();
        let snapshot: Snapshot = members.iter().map(|(_, peer)| peer.clone()).collect();
        *self.snapshot.write() = Some(snapshot.clone());
        snapshot
    }
}

/// Who wants to hear of changes of one topic or of one peer's end.
pub type Observers = IdMap<Etid, Arc<Peer>>;
