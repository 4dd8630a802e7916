//! The brokers: how each is started, on a free port of the loopback interface, and stopped.

use std::fs;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

const START_TIME: Duration = Duration::from_secs(10);
const STOP_TIME: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(20);

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Broker {
    Mosquitto,
    Nats,
    Raw,
    WebSocket,
    Hooked,
    /// Our own, with a Lua function among the subscribers.
    LuaSubscriber,
    /// Our own, where a Lua function publishes what clients send.
    LuaPublisher,
    /// Our own with so many shards: raw transport, without a hook.
    Shards(Shards),
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Shards {
    One,
    Two,
    Four,
}

impl Broker {
    pub const ALL: &[Self] = &[Self::Mosquitto, Self::Nats, Self::Raw, Self::WebSocket, Self::Hooked];
    pub const SHARDS: &[Self] = &[Self::Shards(Shards::One), Self::Shards(Shards::Two), Self::Shards(Shards::Four)];

    pub fn title(self) -> &'static str {
        match self {
            Self::Mosquitto => "Mosquitto",
            Self::Nats => "NATS",
            Self::Raw => "smq",
            Self::WebSocket => "smq, WebSocket",
            Self::Hooked => "smq, Lua hook",
            Self::LuaSubscriber => "smq, Lua subscriber",
            Self::LuaPublisher => "smq, Lua publisher",
            Self::Shards(Shards::One) => "1 shard",
            Self::Shards(Shards::Two) => "2 shards",
            Self::Shards(Shards::Four) => "4 shards",
        }
    }

    pub fn is_ours(self) -> bool {
        !matches!(self, Self::Mosquitto | Self::Nats)
    }

    /// What its settings are, for the reader.
    pub fn settings(self) -> &'static str {
        match self {
            Self::Mosquitto => "`persistence false`, `max_queued_messages 1000000`, `log_type error`",
            Self::Nats => "as installed",
            Self::Raw => "`smq serve`, a hub without callbacks, raw transport",
            Self::WebSocket => "the same over WebSocket",
            Self::Hooked => "raw transport, a hub whose `onpublish` asks Lua about every message",
            Self::LuaSubscriber => "raw transport, a hub with a Lua function that gets every message, too",
            Self::LuaPublisher => "raw transport, a hub whose Lua function gets every message and publishes it again",
            Self::Shards(Shards::One) => "`smq serve --shards 1`, raw transport",
            Self::Shards(Shards::Two) => "`smq serve --shards 2`, raw transport",
            Self::Shards(Shards::Four) => "`smq serve --shards 4`, raw transport",
        }
    }

    /// What `smq bench` has to be told besides the workload.
    pub fn bench_arguments(self) -> &'static [&'static str] {
        match self {
            Self::WebSocket => &["--websocket"],
            Self::LuaPublisher => &["--via", "relay"],
            _ => &[],
        }
    }

    /// The folder of the app that makes the hub.
    fn app(self) -> &'static str {
        match self {
            Self::Hooked => "hooked",
            Self::LuaSubscriber => "subscriber",
            Self::LuaPublisher => "publisher",
            _ => "plain",
        }
    }

    pub fn start(self, smq: &Path) -> Result<Running> {
        let folder = tempfile::tempdir()?;
        let port = free_port()?;
        let log = fs::File::create(folder.path().join("log"))?;
        let mut command = self.command(smq, port, &folder)?;
        let child = command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn();
        let child = child.with_context(|| format!("cannot start {}", self.title()))?;
        let mut running = Running { broker: self, child, port, folder };
        running.wait_until_open()?;
        Ok(running)
    }

    fn command(self, smq: &Path, port: u16, folder: &TempDir) -> Result<Command> {
        let path = folder.path().join("conf");
        let mut command = match self {
            Self::Mosquitto => {
                let settings = "allow_anonymous true\npersistence false\nmax_queued_messages 1000000\nlog_type error";
                // As root it would take on a user who cannot read its configuration; as anybody else it ignores this.
                fs::write(&path, format!("listener {port} 127.0.0.1\n{settings}\nuser root\n"))?;
                Command::new("mosquitto")
            }
            Self::Nats => {
                fs::write(&path, format!("listen: \"127.0.0.1:{port}\"\n"))?;
                Command::new("nats-server")
            }
            ours => {
                let mut command = Command::new(smq);
                command.args(["serve", &format!("examples/compare/{}", ours.app()), "--port", &port.to_string()]);
                if let Self::Shards(shards) = ours {
                    command.args(["--shards", shards.count()]);
                }
                return Ok(command);
            }
        };
        // Debian has them where only root looks.
        command.env("PATH", format!("{}:/usr/sbin", std::env::var("PATH")?)).arg("-c").arg(path);
        Ok(command)
    }
}

impl Shards {
    fn count(self) -> &'static str {
        match self {
            Self::One => "1",
            Self::Two => "2",
            Self::Four => "4",
        }
    }
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// A broker's process. Dropping it ends it.
pub struct Running {
    broker: Broker,
    child: Child,
    port: u16,
    folder: TempDir,
}

impl Running {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn url(&self) -> String {
        let port = self.port;
        match self.broker {
            Broker::Mosquitto => format!("mqtt://127.0.0.1:{port}"),
            Broker::Nats => format!("nats://127.0.0.1:{port}"),
            _ => format!("http://127.0.0.1:{port}/smq.lsp"),
        }
    }

    fn wait_until_open(&mut self) -> Result<()> {
        let deadline = Instant::now() + START_TIME;
        while TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_err() {
            if self.child.try_wait()?.is_some() || Instant::now() > deadline {
                let log = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
                bail!("{} does not listen on port {}:\n{log}", self.broker.title(), self.port);
            }
            sleep(POLL);
        }
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // The port is closed for good only when the process has ended.
        let pid = self.pid().to_string();
        let asked = Command::new("kill").arg(&pid).status().is_ok_and(|status| status.success());
        let deadline = Instant::now() + STOP_TIME;
        while asked && Instant::now() < deadline && matches!(self.child.try_wait(), Ok(None)) {
            sleep(POLL);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
