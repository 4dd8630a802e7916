//! The wire protocol, with its bytes written out, and properties that hold for all bytes.

use proptest::prelude::*;
use smq::protocol::*;

/// Encodes to these bytes, and decodes from them.
fn both_ways(packet: Packet<'_>, wire: &[u8]) {
    let mut encoded = Vec::new();
    packet.encode(&mut encoded).unwrap();
    assert_eq!(encoded, wire);
    assert_eq!(decode_frame(wire), Ok(Some((packet, wire.len()))));
}

#[test]
fn init_has_version_seed_and_address() {
    let init = Packet::Init { version: 1, seed: 0x01020304, address: b"127.0.0.1" };
    both_ways(init, b"\x00\x11\x01\x01\x01\x02\x03\x04127.0.0.1");
}

#[test]
fn connect_has_two_fields_with_a_length_and_the_rest_is_info() {
    let connect = Connect { version: 1, uid: b"uid-001", credentials: b"pw", info: b"info" };
    both_ways(Packet::Connect(connect), b"\x00\x13\x02\x01\x07uid-001\x02pwinfo");
}

#[test]
fn connect_version_2_has_a_number_behind_the_version() {
    let connect = Connect { version: 2, uid: b"uid-001", credentials: b"", info: b"" };
    both_ways(Packet::Connect(connect), b"\x00\x0f\x02\x02\x00\x00\x07uid-001\x00");
}

#[test]
fn connack_has_a_code_the_etid_and_a_reason() {
    let accepted = Packet::Connack { code: ReturnCode::ACCEPTED, etid: Etid(7), reason: b"" };
    both_ways(accepted, b"\x00\x08\x03\x00\x00\x00\x00\x07");
    let refused = Packet::Connack { code: ReturnCode::CREDENTIALS, etid: Etid(0), reason: b"who?" };
    both_ways(refused, b"\x00\x0c\x03\x03\x00\x00\x00\x00who?");
}

#[test]
fn names_are_the_whole_body() {
    both_ways(Packet::Subscribe { name: b"news" }, b"\x00\x07\x04news");
    both_ways(Packet::Create { name: b"" }, b"\x00\x03\x06");
    both_ways(Packet::Createsub { name: b"a\0b" }, b"\x00\x06\x11a\0b");
}

#[test]
fn the_three_acknowledgements_have_the_same_body() {
    let granted = Ack { granted: Some(0x0A0B0C0D), name: b"news" };
    let denied = Ack { granted: None, name: b"news" };
    both_ways(Packet::Suback(granted), b"\x00\x0c\x05\x00\x0a\x0b\x0c\x0dnews");
    both_ways(Packet::Createack(denied), b"\x00\x0c\x07\x01\x00\x00\x00\x00news");
    both_ways(Packet::Createsuback(granted), b"\x00\x0c\x12\x00\x0a\x0b\x0c\x0dnews");
}

#[test]
fn publish_has_target_publisher_subtopic_and_payload() {
    let publish = Publish { target: Target(5), publisher: Etid(6), subtid: Subtid(7), payload: b"hi" };
    both_ways(Packet::Publish(publish), b"\x00\x11\x08\0\0\0\x05\0\0\0\x06\0\0\0\x07hi");
    both_ways(Packet::PubFrag(publish), b"\x00\x11\x13\0\0\0\x05\0\0\0\x06\0\0\0\x07hi");
}

#[test]
fn the_short_packets() {
    both_ways(Packet::Unsubscribe { target: Target(5) }, b"\x00\x07\x09\0\0\0\x05");
    both_ways(Packet::Observe { target: Target(5) }, b"\x00\x07\x0e\0\0\0\x05");
    both_ways(Packet::Unobserve { target: Target(5) }, b"\x00\x07\x0f\0\0\0\x05");
    both_ways(Packet::Change { target: Target(5), subscribers: 3 }, b"\x00\x0b\x10\0\0\0\x05\0\0\0\x03");
    both_ways(Packet::Disconnect { reason: b"bye" }, b"\x00\x06\x0bbye");
    both_ways(Packet::Ping, b"\x00\x03\x0c");
    both_ways(Packet::Pong, b"\x00\x03\x0d");
}

#[test]
fn bytes_behind_the_number_of_an_observation_are_ignored() {
    let (packet, length) = decode_frame(b"\x00\x09\x0e\0\0\0\x05xy").unwrap().unwrap();
    assert_eq!((packet, length), (Packet::Observe { target: Target(5) }, 9));
}

#[test]
fn a_ping_may_have_a_body() {
    assert_eq!(Packet::decode(b"\x0cwhatever"), Ok(Packet::Ping));
}

#[test]
fn a_frame_is_waited_for_until_its_last_byte() {
    let frame = b"\x00\x07\x04news";
    for length in 0..frame.len() {
        assert_eq!(decode_frame(&frame[..length]), Ok(None));
    }
}

#[test]
fn a_frame_shorter_than_its_own_head_is_malformed() {
    for length in 0..3 {
        assert_eq!(decode_frame(&[0, length]), Err(Error::FrameLength(usize::from(length))));
    }
}

#[test]
fn lengths_that_point_beyond_the_packet_are_malformed() {
    for message in [
        &b"\x02"[..],                      // no version
        b"\x02\x01",                       // no uid length
        b"\x02\x01\x07uid-00",             // the uid ends early
        b"\x02\x01\x07uid-001",            // no credentials length
        b"\x02\x01\x07uid-001\x03pw",      // the credentials end early
        b"\x02\x02\x00",                   // version 2 without its number
        b"\x08\0\0\0\x05\0\0\0\x06\0\0\0", // a publish without all its ids
        b"\x09\0\0\0",
        b"\x0e\0\0\0",
        b"\x05\x00\0\0\0",
    ] {
        assert_eq!(Packet::decode(message), Err(Error::Short(message[0])), "{message:?}");
    }
}

#[test]
fn other_versions_and_types_are_refused_by_name() {
    assert_eq!(Packet::decode(b"\x02\x03\x07uid-001\x00"), Err(Error::Version(3)));
    for kind in [0, 10, 20, 255] {
        assert_eq!(Packet::decode(&[kind]), Err(Error::Unknown(kind)));
    }
    assert_eq!(Packet::decode(b""), Err(Error::Empty));
}

#[test]
fn the_longest_payload_fits_and_one_byte_more_does_not() {
    let publish =
        |payload| Packet::Publish(Publish { target: Target(5), publisher: Etid(6), subtid: Subtid(7), payload });
    let mut wire = b"before".to_vec();
    publish(&[b'x'; MAX_PAYLOAD]).encode(&mut wire).unwrap();
    assert_eq!(wire.len() - 6, MAX_FRAME);
    assert_eq!(MAX_PAYLOAD, 0xFFF0);
    let mut wire = b"before".to_vec();
    let error = publish(&[b'x'; MAX_PAYLOAD + 1]).encode(&mut wire);
    assert_eq!(error, Err(Error::TooLong(MAX_BODY + 1)));
    assert_eq!(wire, b"before");
}

#[test]
fn the_longest_name_fits_into_its_acknowledgement() {
    let name = vec![b'n'; MAX_NAME];
    let mut wire = Vec::new();
    assert_eq!(Packet::Suback(Ack { granted: Some(1), name: &name }).encode(&mut wire), Ok(()));
}

/// An owned packet of any type.
fn any_message() -> impl Strategy<Value = Vec<u8>> {
    let kinds = prop_oneof![1..=9u8, 11..=19u8];
    (kinds, proptest::collection::vec(any::<u8>(), 0..300)).prop_map(|(kind, mut body)| {
        body.insert(0, kind);
        body
    })
}

proptest! {
    #[test]
    fn any_bytes_are_a_packet_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = decode_frame(&bytes);
        let _ = Packet::decode(&bytes);
    }

    #[test]
    fn what_was_decoded_encodes_to_what_decodes_to_the_same(message in any_message()) {
        if let Ok(packet) = Packet::decode(&message) {
            let mut wire = Vec::new();
            packet.encode(&mut wire).unwrap();
            prop_assert_eq!(decode_frame(&wire), Ok(Some((packet, wire.len()))));
        }
    }

    #[test]
    fn a_stream_of_frames_is_found_again_wherever_it_is_cut(
        messages in proptest::collection::vec(any_message(), 1..8),
        cut in any::<proptest::sample::Index>(),
    ) {
        let mut wire = Vec::new();
        for message in &messages {
            wire.extend((message.len() as u16 + 2).to_be_bytes());
            wire.extend(message);
        }
        let cut = cut.index(wire.len());
        let (whole, fault) = smq::transport::raw::whole_frames(&wire[..cut]);
        prop_assert_eq!(fault, Ok(()));
        let frames = [&wire[..whole], &wire[whole..]].into_iter().flat_map(smq::transport::raw::frames);
        let found: Vec<&[u8]> = frames.map(|frame| &frame[2..]).collect();
        prop_assert_eq!(found, messages);
    }
}
