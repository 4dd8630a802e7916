//! A topic: its subscribers, and the list of them that publishers share.

use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use slab::Slab;

use super::id_map::IdMap;
use super::peer::Peer;
use crate::protocol::{Etid, Tid};

/// The subscribers at one moment, shared by all who publish to the topic before the next change.
pub type Snapshot = Arc<[Arc<Peer>]>;

/// A topic. Publishers use its snapshot. A change of the members only discards the snapshot, and the next publisher makes a
/// new one: a thousand clients that subscribe in a row cost one copy of the list, not a thousand.
pub struct Topic {
    tid: Tid,
    members: Mutex<Slab<Arc<Peer>>>,
    /// Written only while `members` is locked, so that it cannot miss a change.
    snapshot: RwLock<Option<Snapshot>>,
}

impl Topic {
    /// A topic without subscribers.
    pub fn new(tid: Tid) -> Self {
        Self { tid, members: Mutex::default(), snapshot: RwLock::default() }
    }

    /// The topic's number.
    pub fn tid(&self) -> Tid {
        self.tid
    }

    /// Adds a subscriber and returns its place, by which [`Topic::remove`] finds it.
    pub fn insert(&self, peer: Arc<Peer>) -> usize {
        let mut members = self.members.lock();
        *self.snapshot.write() = None;
        members.insert(peer)
    }

    /// Removes the subscriber at `place`.
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

/// Those who observe one topic, or the end of one peer.
pub type Observers = IdMap<Etid, Arc<Peer>>;
