//! Requests that are broken in every part: each gets an answer that tells whose fault it is, and pages that look at all of
//! it do not fail.

use std::io::{Read, Write};

use crate::support::*;

/// A page that asks for everything there is of a request, and does so twice.
const PAGE: &str = "<?lsp
    for i = 1, 2 do
        for _, name in ipairs{'header', 'data', 'method', 'uri', 'url', 'domain', 'version', 'issecure', 'peername',
                              'sockname', 'user', 'session', 'isinclude', 'initial'} do
            request[name](request)
        end
        for name, value in request:datapairs() do
            assert(type(name) == 'string' and type(value) == 'string')
        end
        for name in pairs(request:header()) do assert(request:header(name)) end
        for name in pairs(request:data()) do assert(request:data(name)) break end
        local cookie = request:cookie'a'
        if cookie then assert(type(cookie:value()) == 'string') end
        pcall(request.multipart, request, { formdata = function() end, beginfile = function() end, filedata = function() end })
        if request:header'Content-Type' == 'raw' then for piece in request:rawrdr() do assert(#piece > 0) end end
    end
?>whole";

fn server() -> Server {
    let preload = "local users = ba.create.authuser(function(name) return name == 'eve' and 'secret' or nil end)
        local function mount(name, op)
            local d = ba.create.dir(name)
            d:setauth(ba.create.authenticator(users, op))
            d:setfunc(function(_ENV) response:write'inside' end)
            dir:insert(d)
        end
        mount('auth', {})
        mount('form', { type = 'form', response = function(_ENV) response:write'the login page' end })";
    Server::start(
        App::new()
            .file(".preload", preload)
            .file("index.lsp", PAGE)
            .file("socket.lsp", "<?lsp local s <close> = ba.socket.req2sock(request) ?>")
            .file("hub.lsp", "<?lsp require'smq.hub'.create():connect(request) ?>")
            .file("a.txt", "a file"),
    )
}

/// What the server answers to these bytes, behind which the client says no more.
fn answer(server: &Server, request: &[u8]) -> Vec<u8> {
    let mut stream = server.dial();
    // A server that has refused the head need not read the rest.
    let _ = stream.write_all(request);
    if let Stream::Plain(socket) = &stream {
        let _ = socket.shutdown(std::net::Shutdown::Write);
    }
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    answer
}

/// Each request gets one of the statuses of its list, and the server goes on.
#[track_caller]
fn expect(server: &Server, requests: impl IntoIterator<Item = Vec<u8>>, statuses: &[&str]) {
    for request in requests {
        let shown = request[..request.len().min(300)].escape_ascii().to_string();
        let answer = answer(server, &request);
        let status = answer.get(9..12).map(|status| String::from_utf8_lossy(status).into_owned()).unwrap_or_default();
        assert!(statuses.contains(&status.as_str()), "{shown}: {status:?}\n{}", answer.escape_ascii());
    }
    assert_eq!(server.get("/a.txt").body, "a file");
    assert_eq!(server.get("/").body, "whole", "{}", server.output());
    let output = server.output();
    assert!(!output.contains("panicked") && !output.contains("ERROR"), "{output}");
}

/// Bytes that no part of a request expects.
fn odd() -> Vec<Vec<u8>> {
    let texts: [&[u8]; 24] = [
        b"",
        b"%",
        b"%z",
        b"%zz=%zz",
        b"%ff%fe=%00",
        b"a=%00&a=%0d%0a",
        b"=&=&&&==",
        b"a&b=&=c",
        b"a=1;b=2",
        b"+++=+%2b",
        b"\xff\xfe=\xc3\x28",
        b"a[b][]=1&__proto__=x",
        b"\"",
        b"\"\\",
        b"'; --",
        b"<script>",
        b"{\"a\":",
        b"--x",
        b"--x\r\nContent-Disposition: form-data\r\n\r\n--x--",
        b"--x\r\nContent-Disposition: form-data; name=\"a\r\n\r\n\r\n--x--\r\n",
        b"-1",
        b"99999999999999999999",
        b"NaN",
        b"../../etc/passwd",
    ];
    let mut odd: Vec<_> = texts.map(<[u8]>::to_vec).to_vec();
    odd.push(b"a=1&".repeat(2000));
    odd.push("%F0%9F%98%80".repeat(500).into_bytes());
    odd
}

fn in_header(name: &str) -> Vec<Vec<u8>> {
    let head =
        |value: &[u8]| [b"GET / HTTP/1.0\r\nHost: localhost\r\n", name.as_bytes(), b": ", value, b"\r\n\r\n"].concat();
    odd().iter().filter(|value| !value.contains(&b'\n')).map(|value| head(value)).collect()
}

#[test]
fn forms_and_bodies() {
    let server = server();
    for kind in [
        "application/x-www-form-urlencoded",
        "application/x-www-form-urlencoded; charset=\"",
        "multipart/form-data; boundary=x",
        "multipart/form-data; boundary=",
        "multipart/form-data",
        "multipart/form-data; boundary=\"x",
        "application/json",
        "raw",
        "/",
    ] {
        let post = |body: &Vec<u8>| {
            let head = format!(
                "POST / HTTP/1.0\r\nHost: localhost\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n",
                body.len()
            );
            [head.as_bytes(), body].concat()
        };
        expect(&server, odd().iter().map(post), &["200"]);
    }
    let form = "POST / HTTP/1.0\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\n";
    let long = format!("{form}Content-Length: 2000000\r\n\r\n{}", "a=1&".repeat(500_000));
    expect(&server, [long.into_bytes()], &["413"]);
}

#[test]
fn queries() {
    let server = server();
    let is_sendable = |text: &Vec<u8>| text.iter().all(|byte| byte.is_ascii_graphic());
    let ask = |query: Vec<u8>| [b"GET /?", &query[..], b" HTTP/1.0\r\nHost: localhost\r\n\r\n"].concat();
    expect(&server, odd().into_iter().filter(is_sendable).map(ask), &["200", "400"]);
    let raw = odd().into_iter().filter(|text| !is_sendable(text));
    expect(&server, raw.map(ask), &["200", "400"]);
}

#[test]
fn headers() {
    let server = server();
    for name in
        ["Cookie", "Referer", "Accept", "Accept-Encoding", "Content-Type", "Authorization", "SimpleMQ", "X-\u{e4}"]
    {
        expect(&server, in_header(name), &["200", "400", "404", "431"]);
    }
    for name in ["Host", "Content-Length", "Transfer-Encoding", "Expect", "Connection", "Upgrade"] {
        expect(&server, in_header(name), &["200", "400", "404", "408", "413", "417", "431", "501"]);
    }
    for name in ["Range", "If-Range", "If-None-Match", "If-Modified-Since"] {
        let of_file = in_header(name).into_iter().map(|request| [b"GET /a.txt", &request[5..]].concat());
        expect(&server, of_file, &["200", "206", "304", "416", "431"]);
    }
    let session = ["", "x", "../x", &"f".repeat(32), &"f".repeat(4000), "\u{e9}", "a; smq_session=b"];
    let with = session
        .map(|id| format!("GET / HTTP/1.0\r\nHost: localhost\r\nCookie: a=\"; smq_session={id}\r\n\r\n").into_bytes());
    expect(&server, with, &["200"]);
}

#[test]
fn credentials_and_logins() {
    let server = server();
    let credentials = |scheme: &str| {
        let scheme = scheme.to_owned();
        odd().into_iter().filter(|value| !value.contains(&b'\n')).map(move |value| {
            [
                format!("GET /auth/ HTTP/1.0\r\nHost: localhost\r\nAuthorization: {scheme} ").as_bytes(),
                &value,
                b"\r\n\r\n",
            ]
            .concat()
        })
    };
    for scheme in ["Basic", "Digest", "Digest username=", "Digest qop=auth, nc=x, nonce=", "Bearer", "\u{e9}"] {
        expect(&server, credentials(scheme), &["400", "401", "431"]);
    }
    let login = |body: Vec<u8>| {
        let head = "POST /form/ HTTP/1.0\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\n";
        let body =
            [b"ba_username=eve&ba_seed=", &body[..], b"&ba_password2=", &body[..], b"&ba_seedkey=", &body[..]].concat();
        [head.as_bytes(), format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes(), &body].concat()
    };
    // The first ten failures cost no time.
    expect(&server, odd().into_iter().take(8).map(login), &["200"]);
}

#[test]
fn handshakes() {
    let server = server();
    for page in ["/socket.lsp", "/hub.lsp"] {
        for header in ["Sec-WebSocket-Key", "Sec-WebSocket-Version", "SimpleMQ", "SendSmqHttpResponse"] {
            for request in in_header(header) {
                let head = format!("GET {page} HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: websocket\r\n");
                let request = [head.as_bytes(), &request[b"GET / HTTP/1.0\r\n".len()..]].concat();
                // What comes is not for HTTP alone, but the connection ends, and others are served.
                answer(&server, &request);
            }
        }
        expect(&server, [], &[]);
    }
}
