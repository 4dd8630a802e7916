//! What a message may cost in memory: nothing per delivery. `allocation_counter` counts the allocations of this thread.

use std::io::{self, IoSlice};
use std::sync::Arc;

use smq::broker::outbound::{Outbound, Writer};
use smq::broker::outbox::Outbox;
use smq::broker::peer::{Identity, Peer};
use smq::broker::session::{Outcome, Session};
use smq::broker::{Hub, Options};
use smq::protocol::{Packet, Publish, ReturnCode, Subtid};
use smq::transport::Framing;

const SUBSCRIBERS: usize = 100;
const MESSAGES: usize = 10_000;
/// Messages of one read.
const BATCH: usize = 50;

/// A socket that takes everything.
struct Sink;

impl Writer for Sink {
    fn try_write(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        Ok(parts.iter().map(|part| part.len()).sum())
    }
}

fn connect(hub: &Hub, outbox: &mut Outbox, uid: &str, framing: Framing) -> Arc<Peer> {
    let etid = hub.new_etid();
    let identity = Identity { uid: uid.as_bytes().into(), info: b"".as_slice().into() };
    let peer = Arc::new(Peer::client(etid, identity, None, 0, Outbound::new(framing, hub.limits().queued)));
    hub.connect(outbox, &peer, &Packet::Connack { code: ReturnCode::ACCEPTED, etid, reason: b"" }).unwrap();
    peer.outbound.open(Box::new(Sink));
    outbox.flush();
    peer
}

/// Allocations of publishing `messages` to 100 subscribers, after a first read that fills what is kept.
fn allocations(framing: Framing, messages: usize) -> u64 {
    let (hub, mut outbox) = (Hub::new(Options::default()), Outbox::default());
    for number in 0..SUBSCRIBERS {
        let subscriber = connect(&hub, &mut outbox, &format!("subscriber {number}"), framing);
        hub.subscribe(&mut outbox, &subscriber, b"news");
    }
    let publisher = connect(&hub, &mut outbox, "publisher", Framing::Raw);
    outbox.flush();
    let target = hub.topic_number(b"news").unwrap().into();
    let publish = Publish { target, publisher: publisher.etid(), subtid: Subtid(0), payload: b"a small message" };
    let mut read = Vec::new();
    for _ in 0..BATCH {
        Packet::Publish(publish).encode(&mut read).unwrap();
    }
    let mut session = Session::new(hub, publisher);
    let mut send = || {
        let frames = outbox.append(&read);
        assert_eq!(session.handle(&mut outbox, frames), Outcome::Done);
        outbox.flush();
    };
    send();
    allocation_counter::measure(|| (0..messages / BATCH).for_each(|_| send())).count_total
}

#[test]
fn a_delivery_on_raw_sockets_allocates_nothing() {
    assert_eq!(allocations(Framing::Raw, MESSAGES), 0);
}

#[test]
fn a_delivery_on_websockets_allocates_nothing() {
    assert_eq!(allocations(Framing::WebSocket, MESSAGES), 0);
}
