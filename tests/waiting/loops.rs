//! A loop in a protected call is stopped, whatever the script is that it runs in.

use super::*;

/// Milliseconds after which a script is stopped: so many that none is which only had to wait for a processor.
const LIMIT: &str = "300";

/// Makes the script of this kind loop, which `trigger` calls, and waits until it was stopped.
#[track_caller]
fn expect_stopped(server: &Server, kind: &str, trigger: impl FnOnce()) {
    let stops = || server.output().matches("the script was stopped").count();
    let before = stops();
    assert_eq!(server.post_form("/begin.lsp", &[("kind", kind), ("how", "loop")]).status, 200);
    trigger();
    expect_state(server, "looping", kind);
    let deadline = Instant::now() + PATIENCE;
    while stops() == before {
        assert!(Instant::now() < deadline, "{kind}: not stopped\n{}", server.output());
        thread::yield_now();
    }
    assert_eq!(server.post_form("/begin.lsp", &[("kind", "none"), ("how", "none")]).status, 200);
    expect_others_go_on(server);
}

#[test]
fn a_page_that_loops_fails_and_lets_nobody_in() {
    let server = server(LIMIT);
    for (kind, path, headers) in [
        ("page", "/page.lsp", ""),
        ("include", "/include.lsp", ""),
        ("forward", "/forward.lsp", ""),
        ("directory", "/directory/", ""),
        ("authuser", "/authuser/", EVE),
        ("authorizer", "/authorizer/", EVE),
        ("login", "/login/", ""),
    ] {
        expect_stopped(&server, kind, || {
            let answer = ask(&server, path, headers);
            assert!(answer.starts_with("HTTP/1.0 500") && !answer.contains("done"), "{kind}: {answer}");
        });
    }
}

#[test]
fn jobs_that_loop_are_stopped() {
    let server = server(LIMIT);
    for kind in ["timer", "job", "queue", "event", "coroutine"] {
        expect_stopped(&server, kind, || ());
    }
}

#[test]
fn a_callback_of_a_hub_that_loops_is_stopped_and_where_it_was_asked_it_denies() {
    let server = server(LIMIT);
    expect_stopped(&server, "authenticate", || {
        let mut client = Client::open(&server, Via::Raw, "/hub.lsp");
        client.send(&connect(b"a client", b"", b""));
        client.expect_refused(ACCESS_DENIED);
    });
    expect_stopped(&server, "permittop", || {
        let mut client = client(&server, "a client");
        client.send(&subscribe("a topic"));
        client.expect(&ack(SUBACK, 1, 0, "a topic"));
    });
    expect_stopped(&server, "permitsubtop", || {
        let mut client = client(&server, "a client");
        client.send(&createsub("a denied one"));
        client.expect(&ack(CREATESUBACK, 1, 0, "a denied one"));
    });
    expect_stopped(&server, "onpublish", || {
        let mut client = client(&server, "a client");
        let tid = client.subscribe("own");
        client.publish(tid, 0, "lost");
        client.publish(tid, 0, "kept");
        client.expect(&publish(tid, client.etid, 0, "kept"));
    });
    expect_stopped(&server, "onconnect", || drop(client(&server, "a client")));
    expect_stopped(&server, "onclose", || drop(client(&server, "a client")));
    expect_stopped(&server, "observe", || {
        client(&server, "a client").subscribe("observed");
    });
    expect_stopped(&server, "onmsg", || {
        let mut client = client(&server, "a client");
        let tid = client.create("server");
        client.publish(tid, 0, "hello");
        expect_state(&server, "looping", "onmsg");
    });
}
