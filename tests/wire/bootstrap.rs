//! From an HTTP request to Init.

use std::io::{Read, Write};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use sha1::{Digest, Sha1};

use crate::support::*;

/// Sends a request as it is and returns the client behind it, before anything was read.
fn request(server: &Server, text: String) -> Client {
    let mut stream = server.dial();
    stream.write_all(text.as_bytes()).expect("the server reads requests");
    Client::raw(stream)
}

/// The first line of the answer to a request that is no SMQ request.
fn status(server: &Server, text: String) -> String {
    request(server, text).read_head().lines().next().unwrap_or_default().to_owned()
}

/// A raw client must be able to connect by this request, whose answer begins with Init.
fn expect_raw_start(hub: &Hub, text: String) {
    let mut client = request(&hub.server, text);
    client.read_init();
    client.login("uid-123456", "", "");
    client.sync();
}

#[test]
fn a_raw_client_gets_init_and_no_http_response() {
    let hub = Hub::new();
    expect_raw_start(&hub, format!("GET {} HTTP/1.1\r\nHost: x\r\nSimpleMQ: 1\r\n\r\n", hub.path()));
}

#[test]
fn any_value_of_the_simplemq_header_will_do() {
    let hub = Hub::new();
    for value in ["1", "true", "2", ""] {
        expect_raw_start(&hub, format!("GET {} HTTP/1.1\r\nHost: x\r\nSimpleMQ: {value}\r\n\r\n", hub.path()));
    }
}

#[test]
fn header_names_are_not_case_sensitive() {
    let hub = Hub::new();
    for name in ["simplemq", "SIMPLEMQ", "Simplemq"] {
        expect_raw_start(&hub, format!("GET {} HTTP/1.1\r\nHost: x\r\n{name}: 1\r\n\r\n", hub.path()));
    }
    let head = format!("GET {} HTTP/1.1\r\nHost: x\r\nsimplemq: 1\r\nsendsmqhttpresponse: true\r\n\r\n", hub.path());
    let mut client = request(&hub.server, head);
    assert!(client.read_head().starts_with("HTTP/1.1 200 "));
    client.read_init();
}

#[test]
fn http_1_0_without_a_host_will_do() {
    let hub = Hub::new();
    expect_raw_start(&hub, format!("GET {} HTTP/1.0\r\nSimpleMQ: 1\r\n\r\n", hub.path()));
    expect_raw_start(&hub, format!("GET {} HTTP/1.0\r\nHost: x\r\nSimpleMQ: 1\r\n\r\n", hub.path()));
}

#[test]
fn post_will_do() {
    let hub = Hub::new();
    let head = "HTTP/1.1\r\nHost: x\r\nSimpleMQ: 1\r\nContent-Length: 0\r\n\r\n";
    expect_raw_start(&hub, format!("POST {} {head}", hub.path()));
}

#[test]
fn post_with_a_form_will_do() {
    let hub = Hub::with("onconnect = function(tid, info) event(info.data.device) end");
    let form = "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 11";
    let head = format!("POST {} HTTP/1.1\r\nHost: x\r\nSimpleMQ: 1\r\n{form}\r\n\r\n", hub.path());
    expect_raw_start(&hub, head + "device=lamp");
    hub.expect_events(json!([["lamp"]]));
}

#[test]
fn a_directory_function_will_do() {
    let hub = Hub::new();
    for via in Via::ALL {
        let mut client = Client::open(&hub.server, via, &hub.directory_path());
        client.login("uid-123456", "", "");
        client.sync();
    }
}

#[test]
fn a_200_comes_first_if_the_client_asks_for_it() {
    let hub = Hub::new();
    let head = "HTTP/1.1\r\nHost: x\r\nSimpleMQ: true\r\nSendSmqHttpResponse: true\r\n\r\n";
    let mut client = request(&hub.server, format!("GET {} {head}", hub.path()));
    let answer = client.read_head().to_ascii_lowercase();
    assert!(answer.starts_with("http/1.1 200 "), "{answer}");
    assert!(answer.contains("\r\nsmqbroker: true\r\n"), "{answer}");
    assert!(!answer.contains("content-length"), "a length would end the body: {answer}");
    assert!(!answer.contains("transfer-encoding"), "the packets are not chunked: {answer}");
    client.read_init();
    client.login("uid-123456", "", "");
}

#[test]
fn a_200_comes_first_also_for_http_1_0_and_post() {
    let hub = Hub::new();
    for start in [format!("GET {} HTTP/1.0", hub.path()), format!("POST {} HTTP/1.1", hub.path())] {
        let headers = "Host: x\r\nContent-Length: 0\r\nSimpleMQ: 1\r\nSendSmqHttpResponse: true";
        let mut client = request(&hub.server, format!("{start}\r\n{headers}\r\n\r\n"));
        assert!(client.read_head().starts_with("HTTP/1.1 200 "), "{start}");
        client.read_init();
    }
}

#[test]
fn no_200_for_another_value_than_true() {
    let hub = Hub::new();
    for value in ["false", "1", "yes"] {
        let headers = format!("Host: x\r\nSimpleMQ: 1\r\nSendSmqHttpResponse: {value}");
        expect_raw_start(&hub, format!("GET {} HTTP/1.1\r\n{headers}\r\n\r\n", hub.path()));
    }
}

#[test]
fn a_request_of_neither_kind_gets_404() {
    let hub = Hub::new();
    let answer = hub.server.get(&hub.path());
    assert_eq!(answer.status, 404, "{answer:?}");
}

#[test]
fn sendsmqhttpresponse_alone_does_not_make_an_smq_request() {
    let hub = Hub::new();
    let head = "HTTP/1.1\r\nHost: x\r\nSendSmqHttpResponse: true\r\n\r\n";
    let answer = status(&hub.server, format!("GET {} {head}", hub.path()));
    assert!(answer.contains(" 404 "), "{answer}");
}

#[test]
fn the_page_goes_on_after_a_404() {
    let hub = Hub::new();
    hub.lua("function connect(request) hub:connect(request) event('went on') end");
    assert_eq!(hub.server.get(&hub.path()).status, 404);
    hub.expect_events(json!([["went on"]]));
}

#[test]
fn the_page_goes_on_once_the_handshake_is_over() {
    let hub = Hub::with("onconnect = function() event('onconnect') end");
    hub.lua("function connect(request) hub:connect(request) event('page goes on') end");
    hub.connect(Via::Raw, "uid-123456");
    hub.expect_events(json!([["onconnect"], ["page goes on"]]));
}

#[test]
fn connect_returns_to_the_page_after_a_refusal() {
    let hub = Hub::with("authenticate = function() return 3 end");
    hub.lua("function connect(request) hub:connect(request) event('page goes on') end");
    let mut client = hub.open(Via::Raw);
    client.send(&connect(b"uid-123456", b"", b""));
    client.expect_refused(BAD_CREDENTIALS);
    hub.expect_events(json!([["page goes on"]]));
}

#[test]
fn what_the_page_does_after_connect_leaves_the_client_alone() {
    for rest in ["request:abort()", "request:write('text')", "return true", "error('later')"] {
        let hub = Hub::new();
        hub.lua(&format!("function connect(request) hub:connect(request) {rest} end"));
        for via in Via::BOTH {
            let mut client = hub.connect(via, "uid-123456");
            client.sync();
        }
    }
}

#[test]
fn issmq_recognises_raw_and_websocket_requests() {
    let hub = Hub::new();
    hub.lua(
        "function connect(request)
           event(require'smq.hub'.isSMQ(request))
           hub:connect(request)
         end",
    );
    hub.open(Via::Raw);
    hub.open(Via::WebSocket);
    hub.server.get(&hub.path());
    hub.eventually("return #events", 3);
    let mut seen: Vec<String> = hub.events().as_array().unwrap().iter().map(|event| event[0].to_string()).collect();
    seen.sort();
    assert_eq!(seen, ["false", "true", "true"]);
}

#[test]
fn a_websocket_request_is_upgraded_with_the_right_accept_value() {
    let hub = Hub::new();
    let key = "dGhlIHNhbXBsZSBub25jZQ==";
    let headers = format!(
        "Host: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}"
    );
    let mut client = request(&hub.server, format!("GET {} HTTP/1.1\r\n{headers}\r\n\r\n", hub.path()));
    let head = client.read_head();
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    let accept = STANDARD.encode(Sha1::digest(format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11")));
    let lines: Vec<&str> = head.lines().collect();
    let value = |name: &str| {
        let found = lines.iter().filter_map(|line| line.split_once(": ")).find(|(n, _)| n.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value)
    };
    assert_eq!(value("Sec-WebSocket-Accept"), Some(accept.as_str()), "{head}");
    assert!(value("Upgrade").is_some_and(|value| value.eq_ignore_ascii_case("websocket")), "{head}");
    assert!(value("Connection").is_some_and(|value| value.eq_ignore_ascii_case("upgrade")), "{head}");
    assert_eq!(value("SmqBroker"), None, "{head}");
}

#[test]
fn websocket_header_names_and_tokens_may_be_written_as_browsers_do() {
    let hub = Hub::new();
    let headers = "host: x\r\nupgrade: WebSocket\r\nconnection: keep-alive, Upgrade\r\nsec-websocket-version: 13\r\n\
                   sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\norigin: http://x\r\n\
                   sec-websocket-extensions: permessage-deflate; client_max_window_bits";
    let mut client = request(&hub.server, format!("GET {} HTTP/1.1\r\n{headers}\r\n\r\n", hub.path()));
    let head = client.read_head().to_ascii_lowercase();
    assert!(head.starts_with("http/1.1 101 "), "{head}");
    assert!(!head.contains("sec-websocket-extensions"), "no extension is spoken: {head}");
}

#[test]
fn init_comes_in_a_binary_message_of_its_own() {
    let hub = Hub::new();
    let mut client = hub.open(Via::WebSocket);
    assert_ne!(client.seed, 0);
    client.send(&connect(b"uid-123456", b"", b""));
    client.expect_accepted();
}

#[test]
fn init_carries_the_clients_address() {
    let hub = Hub::new();
    for via in Via::ALL {
        assert_eq!(hub.open(via).address, "127.0.0.1", "{via:?}");
    }
}

#[test]
fn init_carries_another_seed_each_time() {
    let hub = Hub::new();
    let mut seeds: Vec<u32> = (0..8).map(|_| hub.open(Via::Raw).seed).collect();
    seeds.sort_unstable();
    seeds.dedup();
    assert!(seeds.len() >= 7, "seeds repeat: {seeds:?}");
}

#[test]
fn bytes_behind_the_request_head_are_not_lost() {
    let hub = Hub::new();
    let head = format!("GET {} HTTP/1.1\r\nHost: x\r\nSimpleMQ: 1\r\n\r\n", hub.path());
    let early = [frame(&connect(b"uid-123456", b"", b"")), frame(&subscribe("t"))].concat();
    let mut stream = hub.server.dial();
    stream.write_all(&[head.as_bytes(), &early].concat()).unwrap();
    let mut client = Client::raw(stream);
    client.read_init();
    client.expect_accepted();
    let ack = client.receive();
    assert_eq!((ack[0], ack[1]), (SUBACK, 0), "{}", describe(&ack));
    client.sync();
}

#[test]
fn bytes_behind_a_websocket_request_are_not_lost() {
    let hub = Hub::new();
    let headers = "Host: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";
    let head = format!("GET {} HTTP/1.1\r\n{headers}\r\n\r\n", hub.path());
    let early = web_frame(0x82, &connect(b"uid-123456", b"", b""));
    let mut stream = hub.server.dial();
    stream.write_all(&[head.as_bytes(), &early].concat()).unwrap();
    let mut seen = Vec::new();
    let mut buffer = [0; 1024];
    // Connack is the second frame behind the head, which ends with an empty line.
    while !seen.windows(2).any(|window| window == [CONNACK, ACCEPTED]) {
        let count = stream.read(&mut buffer).expect("the server goes on");
        assert!(count > 0, "closed after {}", seen.escape_ascii());
        seen.extend_from_slice(&buffer[..count]);
    }
}

#[test]
fn a_connection_may_carry_other_requests_first() {
    let hub = Hub::new();
    let mut stream = hub.server.dial();
    stream.write_all(b"GET /static.txt HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut buffer = [0; 4096];
    let mut answer = Vec::new();
    while !answer.ends_with(b"a file\n") {
        let count = stream.read(&mut buffer).expect("the file is served");
        assert!(count > 0, "closed after {}", answer.escape_ascii());
        answer.extend_from_slice(&buffer[..count]);
    }
    let head = format!("GET {} HTTP/1.1\r\nHost: x\r\nSimpleMQ: 1\r\n\r\n", hub.path());
    stream.write_all(head.as_bytes()).unwrap();
    let mut client = Client::raw(stream);
    client.read_init();
    client.login("uid-123456", "", "");
}

#[test]
fn a_head_that_comes_in_pieces_is_put_together() {
    let hub = Hub::new();
    let head = format!("GET {} HTTP/1.1\r\nHost: x\r\nSimpleMQ: 1\r\n\r\n", hub.path());
    let mut stream = hub.server.dial();
    for byte in head.as_bytes() {
        stream.write_all(&[*byte]).unwrap();
    }
    let mut client = Client::raw(stream);
    client.read_init();
    client.login("uid-123456", "", "");
}

#[test]
fn over_tls_the_200_and_init_travel_in_records_of_their_own() {
    let hub = Hub::new();
    let head = format!("GET {} HTTP/1.1\r\nHost: x\r\nSimpleMQ: true\r\nSendSmqHttpResponse: true\r\n\r\n", hub.path());
    let records = tls_records(&hub.server, head.as_bytes(), 2);
    assert!(records[0].starts_with(b"HTTP/1.1 200 "), "{}", records[0].escape_ascii());
    assert!(records[0].ends_with(b"\r\n\r\n"), "the record ends with the head: {}", records[0].escape_ascii());
    assert_eq!(records[1][2..4], [INIT, 1], "{}", records[1].escape_ascii());
}

/// What the first non-empty TLS records of application data carry, one entry a record.
fn tls_records(server: &Server, request: &[u8], count: usize) -> Vec<Vec<u8>> {
    let Stream::Tls(tls) = server.dial_tls() else { unreachable!("this is what dial_tls makes") };
    let (mut session, mut socket) = (tls.conn, tls.sock);
    let mut records = Vec::new();
    session.writer().write_all(request).unwrap();
    while records.len() < count {
        while session.wants_write() {
            session.write_tls(&mut socket).expect("the server reads");
        }
        let mut record = vec![0; 5];
        socket.read_exact(&mut record).expect("the server sends records");
        let length = u16::from_be_bytes([record[3], record[4]]);
        record.resize(5 + usize::from(length), 0);
        socket.read_exact(&mut record[5..]).expect("the server sends whole records");
        session.read_tls(&mut record.as_slice()).expect("a record fits");
        session.process_new_packets().expect("a valid record");
        let mut plain = [0; 1 << 15];
        match session.reader().read(&mut plain) {
            Ok(0) => panic!("closed after {} records", records.len()),
            Ok(length) => records.push(plain[..length].to_vec()),
            // A record of the handshake.
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock),
        }
    }
    records
}
