//! Sockets of scripts: `ba.socket`.

mod support;

use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;
use std::time::Duration;

use support::{App, Server, Stream, says, stranger};
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::{Error, Message, WebSocket};

/// A server with this page at `/`.
fn server(page: &str) -> Server {
    Server::start(App::new().file("index.lsp", page))
}

/// A server whose page gives the request's socket to this function.
fn socket_server(function: &str) -> Server {
    server(&format!(
        "<?lsp local function serve(s, ...) {function} end \
         local s = ba.socket.req2sock(request) if s then s:event(serve, 's', 1, 'two') end ?>"
    ))
}

fn websocket(stream: Stream) -> WebSocket<Stream> {
    let (websocket, _) = tungstenite::client("ws://localhost/", stream).map_err(|_| "refused").expect("a handshake");
    websocket
}

fn raw(server: &Server) -> Stream {
    let mut stream = server.dial();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("the server reads");
    stream
}

fn read_to_end(stream: &mut Stream) -> String {
    let mut text = Vec::new();
    stream.read_to_end(&mut text).expect("the server closes in order");
    String::from_utf8_lossy(&text).into_owned()
}

/// What a page with this code writes; it may call `port()` and `secure_port()` for the server's own.
fn run(code: &str) -> String {
    let server = server("<?lsp response:write(load(request:data'code', '=code', 't', _ENV)()) ?>");
    let answer = server.post_form("/", &[("code", code)]);
    assert_eq!(answer.status, 200, "{}\n{}", answer.body, server.output());
    answer.body
}

const ECHO: &str = "while true do local data, text = s:read() if not data then break end s:write(data, text) end";

#[test]
fn a_websocket_echoes_text_as_text_and_bytes_as_bytes() {
    let server = socket_server(ECHO);
    for stream in [server.dial(), server.dial_tls()] {
        let mut client = websocket(stream);
        for message in [
            Message::text("h\u{e9}llo"),
            Message::binary(vec![0, 255, 7]),
            Message::text(""),
            Message::binary(vec![7; 300_000]),
            Message::text("x".repeat(70_000)),
        ] {
            client.send(message.clone()).expect("the server reads");
            assert_eq!(client.read().expect("an echo"), message);
        }
    }
}

#[test]
fn a_text_message_has_to_be_text() {
    let server = socket_server("local ok, why = pcall(s.write, s, '\\xff', true) s:write(tostring(ok) .. why, true)");
    let mut websocket = websocket(server.dial());
    let told = websocket.read().expect("a message").into_text().expect("text");
    assert!(told.starts_with("false") && told.contains("UTF-8 expected for a text message"), "{told}");
}

#[test]
fn a_request_that_is_no_websocket_becomes_a_plain_socket() {
    let server =
        socket_server("s:write('hello ', true) s:write(s:read(), true) s:write(' ' .. tostring(s:websocket()))");
    let mut client = raw(&server);
    client.write_all(b"you\xff").expect("the server reads");
    assert_eq!(read_to_end(&mut client), "hello you\u{fffd} false");
}

#[test]
fn a_socket_tells_the_addresses_of_both_ends() {
    let server = socket_server(
        "local function port(...) return (select(2, ...)) end
         local own = ba.socket.connect('127.0.0.1', port(s:sockname()))
         s:write(table.concat({port(s:peername()), port(s:sockname()), port(own:peername()),
             tostring(port(own:sockname()) == port(own:peername())), tostring(s:issecure())}, ' '))",
    );
    let (http, https) = (server.http().port(), server.https().port());
    let mut plain = raw(&server);
    let Stream::Plain(socket) = &plain else { panic!("no TLS was asked for") };
    let client = socket.local_addr().expect("it is open").port();
    assert_eq!(read_to_end(&mut plain), format!("{client} {http} {http} false false"));
    let mut secure = server.dial_tls();
    secure.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("the server reads");
    let told = read_to_end(&mut secure);
    assert!(told.ends_with(&format!(" {https} {https} false true")), "{told}");
}

#[test]
fn a_socket_of_a_variable_to_be_closed_is_closed_where_that_ends() {
    let server = socket_server("do local s <close> = s end trace(tostring(s), s:write'x')");
    assert_eq!(read_to_end(&mut raw(&server)), "");
    server.expect_output("nil\tsocketclosed");
}

#[test]
fn an_option_of_event_that_does_not_exist_is_named() {
    let server = socket_server("local ok, why = pcall(s.event, s, print, 'x') s:write(why)");
    let text = read_to_end(&mut raw(&server));
    assert!(text.ends_with("bad argument #2 'option' to 'socket:event' (\"s\" expected, got x)"), "{text}");
}

#[test]
fn the_function_gets_the_socket_and_what_was_passed() {
    let server = socket_server("s:write(table.concat({select('#', ...), ...}, ','))");
    assert_eq!(read_to_end(&mut raw(&server)), "2,1,two");
}

#[test]
fn the_socket_closes_when_the_function_returns_or_fails() {
    for end in ["return", "error'it failed'"] {
        let server = socket_server(&format!("s:write'bye' {end}"));
        let mut client = websocket(server.dial());
        assert_eq!(client.read().expect("what was written first"), Message::binary("bye"));
        let Message::Close(Some(close)) = client.read().expect("a close frame") else { panic!("no status") };
        assert_eq!(close.code, CloseCode::Normal);
        assert!(matches!(client.read(), Err(Error::ConnectionClosed)));
    }
}

#[test]
fn an_error_in_the_function_is_shown_with_its_place() {
    let server = socket_server("error'it failed'");
    read_to_end(&mut raw(&server));
    server.expect_output("index.lsp:1: it failed");
}

#[test]
fn a_read_with_a_limit_tells_of_the_timeout_and_the_socket_goes_on() {
    let server = socket_server("local data, why = s:read(1) s:write(tostring(data) .. ' ' .. why) s:write(s:read())");
    let mut client = websocket(server.dial());
    assert_eq!(client.read().expect("a word"), Message::binary("nil timeout"));
    client.send(Message::text("still here")).expect("the server reads");
    assert_eq!(client.read().expect("the rest"), Message::text("still here"));
}

#[test]
fn the_end_is_told_with_the_clients_status() {
    let server = socket_server("trace(s:read()) trace(s:read()) trace(s:write'x')");
    let mut client = websocket(server.dial());
    let code = CloseCode::Library(4001);
    client.close(Some(tungstenite::protocol::CloseFrame { code, reason: "".into() })).expect("it is sent");
    while client.read().is_ok() {}
    server.expect_output("nil\tsocketclosed\t4001");
    let server = socket_server("trace(s:read())");
    drop(raw(&server));
    server.expect_output("nil\tsocketclosed");
}

#[test]
fn a_websocket_message_beyond_the_limit_closes_with_1003() {
    let server = socket_server("trace(s:read())");
    let mut client = websocket(server.dial());
    client.send(Message::binary(vec![0; (1 << 20) + 1])).expect("the server reads its head at least");
    let Message::Close(Some(close)) = client.read().expect("a close frame") else { panic!("no status") };
    assert_eq!(close.code, CloseCode::Unsupported);
    server.expect_output("nil\tsocketclosed\t1003");
}

#[test]
fn a_socket_is_taken_once() {
    let page = "<?lsp local s = ba.socket.req2sock(request) local t, why = ba.socket.req2sock(request)
        s:write(tostring(t) .. ' ' .. why) s:close() ?>";
    let text = read_to_end(&mut raw(&server(page)));
    assert!(text.starts_with("nil ") && text.contains("taken already"), "{text}");
}

#[test]
fn one_waiting_coroutine_holds_up_nobody() {
    let server = socket_server(ECHO);
    let mut clients: Vec<_> = (0..20).map(|_| websocket(server.dial())).collect();
    for (index, client) in clients.iter_mut().enumerate().rev() {
        client.send(Message::text(format!("{index}"))).expect("the server reads");
        assert_eq!(client.read().expect("an echo"), Message::text(format!("{index}")));
    }
}

#[test]
fn two_readers_of_one_socket_are_told_apart() {
    let server = socket_server(
        "ba.socket.event(function() local ok, e = pcall(s.read, s) s:write(tostring(e)) s:close() end) \
         local data, why = s:read() trace('first:', data, why)",
    );
    let text = read_to_end(&mut raw(&server));
    assert_eq!(text, "index.lsp:1: socket:read: another coroutine reads this socket already");
    server.expect_output("first:\tnil\tsocketclosed");
}

#[test]
fn a_client_that_does_not_read_makes_its_writer_wait_and_nobody_else() {
    let server = socket_server("while s:write(('x'):rep(100000)) do end trace'the writer has ended'");
    let silent = raw(&server);
    // The page is served all the same, again and again.
    for _ in 0..3 {
        assert_eq!(raw(&server).read(&mut [0; 10]).expect("bytes"), 10);
    }
    assert!(server.memory() < 200 << 20, "{} bytes", server.memory());
    drop(silent);
    server.expect_output("the writer has ended");
}

#[test]
fn callbacks_that_write_to_a_client_that_does_not_read_are_refused_beyond_a_bound_and_the_rest_is_in_order() {
    const COUNT: u32 = 20_000;
    let server = socket_server(&format!(
        "local lost, left, last = 0, {COUNT}, nil
         local function put(k)
             local done, why = s:write(string.pack('>I4', k) .. ('x'):rep(4092))
             left = left - 1
             if not done then lost, last = lost + 1, why end
         end
         for k = 1, {COUNT} do ba.socket.event(put, k) if k % 100 == 0 then ba.sleep(0) end end
         trace('lost with ' .. tostring(last) .. ': ' .. lost .. '.', left)
         while left > 0 do ba.sleep(1) end"
    ));
    let mut client = raw(&server);
    server.expect_output("lost with overflow: ");
    let mut data = Vec::new();
    client.read_to_end(&mut data).expect("the server closes in order");
    let numbers: Vec<u32> = data.chunks(4096).map(|write| u32::from_be_bytes(*write.first_chunk().unwrap())).collect();
    assert!(numbers.is_sorted(), "{numbers:?}");
    let lost = COUNT as usize - numbers.len();
    server.expect_output(&format!("lost with overflow: {lost}."));
    server.expect_output("what scripts write to it is lost");
}

#[test]
fn a_script_connects_over_tcp_and_tls() {
    let server = server(
        "<?lsp local s <close> = assert(ba.socket.connect('localhost', tonumber(request:data'port'), {
             secure = request:data'ca' and true, ca = request:data'ca' }))
           s:write'GET /x.txt HTTP/1.0\\r\\nHost: localhost\\r\\n\\r\\n'
           local all = '' while true do local data = s:read() if not data then break end all = all .. data end
           print(s:issecure(), select('#', s:peername()), all:match'\\n([^\\n]*)$') ?>",
    );
    std::fs::write(server.app().path().join("x.txt"), "a file").expect("the folder is ours");
    let plain = server.post_form("/", &[("port", &server.http().port().to_string())]);
    assert_eq!(plain.body, "false\t3\ta file\n");
    let ca = pem(server.certificate());
    let secure = server.post_form("/", &[("port", &server.https().port().to_string()), ("ca", &ca)]);
    assert_eq!(secure.body, "true\t3\ta file\n");
}

fn pem(certificate: &[u8]) -> String {
    use base64::Engine;
    let text = base64::engine::general_purpose::STANDARD.encode(certificate);
    format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")
}

#[test]
fn a_certificate_that_nobody_vouches_for_is_refused_unless_the_script_says_so() {
    let server = server(
        "<?lsp local s, why = ba.socket.connect('localhost', tonumber(request:data'port'),
             { secure = true, trusted = not request:data'anybody' or false }) print(s ~= nil, why) ?>",
    );
    let port = server.https().port().to_string();
    assert_eq!(server.post_form("/", &[("port", &port)]).body, "false\tsslhandshake\n");
    assert_eq!(server.post_form("/", &[("port", &port), ("anybody", "1")]).body, "true\tnil\n");
    for (options, expected) in [("trusted = true", "sslhandshake"), ("secure = false, trusted = true", "nil")] {
        let code = format!("return tostring((select(2, ba.socket.connect('localhost', {port}, {{ {options} }}))))");
        assert_eq!(run(&code), expected, "{options}");
    }
}

/// What a page writes that has opened a WebSocket `s` to `target` and runs this code.
fn talk(server: &Server, target: &str, code: &str) -> String {
    let page = format!(
        "local http = require'httpc'.create{{trusted = false, timeout = 5000}}
         assert(http:request{{url = '{target}', redirect = false}})
         local s, why, sentence = ba.socket.http2sock(http) {code}"
    );
    let answer = server.post_form("/run.lsp", &[("code", &page)]);
    assert_eq!(answer.status, 200, "{}\n{}", answer.body, server.output());
    answer.body
}

fn echo_server() -> Server {
    let echo = format!("<?lsp local s = ba.socket.req2sock(request) s:event(function(s) {ECHO} end, 's') ?>",);
    let run = "<?lsp load(request:data'code', '=code', 't', _ENV)() ?>";
    Server::start(App::new().file("index.lsp", &echo).file("run.lsp", run).file("a.txt", "a file"))
}

#[test]
fn a_script_opens_a_websocket_of_its_own() {
    let server = echo_server();
    for url in [format!("ws://{}/", server.http()), format!("wss://localhost:{}/", server.https().port())] {
        let text = talk(
            &server,
            &url,
            "assert(s, sentence) s:write('h\u{e9}llo', true) print(s:read())
             for _, data in ipairs{'\\0\\255', '', ('x'):rep(70000)} do
                s:write(data) local got, is_text = s:read() print(got == data, is_text)
             end
             print(s:websocket(), s:issecure(), select('#', s:peername()), s:close(), s:close(), s:write'x')
             print((tostring(s):gsub('%d', '')))",
        );
        let secure = url.starts_with("wss");
        let lines = "true\tfalse\n".repeat(3);
        assert_eq!(
            text,
            format!("h\u{e9}llo\ttrue\n{lines}true\t{secure}\t3\ttrue\tfalse\tnil\tsocketclosed\nclosed socket ...:\n")
        );
    }
    assert!(!server.output().contains("is lost"), "{}", server.output());
}

#[test]
fn a_request_that_did_not_become_a_websocket_can_be_read() {
    let server = echo_server();
    let url = format!("ws://{}/a.txt", server.http());
    assert_eq!(
        talk(&server, &url, "print(s, why, sentence) print(http:read'*a')"),
        "nil\tnotupgraded\tthe request did not become a WebSocket: the server answered with 200 OK\na file\n"
    );
    let upgraded = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                    Sec-WebSocket-Accept: bm90IHRoZSBrZXkgb2YgdGhpcw==\r\n\r\n";
    let url = says(upgraded).replace("http:", "ws:");
    assert_eq!(talk(&server, &url, "print(s, why)"), "nil\tinvalidresponse\n");
    let text = run("local ok, e = pcall(ba.socket.http2sock, require'http'.create()) return e");
    assert!(text.contains("ba.socket.http2sock: there is no request"), "{text}");
    for bad in ["5", "{}", "ba.create.dir'x'", "{client = 5}"] {
        let text = run(&format!("return (select(2, pcall(ba.socket.http2sock, {bad})))"));
        assert!(text.contains("bad argument #1 'http' to 'ba.socket.http2sock' (HTTP client expected, got "), "{text}");
    }
}

#[test]
fn what_another_server_sends_with_its_handshake_is_not_lost_and_its_mistakes_close() {
    let server = echo_server();
    let greets = |frames: &'static [u8]| {
        stranger(move |stream, head| {
            let key = head.lines().find_map(|line| line.strip_prefix("sec-websocket-key: ")).expect("a key");
            let accept = tungstenite::handshake::derive_accept_key(key.as_bytes());
            let head = format!(
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                 Sec-WebSocket-Accept: {accept}\r\n\r\n"
            );
            stream.write_all(&[head.as_bytes(), frames].concat()).expect("the client reads");
        })
        .replace("http:", "ws:")
    };
    let early = greets(b"\x81\x02hi\x88\x02\x0f\xa1");
    assert_eq!(talk(&server, &early, "print(s:read()) print(s:read())"), "hi\ttrue\nnil\tsocketclosed\t4001\n");
    let masked = greets(b"\x81\x82\x00\x00\x00\x00hi");
    assert_eq!(talk(&server, &masked, "print(s:read())"), "nil\tsocketclosed\t1002\n");
}

#[test]
fn a_connection_that_cannot_be_is_told_in_a_word_and_a_sentence() {
    let closed = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").port();
    let text = run(&format!(
        "return table.concat({{tostring((ba.socket.connect('127.0.0.1', {closed}))), \
         select(2, ba.socket.connect('127.0.0.1', {closed}))}}, '|')"
    ));
    assert!(text.starts_with(&format!("nil|cannotconnect|no connection to 127.0.0.1:{closed}")), "{text}");
    let text = run("return (select(2, ba.socket.connect('no such host', 1)))");
    assert_eq!(text, "cannotresolve");
}

#[test]
fn tls_with_somebody_who_is_silent_ends_in_a_timeout() {
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = silent.local_addr().expect("an address").port();
    let holder = thread::spawn(move || silent.accept().map(|(stream, _)| stream));
    let code = format!("return (select(2, ba.socket.connect('127.0.0.1', {port}, {{secure = true, timeout = 50}})))");
    assert_eq!(run(&code), "timeout");
    drop(holder.join());
}

#[test]
fn what_the_peer_sends_unread_is_bounded() {
    let server = socket_server("ba.sleep(600000)");
    let mut client = raw(&server);
    client.set_patience(Duration::from_secs(1));
    if let Stream::Plain(socket) = &client {
        socket.set_write_timeout(Some(Duration::from_secs(1))).expect("the time is not zero");
    }
    let before = server.memory();
    let chunk = vec![0; 1 << 20];
    let sent = (0..100).take_while(|_| client.write_all(&chunk).is_ok()).count();
    assert!(sent < 100, "the server took it all");
    assert!(server.memory() < before + (8 << 20), "{} bytes more", server.memory() - before);
}
