//! `ba.forkpty`: a program with a pseudo terminal of its own, such as a shell in the browser.

use std::cell::RefCell;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;
use std::time::Duration;

use mlua::{IntoLuaMulti, Lua, MultiValue, Result, Table, UserData, UserDataMethods, UserDataRef, Value};
use pty_process::{Command, OwnedReadPty, OwnedWritePty, Pts, Size};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Child;
use tokio::sync::{Mutex, oneshot, watch};
use tokio::time::timeout;

use super::check;
use crate::bindings::args::Args;
use crate::bindings::coroutine::spawn;
use crate::bindings::options::Options;
use crate::bindings::outcome::outcome;

/// The most that one read gives, in bytes.
const PIECE: usize = 16 * 1024;
/// How long to wait for further output when the program has ended.
const LAST_WORDS: Duration = Duration::from_millis(50);

/// A program and its terminal. Both end when no script holds it any more.
struct Pty {
    output: Mutex<Output>,
    input: Mutex<OwnedWritePty>,
    /// The program's status once it has ended.
    status: watch::Receiver<Option<i32>>,
    /// Kills the program, also by being dropped.
    kill: RefCell<Option<oneshot::Sender<()>>>,
}

/// What the program writes. Each is `None` after its end.
struct Output {
    stdout: Option<OwnedReadPty>,
    /// Standard error has a terminal of its own, so that it can be told apart, but is still a terminal to the program.
    stderr: Option<OwnedReadPty>,
}

/// The options in `conf`.
#[derive(Default)]
struct Settings {
    start: Option<mlua::Function>,
    arg0: Option<String>,
    environment: Vec<(String, String)>,
    stty: Vec<String>,
}

/// `ba.forkpty([conf,] program, arguments...)`: the terminal, or nil and a reason. `conf.async(pty)` runs as a task of its
/// own; `conf.stty` holds arguments for stty, `conf.arg0` the program's name for itself, `conf.env` further environment
/// variables.
pub async fn forkpty(lua: Lua, args: MultiValue) -> Result<MultiValue> {
    let args = Args::new(&lua, "ba.forkpty", args);
    let (settings, first) = match args.value(1) {
        Value::Table(_) => (Settings::read(&Options::required(&args, 1, "conf")?)?, 2),
        _ => (Settings::default(), 1),
    };
    let program = args.text(first, "program")?;
    let rest =
        (first + 1..=args.count()).map(|position| args.text(position, "argument")).collect::<Result<Vec<_>>>()?;
    check(&lua, "ba.forkpty")?;
    let pty = match open(&settings, &program, &rest).await {
        Ok(pty) => lua.create_userdata(pty)?,
        Err(error) => return (Value::Nil, format!("{program}: {error}")).into_lua_multi(&lua),
    };
    if let Some(start) = settings.start {
        spawn("ba.forkpty", start, MultiValue::from_iter([Value::UserData(pty.clone())]), || ());
    }
    pty.into_lua_multi(&lua)
}

impl Settings {
    fn read(conf: &Options) -> Result<Self> {
        let environment = match conf.table("env")? {
            None => Vec::new(),
            Some(table) => environment(&table)
                .map_err(|_| conf.refuse("env", "a table of names and texts, or of \"NAME=text\", expected"))?,
        };
        let stty = match conf.value("stty")? {
            Value::Nil => Vec::new(),
            Value::String(text) => text.to_string_lossy().split_whitespace().map(str::to_owned).collect(),
            Value::Table(table) => table
                .sequence_values::<String>()
                .collect::<Result<_>>()
                .map_err(|_| conf.refuse("stty", "a list of texts expected"))?,
            other => return Err(conf.mismatch("stty", "string or list", &other)),
        };
        let arg0 = conf.text("arg0")?.map(|name| String::from_utf8_lossy(&name).into_owned());
        Ok(Self { start: conf.function("async")?, arg0, environment, stty })
    }
}

fn environment(table: &Table) -> Result<Vec<(String, String)>> {
    table
        .pairs::<Value, String>()
        .map(|pair| match pair? {
            (Value::String(name), value) => Ok((name.to_string_lossy(), value)),
            (_, text) => match text.split_once('=') {
                Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
                None => Err(mlua::Error::runtime("no name")),
            },
        })
        .collect()
}

async fn open(settings: &Settings, program: &str, arguments: &[String]) -> io::Result<Pty> {
    let (pty, pts) = pty_process::open().map_err(plain)?;
    set_terminal(&pts, &settings.stty).await?;
    let mut command = Command::new(program)
        .args(arguments)
        .envs(settings.environment.iter().map(|(name, value)| (name, value)))
        .kill_on_drop(true);
    if let Some(arg0) = &settings.arg0 {
        command = command.arg0(arg0);
    }
    let mut stderr = None;
    if !is_interactive(arguments) {
        let (error_pty, error_pts) = pty_process::open().map_err(plain)?;
        command = command.stderr(error_pts.as_fd().try_clone_to_owned()?);
        stderr = Some(error_pty.into_split().0);
    }
    let child = command.spawn(pts).map_err(plain)?;
    let (tell, status) = watch::channel(None);
    let (kill, killed) = oneshot::channel();
    tokio::task::spawn_local(attend(child, killed, tell));
    let (stdout, input) = pty.into_split();
    let output = Mutex::new(Output { stdout: Some(stdout), stderr });
    Ok(Pty { output, input: Mutex::new(input), status, kill: RefCell::new(Some(kill)) })
}

/// Whether the program may be an interactive shell: it is started with nothing but options. Such a shell needs its
/// standard error on its controlling terminal, for job control.
fn is_interactive(arguments: &[String]) -> bool {
    arguments.iter().all(|argument| argument.starts_with('-') && argument != "-c")
}

/// Applies `stty` arguments to the terminal.
async fn set_terminal(pts: &Pts, arguments: &[String]) -> io::Result<()> {
    if arguments.is_empty() {
        return Ok(());
    }
    let terminal: Stdio = pts.as_fd().try_clone_to_owned()?.into();
    let mut stty = tokio::process::Command::new("stty");
    let output = stty.args(arguments).stdin(terminal).kill_on_drop(true).output().await?;
    match output.status.success() {
        true => Ok(()),
        false => Err(io::Error::other(String::from_utf8_lossy(&output.stderr).trim().to_owned())),
    }
}

/// Waits for the program's end, kills the program when asked to, and tells its status.
async fn attend(mut child: Child, killed: oneshot::Receiver<()>, tell: watch::Sender<Option<i32>>) {
    let status = tokio::select! {
        status = child.wait() => status,
        _ = killed => {
            // Fails only if the program has ended meanwhile.
            let _ = child.start_kill();
            child.wait().await
        }
    };
    // Without a reader nobody wants to know.
    let _ = tell.send(Some(status.map_or(-1, ExitStatusExt::into_raw)));
}

fn plain(error: pty_process::Error) -> io::Error {
    match error {
        pty_process::Error::Io(error) => error,
        other => io::Error::other(other.to_string()),
    }
}

impl Output {
    /// The next piece, and whether it comes from standard error; `None` at the end of both.
    async fn read(&mut self) -> Option<(Vec<u8>, bool)> {
        let (mut stdout, mut stderr) = (Vec::with_capacity(PIECE), Vec::with_capacity(PIECE));
        while self.stdout.is_some() || self.stderr.is_some() {
            tokio::select! {
                is_more = read_some(&mut self.stdout, &mut stdout), if self.stdout.is_some() => {
                    if is_more {
                        return Some((stdout, false));
                    }
                    self.stdout = None;
                }
                is_more = read_some(&mut self.stderr, &mut stderr), if self.stderr.is_some() => {
                    if is_more {
                        return Some((stderr, true));
                    }
                    self.stderr = None;
                }
            }
        }
        None
    }
}

/// Reads what has arrived; false at the end. A terminal that no program uses any more gives an error rather than an
/// end.
async fn read_some(terminal: &mut Option<OwnedReadPty>, data: &mut Vec<u8>) -> bool {
    match terminal {
        Some(terminal) => matches!(terminal.read_buf(data).await, Ok(1..)),
        None => false,
    }
}

impl Pty {
    /// The next piece of output; `None` when the program has ended and all it wrote is read. What it left running in the
    /// background may hold the terminal longer.
    async fn read(&self) -> Option<(Vec<u8>, bool)> {
        let mut output = self.output.lock().await;
        let ended = async {
            let _ = self.status.clone().wait_for(Option::is_some).await;
        };
        let piece = tokio::select! {
            biased;
            piece = output.read() => return piece,
            () = ended => timeout(LAST_WORDS, output.read()).await,
        };
        piece.ok().flatten()
    }

    /// Kills the program if it still runs, and waits for its status.
    async fn terminate(&self) -> Option<i32> {
        drop(self.kill.borrow_mut().take());
        let mut status = self.status.clone();
        status.wait_for(Option::is_some).await.ok().and_then(|status| *status)
    }
}

impl UserData for Pty {
    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_async_method("read", read);
        methods.add_async_method("write", write);
        methods.add_async_method("winsize", winsize);
        methods.add_async_method("terminate", |_, this: UserDataRef<Self>, _: MultiValue| async move {
            Ok((true, this.terminate().await))
        });
    }
}

/// `pty:read([milliseconds | true])`: bytes and whether they come from standard error; nil and "timeout" or "terminated".
async fn read(lua: Lua, this: UserDataRef<Pty>, args: MultiValue) -> Result<MultiValue> {
    let args = Args::new(&lua, "pty:read", args);
    let limit = match args.value(1) {
        Value::Nil | Value::Boolean(_) => None,
        _ => Some(args.milliseconds(1)?),
    };
    let piece = match limit {
        None => this.read().await,
        Some(limit) => match timeout(limit, this.read()).await {
            Ok(piece) => piece,
            Err(_) => return (Value::Nil, "timeout").into_lua_multi(&lua),
        },
    };
    match piece {
        Some((data, is_stderr)) => (lua.create_string(data)?, is_stderr).into_lua_multi(&lua),
        None => (Value::Nil, "terminated").into_lua_multi(&lua),
    }
}

/// `pty:write(data)`: types the data; true, or nil and "terminated".
async fn write(lua: Lua, this: UserDataRef<Pty>, args: MultiValue) -> Result<MultiValue> {
    let data = Args::new(&lua, "pty:write", args).string(1, "data")?;
    let mut status = this.status.clone();
    let written = async { this.input.lock().await.write_all(&data).await.is_ok() };
    let is_written = tokio::select! {
        biased;
        _ = status.wait_for(Option::is_some) => false,
        is_written = written => is_written,
    };
    outcome(&lua, if is_written { Ok(true) } else { Err("terminated") })
}

/// `pty:winsize(rows, columns)`: true, or nil and a reason.
async fn winsize(lua: Lua, this: UserDataRef<Pty>, args: MultiValue) -> Result<MultiValue> {
    let args = Args::new(&lua, "pty:winsize", args);
    // The range fits into a u16.
    let size = |position, name| args.integer_in(position, name, 1..=10_000).map(|number| number as u16);
    let size = Size::new(size(1, "rows")?, size(2, "columns")?);
    let resized = this.input.lock().await.resize(size);
    outcome(&lua, resized.map(|()| true).map_err(|error| error.to_string()))
}
