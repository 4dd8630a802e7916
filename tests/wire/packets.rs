//! What the server answers to each packet of a connected client.

use serde_json::json;

use crate::support::*;

#[test]
fn subscribe_is_answered_with_the_topics_number() {
    let hub = Hub::new();
    for via in Via::ALL {
        let mut client = hub.connect(via, "uid-123456");
        let tid = client.subscribe("topic");
        assert_eq!(hub.lua("return hub:topic2tid'topic'"), json!(tid));
    }
}

#[test]
fn create_is_answered_with_the_topics_number() {
    let hub = Hub::new();
    for via in Via::ALL {
        let mut client = hub.connect(via, "uid-123456");
        let tid = client.create("topic");
        assert_eq!(hub.lua("return hub:topic2tid'topic'"), json!(tid));
    }
}

#[test]
fn createsub_is_answered_with_the_subtopics_number() {
    let hub = Hub::new();
    for via in Via::ALL {
        let mut client = hub.connect(via, "uid-123456");
        let subtid = client.createsub("sub");
        assert_eq!(hub.lua("return hub:subtopic2tid'sub'"), json!(subtid));
    }
}

#[test]
fn a_topics_number_is_the_same_for_all_clients_and_packets() {
    let hub = Hub::new();
    let (mut raw, mut web) = (hub.raw("raw-123"), hub.web("web-123"));
    let tid = raw.create("topic");
    assert_eq!(web.create("topic"), tid);
    assert_eq!(web.subscribe("topic"), tid);
    assert_eq!(raw.subscribe("topic"), tid);
    assert_eq!(hub.lua("return hub:create'topic'"), json!(tid));
}

#[test]
fn a_subtopics_number_is_the_same_for_all_clients() {
    let hub = Hub::new();
    let (mut raw, mut web) = (hub.raw("raw-123"), hub.web("web-123"));
    let subtid = raw.createsub("sub");
    assert_eq!(web.createsub("sub"), subtid);
    assert_eq!(hub.lua("return hub:createsub'sub'"), json!(subtid));
}

#[test]
fn a_topics_number_outlives_its_subscribers() {
    let hub = Hub::new();
    let tid = hub.raw("uid-123456").subscribe("topic");
    hub.eventually("local n = 0 for _ in hub:peers() do n = n + 1 end return n", 1);
    assert_eq!(hub.raw("uid-654321").subscribe("topic"), tid);
}

#[test]
fn different_names_have_different_numbers() {
    let hub = Hub::new();
    let mut client = hub.raw("uid-123456");
    let mut tids: Vec<u32> = (0..100).map(|i| client.create(&format!("topic {i}"))).collect();
    tids.sort_unstable();
    tids.dedup();
    assert_eq!(tids.len(), 100);
    assert!(!tids.contains(&client.etid));
    assert!(!tids.contains(&SERVER));
}

#[test]
fn names_are_case_sensitive() {
    let hub = Hub::new();
    let mut client = hub.raw("uid-123456");
    assert_ne!(client.create("Topic"), client.create("topic"));
    assert_ne!(client.createsub("Sub"), client.createsub("sub"));
}

#[test]
fn topics_and_subtopics_of_one_name_are_apart() {
    let hub = Hub::new();
    let mut client = hub.raw("uid-123456");
    client.create("name");
    assert_eq!(hub.lua("return hub:subtopic2tid'name'"), json!(null));
    client.createsub("other");
    assert_eq!(hub.lua("return hub:topic2tid'other'"), json!(null));
}

#[test]
fn the_empty_name_is_a_name() {
    let hub = Hub::new();
    for via in Via::BOTH {
        let mut client = hub.connect(via, "uid-123456");
        let tid = client.create("");
        assert_eq!(client.subscribe(""), tid);
        client.createsub("");
    }
}

#[test]
fn a_name_of_60000_bytes_is_fine() {
    let hub = Hub::new();
    let name = "n".repeat(60_000);
    for via in Via::BOTH {
        let mut client = hub.connect(via, "uid-123456");
        let tid = client.subscribe(&name);
        assert_eq!(client.create(&name), tid);
        client.createsub(&name);
    }
}

#[test]
fn a_name_too_long_for_its_ack_never_breaks_the_stream() {
    let hub = Hub::new();
    for via in Via::BOTH {
        for length in [65_527, 65_528, 65_532] {
            let mut client = hub.connect(via, "uid-123456");
            let name = vec![b'n'; length];
            client.send(&create(&name));
            match client.next() {
                Ok(answer) => {
                    assert_eq!((answer[0], answer.len()), (CREATEACK, 6 + length));
                    client.expect_silence();
                }
                Err(End::Closed(_)) => {}
                Err(end) => panic!("{length}: {end:?}"),
            }
        }
    }
}

#[test]
fn names_are_byte_strings() {
    let hub = Hub::new();
    let name = b"\0\xFF\n\x80name\0";
    for via in Via::BOTH {
        let mut client = hub.connect(via, "uid-123456");
        client.send(&subscribe(name));
        let ack_packet = client.receive();
        let tid = number_at(&ack_packet, 2);
        client.expect_silence();
        assert_eq!(describe(&ack_packet), describe(&ack(SUBACK, 0, tid, name)));
        assert_eq!(hub.lua("return hub:topic2tid'\\0\\xFF\\n\\x80name\\0'"), json!(tid));
    }
}

#[test]
fn self_is_an_ordinary_name_for_a_client() {
    let hub = Hub::new();
    let mut client = hub.raw("uid-123456");
    let tid = client.subscribe("self");
    assert_ne!(tid, client.etid);
    assert_ne!(tid, SERVER);
}

#[test]
fn a_second_subscribe_gets_the_same_answer_and_no_second_copy() {
    let hub = Hub::with("permittop = function(topic) event(topic) return true end");
    for via in Via::BOTH {
        hub.clear_events();
        let mut client = hub.connect(via, "uid-123456");
        let tid = client.subscribe("topic");
        assert_eq!(client.subscribe("topic"), tid);
        client.publish(tid, 0, "once");
        client.expect(&publish(tid, client.etid, 0, "once"));
        client.expect_silence();
        assert_eq!(hub.events(), json!([["topic"]]), "permittop is asked for the first subscription only");
    }
}

#[test]
fn permittop_denies_a_subscribe() {
    for answer in ["false", "nil", ""] {
        let hub = Hub::with(&format!("permittop = function(topic) return {answer} end"));
        for via in Via::BOTH {
            let mut client = hub.connect(via, "uid-123456");
            client.send(&subscribe("secret"));
            client.expect(&ack(SUBACK, 1, 0, "secret"));
            client.send(&create("secret"));
            client.expect(&ack(CREATEACK, 1, 0, "secret"));
        }
        assert_eq!(hub.lua("return hub:topic2tid'secret'"), json!(null), "a denied name is no topic");
    }
}

#[test]
fn permittop_learns_topic_kind_and_peer() {
    let hub = Hub::with("permittop = function(topic, issub, peer) event(topic, issub, peer.uid) return true end");
    let mut client = hub.raw("uid-123456");
    client.subscribe("a");
    client.create("b");
    assert_eq!(hub.events(), json!([["a", true, "uid-123456"], ["b", false, "uid-123456"]]));
}

#[test]
fn permittop_is_asked_for_each_create() {
    let hub = Hub::with("permittop = function(topic, issub) event(topic, issub) return true end");
    let mut client = hub.raw("uid-123456");
    client.create("a");
    client.create("a");
    client.subscribe("a");
    client.create("a");
    assert_eq!(hub.events(), json!([["a", false], ["a", false], ["a", true], ["a", false]]));
}

#[test]
fn permittop_guards_topics_that_the_server_created() {
    let hub = Hub::with("permittop = function() return false end");
    hub.lua("hub:create'news'");
    let mut client = hub.raw("uid-123456");
    client.send(&subscribe("news"));
    client.expect(&ack(SUBACK, 1, 0, "news"));
    client.send(&create("news"));
    client.expect(&ack(CREATEACK, 1, 0, "news"));
}

#[test]
fn permittop_may_allow_create_and_deny_subscribe() {
    let hub = Hub::with("permittop = function(topic, issub) return not issub end");
    let mut client = hub.raw("uid-123456");
    client.create("inbox");
    client.send(&subscribe("inbox"));
    client.expect(&ack(SUBACK, 1, 0, "inbox"));
}

#[test]
fn permitsubtop_denies_unknown_names_only() {
    let hub = Hub::with("permitsubtop = function(sub, peer) event(sub, peer.uid) return false end");
    let known = hub.lua("return hub:createsub'known'");
    for via in Via::BOTH {
        let mut client = hub.connect(via, "uid-123456");
        assert_eq!(json!(client.createsub("known")), known);
        client.send(&createsub("unknown"));
        client.expect(&ack(CREATESUBACK, 1, 0, "unknown"));
    }
    assert_eq!(hub.events(), json!([["unknown", "uid-123456"], ["unknown", "uid-123456"]]));
    assert_eq!(hub.lua("return hub:subtopic2tid'unknown'"), json!(null));
}

#[test]
fn permittop_is_not_asked_for_subtopics_nor_the_reverse() {
    let hub = Hub::with(
        "permittop = function() event'topic' return true end,
         permitsubtop = function() event'subtopic' return true end",
    );
    let mut client = hub.raw("uid-123456");
    client.createsub("a");
    client.create("a");
    assert_eq!(hub.events(), json!([["subtopic"], ["topic"]]));
}

#[test]
fn unsubscribe_ends_the_messages_without_an_answer() {
    let hub = Hub::new();
    for via in Via::ALL {
        let mut client = hub.connect(via, "uid-123456");
        let tid = client.subscribe("topic");
        client.send(&unsubscribe(tid));
        client.publish(tid, 0, "nobody hears this");
        client.expect_silence();
        client.subscribe("topic");
        client.publish(tid, 0, "again");
        client.expect(&publish(tid, client.etid, 0, "again"));
    }
}

#[test]
fn unsubscribe_leaves_other_topics_and_other_subscribers() {
    let hub = Hub::new();
    let (mut one, mut two) = (hub.raw("uid-one"), hub.web("uid-two"));
    let (a, b) = (one.subscribe("a"), one.subscribe("b"));
    two.subscribe("a");
    one.send(&unsubscribe(a));
    one.publish(a, 0, "for two");
    one.publish(b, 0, "for one");
    one.expect(&publish(b, one.etid, 0, "for one"));
    two.expect(&publish(a, one.etid, 0, "for two"));
}

#[test]
fn unsubscribe_from_unknown_or_other_topics_is_ignored() {
    let hub = Hub::new();
    for via in Via::BOTH {
        let mut client = hub.connect(via, "uid-123456");
        let other = client.create("not subscribed");
        for tid in [0, SERVER, 12345, u32::MAX, other] {
            client.send(&unsubscribe(tid));
        }
        client.expect_silence();
    }
}

#[test]
fn unsubscribe_from_the_own_etid_does_not_cut_off_direct_messages() {
    let hub = Hub::new();
    for via in Via::BOTH {
        let mut client = hub.connect(via, "uid-123456");
        client.send(&unsubscribe(client.etid));
        client.publish(client.etid, 0, "to me");
        client.expect(&publish(client.etid, client.etid, 0, "to me"));
    }
}

#[test]
fn unsubscribe_from_anothers_etid_does_not_cut_that_one_off() {
    let hub = Hub::new();
    let (mut one, mut two) = (hub.raw("uid-one"), hub.raw("uid-two"));
    one.send(&unsubscribe(two.etid));
    one.publish(two.etid, 0, "hello");
    two.expect(&publish(two.etid, one.etid, 0, "hello"));
}

#[test]
fn ping_is_answered_with_an_empty_pong() {
    let hub = Hub::new();
    for via in Via::ALL {
        let mut client = hub.connect(via, "uid-123456");
        client.send(&ping());
        client.expect(&pong());
        client.send(&packet(PING, &[b"whatever is in the body"]));
        client.expect(&pong());
    }
}

#[test]
fn pong_is_ignored() {
    let hub = Hub::new();
    for via in Via::BOTH {
        let mut client = hub.connect(via, "uid-123456");
        client.send(&pong());
        client.send(&packet(PONG, &[b"body"]));
        client.expect_silence();
    }
}

#[test]
fn disconnect_closes_without_an_answer() {
    let hub = Hub::new();
    for reason in ["", "good bye"] {
        for via in Via::ALL {
            let mut client = hub.connect(via, "uid-123456");
            client.send(&disconnect(reason));
            client.expect_closed();
        }
    }
}

#[test]
fn a_websocket_is_closed_with_status_1000() {
    let hub = Hub::new();
    for via in [Via::WebSocket, Via::WebSocketTls] {
        let mut client = hub.connect(via, "uid-123456");
        client.send(&disconnect(""));
        client.expect_close_code(1000);
    }
}

#[test]
fn packets_behind_a_disconnect_are_ignored() {
    let hub = Hub::new();
    for via in Via::BOTH {
        let mut listener = hub.raw("listener");
        let tid = listener.subscribe("topic");
        let mut client = hub.connect(via, "uid-123456");
        let late = publish(tid, client.etid, 0, "too late");
        client.send_together(&[disconnect(""), late, ping()]);
        client.expect_closed();
        listener.expect_silence();
    }
}

#[test]
fn types_that_no_client_may_send_close_the_connection() {
    let hub = Hub::new();
    let kinds = [0, 1, 2, 3, 5, 7, 10, 16, 18, 20, 21, 42, 127, 128, 254, 255];
    for via in Via::BOTH {
        for kind in kinds {
            let mut client = hub.connect(via, "uid-123456");
            client.send(&packet(kind, &[b"some body with enough bytes"]));
            client.expect_closed();
        }
    }
}

#[test]
fn types_that_no_client_may_send_close_the_connection_also_without_a_body() {
    let hub = Hub::new();
    for via in Via::BOTH {
        for kind in [0, 1, 2, 3, 5, 20, 255] {
            let mut client = hub.connect(via, "uid-123456");
            client.send(&[kind]);
            client.expect_closed();
        }
    }
}

#[test]
fn packets_too_short_for_their_fields_close_the_connection() {
    let hub = Hub::new();
    for via in Via::BOTH {
        for kind in [UNSUBSCRIBE, OBSERVE, UNOBSERVE] {
            for length in 0..4 {
                let mut client = hub.connect(via, "uid-123456");
                client.send(&packet(kind, &[&[0; 3][..length]]));
                client.expect_closed();
            }
        }
        for length in [0, 1, 4, 8, 11] {
            let mut client = hub.connect(via, "uid-123456");
            client.send(&packet(PUBLISH, &[&[0; 11][..length]]));
            client.expect_closed();
        }
    }
}

#[test]
fn bytes_behind_a_tid_are_ignored() {
    let hub = Hub::new();
    for via in Via::BOTH {
        let mut client = hub.connect(via, "uid-123456");
        let tid = client.subscribe("topic");
        client.send(&[&observe(tid)[..], b"more"].concat());
        client.expect(&change(tid, 1));
        client.send(&[&unobserve(tid)[..], b"more"].concat());
        client.send(&[&unsubscribe(tid)[..], b"more"].concat());
        client.publish(tid, 0, "nobody hears this");
        client.expect_silence();
    }
}

#[test]
fn frame_lengths_below_3_close_the_connection() {
    let hub = Hub::new();
    for length in 0..3 {
        let mut client = hub.raw("uid-123456");
        client.send_bytes(&[0, length]);
        client.expect_closed();
    }
}

#[test]
fn answers_come_in_the_order_of_the_questions() {
    let hub = Hub::with("permittop = function(topic) return topic ~= 'no' end");
    for via in Via::BOTH {
        let mut client = hub.connect(via, "uid-123456");
        client.send_together(&[subscribe("a"), ping(), subscribe("no"), create("b"), createsub("c"), ping()]);
        let kinds: Vec<u8> = (0..6).map(|_| client.receive()[0]).collect();
        assert_eq!(kinds, [SUBACK, PONG, SUBACK, CREATEACK, CREATESUBACK, PONG], "{via:?}");
    }
}

#[test]
fn frames_may_come_byte_by_byte() {
    let hub = Hub::new();
    for via in [Via::Raw, Via::RawTls] {
        let mut client = hub.connect(via, "uid-123456");
        let tid = client.create("topic");
        let bytes = [frame(&subscribe("topic")), frame(&publish(tid, client.etid, 7, "x")), frame(&ping())].concat();
        bytes.iter().for_each(|byte| client.send_bytes(&[*byte]));
        client.expect(&ack(SUBACK, 0, tid, "topic"));
        client.expect(&publish(tid, client.etid, 7, "x"));
        client.expect(&pong());
    }
}

#[test]
fn websocket_frames_may_come_byte_by_byte() {
    let hub = Hub::new();
    let mut client = hub.web("uid-123456");
    let tid = client.create("topic");
    let packets = [subscribe("topic"), publish(tid, client.etid, 7, vec![b'x'; 300]), ping()];
    let bytes: Vec<u8> = packets.iter().flat_map(|packet| web_frame(0x82, packet)).collect();
    bytes.iter().for_each(|byte| client.send_bytes(&[*byte]));
    client.expect(&ack(SUBACK, 0, tid, "topic"));
    client.expect(&publish(tid, client.etid, 7, vec![b'x'; 300]));
    client.expect(&pong());
}

#[test]
fn frames_may_be_cut_and_joined_in_any_way() {
    let hub = Hub::new();
    let mut client = hub.raw("uid-123456");
    let tid = client.subscribe("topic");
    let etid = client.etid;
    let payload = |i: usize| vec![i as u8; (i * 37) % 1500];
    let bytes: Vec<u8> = (0..200).flat_map(|i| frame(&publish(tid, etid, i as u32, payload(i)))).collect();
    for cut in [1000, 17, 4096, 3] {
        bytes.chunks(cut).for_each(|piece| client.send_bytes(piece));
        (0..200).for_each(|i| client.expect(&publish(tid, etid, i as u32, payload(i))));
    }
    client.expect_silence();
}

#[test]
fn the_server_never_speaks_unasked() {
    let hub = Hub::new();
    for via in Via::ALL {
        let mut client = hub.connect(via, "uid-123456");
        client.subscribe("topic");
        client.create("other");
        client.expect_silence();
    }
}
