//! `smq test DIR [FILTER]`: runs Lua test scripts against a server that is started for them.
//!
//! The scripts run in the same process, but on a Lua thread of their own, so that they reach the app only as its
//! clients do. What scripts can call is in `lua/internal/testing.lua`.

mod http;

use std::cell::RefCell;
use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use mlua::{Function, Lua, LuaString, Table};
use tokio::runtime::Builder;
use tokio::time::timeout;

use crate::bindings::{console, io};
use crate::config::{Config, TestArgs};
use crate::lua::{LuaThread, Settings, World, budget};
use crate::server::{Server, Signals, say};

/// What the names of test scripts end with.
const ENDING: &str = "_test.lua";
/// How long one script may take with all its tests.
const PATIENCE: Duration = Duration::from_secs(60);

/// The result of one script.
#[derive(Default)]
struct Outcome {
    /// The number of tests that passed.
    passed: usize,
    /// A message for each test that failed, beginning with file and line.
    failures: Vec<String>,
    /// The name of the test that is running.
    current: Option<String>,
}

impl Outcome {
    /// Adds a failure of the script itself, which has ended for this reason.
    fn end(&mut self, problem: String) {
        let problem = match self.current.take() {
            Some(test) => format!("{problem}, in the test \"{test}\"; the tests after it have not run"),
            None => problem,
        };
        self.failures.push(problem);
    }
}

/// Runs all tests and prints what failed. False if anything did. An error if the tests could not be run to their end.
pub fn run(args: TestArgs) -> Result<bool> {
    let mut scripts = scripts(&args.dir)?;
    ensure!(!scripts.is_empty(), "no test scripts in {}: their names end with {ENDING}", args.dir.display());
    if let Some(filter) = &args.filter {
        scripts.retain(|script| script.to_string_lossy().contains(filter));
        ensure!(!scripts.is_empty(), "no path of a test script in {} contains {filter:?}", args.dir.display());
    }
    Builder::new_current_thread().enable_all().build()?.block_on(run_all(args, scripts))
}

async fn run_all(args: TestArgs, scripts: Vec<PathBuf>) -> Result<bool> {
    let config = Config::for_tests(args);
    let settings = Settings { allow_exec: config.allow_exec, budget: config.budget, ..Settings::default() };
    let mut signals = Signals::new()?;
    let mut server = Server::bind(config, None)?;
    let app = server.lua().clone();
    // The server is closed after a signal, too, so that the folders of unpacked zip files are removed.
    let counts = tokio::select! {
        counts = load_and_run(&mut server, settings, scripts) => counts,
        code = app.exit_code() => Err(anyhow!("the app under test has called os.exit({code}), with tests left to run")),
        () = signals.wait() => Err(anyhow!("stopped by a signal, with tests left to run")),
    };
    server.close().await;
    let (passed, failed) = counts?;
    say(format_args!("{passed} passed, {failed} failed"));
    Ok(failed == 0)
}

/// Opens the server and runs the scripts one after the other. Returns how many tests passed and how many failed.
async fn load_and_run(server: &mut Server, settings: Settings, scripts: Vec<PathBuf>) -> Result<(usize, usize)> {
    server.load().await;
    ensure!(server.is_whole(), "the app under test cannot be loaded");
    server.open()?;
    let (lua, _) = LuaThread::start_with(settings)?;
    let (mut passed, mut failed) = (0, 0);
    for script in scripts {
        let name = script.display().to_string();
        let outcome = tokio::select! {
            outcome = run_script(&lua, script, server.url()) => outcome?,
            code = lua.exit_code() => bail!("{name} has called os.exit({code}), with tests left to run"),
        };
        passed += outcome.passed;
        failed += outcome.failures.len();
        outcome.failures.iter().for_each(|failure| say(format_args!("FAILED {failure}")));
    }
    lua.stop();
    Ok((passed, failed))
}

/// All test scripts below the folder, ordered by path. Links to folders are not followed.
fn scripts(folder: &Path) -> Result<Vec<PathBuf>> {
    ensure!(
        !folder.is_file(),
        "{0} is a file: one script is run with its folder before it: smq test DIR {0}",
        folder.display()
    );
    let mut found = Vec::new();
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read the folder {}", folder.display()))?;
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() && !path.is_symlink() {
            found.extend(scripts(&path)?);
        } else if path.file_name().is_some_and(|name| name.to_string_lossy().ends_with(ENDING)) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// Runs one script on the Lua thread of the tests. `url` is the server's.
async fn run_script(lua: &LuaThread, script: PathBuf, url: String) -> Result<Outcome> {
    let source = fs::read(&script).with_context(|| format!("cannot read {}", script.display()))?;
    let name = script.display().to_string();
    let outcome = lua.call(move |world| async move {
        let outcome = Rc::new(RefCell::new(Outcome::default()));
        let run = run_source(&world, &source, &name, &url, &outcome);
        let problem = match timeout(PATIENCE, run).await {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(in_script(&name, console::describe(&error).message)),
            Err(_) => Some(format!("{name}: not finished after {PATIENCE:?}")),
        };
        let mut outcome = outcome.take();
        if let Some(problem) = problem {
            outcome.end(problem);
        }
        outcome
    });
    outcome.await.map_err(|_| anyhow!("the Lua thread has ended"))
}

/// The problem, beginning with the script's name: what the script raised may be no text, or come from elsewhere.
fn in_script(name: &str, problem: String) -> String {
    if problem.starts_with(name) { problem } else { format!("{name}: {problem}") }
}

async fn run_source(
    world: &World,
    source: &[u8],
    name: &str,
    url: &str,
    outcome: &Rc<RefCell<Outcome>>,
) -> mlua::Result<()> {
    let environment = environment(&world.lua, name, url, outcome)?;
    let chunk = io::chunk(&world.lua, source, name, Some(environment))?;
    budget::call(&chunk, ()).await
}

/// The globals of one script, which add to `outcome`.
fn environment(lua: &Lua, name: &str, url: &str, outcome: &Rc<RefCell<Outcome>>) -> mlua::Result<Table> {
    let begun = outcome.clone();
    let begin = lua.create_function(move |_, test: LuaString| {
        begun.borrow_mut().current = Some(test.to_string_lossy());
        Ok(())
    })?;
    let ended = outcome.clone();
    let end = lua.create_function(move |_, problem: Option<LuaString>| {
        let mut outcome = ended.borrow_mut();
        outcome.current = None;
        match problem {
            None => outcome.passed += 1,
            Some(problem) => outcome.failures.push(problem.to_string_lossy()),
        }
        Ok(())
    })?;
    let harness: Function =
        lua.load(include_str!("../lua/internal/testing.lua")).set_name("=[smq test]").into_function()?;
    harness.call((name, url, begin, end, http::request_function(lua)?))
}
