//! What many clients do at once, on several threads of the server.

use std::thread;

use serde_json::json;

use crate::support::*;

const PEERS: &str = "local n = 0 for _ in hub:peers() do n = n + 1 end return n";

#[test]
fn clients_that_create_the_same_names_at_once_get_the_same_numbers() {
    let hub = Hub::new();
    let numbers: Vec<Vec<u32>> = thread::scope(|scope| {
        let clients: Vec<_> = (0..6)
            .map(|i| {
                let mut client = hub.connect(Via::ALL[i % 5], &format!("uid-{i:06}"));
                scope.spawn(move || {
                    let topics = (0..200).map(|n| format!("topic {n}"));
                    topics.flat_map(|name| [client.create(&name), client.createsub(&name)]).collect()
                })
            })
            .collect();
        clients.into_iter().map(|client| client.join().expect("all are granted")).collect()
    });
    assert!(numbers.windows(2).all(|pair| pair[0] == pair[1]));
}

#[test]
fn a_suback_precedes_the_first_message_and_none_is_lost_behind_it() {
    let hub = Hub::new();
    let mut publisher = hub.raw("publisher");
    let tid = publisher.create("topic");
    thread::scope(|scope| {
        let subscribers: Vec<_> = (0..4)
            .map(|i| {
                let hub = &hub;
                scope.spawn(move || {
                    for round in 0..40 {
                        let mut client = hub.connect(Via::BOTH[i % 2], &format!("uid-{i}-{round}"));
                        client.send(&subscribe("topic"));
                        client.expect(&ack(SUBACK, 0, tid, "topic"));
                        let first = number_at(&client.receive(), 9);
                        (1..5).for_each(|i| assert_eq!(number_at(&client.receive(), 9), first + i, "{client}"));
                    }
                })
            })
            .collect();
        let mut number = 0;
        while !subscribers.iter().all(|subscriber| subscriber.is_finished()) {
            publisher.publish(tid, number, "x");
            number += 1;
            if number % 16 == 0 {
                publisher.sync();
            }
        }
    });
}

#[test]
fn changes_tell_every_step_in_order() {
    const CLIENTS: u32 = 40;
    let hub = Hub::new();
    let mut observers = [hub.raw("observer 1"), hub.web("observer 2")];
    let tid = observers[0].create("topic");
    for observer in &mut observers {
        observer.send(&observe(tid));
        observer.expect(&change(tid, 0));
    }
    thread::scope(|scope| {
        for i in 0..CLIENTS as usize {
            let mut client = hub.connect(Via::ALL[i % 5], &format!("uid-{i:06}"));
            scope.spawn(move || {
                (0..10).for_each(|_| {
                    client.subscribe("topic");
                    client.send(&unsubscribe(tid));
                    client.sync();
                })
            });
        }
    });
    let steps = CLIENTS * 20;
    for observer in &mut observers {
        let mut subscribers = 0;
        for _ in 0..steps {
            let packet = observer.receive();
            assert_eq!((packet[0], number_at(&packet, 1)), (CHANGE, tid));
            let now = number_at(&packet, 5);
            assert_eq!(now.abs_diff(subscribers), 1, "{observer}: {now} after {subscribers}");
            subscribers = now;
        }
        assert_eq!(subscribers, 0);
        observer.expect_silence();
    }
}

#[test]
fn clients_that_fight_for_a_uid_leave_one() {
    let hub = Hub::that_records_lives();
    thread::scope(|scope| {
        for i in 0..6 {
            let hub = &hub;
            scope.spawn(move || {
                for _ in 0..15 {
                    let mut client = hub.open(Via::ALL[i % 5]);
                    client.send(&connect(b"uid-123456", b"", b""));
                    client.expect_accepted();
                    client.send(&ping());
                    match client.next() {
                        Ok(packet) => assert!(packet == pong() || packet == disconnect("reconnect")),
                        Err(End::Closed(_)) => {}
                        Err(end) => panic!("{end:?}"),
                    }
                }
            });
        }
    });
    hub.eventually(PEERS, 1);
    hub.eventually("return #events", 180);
    let alternating = "for i, e in ipairs(events) do
           if e[1] ~= (i % 2 == 1 and 'onconnect' or 'onclose') then return i end
        end
        return 'each ends before the next begins'";
    assert_eq!(hub.lua(alternating), json!("each ends before the next begins"));
    hub.raw("uid-123456").expect_silence();
}

#[test]
fn direct_messages_to_clients_that_come_and_go_harm_nobody() {
    let hub = Hub::with("ondrop = function() end");
    let mut target = hub.raw("uid-000000").etid;
    thread::scope(|scope| {
        let comings = scope.spawn(|| {
            for i in 0..60 {
                let mut client = hub.connect(Via::ALL[i % 5], &format!("uid-{:06}", i % 3));
                client.send(&subscribe("topic"));
                client.send(&ping());
                while client.next().is_ok_and(|packet| packet != pong()) {}
            }
        });
        let mut publisher = hub.web("publisher");
        let tid = publisher.create("topic");
        while !comings.is_finished() {
            publisher.send_together(&[publish(tid, publisher.etid, 0, "x"), publish(target, publisher.etid, 0, "x")]);
            publisher.sync();
            hub.lua("for sock, peer in hub:peers() do hub:publish('y', peer.tid) etid = peer.tid end");
            target = hub.lua("return etid").as_u64().expect("there is always somebody") as u32;
            // The server publishes to every peer, this one included.
            publisher.expect_set(&[publish(publisher.etid, SERVER, 0, "y")]);
            if target == publisher.etid {
                target = SERVER;
            }
        }
    });
    hub.eventually(PEERS, 1);
}

#[test]
fn a_shutdown_amid_arrivals_and_messages_ends_everybody() {
    let hub = Hub::that_records_lives();
    thread::scope(|scope| {
        let clients: Vec<_> = (0..6)
            .map(|i| {
                let hub = &hub;
                scope.spawn(move || {
                    for round in 0..10 {
                        let mut client = hub.open(Via::ALL[i % 5]);
                        client.send(&connect(format!("uid-{i}-{round}").as_bytes(), b"", b""));
                        client.send(&subscribe("topic"));
                        let packets: Vec<_> = std::iter::from_fn(|| client.next().ok()).collect();
                        // Who was not yet accepted is closed without a word.
                        if let Some(last) = packets.last() {
                            assert_eq!(describe(last), describe(&disconnect("bye")), "the last word of the server");
                        }
                    }
                })
            })
            .collect();
        while !clients.iter().all(|client| client.is_finished()) {
            hub.lua("hub:publish('x', 'topic') hub:shutdown('bye')");
        }
    });
    hub.eventually(PEERS, 1);
    let in_order = "local known = {}
        for _, event in ipairs(events) do
            local what, uid = event[1], event[2]
            if (what == 'onclose') ~= (known[uid] == true) then return what, uid end
            known[uid] = what == 'onconnect'
        end
        for uid, is_known in pairs(known) do if is_known then return 'no onclose', uid end end
        return 'who came has gone'";
    hub.eventually(in_order, "who came has gone");
    assert_eq!(
        hub.raw("afterwards").subscribe("topic"),
        hub.lua("return hub:topic2tid'topic'").as_u64().unwrap() as u32
    );
}

#[test]
fn what_a_message_makes_the_server_do_follows_what_its_publisher_sent_before() {
    let hub = Hub::new();
    hub.lua(
        "hub:onmsg(function(data, ptid)
           local other = tonumber(data:match'%d+')
           if data:match'kick' then hub:shutdown('bye', other) else hub:publish('reply', other) end
        end)",
    );
    for i in 0..40 {
        let mut publisher = hub.raw("publisher");
        let mut other = hub.connect(Via::ALL[i % 5], &format!("other-{i}"));
        let etid = other.etid;
        let to_other = publish(etid, publisher.etid, 0, "first");
        for (request, consequence) in [("reply", publish(etid, SERVER, 0, "reply")), ("kick", disconnect("bye"))] {
            let to_server = publish(SERVER, publisher.etid, 0, format!("{request} {etid}"));
            publisher.send_together(&[to_other.clone(), to_server]);
            other.expect(&to_other);
            other.expect(&consequence);
        }
        other.expect_closed();
    }
}

#[test]
fn a_successor_waits_for_the_callbacks_of_the_older_client_and_meets_nothing_of_it() {
    let ways = [
        ("permittop = function() wait() return true end", subscribe("topic")),
        ("onpublish = function() wait() return true end", publish(SERVER, 0, 0, "x")),
    ];
    for (i, (callback, mut packet)) in ways.into_iter().enumerate() {
        let hub = Hub::none();
        hub.lua("function wait() event('waits') while not go do ba.sleep(1) end event('goes on') end");
        hub.lua(&format!("hub = require'smq.hub'.create{{{callback}, onclose = function() event('onclose') end}}"));
        for via in Via::ALL {
            let mut old = hub.connect(via, "uid-123456");
            if i == 1 {
                // To itself: its successor gets the same etid.
                packet = publish(old.etid, old.etid, 0, "x");
            }
            old.send(&packet);
            hub.expect_events(json!([["waits"]]));
            let mut new = hub.open(via);
            new.send(&connect(b"uid-123456", b"", b""));
            old.expect(&disconnect("reconnect"));
            assert_eq!(hub.events(), json!([["waits"]]));
            hub.lua("go = true");
            new.expect_accepted();
            assert_eq!(new.etid, old.etid, "{new}");
            old.expect_closed();
            hub.expect_events(json!([["waits"], ["goes on"], ["onclose"]]));
            new.expect_silence();
            assert_eq!(
                hub.lua(&format!("return hub:etid2peer({}).topics", new.etid)),
                json!(null),
                "{new}: not its own"
            );
            hub.lua("go = false hub:shutdown()");
            hub.eventually(PEERS, 1);
            hub.clear_events();
        }
    }
}

#[test]
fn onclose_waits_for_an_onconnect_that_waits_and_whose_client_is_shut_down() {
    let hub = Hub::with(
        "onconnect = function() event'begins' while not go do ba.sleep(1) end event'ends' end,
         onclose = function() event'onclose' end",
    );
    let mut client = hub.raw("uid-123456");
    hub.expect_events(json!([["begins"]]));
    hub.lua("hub:shutdown'bye'");
    client.expect(&disconnect("bye"));
    assert_eq!(hub.events(), json!([["begins"]]));
    hub.lua("go = true");
    hub.expect_events(json!([["begins"], ["ends"], ["onclose"]]));
    client.expect_closed();
    hub.eventually(PEERS, 1);
}
