//! `ba.exec`.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};

use mlua::{IntoLuaMulti, Lua, MultiValue, Result, Value};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::AsyncReadExt;
use tokio::process::Command;

use super::check;
use crate::bindings::args::Args;

/// The most bytes of output. A command that writes more is stopped, with all that it has started.
const MAX_OUTPUT: u64 = 4 << 20;

/// `ba.exec(command)`: runs a shell command and waits for its end, while other scripts go on. The result is its
/// standard output; if it failed, nil, the status (exit code × 256, or the signal) and the output; if it could not be
/// run to its end, nil and a reason.
pub async fn exec(lua: Lua, args: MultiValue) -> Result<MultiValue> {
    let command = Args::new(&lua, "ba.exec", args).text(1, "command")?;
    check(&lua, "ba.exec")?;
    match run(&command).await {
        Err(error) => (Value::Nil, error.to_string()).into_lua_multi(&lua),
        Ok((status, output)) => {
            let output = lua.create_string(output)?;
            if status.success() {
                output.into_lua_multi(&lua)
            } else {
                (Value::Nil, status.into_raw(), output).into_lua_multi(&lua)
            }
        }
    }
}

async fn run(command: &str) -> io::Result<(ExitStatus, Vec<u8>)> {
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(command).stdin(Stdio::null()).stdout(Stdio::piped()).process_group(0);
    let mut child = shell.spawn()?;
    let mut group = Group(child.id().and_then(|id| Pid::from_raw(id as i32)));
    let mut output = Vec::new();
    if let Some(stdout) = &mut child.stdout {
        stdout.take(MAX_OUTPUT + 1).read_to_end(&mut output).await?;
    }
    if output.len() as u64 > MAX_OUTPUT {
        return Err(io::Error::other(format!("the command has written more than {MAX_OUTPUT} bytes and was stopped")));
    }
    let status = child.wait().await?;
    // What a command leaves running when it ends, such as a daemon, may go on.
    group.0 = None;
    Ok((status, output))
}

/// The shell and the programs that it runs, which are a process group of their own: a shell that is killed alone leaves
/// its programs behind. Dropping this kills them all, so that they end with the script that waits for them.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(shell) = self.0 {
            // Fails only if all of them have ended meanwhile.
            let _ = kill_process_group(shell, Signal::KILL);
        }
    }
}
