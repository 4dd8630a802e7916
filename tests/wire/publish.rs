//! Where a message goes, what it carries, and in which order.

use serde_json::json;

use crate::support::*;

#[test]
fn a_message_reaches_every_subscriber_and_the_publisher_too() {
    let hub = Hub::new();
    let mut clients: Vec<Client> = Via::ALL.iter().map(|via| hub.connect(*via, &format!("uid {via:?}"))).collect();
    let tids: Vec<u32> = clients.iter_mut().map(|client| client.subscribe("topic")).collect();
    for publisher in 0..clients.len() {
        let ptid = clients[publisher].etid;
        clients[publisher].publish(tids[0], 5, "hello");
        clients.iter_mut().for_each(|client| client.expect(&publish(tids[0], ptid, 5, "hello")));
    }
    clients.iter_mut().for_each(Client::expect_silence);
}

#[test]
fn a_publisher_without_a_subscription_hears_nothing() {
    let hub = Hub::new();
    let (mut subscriber, mut publisher) = (hub.web("subscriber"), hub.raw("publisher"));
    let tid = subscriber.subscribe("topic");
    publisher.publish(tid, 0, "hello");
    publisher.expect_silence();
    subscriber.expect(&publish(tid, publisher.etid, 0, "hello"));
}

#[test]
fn neither_permission_nor_subscription_is_needed_to_publish() {
    let hub = Hub::with("permittop = function(topic, issub) return issub end");
    let (mut subscriber, mut publisher) = (hub.raw("subscriber"), hub.raw("publisher"));
    let tid = subscriber.subscribe("topic");
    publisher.publish(tid, 0, "hello");
    subscriber.expect(&publish(tid, publisher.etid, 0, "hello"));
}

#[test]
fn subscribers_of_other_topics_hear_nothing() {
    let hub = Hub::new();
    let (mut one, mut two) = (hub.raw("uid-one"), hub.raw("uid-two"));
    let (a, b) = (one.subscribe("a"), two.subscribe("b"));
    one.publish(b, 0, "for two");
    two.publish(a, 0, "for one");
    one.expect(&publish(a, two.etid, 0, "for one"));
    two.expect(&publish(b, one.etid, 0, "for two"));
    one.expect_silence();
    two.expect_silence();
}

#[test]
fn a_direct_message_reaches_just_its_client() {
    let hub = Hub::new();
    for (from, to) in [(Via::Raw, Via::WebSocket), (Via::WebSocket, Via::Raw), (Via::RawTls, Via::WebSocketTls)] {
        let (mut from, mut to, mut other) =
            (hub.connect(from, "from-1"), hub.connect(to, "to-123"), hub.raw("other-1"));
        from.publish(to.etid, 9, "psst");
        to.expect(&publish(to.etid, from.etid, 9, "psst"));
        to.publish(from.etid, 0, "reply");
        from.expect(&publish(from.etid, to.etid, 0, "reply"));
        other.expect_silence();
    }
}

#[test]
fn a_client_may_send_to_itself() {
    let hub = Hub::new();
    for via in Via::BOTH {
        let mut client = hub.connect(via, "uid-123456");
        client.publish(client.etid, 1, "note");
        client.expect(&publish(client.etid, client.etid, 1, "note"));
    }
}

#[test]
fn a_message_to_the_server_reaches_its_callback() {
    let hub = Hub::with("onmsg = function(data, ptid, tid, subtid) event(data, ptid, tid, subtid) end");
    for via in Via::BOTH {
        hub.clear_events();
        let mut client = hub.connect(via, "uid-123456");
        client.publish(SERVER, 7, "hello\0\u{1}");
        client.sync();
        hub.expect_events(json!([["hello\0\u{1}", client.etid, 1, 7]]));
    }
}

#[test]
fn messages_for_nobody_go_to_ondrop() {
    let hub =
        Hub::with("ondrop = function(data, ptid, tid, subtid, peer) event(data, ptid, tid, subtid, peer.uid) end");
    let mut client = hub.raw("uid-123456");
    let gone = {
        let mut gone = hub.raw("gone-1");
        gone.send(&disconnect(""));
        gone.expect_closed();
        gone.etid
    };
    hub.eventually(&format!("return hub:etid2peer({gone}) == nil"), true);
    let empty = client.create("nobody is here");
    let mut expected = Vec::new();
    for tid in [0, 12345, u32::MAX, gone, empty] {
        client.publish(tid, 3, "lost");
        expected.push(json!(["lost", client.etid, tid, 3, "uid-123456"]));
    }
    client.expect_silence();
    hub.expect_events(json!(expected));
}

#[test]
fn messages_for_nobody_are_lost_without_ondrop() {
    let hub = Hub::new();
    for via in Via::BOTH {
        let mut client = hub.connect(via, "uid-123456");
        let empty = client.create("nobody is here");
        [0, 12345, empty].into_iter().for_each(|tid| client.publish(tid, 0, "lost"));
        client.expect_silence();
    }
}

#[test]
fn ondrop_is_not_called_for_what_somebody_got() {
    let hub = Hub::with("onmsg = function() end, ondrop = function() event('drop') end");
    let mut client = hub.raw("uid-123456");
    let tid = client.subscribe("topic");
    client.publish(tid, 0, "to the topic");
    client.expect(&publish(tid, client.etid, 0, "to the topic"));
    client.publish(client.etid, 0, "to me");
    client.expect(&publish(client.etid, client.etid, 0, "to me"));
    client.publish(SERVER, 0, "to the server");
    client.expect_silence();
    assert_eq!(hub.events(), json!([]));
}

#[test]
fn a_wrong_publisher_number_is_a_corrupt_frame() {
    let hub = Hub::with(
        "onpublish = function() event('onpublish') return true end,
         onclose = function(tid, sock, peer, err) event('onclose', err) end",
    );
    let mut other = hub.raw("other-1");
    let tid = other.subscribe("topic");
    for via in Via::ALL {
        for ptid in [0, SERVER, other.etid, 12345] {
            hub.clear_events();
            let mut client = hub.connect(via, "uid-123456");
            client.send(&publish(tid, ptid, 0, "forged"));
            client.expect(&disconnect("corrupt frame"));
            client.expect_closed();
            hub.expect_events(json!([["onclose", 0]]));
        }
    }
    other.expect_silence();
}

#[test]
fn the_length_is_checked_before_the_publisher() {
    let hub = Hub::new();
    let mut client = hub.raw("uid-123456");
    client.send(&packet(PUBLISH, &[&[9; 11]]));
    client.expect_closed();
}

#[test]
fn messages_in_front_of_a_faulty_one_are_delivered_and_those_behind_it_are_not() {
    let hub = Hub::new();
    let mut subscriber = hub.raw("subscriber");
    let tid = subscriber.subscribe("topic");
    for via in Via::ALL {
        for is_short in [false, true] {
            let mut client = hub.connect(via, "uid-123456");
            let good = publish(tid, client.etid, 0, "good");
            let (target, publisher) = (tid.to_be_bytes(), client.etid.to_be_bytes());
            let faulty = match is_short {
                true => packet(PUBLISH, &[&target, &publisher]),
                false => publish(tid, SERVER, 0, "forged"),
            };
            client.send_together(&[good.clone(), good.clone(), faulty, good.clone(), good.clone()]);
            subscriber.expect(&good);
            subscriber.expect(&good);
            if !is_short {
                client.expect(&disconnect("corrupt frame"));
            }
            client.expect_closed();
            subscriber.expect_silence();
        }
    }
}

#[test]
fn subtids_pass_unchanged_whether_known_or_not() {
    let hub = Hub::new();
    for via in Via::BOTH {
        let mut client = hub.connect(via, "uid-123456");
        let tid = client.subscribe("topic");
        let known = client.createsub("sub");
        for subtid in [0, 1, known, 0xDEAD_BEEF, u32::MAX] {
            client.publish(tid, subtid, "x");
            client.expect(&publish(tid, client.etid, subtid, "x"));
        }
    }
}

#[test]
fn payloads_of_every_size_pass_between_all_transports() {
    let hub = Hub::new();
    let sizes = [0, 1, 2, 112, 113, 114, 125, 126, 127, 1000, 4096, 65_507, 65_508, 65_519, MAX_PAYLOAD];
    for from in [Via::Raw, Via::WebSocket, Via::RawTls, Via::WebSocketTls] {
        for to in Via::BOTH {
            let (mut from, mut to) = (hub.connect(from, "from-1"), hub.connect(to, "to-123"));
            let tid = to.subscribe("topic");
            for size in sizes {
                let payload: Vec<u8> = (0..size).map(|i| i as u8).collect();
                from.publish(tid, 0, &payload);
                to.expect(&publish(tid, from.etid, 0, &payload));
            }
        }
    }
}

#[test]
fn the_largest_payload_reaches_tls_subscribers() {
    let hub = Hub::new();
    let mut from = hub.raw("from-1");
    for via in [Via::RawTls, Via::WebSocketTls] {
        let mut to = hub.connect(via, "to-123");
        let payload = vec![0x5A; MAX_PAYLOAD];
        from.publish(to.etid, 0, &payload);
        to.expect(&publish(to.etid, from.etid, 0, &payload));
    }
}

#[test]
fn payloads_may_hold_any_byte() {
    let hub = Hub::with("onmsg = function(data) event(data) end");
    let payload: Vec<u8> = (0..=255).collect();
    for via in Via::BOTH {
        let mut client = hub.connect(via, "uid-123456");
        client.publish(client.etid, 0, &payload);
        client.expect(&publish(client.etid, client.etid, 0, &payload));
    }
    hub.raw("uid-123456").publish(SERVER, 0, &payload);
    let latin1: String = payload.iter().map(|byte| char::from(*byte)).collect();
    hub.expect_events(json!([[latin1]]));
}

#[test]
fn messages_of_one_publisher_arrive_in_order_over_all_destinations() {
    let hub = Hub::new();
    for (from, to) in [(Via::Raw, Via::WebSocket), (Via::WebSocket, Via::Raw), (Via::Raw, Via::RawTls)] {
        let (mut from, mut to) = (hub.connect(from, "from-1"), hub.connect(to, "to-123"));
        let (a, b) = (to.subscribe("a"), to.subscribe("b"));
        let tids = [a, b, to.etid];
        let packets: Vec<Vec<u8>> = (0..600).map(|i| publish(tids[i % 3], from.etid, i as u32, "x")).collect();
        from.send_together(&packets);
        packets.iter().for_each(|packet| to.expect(packet));
    }
}

#[test]
fn messages_keep_their_order_through_onpublish() {
    let hub = Hub::with("onpublish = function(data) return data ~= 'drop' end");
    let (mut from, mut to) = (hub.raw("from-1"), hub.web("to-123"));
    let tid = to.subscribe("topic");
    let packets: Vec<Vec<u8>> = (0..300)
        .map(|i| {
            publish(if i % 2 == 0 { tid } else { to.etid }, from.etid, i, if i % 5 == 0 { "drop" } else { "keep" })
        })
        .collect();
    from.send_together(&packets);
    packets.iter().filter(|packet| packet.ends_with(b"keep")).for_each(|packet| to.expect(packet));
    to.expect_silence();
}

#[test]
fn messages_keep_their_order_around_packets_that_a_script_is_asked_about() {
    let hub = Hub::with("permittop = function() return true end");
    for via in Via::BOTH {
        let (mut from, mut to) = (hub.connect(via, "from-1"), hub.web("to-123"));
        let (sender, receiver) = (from.etid, to.etid);
        let message = |i: u32| publish(receiver, sender, i, "x");
        for round in 0..500 {
            from.send_together(&[message(round * 3), create("topic"), message(round * 3 + 1), create("topic")]);
            from.send_together(&[message(round * 3 + 2)]);
        }
        (0..1500).for_each(|i| to.expect(&message(i)));
    }
}

#[test]
fn messages_keep_their_order_around_messages_to_the_server() {
    let hub = Hub::new();
    hub.lua("hub:onmsg(function() end) hub:subscribe('both', {onmsg = function() end})");
    for via in Via::BOTH {
        let (mut from, mut to) = (hub.connect(via, "from-1"), hub.web("to-123"));
        let both = to.subscribe("both");
        for round in 0..300_u32 {
            let sender = from.etid;
            let message = |tid, i: u32| publish(tid, sender, round * 3 + i, "x");
            let messages = [message(to.etid, 0), message(both, 1), message(to.etid, 2)];
            from.send_together(&messages);
            messages.iter().for_each(|message| to.expect(message));
        }
    }
}

#[test]
fn an_ack_comes_in_order_with_the_messages_of_its_topic() {
    let hub = Hub::new();
    for via in Via::BOTH {
        let mut client = hub.connect(via, "uid-123456");
        let tid = client.create("topic");
        let message = |i| publish(tid, client.etid, i, "x");
        client.send_together(&[message(1), subscribe("topic"), message(2), unsubscribe(tid), message(3), ping()]);
        client.expect(&ack(SUBACK, 0, tid, "topic"));
        client.expect(&publish(tid, client.etid, 2, "x"));
        client.expect(&pong());
    }
}

#[test]
fn many_publishers_lose_nothing() {
    let hub = Hub::new();
    let mut subscriber = hub.raw("subscriber");
    let tid = subscriber.subscribe("topic");
    let etids: Vec<u32> = std::thread::scope(|scope| {
        let senders: Vec<_> = (0..6)
            .map(|i| {
                let mut client = hub.connect(Via::ALL[i % 5], &format!("publisher {i}"));
                scope.spawn(move || {
                    (0..200).for_each(|n| client.publish(tid, n, "x"));
                    client.sync();
                    client.etid
                })
            })
            .collect();
        senders.into_iter().map(|sender| sender.join().expect("the publisher got through")).collect()
    });
    let mut next = vec![0; etids.len()];
    for _ in 0..etids.len() * 200 {
        let message = subscriber.receive();
        let from = etids.iter().position(|etid| *etid == number_at(&message, 5)).expect("one of the publishers");
        assert_eq!(number_at(&message, 9), next[from], "publisher {from} out of order");
        next[from] += 1;
    }
    subscriber.expect_silence();
}

#[test]
fn onpublish_sees_every_message_before_it_is_routed() {
    let hub = Hub::with(
        "onpublish = function(data, ptid, tid, subtid, peer) event(data, ptid, tid, subtid, peer.uid) return true end",
    );
    for via in Via::BOTH {
        hub.clear_events();
        let mut client = hub.connect(via, "uid-123456");
        let tid = client.subscribe("topic");
        client.publish(tid, 5, "one");
        client.publish(client.etid, 0, "two");
        client.publish(99, 0, "three");
        client.expect(&publish(tid, client.etid, 5, "one"));
        client.expect(&publish(client.etid, client.etid, 0, "two"));
        client.expect_silence();
        let etid = client.etid;
        hub.expect_events(json!([
            ["one", etid, tid, 5, "uid-123456"],
            ["two", etid, etid, 0, "uid-123456"],
            ["three", etid, 99, 0, "uid-123456"]
        ]));
    }
}

#[test]
fn onpublish_drops_a_message_without_ondrop() {
    for answer in ["false", "nil", ""] {
        let hub =
            Hub::with(&format!("onpublish = function() return {answer} end, ondrop = function() event('drop') end"));
        let mut client = hub.raw("uid-123456");
        let tid = client.subscribe("topic");
        client.publish(tid, 0, "no");
        client.publish(99, 0, "no");
        client.expect_silence();
        assert_eq!(hub.events(), json!([]));
    }
}

#[test]
fn any_truthy_answer_of_onpublish_delivers() {
    for answer in ["true", "0", "''", "{}"] {
        let hub = Hub::with(&format!("onpublish = function() return {answer} end"));
        let mut client = hub.raw("uid-123456");
        client.publish(client.etid, 0, "yes");
        client.expect(&publish(client.etid, client.etid, 0, "yes"));
    }
}

#[test]
fn onpublish_sees_the_servers_own_messages() {
    let hub = Hub::with(
        "onpublish = function(data, ptid, tid, subtid, peer) event(data, ptid, subtid, peer.uid) return data ~= 'no' end",
    );
    let mut client = hub.raw("uid-123456");
    let tid = client.subscribe("topic");
    hub.lua("hub:publish('no', 'topic') hub:publish('yes', 'topic', 4)");
    client.expect(&publish(tid, SERVER, 4, "yes"));
    hub.expect_events(json!([["no", 1, 0, "SMQ server client"], ["yes", 1, 4, "SMQ server client"]]));
}

#[test]
fn other_scripts_have_their_turn_between_the_callbacks_for_one_read() {
    const COUNT: u32 = 64;
    for (options, calls) in [
        ("onpublish = busy", COUNT),
        ("ondrop = busy", COUNT),
        ("onpublish = busy, ondrop = busy", 2 * COUNT),
        ("permittop = busy", COUNT),
    ] {
        let hub = Hub::none();
        hub.lua(&format!(
            "calls = 0
             function busy()
                calls = calls + 1
                if calls == 1 then ba.thread.run(function() calls_before_other = calls end) end
                local begun = ba.clock() while ba.clock() < begun + 2 do end
                return true
             end
             hub = require'smq.hub'.create{{{options}}}"
        ));
        let mut client = hub.raw("uid-123456");
        let packet = |number| match options {
            "permittop = busy" => create(format!("topic {number}")),
            _ => publish(12345, client.etid, 0, "x"),
        };
        let packets: Vec<_> = (0..COUNT).map(packet).collect();
        client.send_together(&packets);
        hub.eventually("return calls", calls);
        assert_eq!(hub.lua(&format!("return calls_before_other < {calls}")), json!(true), "{options}");
    }
}

#[test]
fn ondrop_sees_the_servers_own_messages() {
    let hub =
        Hub::with("ondrop = function(data, ptid, tid, subtid, peer) event(data, ptid, tid, subtid, peer.tid) end");
    let tid = hub.lua("hub:publish('lost', 'nobody', 3) return hub:topic2tid'nobody'");
    hub.expect_events(json!([["lost", 1, tid, 3, 1]]));
}

#[test]
fn what_only_a_client_that_is_ending_could_get_goes_to_ondrop() {
    for ending in ["", "hub:shutdown('bye', etid)"] {
        let hub = Hub::with(
            "ondrop = function(data) event('drop', data) end,
             onclose = function(etid) hub:publish('to it', etid) hub:publish('to its topic', 'topic') end",
        );
        let mut client = hub.raw("uid-123456");
        client.subscribe("topic");
        match ending {
            "" => client.send(&disconnect("")),
            shutdown => drop(hub.lua(&shutdown.replace("etid", &client.etid.to_string()))),
        }
        hub.expect_events(json!([["drop", "to it"], ["drop", "to its topic"]]));
    }
}

#[test]
fn a_publish_from_onpublish_goes_out_before_the_message() {
    let hub = Hub::with(
        "onpublish = function(data, ptid, tid, subtid, peer) if ptid ~= 1 then hub:publish('first', tid) end return true end",
    );
    let mut client = hub.raw("uid-123456");
    let tid = client.subscribe("topic");
    client.publish(tid, 0, "second");
    client.expect(&publish(tid, SERVER, 0, "first"));
    client.expect(&publish(tid, client.etid, 0, "second"));
}

#[test]
fn a_publish_from_onpublish_comes_between_the_messages_around_it() {
    let hub = Hub::with(
        "onpublish = function(data, ptid, tid) if data == 'b' then hub:publish('between', tid) end return true end",
    );
    let mut client = hub.raw("uid-123456");
    let tid = client.subscribe("topic");
    client.send_together(&["a", "b", "c"].map(|data| publish(tid, client.etid, 0, data)));
    client.expect(&publish(tid, client.etid, 0, "a"));
    client.expect(&publish(tid, SERVER, 0, "between"));
    client.expect(&publish(tid, client.etid, 0, "b"));
    client.expect(&publish(tid, client.etid, 0, "c"));
}

#[test]
fn messages_before_one_whose_onpublish_waits_do_not_wait() {
    let hub =
        Hub::with("onpublish = function(data) while data == 'b' and not released do ba.sleep(5) end return true end");
    let mut client = hub.raw("uid-123456");
    let tid = client.subscribe("topic");
    client.send_together(&["a", "b", "c"].map(|data| publish(tid, client.etid, 0, data)));
    client.expect(&publish(tid, client.etid, 0, "a"));
    hub.lua("released = true");
    client.expect(&publish(tid, client.etid, 0, "b"));
    client.expect(&publish(tid, client.etid, 0, "c"));
}

#[test]
fn the_servers_onmsg_runs_before_onpublish_is_asked_about_what_is_behind() {
    let hub = Hub::with("onpublish = function(data) event('onpublish', data) return true end");
    hub.lua("hub:subscribe('topic', {onmsg = function(data) event('onmsg', data) end})");
    let mut client = hub.raw("uid-123456");
    let tid = client.create("topic");
    client.send_together(&["a", "b"].map(|data| publish(tid, client.etid, 0, data)));
    hub.expect_events(json!([["onpublish", "a"], ["onmsg", "a"], ["onpublish", "b"], ["onmsg", "b"]]));
}

#[test]
fn hubs_are_fully_apart() {
    let (one, two) = (Hub::that_records_lives(), Hub::that_records_lives());
    let (mut in_one, mut in_two) = (one.raw("uid-123456"), two.raw("uid-123456"));
    let (tid_one, tid_two) = (in_one.subscribe("topic"), in_two.subscribe("topic"));
    in_one.publish(tid_one, 0, "one");
    in_one.expect(&publish(tid_one, in_one.etid, 0, "one"));
    in_one.publish(tid_two, 0, "into the void");
    in_one.publish(in_two.etid, 0, "into the void");
    in_one.expect_silence();
    in_two.expect_silence();
    one.lua("hub:shutdown('over')");
    in_one.expect(&disconnect("over"));
    in_one.expect_closed();
    in_two.expect_silence();
    one.expect_events(json!([["onconnect", "uid-123456"], ["onclose", "uid-123456", 0]]));
    two.expect_events(json!([["onconnect", "uid-123456"]]));
}

#[test]
fn topic_numbers_of_hubs_are_drawn_apart() {
    let (one, two) = (Hub::new(), Hub::new());
    let (mut in_one, mut in_two) = (one.raw("uid-123456"), two.raw("uid-123456"));
    assert_ne!(in_one.create("topic"), in_two.create("topic"));
}
