//! `--dev`: what whoever writes an app sees, and nobody else.

mod support;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
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
fn an_error_behind_a_flush_is_shown_behind_the_output() {
    let page = "<?lsp response:write'begun' response:flush() error'oops' ?>";
    let server = Server::start_with(App::new().file("index.lsp", page), &["--dev"], &[]);
    let answer = server.get("/");
    assert_eq!(answer.status, 200);
    assert!(answer.body.starts_with("begun") && answer.body.contains("index.lsp:1: oops"), "{}", answer.body);
}

#[test]
fn errors_of_directory_functions_are_shown_too() {
    let preload = "local d = ba.create.dir('d') d:setfunc(function() error'oops' end) dir:insert(d, true)";
    let server = Server::start_with(App::new().file(".preload", preload), &["--dev"], &[]);
    assert!(server.get("/d/").body.contains(".preload:1: oops"));
}

#[test]
fn why_an_app_cannot_be_loaded_is_shown_until_it_can() {
    let app = App::new().file(".preload", "local function f() error'<oops>' end\nf()").file("index.html", "it works");
    let preload = app.path().join(".preload");
    let server = Server::start_with(app, &["--dev"], &[]);
    for path in ["/", "/index.html"] {
        let answer = server.get(path);
        assert_eq!(answer.status, 500);
        assert!(answer.body.contains(".preload:1: &lt;oops&gt;"), "{}", answer.body);
        assert!(answer.body.contains("stack traceback:") && answer.body.contains(".preload:2:"), "{}", answer.body);
    }
    fs::write(preload, "").expect("the folder is ours");
    let deadline = Instant::now() + PATIENCE;
    while server.get("/").status == 500 && Instant::now() < deadline {}
    assert_eq!(server.get("/").body, "it works");
}

#[test]
fn why_an_app_cannot_be_loaded_is_shown_in_its_place_only() {
    let broken = App::new().file(".preload", "error'oops'");
    let server = Server::start_with(
        App::new().file("index.html", "it works"),
        &["--dev", &format!("broken::{}", broken.path().display())],
        &[],
    );
    assert_eq!(server.get("/broken/x").status, 500);
    assert_eq!(server.get("/").body, "it works");
    assert_eq!(server.get("/x.html").status, 404);
}

#[test]
fn without_dev_the_browser_learns_nothing() {
    let server = Server::start(App::new().file("index.lsp", FAILING));
    let answer = server.get("/");
    assert_eq!(answer.status, 500);
    assert!(!answer.body.contains("broken") && !answer.body.contains("index.lsp"), "{}", answer.body);
    let server = Server::start(App::new().file(".preload", "error'oops'"));
    assert!(server.get("/").body.contains("no app is mounted"));
}

/// The traces as a browser gets them.
struct Traces(BufReader<Stream>);

impl Traces {
    fn open(server: &Server, headers: &str) -> Self {
        let mut stream = server.dial();
        write!(stream, "GET /rtl/trace/events HTTP/1.0\r\nHost: localhost\r\n{headers}\r\n").expect("the server reads");
        let mut traces = Self(BufReader::new(stream));
        let head = traces.block();
        assert!(head.starts_with("HTTP/1.0 200 ") && head.contains("text/event-stream"), "{head}");
        assert!(traces.block().starts_with("retry: "));
        traces
    }

    /// All up to the next empty line.
    fn block(&mut self) -> String {
        let mut block = String::new();
        loop {
            let mut line = String::new();
            assert!(self.0.read_line(&mut line).expect("the server goes on") > 0, "it ends behind {block:?}");
            if line.trim_end().is_empty() {
                return block;
            }
            block += &line;
        }
    }

    /// The next line's id, level and text.
    fn line(&mut self) -> (String, String, String) {
        let block = self.block();
        let mut lines = block.lines();
        let mut field =
            |name| lines.next().and_then(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("{block}"));
        let (id, about) = (field("id: ").to_owned(), field("data: "));
        let (time, level) = about.split_once(' ').expect("time and level");
        assert!(time.parse::<u64>().is_ok(), "{block}");
        let text: Vec<_> = lines.map(|line| line.strip_prefix("data: ").expect("text")).collect();
        (id, level.to_owned(), text.join("\n"))
    }

    #[track_caller]
    fn expect(&mut self, level: &str, beginning: &str) -> String {
        let (id, found, text) = self.line();
        assert!(found == level && text.starts_with(beginning), "{level} {beginning} expected, got {found} {text}");
        id
    }
}

#[test]
fn a_page_shows_the_traces() {
    let server = Server::start_with(App::new(), &["--dev"], &[]);
    server.expect_output(&format!("http://{}/rtl/trace/", server.http()));
    let page = server.get("/rtl/trace/");
    assert!(page.status == 200 && page.head.contains("text/html"), "{}", page.head);
    assert!(page.body.contains("EventSource"), "{}", page.body);
    assert!(server.get("/rtl/trace").head.contains("/rtl/trace/"), "a redirect");
}

#[test]
fn traces_and_errors_are_shown_as_they_come_and_to_whoever_comes_later() {
    let app = App::new()
        .file(".preload", "trace'loaded'")
        .file("say.lsp", "<?lsp trace('said', request:data'what') ?>")
        .file("fail.lsp", FAILING);
    let server = Server::start_with(app, &["--dev"], &[]);
    let mut early = Traces::open(&server, "");
    early.expect("INFO", "1: loaded");
    server.get("/say.lsp?what=one%0atwo");
    let id = early.expect("INFO", "1: said\tone\ntwo");
    assert_eq!(server.get("/fail.lsp").status, 500);
    let (_, level, text) = early.line();
    assert_eq!(level, "ERROR");
    assert!(text.contains("fail.lsp:1: <b>broken</b>\nstack traceback:\n"), "{text}");
    let mut late = Traces::open(&server, "");
    late.expect("INFO", "1: loaded");
    late.expect("INFO", "1: said");
    let mut returned = Traces::open(&server, &format!("Last-Event-ID: {id}\r\n"));
    returned.expect("ERROR", "");
}

#[test]
fn an_app_that_fails_to_load_is_shown_in_the_traces() {
    let server = Server::start_with(App::new().file(".preload", "error'no way'"), &["--dev"], &[]);
    let (_, level, text) = Traces::open(&server, "").line();
    assert!(level == "ERROR" && text.contains(".preload:1: no way"), "{level} {text}");
}

#[test]
fn only_dev_shows_traces_and_only_to_this_machine() {
    let usual = Server::start(App::new());
    let dev = Server::start_with(App::new(), &["--dev"], &[]);
    for answer in [usual.get("/rtl/trace/"), dev.get_as("example.org", "/rtl/trace/")] {
        assert_eq!(answer.status, 404);
    }
    // A missing file without a dot may have been meant as a directory, as everywhere.
    for answer in [usual.get("/rtl/trace/events"), dev.get_as("example.org", "/rtl/trace/events")] {
        assert!(answer.status == 302 && answer.head.contains("/rtl/trace/events/\r\n"), "{}", answer.head);
    }
    assert_eq!(usual.get("/rtl/trace/events/").status, 404);
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
fn a_zip_file_that_changes_is_loaded_again() {
    let folder = tempfile::tempdir().expect("the system has room for a temporary folder");
    let path = folder.path().join("app.zip");
    pack(&path, &[("index.html", "old")]);
    let server = Server::start_with(App::new(), &["--dev", &format!("zip::{}", path.display())], &[]);
    assert_eq!(server.get("/zip/").body, "old");
    pack(&path, &[("index.html", "new and longer")]);
    eventually(&server, "/zip/", "new and longer");
}

#[test]
fn a_module_that_made_the_preload_fail_is_loaded_again() {
    let app = App::new()
        .file(".preload", "mako.createloader(io) require'words'.check()")
        .file(".lua/words.lua", "return {check = function() error'not yet' end}")
        .file("index.lsp", "loaded");
    let server = Server::start_with(app, &["--dev"], &[]);
    server.expect_output("words.lua:1: not yet");
    server.expect_output("apps are loaded again when");
    fs::write(server.app().path().join(".lua/words.lua"), "return {check = function() end}")
        .expect("the folder is ours");
    eventually(&server, "/", "loaded");
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

/// Replaces the app's `.preload` with one that says so, and waits until it is loaded.
fn replace_preload(server: &Server, preload: &str) {
    fs::write(server.app().path().join(".preload"), format!("{preload} version = 'two'")).expect("the folder is ours");
    eventually(server, "/version.lsp", "two");
}

const VERSION: &str = "<?lsp=app.version?>";

#[test]
fn clients_of_an_app_that_is_loaded_again_come_to_its_new_hub() {
    // Its callbacks refer to the hub, and onunload does not shut it down.
    let preload = "hub = require'smq.hub'.create{
            onconnect = function(tid, info, peer) hub:publish('hello', tid) end,
            onclose = function(tid, sock, peer) trace('gone', peer.uid, hub:gettid()) end,
        }";
    let app = App::new()
        .file(".preload", preload)
        .file("version.lsp", VERSION)
        .file("hub.lsp", "<?lsp app.hub:connect(request) ?>");
    let server = Server::start_with(app, &["--dev"], &[]);
    let mut clients = Via::ALL.map(|via| {
        let mut client = Client::open(&server, via, "/hub.lsp");
        client.login(&format!("client {via:?}"), "", "");
        client.expect(&publish(client.etid, SERVER, 0, "hello"));
        client
    });
    let mut newcomers = Via::BOTH.map(|via| Client::open(&server, via, "/hub.lsp"));
    replace_preload(&server, &preload.replace("hello", "good day"));
    clients.iter_mut().chain(&mut newcomers).for_each(|client| {
        client.expect_closed();
    });
    Via::ALL.iter().for_each(|via| server.expect_output(&format!("gone\tclient {via:?}\t1")));
    for via in Via::BOTH {
        let mut client = Client::open(&server, via, "/hub.lsp");
        client.login(&format!("client {via:?}"), "", "");
        client.expect(&publish(client.etid, SERVER, 0, "good day"));
    }
}

/// Lets a client that says it is late connect when the app is ending.
const LATE: &str = "<?lsp while request:header'late' and not isending do ba.sleep(1) end app.hub:connect(request) ?>";

/// A client that says it is late.
fn late(server: &Server) -> Client {
    let mut stream = server.dial();
    write!(stream, "GET /hub.lsp HTTP/1.1\r\nHost: localhost\r\nSimpleMQ: 1\r\nlate: 1\r\n\r\n")
        .expect("the server reads");
    Client::raw(stream)
}

/// Replaces an app while `client-1` is connected to it, and another client comes, which acts after Init. Both are closed.
fn end_app_while_one_connects(preload: &str, act: impl FnOnce(&mut Client) + Send) -> Server {
    let app = App::new().file(".preload", preload).file("version.lsp", VERSION).file("hub.lsp", LATE);
    let server = Server::start_with(app, &["--dev"], &[]);
    let mut client = Client::open(&server, Via::Raw, "/hub.lsp");
    client.login("client-1", "", "");
    let mut late = late(&server);
    thread::scope(|scope| {
        scope.spawn(|| {
            late.read_init();
            act(&mut late);
            late.expect_closed();
        });
        replace_preload(&server, "");
    });
    client.expect_closed();
    server
}

#[test]
fn a_client_that_comes_while_its_app_ends_is_not_refused_since_it_would_not_come_back() {
    // It begins to connect when the others have been closed, and is asked about until there is nobody left to answer.
    let preload = "hub = require'smq.hub'.create{
            authenticate = function(_, info) while info.uid == 'late-1' do ba.sleep(1) end return 0 end,
            onclose = function() _G.isending = true while true do ba.sleep(1) end end,
            onpublish = function() return true end,
        }";
    end_app_while_one_connects(preload, |late| late.send(&connect(b"late-1", b"", b"")));
}

#[test]
fn onclose_runs_also_for_a_client_that_connects_while_its_app_ends() {
    let preload = "hub = require'smq.hub'.create{
            onconnect = function(tid, info, peer) _G.hascome = peer.uid == 'late-1' end,
            onclose = function(tid, sock, peer)
                _G.isending = true
                while not hascome do ba.sleep(1) end
                trace('gone', peer.uid)
            end,
        }";
    let server = end_app_while_one_connects(preload, |late| late.login("late-1", "", ""));
    server.expect_output("gone\tclient-1");
    server.expect_output("gone\tlate-1");
}

/// A `.preload` whose scripts count what they do in `_G`, under the name of their version.
const BUSY: &str = "version = version or 'one'
    counts = {timer = 0, job = 0, behind = 0, message = 0, root = 0}
    _G.all = _G.all or {}
    all[version] = counts
    local counts = counts
    ba.timer(function() counts.timer = counts.timer + 1 return true end):set(1)
    ba.thread.run(function() while true do ba.sleep(1) counts.job = counts.job + 1 end end)
    dir:setfunc(function()
        ba.timer(function() counts.root = counts.root + 1 return true end):set(1)
        return true
    end)
    local thread = ba.thread.create()
    thread:run(function() while true do ba.sleep(1) end end)
    thread:run(function() while true do ba.sleep(1) counts.behind = counts.behind + 1 end end)
    hub = require'smq.hub'.create()
    hub:subscribe('self', {onmsg = function()
        while true do ba.sleep(1) counts.message = counts.message + 1 end
    end})
    hub:publish('go', 1)";

/// Prints whether version `one` stands still while version `two` does things.
const LOOK: &str = "<?lsp
    local function sum(version) return all[version].timer + all[version].job + all[version].message + all[version].root end
    local one, two = sum'one', sum'two'
    while sum'two' < two + 300 do ba.sleep(1) end
    print(sum'one' - one, all.one.behind, all.one.timer > 0 and all.one.job > 0 and all.one.message > 0) ?>";

#[test]
fn what_an_app_has_started_ends_when_it_is_loaded_again() {
    let app = App::new().file(".preload", BUSY).file("version.lsp", VERSION).file("look.lsp", LOOK).file(
        "wait.lsp",
        "<?lsp local counts = app.counts while counts.timer < 5 or counts.job < 5 or counts.message < 5 do ba.sleep(1) end ?>",
    );
    let server = Server::start_with(app, &["--dev"], &[]);
    assert_eq!(server.get("/no-such-file").status, 200, "the directory function answers");
    assert_eq!(server.get("/wait.lsp").status, 200);
    replace_preload(&server, &format!("version = 'two' {BUSY}"));
    assert_eq!(server.get("/look.lsp").body, "0\t0\ttrue\n");
}

#[test]
fn messages_that_wait_when_an_app_ends_are_told_to_nobody() {
    // A thousand callbacks may wait; the messages behind them are queued meanwhile.
    let preload = "hub = require'smq.hub'.create()
        hub:onmsg(function() _G.told = (_G.told or 0) + 1 while true do ba.sleep(1000) end end)";
    let app = App::new()
        .file(".preload", preload)
        .file("version.lsp", VERSION)
        .file("told.lsp", "<?lsp=_G.told?>")
        .file("hub.lsp", "<?lsp app.hub:connect(request) ?>");
    let server = Server::start_with(app, &["--dev"], &[]);
    let mut client = Client::open(&server, Via::Raw, "/hub.lsp");
    client.login("uid-123456", "", "");
    client.send_together(&vec![publish(SERVER, client.etid, 0, "x"); 1200]);
    eventually(&server, "/told.lsp", "1000");
    replace_preload(&server, preload);
    // Its end waits until everything that it has sent is handled.
    client.expect_closed();
    assert_eq!(server.get("/told.lsp").body, "1000");
}

#[test]
fn what_a_preload_has_started_before_it_failed_ends() {
    let waiting = "while counts.timer < 5 or counts.job < 5 or counts.message < 5 do ba.sleep(1) end error'oops'";
    let app =
        App::new().file(".preload", format!("{BUSY} {waiting}")).file("version.lsp", VERSION).file("look.lsp", LOOK);
    let server = Server::start_with(app, &["--dev"], &[]);
    replace_preload(&server, &format!("version = 'two' {BUSY}"));
    assert_eq!(server.get("/look.lsp").body, "0\t0\ttrue\n");
}

#[test]
fn pages_and_sockets_end_with_their_app() {
    let app = App::new()
        .file(".preload", "")
        .file("version.lsp", VERSION)
        .file("endless.lsp", "<?lsp response:write'begun' response:flush() while true do ba.sleep(1) end ?>")
        .file("socket.lsp", "<?lsp ba.socket.req2sock(request):event(function(s) s:write'hello' s:read() end, 's') ?>");
    let server = Server::start_with(app, &["--dev"], &[]);
    let mut page = server.dial();
    write!(page, "GET /endless.lsp HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("the server reads");
    let mut page = BufReader::new(page);
    let mut line = String::new();
    while !line.contains("begun") {
        assert!(page.read_line(&mut line).expect("the page has begun") > 0, "{line}");
    }
    let (mut socket, _) = tungstenite::client("ws://localhost/socket.lsp", server.dial()).expect("a WebSocket");
    assert_eq!(socket.read().expect("the script writes").into_data(), "hello");
    replace_preload(&server, "");
    assert!(socket.read().expect("a farewell").is_close());
    let mut rest = String::new();
    page.read_to_string(&mut rest).expect("the server closes the connection");
    assert!(rest.contains("the app was loaded again meanwhile"), "{rest}");
}

#[test]
fn a_socket_that_an_app_keeps_ends_with_it() {
    let page = |keep: &str| format!("<?lsp local s = ba.socket.req2sock(request) s:write'hello' app.{keep} ?>");
    let app = App::new()
        .file(".preload", "")
        .file("version.lsp", VERSION)
        .file("socket.lsp", page("kept = s"))
        .file("behind.lsp", page("timer = ba.timer(function() return s end)"));
    let server = Server::start_with(app, &["--dev"], &[]);
    let sockets = ["socket", "behind"].map(|name| {
        let url = format!("ws://localhost/{name}.lsp");
        let (mut socket, _) = tungstenite::client(url, server.dial()).expect("a WebSocket");
        assert_eq!(socket.read().expect("the script writes").into_data(), "hello");
        socket
    });
    replace_preload(&server, "");
    for mut socket in sockets {
        assert!(socket.read().expect("a farewell").is_close());
    }
}

#[test]
fn a_deferred_response_that_an_app_keeps_ends_with_it() {
    let app = App::new()
        .file(".preload", "mako.onexit(function() return app end)")
        .file("version.lsp", VERSION)
        .file("deferred.lsp", "<?lsp app.kept = response:deferred() ?>")
        .file("is_kept.lsp", "<?lsp print(app.kept ~= nil) ?>");
    let server = Server::start_with(app, &["--dev"], &[]);
    let mut client = server.dial();
    write!(client, "GET /deferred.lsp HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").expect("it reads");
    eventually(&server, "/is_kept.lsp", "true\n");
    replace_preload(&server, "");
    let mut answer = String::new();
    client.read_to_string(&mut answer).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
}

#[test]
fn a_directory_beside_all_apps_is_replaced() {
    let preload = "local d = ba.create.dir'beside'
        d:setfunc(function(_ENV) print'one' return d ~= nil end)
        d:insert()";
    let server = Server::start_with(App::new().file(".preload", preload).file("version.lsp", VERSION), &["--dev"], &[]);
    assert_eq!(server.get("/beside/").body, "one\n");
    replace_preload(&server, &preload.replace("one", "number two"));
    assert_eq!(server.get("/beside/").body, "number two\n");
}

#[test]
fn what_a_directory_beside_all_apps_is_doing_ends_with_its_app() {
    let preload = "local d = ba.create.dir'beside'
        d:setfunc(function(_ENV) response:write'begun' response:flush() while true do ba.sleep(1) end end)
        d:insert()";
    let app = App::new().file(".preload", preload).file("version.lsp", VERSION);
    let server = Server::start_with(app, &["--dev"], &[]);
    let mut page = server.dial();
    write!(page, "GET /beside/ HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("the server reads");
    let mut page = BufReader::new(page);
    let mut line = String::new();
    while !line.contains("begun") {
        assert!(page.read_line(&mut line).expect("the function has begun") > 0, "{line}");
    }
    replace_preload(&server, "");
    let mut rest = String::new();
    page.read_to_string(&mut rest).expect("the server closes the connection");
    assert!(rest.contains("the app was loaded again meanwhile"), "{rest}");
}

/// The root app, and one at `/other/` that stays.
fn with_other(preload: &str, other: &App) -> Server {
    let app = App::new().file(".preload", preload).file("version.lsp", VERSION);
    Server::start_with(app, &["--dev", &format!("other::{}", other.path().display())], &[])
}

#[test]
fn a_directory_in_that_of_another_app_is_replaced() {
    let other = App::new().file(".preload", "_G.place = ba.create.dir'place' dir:insert(place, true)");
    let preload = "function insert(text)
            local d = ba.create.dir'inner'
            d:setfunc(function(_ENV) print(text) return d ~= nil end)
            place:insert(d, true)
        end";
    let server = with_other(&format!("{preload} version = 'one'"), &other);
    fs::write(server.app().path().join("insert.lsp"), "<?lsp app.insert(app.version) ?>").expect("the folder is ours");
    server.get("/insert.lsp");
    assert_eq!(server.get("/other/place/inner/").body, "one\n");
    replace_preload(&server, preload);
    assert_eq!(server.get("/other/place/inner/").status, 404);
    server.get("/insert.lsp");
    assert_eq!(server.get("/other/place/inner/").body, "two\n");
}

#[test]
fn an_app_that_ends_while_it_lets_a_client_in_to_the_hub_of_another_app_is_freed() {
    let other = App::new()
        .file(
            ".preload",
            "_G.hub = require'smq.hub'.create{
                authenticate = function() while not isknown do ba.sleep(1) end return 0 end,
            }",
        )
        .file("know.lsp", "<?lsp app.isknown = true ?>")
        .file(
            "count.lsp",
            "<?lsp collectgarbage() local n = 0 for _ in pairs(known) do n = n + 1 end response:write(n) ?>",
        );
    let preload = "_G.known = _G.known or setmetatable({}, {__mode = 'k'}) known[_ENV] = true";
    let server = with_other(preload, &other);
    fs::write(server.app().path().join("hub.lsp"), "<?lsp hub:connect(request, app) ?>").expect("the folder is ours");
    let mut client = Client::open(&server, Via::Raw, "/hub.lsp");
    client.send(&connect(b"client-1", b"", b""));
    replace_preload(&server, preload);
    server.get("/other/know.lsp");
    client.expect_accepted();
    eventually(&server, "/other/count.lsp", "1");
}

#[test]
fn a_job_belongs_to_the_app_that_gives_it_to_a_thread() {
    let other = App::new().file(
        ".preload",
        "_G.steps = 0
        shared:run(function() while true do ba.sleep(1) _G.steps = _G.steps + 1 end end)",
    );
    let preload = "_G.shared = _G.shared or ba.thread.create()
        shared:run(function() while true do ba.sleep(1) end end)";
    let server = with_other(preload, &other);
    fs::write(server.app().path().join("look.lsp"), "<?lsp while steps < 5 do ba.sleep(1) end ?>").expect("it is ours");
    replace_preload(&server, "");
    assert_eq!(server.get("/look.lsp").status, 200);
}

#[test]
fn an_app_that_was_replaced_is_freed() {
    // Everything refers to the app's globals, and these to everything.
    let preload = "_G.known = _G.known or setmetatable({}, {__mode = 'k'})
        known[app] = true
        hub = require'smq.hub'.create{onmsg = function() return hub, app end, onclose = function() return app end}
        hub:subscribe('topic', {onmsg = function() return app end})
        hub:observe('topic', function() return app end)
        for sock, peer in hub:peers() do peer.hub = hub end
        timer = ba.timer(function() return timer end)
        timer:set(10000)
        directory = ba.create.dir'directory'
        directory:setfunc(function() return directory, app end)
        dir:insert(directory, true)
        unmounted = ba.create.dir'unmounted'
        unmounted:setfunc(function() return unmounted, app end)
        users = ba.create.authuser(function() return users, app end)
        authenticator = ba.create.authenticator(users, {response = function() return authenticator, app end})
        authorizer = ba.create.authorizer(function() return authorizer, app end)
        ba.thread.run(function() while app do ba.sleep(10000) end end)
        mako.onexit(function() return app end)";
    let app = App::new().file(".preload", preload).file("version.lsp", VERSION).file(
        "count.lsp",
        "<?lsp collectgarbage() collectgarbage() local n = 0 for _ in pairs(known) do n = n + 1 end print(n) ?>",
    );
    let server = Server::start_with(app, &["--dev"], &[]);
    assert_eq!(server.get("/count.lsp").body, "1\n");
    replace_preload(&server, preload);
    assert_eq!(server.get("/count.lsp").body, "1\n");
}

#[test]
fn an_onunload_without_end_does_not_keep_an_app_from_being_replaced() {
    let preload = "function onunload() trace'waiting' while true do ba.sleep(1) end end";
    let server = Server::start_with(App::new().file(".preload", preload).file("version.lsp", VERSION), &["--dev"], &[]);
    replace_preload(&server, "");
    server.expect_output("onunload takes too long");
}

#[test]
fn a_hub_that_has_ended_with_its_app_says_so() {
    let preload = "_G.first = _G.first or require'smq.hub'.create()";
    let app = App::new()
        .file(".preload", preload)
        .file("version.lsp", VERSION)
        .file("use.lsp", "<?lsp print(select(2, pcall(first.publish, first, 'data', 'topic'))) ?>");
    let server = Server::start_with(app, &["--dev"], &[]);
    replace_preload(&server, preload);
    assert_eq!(server.get("/use.lsp").body, "use.lsp:1: hub:publish was called on a hub that has ended with its app\n");
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
