//! require"smq.client" against servers that TLS, silence or nonsense make difficult. What it does with an ordinary hub
//! is in tests/lua/client_test.lua.

mod support;

use std::io::{Read, Write};
use std::net::TcpListener;

use base64::Engine;
use support::{App, PATIENCE, Server, says, stranger};

const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\nSmqBroker: true\r\n\r\n";
const INIT: &[u8] = b"\x00\x11\x01\x01\x00\x00\x00\x07127.0.0.1";
const ACCEPTED: &[u8] = b"\x00\x08\x03\x00\x00\x00\x00\x09";

/// A server whose page `/` starts a client of the URL and ends when one of its callbacks has something to say.
fn server() -> Server {
    let page = "<?lsp
        local said
        local op = load('return ' .. (request:data'op' or '{}'))()
        op.ca = request:data'ca'
        local smq = require'smq.client'.create(request:data'url', op)
        function smq.onconnect(etid, seed, address)
            said = table.concat({ 'connected', address }, ' ')
            if request:data'stay' then said = nil end
        end
        function smq.onclose(why, canreconnect) said = why .. ' ' .. tostring(canreconnect) end
        while not said do ba.sleep(2) end
        response:write(said)
        smq:close() ?>";
    let connect = "<?lsp app.hub:connect(request) ?>";
    Server::start(
        App::new()
            .file("index.lsp", page)
            .file("hub/index.lsp", connect)
            .file("page.html", "no hub")
            .file(".preload", "hub = require'smq.hub'.create()"),
    )
}

fn ask(server: &Server, fields: &[(&str, &str)]) -> String {
    let answer = server.post_form("/", fields);
    assert_eq!(answer.status, 200, "{}\n{}", answer.body, server.output());
    answer.body
}

fn pem(server: &Server) -> String {
    let text = base64::engine::general_purpose::STANDARD.encode(server.certificate());
    format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")
}

#[test]
fn it_connects_over_tls_to_a_server_whose_certificate_is_trusted() {
    let server = server();
    let url = format!("https://localhost:{}/hub/", server.https().port());
    assert_eq!(ask(&server, &[("url", &url), ("ca", &pem(&server))]), "connected 127.0.0.1");
    assert_eq!(ask(&server, &[("url", &url), ("op", "{trusted=false}")]), "connected 127.0.0.1");
    let refused = ask(&server, &[("url", &url)]);
    assert!(refused.starts_with("no TLS with localhost") && refused.ends_with(" true"), "{refused}");
}

#[test]
fn it_follows_the_redirect_of_a_url_without_its_slash() {
    let server = server();
    assert_eq!(ask(&server, &[("url", &format!("http://{}/hub", server.http()))]), "connected 127.0.0.1");
}

#[test]
fn it_tells_what_the_server_answers_instead() {
    let server = server();
    let answer = |path: &str| ask(&server, &[("url", &format!("http://{}{path}", server.http()))]);
    assert_eq!(answer("/nothing.here"), "the server answers: HTTP/1.1 404 Not Found true");
    assert_eq!(answer("/page.html"), "the server does not speak SMQ true");
}

#[test]
fn a_server_that_nobody_runs_may_come_back() {
    let server = server();
    let free = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    let answer = ask(&server, &[("url", &format!("http://{free}/"))]);
    assert!(answer.starts_with(&format!("no connection to {free}")) && answer.ends_with(" true"), "{answer}");
}

#[test]
fn silence_in_each_step_of_the_handshake_is_a_timeout() {
    let server = server();
    for said in [b"", &HEAD[..17], HEAD, &[HEAD, &INIT[..3]].concat(), &[HEAD, INIT].concat()] {
        assert_eq!(ask(&server, &[("url", &says(said)), ("op", "{timeout=50}")]), "timeout true");
    }
}

#[test]
fn nonsense_is_told_as_such() {
    let server = server();
    for (said, expected) in [
        (&b"HTTP/1.1 200 OK\r\n\r\n\x00\x00"[..], "the server sent a malformed frame true"),
        (b"HTTP/1.1 200 OK\r\n\r\n\x00\x03\x0c", "the server does not speak SMQ true"),
        (b"HTTP/1.1 200 OK\r\n\r\n\x00\x05\x01\x01\x00", "the server does not speak SMQ true"),
        (b"220 mail.example.org\r\n\r\n", "the server answers: 220 mail.example.org true"),
        (b"HTTP/1.1 302 Found\r\nLocation: http://example.org/\r\n\r\n", "the server answers: HTTP/1.1 302 Found true"),
    ] {
        assert_eq!(ask(&server, &[("url", &says(said))]), expected);
    }
    let long_address = [HEAD, b"\x01\x2c\x01\x01\x00\x00\x00\x07", &[b'1'; 0x12c - 8]].concat();
    assert_eq!(ask(&server, &[("url", &says(long_address))]), "the server does not speak SMQ true");
    let endless = stranger(|stream, _| while stream.write_all(&[b'x'; 4096]).is_ok() {});
    assert_eq!(ask(&server, &[("url", &endless)]), "the HTTP response has no end true");
}

#[test]
fn a_server_that_answers_no_ping_is_given_up() {
    let server = server();
    let url = stranger(|stream, _| {
        stream.write_all(&[HEAD, INIT].concat()).expect("the client reads");
        stream.write_all(ACCEPTED).expect("the client reads");
    });
    let answer = ask(&server, &[("url", &url), ("stay", "1"), ("op", "{ping=0.02, pong=0.02}")]);
    assert_eq!(answer, "the server does not answer a ping true");
}

#[test]
fn it_answers_a_ping() {
    let server = server();
    let url = stranger(|stream, _| {
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket has one");
        stream.write_all(&[HEAD, INIT].concat()).expect("the client reads");
        let mut length = [0; 2];
        stream.read_exact(&mut length).expect("Connect");
        let mut connect = vec![0; usize::from(u16::from_be_bytes(length)) - 2];
        stream.read_exact(&mut connect).expect("a whole Connect");
        stream.write_all(&[ACCEPTED, b"\x00\x03\x0c"].concat()).expect("the client reads");
        let mut pong = [0; 3];
        stream.read_exact(&mut pong).expect("an answer");
        assert_eq!(pong, [0, 3, 13]);
        stream.write_all(b"\x00\x07\x0bpong").expect("the client reads");
    });
    assert_eq!(ask(&server, &[("url", &url), ("stay", "1")]), "pong false");
}

#[test]
fn packets_that_are_cut_short_or_unknown_are_passed_over() {
    let server = server();
    let url = stranger(|stream, _| {
        stream.write_all(&[HEAD, INIT, ACCEPTED].concat()).expect("the client reads");
        for kind in 4..=255 {
            if kind != 11 {
                stream.write_all(&[0, 3, kind, 0, 4, kind, 9]).expect("the client reads");
            }
        }
        stream.write_all(b"\x00\x06\x0bend").expect("the client reads");
    });
    assert_eq!(ask(&server, &[("url", &url), ("stay", "1")]), "end false");
}

#[test]
fn a_server_cannot_make_it_remember_names_that_nobody_has_asked_for() {
    let url = stranger(|stream, _| {
        let unasked = b"\x00\x0b\x07\x00\x00\x00\x00\x05one\x00\x0b\x05\x00\x00\x00\x00\x06two";
        let message = b"\x00\x0f\x08\x00\x00\x00\x09\x00\x00\x00\x01\x00\x00\x00\x00";
        stream.write_all(&[HEAD, INIT, ACCEPTED, unasked, message].concat()).expect("the client reads");
    });
    let page = "<?lsp
        local said
        local smq = require'smq.client'.create(request:data'url')
        function smq.onmsg() said = {smq:unobserve'one', smq:unsubscribe'two'} end
        while not said do ba.sleep(2) end
        response:write(tostring(said[1]), ' ', tostring(said[2]))
        smq:close() ?>";
    let server = Server::start(App::new().file("index.lsp", page));
    assert_eq!(ask(&server, &[("url", &url)]), "false false");
}

/// A server that accepts a client and then reads nothing of what it sends.
fn deaf() -> String {
    stranger(|stream, _| {
        stream.write_all(&[HEAD, INIT, ACCEPTED].concat()).expect("the client reads");
        std::thread::sleep(PATIENCE);
    })
}

/// Runs this code in `onconnect`, and tells what is said then or why the connection ends.
fn ask_when_connected(op: &str, code: &str) -> String {
    let page = format!(
        "<?lsp local said
        local smq = require'smq.client'.create(request:data'url', {op})
        function smq.onconnect() ba.socket.event(function() {code} end) end
        function smq.onclose(why, canreconnect) said = (said or '') .. why .. ' ' .. tostring(canreconnect) end
        while not said or said:find'; $' do ba.sleep(2) end
        response:write(said) ?>"
    );
    ask(&Server::start(App::new().file("index.lsp", page)), &[("url", &deaf())])
}

#[test]
fn a_server_that_does_not_read_loses_messages_but_no_other_packet() {
    let code = "local sent, lost = 0, 0
        local function put()
            sent = sent + 1
            if not smq:publish(('x'):rep(60000), 7) then lost = lost + 1 end
        end
        for k = 1, 2000 do ba.socket.event(put) if k % 100 == 0 then ba.sleep(0) end end
        said = sent .. (lost > 1000 and ' sent, most lost; ' or ' sent, few lost; ')
        for _ = 1, 2000 do ba.socket.event(function() smq:create('a name', print) end) end
        for k = 1, 2000 do ba.socket.event(function() smq:create('name ' .. k) end) end";
    assert_eq!(ask_when_connected("nil", code), "2000 sent, most lost; the server does not read true");
}

#[test]
fn a_server_that_does_not_read_is_given_up_when_it_answers_no_ping() {
    let code = "while smq:publish(('x'):rep(60000), 7) do end";
    let answer = ask_when_connected("{ping=0.02, pong=0.02}", code);
    assert_eq!(answer, "the server does not answer a ping true");
}
