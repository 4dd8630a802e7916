//! Subscriptions: how a peer gets a topic's messages, and who is told.

use std::sync::Arc;

use super::{Creator, Hub};
use crate::broker::directory::{Directory, Member, Subscription};
use crate::broker::encoded;
use crate::broker::outbox::Outbox;
use crate::broker::peer::Peer;
use crate::protocol::{Ack, Etid, Packet, Tid};

impl Hub {
    /// The topics a peer is subscribed to.
    pub fn subscriptions(&self, etid: Etid) -> Vec<Tid> {
        let directory = self.0.directory.lock();
        directory.peers.get(&etid).map(|member| member.subscriptions.keys().copied().collect()).unwrap_or_default()
    }

    /// Whether a peer is subscribed to the topic with this name.
    pub fn is_subscribed(&self, peer: &Peer, name: &[u8]) -> bool {
        let directory = self.0.directory.lock();
        let tid = directory.topics.number(name).map(Tid);
        tid.zip(directory.member(peer)).is_some_and(|(tid, member)| member.subscriptions.contains_key(&tid))
    }

    /// Subscribes a client to a topic by name and acknowledges that. The client gets, in this order: a Change if it observes
    /// the topic, the Suback, the topic's messages. A second subscription is only acknowledged. False if a limit forbids it.
    pub fn subscribe(&self, outbox: &mut Outbox, peer: &Arc<Peer>, name: &[u8]) -> bool {
        outbox.settle();
        let mut guard = self.0.directory.lock();
        let directory = &mut *guard;
        let known = directory.topics.number(name).map(Tid);
        // A script may end a client while its packets are handled; then there is nobody to be told.
        let Some(Member { subscriptions, .. }) = directory.member(peer) else { return true };
        let has_room = subscriptions.len() < self.0.limits.subscriptions
            || known.is_some_and(|tid| subscriptions.contains_key(&tid));
        let granted = if has_room { self.create_in(directory, Creator::Client, name, None) } else { None };
        let suback = Packet::Suback(Ack { granted: granted.map(u32::from), name });
        match granted {
            Some(tid) => self.join(outbox, directory, peer, tid, Some(&suback)),
            None => outbox.control(peer, &encoded(&suback)),
        }
        granted.is_some()
    }

    /// Subscribes the server to a topic. It may have subscribed before.
    pub fn subscribe_server(&self, outbox: &mut Outbox, tid: Tid) {
        outbox.settle();
        let mut guard = self.0.directory.lock();
        self.join(outbox, &mut guard, &self.0.server, tid, None);
    }

    /// Makes a peer a subscriber. Its Change and acknowledgement are queued before it is in the topic, where publishers
    /// find it.
    fn join(
        &self,
        outbox: &mut Outbox,
        directory: &mut Directory,
        peer: &Arc<Peer>,
        tid: Tid,
        ack: Option<&Packet<'_>>,
    ) {
        let topic = self.topic(tid);
        let Some((member, topic)) = directory.member_mut(peer).zip(topic) else { return };
        if member.subscriptions.contains_key(&tid) {
            if let Some(ack) = ack {
                outbox.control(peer, &encoded(ack));
            }
            return;
        }
        let change = Packet::Change { target: tid.into(), subscribers: topic.len() as u32 + 1 };
        if member.observing.contains(&tid.into()) {
            outbox.control(peer, &encoded(&change));
        }
        if let Some(ack) = ack {
            outbox.control(peer, &encoded(ack));
        }
        let place = topic.insert(peer.clone());
        member.subscriptions.insert(tid, Subscription { topic, place });
        // The others learn of it when the peer gets what they publish.
        for (etid, observer) in directory.topic_observers.get(&tid).into_iter().flatten() {
            if *etid != peer.etid() {
                outbox.control(observer, &encoded(&change));
            }
        }
    }

    /// Ends a subscription, if there is one.
    pub fn unsubscribe(&self, outbox: &mut Outbox, peer: &Peer, tid: Tid) {
        outbox.settle();
        let mut guard = self.0.directory.lock();
        let directory = &mut *guard;
        let Some(member) = directory.member_mut(peer) else { return };
        let Some(Subscription { topic, place }) = member.subscriptions.remove(&tid) else { return };
        topic.remove(place);
        tell_change(outbox, directory, tid, topic.len());
    }
}

/// Tells a topic's observers how many subscribers it has.
pub(super) fn tell_change(outbox: &mut Outbox, directory: &Directory, tid: Tid, subscribers: usize) {
    let Some(observers) = directory.topic_observers.get(&tid) else { return };
    let change = encoded(&Packet::Change { target: tid.into(), subscribers: subscribers as u32 });
    for observer in observers.values() {
        outbox.control(observer, &change);
    }
}
