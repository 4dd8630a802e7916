//! Scripts that run too long: they are reported and stopped, and nobody else is disturbed.

mod support;

use std::time::Instant;

use support::*;

const QUICK: [&str; 4] = ["--script-warning", "20", "--script-limit", "200"];

fn server(page: &str) -> Server {
    Server::start_with(App::new().file("index.lsp", page).file("other.lsp", "other"), &QUICK, &[])
}

/// Stopped, and the server still runs pages.
#[track_caller]
fn expect_stopped(page: &str) {
    let server = server(page);
    assert_eq!(server.get("/").status, 500, "{page}");
    server.expect_output("the script was stopped");
    assert_eq!(server.get("/other.lsp").body, "other");
}

#[test]
fn a_page_that_loops_is_stopped_and_the_log_tells_where() {
    let server = server("first line\n<?lsp\nwhile true do end ?>");
    assert_eq!(server.get("/").status, 500);
    server.expect_output("index.lsp:3 has been running for");
    server.expect_output("GET /: index.lsp:3: the script was stopped");
    assert_eq!(server.get("/other.lsp").body, "other");
}

#[test]
fn the_end_of_the_budget_cannot_be_caught() {
    expect_stopped("<?lsp while true do pcall(function() while true do end end) end ?>");
    expect_stopped("<?lsp while true do pcall(pcall, pcall, function() while true do end end) end ?>");
    expect_stopped("<?lsp local function loop() while true do end end xpcall(loop, loop) loop() ?>");
    expect_stopped("<?lsp while true do xpcall(error, function() while true do end end) end ?>");
}

#[test]
fn coroutines_share_the_budget_of_the_script_that_resumes_them() {
    expect_stopped("<?lsp while true do coroutine.resume(coroutine.create(function() while true do end end)) end ?>");
    expect_stopped(
        "<?lsp local f = coroutine.wrap(function() while true do coroutine.yield() end end) while true do f() end ?>",
    );
}

/// What a script at `.preload` needs for callbacks that take a while, each far less than the limit.
const BUSY: &str = "calls = 0
    function busy() calls = calls + 1 local begun = ba.clock() while ba.clock() < begun + 20 do end return true end";
const CALLS: usize = 25;
const LIMIT: [&str; 2] = ["--script-limit", "400"];

#[test]
fn callbacks_within_a_script_have_a_budget_of_their_own() {
    let app = App::new()
        .file(".preload", format!("{BUSY} hub = require'smq.hub'.create() hub:subscribe('topic', {{onmsg = busy}})"))
        .file(
            "many.lsp",
            format!(
                "<?lsp app.busy() for _ = 1, {CALLS} do app.hub:publish('', 'topic') end app.busy() print(app.calls) ?>"
            ),
        )
        .file(
            "loop.lsp",
            "<?lsp app.hub:subscribe('topic', {onmsg = function() end})
             while true do app.hub:publish('', 'topic') end ?>",
        );
    let server = Server::start_with(app, &LIMIT, &[]);
    assert_eq!(server.get("/many.lsp").body, format!("{}\n", CALLS + 2));
    assert_eq!(server.get("/loop.lsp").status, 500, "and the script keeps to its own");
}

#[test]
fn each_callback_for_one_read_has_a_budget_of_its_own() {
    let app = App::new()
        .file(".preload", format!("{BUSY} hub = require'smq.hub'.create{{onpublish = busy}}"))
        .file("hub.lsp", "<?lsp app.hub:connect(request) ?>");
    let server = Server::start_with(app, &LIMIT, &[]);
    let mut client = Client::open(&server, Via::Raw, "/hub.lsp");
    client.login("uid-123456", "", "");
    let own = client.etid;
    let messages = vec![publish(own, own, 0, "x"); CALLS];
    client.send_together(&messages);
    for message in &messages {
        client.expect(message);
    }
}

#[test]
fn time_spent_waiting_does_not_count() {
    let server = server("<?lsp for i = 1, 5 do ba.sleep(100) end ?>waited");
    assert_eq!(server.get("/").body, "waited");
    assert!(!server.output().contains("has been running"), "{}", server.output());
}

#[test]
fn without_a_limit_nothing_is_stopped() {
    let page = "<?lsp local clock = os.clock() while os.clock() < clock + 0.1 do end ?>done";
    let app = App::new().file("index.lsp", page);
    let server = Server::start_with(app, &["--script-warning", "0", "--script-limit", "0"], &[]);
    assert_eq!(server.get("/").body, "done");
    assert!(!server.output().contains("has been running"), "{}", server.output());
}

#[test]
fn warning_and_limit_are_switched_off_one_by_one() {
    let page = "<?lsp local begun = ba.clock() while ba.clock() < begun + 100 do end ?>done";
    let app = || App::new().file("index.lsp", page).file("loop.lsp", "<?lsp while true do end ?>");
    let server = Server::start_with(app(), &["--script-warning", "0", "--script-limit", "500"], &[]);
    assert_eq!(server.get("/").body, "done");
    assert_eq!(server.get("/loop.lsp").status, 500);
    assert!(!server.output().contains("has been running"), "{}", server.output());
    let server = Server::start_with(app(), &["--script-warning", "20", "--script-limit", "0"], &[]);
    assert_eq!(server.get("/").body, "done");
    server.expect_output("has been running");
}

#[test]
fn callbacks_and_timers_and_onunload_are_stopped_too() {
    let app = App::new().file(
        ".preload",
        "local function loop() while true do end end
        ba.timer(loop):set(1)
        local hub = require'smq.hub'.create()
        hub:subscribe('topic', {onmsg = loop})
        hub:publish('message', 'topic')
        onunload = loop",
    );
    let server = Server::start_with(app, &QUICK, &[]);
    server.expect_output("a timer ends");
    server.expect_output("onmsg: ");
    assert!(server.stop("TERM").success());
}

#[test]
fn a_preload_that_loops_does_not_keep_the_server_from_starting() {
    let app = App::new().file(".preload", "while true do end");
    let server = Server::start_with(app, &QUICK, &[]);
    server.expect_output("the script was stopped");
    assert_eq!(server.get("/").status, 200, "the welcome page");
}

#[test]
fn clients_exchange_messages_while_a_script_loops() {
    let app = App::new()
        .file(".preload", "hub = require'smq.hub'.create()")
        .file("hub.lsp", "<?lsp app.hub:connect(request) ?>")
        .file("loop.lsp", "<?lsp trace'looping' while true do end ?>");
    let server = Server::start_with(app, &["--script-limit", "3000"], &[]);
    let (mut one, mut two) =
        (Client::open(&server, Via::Raw, "/hub.lsp"), Client::open(&server, Via::WebSocket, "/hub.lsp"));
    one.login("client-1", "", "");
    two.login("client-2", "", "");
    let tid = two.subscribe("topic");
    std::thread::scope(|scope| {
        let looping = scope.spawn(|| (server.get("/loop.lsp").status, Instant::now()));
        server.expect_output("looping");
        for number in 0..100 {
            one.publish(tid, 0, number.to_string());
            two.expect(&publish(tid, one.etid, 0, number.to_string()));
        }
        let exchanged = Instant::now();
        let (status, stopped) = looping.join().expect("the request is answered");
        assert_eq!(status, 500);
        assert!(exchanged < stopped, "the messages waited for the script");
    });
}

#[test]
fn a_job_that_loops_is_stopped() {
    let page =
        "<?lsp ba.thread.run(function() while true do end end) ba.socket.event(function() while true do end end) ?>";
    let server = Server::start_with(App::new().file("index.lsp", page), &QUICK, &[]);
    assert_eq!(server.get("/").status, 200);
    for job in ["ba.thread.run: index.lsp:1:", "ba.socket.event: index.lsp:1:"] {
        server.expect_output(job);
    }
}
