//! Clients that misbehave, stall or vanish, and the others that must not notice.

use std::io::Write;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use serde_json::json;

use crate::support::*;

const MEGABYTE: usize = 1 << 20;

/// A server of its own with one hub, for tests that look at its memory or load it.
fn own_hub() -> Hub {
    let hub = Hub::on(std::sync::Arc::new(Server::start(App::hubs())));
    hub.lua("hub = require'smq.hub'.create{onclose = function(tid, sock, peer, err) event(peer.uid, err) end}");
    hub
}

#[test]
fn a_subscriber_that_never_reads_slows_nobody_and_costs_bounded_memory() {
    for stalled in Via::BOTH {
        let hub = own_hub();
        let mut never_reads = hub.connect(stalled, "never-reads");
        let tid = never_reads.subscribe("topic");
        let before = hub.server.memory();
        publish_in_step(&hub, tid, 130);
        let grown = hub.server.memory().saturating_sub(before);
        assert!(grown < 64 * MEGABYTE, "the server grew by {} MB", grown / MEGABYTE);
        // Whoever runs the server can see who loses messages while it goes on.
        hub.server.expect_output("client never-reads");
        // It may read at last, or have been closed; both must leave the server as it was.
        drop(never_reads);
        hub.raw("afterwards").expect_silence();
    }
}

#[test]
fn many_subscribers_that_never_read_cost_bounded_memory_together() {
    let hub = own_hub();
    // Each of them alone may have 16 MiB queued, all together a GiB.
    let mut stalled: Vec<Client> = (0..120).map(|number| hub.raw(&format!("stalled-{number}"))).collect();
    let tids: Vec<u32> = stalled.iter_mut().map(|client| client.subscribe("topic")).collect();
    publish_in_step(&hub, tids[0], 30);
    let memory = hub.server.memory();
    assert!(memory < 1500 * MEGABYTE, "the server has {} MB", memory / MEGABYTE);
}

#[test]
fn the_same_holds_with_a_script_in_between() {
    let hub = own_hub();
    hub.lua("hub = require'smq.hub'.create{onpublish = function() return true end, ondrop = function() end}");
    hub.lua("hub:subscribe('topic', {onmsg = function() end})");
    let mut never_reads = hub.raw("never-reads");
    let tid = never_reads.subscribe("topic");
    let before = hub.server.memory();
    publish_in_step(&hub, tid, 60);
    let grown = hub.server.memory().saturating_sub(before);
    assert!(grown < 64 * MEGABYTE, "the server grew by {} MB", grown / MEGABYTE);
}

#[test]
fn the_hubs_log_hears_of_a_subscriber_that_loses_messages_and_its_name_is_no_line_of_its_own() {
    let hub = own_hub();
    hub.lua("hub = require'smq.hub'.create{log = function(sock, text) event(hub:sock2peer(sock).tid, text) end}");
    let mut never_reads = hub.raw("never\nreads");
    let tid = never_reads.subscribe("topic");
    hub.lua(&format!("for i = 1, 2000 do hub:publish(('x'):rep(60000), {tid}) end"));
    hub.eventually("return #events > 0", true);
    let events = hub.events();
    assert_eq!(events[0][0], never_reads.etid);
    let text = events[0][1].as_str().expect("a text");
    assert!(text.starts_with("client never\\nreads (127.0.0.1:"), "{text}");
    assert!(text.contains("does not read fast enough and has lost "), "{text}");
}

#[test]
fn without_a_log_option_the_server_logs_a_subscriber_that_loses_messages() {
    let hub = own_hub();
    let mut never_reads = hub.raw("never\nreads");
    let tid = never_reads.subscribe("topic");
    hub.lua(&format!("for i = 1, 2000 do hub:publish(('x'):rep(60000), {tid}) end"));
    hub.server.expect_output("client never\\nreads (127.0.0.1:");
    hub.server.expect_output("does not read fast enough and has lost ");
}

/// Publishes so many megabytes; a reader on each transport must get every message. Publisher and readers go in step, so
/// that no reader falls behind by more than one megabyte.
fn publish_in_step(hub: &Hub, tid: u32, megabytes: u32) {
    const STEP: u32 = 20;
    let payload = vec![0x5A; MEGABYTE / STEP as usize];
    let (done, steps) = mpsc::channel();
    thread::scope(|scope| {
        for via in Via::BOTH {
            let mut reader = hub.connect(via, &format!("reader {via:?}"));
            reader.subscribe("topic");
            let done = done.clone();
            scope.spawn(move || {
                for number in 0..megabytes * STEP {
                    let message = reader.receive();
                    assert_eq!((message[0], number_at(&message, 9)), (PUBLISH, number), "{reader}");
                    if number % STEP == STEP - 1 {
                        done.send(()).expect("the publisher waits for it");
                    }
                }
                reader.expect_silence();
            });
        }
        let mut publisher = hub.raw("publisher");
        for number in 0..megabytes * STEP {
            publisher.publish(tid, number, &payload);
            if number % STEP == STEP - 1 {
                Via::BOTH.iter().for_each(|_| steps.recv_timeout(PATIENCE).expect("the readers get on"));
            }
        }
        publisher.sync();
    });
}

#[test]
fn a_stalled_subscriber_that_closes_harms_nothing() {
    let hub = own_hub();
    for stalled in Via::BOTH {
        for reset in [false, true] {
            let mut never_reads = hub.connect(stalled, "never-reads");
            let tid = never_reads.subscribe("topic");
            let mut publisher = hub.raw("publisher");
            (0..400).for_each(|_| publisher.publish(tid, 0, vec![0; 50_000]));
            publisher.sync();
            if reset {
                never_reads.reset();
            } else {
                drop(never_reads);
            }
            publisher.publish(publisher.etid, 0, "well?");
            publisher.expect(&publish(publisher.etid, publisher.etid, 0, "well?"));
        }
    }
    hub.eventually("local n = 0 for _ in hub:peers() do n = n + 1 end return n", 1);
}

#[test]
fn a_stalled_subscriber_gets_whole_packets_in_order_when_it_reads_again() {
    let hub = own_hub();
    for stalled in Via::BOTH {
        let mut slow = hub.connect(stalled, "slow-one");
        let tid = slow.subscribe("topic");
        let mut publisher = hub.raw("publisher");
        for number in 1..=600 {
            publisher.publish(tid, number, vec![0x5A; 50_000]);
        }
        publisher.sync();
        let mut last = 0;
        slow.send(&ping());
        loop {
            match slow.next() {
                Ok(message) if message[0] == PONG => break,
                Ok(message) => {
                    let number = number_at(&message, 9);
                    assert_eq!((message[0], message.len()), (PUBLISH, 13 + 50_000));
                    assert!(number > last, "{number} came after {last}");
                    last = number;
                }
                // Closing a subscriber that cannot take its packets is allowed.
                Err(End::Closed(_)) => break,
                Err(end) => panic!("{end:?} after message {last}"),
            }
        }
        assert!(last > 0, "nothing came at all");
    }
}

#[test]
fn the_servers_own_publishes_do_not_wait_for_a_slow_subscriber() {
    let hub = own_hub();
    let mut never_reads = hub.raw("never-reads");
    never_reads.subscribe("topic");
    let mut reader = hub.web("reader");
    let tid = reader.subscribe("topic");
    for round in 0..40 {
        hub.lua("local data = ('x'):rep(50000) for i = 1, 10 do hub:publish(data, 'topic', i) end");
        for i in 1..=10 {
            let message = reader.receive();
            assert_eq!((number_at(&message, 1), number_at(&message, 9)), (tid, i), "round {round}");
        }
    }
    assert_eq!(hub.lua_all("return hub:queuesize()"), [json!(200), json!(0)]);
}

#[test]
fn idle_handshakes_hold_up_nothing() {
    let hub = Hub::with("readtmo = 120000");
    let idle: Vec<Client> = (0..40).map(|i| hub.open(Via::ALL[i % 5])).collect();
    assert_eq!(hub.server.get("/static.txt").body, "a file\n");
    assert_eq!(hub.lua("return 1 + 1"), json!(2));
    for via in Via::ALL {
        hub.connect(via, "uid-123456").sync();
    }
    drop(idle);
}

#[test]
fn connections_that_say_nothing_hold_up_nothing() {
    let hub = Hub::new();
    let silent: Vec<Stream> = (0..40).map(|_| hub.server.dial()).collect();
    hub.raw("uid-123456").sync();
    drop(silent);
}

#[test]
fn idle_handshakes_can_be_finished_in_any_order() {
    let hub = Hub::with("readtmo = 120000");
    let mut clients: Vec<Client> = (0..10).map(|i| hub.open(Via::ALL[i % 5])).collect();
    for (number, client) in clients.iter_mut().enumerate().rev() {
        client.login(&format!("uid-{number:06}"), "", "");
        client.sync();
    }
}

#[test]
fn a_publisher_that_floods_does_not_starve_a_bystander() {
    let hook = "onpublish = function() return true end";
    for options in ["", hook] {
        let hub = own_hub();
        hub.lua(&format!("hub = require'smq.hub'.create{{{options}}}"));
        let mut bystander = hub.raw("bystander");
        let mut flooder = hub.raw("flooder");
        let tid = flooder.create("nobody");
        let mut pings = 0;
        thread::scope(|scope| {
            let flood = scope.spawn(move || {
                let batch: Vec<Vec<u8>> = (0..1000).map(|_| publish(tid, flooder.etid, 0, "")).collect();
                (0..200).for_each(|_| flooder.send_together(&batch));
                flooder.sync();
            });
            while !flood.is_finished() {
                bystander.sync();
                pings += 1;
            }
            flood.join().expect("the flood got through");
        });
        assert!(pings >= 10, "only {pings} pings were answered meanwhile, with {options:?}");
    }
}

#[test]
fn a_client_that_publishes_and_never_reads_its_own_messages_can_go_on() {
    let hub = own_hub();
    for via in Via::BOTH {
        let mut client = hub.connect(via, "uid-123456");
        let tid = client.subscribe("topic");
        let before = hub.server.memory();
        (0..1500).for_each(|_| client.publish(tid, 0, vec![0; 50_000]));
        let grown = hub.server.memory().saturating_sub(before);
        assert!(grown < 64 * MEGABYTE, "the server grew by {} MB", grown / MEGABYTE);
        hub.raw("bystander").sync();
    }
}

#[test]
fn a_client_that_asks_and_never_reads_the_answers_costs_bounded_memory() {
    let hub = own_hub();
    let mut client = hub.raw("uid-123456");
    let name = "n".repeat(50_000);
    client.create(&name);
    let before = hub.server.memory();
    let request = frame(&create(&name));
    // Control packets are never dropped: the server stops reading, or closes the connection.
    for _ in 0..2000 {
        let stream = client.stream();
        stream.socket().set_write_timeout(Some(Duration::from_millis(300))).expect("the time is not zero");
        if stream.write_all(&request).is_err() {
            break;
        }
    }
    let grown = hub.server.memory().saturating_sub(before);
    assert!(grown < 64 * MEGABYTE, "the server grew by {} MB", grown / MEGABYTE);
    hub.raw("bystander").sync();
}

#[test]
fn random_bytes_close_only_their_own_connection() {
    let hub = Hub::new();
    let mut well_behaved = hub.raw("well-behaved");
    let mut state = 0x2545_F491_u32;
    let mut random = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state
    };
    for round in 0..60 {
        let mut client = hub.connect(Via::BOTH[round % 2], "uid-123456");
        let bytes: Vec<u8> = (0..random() % 300).map(|_| random() as u8).collect();
        client.send_bytes(&bytes);
        well_behaved.expect_silence();
    }
    drop(well_behaved);
    hub.eventually("local n = 0 for _ in hub:peers() do n = n + 1 end return n", 1);
}

#[test]
fn random_packets_never_take_the_server_down() {
    let hub = Hub::with(
        "onpublish = function() return true end, ondrop = function() end, permittop = function() return true end",
    );
    let mut state = 0x1234_5678_u32;
    let mut random = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state
    };
    for round in 0..200 {
        let mut client = hub.connect(Via::BOTH[round % 2], "uid-123456");
        for _ in 0..5 {
            let kind = (random() % 22) as u8;
            let body: Vec<u8> = (0..random() % 24).map(|_| random() as u8 & 3).collect();
            client.send(&packet(kind, &[&body]));
        }
    }
    hub.eventually("local n = 0 for _ in hub:peers() do n = n + 1 end return n", 1);
    hub.raw("afterwards").sync();
}

#[test]
fn hundreds_of_clients_at_once() {
    let hub = own_hub();
    let mut clients: Vec<Client> = (0..300).map(|i| hub.connect(Via::BOTH[i % 2], &format!("uid-{i:06}"))).collect();
    let tid = clients.iter_mut().map(|client| client.subscribe("topic")).last().expect("there are some");
    hub.lua("hub:publish('to all', 'topic')");
    clients.iter_mut().for_each(|client| client.expect(&publish(tid, SERVER, 0, "to all")));
    drop(clients);
    hub.eventually("return #events", 300);
}
