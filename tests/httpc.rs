//! The HTTP client of scripts, `require"http"` and `require"httpc"`, by what it sends and what it makes of answers.

mod support;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;

use support::{App, PATIENCE, Server, read_head, says, stranger};

/// Runs `code` in a page, with `url` and a client `http` at hand; what `print` shows of its results.
fn run_with(server: &Server, url: &str, code: &str) -> String {
    let answer = server.post_form("/", &[("code", code), ("url", url)]);
    assert_eq!(answer.status, 200, "{}\n{}", answer.body, server.output());
    answer.body.trim_end_matches('\n').to_owned()
}

fn server() -> Server {
    let page =
        "<?lsp http = require'http'.create{ca = request:data'ca', timeout = 5000} url = request:data'url' files = io
        print(load(request:data'code', '=code', 't', _ENV)()) ?>";
    Server::start(App::new().file("index.lsp", page).file("hello.txt", "hello\n").file("data.json", "{\"a\":[1,2]}"))
}

fn run(url: &str, code: &str) -> String {
    run_with(&server(), url, code)
}

/// A server that answers with 200 and an empty body; its URL and the request's head and body.
fn listener() -> (String, mpsc::Receiver<(String, Vec<u8>)>) {
    let (tell, told) = mpsc::channel();
    let url = stranger(move |stream, head| {
        let body = if head.contains("chunked") { read_chunks(stream) } else { read_body(stream, &head) };
        tell.send((head, body)).expect("the test waits");
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").expect("the client reads");
    });
    (url, told)
}

fn read_chunks(stream: &mut TcpStream) -> Vec<u8> {
    let mut body = Vec::new();
    while !body.ends_with(b"0\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("a whole body");
        body.push(byte[0]);
    }
    body
}

fn read_body(stream: &mut TcpStream, head: &str) -> Vec<u8> {
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.map_or(0, |length| length.parse().expect("a number"))];
    stream.read_exact(&mut body).expect("a whole body");
    body
}

/// What a request with this code sends.
fn sent(code: &str) -> (String, Vec<u8>) {
    let (url, told) = listener();
    assert_eq!(run(&url, &format!("{code} return http:status()")), "200");
    told.recv_timeout(PATIENCE).expect("the request came")
}

#[test]
fn a_file_is_read_from_a_server_over_http_and_https() {
    let server = server();
    let code = "http:request{url = url} return http:status(), http:header'Content-Length', http:read'*a', http:read()";
    let url = format!("http://{}/hello.txt", server.http());
    assert_eq!(run_with(&server, &url, code), "200\t6\thello\n\tnil");
    let code = format!("http = require'http'.create{{trusted = false}} {code}");
    let url = format!("https://localhost:{}/hello.txt", server.https().port());
    assert_eq!(run_with(&server, &url, &code), "200\t6\thello\n\tnil");
}

#[test]
fn a_certificate_that_nobody_vouches_for_is_refused_unless_the_script_says_so() {
    let server = server();
    let url = format!("https://localhost:{}/hello.txt", server.https().port());
    assert_eq!(run_with(&server, &url, "return select(2, http:request{url = url}) == 'sslhandshake'"), "true");
    let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap().cert.pem();
    for (trusted, expected) in [("true", "nil sslhandshake"), ("false", "true nil")] {
        let code = format!(
            "http = require'httpc'.create{{trusted = {trusted}, ca = [[{other}]]}}
             local done, why = http:request{{url = url}} return done, ' ', why"
        );
        assert_eq!(run_with(&server, &url, &code).replace('\t', ""), expected, "trusted = {trusted}");
    }
}

#[test]
fn the_head_of_a_request_says_what_the_script_said() {
    let (head, body) = sent(
        "http:request{url = url .. 'a/b?c=1', query = {['d e'] = '&', f = 2}, method = 'DELETE', header = {X = 'y'}}",
    );
    assert!(head.starts_with("DELETE /a/b?c=1&d%20e=%26&f=2 HTTP/1.1\r\n"), "{head}");
    assert!(head.contains("\r\nx: y\r\n") && head.contains("\r\nhost: 127.0.0.1:"), "{head}");
    assert!(head.contains("\r\nuser-agent: smq/") && !head.contains("content-length"), "{head}");
    assert!(body.is_empty());
    let (head, _) = sent("http:request{url = url, query = {e = 5, d = 4, c = 3, b = 2, a = true}}");
    assert!(head.starts_with("GET /?a=true&b=2&c=3&d=4&e=5 HTTP/1.1\r\n"), "{head}");
}

#[test]
fn credentials_of_the_client_or_the_request_are_sent() {
    for script in [
        "http = require'httpc'.create{user = 'me', password = 'se:cret'} http:request{url = url}",
        "http:request{url = url, user = 'me', password = 'se:cret'}",
        "http = require'httpc'.create{user = 'you'} http:request{url = url, user = 'me', password = 'se:cret'}",
    ] {
        let (head, _) = sent(script);
        assert!(head.contains("\r\nauthorization: Basic bWU6c2U6Y3JldA==\r\n"), "{script}: {head}");
    }
}

#[test]
fn what_a_request_says_counts_more_than_what_its_client_says() {
    let (head, _) = sent(
        "http = require'httpc'.create{header = {['User-Agent'] = 'me', X = 'client', Y = 'client'}}
         http:request{url = url, header = {x = 'request'}}",
    );
    assert!(head.contains("\r\nuser-agent: me\r\n") && head.contains("\r\ny: client\r\n"), "{head}");
    assert!(head.contains("\r\nx: request\r\n") && !head.contains("x: client"), "{head}");
    let code = "http = require'http'.create{redirect = false} http:request{url = url} return http:status()";
    assert_eq!(run(&says(redirect("302 Found", "/x")), code), "302");
}

#[test]
fn a_body_is_sent_whole_or_written_in_pieces() {
    let (head, body) = sent("http:request{url = url, method = 'POST', data = 'whole'}");
    assert!(head.contains("\r\ncontent-length: 5\r\n"), "{head}");
    assert_eq!(body, b"whole");
    let (head, body) =
        sent("http:request{url = url, method = 'PUT', size = 6} http:write'pie' http:write'' http:write'ces'");
    assert!(head.contains("\r\ncontent-length: 6\r\n"), "{head}");
    assert_eq!(body, b"pieces");
    let (head, body) = sent("http:request{url = url, method = 'POST'} http:write'one' http:write'two'");
    assert!(head.contains("\r\ntransfer-encoding: chunked\r\n"), "{head}");
    assert_eq!(String::from_utf8_lossy(&body), "3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n");
    let (head, body) = sent("http:request{url = url, method = 'DELETE', size = 3} http:write'why'");
    assert!(head.contains("\r\ncontent-length: 3\r\n"), "{head}");
    assert_eq!(body, b"why");
    let (head, _) = sent("http:request{url = url, method = 'POST', data = ''}");
    assert!(head.contains("\r\ncontent-length: 0\r\n"), "{head}");
}

#[test]
fn a_table_is_posted_as_json() {
    let (head, body) = sent("http:post(url, {a = {1, 'x'}})");
    assert!(head.starts_with("POST / ") && head.contains("\r\ncontent-type: application/json\r\n"), "{head}");
    assert_eq!(String::from_utf8_lossy(&body), "{\"a\":[1,\"x\"]}");
}

#[test]
fn json_is_decoded() {
    let server = server();
    let url = format!("http://{}/data.json", server.http());
    assert_eq!(run_with(&server, &url, "local t, status = http:json(url, {x = 1}) return t.a[2], status"), "2\t200");
    let url = format!("http://{}/hello.txt", server.http());
    assert_eq!(run_with(&server, &url, "return http:json(url)"), "nil\tjsonerr\thello");
    let url = format!("http://{}/no.json", server.http());
    assert_eq!(run_with(&server, &url, "return (select(2, http:json(url)))"), "404");
}

#[test]
fn the_connection_is_kept_for_the_next_request() {
    let url = stranger(|stream, _| {
        for _ in 0..2 {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").expect("the client reads");
            read_head(stream);
        }
        stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").expect("the client reads");
    });
    let code = "for i = 1, 3 do http:request{url = url} response:write(http:status(), ' ') end return ''";
    assert_eq!(run(&url, code), "200 200 204 ");
}

#[test]
fn a_connection_that_the_server_has_closed_while_the_script_ran_is_not_used_again() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}/", listener.local_addr().expect("an address"));
    let page = "<?lsp local http = require'http'.create()
        http:request{url = request:data'url'} response:write(http:status(), ' ')
        io:open('read', 'w'):close() while not io:stat'closed' do end
        http:request{url = request:data'url', method = 'POST', data = 'not sent twice'} response:write(tostring(http:status())) ?>";
    let app = App::new().file("index.lsp", page);
    let (read, closed) = (app.path().join("read"), app.path().join("closed"));
    thread::spawn(move || {
        for stream in listener.incoming().take(2) {
            let mut stream = stream.expect("a client");
            read_head(&mut stream);
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").expect("the client reads");
            while !read.exists() {
                thread::yield_now();
            }
            drop(stream);
            std::fs::write(&closed, "").expect("a folder");
        }
    });
    assert_eq!(Server::start(app).post_form("/", &[("url", &url)]).body, "200 200");
}

#[test]
fn what_may_be_repeated_is_sent_anew_if_the_server_closes_the_kept_connection_upon_it() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}/", listener.local_addr().expect("an address"));
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a client");
            read_head(&mut stream);
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").expect("the client reads");
            read_head(&mut stream);
        }
    });
    let code = "for _, method in ipairs{'GET', 'GET', 'PUT', 'POST'} do
          http:request{url = url, method = method, data = method ~= 'GET' and 'x' or nil}
          response:write(tostring(http:status()), ' ')
       end
       local _, why = http:status()
       http:request{url = url} response:write(http:status(), ' ')
       http:request{url = url, method = 'PUT', size = 1} http:write'x'
       return why, select(2, http:status()) == why";
    assert_eq!(run(&url, code), "200 200 200 nil 200 socketclosed\ttrue");
}

/// A server that answers each request with the number of its connection, from 1, and this body, and hangs up on TLS; its URL,
/// and the heads of the requests.
fn counts_connections(body: impl Fn(&mut TcpStream) + Send + Sync + 'static) -> (String, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}/", listener.local_addr().expect("an address"));
    let (body, (tell, told)) = (std::sync::Arc::new(body), mpsc::channel());
    thread::spawn(move || {
        for (index, stream) in listener.incoming().enumerate() {
            let (mut stream, body, tell) = (stream.expect("a client"), body.clone(), tell.clone());
            thread::spawn(move || {
                let mut first = [0];
                while stream.peek(&mut first).is_ok_and(|count| count > 0 && first != [0x16]) {
                    let _ = tell.send(read_head(&mut stream));
                    let _ = write!(stream, "HTTP/1.1 200 OK\r\nConnection-Number: {}\r\n", index + 1);
                    body(&mut stream);
                }
            });
        }
    });
    (url, told)
}

#[test]
fn the_rest_of_a_response_is_not_waited_for_if_it_is_long_or_late() {
    let code =
        "for i = 1, 2 do http:request{url = url} response:write(http:header'connection-number', ' ') end return ''";
    for (length, sent, expected) in [(60_000, 60_000, "1 1 "), (200_000, 200_000, "1 2 "), (2, 1, "1 2 ")] {
        let (url, _told) = counts_connections(move |stream| {
            let _ = write!(stream, "Content-Length: {length}\r\n\r\n{}", "x".repeat(sent));
        });
        assert_eq!(run(&url, code), expected, "{sent} of {length} bytes");
    }
}

#[test]
fn a_connection_is_kept_for_the_same_host_alone() {
    let (url, told) = counts_connections(|stream| {
        let _ = stream.write_all(b"Content-Length: 0\r\n\r\n");
    });
    let code = "http:request{url = url} response:write(http:header'connection-number', ' ')
        url = url:gsub('127.0.0.1', 'localhost')
        http:request{url = url} response:write(http:header'connection-number', ' ')
        return (select(2, http:request{url = url:gsub('http', 'https'), user = 'secret'}))";
    assert_eq!(run(&url, code), "1 2 sslhandshake");
    assert!(told.try_iter().all(|head| !head.contains("authorization")), "nothing secret goes over a plain connection");
}

#[test]
fn a_client_that_is_closed_lets_go_of_its_request_and_connection() {
    let (tell, told) = mpsc::channel();
    let url = stranger(move |stream, _| {
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").expect("the client reads");
        tell.send(stream.read(&mut [0]).expect("it ends in order")).expect("the test waits");
    });
    let code = "http:request{url = url} http:status() http:close() kept = http
        return (select(2, pcall(http.status, http)))";
    assert_eq!(run(&url, code), "code:2: http:status: there is no request; call http:request first");
    assert_eq!(told.recv_timeout(PATIENCE).expect("the connection has ended"), 0);
}

#[test]
fn a_client_that_is_closed_keeps_nobody_waiting() {
    let url = stranger(|_, _| {});
    let code = "http:request{url = url} local got ba.socket.event(function() got = {http:status()} end)
        ba.sleep(1) http:close() while not got do ba.sleep(1) end return table.unpack(got, 1, 3)";
    assert_eq!(run(&url, code), "nil\tsocketclosed\tthe script has closed the client meanwhile");
}

#[test]
fn the_body_is_read_in_pieces() {
    let url = says("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n");
    let code =
        "http:request{url = url} return http:read(3), http:read(4), http:read(100), http:read(1), http:read'*a' == ''";
    assert_eq!(run(&url, code), "hel\tlo w\torld\tnil\ttrue");
}

#[test]
fn all_headers_are_listed() {
    let url = says("HTTP/1.1 200 OK\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nContent-Length: 0\r\n\r\n");
    let code = "http:request{url = url} local all = {}
        for name, value in http:headerpairs() do all[#all + 1] = name .. '=' .. value end
        return table.concat(all, ' '), http:header()['set-cookie'], http:header'missing'";
    assert_eq!(run(&url, code), "set-cookie=a=1 set-cookie=b=2 content-length=0\tb=2\tnil");
}

#[test]
fn what_servers_do_wrong_is_told_in_a_word_and_a_sentence() {
    let failure = |answer: &'static str| {
        let url = says(answer);
        run(
            &url,
            "http = require'http'.create{timeout = 100} http:request{url = url} http:status() \
             return select(2, http:read'*a')",
        )
    };
    assert_eq!(failure("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab"), "timeout\tthe server did not answer in time");
    assert!(failure("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n").starts_with("socketclosed\t"));
    let status = |act: fn(&mut TcpStream, String)| {
        run(
            &stranger(act),
            "http = require'http'.create{timeout = 100} http:request{url = url} \
             return (select(2, http:status())), (select(2, http:read()))",
        )
    };
    assert_eq!(status(|_, _| ()), "timeout\tsocketclosed");
    assert_eq!(
        status(|stream, _| stream.shutdown(std::net::Shutdown::Both).expect("open")),
        "socketclosed\tsocketclosed"
    );
    assert_eq!(
        status(|stream, _| stream.write_all(b"nonsense\r\n\r\n").expect("open")),
        "invalidresponse\tsocketclosed"
    );
    let closed = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    assert_eq!(run(&format!("http://{closed}/"), "return (select(2, http:request{url = url}))"), "cannotconnect");
}

#[test]
fn whatever_is_asked_of_a_request_that_could_not_be_made_the_answer_is_why() {
    let closed = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    let code = "local _, word, sentence = http:request{url = url, method = 'POST'} \
                for _, method in ipairs{'status', 'read', 'header', 'headerpairs', 'status'} do \
                   local value, again, why = http[method](http) assert(not value and again == word and why == sentence, method) \
                end \
                assert(select(3, http:write'x') == sentence) return word";
    assert_eq!(run(&format!("http://{closed}/"), code), "cannotconnect");
}

#[test]
fn an_endless_answer_is_refused_and_not_stored() {
    let url = stranger(|stream, _| {
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").expect("the client reads");
        while stream.write_all(&[b'x'; 65536]).is_ok() {}
    });
    let code = "http = require'http'.create{maxsize = 100000} http:request{url = url} return select(2, http:read'*a')";
    assert_eq!(run(&url, code), "toolarge\tthe response has more than 100000 bytes");
    let code = code.replace("maxsize = 100000", "");
    let url = stranger(|stream, _| {
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").expect("the client reads");
        while stream.write_all(&[b'x'; 65536]).is_ok() {}
    });
    assert_eq!(run(&url, &code), "toolarge\tthe response has more than 16777216 bytes");
    let url = says("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
    let code = "http = require'http'.create{maxsize = 5} http:request{url = url} return http:read'*a'";
    assert_eq!(run(&url, code), "hello");
}

#[test]
fn a_body_that_is_complete_takes_no_more() {
    let server = server();
    let url = format!("http://{}/hello.txt", server.http());
    let code = "http:request{url = url} return (select(2, http:write'x'))";
    assert_eq!(run_with(&server, &url, code), "bodycomplete");
}

#[test]
fn a_server_that_does_not_take_the_body_is_told_in_a_word() {
    let code = "http = require'http'.create{timeout = 100} http:request{url = url, method = 'POST'}
        local piece, done, why = ('x'):rep(1000000)
        for i = 1, 1000 do done, why = http:write(piece) if not done then break end end return why";
    assert_eq!(run(&stranger(|_, _| thread::park()), code), "timeout");
    let ends = |stream: &mut TcpStream, _| {
        stream.shutdown(std::net::Shutdown::Write).expect("it is open");
        thread::park();
    };
    let patient = code.replace("timeout = 100", "timeout = 600000");
    assert_eq!(run(&stranger(ends), &patient), "socketclosed");
}

#[test]
fn a_body_does_not_become_longer_than_announced_and_the_script_learns_of_it() {
    let (url, told) = listener();
    let code = "http:request{url = url, method = 'POST', size = 4} \
                return (http:write'one'), (select(2, http:write'two')), (select(2, http:write'three')), (http:status())";
    assert_eq!(run(&url, code), "true\tbodycomplete\tbodycomplete\t200");
    assert_eq!(told.recv_timeout(PATIENCE).expect("a request").1, b"onet");
}

/// A redirect to this URL.
fn redirect(status: &str, location: &str) -> String {
    format!("HTTP/1.1 {status}\r\nLocation: {location}\r\nContent-Length: 4\r\n\r\ngone")
}

#[test]
fn redirects_of_requests_that_change_nothing_are_followed() {
    let server = server();
    let there = format!("http://{}/hello.txt", server.http());
    let code = "http:request{url = url, method = METHOD} return http:status(), http:read'*a'";
    for status in ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"] {
        let url = says(redirect(status, &there));
        assert_eq!(run_with(&server, &url, &code.replace("METHOD", "nil")), "200\thello", "{status}");
    }
    let url = says(redirect("302 Found", &there));
    assert_eq!(run_with(&server, &url, &code.replace("METHOD", "'HEAD'")), "200\t");
    let (there, told) = listener();
    let (head, _) = {
        let url = says(redirect("302 Found", &there));
        let code = "http:request{url = url, header = {Authorization = 'secret', Cookie = 'secret', X = 'kept'}}
            return http:status()";
        assert_eq!(run_with(&server, &url, code), "200");
        told.recv_timeout(PATIENCE).expect("the request came")
    };
    assert!(!head.contains("secret") && head.contains("\r\nx: kept\r\n"), "{head}");
    let host = there.trim_start_matches("http://").trim_end_matches('/');
    assert!(head.contains(&format!("\r\nhost: {host}\r\n")), "{there}: {head}");
}

#[test]
fn a_redirect_beside_the_url_goes_over_the_same_connection() {
    let (tell, told) = mpsc::channel();
    let url = stranger(move |stream, _| {
        for location in ["b?c=1", "/d", "//HOST/e"] {
            let location = location.replace("HOST", &stream.local_addr().expect("it is open").to_string());
            stream.write_all(redirect("302 Found", &location).as_bytes()).expect("the client reads");
            tell.send(read_head(stream)).expect("the test waits");
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nend").expect("the client reads");
    });
    let code = "http:request{url = url .. 'a/x?y=z', header = {Cookie = 'kept'}} return http:read'*a'";
    assert_eq!(run(&url, code), "end");
    for path in ["/a/b?c=1", "/d", "/e"] {
        let head = told.recv_timeout(PATIENCE).expect("the request came");
        assert!(head.starts_with(&format!("GET {path} HTTP/1.1\r\n")) && head.contains("cookie: kept"), "{head}");
    }
}

#[test]
fn redirects_are_not_followed_for_ever_and_only_when_they_are_wanted_and_harmless() {
    let url = stranger(|stream, _| {
        loop {
            stream.write_all(redirect("302 Found", "/").as_bytes()).expect("the client reads");
            read_head(stream);
        }
    });
    assert_eq!(
        run(&url, "http:request{url = url} return select(2, http:status())"),
        "redirects\tmore than 10 redirects in a row"
    );
    let answer = |location: &str| says(redirect("302 Found", location));
    let code = "http:request{url = url, CHANGE} return http:status(), http:header'location', http:read'*a'";
    for change in ["redirect = false", "method = 'POST', data = 'x'", "method = 'DELETE'", "data = 'x'"] {
        assert_eq!(run(&answer("/x"), &code.replace("CHANGE", change)), "302\t/x\tgone", "{change}");
    }
    for location in ["ftp://x/", "http://", "http://a b/", "javascript:alert(1)", "http://u:p@h/"] {
        assert_eq!(run(&answer(location), &code.replace("CHANGE", "")), format!("302\t{location}\tgone"));
    }
    // What was created has a place, too, and nobody is sent there.
    assert_eq!(run(&says(redirect("201 Created", "/x")), &code.replace("CHANGE", "")), "201\t/x\tgone");
}

/// `text`, compressed.
fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(text).expect("memory");
    encoder.finish().expect("memory")
}

fn says_gzip(body: &[u8], length: usize) -> String {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {length}\r\n\r\n");
    says([head.as_bytes(), body].concat())
}

#[test]
fn a_compressed_response_is_asked_for_and_unpacked_when_the_script_says_so() {
    let (head, _) = sent("http:request{url = url, compressed = true}");
    assert!(head.contains("\r\naccept-encoding: gzip\r\n"), "{head}");
    let packed = gzip(&b"hello ".repeat(100_000));
    let code = "http:request{url = url, compressed = true}
        local first, rest = http:read(7), http:read'*a' return first, #rest, http:read()";
    assert_eq!(run(&says_gzip(&packed, packed.len()), code), "hello h\t599993\tnil");
    let head = format!("HTTP/1.1 200 OK\r\nContent-Encoding: GZip\r\nContent-Length: {}\r\n\r\n", packed.len());
    assert_eq!(run(&says([head.as_bytes(), &packed].concat()), code), "hello h\t599993\tnil", "in any letter case");
    let plain = "http:request{url = url} return #http:read'*a'";
    assert_eq!(run(&says_gzip(&packed, packed.len()), plain), packed.len().to_string());
    let code = "http:request{url = url, compressed = true, method = 'HEAD'} return http:status(), http:read'*a' == ''";
    assert_eq!(run(&says_gzip(b"", packed.len()), code), "200\ttrue");
}

#[test]
fn what_is_not_compressed_or_otherwise_is_left_as_it_is() {
    let code = "http:request{url = url, compressed = true} return http:read'*a'";
    for header in ["", "Content-Encoding: br\r\n"] {
        let answer = format!("HTTP/1.1 200 OK\r\n{header}Content-Length: 5\r\n\r\nhello");
        assert_eq!(run(&says(answer), code), "hello", "{header}");
    }
}

#[test]
fn a_compressed_response_that_is_broken_or_endless_is_told() {
    let packed = gzip(&vec![0; 64 << 20]);
    let code = "http = require'http'.create{maxsize = 100000, compressed = true} http:request{url = url}
        return (select(2, http:read'*a'))";
    assert_eq!(run(&says_gzip(&packed, packed.len()), code), "toolarge");
    for broken in [&gzip(b"hello")[..20], b"no gzip at all", &[&gzip(b"x")[..], b"more"].concat()] {
        assert_eq!(run(&says_gzip(broken, broken.len()), code), "invalidresponse");
    }
}

#[test]
fn files_are_downloaded_uploaded_and_looked_up() {
    let server = server();
    let url = format!("http://{}/hello.txt", server.http());
    let code = "local info = http:stat(url) print(info.size, info.type, math.abs(info.mtime - os.time()) < 3600)
        print(http:download(url, files, 'copy.txt')) return require'rwfile'.file(files, 'copy.txt')";
    let expected = "6\ttext/plain; charset=utf-8\ttrue\ntrue\t6\nhello\n";
    assert_eq!(run_with(&server, &url, code), expected.trim_end());
    let (there, told) = listener();
    assert_eq!(run_with(&server, &there, "return http:upload(url, files, 'hello.txt')"), "true\t200\t");
    let (head, body) = told.recv_timeout(PATIENCE).expect("the request came");
    assert!(head.starts_with("PUT / ") && head.contains("\r\ncontent-length: 6\r\n"), "{head}");
    assert_eq!(body, b"hello\n");
}

#[test]
fn a_download_that_breaks_off_or_leads_out_of_the_app_leaves_no_file() {
    let server = server();
    let cut = says("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this");
    let code = "http = require'http'.create{timeout = 100} local done, why = http:download(url, files, 'cut.txt')
        return done, why, files:stat'cut.txt'";
    assert_eq!(run_with(&server, &cut, code), "nil\ttimeout\tnil\tenoent");
    let url = format!("http://{}/hello.txt", server.http());
    for name in ["../out.txt", "/../out.txt", "a\\0b", ""] {
        let code = format!("return (http:download(url, files, '{name}'))");
        assert_eq!(run_with(&server, &url, &code), "nil", "{name}");
    }
    assert!(!server.app().path().with_file_name("out.txt").exists());
    assert_eq!(run_with(&server, &url, "return (select(2, http:upload(url, files, '../x')))"), "noaccess");
    let missing = format!("http://{}/none.txt", server.http());
    assert_eq!(run_with(&server, &missing, "return (select(2, http:stat(url)))"), "404");
    assert_eq!(
        run_with(&server, &missing, "return (select(2, http:download(url, files, 'x.txt'))), files:stat'x.txt'"),
        "404\tnil\tenoent"
    );
}

#[test]
fn the_files_of_other_servers_are_read_by_their_urls() {
    let app = App::new()
        .file("index.lsp", "<?lsp files = io print(load(request:data'code', '=code', 't', _ENV)()) ?>")
        .file("hello.txt", "hello\n")
        .file("chunk.lua", "x = 5 return y, ...")
        .file("broken.lua", "return +");
    let server = Server::start(app);
    let run = |code: &str| {
        let code = format!("local net = ba.openio'net' local url = ('http://127.0.0.1:%d/'):format(mako.port) {code}");
        run_with(&server, "", &code)
    };
    assert_eq!(run("return net:open(url .. 'hello.txt'):read'a'"), "hello");
    assert_eq!(run("return require'rwfile'.file(net, url .. 'hello.txt')"), "hello");
    assert_eq!(run("local f <close> = net:open(url .. 'hello.txt') return f:read(2), f:read(2)"), "he\tll");
    assert_eq!(
        run(
            "local s = net:stat(url .. 'hello.txt?x=/1') return s.name, s.size, s.mtime == files:stat'hello.txt'.mtime"
        ),
        "hello.txt\t6\ttrue"
    );
    assert_eq!(run("local env = {y = 7} local y = net:dofile(url .. 'chunk.lua', env) return y, env.x"), "7\t5");
    assert!(run("return net:loadfile(url .. 'broken.lua')").starts_with("nil\thttp://127.0.0.1"));
    for code in ["net:open(url .. 'none.txt')", "net:stat(url .. 'none.txt')"] {
        assert_eq!(run(&format!("return {code}")), "nil\tenoent");
    }
    assert_eq!(run("return net:open'/etc/passwd'"), "nil\tinvalidname");
    assert_eq!(run("return net:open'http://127.0.0.1:1/'"), "nil\tioerror cannotconnect");
    assert!(run("return pcall(net.dofile, net, url .. 'none.lua')").contains("none.lua: enoent"));
    assert!(run("return pcall(net.open, net)").contains("URL expected, got nil"));
    for code in ["net:open(url .. 'hello.txt', 'w')", "net:remove(url .. 'hello.txt')", "net:files(url)"] {
        assert_eq!(run(&format!("return {code}")), "nil\tnoaccess");
    }
}

#[test]
fn a_page_that_waits_for_a_server_holds_up_nobody() {
    let server = server();
    let (tell, told) = mpsc::channel::<()>();
    let url = stranger(move |stream, _| {
        told.recv().expect("the test says when");
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").expect("the client reads");
    });
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| run_with(&server, &url, "http:request{url = url} return http:read'*a'"));
        assert_eq!(run_with(&server, "", "return 'meanwhile'"), "meanwhile");
        tell.send(()).expect("it waits");
        assert_eq!(waiting.join().expect("no panic"), "ok");
    });
}

#[test]
fn wrong_arguments_are_named() {
    let server = server();
    for (call, expected) in [
        ("http.status, http", "http:status: there is no request; call http:request first"),
        ("http.request, http", "bad argument #1 'options' to 'http:request' (table expected, got no value)"),
        ("http.request, http, {}", "field 'url': string expected, got nil"),
        ("http.request, http, {url = 'ftp://x/'}", "field 'url': an http or https URL expected, got \"ftp://x/\""),
        ("http.request, http, {url = 'http://'}", "field 'url'"),
        ("http.request, http, {url = '/x'}", "field 'url'"),
        ("http.request, http, {url = 'http://a b/'}", "field 'url'"),
        (
            "http.request, http, {url = 'http://h/a b'}",
            "field 'url': \"http://h/a b\" has a character at place 11 that",
        ),
        ("http.request, http, {url = 'http://u:p@h/'}", "field 'url': name and password are options of"),
        (
            "http.request, http, {url = 'http://h:x/'}",
            "field 'url': \"http://h:x/\" has a port that is no number up to",
        ),
        ("http.request, http, {url = 'http://h:65536/'}", "field 'url': \"http://h:65536/\" has a port"),
        ("http.request, http, {url = 'http://h/' .. ('x'):rep(100000)}", "field 'url'"),
        ("http.request, http, {url = 'http://h/', method = 'A B'}", "field 'method': no method"),
        ("http.request, http, {url = 'http://h/', header = 5}", "field 'header': table expected, got 5"),
        ("http.request, http, {url = 'http://h/', header = {a = 'b\\r\\nc: d'}}", "field 'header': a name or value"),
        ("http.request, http, {url = 'http://h/', header = {['a b'] = 1}}", "field 'header': a name or value"),
        ("http.request, http, {url = 'http://h/', header = {['content-length'] = 1}}", "content-length follows from"),
        (
            "http.request, http, {url = 'http://h/', header = {['Transfer-Encoding'] = 'chunked'}}",
            "transfer-encoding follows from",
        ),
        ("http.request, http, {url = 'http://h/', query = {x = {}}}", "field 'query': a table of texts expected"),
        ("http.request, http, {url = 'http://h/', data = {}}", "field 'data': string expected, got table"),
        ("http.request, http, {url = 'http://h/', size = -1}", "field 'size': number not below 0 expected"),
        ("require'http'.create, 5", "'options' to 'httpc.create' (table expected, got 5)"),
        ("require'http'.create, {timeout = 'x'}", "field 'timeout': number not below 0 expected, got string"),
        ("require'http'.create, {trusted = 1}", "field 'trusted': boolean expected, got 1"),
        ("require'http'.create, {ca = {}}", "field 'ca': string expected, got table"),
        ("http.post, http, 'http://h/', 5", "bad argument #2 'value' to 'http:post' (table expected, got number)"),
        ("http.stat, http, 'http://h/', 5", "bad argument #2 'op' to 'http:stat' (table expected, got number)"),
        (
            "http.download, http, 'http://h/', {}, 'x'",
            "bad argument #2 'io' to 'http:download' (io object expected, got table)",
        ),
        (
            "http.upload, http, 'http://h/', ba.create.dir'x', 'x'",
            "bad argument #2 'io' to 'http:upload' (io object expected, got userdata)",
        ),
        ("http.request, http, {url = 'http://h/', redirect = 1}", "field 'redirect': boolean expected, got 1"),
        (
            "http.request, http, {url = 'http://h/', compressed = 'x'}",
            "field 'compressed': boolean expected, got string",
        ),
        ("http.json, http, 'http://h/', 5", "bad argument #2 'query' to 'http:json' (table expected, got number)"),
    ] {
        let text = run_with(&server, "", &format!("return select(2, pcall({call}))"));
        assert!(text.contains(expected), "{call}: {text}");
    }
    let url = format!("http://{}/hello.txt", server.http());
    for (call, expected) in [
        ("http:read(0)", "'size' to 'http:read' (1..1073741824 expected, got 0)"),
        ("http:read'*l'", "\"*a\" or a number of bytes expected, got \"*l\""),
        ("http:read{}", "'size' to 'http:read' (integer expected, got table)"),
        ("http:write()", "'data' to 'http:write' (string expected, got no value)"),
        ("http:header{}", "'name' to 'http:header' (string expected, got table)"),
    ] {
        let code = format!("http:request{{url = url}} return select(2, pcall(function() {call} end))");
        let text = run_with(&server, &url, &code);
        assert!(text.contains(expected), "{call}: {text}");
    }
}
