//! Many clients at once that do whatever a client can, in good order and in bad, and what holds nevertheless: nobody
//! misses a message, gets one twice, damaged or out of its publisher's order; every change is told; who came is gone.
//!
//! What each client does follows from a seed; what it meets is up to the server's threads. Longer, and otherwise:
//! `CHAOS_LIVES=500 CHAOS_SEED=7 cargo test --test wire chaos`.

use std::collections::{HashMap, VecDeque};
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use serde_json::json;

use crate::support::*;

const TOPICS: [&str; 4] = ["north", "east", "south", "west"];
const WITNESSES: [Via; 4] = [Via::Raw, Via::WebSocket, Via::RawTls, Via::WebSocketTls];
/// Threads whose clients live one after the other.
const ACTORS: u32 = 10;
/// The life that publishes last, one message to each topic.
const LAST: u32 = 0;

/// The server's own messages count as those of this life.
const SERVER_LIFE: u32 = u32::MAX;

/// Asks Lua about everything, and has it witness the messages, too, and the end of each client.
const EVERY_CALLBACK: &str = "
    present, observed, counts = {}, {}, {}
    local function yes() return true end
    hub = require'smq.hub'.create{
       onconnect = function(tid, info, peer)
          if present[peer] then event('came twice', tid) end
          present[peer] = true
          if observed[tid] then event('came before its predecessor went', tid) end
          observed[tid] = hub:observe(tid, function()
             if observed[tid] ~= peer then event('not the end of this one', tid) end
             observed[tid] = nil
          end) and peer
       end,
       onclose = function(tid, sock, peer) if not present[peer] then event('never came', tid) end present[peer] = nil end,
       onpublish = yes, permittop = yes, permitsubtop = yes,
    }
    for _, topic in ipairs{'north', 'east', 'south', 'west'} do
       hub:subscribe(topic, {onmsg = function(data)
          local life, number = ('>I4I4'):unpack(data)
          local key = topic .. life
          if number ~= (counts[key] or 0) then event('not the next', topic, life, number, counts[key]) end
          counts[key] = number + 1
       end})
    end";

#[test]
fn whatever_clients_do_at_once_messages_arrive_whole_once_and_in_order() {
    Chaos::on(Hub::new()).run(0);
}

#[test]
fn and_likewise_where_lua_is_asked_about_everything() {
    let hub = Hub::none();
    hub.lua(EVERY_CALLBACK);
    let chaos = Chaos::on(hub);
    chaos.run(1);
    let hub = &chaos.hub;
    hub.eventually("return next(present) == nil and next(observed) == nil", true);
    for topic in TOPICS {
        hub.eventually(&format!("return counts['{topic}{LAST}']"), 1);
        assert_eq!(hub.lua(&format!("return counts['{topic}{SERVER_LIFE}'] == sent.{topic}")), json!(true));
    }
    assert_eq!(hub.events(), json!([]));
}

/// What the clients of one hub share.
struct Chaos {
    hub: Hub,
    tids: Vec<u32>,
    /// Of those who came lately.
    etids: Mutex<VecDeque<u32>>,
    /// (topic, life) of those whose every message was taken by the server before they went, and how many.
    complete: Mutex<HashMap<(u32, u32), u32>>,
}

impl Chaos {
    fn on(hub: Hub) -> Self {
        let mut client = hub.raw("names the topics");
        let tids = TOPICS.map(|topic| client.create(topic)).to_vec();
        hub.lua(SERVER_ACTS);
        Self { hub, tids, etids: Mutex::default(), complete: Mutex::default() }
    }

    /// `server_subscribes` is how many subscribers of each topic are the server's own.
    fn run(&self, server_subscribes: u32) {
        let (seed, lives) = (setting("CHAOS_SEED", 1), setting("CHAOS_LIVES", 30));
        let staying: Vec<_> = WITNESSES.iter().map(|&via| Witness::of(self, via)).collect();
        thread::scope(|scope| {
            let staying: Vec<_> = staying.into_iter().map(|witness| scope.spawn(|| witness.watch())).collect();
            let actors = (0..ACTORS).map(|actor| {
                scope.spawn(move || {
                    let mut rng = StdRng::seed_from_u64(u64::from(seed) << 32 | u64::from(actor));
                    (0..lives).for_each(|i| Life::begin(self, &mut rng, 1 + actor * lives + i).live());
                })
            });
            let actors: Vec<_> = actors.collect();
            let mut rng = StdRng::seed_from_u64(u64::from(seed) << 32 | u64::from(ACTORS));
            while !actors.iter().all(|actor| actor.is_finished()) {
                self.server_acts(&mut rng, server_subscribes);
            }
            for actor in actors {
                actor.join().unwrap_or_else(|_| panic!("an actor failed, see above; CHAOS_SEED={seed}"));
            }
            self.server_is_complete();
            let alone = WITNESSES.len() + 1;
            self.hub.eventually("local n = 0 for _ in hub:peers() do n = n + 1 end return n", alone);
            let mut last = self.hub.raw("publishes last");
            self.tids.iter().for_each(|&tid| last.publish(tid, 0, content(LAST, 0, 0)));
            last.sync();
            for witness in staying {
                witness.join().expect("a witness has said what it saw").check(self, server_subscribes);
            }
        });
    }
}

/// What a script does meanwhile.
const SERVER_ACTS: &str = "
    sent = {}
    function act(topic, count, filler, life)
       for _ = 1, count do
          local number = sent[topic] or 0
          sent[topic] = number + 1
          hub:publish(('>I4I4I4'):pack(life, number, filler) .. string.char(number & 0xFF):rep(filler), topic)
       end
    end";

impl Chaos {
    fn server_acts(&self, rng: &mut StdRng, server_subscribes: u32) {
        let topic = *TOPICS.choose(rng).expect("there are topics");
        let (count, filler) = (rng.random_range(1..40), [0, 5, 5000].choose(rng).copied().unwrap_or_default());
        let publishes = format!("act('{topic}', {count}, {filler}, {SERVER_LIFE})");
        let comes_and_goes = if server_subscribes == 0 {
            format!(
                "hub:subscribe('{topic}', {{onmsg = function() end}}) hub:publish('y', 'self') hub:unsubscribe'{topic}'"
            )
        } else {
            // Of a client that may be connected, or gone, or about to come again.
            let etid = *self.etids.lock().expect("no actor failed").back().unwrap_or(&1);
            format!(
                "if hub:etid2peer(hub:create('topic {count}', {etid})) then event('a topic and a client', {etid}) end"
            )
        };
        self.hub.lua(&format!("{publishes} {comes_and_goes}"));
    }

    /// Every message of the server must have been taken.
    fn server_is_complete(&self) {
        let mut complete = self.complete.lock().expect("no actor failed");
        for (topic, &tid) in TOPICS.iter().zip(&self.tids) {
            let sent = self.hub.lua(&format!("return sent.{topic} or 0"));
            let sent = sent.as_u64().expect("a number") as u32;
            if sent > 0 {
                complete.insert((tid, SERVER_LIFE), sent);
            }
        }
    }
}

/// The number in this environment variable.
fn setting(name: &str, default: u32) -> u32 {
    std::env::var(name).map_or(default, |value| value.parse().unwrap_or_else(|_| panic!("{name}={value}: no number")))
}

/// A message that tells who sent it, its place among that life's messages to the topic, and its own length.
fn content(life: u32, number: u32, filler: usize) -> Vec<u8> {
    [&life.to_be_bytes()[..], &number.to_be_bytes(), &(filler as u32).to_be_bytes(), &vec![number as u8; filler]]
        .concat()
}

/// The life and number of a message that has arrived as it was sent.
fn undamaged(packet: &[u8]) -> Result<(u32, u32), String> {
    let (life, number) = (number_at(packet, 13), number_at(packet, 17));
    let whole = content(life, number, number_at(packet, 21) as usize);
    if packet[13..] == whole { Ok((life, number)) } else { Err(format!("damaged: {}", describe(packet))) }
}

/// A client that stays, is subscribed to all topics and observes them.
struct Witness {
    client: Client,
    /// How many messages came, by topic and life.
    counts: HashMap<(u32, u32), u32>,
    /// By topic, as last told.
    subscribers: HashMap<u32, u32>,
}

impl Witness {
    fn of(chaos: &Chaos, via: Via) -> Self {
        let mut client = chaos.hub.connect(via, &format!("witness {via:?}"));
        let mut subscribers = HashMap::new();
        for (topic, &tid) in TOPICS.iter().zip(&chaos.tids) {
            client.subscribe(topic);
            client.send(&observe(tid));
            let change = client.receive();
            assert_eq!((change[0], number_at(&change, 1)), (CHANGE, tid), "{client}: {}", describe(&change));
            subscribers.insert(tid, number_at(&change, 5));
        }
        Self { client, counts: HashMap::new(), subscribers }
    }

    /// Reads until the last life has published.
    fn watch(mut self) -> Self {
        let mut endings = 0;
        while endings < TOPICS.len() {
            let packet = self.client.receive();
            let tid = number_at(&packet, 1);
            match packet[0] {
                PUBLISH => {
                    let (life, number) = undamaged(&packet).unwrap_or_else(|what| panic!("{}: {what}", self.client));
                    let count = self.counts.entry((tid, life)).or_default();
                    assert_eq!(number, *count, "{}: not the next of life {life} in topic {tid}", self.client);
                    *count += 1;
                    endings += usize::from(life == LAST);
                }
                CHANGE => {
                    let now = number_at(&packet, 5);
                    let before = self.subscribers.insert(tid, now).expect("of an observed topic");
                    assert_eq!(now.abs_diff(before), 1, "{}: {now} after {before} in topic {tid}", self.client);
                }
                _ => panic!("{}: what is {}", self.client, describe(&packet)),
            }
        }
        self
    }

    /// What must be true when all others have gone.
    fn check(&self, chaos: &Chaos, server_subscribes: u32) {
        let complete = chaos.complete.lock().expect("no actor failed");
        assert!(!complete.is_empty(), "nobody left in good order");
        for (key, count) in &*complete {
            assert_eq!(self.counts.get(key), Some(count), "{}: messages of (topic, life) {key:?}", self.client);
        }
        for (tid, &subscribers) in &self.subscribers {
            assert_eq!(subscribers, server_subscribes + WITNESSES.len() as u32, "{}: topic {tid}", self.client);
        }
    }
}

/// One client from its coming to its going.
struct Life<'a> {
    chaos: &'a Chaos,
    rng: &'a mut StdRng,
    number: u32,
    via: Via,
    client: Client,
    /// Whether others come with the same uid and end it.
    is_contested: bool,
    /// Types and names of the answers that the server owes.
    owed: VecDeque<(u8, Vec<u8>)>,
    /// How many messages went to each topic.
    sent: HashMap<u32, u32>,
    /// The number of the next message, by topic and life, since the last Suback of the topic.
    next: HashMap<(u32, u32), u32>,
}

impl<'a> Life<'a> {
    fn begin(chaos: &'a Chaos, rng: &'a mut StdRng, number: u32) -> Self {
        let via = *Via::ALL.choose(rng).expect("there are ways");
        let is_contested = rng.random_bool(0.2);
        let uid = if is_contested { format!("shared-{}", rng.random_range(0..4)) } else { format!("life-{number}") };
        let mut client = chaos.hub.open(via);
        client.send(&connect(uid.as_bytes(), b"", b""));
        client.name = format!("life {number}, {uid}");
        let (owed, sent, next) = Default::default();
        Self { chaos, rng, number, via, client, is_contested, owed, sent, next }
    }

    fn live(mut self) {
        if !self.enters() {
            return;
        }
        for _ in 0..self.rng.random_range(1..25) {
            self.act();
        }
        self.leave();
    }

    /// Whether it is in, and nobody else took its place.
    fn enters(&mut self) -> bool {
        if self.is_contested {
            let Ok(connack) = self.client.next() else { return false };
            self.client.etid = number_at(&connack, 2);
        } else {
            self.client.expect_accepted();
        }
        let mut etids = self.chaos.etids.lock().expect("no actor failed");
        etids.push_back(self.client.etid);
        if etids.len() > 20 {
            etids.pop_front();
        }
        true
    }

    fn act(&mut self) {
        let topic = self.rng.random_range(0..TOPICS.len());
        let (name, tid) = (TOPICS[topic], self.chaos.tids[topic]);
        match self.rng.random_range(0..20) {
            0..4 => self.ask(&subscribe(name), SUBACK, name),
            4 => self.ask(
                &create(format!("topic {}", self.number % 50)),
                CREATEACK,
                &format!("topic {}", self.number % 50),
            ),
            5 => self.ask(&createsub(name), CREATESUBACK, name),
            6 => self.client.send(&unsubscribe(tid)),
            7 => self.watch(observe),
            8 => self.watch(unobserve),
            9 => self.write_to_somebody(),
            10 => self.ask(&ping(), PONG, ""),
            11 if !self.is_contested => self.listen(),
            12 => thread::sleep(Duration::from_millis(self.rng.random_range(0..5))),
            13..15 if !self.via.is_websocket() => self.publish_in_fragments(tid),
            _ => self.publish_many(tid),
        }
    }

    fn ask(&mut self, request: &[u8], answer: u8, name: &str) {
        self.client.send(request);
        self.owed.push_back((answer, name.into()));
    }

    fn watch(&mut self, packet: fn(u32) -> Vec<u8>) {
        let id = if self.rng.random() { self.chaos.tids[0] } else { self.somebody() };
        self.client.send(&packet(id));
    }

    fn somebody(&mut self) -> u32 {
        let etids = self.chaos.etids.lock().expect("no actor failed");
        *etids.iter().collect::<Vec<_>>().choose(self.rng).copied().expect("itself at least")
    }

    fn write_to_somebody(&mut self) {
        let etid = self.somebody();
        self.client.publish(etid, 7, content(self.number, 0, 100));
    }

    /// The next message for a topic.
    fn message(&mut self, tid: u32) -> Vec<u8> {
        let count = self.sent.entry(tid).or_default();
        let filler = *[0, 5, 50, 500, 5000].choose(self.rng).expect("there are lengths");
        *count += 1;
        content(self.number, *count - 1, filler)
    }

    fn publish_many(&mut self, tid: u32) {
        let (count, etid) = (self.rng.random_range(1..40), self.client.etid);
        let packets: Vec<_> = (0..count).map(|_| publish(tid, etid, 0, self.message(tid))).collect();
        self.client.send_together(&packets);
    }

    fn publish_in_fragments(&mut self, tid: u32) {
        let message = self.message(tid);
        let (first, rest) = message.split_at(self.rng.random_range(0..=message.len()));
        let packets = [pubfrag(0, 0, 0, first), ping(), pubfrag(tid, self.client.etid, 3, rest)];
        self.client.send_together(&packets);
        self.owed.push_back((PONG, Vec::new()));
    }

    /// Reads until the server owes nothing.
    fn listen(&mut self) {
        self.ask(&ping(), PONG, "");
        while !self.owed.is_empty() {
            let packet = self.client.receive();
            self.take(&packet);
        }
    }

    fn take(&mut self, packet: &[u8]) {
        match packet[0] {
            PUBLISH => self.take_message(packet),
            CHANGE => {}
            kind => {
                let name = packet.get(6..).unwrap_or_default().to_vec();
                assert_eq!(self.owed.pop_front(), Some((kind, name)), "{}: {}", self.client, describe(packet));
                if kind == SUBACK {
                    let tid = number_at(packet, 2);
                    self.next.retain(|(topic, _), _| *topic != tid);
                }
            }
        }
    }

    fn take_message(&mut self, packet: &[u8]) {
        let tid = number_at(packet, 1);
        let (life, number) = undamaged(packet).unwrap_or_else(|what| panic!("{}: {what}", self.client));
        if tid != self.client.etid {
            let next = self.next.entry((tid, life)).or_insert(number);
            assert_eq!(number, *next, "{}: not the next of life {life} in topic {tid}", self.client);
            *next += 1;
        }
    }

    fn leave(mut self) {
        match self.rng.random_range(0..10) {
            0..3 if !self.is_contested => {
                self.listen();
                self.client.send(&disconnect(""));
                self.is_complete();
            }
            3..5 if !self.is_contested => {
                self.client.send(&disconnect(""));
                self.read_to_the_end();
                self.is_complete();
            }
            5 => self.client.reset(),
            6 => {
                self.client.send_bytes(&[0, 99, PUBLISH, 1]);
                self.client.reset();
            }
            7 => {
                self.client.send(&[99]);
                self.read_to_the_end();
            }
            8 => {
                self.chaos.hub.lua(&format!("hub:shutdown('bye', {})", self.client.etid));
                self.read_to_the_end();
            }
            // Dropped, whatever the server still says.
            _ => {}
        }
    }

    /// Reads until the server ends the connection.
    fn read_to_the_end(&mut self) {
        loop {
            match self.client.next() {
                Ok(packet) if packet[0] == DISCONNECT || self.is_contested => {}
                Ok(packet) => self.take(&packet),
                Err(End::Closed(_)) => return,
                Err(end) => panic!("{}: {end:?}", self.client),
            }
        }
    }

    /// Every message must have been taken.
    fn is_complete(&self) {
        let counts = self.sent.iter().map(|(&tid, &count)| ((tid, self.number), count));
        self.chaos.complete.lock().expect("no actor failed").extend(counts);
    }
}
