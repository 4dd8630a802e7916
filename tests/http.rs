//! What a client of `smq serve` sees of HTTP, and what a user sees on the command line.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Lines, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, ChildStdout, Command, ExitStatus, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// How long anything may take before a test gives up.
const PATIENCE: Duration = Duration::from_secs(20);

fn smq() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_smq"));
    command.arg("serve").stdin(Stdio::null()).stderr(Stdio::piped());
    command
}

/// A folder with these files.
fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    folder
}

/// A running server; ends with the test.
struct Server {
    process: Child,
    lines: Lines<BufReader<ChildStdout>>,
    /// What it has said so far.
    said: Vec<String>,
    address: SocketAddr,
}

impl Server {
    fn of(files: &[(&str, &str)]) -> (Self, TempDir) {
        let folder = folder(files);
        (Self::start(smq().arg(folder.path())), folder)
    }

    /// Starts a server on a free port, and waits until it is ready.
    fn start(command: &mut Command) -> Self {
        let mut process = command.args(["--port", "0"]).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let unknown = SocketAddr::from(([0; 4], 0));
        let mut server = Self { process, lines, said: Vec::new(), address: unknown };
        server.address = server.next_address("http://");
        server
    }

    /// The address in the next URL of this scheme that the server says.
    fn next_address(&mut self, scheme: &str) -> SocketAddr {
        for line in &mut self.lines {
            let line = line.unwrap();
            let address = line.split_once(scheme).map(|(_, rest)| rest.split('/').next().unwrap().parse().unwrap());
            self.said.push(line);
            if let Some(address) = address {
                return address;
            }
        }
        panic!("the server ended without a word of {scheme}: {:?}", self.said);
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// Sends bytes, and reads all until the server closes.
    fn say(&self, request: &str) -> Reply {
        let mut stream = self.connect();
        stream.write_all(request.as_bytes()).unwrap();
        Reply::read(&mut stream)
    }

    fn ask(&self, method: &str, target: &str, headers: &[(&str, &str)]) -> Reply {
        let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        self.say(&format!("{method} {target} HTTP/1.1\r\nHost: example.org\r\nConnection: close\r\n{headers}\r\n"))
    }

    fn get(&self, target: &str) -> Reply {
        self.ask("GET", target, &[])
    }

    /// Sends a signal, and waits for the end.
    fn stop(&mut self, signal: &str) -> ExitStatus {
        let sent = Command::new("kill").args([signal, &self.process.id().to_string()]).status().unwrap();
        assert!(sent.success());
        self.process.wait().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[derive(Debug)]
struct Reply {
    status: u16,
    head: String,
    body: String,
}

impl Reply {
    fn read(stream: &mut impl Read) -> Self {
        let mut all = Vec::new();
        stream.read_to_end(&mut all).unwrap();
        Self::parse(&String::from_utf8(all).unwrap())
    }

    fn parse(text: &str) -> Self {
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no whole response: {text:?}"));
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Self { status, head: head.to_owned(), body: body.to_owned() }
    }

    fn header(&self, name: &str) -> &str {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.filter(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value).next().unwrap_or("")
    }
}

// Files

#[test]
fn a_file_comes_with_type_length_versions_and_safe_defaults() {
    let (server, _folder) = Server::of(&[("style.css", "p {}")]);
    let reply = server.get("/style.css");
    assert_eq!((reply.status, reply.body.as_str()), (200, "p {}"));
    assert_eq!(reply.header("content-type"), "text/css; charset=utf-8");
    assert_eq!(reply.header("content-length"), "4");
    assert_eq!(reply.header("accept-ranges"), "bytes");
    assert_eq!(reply.header("x-content-type-options"), "nosniff");
    assert!(!reply.header("x-xss-protection").is_empty());
    assert!(reply.header("last-modified").ends_with("GMT"));
    assert!(reply.header("etag").starts_with('"') && reply.header("etag").ends_with('"'));
}

#[test]
fn a_large_file_comes_whole() {
    let content = "0123456789".repeat(100_000);
    let (server, _folder) = Server::of(&[("large.txt", &content)]);
    assert!(server.get("/large.txt").body == content);
}

#[test]
fn an_empty_file_is_an_empty_answer() {
    let (server, _folder) = Server::of(&[("empty.txt", "")]);
    let reply = server.get("/empty.txt");
    assert_eq!((reply.status, reply.header("content-length"), reply.body.as_str()), (200, "0", ""));
}

#[test]
fn head_tells_the_length_and_sends_nothing() {
    let (server, _folder) = Server::of(&[("a.txt", "hello")]);
    let reply = server.ask("HEAD", "/a.txt", &[]);
    assert_eq!((reply.status, reply.header("content-length"), reply.body.as_str()), (200, "5", ""));
}

#[test]
fn a_status_of_an_apps_own_has_words_as_well() {
    let (server, _folder) = Server::of(&[
        ("set.lsp", "<?lsp response:setstatus(tonumber(request:data'code')) ?>"),
        ("error.lsp", "<?lsp response:senderror(599) ?>"),
    ]);
    let status_line = |target: &str| {
        let mut stream = server.connect();
        write!(stream, "GET {target} HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        BufReader::new(stream).lines().next().unwrap().unwrap()
    };
    for (code, line) in [
        (299, "HTTP/1.1 299 Success"),
        (399, "HTTP/1.1 399 Redirection"),
        (499, "HTTP/1.1 499 Client Error"),
        (404, "HTTP/1.1 404 Not Found"),
    ] {
        assert_eq!(status_line(&format!("/set.lsp?code={code}")), line);
    }
    assert_eq!(status_line("/error.lsp"), "HTTP/1.1 599 Server Error");
    assert!(server.get("/error.lsp").body.contains("<h1>599 Server Error</h1>"));
}

#[test]
fn other_methods_are_told_what_is_allowed() {
    let (server, _folder) = Server::of(&[("a.txt", "hello")]);
    let reply = server.ask("OPTIONS", "/a.txt", &[]);
    assert_eq!((reply.status, reply.header("allow")), (200, "GET, HEAD, OPTIONS"));
    for method in ["POST", "PUT", "DELETE", "FROB"] {
        let reply = server.ask(method, "/a.txt", &[]);
        assert_eq!((reply.status, reply.header("allow")), (405, "GET, HEAD, OPTIONS"), "{method}");
    }
}

#[test]
fn a_known_version_is_not_sent_again() {
    let (server, _folder) = Server::of(&[("a.txt", "hello")]);
    let first = server.get("/a.txt");
    let (etag, date) = (first.header("etag"), first.header("last-modified"));
    for condition in [("If-None-Match", etag), ("If-None-Match", &format!("W/{etag}")), ("If-Modified-Since", date)] {
        let reply = server.ask("GET", "/a.txt", &[condition]);
        assert_eq!((reply.status, reply.body.as_str(), reply.header("etag")), (304, "", etag), "{condition:?}");
    }
    assert_eq!(server.ask("GET", "/a.txt", &[("If-None-Match", "\"other\"")]).status, 200);
}

#[test]
fn a_version_that_was_not_asked_for_is_not_sent() {
    let (server, _folder) = Server::of(&[("a.txt", "hello")]);
    let etag = server.get("/a.txt").header("etag").to_owned();
    let old = "Fri, 02 Jan 1970 00:00:00 GMT";
    for target in ["/a.txt", "/rtl/smq.js"] {
        let reply = server.ask("GET", target, &[("If-Match", "\"other\""), ("Range", "bytes=0-1")]);
        assert_eq!((reply.status, reply.body.as_str()), (412, ""), "{target}");
    }
    assert_eq!(server.ask("GET", "/a.txt", &[("If-Unmodified-Since", old)]).status, 412);
    assert_eq!(server.ask("GET", "/a.txt", &[("If-Match", &etag), ("If-Unmodified-Since", old)]).body, "hello");
}

#[test]
fn an_edited_file_has_another_version() {
    let (server, folder) = Server::of(&[("a.txt", "hello")]);
    let etag = server.get("/a.txt").header("etag").to_owned();
    fs::write(folder.path().join("a.txt"), "hello again").unwrap();
    let reply = server.ask("GET", "/a.txt", &[("If-None-Match", &etag)]);
    assert_eq!((reply.status, reply.body.as_str()), (200, "hello again"));
}

#[test]
fn a_range_is_sent_alone() {
    let (server, _folder) = Server::of(&[("a.txt", "0123456789")]);
    for (range, content_range, body) in
        [("bytes=2-4", "bytes 2-4/10", "234"), ("bytes=8-", "bytes 8-9/10", "89"), ("bytes=-1", "bytes 9-9/10", "9")]
    {
        let reply = server.ask("GET", "/a.txt", &[("Range", range)]);
        assert_eq!((reply.status, reply.header("content-range"), reply.body.as_str()), (206, content_range, body));
    }
}

#[test]
fn a_range_beyond_the_end_is_refused() {
    let (server, _folder) = Server::of(&[("a.txt", "0123456789")]);
    let reply = server.ask("GET", "/a.txt", &[("Range", "bytes=10-")]);
    assert_eq!((reply.status, reply.header("content-range")), (416, "bytes */10"));
}

#[test]
fn several_ranges_and_ranges_of_another_version_get_the_whole() {
    let (server, _folder) = Server::of(&[("a.txt", "0123456789")]);
    let one = [("Range", "bytes=0-1"), ("If-Range", "\"other\"")];
    for headers in [&[("Range", "bytes=0-1,4-5")][..], &one[..]] {
        let reply = server.ask("GET", "/a.txt", headers);
        assert_eq!((reply.status, reply.body.as_str()), (200, "0123456789"));
    }
}

#[test]
fn the_browser_client_is_built_in() {
    let (server, _folder) = Server::of(&[]);
    let reply = server.get("/rtl/smq.js");
    assert_eq!((reply.status, reply.header("content-type")), (200, "text/javascript; charset=utf-8"));
    assert_eq!(server.ask("GET", "/rtl/smq.js", &[("If-None-Match", reply.header("etag"))]).status, 304);
    assert_eq!(server.get("/rtl/").status, 404);
    assert_eq!(server.get("/rtl/nosuch.js").status, 404);
}

// Paths

#[test]
fn jquery_comes_from_the_folder_that_was_named() {
    let rtl = folder(&[("jquery.js", "the library"), ("a/extra.js", "more"), ("smq.js", "not ours")]);
    let www = folder(&[("rtl/jquery.js", "the app's"), ("rtl/own.js", "own")]);
    let server = Server::start(smq().arg(www.path()).arg("--rtl").arg(rtl.path()));
    let reply = server.get("/rtl/jquery.js");
    assert_eq!((reply.body.as_str(), reply.header("content-type")), ("the library", "text/javascript; charset=utf-8"));
    assert_eq!(server.get("/rtl/a/extra.js").body, "more");
    assert_ne!(server.get("/rtl/smq.js").body, "not ours");
    assert_eq!(server.get("/rtl/own.js").body, "own");
    assert_eq!(server.get("/rtl/none.js").status, 404);
}

#[test]
fn a_directory_shows_its_index() {
    let (server, _folder) = Server::of(&[("index.htm", "second"), ("index.html", "first"), ("d/index.htm", "third")]);
    assert_eq!(server.get("/").body, "first");
    assert_eq!(server.get("/d/").body, "third");
    assert_eq!(server.get("//d/./x/..//").body, "third");
}

#[test]
fn a_directory_without_index_is_never_listed() {
    let (server, _folder) = Server::of(&[("d/a.txt", "")]);
    assert_eq!(server.get("/d/").status, 404);
}

#[test]
fn what_may_be_a_directory_is_redirected_to_its_slash() {
    let (server, _folder) = Server::of(&[("d/a.txt", ""), ("v1.2/a.txt", "")]);
    for (target, location) in [
        ("/d?x=1&y", "http://example.org/d/?x=1&y"),
        ("/v1.2", "http://example.org/v1.2/"),
        ("/nosuch", "http://example.org/nosuch/"),
        ("//evil.example/a%20b", "http://example.org/evil.example/a%20b/"),
        ("/rtl", "http://example.org/rtl/"),
    ] {
        let reply = server.get(target);
        assert_eq!((reply.status, reply.header("location")), (302, location), "{target}");
    }
    assert_eq!(server.get("/nosuch/").status, 404);
    assert_eq!(server.get("/nosuch.lsp").status, 404);
}

#[test]
fn a_missing_page_is_a_small_page_on_a_connection_that_closes() {
    let (server, _folder) = Server::of(&[]);
    let reply = server.say("GET /nosuch.html HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!((reply.status, reply.header("connection")), (404, "close"));
    assert!(reply.body.contains("404 Not Found"));
}

#[test]
fn nothing_outside_the_folder_is_reachable() {
    let outside = folder(&[("app/index.html", "in"), ("secret.txt", "out")]);
    let server = Server::start(smq().arg(outside.path().join("app")));
    for target in [
        "/../secret.txt",
        "/%2e%2e/secret.txt",
        "/..%2fsecret.txt",
        "/x/../../secret.txt",
        "/x/%2e%2e%2f%2e%2e%2fsecret.txt",
        "/..\\secret.txt",
        "/..%5csecret.txt",
        "/%252e%252e/secret.txt",
        "/....//secret.txt",
        "/secret.txt%00.html",
    ] {
        assert_eq!(server.get(target).status, 404, "{target}");
    }
    for target in ["/%", "/%zz", "/%4", "*", "secret.txt"] {
        assert_eq!(server.get(target).status, 400, "{target}");
    }
}

#[test]
fn hidden_files_and_fragments_are_not_served() {
    let (server, _folder) = Server::of(&[(".preload", ""), (".lua/a.lua", "x"), ("a/.b/c.txt", "x"), ("f.shtml", "x")]);
    for target in ["/.preload", "/%2epreload", "/.lua/a.lua", "/a/.b/c.txt", "/f.shtml", "/./.preload"] {
        assert_eq!(server.get(target).status, 404, "{target}");
    }
}

#[cfg(unix)]
#[test]
fn a_link_is_followed_only_within_the_folder() {
    let both = folder(&[("app/real.txt", "in"), ("secret.txt", "out"), ("secrets/a.txt", "out")]);
    let app = both.path().join("app");
    std::os::unix::fs::symlink("real.txt", app.join("inside.txt")).unwrap();
    std::os::unix::fs::symlink("../secret.txt", app.join("outside.txt")).unwrap();
    std::os::unix::fs::symlink("../secrets", app.join("out")).unwrap();
    let server = Server::start(smq().arg(app));
    assert_eq!(server.get("/inside.txt").body, "in");
    assert_eq!(server.get("/outside.txt").status, 404);
    assert_eq!(server.get("/out/a.txt").status, 404);
}

#[test]
fn an_app_may_have_a_name_and_a_priority() {
    let root = folder(&[("index.html", "root"), ("shop/index.html", "folder of the root app"), ("a.txt", "low")]);
    let (shop, high) = (folder(&[("index.html", "shop")]), folder(&[("a.txt", "high")]));
    let spec = |name: &str, folder: &TempDir| format!("{name}:{}", folder.path().display());
    let server = Server::start(smq().args([spec(":", &root), spec("shop:", &shop), spec(":5", &high)]));
    assert_eq!(server.get("/").body, "root");
    assert_eq!(server.get("/shop/").body, "shop");
    assert_eq!(server.get("/shop").header("location"), "http://example.org/shop/");
    assert_eq!(server.get("/a.txt").body, "high");
}

#[test]
fn without_an_app_there_is_a_welcome_page() {
    let server = Server::start(&mut smq());
    let reply = server.get("/");
    assert_eq!(reply.status, 200);
    assert!(reply.body.contains("Welcome"));
    for path in ["/x.html", "/x", "/x/"] {
        assert_eq!(server.get(path).status, 404, "{path}");
    }
}

// Requests

#[test]
fn a_connection_serves_several_requests() {
    let (server, _folder) = Server::of(&[("a.txt", "first"), ("b.txt", "second")]);
    let reply =
        server.say("GET /a.txt HTTP/1.1\r\nHost: a\r\n\r\nGET /b.txt HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    assert!(reply.body.starts_with("firstHTTP/1.1 200 OK") && reply.body.ends_with("second"), "{}", reply.body);
}

#[test]
fn a_page_is_told_both_ends_of_a_connection_whatever_the_listener_is_bound_to() {
    let page = "<?lsp print(request:sockname()) print(request:peername()) print(request:domain()) ?>";
    let folder = folder(&[("ends.lsp", page)]);
    // A listener for IPv6 has IPv4 addresses in a form of its own. Not every machine has IPv6.
    let with_ipv6 = TcpListener::bind("[::]:0").is_ok().then_some(("::", "127.0.0.1"));
    let bound = [("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "127.0.0.1"), ("0.0.0.0", "127.0.0.2")];
    for (host, local) in bound.into_iter().chain(with_ipv6) {
        let mut server = Server::start(smq().args(["--host", host]).arg(folder.path()));
        let port = server.address.port();
        server.address = SocketAddr::new(local.parse().unwrap(), port);
        let mut client = server.connect();
        let own = client.local_addr().unwrap();
        client.write_all(b"GET /ends.lsp HTTP/1.0\r\n\r\n").unwrap();
        let told = format!("{local}\t{port}\tfalse\n{}\t{}\tfalse\n{local}\n", own.ip(), own.port());
        assert_eq!(Reply::read(&mut client).body, told, "--host {host}");
    }
}

#[test]
fn an_http_1_0_client_is_told_whether_its_connection_is_kept() {
    let long = "<?lsp if request:data'n' then response:setcontentlength(request:data'n') end response:write'x' \
                response:flush() ?>";
    let (server, _folder) = Server::of(&[("short.lsp", "x"), ("long.lsp", long)]);
    let ask = |target: &str| format!("GET {target} HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    let mut reply = server.say(&(ask("/short.lsp") + &ask("/long.lsp?n=1") + &ask("/long.lsp")));
    for _ in 0..2 {
        assert_eq!(reply.header("connection"), "keep-alive");
        reply = Reply::parse(reply.body.strip_prefix('x').expect("the page"));
    }
    assert_eq!((reply.header("connection"), reply.body.as_str()), ("", "x"), "what has no length ends the connection");
    let missing = server.say(&ask("/missing.txt"));
    assert_eq!((missing.status, missing.header("connection")), (404, "close"));
    let malformed = server.say("GET / HTTP/1.0\r\nHost: a b\r\nConnection: keep-alive\r\n\r\n");
    assert_eq!((malformed.status, malformed.header("connection")), (400, "close"));
}

#[test]
fn a_client_may_close_its_sending_side_behind_the_request() {
    let (server, _folder) = Server::of(&[("a.txt", "hello")]);
    let mut stream = server.connect();
    stream.write_all(b"GET /a.txt HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(Reply::read(&mut stream).body, "hello");
}

#[test]
fn http_1_1_needs_one_host_and_http_1_0_none() {
    let (server, _folder) = Server::of(&[("d/a.txt", "hello")]);
    assert_eq!(server.say("GET /d/a.txt HTTP/1.1\r\n\r\n").status, 400);
    assert_eq!(server.say("GET /d/a.txt HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n").status, 400);
    for host in ["a b", "name:password@a", "a@"] {
        assert_eq!(server.say(&format!("GET /d/a.txt HTTP/1.1\r\nHost: {host}\r\n\r\n")).status, 400, "{host}");
    }
    assert_eq!(server.say("GET /d/a.txt HTTP/1.0\r\n\r\n").body, "hello");
    assert_eq!(server.say("GET /d/a.txt HTTP/1.1\r\nHost:\r\nConnection: close\r\n\r\n").body, "hello", "an empty one");
    let own = format!("http://{}/d/", server.address);
    assert_eq!(server.say("GET /d HTTP/1.0\r\n\r\n").header("location"), own);
}

#[test]
fn the_host_of_the_request_line_counts_and_not_the_header() {
    let (server, _folder) = Server::of(&[("d/page.lsp", "<?lsp print(request:url(), request:domain()) ?>")]);
    let ask =
        |path: &str| server.say(&format!("GET http://a:1/{path} HTTP/1.1\r\nHost: b\r\nConnection: close\r\n\r\n"));
    assert_eq!(ask("d/page.lsp").body, "http://a:1/d/page.lsp\ta\n");
    assert_eq!(ask("d").header("location"), "http://a:1/d/");
    assert_eq!(server.say("GET http://name@a/ HTTP/1.1\r\nHost: a\r\n\r\n").status, 400);
}

#[test]
fn the_server_as_a_whole_may_be_asked_what_it_can_do() {
    let (server, _folder) = Server::of(&[]);
    let reply = server.say("OPTIONS * HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    assert_eq!((reply.status, reply.header("allow"), reply.body.as_str()), (200, "GET, HEAD, OPTIONS", ""));
    assert_eq!(server.say("GET * HTTP/1.1\r\nHost: a\r\n\r\n").status, 400);
    assert_eq!(server.say("OPTIONS /%zz HTTP/1.1\r\nHost: a\r\n\r\n").status, 400);
}

#[test]
fn a_request_that_is_too_large_is_refused_and_the_refusal_arrives() {
    let (server, _folder) = Server::of(&[]);
    assert_eq!(server.get(&format!("/{}.txt", "a".repeat(8 * 1024 - 5))).status, 404, "the longest URI");
    for size in [8 * 1024, 20_000, 200_000] {
        let target = format!("/{}", "a".repeat(size));
        assert_eq!(server.get(&target).status, 414, "a URI of {size} bytes");
        assert_eq!(server.get(&target.replacen("/", "/?", 1)).status, 414, "a query of {size} bytes");
    }
    for size in [40_000, 200_000] {
        assert_eq!(server.ask("GET", "/", &[("X", &"a".repeat(size))]).status, 431, "a header of {size} bytes");
    }
    let many: Vec<_> = (0..150).map(|_| ("X", "1")).collect();
    assert_eq!(server.ask("GET", "/", &many).status, 431);
}

#[test]
fn what_is_no_http_is_refused() {
    let (server, _folder) = Server::of(&[]);
    for request in ["\x16\x03\x01 hello\r\n\r\n", "GET\r\n\r\n", "GET / HTTP/1.1\r\nno colon\r\n\r\n"] {
        assert_eq!(server.say(request).status, 400, "{request:?}");
    }
}

#[test]
fn who_takes_the_server_for_a_proxy_is_told_that_it_is_none() {
    let (server, _folder) = Server::of(&[("page.lsp", "page")]);
    for target in ["/page.lsp", "example.org:443"] {
        assert_eq!(server.say(&format!("CONNECT {target} HTTP/1.1\r\nHost: a\r\n\r\n")).status, 501, "{target}");
    }
}

#[test]
fn a_hub_client_counts_as_a_connection_until_it_leaves() {
    let app = folder(&[
        (".preload", "hub = require'smq.hub'.create()"),
        ("index.lsp", "<?lsp if require'smq.hub'.isSMQ(request) then app.hub:connect(request) end ?>"),
    ]);
    let server = Server::start(smq().arg(app.path()).args(["--max-connections", "1"]));
    let mut client = server.connect();
    client.write_all(b"GET / HTTP/1.0\r\nSimpleMQ: 1\r\n\r\n").unwrap();
    client.read_exact(&mut [0; 3]).unwrap();
    assert_eq!(Reply::read(&mut server.connect()).status, 503, "the handshake has begun");
    client.write_all(&connect_packet("device-1")).unwrap();
    client.read_exact(&mut [0; 8]).unwrap();
    assert_eq!(Reply::read(&mut server.connect()).status, 503, "the client is connected");
    drop(client);
    let deadline = Instant::now() + PATIENCE;
    while !is_served(&server) {
        assert!(Instant::now() < deadline, "the place of a client that has left is not free");
    }
}

/// Whether a request is answered with 200. A connection that is refused may be reset before all of it is read.
fn is_served(server: &Server) -> bool {
    let mut stream = server.connect();
    let mut start = [0; 12];
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").is_ok()
        && stream.read_exact(&mut start).is_ok()
        && start.ends_with(b"200")
}

/// Connect with this uid, and nothing else.
fn connect_packet(uid: &str) -> Vec<u8> {
    let length = 2 + 1 + 1 + 1 + uid.len() + 1;
    [&[0, length as u8, 2, 1, uid.len() as u8], uid.as_bytes(), &[0]].concat()
}

#[test]
fn one_address_may_be_limited() {
    let www = folder(&[("a.txt", "hello")]);
    let server = Server::start(smq().arg(www.path()).args(["--max-connections-per-address", "1"]));
    let mut first = server.connect();
    // An answer, so that the connection is known to be accepted.
    first.write_all(b"HEAD /a.txt HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    assert!(first.read(&mut [0; 1000]).unwrap() > 0);
    assert_eq!(Reply::read(&mut server.connect()).status, 503, "to one that says nothing");
    let mut refused = server.connect();
    refused.write_all(b"GET /a.txt HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let mut answer = String::new();
    refused.read_to_string(&mut answer).expect("no reset behind the answer");
    assert!(answer.starts_with("HTTP/1.1 503 "));
}

// Authentication, headers of an app, bodies

/// eve:secret
const EVE: (&str, &str) = ("Authorization", "Basic ZXZlOnNlY3JldA==");

#[test]
fn an_authenticator_of_the_app_guards_its_files_and_not_the_servers_own() {
    let preload = "local users = ba.create.jsonuser() users:set{eve={pwd='secret'}} \
                   dir:setauth(ba.create.authenticator(users, {type='basic'}))";
    let page = "<?lsp=request:user()?>";
    let (server, _folder) = Server::of(&[(".preload", preload), ("a.txt", "hello"), ("p.lsp", page), ("d/x", "")]);
    for target in ["/a.txt", "/p.lsp", "/d", "/d/", "/", "/nosuch", "/nosuch/"] {
        let reply = server.get(target);
        assert_eq!((reply.status, reply.header("www-authenticate").is_empty()), (401, false), "{target}");
    }
    assert_eq!(server.get("/rtl/smq.js").status, 200);
    let file = server.ask("GET", "/a.txt", &[EVE]);
    assert_eq!((file.status, file.body.as_str()), (200, "hello"));
    let cookie = file.header("set-cookie").split(';').next().unwrap();
    assert!(cookie.starts_with("smq_session="));
    assert_eq!(server.ask("GET", "/p.lsp", &[("Cookie", cookie)]).body, "eve");
    assert_eq!(server.ask("GET", "/p.lsp", &[EVE]).body, "eve");
    assert_eq!(server.ask("GET", "/.preload", &[EVE]).status, 404);
}

#[test]
fn the_users_of_the_configuration_may_log_in_and_a_mistake_there_stops_the_server() {
    let preload = "dir:setauth(ba.create.authenticator(mako.udb(), {type='basic'})) assert(mako.udb == mako.udb())";
    let files = folder(&[
        ("www/.preload", preload),
        ("www/a.txt", "hello"),
        ("good.conf", "users = {eve = {pwd = 'secret'}}"),
        ("bad.conf", "users = {eve = {pwd = 'secret'}, adam = 'secret'}"),
    ]);
    let command = |conf: &str| {
        let mut command = smq();
        command.arg("-c").arg(files.path().join(conf)).arg(files.path().join("www"));
        command
    };
    let server = Server::start(&mut command("good.conf"));
    assert_eq!((server.ask("GET", "/a.txt", &[EVE]).status, server.get("/a.txt").status), (200, 401));
    let mut process = command("bad.conf").args(["--port", "0"]).stdout(Stdio::piped()).spawn().unwrap();
    // One that serves says so.
    let has_begun = process.stdout.as_mut().unwrap().read(&mut [0]).unwrap() > 0;
    let _ = process.kill();
    let output = process.wait_with_output().unwrap();
    assert!(!has_begun);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success());
    assert!(said.contains("bad.conf: `users`: user 'adam': a table with the field 'pwd' expected"), "{said}");
}

#[test]
fn a_page_can_turn_away_the_pages_of_other_sites_as_the_manual_shows() {
    let manual = include_str!("../docs/operating.md");
    let page =
        manual.split("```lua\n").find(|part| part.starts_with("<?lsp")).and_then(|part| part.split("```").next());
    let preload = "hub = {connect = function() end}";
    let (server, _folder) = Server::of(&[("smq.lsp", page.unwrap()), (".preload", preload)]);
    let status = |origin: &str| {
        let head = "GET /smq.lsp HTTP/1.1\r\nHost: a:8080\r\nConnection: close\r\n";
        server.say(&format!("{head}{origin}\r\n")).status
    };
    for own in ["", "Origin: http://a:8080\r\n", "Origin: https://a:8080\r\n"] {
        assert_eq!(status(own), 200, "{own}");
    }
    for other in ["http://a", "http://a:8081", "http://b:8080", "https://a:8080.example.org", "null"] {
        assert_eq!(status(&format!("Origin: {other}\r\n")), 403, "{other}");
    }
}

#[test]
fn a_directory_beside_all_apps_needs_no_root_app() {
    let preload = "local d = ba.create.dir'top' d:setfunc(function(_ENV, path) response:write(path) end) d:insert()";
    let www = folder(&[(".preload", preload), ("a.txt", "hello")]);
    let server = Server::start(smq().arg(format!("shop::{}", www.path().display())));
    assert_eq!(server.get("/top/x").body, "x");
    assert_eq!(server.get("/top").header("location"), "http://example.org/top/");
    assert_eq!((server.get("/shop/a.txt").body.as_str(), server.get("/nosuch.txt").status), ("hello", 404));
}

#[test]
fn the_headers_of_an_app_stand_in_for_the_default_ones() {
    let (server, _folder) = Server::of(&[(".preload", "dir:header{['X-App'] = 'yes'}"), ("a.txt", ""), ("p.lsp", "")]);
    for target in ["/a.txt", "/p.lsp"] {
        let reply = server.get(target);
        assert_eq!((reply.header("x-app"), reply.header("x-content-type-options")), ("yes", ""), "{target}");
    }
    assert_eq!(server.get("/rtl/smq.js").header("x-content-type-options"), "nosniff");
}

/// Told not to sniff, browsers show what has no type as plain text.
#[test]
fn browsers_find_out_the_type_that_a_directory_function_does_not_name() {
    let preload = "local d = ba.create.dir'd' dir:insert(d, true) d:setfunc(function(_ENV, path) \
                   if path == 'typed' then response:setcontenttype'text/html' end response:write'<html>' end)";
    let (server, _folder) = Server::of(&[(".preload", preload)]);
    for (target, sniffing) in [("/d/", ""), ("/d/typed", "nosniff")] {
        let reply = server.get(target);
        assert_eq!(
            (reply.header("x-content-type-options"), reply.header("x-xss-protection")),
            (sniffing, "0"),
            "{target}"
        );
    }
}

#[test]
fn a_prologue_that_declines_may_add_headers_to_whatever_answers() {
    let preload = "local filter = ba.create.dir() dir:insertprolog(filter, true)
        filter:setfunc(function(_ENV)
            response:setheader('Access-Control-Allow-Origin', '*')
            response:setheader('ETag', 'not of the file')
            return false
        end)";
    let files = [(".preload", preload), ("page.lsp", "page"), ("a.txt", "file"), ("sub/a.txt", "deep")];
    let (server, _folder) = Server::of(&files);
    for (path, status) in [("/page.lsp", 200), ("/a.txt", 200), ("/sub", 302), ("/missing.txt", 404)] {
        let answer = server.ask("GET", path, &[]);
        assert_eq!(answer.status, status, "{path}");
        assert_eq!(answer.header("access-control-allow-origin"), "*", "{path}");
    }
    let file = server.ask("GET", "/a.txt", &[]);
    assert_ne!(file.header("etag"), "not of the file", "what a file says of itself stays");
}

#[test]
fn a_page_reads_a_body_of_any_length_as_it_comes() {
    let count = "<?lsp local n = 0 for data in request:rawrdr() do n = n + #data end response:write(n) ?>";
    let (server, _folder) = Server::of(&[("count.lsp", count), ("early.lsp", "early")]);
    let body = "x".repeat(3_000_000);
    let head = |target: &str, framing: &str| {
        format!(
            "POST {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Type: text/plain\r\n{framing}\r\n\r\n"
        )
    };
    let whole = head("/count.lsp", "Content-Length: 3000000") + &body;
    assert_eq!(server.say(&whole).body, "3000000");
    let chunked =
        head("/count.lsp", "Transfer-Encoding: chunked") + &format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    assert_eq!(server.say(&chunked).body, "3000000");
}

#[test]
fn a_connection_goes_on_behind_a_body_that_a_page_has_read() {
    let count = "<?lsp response:write'<' response:flush() local n = 0 for data in request:rawrdr() do n = n + #data end \
                 response:write(n, '>') ?>";
    let names = "<?lsp=request:header()['X-Mixed-Case']?>";
    let (server, _folder) = Server::of(&[("count.lsp", count), ("names.lsp", names)]);
    let post =
        "POST /count.lsp HTTP/1.1\r\nHost: a\r\nContent-Length: 300000\r\n\r\n".to_owned() + &"x".repeat(300_000);
    let last = "GET /names.lsp HTTP/1.1\r\nHost: a\r\nX-Mixed-Case: found\r\nConnection: close\r\n\r\n";
    let reply = server.say(&(post.clone() + &post + last));
    assert_eq!(reply.body.matches("300000").count(), 2, "{reply:?}");
    assert!(reply.body.ends_with("found"), "{reply:?}");
}

#[test]
fn header_names_keep_their_letter_case_behind_a_form_in_chunks() {
    let (server, _folder) = Server::of(&[("names.lsp", "<?lsp=request:header()['X-Mixed-Case']?>")]);
    let mut client = server.connect();
    let form = "POST /names.lsp HTTP/1.1\r\nHost: a\r\nContent-Type: application/x-www-form-urlencoded\r\n\
                Transfer-Encoding: chunked\r\n\r\n3\r\na=1\r\n0\r\n\r\n";
    client.write_all(form.as_bytes()).unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"nil") {
        let mut byte = [0];
        client.read_exact(&mut byte).unwrap();
        answer.extend(byte);
    }
    client
        .write_all(b"GET /names.lsp HTTP/1.1\r\nHost: a\r\nX-Mixed-Case: found\r\nConnection: close\r\n\r\n")
        .unwrap();
    assert_eq!(Reply::read(&mut client).body, "found");
}

#[test]
fn a_page_that_does_not_read_its_body_still_answers() {
    let (server, _folder) = Server::of(&[("early.lsp", "early")]);
    for framing in ["Content-Length: 3000000", "Transfer-Encoding: chunked"] {
        let mut client = server.connect();
        let head = format!("POST /early.lsp HTTP/1.1\r\nHost: a\r\nContent-Type: text/plain\r\n{framing}\r\n\r\n");
        client.write_all(head.as_bytes()).unwrap();
        assert_eq!(Reply::read(&mut client).body, "early", "{framing}");
    }
}

#[test]
fn nothing_is_taken_for_a_request_behind_a_body_whose_end_the_page_did_not_look_for() {
    let (server, _folder) = Server::of(&[("early.lsp", "early")]);
    let reply = server.say(
        "POST /early.lsp HTTP/1.1\r\nHost: a\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n\
         3\r\nabc\r\n0\r\n\r\nGET /early.lsp HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    );
    assert_eq!((reply.header("connection"), reply.body.as_str()), ("close", "early"));
}

#[test]
fn an_upload_is_written_to_a_file_while_it_comes() {
    let page = "<?lsp local f print(request:multipart{beginfile = function(name, file) f = io:open(file, 'w') end, \
                filedata = function(data) f:write(data) end}) f:close() ?>";
    let (server, folder) = Server::of(&[("up.lsp", page)]);
    let content = "0123456789abcdef\r\n".repeat(50_000);
    let body = format!("--x\r\nContent-Disposition: form-data; name=f; filename=got.txt\r\n\r\n{content}\r\n--x--\r\n");
    let head = format!(
        "POST /up.lsp HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Type: multipart/form-data; boundary=x\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    assert_eq!(server.say(&(head + &body)).body, "true\n");
    assert!(fs::read_to_string(folder.path().join("got.txt")).unwrap() == content);
}

// TLS

/// A self-signed certificate for `localhost` and its key, in PEM form.
fn certificate() -> (String, String) {
    let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    (own.cert.pem(), own.signing_key.serialize_pem())
}

fn tls_client(certificate: &str) -> rustls::ClientConfig {
    use rustls::pki_types::{CertificateDer, pem::PemObject};
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    builder.with_root_certificates(roots).with_no_client_auth()
}

#[test]
fn https_serves_the_same() {
    let (cert, key) = certificate();
    let files = folder(&[("www/d/a.txt", "hello"), ("cert.pem", &cert), ("key.pem", &key)]);
    let path = |name: &str| files.path().join(name);
    let mut command = smq();
    command
        .arg(path("www"))
        .args(["--tls-port", "0", "--cert"])
        .arg(path("cert.pem"))
        .arg("--key")
        .arg(path("key.pem"));
    let mut server = Server::start(&mut command);
    let address = server.next_address("https://");

    let mut socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let name = "localhost".try_into().unwrap();
    let mut session = rustls::ClientConnection::new(Arc::new(tls_client(&cert)), name).unwrap();
    let mut stream = rustls::Stream::new(&mut session, &mut socket);
    stream.write_all(b"GET /d HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    stream.write_all(b"GET /d/a.txt HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let reply = Reply::read(&mut stream);
    assert_eq!((reply.status, reply.header("location")), (302, "https://localhost/d/"));
    assert!(reply.body.ends_with("hello"));
}

// The command line

fn fails(command: &mut Command, code: i32) -> String {
    let Output { status, stderr, .. } = command.output().unwrap();
    let message = String::from_utf8(stderr).unwrap();
    assert_eq!(status.code(), Some(code), "{message}");
    message
}

#[test]
fn mistakes_get_a_clear_line() {
    let www = folder(&[("file", "")]);
    let path = |name: &str| www.path().join(name);
    assert!(fails(smq().arg(path("nosuch")), 1).contains("nosuch does not exist"));
    assert!(fails(smq().arg("shop:shop.zip"), 1).contains("an app with a name is written NAME::PATH"));
    assert!(fails(smq().arg(path("file")), 1).contains("file is neither a folder nor a zip file"));
    assert!(fails(smq().arg("/proc/self/mem"), 1).contains("/proc/self/mem cannot be read: "));
    assert!(fails(smq().arg("--rtl").arg(path("file")), 1).contains("file is none"));
    assert!(fails(smq().arg("--rtl").arg(path("nosuch")), 1).contains("nosuch, cannot be read: "));
    assert!(fails(smq().arg(".x::www"), 2).contains(".x begins with a dot"));
    assert!(fails(smq().args(["--max-connections", "0"]), 2).contains("--max-connections"));
    assert!(fails(smq().arg("--nosuch"), 2).contains("--nosuch"));
    assert!(fails(smq().args(["--port", "x"]), 2).contains("--port"));
    assert!(fails(smq().args(["--tls-port", "0"]), 1).contains("--cert"));
    assert!(fails(smq().args(["-c", "nosuch.conf"]), 1).contains("cannot read the configuration nosuch.conf"));
    assert!(fails(smq().args(["--host", "192.0.2.1"]), 1).contains("not an address of this machine"));
}

#[test]
fn a_server_without_an_app_says_how_to_name_one() {
    let mut process = smq().args(["--port", "0"]).stdout(Stdio::piped()).spawn().unwrap();
    // The log comes before the first word on standard output, the address of the welcome page.
    let has_begun = process.stdout.as_mut().unwrap().read(&mut [0]).unwrap() > 0;
    let _ = process.kill();
    let said = String::from_utf8(process.wait_with_output().unwrap().stderr).unwrap();
    assert!(has_begun, "{said}");
    assert!(said.contains("no app is named: add its folder or zip file to the command line, or `apps` to"), "{said}");
}

#[test]
fn a_mistake_that_nobody_reads_of_still_ends_with_its_code() {
    let full = File::options().write(true).open("/dev/full").unwrap();
    assert_eq!(smq().arg("nosuch").stderr(full).status().unwrap().code(), Some(1));
}

#[test]
fn a_port_in_use_is_told() {
    let (server, www) = Server::of(&[]);
    let port = server.address.port().to_string();
    assert!(fails(smq().arg(www.path()).args(["--port", &port]), 1).contains("the port is in use"));
}

#[test]
fn certificate_and_key_must_fit_together() {
    let ((cert, key), (_, other)) = (certificate(), certificate());
    let encrypted = key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
    let files = folder(&[
        ("cert.pem", &cert),
        ("key.pem", &key),
        ("other.pem", &other),
        ("encrypted.pem", &encrypted),
        ("empty.pem", ""),
    ]);
    let with = |cert: &str, key: &str| {
        let path = |name: &str| files.path().join(name);
        fails(smq().args(["--tls-port", "0", "--cert"]).arg(path(cert)).arg("--key").arg(path(key)), 1)
    };
    assert!(with("cert.pem", "other.pem").contains("do not belong together"));
    assert!(with("empty.pem", "key.pem").contains("no certificate in PEM form"));
    assert!(with("cert.pem", "empty.pem").contains("no private key in PEM form"));
    assert!(with("cert.pem", "encrypted.pem").contains("is encrypted"));
    assert!(with("nosuch.pem", "key.pem").contains("cannot read the certificate"));
}

#[test]
fn a_configuration_error_names_file_and_line() {
    let files = folder(&[("smq.conf", "port = 0\nport = = 1\n")]);
    let message = fails(smq().arg("-c").arg(files.path().join("smq.conf")), 1);
    assert!(message.contains("smq.conf:2:"), "{message}");
}

#[test]
fn a_configuration_names_apps() {
    let files = folder(&[("www/index.html", "configured")]);
    let www = files.path().join("www");
    let conf = files.path().join("smq.conf");
    fs::write(&conf, format!("port = 1\nhost = '127.0.0.1'\napps = {{ {:?} }}", www.to_str().unwrap())).unwrap();
    assert_eq!(Server::start(smq().arg("-c").arg(conf)).get("/").body, "configured");
}

#[test]
fn the_server_says_what_it_serves_and_where() {
    let (server, www) = Server::of(&[]);
    let path = www.path().display();
    assert_eq!(server.said[0], format!("{path} as \"root application\" : ok"));
    assert!(server.said[1].ends_with(&format!("http://{}/", server.address)), "{:?}", server.said);
}

#[test]
fn help_and_version_are_successes() {
    for flag in ["--help", "--version"] {
        let output = Command::new(env!("CARGO_BIN_EXE_smq")).arg(flag).output().unwrap();
        assert!(output.status.success() && !output.stdout.is_empty());
    }
}

/// A request, and the stream from which the answer can be read while it comes.
fn begin(server: &Server, target: &str) -> TcpStream {
    let mut stream = server.connect();
    write!(stream, "GET {target} HTTP/1.1\r\nHost: example.org\r\nConnection: close\r\n\r\n").unwrap();
    stream
}

fn read_until(stream: &mut TcpStream, end: &str) {
    let mut text = String::new();
    while !text.ends_with(end) {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap_or_else(|error| panic!("{error} behind {text:?}"));
        text.push(byte[0] as char);
    }
}

#[test]
fn what_is_flushed_goes_out_while_the_script_goes_on() {
    for send in ["response:write'first' response:flush()", "response:send'first'"] {
        let page = format!("<?lsp {send} while not io:stat'go.txt' do end ?>last");
        let folder = folder(&[("index.lsp", &page)]);
        let server = Server::start(smq().arg(folder.path()).args(["--script-limit", "0"]));
        let mut stream = begin(&server, "/");
        read_until(&mut stream, "first\r\n");
        fs::write(folder.path().join("go.txt"), "").unwrap();
        read_until(&mut stream, "last\r\n0\r\n\r\n");
    }
}

#[test]
fn a_flush_without_output_sends_the_head() {
    let folder = folder(&[("index.lsp", "<?lsp response:flush() while not io:stat'go.txt' do end ?>last")]);
    let server = Server::start(smq().arg(folder.path()).args(["--script-limit", "0"]));
    let mut stream = begin(&server, "/");
    read_until(&mut stream, "\r\n\r\n");
    fs::write(folder.path().join("go.txt"), "").unwrap();
    read_until(&mut stream, "last\r\n0\r\n\r\n");
}

#[test]
fn an_error_behind_a_flush_breaks_off_behind_all_that_was_written() {
    let long = "x".repeat(3_000_000);
    let (server, _folder) = Server::of(&[
        ("flushed.lsp", "<?lsp response:write'one' response:flush() response:write'two' error'oops' ?>"),
        ("long.lsp", &format!("{long}<?lsp response:write'two' error'oops' ?>")),
    ]);
    for _ in 0..50 {
        let reply = server.get("/flushed.lsp");
        assert_eq!((reply.status, reply.body.as_str()), (200, "3\r\none\r\n3\r\ntwo\r\n"));
    }
    let reply = server.get("/long.lsp");
    assert!(reply.body.ends_with("two\r\n") && reply.body.matches('x').count() == long.len());
}

#[test]
fn a_page_that_writes_less_than_it_announced_is_cut_behind_what_it_wrote() {
    let page = "<?lsp response:setcontentlength(30000) response:write(('x'):rep(20000)) ?>";
    let (server, _folder) = Server::of(&[("a.lsp", page)]);
    let mut stream = begin(&server, "/a.lsp");
    let mut all = String::new();
    stream.read_to_string(&mut all).unwrap();
    let (head, body) = all.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("content-length: 30000"), "{head}");
    assert_eq!(body.len(), 20_000);
}

#[test]
fn signals_end_the_server_soon_whatever_clients_do() {
    // Servers that tests under `nohup` start outlive a SIGHUP.
    let hangup = (!smq::server::ignores_hangup()).then_some("-HUP");
    for signal in ["-TERM", "-INT"].into_iter().chain(hangup) {
        let (mut server, _folder) = Server::of(&[("a.txt", "hello")]);
        let silent: Vec<_> = (0..200).map(|_| server.connect()).collect();
        let mut half_heard = server.connect();
        half_heard.write_all(b"GET /a.txt HTT").unwrap();
        let begin = Instant::now();
        assert!(server.stop(signal).success());
        assert!(begin.elapsed() < Duration::from_secs(5));
        assert!(!matches!(half_heard.read(&mut [0; 1]), Ok(1..)));
        for mut client in silent {
            // One that has not said a word was not accepted yet, and hears of the end when it does.
            let _ = client.write_all(b"G");
            assert!(!matches!(client.read(&mut [0; 1]), Ok(1..)));
        }
    }
}

#[test]
fn os_exit_while_the_server_stops_keeps_no_other_function_from_being_called() {
    let bye = |name: &str| format!("function onunload() trace'{name} unloads' os.exit(3) end");
    let onexit = "mako.onexit(function() trace'second' end) mako.onexit(function() trace'first' os.exit(4) end)";
    let other = folder(&[(".preload", &bye("other"))]);
    let root = folder(&[(".preload", &format!("{} {onexit}", bye("root"))), ("exit.lsp", "<?lsp os.exit(5) ?>")]);
    let apps = [root.path().display().to_string(), format!("other::{}", other.path().display())];
    let mut server = Server::start(smq().args(&apps));
    server.connect().write_all(b"GET /exit.lsp HTTP/1.0\r\n\r\n").unwrap();
    assert_eq!(server.process.wait().unwrap().code(), Some(5), "the first code counts");
    let mut log = String::new();
    server.process.stderr.take().unwrap().read_to_string(&mut log).unwrap();
    let said = ["root unloads", "other unloads", "first", "second"].map(|line| log.find(line));
    assert!(said.iter().all(Option::is_some) && said.is_sorted(), "{log}");
    assert_eq!(log.matches("os.exit: the server is stopping already").count(), 3, "{log}");
}

#[test]
fn an_onunload_without_end_is_named_and_keeps_no_other_from_being_called() {
    let waiting = folder(&[(".preload", "function onunload() while true do ba.sleep(10) end end")]);
    let other =
        folder(&[(".preload", "function onunload() trace'unloaded' end mako.onexit(function() trace'the end' end)")]);
    let apps =
        [("waiting", &waiting), ("other", &other)].map(|(name, app)| format!("{name}::{}", app.path().display()));
    let mut server = Server::start(smq().args(&apps).stderr(Stdio::piped()));
    assert!(server.stop("-TERM").success());
    let mut log = String::new();
    server.process.stderr.take().unwrap().read_to_string(&mut log).unwrap();
    let said = ["unloaded", "waiting/onunload takes too long", "the end"].map(|line| log.find(line));
    assert!(said.iter().all(Option::is_some) && said.is_sorted(), "{log}");
}

#[test]
fn os_exit_in_a_preload_ends_what_was_begun() {
    let first = folder(&[(".preload", "function onunload() trace'unloaded' end")]);
    let second = folder(&[(".preload", "mako.onexit(function() trace'the end' end) os.exit(6) trace'behind it'")]);
    let apps = [first.path().display().to_string(), format!("second::{}", second.path().display())];
    let ended = smq().args(&apps).args(["--port", "0"]).output().unwrap();
    let log = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(6), "{log}");
    assert!(log.contains("unloaded") && log.contains("the end") && !log.contains("behind it"), "{log}");
}

#[test]
fn a_server_that_was_told_to_outlive_its_terminal_does() {
    let folder = folder(&[("a.txt", "hello")]);
    let mut nohup = Command::new("sh");
    nohup.args(["-c", "trap '' HUP; exec \"$0\" serve \"$@\"", env!("CARGO_BIN_EXE_smq")]).arg(folder.path());
    let mut server = Server::start(nohup.stdin(Stdio::null()).stderr(Stdio::piped()));
    let sent = Command::new("kill").args(["-HUP", &server.process.id().to_string()]).status().unwrap();
    assert!(sent.success());
    assert_eq!(server.get("/a.txt").body, "hello");
    assert!(server.stop("-TERM").success());
}
