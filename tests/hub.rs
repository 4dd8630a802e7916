//! Runs every script of `tests/lua` inside the server. Each is a page of one app; what it tests is the hub as a script's
//! author sees it.

mod support;

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use support::{App, PATIENCE, Server};

/// Gives a script the names it uses, without moving its lines.
const PROLOGUE: &str = "<?lsp local test, same, eventually, raises = app.harness() ";

#[test]
fn every_lua_script_passes() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lua");
    let mut scripts: Vec<(String, String)> = fs::read_dir(&folder)
        .expect("the scripts are in tests/lua")
        .map(|entry| entry.expect("the folder can be read").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "lua"))
        .map(|path| (path.file_stem().expect("a file").display().to_string(), fs::read_to_string(&path).expect("text")))
        .collect();
    scripts.sort();
    assert!(!scripts.is_empty(), "no scripts in {}", folder.display());

    let app = App::new()
        .file(".preload", include_str!("support/app/harness.lua"))
        .file("report.lsp", "<?lsp response:write(app.report()) ?>");
    let app =
        scripts.iter().fold(app, |app, (name, text)| app.file(&format!("{name}.lsp"), format!("{PROLOGUE}{text}?>")));
    let server = Server::start(app);
    for (name, _) in &scripts {
        let answer = server.get(&format!("/{name}.lsp"));
        assert_eq!(answer.status, 200, "tests/lua/{name}.lua: {}\n{}", answer.body, server.output());
    }

    let failures = wait_for_report(&server);
    let failures = scripts
        .iter()
        .fold(failures, |text, (name, _)| text.replace(&format!("{name}.lsp:"), &format!("tests/lua/{name}.lua:")));
    assert!(failures.is_empty(), "\n{failures}\nthe server said:\n{}", server.output());
}

/// Waits until no test is pending; one line for each failure.
fn wait_for_report(server: &Server) -> String {
    let deadline = Instant::now() + 2 * PATIENCE;
    loop {
        let report = server.get("/report.lsp").body;
        let (numbers, failures) = report.split_once('\n').unwrap_or((&report, ""));
        match numbers.split_once(' ') {
            Some(("0", passed)) => {
                assert!(passed != "0" || !failures.is_empty(), "not a single test ran");
                return failures.to_owned();
            }
            _ => assert!(Instant::now() < deadline, "tests still run: {report}\n{}", server.output()),
        }
        // Leaves the processor to the server; how long does not matter.
        thread::sleep(Duration::from_millis(10));
    }
}
