//! Observers: who hears how many subscribers a topic has, or that a peer has ended.

use std::sync::Arc;

use super::Hub;
use crate::broker::directory::Directory;
use crate::broker::encoded;
use crate::broker::outbox::Outbox;
use crate::broker::peer::Peer;
use crate::broker::topic::Topic;
use crate::protocol::{Etid, Packet, Target, Tid};

/// What is observed now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Observed {
    Topic,
    Peer,
    /// Nothing: the target is neither a topic nor a peer.
    Nothing,
    /// Nothing: the observer has reached its limit.
    Refused,
    /// Nothing: the target is the observer itself.
    Own,
}

impl Hub {
    /// Makes a peer the observer of a topic or of a peer. If it `is_told`, it is sent a Change at once: with the number of
    /// the topic's subscribers, or 0 if there is no such target.
    pub fn observe(&self, outbox: &mut Outbox, observer: &Arc<Peer>, target: Target, is_told: bool) -> Observed {
        outbox.settle();
        if target == observer.etid().into() {
            return Observed::Own;
        }
        let mut guard = self.0.directory.lock();
        let directory = &mut *guard;
        let topic = self.topic(Tid(target.0));
        let (observed, now) = self.enter_observer(directory, observer, target, topic.as_deref());
        if let Some(subscribers) = now.filter(|_| is_told) {
            outbox.control(observer, &encoded(&Packet::Change { target, subscribers }));
        }
        observed
    }

    /// Remembers an observer. With what it observes comes the number of subscribers of which it is told.
    fn enter_observer(
        &self,
        directory: &mut Directory,
        observer: &Arc<Peer>,
        target: Target,
        topic: Option<&Topic>,
    ) -> (Observed, Option<u32>) {
        let Some(member) = directory.member_mut(observer) else { return (Observed::Nothing, None) };
        let is_new = !member.observing.contains(&target);
        if is_new && member.observing.len() >= self.0.limits.observations {
            return (Observed::Refused, Some(0));
        }
        let observed = match topic {
            Some(topic) => {
                let observers = directory.topic_observers.entry(topic.tid()).or_default();
                observers.insert(observer.etid(), observer.clone());
                (Observed::Topic, Some(topic.len() as u32))
            }
            None => match directory.peers.get_mut(&Etid(target.0)) {
                Some(peer) => {
                    peer.observers.insert(observer.etid(), observer.clone());
                    (Observed::Peer, None)
                }
                None => return (Observed::Nothing, Some(0)),
            },
        };
        if let Some(member) = directory.member_mut(observer) {
            member.observing.insert(target);
        }
        observed
    }

    /// Whether a peer observes a topic or a peer.
    pub fn observes(&self, observer: &Peer, target: Target) -> bool {
        let directory = self.0.directory.lock();
        directory.member(observer).is_some_and(|member| member.observing.contains(&target))
    }

    /// Ends an observation, if there is one.
    pub fn unobserve(&self, observer: &Peer, target: Target) {
        let mut directory = self.0.directory.lock();
        let Some(member) = directory.member_mut(observer) else { return };
        if member.observing.remove(&target) {
            directory.forget_observer(target, observer.etid());
        }
    }
}
