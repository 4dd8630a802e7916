//! The handshake: Init, Connect, Connack, and every way it can fail.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::*;

/// Sends this as the first packet and expects Connack 1 and the end, over both framings, with nobody told.
fn expect_malformed(first: &[u8]) {
    let hub = Hub::with(
        "authenticate = function() event('authenticate') return 0 end,
         onconnect = function() event('onconnect') end,
         onclose = function() event('onclose') end",
    );
    for via in Via::BOTH {
        let mut client = hub.open(via);
        client.send(first);
        client.expect_refused(BAD_VERSION);
    }
    assert_eq!(hub.events(), json!([]), "nobody was to be told of {}", describe(first));
}

#[test]
fn a_client_is_accepted_over_every_transport() {
    let hub = Hub::new();
    for via in Via::ALL {
        let mut client = hub.open(via);
        client.send(&connect(b"uid-123456", b"", b""));
        client.expect_accepted();
        client.sync();
    }
}

#[test]
fn connect_version_2_carries_a_number_before_the_uid() {
    let hub = Hub::with("authenticate = function(c, info) event(info.uid, c, info.info) return 0 end");
    for via in Via::BOTH {
        for number in [0, 1, 0xFFFF] {
            let mut client = hub.open(via);
            client.send(&connect_v2(number, b"uid-v2", b"secret", b"lamp"));
            client.expect_accepted();
        }
    }
    assert_eq!(hub.events(), json!([["uid-v2", "secret", "lamp"]; 6].to_vec()));
}

#[test]
fn versions_other_than_1_and_2_are_refused() {
    for version in [0, 3, 255] {
        expect_malformed(&packet(CONNECT, &[&[version, 6], b"uid-12", &[0]]));
    }
}

#[test]
fn a_first_packet_of_another_type_is_refused() {
    for first in [subscribe("t"), ping(), publish(1, 1, 0, "x"), vec![99], disconnect("")] {
        expect_malformed(&first);
    }
}

#[test]
fn an_empty_connect_is_refused() {
    expect_malformed(&[CONNECT]);
}

#[test]
fn a_connect_of_just_a_version_is_refused() {
    expect_malformed(&[CONNECT, 1]);
    expect_malformed(&[CONNECT, 2]);
}

#[test]
fn a_connect_that_ends_in_the_number_of_version_2_is_refused() {
    expect_malformed(&[CONNECT, 2, 0]);
}

#[test]
fn a_connect_that_ends_before_the_credentials_length_is_refused() {
    expect_malformed(b"\x02\x01\x06uid-12");
}

#[test]
fn a_uid_length_beyond_the_packet_is_refused() {
    expect_malformed(b"\x02\x01\x20uid-123456");
}

#[test]
fn a_credentials_length_beyond_the_packet_is_refused() {
    expect_malformed(b"\x02\x01\x06uid-12\x05abc");
}

#[test]
fn a_frame_length_below_3_is_refused() {
    let hub = Hub::new();
    for length in 0..3 {
        let mut client = hub.open(Via::Raw);
        client.send_bytes(&[0, length]);
        client.expect_refused(BAD_VERSION);
    }
}

#[test]
fn an_empty_first_websocket_message_is_refused() {
    let hub = Hub::new();
    let mut client = hub.open(Via::WebSocket);
    client.send(b"");
    client.expect_refused(BAD_VERSION);
}

#[test]
fn uids_shorter_than_6_bytes_are_refused() {
    for uid in ["", "a", "abcde"] {
        expect_malformed(&connect(uid.as_bytes(), b"", b""));
    }
}

#[test]
fn uids_of_6_to_255_bytes_are_fine() {
    let hub = Hub::new();
    for via in Via::BOTH {
        for length in [6, 7, 100, 254, 255] {
            let mut client = hub.open(via);
            client.send(&connect(&vec![b'u'; length], b"", b""));
            client.expect_accepted();
        }
    }
}

#[test]
fn uid_credentials_and_info_are_byte_strings() {
    let hub =
        Hub::with("authenticate = function(credentials, info) event(credentials, info.uid, info.info) return 0 end");
    let mut client = hub.open(Via::Raw);
    client.send(&connect(b"\0uid\xFF\x80", b"c\0\xFE", b"\0\x01"));
    client.expect_accepted();
    assert_eq!(hub.events(), json!([["c\0\u{fe}", "\0uid\u{ff}\u{80}", "\0\u{1}"]]));
}

#[test]
fn credentials_and_info_of_any_length_arrive_whole() {
    let hub = Hub::with("authenticate = function(credentials, info) event(#credentials, #info.info) return 0 end");
    for via in Via::BOTH {
        for (credentials, info) in [(0, 0), (1, 1), (255, 1000), (0, 65_000)] {
            let mut client = hub.open(via);
            client.send(&connect(b"uid-123456", &vec![b'c'; credentials], &vec![b'i'; info]));
            client.expect_accepted();
        }
    }
    let once = [json!([0, 0]), json!([1, 1]), json!([255, 1000]), json!([0, 65_000])];
    assert_eq!(hub.events(), json!([&once[..], &once[..]].concat()));
}

#[test]
fn connect_may_come_byte_by_byte() {
    let hub = Hub::new();
    let mut client = hub.open(Via::Raw);
    for byte in frame(&connect(b"uid-123456", b"", b"info")) {
        client.send_bytes(&[byte]);
    }
    client.expect_accepted();
}

#[test]
fn packets_that_come_together_with_connect_are_not_lost() {
    let hub = Hub::new();
    for via in Via::BOTH {
        let mut client = hub.open(via);
        client.send_together(&[connect(b"uid-123456", b"", b""), subscribe("t"), ping(), create("u")]);
        client.expect_accepted();
        assert_eq!(client.receive()[..2], [SUBACK, 0], "{via:?}");
        client.expect(&pong());
        assert_eq!(client.receive()[..2], [CREATEACK, 0], "{via:?}");
    }
}

#[test]
fn half_a_packet_that_comes_together_with_connect_is_not_lost() {
    let hub = Hub::new();
    let mut client = hub.open(Via::Raw);
    let (connect, subscribe) = (frame(&connect(b"uid-123456", b"", b"")), frame(&subscribe("topic")));
    client.send_bytes(&[&connect, &subscribe[..4]].concat());
    client.expect_accepted();
    client.send_bytes(&subscribe[4..]);
    assert_eq!(client.receive()[..2], [SUBACK, 0]);
}

#[test]
fn no_connect_within_readtmo_is_refused() {
    let hub = Hub::with("readtmo = 150, onclose = function() event('onclose') end");
    for via in Via::ALL {
        let mut client = hub.open(via);
        client.expect_refused(UNAVAILABLE);
    }
    assert_eq!(hub.events(), json!([]));
}

#[test]
fn half_a_connect_within_readtmo_is_refused() {
    let hub = Hub::with("readtmo = 150");
    let mut client = hub.open(Via::Raw);
    client.send_bytes(&frame(&connect(b"uid-123456", b"", b""))[..8]);
    client.expect_refused(UNAVAILABLE);
}

#[test]
fn readtmo_is_not_restarted_by_each_piece() {
    let hub = Hub::with("readtmo = 500");
    let mut client = hub.open(Via::Raw);
    let start = Instant::now();
    for byte in frame(&connect(&[b'u'; 255], b"", b"")) {
        client.send_bytes(&[byte]);
        match client.next_within(Duration::from_millis(100)) {
            Err(End::Silence) => assert!(start.elapsed() < Duration::from_secs(10), "the time was restarted"),
            Ok(answer) => {
                assert_eq!(answer[..2], [CONNACK, UNAVAILABLE]);
                return client.expect_closed().map_or((), |code| panic!("a raw client got code {code}"));
            }
            Err(end) => panic!("{end:?}, expected Connack 2"),
        }
    }
}

#[test]
fn authenticate_that_returns_0_accepts() {
    let hub = Hub::with("authenticate = function(credentials, info) return credentials == 'secret' and 0 or 3 end");
    for via in Via::BOTH {
        let mut client = hub.open(via);
        client.login("uid-123456", "secret", "");
        client.sync();
    }
}

#[test]
fn authenticate_may_refuse_with_a_code_and_a_reason() {
    let hub = Hub::with("authenticate = function() return 3, 'wrong password' end");
    for via in Via::ALL {
        let mut client = hub.open(via);
        client.send(&connect(b"uid-123456", b"guess", b""));
        client.expect(&connack(BAD_CREDENTIALS, 0, "wrong password"));
        client.expect_closed();
    }
}

#[test]
fn a_reason_may_be_a_number() {
    let hub = Hub::with("authenticate = function() return 2, 30 end");
    let mut client = hub.open(Via::Raw);
    client.send(&connect(b"uid-123456", b"", b""));
    client.expect(&connack(2, 0, "30"));
}

#[test]
fn a_reason_that_fits_no_packet_is_cut() {
    let hub = Hub::with("authenticate = function() return 3, ('x'):rep(70000) end");
    let mut client = hub.open(Via::Raw);
    client.send(&connect(b"uid-123456", b"", b""));
    client.expect(&connack(BAD_CREDENTIALS, 0, &"x".repeat(65_527)));
    client.expect_closed();
}

#[test]
fn authenticate_may_refuse_with_a_code_alone() {
    for code in [1, 2, 4, 5, 6, 42, 255] {
        let hub = Hub::with(&format!("authenticate = function() return {code} end"));
        let mut client = hub.open(Via::Raw);
        client.send(&connect(b"uid-123456", b"", b""));
        client.expect(&connack(code, 0, ""));
        client.expect_closed();
    }
}

#[test]
fn authenticate_that_returns_nothing_nil_or_false_denies() {
    for answer in ["", "return nil", "return false"] {
        let hub = Hub::with(&format!("authenticate = function() {answer} end"));
        for via in Via::BOTH {
            let mut client = hub.open(via);
            client.send(&connect(b"uid-123456", b"", b""));
            client.expect(&connack(ACCESS_DENIED, 0, ""));
            client.expect_closed();
        }
    }
}

#[test]
fn a_code_may_be_a_float_without_a_fraction() {
    let hub = Hub::with("authenticate = function() return 3.0 end");
    let mut client = hub.open(Via::Raw);
    client.send(&connect(b"uid-123456", b"", b""));
    client.expect_refused(3);
}

#[test]
fn authenticate_that_returns_no_byte_denies() {
    for answer in ["256", "-1", "0.5", "1e30", "'text'", "'0'", "{}", "true", "function() end"] {
        let hub = Hub::with(&format!("authenticate = function() return {answer} end"));
        let mut client = hub.open(Via::Raw);
        client.send(&connect(b"uid-123456", b"", b""));
        client.expect_refused(ACCESS_DENIED);
    }
}

#[test]
fn authenticate_that_raises_denies() {
    for error in ["error('oops')", "error()", "error({})", "local x = nil + 1"] {
        let hub = Hub::with(&format!("authenticate = function() {error} end"));
        for via in Via::BOTH {
            let mut client = hub.open(via);
            client.send(&connect(b"uid-123456", b"", b""));
            client.expect_refused(ACCESS_DENIED);
        }
    }
}

#[test]
fn a_refused_client_is_neither_announced_nor_closed() {
    let hub = Hub::with(
        "authenticate = function() return 3 end,
         onconnect = function() event('onconnect') end,
         onclose = function() event('onclose') end",
    );
    for via in Via::ALL {
        let mut client = hub.open(via);
        client.send(&connect(b"uid-123456", b"", b""));
        client.expect_refused(BAD_CREDENTIALS);
    }
    assert_eq!(hub.events(), json!([]));
}

#[test]
fn an_abandoned_handshake_is_neither_announced_nor_closed() {
    let hub = Hub::that_records_lives();
    for via in Via::BOTH {
        drop(hub.open(via));
    }
    hub.connect(Via::Raw, "uid-123456");
    hub.expect_events(json!([["onconnect", "uid-123456"], ["onclose", "uid-123456", "socketreadfailed"]]));
}

#[test]
fn a_refused_client_does_not_disturb_one_with_the_same_uid() {
    let hub = Hub::with("authenticate = function(credentials) return credentials == 'secret' and 0 or 3 end");
    for via in Via::BOTH {
        let mut first = hub.open(via);
        first.login("uid-123456", "secret", "");
        let mut second = hub.open(via);
        second.send(&connect(b"uid-123456", b"guess", b""));
        second.expect_refused(BAD_CREDENTIALS);
        first.expect_silence();
    }
}

#[test]
fn a_malformed_connect_does_not_disturb_one_with_the_same_uid() {
    let hub = Hub::new();
    let mut first = hub.raw("uid-123456");
    let mut second = hub.open(Via::Raw);
    second.send(b"\x02\x01\x0auid-123456\x09");
    second.expect_refused(BAD_VERSION);
    first.expect_silence();
}

#[test]
fn authenticate_gets_what_the_client_sent() {
    let hub = Hub::with(
        "authenticate = function(credentials, info)
           event(credentials, info.uid, info.info, info.seed, info.arg)
           return 0
         end",
    );
    let mut client = hub.open(Via::Raw);
    let seed = client.seed;
    client.login("uid-123456", "secret", "a lamp");
    assert_eq!(hub.events(), json!([["secret", "uid-123456", "a lamp", seed, null]]));
}

#[test]
fn info_is_an_empty_string_if_none_was_sent() {
    let hub = Hub::with("onconnect = function(tid, info, peer) event(info.info, peer.info) end");
    hub.connect(Via::Raw, "uid-123456");
    hub.expect_events(json!([["", ""]]));
}

#[test]
fn every_client_gets_an_etid_of_its_own() {
    let hub = Hub::new();
    let clients: Vec<Client> = (0..10).map(|i| hub.raw(&format!("uid-{i:06}"))).collect();
    let mut etids: Vec<u32> = clients.iter().map(|client| client.etid).collect();
    etids.sort_unstable();
    etids.dedup();
    assert_eq!(etids.len(), 10);
}

#[test]
fn etids_are_not_counted_up() {
    let hub = Hub::new();
    let etids: Vec<u32> = (0..4).map(|i| hub.raw(&format!("uid-{i:06}")).etid).collect();
    assert!(etids.windows(2).any(|pair| pair[0].abs_diff(pair[1]) > 1000), "not random: {etids:?}");
}

#[test]
fn the_client_is_known_when_onconnect_runs() {
    let hub = Hub::with(
        "onconnect = function(tid, info, peer)
           event(hub:etid2peer(tid) == peer, hub:sock2peer(peer.sock) == peer, peer.tid == tid)
         end",
    );
    for via in Via::BOTH {
        hub.connect(via, "uid-123456").sync();
    }
    hub.expect_events(json!([[true, true, true], [true, true, true]]));
}

#[test]
fn a_publish_from_onconnect_arrives_after_the_connack() {
    let hub = Hub::with("onconnect = function(tid) hub:publish('welcome', tid) end");
    for via in Via::ALL {
        let mut client = hub.connect(via, "uid-123456");
        client.expect(&publish(client.etid, SERVER, 0, "welcome"));
    }
}

#[test]
fn a_client_that_leaves_while_it_is_authenticated_was_never_there() {
    for via in [Via::Raw, Via::RawAfterResponse] {
        let hub = Hub::none();
        hub.lua(
            "hub = require'smq.hub'.create{
               authenticate = function() event('asked') while not go do ba.sleep(1) end event('answered') return 0 end,
               onconnect = function() event('onconnect') end, onclose = function() event('onclose') end}",
        );
        let mut client = hub.open(via);
        client.send(&connect(b"uid-123456", b"", b""));
        hub.expect_events(json!([["asked"]]));
        drop(client);
        hub.lua("ba.sleep(20) go = true");
        hub.expect_events(json!([["asked"], ["answered"]]));
        let _next = hub.raw("uid-234567");
        hub.expect_events(json!([["asked"], ["answered"], ["asked"], ["answered"], ["onconnect"]]));
    }
}

#[test]
fn a_client_that_is_lost_while_it_is_authenticated_leaves_an_older_one_alone() {
    for leave in [drop, Client::reset] {
        let hub = Hub::none();
        hub.lua(
            "hub = require'smq.hub'.create{
               authenticate = function(_, info)
                  event('asked', info.info)
                  while info.info == 'newer' and not go do ba.sleep(1) end
                  event('answered', info.info)
                  return 0
               end,
               onconnect = function(_, info) event('onconnect', info.info) end,
               onclose = function(_, _, peer) event('onclose', peer.info) end}",
        );
        let mut older = hub.open(Via::Raw);
        older.send(&connect(b"uid-123456", b"", b"older"));
        older.expect_accepted();
        let mut newer = hub.open(Via::Raw);
        newer.send(&connect(b"uid-123456", b"", b"newer"));
        let asked = [["asked", "older"], ["answered", "older"], ["onconnect", "older"], ["asked", "newer"]];
        hub.expect_events(json!(asked));
        leave(newer);
        hub.lua("ba.sleep(20) go = true");
        let answered = [&asked[..], &[["answered", "newer"]]].concat();
        hub.expect_events(json!(answered));
        let _next = hub.raw("uid-234567");
        let next = [&answered[..], &[["asked", ""], ["answered", ""], ["onconnect", ""]]].concat();
        hub.expect_events(json!(next));
        older.sync();
    }
}

#[test]
fn what_a_client_sent_before_it_left_while_it_was_authenticated_is_carried_out() {
    for via in Via::BOTH {
        let hub = Hub::with("authenticate = function() event('asked') while not go do ba.sleep(1) end return 0 end");
        let mut client = hub.open(via);
        client.send_together(&[connect(b"uid-123456", b"", b""), create("its topic")]);
        hub.expect_events(json!([["asked"]]));
        drop(client);
        hub.lua("ba.sleep(20) go = true");
        hub.eventually("return hub:topic2tid'its topic' ~= nil", true);
    }
}

#[test]
fn the_connack_does_not_wait_for_an_onconnect_that_waits() {
    for via in Via::ALL {
        let hub = Hub::with("onconnect = function() while not go do ba.sleep(1) end event('done') end");
        let mut client = hub.connect(via, "uid-123456");
        assert_eq!(hub.events(), json!([]), "{client}: onconnect has not returned");
        hub.lua("go = true");
        client.sync();
        hub.expect_events(json!([["done"]]));
    }
}

#[test]
fn an_error_in_onconnect_leaves_the_client_connected() {
    let hub = Hub::with(
        "onconnect = function() event('onconnect') error('oops') end, onclose = function() event('onclose') end",
    );
    let mut client = hub.raw("uid-123456");
    hub.expect_events(json!([["onconnect"]]));
    let tid = client.subscribe("t");
    client.publish(tid, 0, "still here");
    client.expect(&publish(tid, client.etid, 0, "still here"));
}
