//! What is special about the WebSocket transport: messages, frames, control frames.

use std::io::Read;

use serde_json::json;
use tungstenite::Message;

use crate::support::*;

const FINAL_BINARY: u8 = 0x82;
const FIRST_BINARY: u8 = 0x02;
const CONTINUATION: u8 = 0x00;
const LAST: u8 = 0x80;
const PING_FRAME: u8 = 0x89;

/// The status of the close frame that answers these bytes, and the reason that `onclose` gets.
fn expect_close(bytes: &[u8], status: u16) {
    let hub = Hub::that_records_lives();
    let mut client = hub.web("uid-123456");
    client.send_bytes(bytes);
    client.expect_close_code(status);
    hub.expect_events(json!([["onconnect", "uid-123456"], ["onclose", "uid-123456", "socketclosed"]]));
}

#[test]
fn a_message_in_several_frames_is_one_packet() {
    let hub = Hub::new();
    let mut client = hub.web("uid-123456");
    let tid = client.create("topic");
    client.send_bytes(&web_frame(FIRST_BINARY, &[SUBSCRIBE]));
    client.send_bytes(&web_frame(CONTINUATION, b"to"));
    client.send_bytes(&web_frame(CONTINUATION, b""));
    client.send_bytes(&web_frame(LAST, b"pic"));
    client.expect(&ack(SUBACK, 0, tid, "topic"));
}

#[test]
fn connect_may_come_in_several_frames() {
    let hub = Hub::new();
    let mut client = hub.open(Via::WebSocket);
    let connect = connect(b"uid-123456", b"", b"");
    client.send_bytes(&web_frame(FIRST_BINARY, &connect[..3]));
    client.send_bytes(&web_frame(LAST, &connect[3..]));
    client.expect_accepted();
}

#[test]
fn a_message_in_two_frames_may_hold_the_largest_payload() {
    let hub = Hub::new();
    let (mut from, mut to) = (hub.web("from-1"), hub.raw("to-123"));
    let payload = vec![0x5A; MAX_PAYLOAD];
    let message = publish(to.etid, from.etid, 0, &payload);
    from.send_bytes(&web_frame(FIRST_BINARY, &message[..40_000]));
    from.send_bytes(&web_frame(LAST, &message[40_000..]));
    to.expect(&message);
}

#[test]
fn a_ping_may_come_between_the_frames_of_a_message() {
    let hub = Hub::new();
    let mut client = hub.web("uid-123456");
    let tid = client.create("topic");
    client.send_bytes(&web_frame(FIRST_BINARY, &[SUBSCRIBE]));
    client.send_bytes(&web_frame(PING_FRAME, b"alive?"));
    assert_eq!(client.web().read().unwrap(), Message::Pong(b"alive?".to_vec().into()));
    client.send_bytes(&web_frame(LAST, b"topic"));
    client.expect(&ack(SUBACK, 0, tid, "topic"));
}

#[test]
fn a_ping_is_answered_with_its_payload() {
    let hub = Hub::new();
    for via in [Via::WebSocket, Via::WebSocketTls] {
        let mut client = hub.connect(via, "uid-123456");
        for payload in [&b""[..], b"x", &[0xFF; 125]] {
            client.send_bytes(&web_frame(PING_FRAME, payload));
            assert_eq!(client.web().read().unwrap(), Message::Pong(payload.to_vec().into()));
        }
        client.expect_silence();
    }
}

#[test]
fn a_ping_before_connect_is_answered() {
    let hub = Hub::new();
    let mut client = hub.open(Via::WebSocket);
    client.send_bytes(&web_frame(PING_FRAME, b"alive?"));
    assert_eq!(client.web().read().unwrap(), Message::Pong(b"alive?".to_vec().into()));
    client.login("uid-123456", "", "");
}

#[test]
fn a_pong_is_ignored() {
    let hub = Hub::new();
    let mut client = hub.web("uid-123456");
    client.send_bytes(&web_frame(0x8A, b"unasked"));
    client.expect_silence();
}

#[test]
fn text_messages_are_packets_too() {
    let hub = Hub::new();
    let mut client = hub.web("uid-123456");
    let tid = client.create("topic");
    client.send_text("\u{4}topic");
    client.expect(&ack(SUBACK, 0, tid, "topic"));
    client.send_text("\u{c}");
    client.expect(&pong());
}

#[test]
fn connect_may_be_a_text_message() {
    let hub = Hub::new();
    let mut client = hub.open(Via::WebSocket);
    client.send_text("\u{2}\u{1}\u{6}uid-12\0info");
    client.expect_accepted();
}

#[test]
fn an_empty_message_closes_the_connection() {
    let hub = Hub::new();
    let mut client = hub.web("uid-123456");
    client.send(b"");
    client.expect_close_code(1000);
}

#[test]
fn several_frames_in_one_write_are_several_packets() {
    let hub = Hub::new();
    let mut client = hub.web("uid-123456");
    client.send_together(&[ping(), ping(), create("a"), ping()]);
    client.expect(&pong());
    client.expect(&pong());
    assert_eq!(client.receive()[0], CREATEACK);
    client.expect(&pong());
}

#[test]
fn a_frame_without_a_mask_is_a_protocol_error() {
    expect_close(&web_frame_unmasked(FINAL_BINARY, &[PING]), 1002);
}

#[test]
fn an_unknown_opcode_is_a_protocol_error() {
    for opcode in [0x83, 0x87, 0x8B, 0x8F] {
        expect_close(&web_frame(opcode, b"x"), 1002);
    }
}

#[test]
fn reserved_bits_are_a_protocol_error() {
    for first in [0xC2, 0xA2, 0x92] {
        expect_close(&web_frame(first, &[PING]), 1002);
    }
}

#[test]
fn a_continuation_of_nothing_is_a_protocol_error() {
    expect_close(&web_frame(LAST, b"x"), 1002);
}

#[test]
fn a_new_message_within_another_is_a_protocol_error() {
    expect_close(&[web_frame(FIRST_BINARY, b"\x04"), web_frame(FINAL_BINARY, &[PING])].concat(), 1002);
}

#[test]
fn a_control_frame_in_pieces_is_a_protocol_error() {
    expect_close(&web_frame(0x09, b"x"), 1002);
}

#[test]
fn a_control_frame_of_more_than_125_bytes_is_a_protocol_error() {
    expect_close(&web_frame(PING_FRAME, &[0; 126]), 1002);
}

#[test]
fn a_message_far_too_large_is_refused_as_such() {
    expect_close(&web_frame(FINAL_BINARY, &vec![8; 200_000]), 1003);
}

#[test]
fn a_message_that_only_claims_to_be_huge_is_refused_at_once() {
    let head = [&[FINAL_BINARY, 0xFF][..], &(1_u64 << 40).to_be_bytes(), &[0; 4]].concat();
    expect_close(&head, 1003);
    let head = [&[FINAL_BINARY, 0xFF][..], &u64::MAX.to_be_bytes(), &[0; 4]].concat();
    let hub = Hub::new();
    let mut client = hub.web("uid-123456");
    client.send_bytes(&head);
    client.expect_closed();
}

#[test]
fn fragments_that_add_up_to_too_much_are_refused() {
    let hub = Hub::new();
    let mut client = hub.web("uid-123456");
    client.send_bytes(&web_frame(FIRST_BINARY, &vec![8; 60_000]));
    client.send_bytes(&web_frame(CONTINUATION, &vec![8; 60_000]));
    client.expect_close_code(1003);
}

#[test]
fn a_payload_above_the_limit_never_reaches_subscribers() {
    let hub = Hub::new();
    let (mut raw, mut web, mut other) = (hub.raw("raw-123"), hub.web("web-123"), hub.raw("other-1"));
    let tid = raw.subscribe("topic");
    web.subscribe("topic");
    for size in [MAX_PAYLOAD + 1, MAX_PAYLOAD + 2, MAX_PAYLOAD + 15, MAX_PAYLOAD + 16, 70_000] {
        let mut from = hub.web("from-1");
        from.publish(tid, 0, vec![0x5A; size]);
        other.publish(tid, 0, "a good one");
        raw.expect(&publish(tid, other.etid, 0, "a good one"));
        web.expect(&publish(tid, other.etid, 0, "a good one"));
    }
}

#[test]
fn a_raw_frame_with_a_payload_above_the_limit_never_reaches_subscribers() {
    let hub = Hub::new();
    let (mut raw, mut from) = (hub.raw("raw-123"), hub.raw("from-1"));
    let tid = raw.subscribe("topic");
    // A raw frame has room for no more than this.
    let most = 65_532 - 12;
    assert_eq!(most, MAX_PAYLOAD);
    from.publish(tid, 0, vec![0x5A; most]);
    raw.expect(&publish(tid, from.etid, 0, vec![0x5A; most]));
    from.expect_silence();
}

#[test]
fn a_close_frame_is_answered_with_its_status() {
    let hub = Hub::new();
    for status in [1000, 1001, 3000, 4999] {
        let mut client = hub.web("uid-123456");
        client.send_close(status);
        client.expect_close_code(status);
    }
}

#[test]
fn a_close_frame_with_a_status_that_may_not_be_sent_is_a_protocol_error() {
    let hub = Hub::new();
    let payloads = [0_u16, 999, 1004, 1005, 1006, 1015, 2999, 5000].map(|status| status.to_be_bytes().to_vec());
    for payload in payloads.into_iter().chain([vec![3]]) {
        let mut client = hub.web("uid-123456");
        client.send_bytes(&web_frame(0x88, &payload));
        client.expect_close_code(1002);
    }
}

#[test]
fn a_close_frame_is_answered_behind_what_came_before_it() {
    let hub = Hub::with("permittop = function() ba.sleep(5) return true end");
    let mut client = hub.web("uid-123456");
    client.send_bytes(&[web_frame(0x82, &subscribe("topic")), web_frame(0x88, &1000_u16.to_be_bytes())].concat());
    let suback = client.receive();
    assert_eq!(suback[..2], [SUBACK, 0]);
    client.expect_close_code(1000);
}

#[test]
fn a_close_frame_behind_a_disconnect_is_not_answered_by_a_second_one() {
    let denied = ack(SUBACK, 1, 0, "topic");
    for (options, question, answer) in
        [("", ping(), pong()), ("permittop = function() return false end", subscribe("topic"), denied)]
    {
        let hub = Hub::with(options);
        let mut client = hub.web("uid-123456");
        let packets = [question, disconnect("")].map(|packet| web_frame(FINAL_BINARY, &packet)).concat();
        client.send_bytes(&[packets, web_frame(0x88, &3000_u16.to_be_bytes())].concat());
        let mut received = Vec::new();
        client.stream().read_to_end(&mut received).expect("the end");
        assert_eq!(received, [web_frame_unmasked(FINAL_BINARY, &answer), b"\x88\x02\x03\xe8".to_vec()].concat());
    }
}

#[test]
fn a_close_frame_without_a_status_is_answered() {
    let hub = Hub::that_records_lives();
    let mut client = hub.web("uid-123456");
    client.send_bytes(&web_frame(0x88, b""));
    client.expect_closed();
    hub.expect_events(json!([["onconnect", "uid-123456"], ["onclose", "uid-123456", "socketclosed"]]));
}

#[test]
fn a_mistake_before_connect_is_refused_at_once() {
    let hub = Hub::with("readtmo = 120000");
    let mut client = hub.open(Via::WebSocket);
    client.send_bytes(&web_frame_unmasked(FINAL_BINARY, &connect(b"uid-123456", b"", b"")));
    client.expect_close_code(1002);
}

#[test]
fn a_close_frame_during_the_handshake_is_answered() {
    let hub = Hub::that_records_lives();
    let mut client = hub.open(Via::WebSocket);
    client.send_close(1000);
    client.expect_close_code(1000);
    assert_eq!(hub.events(), json!([]));
}

#[test]
fn a_refusal_is_followed_by_a_close_frame() {
    let hub = Hub::with("authenticate = function() return 3 end");
    let mut client = hub.open(Via::WebSocket);
    client.send(&connect(b"uid-123456", b"", b""));
    client.expect(&connack(3, 0, ""));
    client.expect_close_code(1000);
}

#[test]
fn a_close_frame_is_answered_though_the_server_closes_the_client_meanwhile() {
    // The shutdown comes when the client's packets are handled, and before its own thread goes on to the close frame.
    let hub = Hub::with("permittop = function() ba.thread.run(function() hub:shutdown('bye') end) return true end");
    let mut client = hub.web("uid-123456");
    let frames = [(0x82, subscribe("topic")), (0x88, 1000_u16.to_be_bytes().to_vec())];
    client.send_bytes(&frames.map(|(first, payload)| web_frame(first, &payload)).concat());
    client.receive();
    client.expect(&disconnect("bye"));
    client.expect_close_code(1000);
}
