//! PubFrag: one message in several packets.

use serde_json::json;

use crate::support::*;

#[test]
fn fragments_become_one_message() {
    let hub = Hub::new();
    for via in [Via::Raw, Via::RawAfterResponse, Via::RawTls] {
        let mut client = hub.connect(via, "uid-123456");
        let tid = client.subscribe("topic");
        let etid = client.etid;
        client.send(&pubfrag(0, etid, 0, "one "));
        client.send(&pubfrag(0, etid, 0, "two "));
        client.send(&pubfrag(tid, etid, 5, "three"));
        client.expect(&publish(tid, etid, 5, "one two three"));
        client.expect_silence();
    }
}

#[test]
fn websocket_subscribers_get_one_message_too() {
    let hub = Hub::new();
    let (mut from, mut to) = (hub.raw("from-1"), hub.web("to-123"));
    let tid = to.subscribe("topic");
    from.send(&pubfrag(0, from.etid, 0, "one "));
    from.send(&pubfrag(tid, from.etid, 0, "two"));
    to.expect(&publish(tid, from.etid, 0, "one two"));
}

#[test]
fn a_single_fragment_with_a_tid_is_a_message() {
    let hub = Hub::new();
    let mut client = hub.raw("uid-123456");
    let tid = client.subscribe("topic");
    client.send(&pubfrag(tid, client.etid, 2, "alone"));
    client.expect(&publish(tid, client.etid, 2, "alone"));
}

#[test]
fn fragments_may_be_empty() {
    let hub = Hub::new();
    let mut client = hub.raw("uid-123456");
    let tid = client.subscribe("topic");
    client.send(&pubfrag(0, client.etid, 0, ""));
    client.send(&pubfrag(0, client.etid, 0, "x"));
    client.send(&pubfrag(tid, client.etid, 0, ""));
    client.expect(&publish(tid, client.etid, 0, "x"));
    client.send(&pubfrag(tid, client.etid, 0, ""));
    client.expect(&publish(tid, client.etid, 0, ""));
}

#[test]
fn only_the_last_fragments_numbers_count() {
    let hub = Hub::new();
    let mut client = hub.raw("uid-123456");
    let tid = client.subscribe("topic");
    client.send(&pubfrag(0, 12345, 77, "one "));
    client.send(&pubfrag(tid, client.etid, 5, "two"));
    client.expect(&publish(tid, client.etid, 5, "one two"));
}

#[test]
fn a_wrong_publisher_in_the_last_fragment_is_a_corrupt_frame() {
    let hub = Hub::with("onpublish = function() event('onpublish') return true end");
    let mut client = hub.raw("uid-123456");
    let tid = client.subscribe("topic");
    client.send(&pubfrag(0, client.etid, 0, "one "));
    client.send(&pubfrag(tid, 12345, 0, "two"));
    client.expect(&disconnect("corrupt frame"));
    client.expect_closed();
    assert_eq!(hub.events(), json!([]));
}

#[test]
fn other_packets_may_come_between_fragments() {
    let hub = Hub::new();
    let mut client = hub.raw("uid-123456");
    let tid = client.subscribe("topic");
    let etid = client.etid;
    client.send(&pubfrag(0, etid, 0, "one "));
    client.sync();
    client.publish(tid, 0, "whole");
    client.expect(&publish(tid, etid, 0, "whole"));
    client.create("other");
    client.send(&pubfrag(tid, etid, 0, "two"));
    client.expect(&publish(tid, etid, 0, "one two"));
}

#[test]
fn fragments_are_collected_per_client() {
    let hub = Hub::new();
    let (mut one, mut two) = (hub.raw("uid-one"), hub.raw("uid-two"));
    let tid = one.subscribe("topic");
    one.send(&pubfrag(0, one.etid, 0, "from one, "));
    two.send(&pubfrag(0, two.etid, 0, "from two, "));
    two.send(&pubfrag(tid, two.etid, 0, "the end"));
    one.expect(&publish(tid, two.etid, 0, "from two, the end"));
    one.send(&pubfrag(tid, one.etid, 0, "the end"));
    one.expect(&publish(tid, one.etid, 0, "from one, the end"));
}

#[test]
fn fragments_do_not_outlive_their_connection() {
    let hub = Hub::new();
    let mut client = hub.raw("uid-123456");
    client.send(&pubfrag(0, client.etid, 0, "old "));
    client.sync();
    let mut client = hub.raw("uid-123456");
    let tid = client.subscribe("topic");
    client.send(&pubfrag(tid, client.etid, 0, "new"));
    client.expect(&publish(tid, client.etid, 0, "new"));
}

#[test]
fn fragments_may_go_to_a_client_or_to_the_server() {
    let hub = Hub::with("onmsg = function(...) event(...) end");
    let mut client = hub.raw("uid-123456");
    let etid = client.etid;
    client.send(&pubfrag(0, etid, 0, "one "));
    client.send(&pubfrag(etid, etid, 0, "two"));
    client.expect(&publish(etid, etid, 0, "one two"));
    client.send(&pubfrag(0, etid, 0, "three "));
    client.send(&pubfrag(SERVER, etid, 9, "four"));
    hub.expect_events(json!([["three four", etid, 1, 9]]));
}

#[test]
fn a_last_fragment_right_behind_a_message_to_the_same_topic_is_one_of_its_own() {
    let hub = Hub::new();
    let mut client = hub.raw("uid-123456");
    let (tid, etid) = (client.subscribe("topic"), client.etid);
    client.send_together(&[publish(tid, etid, 0, "one"), pubfrag(tid, etid, 0, "two"), publish(tid, etid, 0, "three")]);
    for payload in ["one", "two", "three"] {
        client.expect(&publish(tid, etid, 0, payload));
    }
}

#[test]
fn onpublish_and_ondrop_see_one_assembled_message() {
    let hub = Hub::with(
        "onpublish = function(...) event('onpublish', (...)) return true end,
         ondrop = function(...) event('ondrop', (...)) end",
    );
    let mut client = hub.raw("uid-123456");
    client.send(&pubfrag(0, client.etid, 0, "one "));
    client.send(&pubfrag(999, client.etid, 0, "two"));
    client.sync();
    hub.expect_events(json!([["onpublish", "one two"], ["ondrop", "one two"]]));
}

#[test]
fn each_of_them_sees_it_also_without_the_other() {
    let hub = Hub::with("onpublish = function(data) event(data) return false end");
    let mut client = hub.raw("uid-123456");
    let (tid, etid) = (client.subscribe("topic"), client.etid);
    client.send(&pubfrag(0, etid, 0, "one "));
    client.send(&pubfrag(tid, etid, 0, "two"));
    client.sync();
    hub.expect_events(json!([["one two"]]));

    let hub = Hub::with("ondrop = function(data) event(data) end");
    let mut client = hub.raw("uid-123456");
    client.send(&pubfrag(0, client.etid, 0, "one "));
    client.send(&pubfrag(999, client.etid, 0, "two"));
    client.sync();
    hub.expect_events(json!([["one two"]]));
}

#[test]
fn totals_up_to_the_largest_payload_are_delivered() {
    let hub = Hub::new();
    let (mut from, mut raw, mut web) = (hub.raw("from-1"), hub.raw("raw-123"), hub.web("web-123"));
    let tid = raw.subscribe("topic");
    web.subscribe("topic");
    for total in [65_507, 65_508, 65_519, MAX_PAYLOAD] {
        let payload: Vec<u8> = (0..total).map(|i| (i / 7) as u8).collect();
        for first in [1, 30_000, total - 1, total] {
            from.send(&pubfrag(0, from.etid, 0, &payload[..first]));
            from.send(&pubfrag(tid, from.etid, 0, &payload[first..]));
            raw.expect(&publish(tid, from.etid, 0, &payload));
            web.expect(&publish(tid, from.etid, 0, &payload));
        }
    }
}

#[test]
fn more_than_the_largest_payload_closes_the_connection() {
    let hub = Hub::with("onpublish = function() event('onpublish') return true end");
    for last_tid in [0, 1] {
        let mut client = hub.raw("uid-123456");
        client.send(&pubfrag(0, client.etid, 0, vec![0; MAX_PAYLOAD]));
        client.expect_silence();
        client.send(&pubfrag(last_tid, client.etid, 0, "x"));
        client.expect_closed();
    }
    assert_eq!(hub.events(), json!([]));
}

#[test]
fn a_fragment_too_short_for_its_fields_closes_the_connection_and_leaves_no_peer() {
    let hub = Hub::that_records_lives();
    for length in [0, 4, 11] {
        hub.clear_events();
        let mut client = hub.raw("uid-123456");
        client.send(&packet(PUBFRAG, &[&[0; 11][..length]]));
        client.expect_closed();
        hub.expect_events(json!([["onconnect", "uid-123456"], ["onclose", "uid-123456", 0]]));
        hub.eventually("local n = 0 for _ in hub:peers() do n = n + 1 end return n", 1);
    }
}

#[test]
fn a_fragment_over_websocket_closes_the_connection() {
    let hub = Hub::new();
    for tid in [0, SERVER] {
        let mut client = hub.web("uid-123456");
        client.send(&pubfrag(tid, client.etid, 0, "x"));
        client.expect_closed();
    }
}
