//! `--dev`: what whoever writes an app sees, and nobody else.

mod support;

use std::fs;
use std::thread;
use std::time::Instant;

use support::*;

const FAILING: &str = "<?lsp local function f() error('<b>broken</b>') end\nf() ?>";

#[test]
fn an_error_is_shown_in_the_browser_with_its_place_and_traceback() {
    let server = Server::start_with(App::new().file("index.lsp", FAILING), &["--dev"], &[]);
    let answer = server.get("/");
    assert_eq!(answer.status, 500);
    assert!(answer.head.contains("text/html"), "{}", answer.head);
    assert!(answer.body.contains("index.lsp:1: &lt;b&gt;broken&lt;/b&gt;"), "{}", answer.body);
    assert!(answer.body.contains("stack traceback:") && answer.body.contains("index.lsp:2:"), "{}", answer.body);
}

#[test]
fn errors_of_directory_functions_are_shown_too() {
    let preload = "local d = ba.create.dir('d') d:setfunc(function() error'oops' end) dir:insert(d, true)";
    let server = Server::start_with(App::new().file(".preload", preload), &["--dev"], &[]);
    assert!(server.get("/d/").body.contains(".preload:1: oops"));
}

#[test]
fn without_dev_the_browser_learns_nothing() {
    let server = Server::start(App::new().file("index.lsp", FAILING));
    let answer = server.get("/");
    assert_eq!(answer.status, 500);
    assert!(!answer.body.contains("broken") && !answer.body.contains("index.lsp"), "{}", answer.body);
}

/// Asks until the answer is as expected.
#[track_caller]
fn eventually(server: &Server, path: &str, expected: &str) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = server.get(path);
        if answer.body == expected {
            return;
        }
        assert!(Instant::now() < deadline, "still {answer:?}\n{}", server.output());
        thread::yield_now();
    }
}

#[test]
fn an_app_is_loaded_again_when_its_preload_or_a_module_changes() {
    let app = App::new()
        .file(
            ".preload",
            "mako.createloader(io) words = require'words' name = 'one' function onunload() trace'bye' end",
        )
        .file(".lua/words.lua", "return {greeting = 'hello'}")
        .file("index.lsp", "<?lsp=app.words.greeting?> <?lsp=app.name?>");
    let server = Server::start_with(app, &["--dev"], &[]);
    assert_eq!(server.get("/").body, "hello one");
    fs::write(server.app().path().join(".lua/words.lua"), "return {greeting = 'good day'}")
        .expect("the folder is ours");
    eventually(&server, "/", "good day one");
    server.expect_output("bye");
    fs::write(server.app().path().join(".preload"), "not Lua").expect("the folder is ours");
    server.expect_output("failed");
    fs::write(server.app().path().join(".preload"), "words, name = {greeting = 'back'}, 'again'")
        .expect("the folder is ours");
    eventually(&server, "/", "back again");
}

#[test]
fn clients_of_other_apps_stay_while_an_app_is_loaded_again() {
    let other = App::new()
        .file(".preload", "hub = require'smq.hub'.create()")
        .file("hub.lsp", "<?lsp app.hub:connect(request) ?>");
    let app = App::new().file(".preload", "name = 'one'").file("index.lsp", "<?lsp=app.name?>");
    let server = Server::start_with(app, &["--dev", &format!("other::{}", other.path().display())], &[]);
    let mut client = Client::open(&server, Via::WebSocket, "/other/hub.lsp");
    client.login("client-1", "", "");
    fs::write(server.app().path().join(".preload"), "name = 'number two'").expect("the folder is ours");
    eventually(&server, "/", "number two");
    client.sync();
    let tid = client.subscribe("topic");
    client.publish(tid, 0, "still here");
    client.expect(&publish(tid, client.etid, 0, "still here"));
}

#[test]
fn scripts_know_where_the_server_listens_and_what_is_configured() {
    let conf = App::new().file("smq.conf", "color = 'blue'; list = {1, {x = true}}; host = '127.0.0.1'");
    let app = App::new()
        .file(".preload", "mako.onexit(function() trace'the end' end) mako.onexit(print) mako.onexit(print, false)")
        .file(
            "index.lsp",
            "<?lsp local conf = require'loadconf'
            print(conf.host, conf.color, conf.list[1], conf.list[2].x, mako.port == conf.port, mako.port, conf.sslport) ?>",
        );
    let server = Server::start_with(app, &["-c", &conf.path().join("smq.conf").display().to_string()], &[]);
    let (http, https) = (server.http().port(), server.https().port());
    assert_eq!(server.get("/").body, format!("127.0.0.1\tblue\t1\ttrue\ttrue\t{http}\t{https}\n"));
    assert!(server.stop("TERM").success());
    server.expect_output("the end");
}
