//! The broker without sockets: peers whose writers are buffers, packets as the protocol's own bytes.

use std::io::{self, IoSlice};
use std::sync::Arc;

use parking_lot::Mutex;
use smq::broker::hooks::{Hooks, Interest};
use smq::broker::outbound::{Outbound, Writer};
use smq::broker::outbox::{Outbox, Span, with_outbox};
use smq::broker::peer::{CloseReason, Identity, Peer};
use smq::broker::session::{Handled, Outcome, Session};
use smq::broker::{Creator, Hub, InUse, Limits, Options, SERVER_ETID};
use smq::protocol::{Ack, Etid, Packet, Publish, ReturnCode, Subtid, Target, Tid, decode_frame};
use smq::transport::{Framing, websocket};

/// A socket that takes `room` bytes and then is full.
#[derive(Clone)]
struct Socket {
    taken: Arc<Mutex<Vec<u8>>>,
    room: Arc<Mutex<usize>>,
    writes: Arc<Mutex<usize>>,
    /// Of all writes, the most slices in one.
    most_slices: Arc<Mutex<usize>>,
}

impl Socket {
    fn new() -> Self {
        let room = Arc::new(Mutex::new(usize::MAX));
        Self { taken: Arc::default(), room, writes: Arc::default(), most_slices: Arc::default() }
    }
}

impl Writer for Socket {
    fn try_write(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        *self.writes.lock() += 1;
        let mut most_slices = self.most_slices.lock();
        *most_slices = parts.len().max(*most_slices);
        let mut room = self.room.lock();
        if *room == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let bytes: Vec<u8> = parts.iter().flat_map(|part| part.iter().copied()).collect();
        let count = bytes.len().min(*room);
        *room -= count;
        self.taken.lock().extend_from_slice(&bytes[..count]);
        Ok(count)
    }
}

struct Client {
    peer: Arc<Peer>,
    session: Session,
    socket: Socket,
}

struct Broker {
    hub: Hub,
    outbox: Outbox,
}

impl Broker {
    fn new() -> Self {
        Self::with(Options::default())
    }

    fn with(options: Options) -> Self {
        Self { hub: Hub::new(options), outbox: Outbox::default() }
    }

    fn connect(&mut self, uid: &str) -> Client {
        self.connect_framed(uid, Framing::Raw)
    }

    fn connect_framed(&mut self, uid: &str, framing: Framing) -> Client {
        let etid = self.hub.new_etid();
        let identity = Identity { uid: uid.as_bytes().into(), info: b"".as_slice().into() };
        let outbound = Outbound::new(framing, self.hub.limits().queued);
        let peer = Arc::new(Peer::client(etid, identity, None, 0, outbound));
        let connack = Packet::Connack { code: ReturnCode::ACCEPTED, etid, reason: b"" };
        self.hub.connect(&mut self.outbox, &peer, &connack).unwrap();
        let socket = Socket::new();
        peer.outbound.open(Box::new(socket.clone()));
        self.outbox.flush();
        socket.taken.lock().clear();
        Client { session: Session::new(self.hub.clone(), peer.clone()), peer, socket }
    }

    /// The client sends packets in one read; everybody gets what comes of it.
    fn send(&mut self, client: &mut Client, packets: &[Packet<'_>]) -> Outcome {
        let start = self.outbox.arena.len();
        for packet in packets {
            packet.encode(&mut self.outbox.arena).unwrap();
        }
        let span = Span { start, end: self.outbox.arena.len() };
        let outcome = client.session.handle(&mut self.outbox, span);
        self.outbox.flush();
        outcome
    }

    /// The client's packets are handled one by one, as where a script has granted each.
    fn send_granted(&mut self, client: &mut Client, packets: &[Packet<'_>]) {
        for packet in packets {
            let mut frame = Vec::new();
            packet.encode(&mut frame).unwrap();
            client.session.handle_one(&mut self.outbox, &frame, true);
        }
    }

    fn disconnect(&mut self, client: &Client) {
        assert!(client.peer.begin_end());
        self.hub.disconnect(&mut self.outbox, &client.peer);
        self.outbox.flush();
    }

    fn tid(&self, name: &str) -> Tid {
        self.hub.topic_number(name.as_bytes()).unwrap()
    }
}

impl Client {
    fn etid(&self) -> Etid {
        self.peer.etid()
    }

    /// What came since the last call, as text that reads like the protocol.
    fn received(&self) -> Vec<String> {
        let bytes = std::mem::take(&mut *self.socket.taken.lock());
        let mut rest = &bytes[..];
        let mut packets = Vec::new();
        while let Some((packet, length)) = decode_frame(rest).unwrap() {
            packets.push(show(packet));
            rest = &rest[length..];
        }
        assert!(rest.is_empty(), "half a frame: {rest:?}");
        packets
    }

    fn publish<'a>(&self, target: impl Into<Target>, payload: &'a str) -> Packet<'a> {
        let payload = payload.as_bytes();
        Packet::Publish(Publish { target: target.into(), publisher: self.etid(), subtid: Subtid(0), payload })
    }
}

fn show(packet: Packet<'_>) -> String {
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    match packet {
        Packet::Publish(publish) => format!("publish {}", text(publish.payload)),
        Packet::Suback(Ack { granted, name }) => format!("suback {} {}", granted.is_some(), text(name)),
        Packet::Createack(Ack { granted, name }) => format!("createack {} {}", granted.is_some(), text(name)),
        Packet::Change { subscribers, .. } => format!("change {subscribers}"),
        Packet::Disconnect { reason } => format!("disconnect {}", text(reason)),
        Packet::Pong => "pong".into(),
        other => format!("{other:?}"),
    }
}

fn subscribe(name: &str) -> Packet<'_> {
    Packet::Subscribe { name: name.as_bytes() }
}

#[test]
fn a_message_reaches_every_subscriber_and_the_publisher_only_if_it_subscribed() {
    let mut broker = Broker::new();
    let (mut a, mut b, mut c) = (broker.connect("client a"), broker.connect("client b"), broker.connect("client c"));
    broker.send(&mut a, &[subscribe("news")]);
    broker.send(&mut b, &[subscribe("news")]);
    let tid = broker.tid("news");
    let message = c.publish(tid, "hello");
    broker.send(&mut c, &[message]);
    assert_eq!(a.received(), ["suback true news", "publish hello"]);
    assert_eq!(b.received(), ["suback true news", "publish hello"]);
    assert!(c.received().is_empty());
}

#[test]
fn a_run_of_messages_costs_each_receiver_one_write() {
    let mut broker = Broker::new();
    let (mut a, mut b) = (broker.connect("client a"), broker.connect("client b"));
    broker.send(&mut a, &[subscribe("news")]);
    let tid = broker.tid("news");
    *a.socket.writes.lock() = 0;
    let run: Vec<_> = (0..100).map(|_| b.publish(tid, "x")).collect();
    broker.send(&mut b, &run);
    assert_eq!(*a.socket.writes.lock(), 1);
    assert_eq!(a.received().len(), 101);
}

#[test]
fn messages_to_two_topics_arrive_in_the_order_in_which_they_were_sent() {
    let mut broker = Broker::new();
    let (mut a, mut b) = (broker.connect("client a"), broker.connect("client b"));
    broker.send(&mut a, &[subscribe("one"), subscribe("two")]);
    a.received();
    let (one, two) = (broker.tid("one"), broker.tid("two"));
    let messages = [b.publish(one, "1"), b.publish(two, "2"), b.publish(a.etid(), "3"), b.publish(one, "4")];
    broker.send(&mut b, &messages);
    assert_eq!(a.received(), ["publish 1", "publish 2", "publish 3", "publish 4"]);
}

#[test]
fn an_acknowledgement_keeps_its_place_among_messages() {
    let mut broker = Broker::new();
    let mut a = broker.connect("client a");
    broker.send(&mut a, &[subscribe("news")]);
    let tid = broker.tid("news");
    a.received();
    let packets = [a.publish(tid, "1"), Packet::Ping, a.publish(tid, "2"), subscribe("more")];
    broker.send(&mut a, &packets);
    assert_eq!(a.received(), ["publish 1", "pong", "publish 2", "suback true more"]);
}

#[test]
fn messages_that_are_handled_one_by_one_cost_each_receiver_one_write() {
    let mut broker = Broker::new();
    let (mut publisher, mut subscriber) = (broker.connect("publisher"), broker.connect("subscriber"));
    broker.send(&mut subscriber, &[subscribe("news")]);
    subscriber.received();
    let news = broker.tid("news");
    *subscriber.socket.writes.lock() = 0;
    let packets = ["a", "b", "c"].map(|payload| publisher.publish(news, payload));
    broker.send_granted(&mut publisher, &packets);
    broker.outbox.flush();
    assert_eq!(subscriber.received(), ["publish a", "publish b", "publish c"]);
    assert_eq!(*subscriber.socket.writes.lock(), 1);
}

#[test]
fn messages_that_are_handled_one_by_one_keep_their_place_among_everything_else() {
    let mut broker = Broker::new();
    let (mut a, mut b) = (broker.connect("client a"), broker.connect("client b"));
    broker.send(&mut b, &[subscribe("news")]);
    b.received();
    let (news, direct) = (broker.tid("news"), b.etid());
    let packets = [
        a.publish(news, "before anybody else"),
        subscribe("news"),
        a.publish(news, "1"),
        a.publish(direct, "2"),
        a.publish(news, "3"),
        Packet::Ping,
        Packet::Unsubscribe { target: news.into() },
        a.publish(news, "4"),
    ];
    broker.send_granted(&mut a, &packets);
    let packets = [b.publish(news, "5"), Packet::Unsubscribe { target: news.into() }];
    broker.send_granted(&mut b, &packets);
    broker.outbox.flush();
    assert_eq!(a.received(), ["suback true news", "publish 1", "publish 3", "pong"]);
    let all = ["before anybody else", "1", "2", "3", "4", "5"].map(|payload| format!("publish {payload}"));
    assert_eq!(b.received(), all);
}

#[test]
fn a_message_to_the_server_is_not_kept_for_later_not_even_behind_one_that_is() {
    let mut broker = Broker::new();
    let mut client = broker.connect("client");
    let packets = [client.publish(client.etid(), "soon"), client.publish(SERVER_ETID, "now")];
    for packets in [&packets[1..], &packets] {
        broker.outbox.reached_server = false;
        broker.send_granted(&mut client, packets);
        assert!(broker.outbox.reached_server);
    }
}

#[test]
fn messages_that_are_handled_one_by_one_are_not_mixed_with_what_is_read_meanwhile() {
    let mut broker = Broker::new();
    let mut client = broker.connect("client");
    let messages = ["1", "2"].map(|payload| client.publish(client.etid(), payload));
    broker.send_granted(&mut client, &messages[..1]);
    broker.outbox.append(b"read, but not handled yet");
    broker.send_granted(&mut client, &messages[1..]);
    broker.outbox.flush();
    assert_eq!(client.received(), ["publish 1", "publish 2"]);
}

#[test]
fn messages_to_the_same_number_stay_within_their_hubs() {
    let tid = Tid(77);
    let mut broker = Broker::new();
    let mut one = broker.connect("a client");
    broker.hub.create(Creator::Server, b"news", Some(tid));
    broker.send(&mut one, &[subscribe("news")]);
    let first = broker.hub.clone();
    broker.hub = Hub::new(Options::default());
    let mut other = broker.connect("a client");
    broker.hub.create(Creator::Server, b"news", Some(tid));
    broker.send(&mut other, &[subscribe("news")]);
    let messages = [one.publish(tid, "in the first"), other.publish(tid, "in the second")];
    broker.send_granted(&mut one, &messages[..1]);
    broker.send_granted(&mut other, &messages[1..]);
    broker.outbox.flush();
    assert!(!broker.hub.is(&first));
    assert_eq!(one.received(), ["suback true news", "publish in the first"]);
    assert_eq!(other.received(), ["suback true news", "publish in the second"]);
}

#[test]
fn what_is_noted_for_one_receiver_keeps_its_place_when_another_is_noted_first_or_later() {
    let mut broker = Broker::new();
    let (mut a, mut b) = (broker.connect("client a"), broker.connect("client b"));
    for (first, later) in [(a.etid(), b.etid()), (b.etid(), a.etid())] {
        let messages = [a.publish(first, "x"), a.publish(later, "x")];
        broker.send_granted(&mut a, &messages);
        broker.send_granted(&mut a, &[Packet::Ping]);
        broker.send_granted(&mut b, &[Packet::Ping]);
        broker.outbox.flush();
        assert_eq!(a.received(), ["publish x", "pong"]);
        assert_eq!(b.received(), ["publish x", "pong"]);
    }
}

#[tokio::test]
async fn what_is_left_for_later_is_sent_at_the_end_of_the_turn() {
    let mut broker = Broker::new();
    let client = broker.connect("client");
    let mut frame = Vec::new();
    client.publish(client.etid(), "x").encode(&mut frame).unwrap();
    for _ in 0..2 {
        with_outbox(|outbox| broker.hub.route_soon(outbox, client.etid().into(), &frame));
        assert!(client.received().is_empty());
        tokio::task::yield_now().await;
        assert_eq!(client.received(), ["publish x"]);
    }
}

#[test]
fn what_a_transport_answers_keeps_its_place_among_messages() {
    let mut broker = Broker::new();
    let mut client = broker.connect_framed("client", Framing::WebSocket);
    let message = client.publish(client.etid(), "before the end");
    broker.send_granted(&mut client, &[message]);
    broker.outbox.transport_control(&client.peer, b"close frame");
    broker.outbox.flush();
    let mut expected = Vec::new();
    let mut frame = Vec::new();
    message.encode(&mut frame).unwrap();
    websocket::encode(websocket::BINARY, &frame[2..], &mut expected);
    expected.extend(b"close frame");
    assert_eq!(*client.socket.taken.lock(), expected);
}

#[test]
fn a_websocket_subscriber_gets_the_same_messages_as_a_raw_one() {
    let mut broker = Broker::new();
    let (mut a, mut b) = (broker.connect_framed("client a", Framing::WebSocket), broker.connect("client b"));
    broker.send(&mut a, &[subscribe("news")]);
    let tid = broker.tid("news");
    a.socket.taken.lock().clear();
    let messages = [b.publish(tid, "one"), b.publish(tid, "two")];
    broker.send(&mut b, &messages);
    let mut expected = Vec::new();
    for message in messages {
        let mut frame = Vec::new();
        message.encode(&mut frame).unwrap();
        websocket::encode(websocket::BINARY, &frame[2..], &mut expected);
    }
    assert_eq!(*a.socket.taken.lock(), expected);
}

#[test]
fn a_second_subscribe_is_acknowledged_and_changes_nothing() {
    let mut broker = Broker::new();
    let (mut a, mut watcher) = (broker.connect("client a"), broker.connect("a watcher"));
    broker.send(&mut a, &[subscribe("news")]);
    let target = broker.tid("news").into();
    broker.send(&mut watcher, &[Packet::Observe { target }]);
    broker.send(&mut a, &[subscribe("news")]);
    assert_eq!(watcher.received(), ["change 1"]);
    assert_eq!(a.received(), ["suback true news", "suback true news"]);
}

#[test]
fn an_observer_that_subscribes_gets_its_change_before_the_suback() {
    let mut broker = Broker::new();
    let mut a = broker.connect("client a");
    broker.send(&mut a, &[Packet::Create { name: b"news" }]);
    let target = broker.tid("news").into();
    broker.send(&mut a, &[Packet::Observe { target }, subscribe("news")]);
    assert_eq!(a.received(), ["createack true news", "change 0", "change 1", "suback true news"]);
}

#[test]
fn observers_hear_of_subscribers_that_come_go_and_end() {
    let mut broker = Broker::new();
    let mut watcher = broker.connect("a watcher");
    broker.send(&mut watcher, &[Packet::Create { name: b"news" }]);
    let tid = broker.tid("news");
    broker.send(&mut watcher, &[Packet::Observe { target: tid.into() }]);
    watcher.received();
    let (mut a, mut b) = (broker.connect("client a"), broker.connect("client b"));
    broker.send(&mut a, &[subscribe("news")]);
    broker.send(&mut b, &[subscribe("news")]);
    broker.send(&mut a, &[Packet::Unsubscribe { target: tid.into() }]);
    broker.disconnect(&b);
    assert_eq!(watcher.received(), ["change 1", "change 2", "change 1", "change 0"]);
}

#[test]
fn an_observer_hears_a_peer_leave_once() {
    let mut broker = Broker::new();
    let (mut watcher, a) = (broker.connect("a watcher"), broker.connect("client a"));
    broker.send(&mut watcher, &[Packet::Observe { target: a.etid().into() }]);
    assert!(watcher.received().is_empty());
    broker.disconnect(&a);
    assert_eq!(watcher.received(), ["change 0"]);
    broker.send(&mut watcher, &[Packet::Unobserve { target: a.etid().into() }]);
    assert!(watcher.received().is_empty());
}

#[test]
fn unobserve_by_the_only_observer_leaves_the_subscribers_alone() {
    let mut broker = Broker::new();
    let (mut a, mut b) = (broker.connect("client a"), broker.connect("client b"));
    broker.send(&mut a, &[subscribe("news")]);
    let tid = broker.tid("news");
    broker.send(&mut b, &[Packet::Observe { target: tid.into() }, Packet::Unobserve { target: tid.into() }]);
    b.received();
    let message = b.publish(tid, "still here");
    broker.send(&mut b, &[message]);
    assert_eq!(a.received(), ["suback true news", "publish still here"]);
    let mut c = broker.connect("client c");
    broker.send(&mut c, &[subscribe("news")]);
    assert!(b.received().is_empty());
}

#[test]
fn what_does_not_exist_is_observed_with_a_zero_and_not_remembered() {
    let mut broker = Broker::new();
    let mut a = broker.connect("client a");
    broker.send(&mut a, &[Packet::Observe { target: Target(12345) }]);
    assert_eq!(a.received(), ["change 0"]);
    assert_eq!(broker.hub.create(Creator::Server, b"late", Some(Tid(12345))), Some(Tid(12345)));
    let mut b = broker.connect("client b");
    broker.send(&mut b, &[subscribe("late")]);
    assert!(a.received().is_empty());
}

#[test]
fn unsubscribing_the_own_etid_does_not_cut_a_client_off() {
    let mut broker = Broker::new();
    let mut a = broker.connect("client a");
    let own = a.etid();
    broker.send(&mut a, &[Packet::Unsubscribe { target: own.into() }]);
    let message = a.publish(own, "to myself");
    broker.send(&mut a, &[message]);
    assert_eq!(a.received(), ["publish to myself"]);
}

#[test]
fn a_message_that_claims_another_publisher_is_refused_and_those_before_it_are_delivered() {
    let mut broker = Broker::new();
    let (mut a, mut b) = (broker.connect("client a"), broker.connect("client b"));
    broker.send(&mut a, &[subscribe("news")]);
    let tid = broker.tid("news");
    let forged =
        Packet::Publish(Publish { target: tid.into(), publisher: a.etid(), subtid: Subtid(0), payload: b"forged" });
    let messages = [b.publish(tid, "good"), forged, b.publish(tid, "late")];
    assert_eq!(broker.send(&mut b, &messages), Outcome::Close(CloseReason::Protocol));
    assert_eq!(a.received(), ["suback true news", "publish good"]);
    assert_eq!(b.received(), ["disconnect corrupt frame"]);
}

#[test]
fn a_message_that_the_owner_does_not_grant_reaches_nobody() {
    let mut broker = Broker::new();
    let mut a = broker.connect("client a");
    let mut frame = Vec::new();
    a.publish(a.etid(), "denied").encode(&mut frame).unwrap();
    assert_eq!(a.session.handle_one(&mut broker.outbox, &frame, false), Handled::Done);
    broker.outbox.flush();
    assert!(a.received().is_empty());
}

#[test]
fn a_message_too_short_for_its_head_closes_and_those_before_it_are_delivered() {
    let mut broker = Broker::new();
    let mut a = broker.connect("client a");
    let good = a.publish(a.etid(), "good");
    let start = broker.outbox.arena.len();
    good.encode(&mut broker.outbox.arena).unwrap();
    // Target and publisher, and no sub-topic.
    broker.outbox.arena.extend_from_slice(&[0, 11, 8]);
    broker.outbox.arena.extend_from_slice(&a.etid().0.to_be_bytes().repeat(2));
    good.encode(&mut broker.outbox.arena).unwrap();
    let span = Span { start, end: broker.outbox.arena.len() };
    assert_eq!(a.session.handle(&mut broker.outbox, span), Outcome::Close(CloseReason::Protocol));
    broker.outbox.flush();
    assert_eq!(a.received(), ["publish good"]);
}

#[test]
fn a_fragment_right_behind_a_message_of_the_same_head_is_no_message() {
    let mut broker = Broker::new();
    let mut a = broker.connect("client a");
    let part = |payload| {
        let publish = Publish { target: a.etid().into(), publisher: a.etid(), subtid: Subtid(0), payload };
        Packet::PubFrag(publish)
    };
    let packets = [a.publish(a.etid(), "whole"), part(b"assembled")];
    broker.send(&mut a, &packets);
    assert_eq!(a.received(), ["publish whole", "publish assembled"]);
}

#[test]
fn fragments_become_one_message() {
    let mut broker = Broker::new();
    let mut a = broker.connect("client a");
    let part = |target: Target, payload| {
        let publish = Publish { target, publisher: a.etid(), subtid: Subtid(0), payload };
        Packet::PubFrag(publish)
    };
    let own = a.etid().into();
    let packets = [part(Target(0), b"one "), Packet::Ping, part(Target(0), b"two "), part(own, b"three")];
    broker.send(&mut a, &packets);
    assert_eq!(a.received(), ["pong", "publish one two three"]);
}

#[test]
fn fragments_of_exactly_the_longest_payload_are_delivered_and_one_byte_more_closes() {
    let mut broker = Broker::new();
    for (extra, closes) in [(0, false), (1, true)] {
        let mut a = broker.connect(&format!("client {extra}"));
        let half = vec![b'x'; 0x7FF8];
        let rest = vec![b'x'; 0x7FF8 + extra];
        let part = |target: Target, payload| {
            let publish = Publish { target, publisher: a.etid(), subtid: Subtid(0), payload };
            Packet::PubFrag(publish)
        };
        let packets = [part(Target(0), &half), part(a.etid().into(), &rest)];
        let outcome = broker.send(&mut a, &packets);
        assert_eq!(outcome == Outcome::Close(CloseReason::Protocol), closes);
        assert_eq!(a.received().len(), usize::from(!closes));
    }
}

#[test]
fn a_subscriber_that_does_not_read_loses_the_newest_and_nobody_else_does() {
    let mut broker =
        Broker::with(Options { limits: Limits { queued: 1000, ..Limits::default() }, ..Options::default() });
    let (mut slow, mut good, mut publisher) =
        (broker.connect("a slow one"), broker.connect("a good one"), broker.connect("a publisher"));
    broker.send(&mut slow, &[subscribe("news")]);
    broker.send(&mut good, &[subscribe("news")]);
    let tid = broker.tid("news");
    slow.received();
    good.received();
    *slow.socket.room.lock() = 20;
    for index in 0..100 {
        let payload = format!("message {index:03}");
        let message = publisher.publish(tid, &payload);
        broker.send(&mut publisher, &[message]);
    }
    assert_eq!(good.received().len(), 100);
    assert!(slow.peer.outbound.held() <= 1000);
    assert!(slow.peer.outbound.dropped() > 0);
    // What was kept are the first messages, whole and in order.
    let mut kept = slow.socket.taken.lock().clone();
    kept.extend(slow.peer.outbound.take());
    *slow.socket.taken.lock() = kept;
    let kept = slow.received();
    let expected: Vec<_> = (0..kept.len()).map(|index| format!("publish message {index:03}")).collect();
    assert_eq!(kept, expected);
    assert_eq!(kept.len() as u64 + slow.peer.outbound.dropped(), 100);
}

#[test]
fn a_loss_is_to_be_reported_at_the_first_message_and_whenever_it_has_doubled() {
    let mut broker = Broker::with(Options { limits: Limits { queued: 0, ..Limits::default() }, ..Options::default() });
    let mut client = broker.connect("client");
    *client.socket.room.lock() = 0;
    let message = client.publish(client.etid(), "x");
    broker.send(&mut client, &[message]);
    assert_eq!((client.peer.outbound.dropped(), client.peer.drops_to_report()), (0, None));
    let mut reported = Vec::new();
    for _ in 0..10 {
        broker.send(&mut client, &[message]);
        reported.extend(client.peer.drops_to_report());
        assert_eq!(client.peer.drops_to_report(), None);
    }
    assert_eq!(reported, [1, 2, 4, 8]);
}

#[test]
fn a_client_that_ended_gets_nothing_and_leaves_nothing() {
    let mut broker = Broker::new();
    let (mut a, mut b) = (broker.connect("client a"), broker.connect("client b"));
    broker.send(&mut a, &[subscribe("news")]);
    a.received();
    broker.disconnect(&a);
    let tid = broker.tid("news");
    let messages = [b.publish(tid, "nobody"), b.publish(a.etid(), "nobody")];
    broker.send(&mut b, &messages);
    assert!(a.received().is_empty());
    assert!(broker.hub.peer(a.etid()).is_none());
    assert_eq!(broker.hub.client_count(), 1);
    assert!(broker.hub.client_with_uid(b"client a").is_none());
}

#[test]
fn each_of_many_clients_is_found_by_its_uid() {
    let mut broker = Broker::new();
    let uids: Vec<String> = (0..1000).map(|number| format!("client-{number}")).collect();
    let clients: Vec<_> = uids.iter().map(|uid| broker.connect(uid)).collect();
    for (uid, client) in uids.iter().zip(&clients) {
        let found = broker.hub.client_with_uid(uid.as_bytes()).map(|peer| peer.etid());
        assert_eq!(found, Some(client.peer.etid()), "{uid}");
    }
}

#[test]
fn a_uid_can_be_registered_once() {
    let mut broker = Broker::new();
    broker.connect("client a");
    let identity = Identity { uid: b"client a".as_slice().into(), info: b"".as_slice().into() };
    let etid = broker.hub.new_etid();
    let peer = Arc::new(Peer::client(etid, identity, None, 0, Outbound::new(Framing::Raw, 1000)));
    let connack = Packet::Connack { code: ReturnCode::ACCEPTED, etid, reason: b"" };
    assert_eq!(broker.hub.connect(&mut broker.outbox, &peer, &connack), Err(InUse));
}

#[test]
fn names_keep_their_numbers_and_wanted_numbers_are_used_if_they_are_free() {
    let broker = Broker::new();
    let tid = broker.hub.create(Creator::Server, b"news", None).expect("there is room");
    assert_eq!(broker.hub.create(Creator::Server, b"news", Some(Tid(77))), Some(tid));
    assert_eq!(broker.hub.create(Creator::Server, b"other", Some(Tid(77))), Some(Tid(77)));
    assert_ne!(broker.hub.create(Creator::Server, b"third", Some(Tid(77))), Some(Tid(77)));
    assert_ne!(broker.hub.create(Creator::Server, b"fourth", Some(Tid(SERVER_ETID.0))), Some(Tid(SERVER_ETID.0)));
    assert_ne!(broker.hub.create(Creator::Server, b"fifth", Some(Tid(0))), Some(Tid(0)));
    // Sub-topics have numbers of their own.
    assert_eq!(broker.hub.createsub(Creator::Server, b"other", Some(Subtid(77))), Some(Subtid(77)));
    assert_ne!(broker.hub.createsub(Creator::Server, b"third", Some(Subtid(77))), Some(Subtid(77)));
    assert_ne!(broker.hub.createsub(Creator::Server, b"fifth", Some(Subtid(0))), Some(Subtid(0)));
}

#[test]
fn a_full_hub_refuses_new_names_and_knows_the_old_ones() {
    let mut broker = Broker::with(Options { limits: Limits { topics: 1, ..Limits::default() }, ..Options::default() });
    let mut a = broker.connect("client a");
    broker.send(&mut a, &[subscribe("one"), subscribe("two"), Packet::Create { name: b"one" }]);
    assert_eq!(a.received(), ["suback true one", "suback false two", "createack true one"]);
}

#[test]
fn clients_leave_a_tenth_of_all_names_to_the_servers_scripts() {
    for (topics, subtopics, names) in [(10, 10, 1000), (1000, 1000, 10)] {
        let limits = Limits { topics, subtopics, names, ..Limits::default() };
        let mut broker = Broker::with(Options { limits, ..Options::default() });
        let mut a = broker.connect("client a");
        for name in [b"1", b"2", b"3", b"4", b"5", b"6", b"7", b"8", b"9"] {
            broker.send(&mut a, &[Packet::Create { name }, Packet::Createsub { name }]);
        }
        a.received();
        broker.send(&mut a, &[Packet::Create { name: b"a" }, subscribe("b"), Packet::Createsub { name: b"c" }]);
        let refused = format!("{:?}", Packet::Createsuback(Ack { granted: None, name: b"c" }));
        assert_eq!(a.received(), ["createack false a", "suback false b", &refused]);
        assert_ne!(broker.hub.create(Creator::Server, b"d", None), None);
        assert_eq!(broker.hub.create(Creator::Server, b"e", None), None);
        assert_ne!(broker.hub.createsub(Creator::Server, b"d", None), None);
        assert_eq!(broker.hub.createsub(Creator::Server, b"e", None), None);
    }
}

#[test]
fn a_client_at_its_limit_is_refused_creates_nothing_and_keeps_what_it_has() {
    let limits = Limits { subscriptions: 1, ..Limits::default() };
    let mut broker = Broker::with(Options { limits, ..Options::default() });
    let mut a = broker.connect("client a");
    broker.send(&mut a, &[subscribe("one"), subscribe("two"), subscribe("one")]);
    assert_eq!(a.received(), ["suback true one", "suback false two", "suback true one"]);
    assert_eq!(broker.hub.topics().len(), 1);
}

#[test]
fn an_etid_that_a_topic_has_got_is_in_use() {
    let mut broker = Broker::new();
    let mut a = broker.connect("client a");
    broker.hub.create(Creator::Server, b"news", Some(Tid(77)));
    let identity = Identity { uid: b"client b".as_slice().into(), info: b"".as_slice().into() };
    let peer = Arc::new(Peer::client(Etid(77), identity, None, 0, Outbound::new(Framing::Raw, 1000)));
    let connack = Packet::Connack { code: ReturnCode::ACCEPTED, etid: Etid(77), reason: b"" };
    assert_eq!(broker.hub.connect(&mut broker.outbox, &peer, &connack), Err(InUse));
    let message = a.publish(Tid(77), "to the topic");
    broker.send(&mut a, &[subscribe("news"), message]);
    assert_eq!(a.received(), ["suback true news", "publish to the topic"]);
}

#[test]
fn a_client_that_ended_is_not_kept_by_what_it_observed_and_what_it_subscribed_to() {
    let mut broker = Broker::new();
    let (mut a, b) = (broker.connect("client a"), broker.connect("client b"));
    broker.hub.create(Creator::Server, b"news", Some(Tid(77)));
    let packets = [Packet::Observe { target: Target(77) }, Packet::Observe { target: b.etid().into() }];
    broker.send(&mut a, &packets);
    broker.send(&mut a, &[subscribe("news")]);
    broker.disconnect(&a);
    let peer = Arc::downgrade(&a.peer);
    drop(a);
    assert!(peer.upgrade().is_none());
}

#[test]
fn a_client_that_ended_holds_nothing_of_what_all_may_have_queued() {
    let mut broker = Broker::new();
    let mut client = broker.connect("client");
    *client.socket.room.lock() = 0;
    let message = client.publish(client.etid(), "it does not read");
    broker.send(&mut client, &[message]);
    assert!(client.peer.outbound.held() > 0);
    broker.disconnect(&client);
    assert_eq!(client.peer.outbound.held(), 0);
}

#[tokio::test]
async fn those_who_wait_for_a_clients_end_go_on_when_the_hub_has_forgotten_it() {
    let mut broker = Broker::new();
    let client = broker.connect("client");
    assert!(client.peer.is_alive());
    let peer = client.peer.clone();
    let waiting = tokio::spawn(async move { peer.ended().await });
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    broker.disconnect(&client);
    assert!(!client.peer.is_alive());
    let long = std::time::Duration::from_secs(30);
    tokio::time::timeout(long, waiting).await.expect("it goes on").unwrap();
    tokio::time::timeout(long, client.peer.ended()).await.expect("it does not wait");
}

#[test]
fn who_comes_during_a_shutdown_learns_the_farewell_and_who_comes_later_does_not() {
    let broker = Broker::new();
    let before = broker.hub.shutdowns();
    assert_eq!(before.farewell(), None);
    broker.hub.begin_shutdown(Some(b"good night"));
    let later = broker.hub.shutdowns();
    assert_eq!(before.farewell(), Some(Some(b"good night".as_slice().into())));
    assert_eq!(later.farewell(), None);
}

#[test]
fn the_server_does_not_get_what_was_published_before_it_subscribed() {
    let mut broker = Broker::new();
    let mut client = broker.connect("client");
    broker.hub.create(Creator::Server, b"news", Some(Tid(77)));
    let message = client.publish(Tid(77), "too early");
    broker.send_granted(&mut client, &[message]);
    broker.hub.subscribe_server(&mut broker.outbox, Tid(77));
    broker.outbox.flush();
    assert!(broker.hub.server().outbound.take().is_empty());
}

#[test]
fn what_the_server_has_taken_is_held_until_it_is_handled() {
    let mut broker = Broker::new();
    let mut client = broker.connect("client");
    let message = client.publish(SERVER_ETID, "to the server");
    broker.send(&mut client, &[message]);
    let server = broker.hub.server().clone();
    let count = server.outbound.take().len();
    assert_eq!(server.outbound.held(), count);
    broker.hub.server_took(count);
    assert_eq!(server.outbound.held(), 0);
}

/// Keeps what is to be logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Hooks for Log {
    fn log(&self, peer: &Arc<Peer>, text: String) {
        self.0.lock().push(format!("{peer} {text}"));
    }
}

#[test]
fn every_kind_of_refusal_by_a_limit_is_logged() {
    let refused = "client a client was refused 1 topics, subscriptions or observations: a limit of the hub";
    let check = |limits: Limits, packet: Packet<'_>| {
        let log = Log::default();
        let mut broker = Broker::with(Options { hooks: Box::new(log.clone()), limits, ..Options::default() });
        let mut a = broker.connect("a client");
        broker.send(&mut a, &[packet]);
        assert_eq!(*log.0.lock(), [refused], "{packet:?}");
    };
    check(Limits { created: 0, ..Limits::default() }, Packet::Create { name: b"news" });
    check(Limits { topics: 0, ..Limits::default() }, Packet::Create { name: b"news" });
    check(Limits { subtopics: 0, ..Limits::default() }, Packet::Createsub { name: b"news" });
    check(Limits { subscriptions: 0, ..Limits::default() }, subscribe("news"));
    check(Limits { observations: 0, ..Limits::default() }, Packet::Observe { target: Target(SERVER_ETID.0) });
}

#[test]
fn what_a_client_has_sent_that_is_ended_meanwhile_is_no_refusal_by_a_limit() {
    let log = Log::default();
    let mut broker = Broker::with(Options { hooks: Box::new(log.clone()), ..Options::default() });
    let mut client = broker.connect("a client");
    broker.disconnect(&client);
    broker.send(&mut client, &[subscribe("news"), Packet::Observe { target: Target(SERVER_ETID.0) }]);
    assert!(log.0.lock().is_empty(), "{:?}", log.0.lock());
}

#[test]
fn names_are_bounded_by_their_bytes_and_by_the_number_that_one_connection_creates() {
    for limits in [Limits { names: 6, ..Limits::default() }, Limits { created: 2, ..Limits::default() }] {
        let mut broker = Broker::with(Options { limits, ..Options::default() });
        let mut a = broker.connect("client a");
        let names = ["one", "two", "six", "one"].map(|name| Packet::Create { name: name.as_bytes() });
        broker.send(&mut a, &names);
        assert_eq!(
            a.received(),
            ["createack true one", "createack true two", "createack false six", "createack true one"]
        );
    }
}

#[test]
fn the_names_that_one_connection_creates_are_bounded_for_topics_and_subtopics_together() {
    let mut broker = Broker::with(Options { limits: Limits { created: 2, ..Limits::default() }, ..Options::default() });
    let mut a = broker.connect("client a");
    let subtopic = |name| Packet::Createsub { name };
    let packets = [Packet::Create { name: b"topic" }, subtopic(b"one"), subtopic(b"two"), subtopic(b"one")];
    broker.send(&mut a, &packets);
    let subtid = broker.hub.subtopic_number(b"one").map(u32::from);
    let ack = |granted, name| format!("{:?}", Packet::Createsuback(Ack { granted, name }));
    let expected = ["createack true topic".into(), ack(subtid, b"one"), ack(None, b"two"), ack(subtid, b"one")];
    assert_eq!(a.received(), expected);
}

#[test]
fn a_client_whose_etid_has_passed_to_another_changes_nothing_of_that() {
    let mut broker = Broker::new();
    let mut old = broker.connect("client a");
    let etid = old.etid();
    broker.disconnect(&old);
    let identity = Identity { uid: b"client a".as_slice().into(), info: b"".as_slice().into() };
    let outbound = Outbound::new(Framing::Raw, 1000);
    let new = Arc::new(Peer::client(etid, identity, None, 0, outbound));
    let connack = Packet::Connack { code: ReturnCode::ACCEPTED, etid, reason: b"" };
    broker.hub.connect(&mut broker.outbox, &new, &connack).unwrap();
    broker.hub.subscribe(&mut broker.outbox, &new, b"mine");
    let tid = broker.tid("mine");
    broker.send(&mut old, &[subscribe("news"), Packet::Unsubscribe { target: tid.into() }]);
    assert_eq!(broker.hub.subscriptions(etid), [tid]);
}

#[test]
fn a_read_that_goes_to_very_many_receivers_is_sent_in_parts_and_in_order() {
    let mut broker = Broker::new();
    let mut publisher = broker.connect("a publisher");
    let mut subscribers: Vec<Client> = (0..300).map(|index| broker.connect(&format!("client {index}"))).collect();
    for subscriber in &mut subscribers {
        broker.send(subscriber, &[subscribe("news")]);
        subscriber.received();
        *subscriber.socket.writes.lock() = 0;
    }
    let tid = broker.tid("news");
    let (news, other) = (publisher.publish(tid, "n"), publisher.publish(Target(7), ""));
    let packets: Vec<_> = (0..2000).map(|index| if index % 2 == 0 { news } else { other }).collect();
    broker.send(&mut publisher, &packets);
    for subscriber in &subscribers {
        assert_eq!(subscriber.received().len(), 1000);
        assert!(*subscriber.socket.writes.lock() > 1, "at once");
    }
}

/// Messages of this size are sent from where they are; smaller ones are copied together.
const LARGE: usize = 2000;

#[test]
fn large_messages_are_sent_with_as_few_writes_as_the_system_allows() {
    let mut broker = Broker::new();
    let (mut publisher, receiver) = (broker.connect("a publisher"), broker.connect("a receiver"));
    let payloads: Vec<String> = (0..2500).map(|index| format!("{index:LARGE$}")).collect();
    let other = publisher.publish(Target(7), "");
    let packets: Vec<_> =
        payloads.iter().flat_map(|payload| [publisher.publish(receiver.etid(), payload), other]).collect();
    *receiver.socket.writes.lock() = 0;
    broker.send(&mut publisher, &packets);
    let expected: Vec<_> = payloads.iter().map(|payload| format!("publish {payload}")).collect();
    assert!(receiver.received() == expected, "messages were lost, doubled or reordered");
    assert_eq!((*receiver.socket.writes.lock(), *receiver.socket.most_slices.lock()), (3, 1024));
}

#[test]
fn what_waits_is_sent_before_more_is_read_when_it_is_much_and_is_held_no_longer() {
    const MUCH: usize = 512 * 1024;
    let mut broker = Broker::new();
    let mut client = broker.connect("client");
    let message = client.publish(client.etid(), "x");
    broker.send_granted(&mut client, &[message]);
    broker.outbox.make_room();
    assert!(client.received().is_empty());
    broker.outbox.append(&vec![0; 8 * MUCH]);
    broker.outbox.make_room();
    assert_eq!(client.received(), ["publish x"]);
    assert!(broker.outbox.arena.is_empty());
    assert!(broker.outbox.arena.capacity() < 4 * MUCH);
}

#[test]
fn slots_of_peers_that_are_gone_are_used_again() {
    let slot = || Peer::server(Etid(1), Outbound::new(Framing::Raw, 0)).slot();
    // Other tests have peers at the same time, but never so many.
    assert!((0..20_000).all(|_| slot() < 10_000));
}

#[test]
fn packets_that_only_a_server_sends_close_a_client() {
    let mut broker = Broker::new();
    let mut a = broker.connect("client a");
    let change = Packet::Change { target: Target(1), subscribers: 1 };
    assert_eq!(broker.send(&mut a, &[change, Packet::Ping]), Outcome::Close(CloseReason::Protocol));
    assert!(a.received().is_empty());
}

struct AsksForSubscriptions;

impl Hooks for AsksForSubscriptions {
    fn interest(&self) -> Interest {
        Interest { permittop: true, ..Interest::default() }
    }
}

#[test]
fn packets_from_the_first_that_needs_the_owner_on_are_left_to_it() {
    let hooks = Box::new(AsksForSubscriptions);
    let mut broker = Broker::with(Options { hooks, ..Options::default() });
    let mut a = broker.connect("client a");
    let outcome = broker.send(&mut a, &[Packet::Ping, subscribe("news"), Packet::Ping]);
    assert_eq!(outcome, Outcome::Ask { from: 3, dropped: false });
    assert_eq!(a.received(), ["pong"]);
}
