//! What a hub knows besides its routes: names, peers, subscriptions and observers.
//!
//! All of it is guarded by one lock. Publishing takes that lock only where messages are handled one by one
//! ([`Hub::route_soon`](super::Hub::route_soon)). A change and the control packets about it are one step under the lock, so
//! every peer learns of changes in the order in which they happened.

use std::borrow::Borrow;
use std::collections::HashSet;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use super::id_map::{IdMap, IdSet};
use super::names::Names;
use super::peer::Peer;
use super::topic::{Observers, Topic};
use crate::protocol::{Etid, Target, Tid};

/// What the lock guards.
#[derive(Default)]
pub struct Directory {
    pub topics: Names,
    pub subtopics: Names,
    pub peers: IdMap<Etid, Member>,
    pub clients: HashSet<ByUid>,
    /// Who observes a topic; topics that nobody observes have no entry.
    pub topic_observers: IdMap<Tid, Observers>,
}

/// A client, to be found by its uid.
pub struct ByUid(pub Arc<Peer>);

impl Borrow<[u8]> for ByUid {
    fn borrow(&self) -> &[u8] {
        self.0.uid()
    }
}

impl Hash for ByUid {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.uid().hash(state);
    }
}

impl PartialEq for ByUid {
    fn eq(&self, other: &Self) -> bool {
        self.0.uid() == other.0.uid()
    }
}

impl Eq for ByUid {}

/// A peer of the hub and what ties it to the rest.
pub struct Member {
    pub peer: Arc<Peer>,
    pub subscriptions: IdMap<Tid, Subscription>,
    /// What the peer observes.
    pub observing: IdSet<Target>,
    /// Who observes the peer's end.
    pub observers: Observers,
}

/// A topic that a peer is subscribed to.
pub struct Subscription {
    pub topic: Arc<Topic>,
    /// By which the topic finds the peer, see [`Topic::insert`].
    pub place: usize,
}

impl Member {
    /// A peer that is tied to nothing yet.
    pub fn new(peer: Arc<Peer>) -> Self {
        Self { peer, subscriptions: IdMap::default(), observing: IdSet::default(), observers: Observers::default() }
    }
}

impl Directory {
    /// What the hub knows of this very peer, and not of another that may have got its etid by now.
    pub fn member(&self, peer: &Peer) -> Option<&Member> {
        self.peers.get(&peer.etid()).filter(|member| std::ptr::eq(&*member.peer, peer))
    }

    /// The same as [`Directory::member`], to be changed.
    pub fn member_mut(&mut self, peer: &Peer) -> Option<&mut Member> {
        self.peers.get_mut(&peer.etid()).filter(|member| std::ptr::eq(&*member.peer, peer))
    }

    /// Forgets that `observer` observes `target`.
    pub fn forget_observer(&mut self, target: Target, observer: Etid) {
        if let Some(observers) = self.topic_observers.get_mut(&Tid(target.0)) {
            observers.remove(&observer);
            if observers.is_empty() {
                self.topic_observers.remove(&Tid(target.0));
            }
        } else if let Some(member) = self.peers.get_mut(&Etid(target.0)) {
            member.observers.remove(&observer);
        }
    }
}
