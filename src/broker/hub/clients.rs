//! Peers: who is connected, and how clients come and go.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::subscriptions::tell_change;
use super::{Hub, Route, SERVER_ETID};
use crate::broker::directory::{ByUid, Member, Subscription};
use crate::broker::encoded;
use crate::broker::id_map::{remove_from, remove_from_set};
use crate::broker::names::random_number;
use crate::broker::outbox::Outbox;
use crate::broker::peer::{CloseReason, Peer};
use crate::protocol::{Etid, Packet};

/// The uid or the etid of a client that wants to connect belongs to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InUse;

impl Hub {
    /// The peer with this etid, the server included.
    pub fn peer(&self, etid: Etid) -> Option<Arc<Peer>> {
        match self.0.routes.read().get(&etid.0) {
            Some(Route::Peer(peer)) => Some(peer.clone()),
            _ => None,
        }
    }

    /// The client with this etid; the server is none.
    pub fn client(&self, etid: Etid) -> Option<Arc<Peer>> {
        self.peer(etid).filter(|peer| !peer.is_server())
    }

    /// All peers, the server included.
    pub fn peers(&self) -> Vec<Arc<Peer>> {
        self.0.directory.lock().peers.values().map(|member| member.peer.clone()).collect()
    }

    /// A random number for a client that is about to connect; [`Hub::connect`] finds out whether it is still free then.
    pub fn new_etid(&self) -> Etid {
        let routes = self.0.routes.read();
        Etid(random_number(|number| number == SERVER_ETID.0 || routes.contains_key(&number)))
    }

    /// The client that is connected with this uid.
    pub fn client_with_uid(&self, uid: &[u8]) -> Option<Arc<Peer>> {
        self.0.directory.lock().clients.get(uid).map(|ByUid(client)| client.clone())
    }

    /// Registers a client and queues its Connack. Fails, and changes nothing, if its uid or etid is in use.
    pub fn connect(&self, outbox: &mut Outbox, peer: &Arc<Peer>, connack: &Packet<'_>) -> Result<(), InUse> {
        outbox.settle();
        let mut directory = self.0.directory.lock();
        if directory.clients.contains(peer.uid()) {
            return Err(InUse);
        }
        if self.0.routes.read().contains_key(&peer.etid().0) {
            return Err(InUse);
        }
        // Queued before anybody can find the peer, so that it comes before every message.
        outbox.control(peer, &encoded(connack));
        self.0.routes.write().insert(peer.etid().0, Route::Peer(peer.clone()));
        directory.clients.insert(ByUid(peer.clone()));
        directory.peers.insert(peer.etid(), Member::new(peer.clone()));
        self.0.clients.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Forgets a client: first its numbers and names, so that nothing more is routed to it, then its subscriptions, with a
    /// Change for each topic, and last come the Changes for those who observe its end. Only for the one caller for whom
    /// [`Peer::begin_end`] was true.
    pub fn disconnect(&self, outbox: &mut Outbox, peer: &Arc<Peer>) {
        outbox.settle();
        let mut guard = self.0.directory.lock();
        let directory = &mut *guard;
        let Some(member) = remove_from(&mut directory.peers, &peer.etid()) else { return };
        remove_from(&mut self.0.routes.write(), &peer.etid().0);
        remove_from_set(&mut directory.clients, peer.uid());
        self.0.clients.fetch_sub(1, Ordering::Relaxed);
        for target in member.observing {
            directory.forget_observer(target, peer.etid());
        }
        for (tid, Subscription { topic, place }) in member.subscriptions {
            topic.remove(place);
            tell_change(outbox, directory, tid, topic.len());
        }
        for (etid, observer) in member.observers {
            outbox.control(&observer, &encoded(&Packet::Change { target: peer.etid().into(), subscribers: 0 }));
            if let Some(observer) = directory.peers.get_mut(&etid) {
                observer.observing.remove(&peer.etid().into());
            }
        }
        drop(guard);
        peer.outbound.end();
        peer.finish_end();
    }

    /// Asks a client's connection to end, after a Disconnect packet if there is a `farewell`. What comes later is not sent
    /// in either case. Does not wait for the end.
    pub fn close(&self, outbox: &mut Outbox, peer: &Arc<Peer>, reason: CloseReason, farewell: Option<&[u8]>) {
        let last = farewell.map_or_else(Vec::new, |text| {
            encoded(&Packet::Disconnect { reason: &text[..text.len().min(crate::protocol::MAX_BODY)] })
        });
        outbox.farewell(peer, &last);
        peer.close(reason);
    }
}
