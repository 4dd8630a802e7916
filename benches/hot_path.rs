//! The steps of a message's way, each alone: to find a regression on one core within a minute. `cargo bench`.

use std::io::{self, IoSlice};
use std::sync::Arc;
use std::time::Duration;

use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, Divan, black_box};
use mlua::{Function, Lua, Table, Value};
use smq::bindings::ba::json;
use smq::bindings::callback::{Call, Calls, Ran, Runners};
use smq::broker::outbound::{Outbound, Writer};
use smq::broker::outbox::{Outbox, Span};
use smq::broker::peer::{Identity, Peer};
use smq::broker::session::Session;
use smq::broker::{Creator, Hub, Options};
use smq::protocol::{Etid, Packet, Publish, ReturnCode, Subtid, Target, decode_frame};
use smq::transport::{Framing, websocket};

/// Messages of one read.
const BATCH: usize = 100;
const PAYLOAD: [u8; 64] = [b'.'; 64];
const JSON: &[u8] = br#"{"id":17,"name":"thermometer","readings":[19.5,20.25,21],"on":true,"note":"caf\u00e9"}"#;

fn main() {
    // Two seconds each: less is at the mercy of what else the machine does.
    Divan::default().min_time(Duration::from_secs(2)).config_with_args().main();
}

/// Takes everything.
struct Sink;

impl Writer for Sink {
    fn try_write(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        Ok(parts.iter().map(|part| part.len()).sum())
    }
}

/// A hub whose sockets take everything.
struct Broker {
    hub: Hub,
    outbox: Outbox,
}

impl Broker {
    fn new() -> Self {
        Self { hub: Hub::new(Options::default()), outbox: Outbox::default() }
    }

    fn connect(&mut self, number: usize, framing: Framing) -> Arc<Peer> {
        let etid = self.hub.new_etid();
        let identity = Identity { uid: format!("client-{number}").as_bytes().into(), info: b"".as_slice().into() };
        let outbound = Outbound::new(framing, self.hub.limits().queued);
        let peer = Arc::new(Peer::client(etid, identity, None, 0, outbound));
        let connack = Packet::Connack { code: ReturnCode::ACCEPTED, etid, reason: b"" };
        assert!(self.hub.connect(&mut self.outbox, &peer, &connack).is_ok());
        peer.outbound.open(Box::new(Sink));
        self.outbox.flush();
        peer
    }

    /// A publisher, and a read of its messages to a topic with subscribers.
    fn publisher(&mut self, subscribers: usize, framing: Framing) -> (Session, Vec<u8>) {
        for number in 0..subscribers {
            let subscriber = self.connect(number, framing);
            self.hub.subscribe(&mut self.outbox, &subscriber, b"news");
        }
        let publisher = self.connect(subscribers, Framing::Raw);
        self.hub.create(Creator::Server, b"news", None);
        self.outbox.flush();
        let tid = self.hub.topic_number(b"news").unwrap_or_default();
        (Session::new(self.hub.clone(), publisher.clone()), messages(tid.into(), publisher.etid()))
    }

    fn publish(&mut self, session: &mut Session, read: &[u8]) {
        let span: Span = self.outbox.append(read);
        black_box(session.handle(&mut self.outbox, span));
        self.outbox.flush();
    }
}

/// Raw frames of one read.
fn messages(target: Target, publisher: Etid) -> Vec<u8> {
    let mut frames = Vec::new();
    for _ in 0..BATCH {
        let publish = Publish { target, publisher, subtid: Subtid(0), payload: &PAYLOAD };
        Packet::Publish(publish).encode(&mut frames).unwrap();
    }
    frames
}

#[divan::bench]
fn decode(bencher: Bencher) {
    let frames = messages(Target(7), Etid(8));
    bencher.counter(ItemsCount::new(BATCH)).bench(|| {
        let mut rest = &frames[..];
        while let Ok(Some((packet, length))) = decode_frame(black_box(rest)) {
            black_box(packet);
            rest = &rest[length..];
        }
    });
}

/// Read, route and flush; items are deliveries.
#[divan::bench(args = [1, 10, 100])]
fn route(bencher: Bencher, subscribers: usize) {
    let mut broker = Broker::new();
    let (mut session, read) = broker.publisher(subscribers, Framing::Raw);
    bencher.counter(ItemsCount::new(BATCH * subscribers)).bench_local(|| broker.publish(&mut session, &read));
}

/// The same to WebSocket subscribers.
#[divan::bench(args = [1, 100])]
fn route_to_websockets(bencher: Bencher, subscribers: usize) {
    let mut broker = Broker::new();
    let (mut session, read) = broker.publisher(subscribers, Framing::WebSocket);
    bencher.counter(ItemsCount::new(BATCH * subscribers)).bench_local(|| broker.publish(&mut session, &read));
}

/// One message per read to the only subscriber of one of so many topics.
#[divan::bench(args = [10, 10_000])]
fn route_with_topics(bencher: Bencher, topics: usize) {
    let mut broker = Broker::new();
    let (mut session, read) = broker.publisher(1, Framing::Raw);
    for number in 0..topics {
        broker.hub.create(Creator::Server, format!("topic {number}").as_bytes(), None);
    }
    let message = &read[..read.len() / BATCH];
    bencher.counter(ItemsCount::new(1usize)).bench_local(|| broker.publish(&mut session, message));
}

#[divan::bench]
fn websocket_decode(bencher: Bencher) {
    let mut read = Vec::new();
    for _ in 0..BATCH {
        read.extend_from_slice(&[0x82, 0x80 | 77, 1, 2, 3, 4]);
        read.extend_from_slice(&[0x55; 77]);
    }
    let (mut packets, mut answers) = (Vec::new(), Vec::new());
    bencher.counter(ItemsCount::new(BATCH)).counter(BytesCount::new(read.len())).bench_local(|| {
        packets.clear();
        black_box(websocket::Decoder::default().decode(black_box(&read), &mut packets, &mut answers));
    });
}

#[divan::bench]
fn websocket_encode(bencher: Bencher) {
    let mut arena = messages(Target(7), Etid(8));
    let length = arena.len();
    bencher.counter(ItemsCount::new(BATCH)).counter(BytesCount::new(length)).bench_local(|| {
        arena.truncate(length);
        websocket::convert_within(black_box(&mut arena), 0..length);
    });
}

/// `onpublish` for the messages of a read.
struct Questions {
    lua: Lua,
    onpublish: Function,
    peer: Table,
    left: usize,
}

impl Calls for Questions {
    fn next(&mut self, result: Option<bool>) -> mlua::Result<Option<Call>> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        let data = Value::String(self.lua.create_string(PAYLOAD)?);
        let mut call = Call { data, ptid: 8, tid: 7, subtid: 0, callback: None, peer: None };
        if result.is_none() {
            call.callback = Some(self.onpublish.clone());
            call.peer = Some(self.peer.clone());
        }
        Ok(Some(call))
    }
}

/// A Lua hook, asked about one message and about many.
#[divan::bench(args = [1, BATCH])]
fn lua_hook(bencher: Bencher, messages: usize) {
    let lua = Lua::new();
    let onpublish: Function = lua.load("function(data, ptid, tid, subtid, peer) return true end").eval().unwrap();
    let peer = lua.create_table().unwrap();
    let runners = Runners::new(&lua);
    bencher.counter(ItemsCount::new(messages)).bench_local(|| {
        let (lua, onpublish, peer) = (lua.clone(), onpublish.clone(), peer.clone());
        let questions = Questions { lua, onpublish, peer, left: messages };
        assert!(matches!(runners.run(questions), Ran::All(_)));
    });
}

#[divan::bench]
fn json_decode(bencher: Bencher) {
    let lua = Lua::new();
    bencher.counter(BytesCount::new(JSON.len())).bench_local(|| black_box(json::decode(&lua, black_box(JSON)).is_ok()));
}

#[divan::bench]
fn json_encode(bencher: Bencher) {
    let lua = Lua::new();
    let Ok(value) = json::decode(&lua, JSON) else { panic!("the text is JSON") };
    let table: &Table = value.as_table().unwrap();
    bencher.counter(BytesCount::new(JSON.len())).bench_local(|| json::encode(black_box(table)).unwrap());
}
