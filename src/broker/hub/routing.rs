//! Publishing: from a frame to its receivers.

use std::sync::Arc;

use super::{Hub, Route};
use crate::broker::outbox::{Outbox, Span};
use crate::broker::peer::Peer;
use crate::protocol::{Target, Tid};
use crate::transport::Framing;

impl Hub {
    /// Routes whole Publish frames of the arena, all of them to `target`. True if there is a receiver. One whose end has
    /// begun is none, though it can still be found until the owner has been told.
    pub fn route(&self, outbox: &mut Outbox, target: Target, frames: Span) -> bool {
        outbox.settle();
        let route = self.0.routes.read().get(&target.0).cloned();
        match route {
            Some(Route::Topic(topic)) => deliver(outbox, &topic.snapshot(), frames),
            Some(Route::Peer(peer)) => deliver(outbox, std::slice::from_ref(&peer), frames),
            None => false,
        }
    }

    /// Routes one message later in this turn, together with the messages for the same target that come before and behind
    /// it. A message that reaches the server's own peer is routed at once, since its callback must run before anything
    /// that comes later.
    pub fn route_soon(&self, outbox: &mut Outbox, target: Target, frame: &[u8]) {
        if outbox.is_gathering(self, target) || !self.reaches_server(target) {
            return outbox.gather(self, target, frame);
        }
        let span = outbox.append(frame);
        self.route(outbox, target, span);
    }

    /// Whether a message to `target` would reach the server's own peer.
    pub fn reaches_server(&self, target: Target) -> bool {
        let server = self.0.server.etid();
        let is_subscribed = || {
            let directory = self.0.directory.lock();
            directory.peers.get(&server).is_some_and(|member| member.subscriptions.contains_key(&Tid(target.0)))
        };
        target == server.into() || is_subscribed()
    }
}

/// Notes the frames for each receiver. They are converted once for all receivers that have the other framing.
fn deliver(outbox: &mut Outbox, receivers: &[Arc<Peer>], frames: Span) -> bool {
    let mut converted = None;
    for peer in receivers {
        let span = match peer.outbound.framing() {
            Framing::Raw => frames,
            Framing::WebSocket => *converted.get_or_insert_with(|| outbox.convert(frames)),
        };
        outbox.note(peer, span);
    }
    receivers.iter().any(|peer| peer.is_alive())
}
