//! The example app that bridges two servers.

mod support;

use std::thread;
use std::time::{Duration, Instant};

use std::fs;

use support::{App, Client, PATIENCE, Server, Via, change, number_at, observe, publish, subscribe};

fn app() -> App {
    App::new()
        .file(".preload", include_str!("../examples/bridge/app/.preload"))
        .file("smq/index.lsp", include_str!("../examples/bridge/app/smq/index.lsp"))
        .file("index.html", include_str!("../examples/bridge/app/index.html"))
}

/// A server whose chat is shared with that of another one.
fn bridge_to(other: &Server) -> Server {
    let url = format!("http://{}/smq/", other.http());
    let server = Server::start_with(app(), &[], &[("BRIDGE_TO", &url)]);
    server.expect_output("bridge: connected to");
    server
}

/// A client that has subscribed to the chat; with the topic's number.
fn chatter(server: &Server, name: &str) -> (Client, u32) {
    let mut client = Client::open(server, Via::Raw, "/smq/");
    client.login(name, "", "");
    client.send(&subscribe("chat"));
    let tid = number_at(&client.receive(), 2);
    (client, tid)
}

#[test]
fn what_is_said_on_one_server_is_read_on_the_other_and_nothing_twice() {
    let first = Server::start(app());
    let second = bridge_to(&first);
    let (mut here, here_tid) = chatter(&first, "on the first");
    let (mut there, there_tid) = chatter(&second, "on the second");
    for line in ["one", "two"] {
        here.send(&publish(here_tid, here.etid, 0, line.as_bytes()));
        assert!(here.receive().ends_with(line.as_bytes()));
        assert!(there.receive().ends_with(line.as_bytes()));
        there.send(&publish(there_tid, there.etid, 0, b"answer"));
        assert!(there.receive().ends_with(b"answer"));
        assert!(here.receive().ends_with(b"answer"));
    }
}

#[test]
fn a_bridge_that_is_loaded_again_leaves_nothing_behind() {
    let first = Server::start(app());
    let mut observer = Client::open(&first, Via::Raw, "/smq/");
    observer.login("observer", "", "");
    let chat = observer.create("chat");
    let url = format!("http://{}/smq/", first.http());
    let second = Server::start_with(app(), &["--dev"], &[("BRIDGE_TO", &url)]);
    second.expect_output("bridge: connected to");
    observer.send(&observe(chat));
    observer.expect(&change(chat, 1));
    let preload = include_str!("../examples/bridge/app/.preload");
    fs::write(second.app().path().join(".preload"), format!("{preload}\n-- changed")).expect("the folder is ours");
    observer.expect(&change(chat, 0));
    observer.expect(&change(chat, 1));
}

#[test]
fn a_server_that_was_stopped_and_started_again_is_found_again() {
    let first = Server::start(app());
    let port = first.http().port().to_string();
    let second = bridge_to(&first);
    assert!(first.stop("TERM").success());
    second.expect_output("bridge: socketclosed");
    let first = Server::start_with(app(), &["--port", &port], &[]);
    let connected = || second.output().matches("bridge: connected to").count();
    let deadline = Instant::now() + PATIENCE;
    while connected() < 2 {
        assert!(Instant::now() < deadline, "{}", second.output());
        thread::sleep(Duration::from_millis(10));
    }
    let (mut here, here_tid) = chatter(&first, "on the first");
    let (mut there, _) = chatter(&second, "on the second");
    here.send(&publish(here_tid, here.etid, 0, b"again"));
    assert!(here.receive().ends_with(b"again"));
    assert!(there.receive().ends_with(b"again"));
}
