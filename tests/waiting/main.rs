//! A script that waits, whatever its kind and whatever it waits for, holds up nobody.

#[path = "../support/mod.rs"]
mod support;

mod loops;

use std::io::{Read, Write};
use std::thread;
use std::time::Instant;

use support::*;

/// A wait that is none would be an error all the same.
const PATIENT: &str = "5000";
const WAYS: [&str; 5] = ["sleep", "socket", "websocket", "http", "job"];

/// The app of all tests here, stopped when it runs for so many milliseconds without waiting.
fn server(limit: &str) -> Server {
    let app = App::new()
        .file(".preload", include_str!("preload.lua"))
        .file("begin.lsp", "<?lsp app.begin(request:data'kind', request:data'how') ?>")
        .file("state.lsp", "<?lsp=app.state?>")
        .file("open.lsp", "<?lsp app.is_open = true ?>")
        .file("gate.lsp", "<?lsp app.gate() ?>open")
        .file(
            "socket.lsp",
            "<?lsp ba.socket.req2sock(request):event(function(s) app.gate() s:write('open', true) end, 's') ?>",
        )
        .file("hub.lsp", "<?lsp app.hub:connect(request) ?>")
        .file("page.lsp", "<?lsp app.pause'page' ?>done")
        .file("include.lsp", "<?lsp response:include'.part.lsp' ?>")
        .file("forward.lsp", "<?lsp response:forward'.part.lsp' ?>")
        .file(".part.lsp", "<?lsp app.pause'include' app.pause'forward' ?>done");
    Server::start_with(app, &["--script-limit", limit], &[])
}

fn expect_state(server: &Server, expected: &str, what: &str) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let state = server.get("/state.lsp").body;
        if state == expected {
            return;
        }
        assert!(Instant::now() < deadline, "{what}: {state}, not {expected}\n{}", server.output());
        thread::yield_now();
    }
}

fn client(server: &Server, uid: &str) -> Client {
    let mut client = Client::open(server, Via::Raw, "/hub.lsp");
    client.login(uid, "", "");
    client
}

/// A page, and two clients of the same hub who are strangers to what waits.
fn expect_others_go_on(server: &Server) {
    assert_eq!(server.get("/page.lsp").body, "done");
    let (mut one, mut two) = (client(server, "other-one"), client(server, "other-two"));
    let tid = two.subscribe("others");
    two.createsub("a sub-topic");
    one.publish(tid, 0, "hello");
    two.expect(&publish(tid, one.etid, 0, "hello"));
    for client in [&mut one, &mut two] {
        client.send(&disconnect(""));
        client.expect_closed();
    }
}

/// Makes the script of this kind wait in each way, lets `trigger` call it, and looks at the others meanwhile.
#[track_caller]
fn check(server: &Server, kind: &str, trigger: impl Fn(&str) + Sync) {
    for how in WAYS {
        let what = format!("{kind} in {how}");
        assert_eq!(server.post_form("/begin.lsp", &[("kind", kind), ("how", how)]).status, 200);
        thread::scope(|scope| {
            let waiting = scope.spawn(|| trigger(how));
            expect_state(server, "waiting", &what);
            expect_others_go_on(server);
            expect_state(server, "waiting", &what);
            assert_eq!(server.get("/open.lsp").status, 200);
            expect_state(server, "done", &what);
            waiting.join().unwrap_or_else(|_| panic!("{what}: its own client was not served"));
        });
    }
    assert!(!server.output().contains("ERROR"), "{}", server.output());
}

/// The answer to a request for `path` with these lines in its head.
fn ask(server: &Server, path: &str, headers: &str) -> String {
    let mut stream = server.dial();
    let request = format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).expect("the server reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("the server answers");
    answer
}

/// The page at `path` waits, and is served in the end.
#[track_caller]
fn check_page(server: &Server, kind: &str, path: &str, headers: &str) {
    check(server, kind, |_| {
        let answer = ask(server, path, headers);
        assert!(answer.starts_with("HTTP/1.0 200") && answer.ends_with("done"), "{answer}");
    });
}

/// Credentials of `eve:secret`.
const EVE: &str = "Authorization: Basic ZXZlOnNlY3JldA==\r\n";

#[test]
fn pages_and_directory_functions() {
    let server = server(PATIENT);
    check_page(&server, "page", "/page.lsp", "");
    check_page(&server, "include", "/include.lsp", "");
    check_page(&server, "forward", "/forward.lsp", "");
    check_page(&server, "directory", "/directory/", "");
}

#[test]
fn the_functions_of_authenticators_and_authorizers() {
    let server = server(PATIENT);
    check_page(&server, "authuser", "/authuser/", EVE);
    check_page(&server, "authorizer", "/authorizer/", EVE);
    check_page(&server, "login", "/login/", "");
}

#[test]
fn timers_and_jobs_and_coroutines() {
    let server = server(PATIENT);
    for kind in ["timer", "job", "queue", "event", "coroutine"] {
        check(&server, kind, |_| ());
    }
}

#[test]
fn authenticate_and_onconnect() {
    let server = server(PATIENT);
    for kind in ["authenticate", "onconnect"] {
        check(&server, kind, |how| drop(client(&server, &format!("client-{how}"))));
    }
}

#[test]
fn permittop_and_permitsubtop() {
    let server = server(PATIENT);
    check(&server, "permittop", |how| {
        client(&server, "a client").subscribe(&format!("topic-{how}"));
    });
    check(&server, "permitsubtop", |how| {
        client(&server, "a client").createsub(&format!("subtopic-{how}"));
    });
}

#[test]
fn onpublish_and_onmsg() {
    let server = server(PATIENT);
    check(&server, "onpublish", |_| {
        let mut client = client(&server, "a client");
        let tid = client.subscribe("own");
        client.publish(tid, 0, "hello");
        client.expect(&publish(tid, client.etid, 0, "hello"));
    });
    check(&server, "onmsg", |_| {
        let mut client = client(&server, "a client");
        let tid = client.create("server");
        client.publish(tid, 0, "hello");
        expect_state(&server, "done", "onmsg");
    });
}

#[test]
fn onclose_and_observers() {
    let server = server(PATIENT);
    check(&server, "onclose", |_| drop(client(&server, "a client")));
    check(&server, "observe", |_| {
        client(&server, "a client").subscribe("observed");
    });
}
