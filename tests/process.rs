//! Programs that scripts run: `ba.exec` and `ba.forkpty`.

mod support;

use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use support::{App, PATIENCE, Server};

const PAGE: &str = "<?lsp print(load(request:data'code', '=code', 't', _ENV)()) ?>";

fn server(arguments: &[&str]) -> Server {
    Server::start_with(App::new().file("index.lsp", PAGE), arguments, &[])
}

/// What `print` shows of the code's results where programs may be run.
fn run(code: &str) -> String {
    answer(&server(&["--allow-exec"]), code)
}

fn answer(server: &Server, code: &str) -> String {
    let answer = server.post_form("/", &[("code", code)]);
    assert_eq!(answer.status, 200, "{}\n{}", answer.body, server.output());
    answer.body.trim_end_matches('\n').to_owned()
}

/// Reads a terminal to its end: what came from standard output, and from standard error.
const READ: &str = "local function read(pty)
    local out, err, why = '', ''
    while true do
        local data, is_stderr = pty:read(true)
        if not data then return out:gsub('\\r\\n', '|'), err:gsub('\\r\\n', '|'), is_stderr end
        if is_stderr then err = err .. data else out = out .. data end
    end
end ";

#[test]
fn without_permission_the_error_says_how_to_give_it() {
    let server = server(&[]);
    for call in
        ["ba.exec, 'echo 1'", "ba.forkpty, 'sh'", "ba.forkpty, {}, 'sh'", "os.execute, 'echo 1'", "io.popen, 'echo 1'"]
    {
        let text = answer(&server, &format!("return select(2, pcall({call}))"));
        assert!(text.contains("may not run programs") && text.contains("--allow-exec"), "{text}");
        assert!(text.contains("allowexec=true"), "{text}");
    }
}

#[test]
fn the_configuration_can_give_the_permission() {
    let folder = tempfile::tempdir().expect("the system has room");
    let path = folder.path().join("smq.conf");
    std::fs::write(&path, "allowexec = true").expect("the folder is ours");
    let server = server(&["-c", path.to_str().expect("a plain path")]);
    assert_eq!(answer(&server, "return ba.exec'echo 1'"), "1");
    assert_eq!(answer(&server, "return io.popen'echo 1':read'a'"), "1");
}

#[test]
fn exec_gives_the_output() {
    assert_eq!(run("return ba.exec'echo one; printf two'"), "one\ntwo");
    assert_eq!(run("return #ba.exec'printf \"\\\\0\\\\377\"'"), "2");
    assert_eq!(run("return ba.exec'true' == ''"), "true");
}

#[test]
fn exec_gives_the_status_of_a_command_that_fails() {
    assert_eq!(run("return ba.exec'echo out; exit 3'"), "nil\t768\tout");
    assert_eq!(run("return ba.exec'kill -9 $$'"), "nil\t9\t");
    assert_eq!(run("return (select(2, ba.exec'no-such-command 2>/dev/null'))"), "32512");
}

#[test]
fn a_command_does_not_read_the_servers_input() {
    assert_eq!(run("return ba.exec'cat' == ''"), "true");
}

#[test]
fn too_much_output_is_refused() {
    let text = run("return ba.exec'cat /dev/zero'");
    assert_eq!(text, "nil\tthe command has written more than 4194304 bytes and was stopped");
}

#[test]
fn what_a_command_has_started_is_stopped_with_it() {
    let server = server(&["--allow-exec"]);
    let seconds = 200_000 + std::process::id();
    let text = answer(&server, &format!("return ba.exec'sleep {seconds} & cat /dev/zero'"));
    assert!(text.ends_with("and was stopped"), "{text}");
    eventually(|| !is_sleeping(seconds));
}

#[test]
fn a_command_is_stopped_with_the_server() {
    let seconds = 300_000 + std::process::id();
    // Scripts whose end takes time, before and behind the one with the command.
    let preload = format!(
        "local function slow()
             local ending <close> = setmetatable({{}}, {{__close = function()
                 local start = ba.clock()
                 repeat until ba.clock() - start > 100
             end}})
             ba.sleep(600000)
         end
         ba.thread.run(slow)
         ba.thread.run(function() ba.exec'sleep {seconds}; true' end)
         ba.thread.run(slow)"
    );
    let server = Server::start_with(App::new().file(".preload", &preload), &["--allow-exec"], &[]);
    eventually(|| is_sleeping(seconds));
    assert!(server.stop("TERM").success());
    assert!(!is_sleeping(seconds));
}

#[test]
fn what_a_command_leaves_running_at_its_end_goes_on() {
    let server = server(&["--allow-exec"]);
    let code = "local pid = ba.exec('sleep 600 > /dev/null & printf $!') return ba.exec('kill ' .. pid)";
    assert_eq!(answer(&server, code), "", "there was a program to be ended");
}

#[test]
fn others_go_on_while_a_command_runs() {
    let server = server(&["--allow-exec"]);
    let text = answer(
        &server,
        "local file = os.tmpname() os.remove(file)
         local done = false
         ba.thread.run(function() done = ba.exec('while ! test -e ' .. file .. '; do sleep 0.01; done; echo ok') end)
         ba.sleep(20)
         local before = done
         io = ba.openio'disk' local f = io:open(file, 'w') f:write'x' f:close()
         while not done do ba.sleep(2) end
         io:remove(file)
         return before, done",
    );
    assert_eq!(text, "false\tok");
}

#[test]
fn a_terminal_tells_output_and_error_apart() {
    let text =
        run(&format!("{READ} return table.concat({{read(ba.forkpty('sh', '-c', 'echo out; echo err >&2'))}}, ';')"));
    assert_eq!(text, "out|;err|;terminated");
}

#[test]
fn a_program_on_a_terminal_sees_one() {
    let text = run(&format!(
        "{READ} return (read(ba.forkpty('sh', '-c', 'test -t 0 && test -t 1 && test -t 2 && echo yes')))"
    ));
    assert_eq!(text, "yes|");
}

#[test]
fn a_shell_on_a_terminal_has_all_of_it() {
    let text = run(&format!(
        "{READ} local pty = ba.forkpty({{stty = '-echo', env = {{PS1 = '? '}}}}, 'sh', '-i')
         pty:write'echo err >&2; exit\\n' return (read(pty))"
    ));
    assert!(text.contains("? ") && text.contains("err|") && !text.contains("job control"), "{text}");
}

#[test]
fn what_is_written_is_typed() {
    let text = run(&format!(
        "{READ} local pty = ba.forkpty({{stty = '-echo'}}, 'sh', '-c', 'read line; echo got $line')
         pty:write'hello\\n' return (read(pty))"
    ));
    assert_eq!(text, "got hello|");
}

#[test]
fn the_window_has_a_size() {
    let text = run(&format!(
        "{READ} local pty = ba.forkpty({{stty = '-echo'}}, 'sh', '-c', 'read line; stty size')
         pty:winsize(33, 77) pty:write'\\n' return (read(pty))"
    ));
    assert_eq!(text, "33 77|");
}

#[test]
fn the_configuration_of_a_terminal_is_applied() {
    let text = run(&format!(
        "{READ} return (read(ba.forkpty({{arg0 = 'my-shell', env = {{GREETING = 'hi', 'SECOND=2'}}}},
            'sh', '-c', 'echo $0 $GREETING $SECOND')))"
    ));
    assert_eq!(text, "my-shell hi 2|");
}

#[test]
fn the_function_of_a_terminal_runs_by_itself() {
    let text = run(&format!(
        "{READ} local out
         ba.forkpty({{async = function(pty) out = read(pty) end}}, 'echo', 'by itself')
         while not out do ba.sleep(2) end return out"
    ));
    assert_eq!(text, "by itself|");
}

#[test]
fn terminate_ends_the_program_and_tells_its_status() {
    assert_eq!(run("local pty = ba.forkpty('sleep', '600') return pty:terminate()"), "true\t9");
    let text = run(&format!("{READ} local pty = ba.forkpty('sh', '-c', 'exit 5') read(pty) return pty:terminate()"));
    assert_eq!(text, "true\t1280");
    let text = run("local pty = ba.forkpty('true') pty:terminate() return pty:read(true)");
    assert_eq!(text, "nil\tterminated");
    let text = run("local pty = ba.forkpty('sleep', '600') pty:terminate() return pty:write'x'");
    assert_eq!(text, "nil\tterminated");
}

#[test]
fn a_terminal_that_nobody_holds_ends_its_program() {
    let server = server(&["--allow-exec"]);
    let seconds = 100_000 + std::process::id();
    answer(&server, &format!("ba.forkpty('sleep', '{seconds}') collectgarbage() collectgarbage()"));
    eventually(|| !is_sleeping(seconds));
}

/// Whether a program `sleep SECONDS` runs.
fn is_sleeping(seconds: u32) -> bool {
    let found = Command::new("pgrep").args(["-fx", &format!("sleep {seconds}")]).output().expect("pgrep is installed");
    found.status.success()
}

fn eventually(condition: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "it does not happen");
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_read_has_a_limit_if_wanted() {
    assert_eq!(run("local pty = ba.forkpty('sleep', '600') return pty:read(1)"), "nil\ttimeout");
}

#[test]
fn what_cannot_be_run_is_told() {
    let text = run("return ba.forkpty('/no/such/program')");
    assert!(text.starts_with("nil\t/no/such/program: ") && text.contains("No such file"), "{text}");
    let text = run("return ba.forkpty({stty = 'nonsense'}, 'true')");
    assert!(text.starts_with("nil\ttrue: ") && text.contains("nonsense"), "{text}");
}

#[test]
fn wrong_arguments_are_named() {
    let server = server(&["--allow-exec"]);
    for (call, expected) in [
        ("ba.exec", "bad argument #1 'command' to 'ba.exec' (string expected, got no value)"),
        ("ba.exec, {}", "'command' to 'ba.exec' (string expected, got table)"),
        ("ba.forkpty", "'program' to 'ba.forkpty' (string expected, got no value)"),
        ("ba.forkpty, {}", "#2 'program' to 'ba.forkpty' (string expected, got no value)"),
        ("ba.forkpty, 'a', {}", "#2 'argument' to 'ba.forkpty' (string expected, got table)"),
        ("ba.forkpty, {async = 1}, 'a'", "field 'async': function expected, got 1"),
        ("ba.forkpty, {env = {1}}, 'a'", "field 'env'"),
        ("ba.forkpty, {env = {x = {}}}, 'a'", "field 'env'"),
        ("ba.forkpty, {arg0 = {}}, 'a'", "field 'arg0': string expected, got table"),
        ("ba.forkpty, {stty = 5}, 'a'", "field 'stty': string or list expected, got 5"),
        ("function() ba.forkpty'cat':winsize(0, 1) end", "'rows' to 'pty:winsize' (1..10000 expected, got 0)"),
        ("function() ba.forkpty'cat':winsize(1) end", "'columns' to 'pty:winsize' (integer expected, got no value)"),
        ("function() ba.forkpty'cat':write() end", "'data' to 'pty:write' (string expected, got no value)"),
        ("function() ba.forkpty'cat':read{} end", "'milliseconds' to 'pty:read' (number expected, got table)"),
    ] {
        let text = answer(&server, &format!("return select(2, pcall({call}))"));
        assert!(text.contains(expected), "{call}: {text}");
    }
    let text = answer(&server, "return ba.exec('echo \\0 x')");
    assert!(text.starts_with("nil\t"), "{text}");
}
