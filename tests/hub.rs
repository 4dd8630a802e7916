//! `smq test`: how it tells what failed; and the Lua tests of `tests/lua`, which show the hub as a script's author sees it.

mod support;

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use support::App;

fn smq_test(folder: &Path, args: &[&str]) -> Output {
    let output = Command::new(env!("CARGO_BIN_EXE_smq")).arg("test").arg(folder).args(args).output();
    output.expect("cargo has built the binary")
}

/// The exit code and both outputs.
fn run(app: &App) -> (Option<i32>, String, String) {
    run_with(app, &[])
}

fn run_with(app: &App, args: &[&str]) -> (Option<i32>, String, String) {
    let output = smq_test(app.path(), args);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).replace(&app.path().display().to_string(), "APP");
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn every_lua_script_passes() {
    let output = smq_test(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lua"), &[]);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(!said.contains("\n0 passed"), "{said}");
}

#[test]
fn no_lua_script_is_left_out() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lua");
    for entry in folder.read_dir().expect("the scripts are there") {
        let name = entry.expect("readable").file_name().to_string_lossy().into_owned();
        assert!(name.ends_with("_test.lua") || !name.ends_with(".lua"), "nobody runs tests/lua/{name}");
    }
}

#[test]
fn tests_ask_the_app_as_its_clients_do() {
    let app = App::new()
        .file(".preload", "greeting = 'hello'")
        .file(
            "index.lsp",
            "<?lsp response:setheader('X-Kind', request:method()) response:write(app.greeting, request:data'name') ?>",
        )
        .file(
            ".tests/page_test.lua",
            "test('the page greets', function()
                local answer = server.get'/?name=you'
                same(answer.status, 200)
                same(answer.body, 'helloyou')
                same(answer.headers['x-kind'], 'GET')
                same(server.post('/', {name = 'a b&c'}).body, 'helloa b&c')
                same(server.request('PUT', '/', {Accept = '*/*'}, 'body').headers['x-kind'], 'PUT')
                assert(server.url:match'^http://127')
                same(app, nil)
            end)",
        );
    let (code, said, log) = run(&app);
    assert!(said.ends_with("\n1 passed, 0 failed\n"), "{said}{log}");
    assert_eq!(code, Some(0));
}

#[test]
fn only_the_scripts_asked_for_are_run() {
    let app = App::new()
        .file(".tests/good_test.lua", "test('good', function() end)")
        .file(".tests/bad_test.lua", "error'it was run'");
    let path = app.path().join(".tests/good_test.lua").display().to_string();
    for filter in ["good", &path] {
        let (code, said, log) = run_with(&app, &[filter]);
        assert!(said.ends_with("\n1 passed, 0 failed\n"), "{said}{log}");
        assert_eq!(code, Some(0));
    }
    let (code, _, log) = run_with(&app, &["other"]);
    assert!(log.contains("in APP contains \"other\""), "{log}");
    assert_eq!(code, Some(1));
}

#[test]
fn a_script_without_its_folder_is_told_how_it_can_be_run() {
    let app = App::new().file("a_test.lua", "test('a', function() end)");
    let output = smq_test(&app.path().join("a_test.lua"), &[]);
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(log.contains("a_test.lua is a file") && log.contains("smq test DIR "), "{log}");
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn tests_meet_the_hub_as_smq_clients() {
    let app = App::new()
        .file(".preload", "hub = require'smq.hub'.create() hub:subscribe('ask', {onmsg = function(data, ptid) hub:publish(data:upper(), ptid) end})")
        .file("hub.lsp", "<?lsp app.hub:connect(request) ?>")
        .file(
            "hub_test.lua",
            "test('the server answers', function()
                local got
                local client = require'smq.client'.create(server.url .. '/hub.lsp', {uid = 'tester'})
                function client.onmsg(data) got = data end
                function client.onconnect() client:subscribe'self' client:publish('hello', 'ask') end
                eventually(function() return got end, 'an answer')
                client:close()
                same(got, 'HELLO')
            end)",
        );
    let (code, said, log) = run(&app);
    assert!(said.ends_with("\n1 passed, 0 failed\n"), "{said}{log}");
    assert_eq!(code, Some(0));
}

#[test]
fn an_error_in_a_callback_of_the_client_is_logged_with_its_traceback() {
    let app = App::new()
        .file(".preload", "hub = require'smq.hub'.create()")
        .file("hub.lsp", "<?lsp app.hub:connect(request) ?>")
        .file(
            "a_test.lua",
            "test('it fails', function()
            local client = require'smq.client'.create(server.url .. '/hub.lsp', {uid = 'tester'})
            local function broken() error'on purpose' end
            local done
            function client.onconnect() done = true broken() end
            eventually(function() return done end, 'the connection')
            client:close()
        end)",
        );
    let (code, said, log) = run(&app);
    assert_eq!(code, Some(0), "{said}{log}");
    assert!(log.contains(" lua: smq.client: onconnect: APP/a_test.lua:3: on purpose\nstack traceback:\n"), "{log}");
    assert!(log.contains("APP/a_test.lua:5: in"), "{log}");
}

#[test]
fn an_option_that_does_not_exist_is_named_in_the_log_and_ignored() {
    let app = App::new()
        .file(
            ".preload",
            "local hub = require'smq.hub'
            local function f() end
            misspelt = hub.create{
                autenticate = f, [1] = f}
            all = hub.create{authenticate = f, permittop = f, permitsubtop = f, onconnect = f, onclose = f, onpublish = f,
                ondrop = f, onmsg = f, log = f, rndtid = true, readtmo = 1000, keepidle = 100, keepintv = 10, queuesize = 5}
            all:subscribe('topic', {onmsg = f, subtopic = 'sub', json = true})
            all:subscribe('topic', {onmesg = f})",
        )
        .file("a_test.lua", "");
    let (code, said, log) = run(&app);
    assert_eq!(code, Some(0), "{said}{log}");
    let mut warned: Vec<_> =
        log.lines().filter_map(|line| line.split_once(" WARN lua: ")).map(|(_, what)| what).collect();
    warned.sort();
    assert_eq!(
        warned,
        [
            ".preload:3: hub.create: there is no option '1'; it is ignored",
            ".preload:3: hub.create: there is no option 'autenticate'; it is ignored",
            ".preload:8: hub:subscribe: there is no option 'onmesg'; it is ignored",
        ],
        "{log}"
    );
}

#[test]
fn failures_are_told_with_file_and_line() {
    let app = App::new().file(
        "some_test.lua",
        "test('numbers differ', function()
            same(1, 2)
        end)
        test('something is missing', function()
            assert(nil)
        end)
        test('an error is a table', function() error{code = 5} end)
        test('an error has a text', function() error(setmetatable({}, {__tostring = function() return 'no luck' end})) end)
        test('fine', function() same({1, {2}}, {1, {2}}) end)",
    );
    let (code, said, log) = run(&app);
    for line in [
        "FAILED APP/some_test.lua:2: numbers differ: expected 2, got 1",
        "FAILED APP/some_test.lua:5: something is missing: assertion failed!",
        "FAILED APP/some_test.lua:7: an error is a table: {[\"code\"]=5}",
        "FAILED APP/some_test.lua:8: an error has a text: no luck",
        "1 passed, 4 failed",
    ] {
        assert!(said.contains(line), "{line} is not in {said}{log}");
    }
    assert_eq!(code, Some(1));
}

#[test]
fn a_script_that_fails_outside_its_tests_is_named_whatever_it_raises() {
    let app = App::new().file("a_test.lua", "error('no place', 0)").file("b_test.lua", "error{}");
    let (code, said, log) = run(&app);
    for beginning in ["FAILED APP/a_test.lua: no place\n", "FAILED APP/b_test.lua: table: 0x"] {
        assert!(said.contains(beginning), "{beginning} is not in {said}{log}");
    }
    assert_eq!(code, Some(1));
}

#[test]
fn the_exit_code_tells_even_if_nobody_reads_the_output() {
    for (source, expected) in [("test('fine', function() end)", 0), ("test('bad', error)", 1)] {
        let app = App::new().file("a_test.lua", source);
        let full = File::options().write(true).open("/dev/full").expect("Linux has it");
        let output = Command::new(env!("CARGO_BIN_EXE_smq")).arg("test").arg(app.path()).stdout(full).output();
        let output = output.expect("cargo has built the binary");
        assert_eq!(output.status.code(), Some(expected), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn what_differs_in_the_last_digit_is_not_the_same_and_a_table_may_hold_itself() {
    let app = App::new().file(
        "some_test.lua",
        "local function loop() local t = {n = 1} t.t = t return t end
        test('sum', function() same(0.1 + 0.2, 0.3) end)
        test('loop', function() same(loop(), loop()) end)
        test('other loop', function() same(loop(), {n = 1}) end)",
    );
    let (code, said, log) = run(&app);
    for line in [
        "FAILED APP/some_test.lua:2: sum: expected 0.3, got 3.0000000000000004e-01",
        "FAILED APP/some_test.lua:4: other loop: expected {[\"n\"]=1}, got {[\"n\"]=1, [\"t\"]={...}}",
        "1 passed, 2 failed",
    ] {
        assert!(said.contains(line), "{line} is not in {said}{log}");
    }
    assert_eq!(code, Some(1));
}

#[test]
fn a_failure_may_hold_any_bytes() {
    let app = App::new().file(
        "some_test.lua",
        "test('bytes differ', function() same('\\xff', 'x') end)
        test('fine', function() end)",
    );
    let (code, said, log) = run(&app);
    assert!(said.contains("FAILED APP/some_test.lua:1: bytes differ: expected \"x\", got \"\u{fffd}\""), "{said}{log}");
    assert!(said.ends_with("\n1 passed, 1 failed\n"), "{said}{log}");
    assert_eq!(code, Some(1));
}

#[test]
fn a_test_that_is_stopped_is_named_and_those_behind_it_are_not_forgotten() {
    let app = App::new().file(
        "some_test.lua",
        "test('fine', function() end)
        test('it loops', function() while true do end end)
        test('left out', function() end)",
    );
    let (code, said, log) = run(&app);
    assert!(said.contains(", in the test \"it loops\"; the tests after it have not run\n"), "{said}{log}");
    assert!(said.ends_with("\n1 passed, 1 failed\n"), "{said}{log}");
    assert_eq!(code, Some(1));
}

#[test]
fn a_script_that_cannot_run_is_a_failure() {
    let app = App::new().file("a_test.lua", "this is not Lua").file("b_test.lua", "test('fine', function() end)");
    let (code, said, _) = run(&app);
    assert!(said.contains("FAILED APP/a_test.lua:1: ") && said.contains("1 passed, 1 failed"), "{said}");
    assert_eq!(code, Some(1));
}

#[test]
fn test_scripts_run_programs_where_that_is_allowed() {
    let app = App::new().file("a_test.lua", "test('it runs', function() same(io.popen'echo 1':read'a', '1\\n') end)");
    assert_eq!(run(&app).0, Some(1));
    assert_eq!(run_with(&app, &["--allow-exec"]).0, Some(0));
}

#[test]
fn tests_and_the_app_under_test_may_run_for_as_long_as_the_command_line_says() {
    let busy = "local begun = ba.clock() while ba.clock() < begun + 100 do end";
    let tests = format!(
        "test('the app', function() same(server.get'/'.status, 200) end)
        test('the test', function() {busy} end)"
    );
    let app = App::new().file("index.lsp", format!("<?lsp {busy} ?>")).file("a_test.lua", tests);
    for (limit, counts) in [("0", "2 passed, 0 failed"), ("60000", "2 passed, 0 failed"), ("20", "0 passed, 2 failed")]
    {
        let (_, said, log) = run_with(&app, &["--script-warning", "0", "--script-limit", limit]);
        assert!(said.ends_with(&format!("{counts}\n")), "{said}{log}");
    }
}

#[test]
fn a_signal_ends_the_tests_and_leaves_nothing_behind() {
    let body = "ba.openio'vm' trace'it waits' ba.sleep(1e6)";
    let app = App::new().file("a_test.lua", format!("test('it waits', function() {body} end)"));
    let temporary = tempfile::tempdir().expect("the system has room for a temporary folder");
    let files = || temporary.path().read_dir().expect("the folder is ours").count();
    let mut command = Command::new(env!("CARGO_BIN_EXE_smq"));
    command.arg("test").arg(app.path()).env("TMPDIR", temporary.path()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("cargo has built the binary");
    let mut log = BufReader::new(child.stderr.take().expect("it is piped")).lines().map(|line| line.expect("text"));
    assert!(log.any(|line| line.contains("it waits")));
    assert_eq!(files(), 1);
    assert!(Command::new("kill").arg(child.id().to_string()).status().expect("kill runs").success());
    assert!(log.any(|line| line == "smq: stopped by a signal, with tests left to run"));
    assert_eq!(child.wait().expect("it is our child").code(), Some(1));
    assert_eq!(files(), 0);
}

#[test]
fn tests_that_end_the_process_have_not_passed() {
    let app = App::new().file("a_test.lua", "test('it exits', function() os.exit(0) end)");
    let (code, _, log) = run(&app);
    assert!(log.contains("a_test.lua has called os.exit(0), with tests left to run"), "{log}");
    assert_eq!(code, Some(1));
    let app = App::new()
        .file("exit.lsp", "<?lsp os.exit(0) ?>")
        .file("a_test.lua", "test('it exits', function() server.get'/exit.lsp' end)");
    let (code, _, log) = run(&app);
    assert!(log.contains("the app under test has called os.exit(0), with tests left to run"), "{log}");
    assert_eq!(code, Some(1));
}

#[test]
fn without_tests_or_with_a_broken_app_nothing_passes() {
    let (code, _, log) = run(&App::new());
    assert_eq!(code, Some(1));
    assert!(log.contains("no test scripts in APP"), "{log}");
    let (code, _, log) = run(&App::new().file(".preload", "error'broken'").file("a_test.lua", ""));
    assert_eq!(code, Some(1));
    assert!(log.contains("the app under test cannot be loaded"), "{log}");
}
