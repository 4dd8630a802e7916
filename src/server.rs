//! Start and stop of the whole server.

use std::fmt::Display;
use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::bindings::ba::process;
use crate::config::Config;
use crate::http::accept::Door;
use crate::http::admission::Seats;
use crate::http::site::Site;
use crate::lsp::{App, AppSpec};
use crate::lua::LuaThread;
use crate::tls;

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 4096;
/// File descriptors kept for what is no connection: files that are sent, listeners, what scripts open.
const SPARE_FILES: u64 = 64;
/// Time for the `onunload` functions of all apps.
const UNLOAD_TIME: Duration = Duration::from_millis(1000);
/// Time for what was said last to leave for the clients.
const FAREWELL_TIME: Duration = Duration::from_millis(300);

/// Serves until SIGINT or SIGTERM.
pub fn run(config: Config) -> Result<()> {
    Builder::new_current_thread().enable_all().build()?.block_on(serve(config))
}

async fn serve(config: Config) -> Result<()> {
    let mut signals = Signals::new()?;
    check_folders(&config.apps)?;
    let max_connections = limit_by_files(config.max_connections);
    // Bound before any script runs: a port in use should be told at once.
    let listeners = Listeners::bind(&config)?;
    let (lua, _lua_thread) = LuaThread::start()?;
    if config.allow_exec {
        lua.send(|world| process::allow(&world.lua)).await?;
    }
    let mut apps = Vec::new();
    tokio::select! {
        () = load(&lua, &config.apps, &mut apps) => {}
        () = signals.wait() => {
            unload(&apps).await;
            return Ok(());
        }
    }
    let (stop, stopping) = watch::channel(false);
    let seats = Seats::new(max_connections, config.max_connections_per_address);
    let site = Arc::new(Site::new(apps.clone()));
    let shards = listeners.open(config.shards.get(), &site, &seats, &stopping)?;
    listeners.announce(&apps);
    signals.wait().await;
    tracing::info!("stopping");
    // Nobody is left to hear it only if every shard has ended already.
    let _ = stop.send(true);
    unload(&apps).await;
    sleep(FAREWELL_TIME).await;
    shards.close();
    Ok(())
}

/// SIGINT and SIGTERM.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn wait(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

fn check_folders(apps: &[AppSpec]) -> Result<()> {
    for app in apps {
        let path = app.path.display();
        match app.path.metadata() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => bail!("the app folder {path} does not exist"),
            Err(error) => bail!("the app folder {path} cannot be read: {error}"),
            Ok(metadata) if !metadata.is_dir() => bail!("the app {path} is not a folder"),
            Ok(_) => {}
        }
    }
    Ok(())
}

/// Raises the number of files this process may open as far as it goes, since each connection is one.
fn limit_by_files(max_connections: usize) -> usize {
    let files = match rlimit::increase_nofile_limit(u64::MAX) {
        Ok(files) => files.saturating_sub(SPARE_FILES),
        Err(error) => {
            tracing::warn!(%error, "cannot raise the limit of open files");
            return max_connections;
        }
    };
    let files = usize::try_from(files).unwrap_or(usize::MAX);
    if files < max_connections {
        tracing::debug!(connections = files, "the limit of open files (ulimit -n) allows no more connections");
    }
    max_connections.min(files)
}

/// Loads the apps one after the other. One that fails is reported and left out.
async fn load(lua: &LuaThread, specs: &[AppSpec], apps: &mut Vec<Arc<App>>) {
    for spec in specs {
        let name = if spec.name.is_empty() { "root application" } else { &spec.name };
        let path = spec.path.display();
        match App::load(lua, spec).await {
            Ok(app) => {
                say(format_args!("{path} as \"{name}\" : ok"));
                apps.push(app);
            }
            Err(error) => {
                say(format_args!("{path} as \"{name}\" : failed"));
                eprintln!("smq: {path}: {error:#}");
            }
        }
    }
}

/// Calls every app's `onunload`. A script that does not come to an end does not keep the server from stopping.
async fn unload(apps: &[Arc<App>]) {
    let all = async {
        for app in apps {
            app.unload().await;
        }
    };
    if timeout(UNLOAD_TIME, all).await.is_err() {
        tracing::warn!("an onunload function takes too long; stopping without it");
    }
}

/// A line for whoever started the server. If nobody reads it, that is no reason not to serve.
fn say(line: impl Display) {
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

struct Listeners {
    plain: Listener,
    tls: Option<(Listener, tokio_rustls::TlsAcceptor)>,
}

struct Listener {
    listener: TcpListener,
    address: SocketAddr,
}

impl Listeners {
    fn bind(config: &Config) -> Result<Self> {
        let tls = match &config.tls {
            None => None,
            Some(tls) => {
                let acceptor = tls::acceptor(&tls.certificate, &tls.key)?;
                Some((Listener::bind(&config.host, tls.port)?, acceptor))
            }
        };
        Ok(Self { plain: Listener::bind(&config.host, config.port)?, tls })
    }

    /// Starts `count` shards that all accept from these listeners.
    fn open(
        &self,
        count: usize,
        site: &Arc<Site>,
        seats: &Arc<Seats>,
        stopping: &watch::Receiver<bool>,
    ) -> Result<Shards> {
        let door = |tls| Door::new(site.clone(), tls, seats.clone(), stopping.clone());
        let plain = door(None);
        let tls = self.tls.as_ref().map(|(listener, acceptor)| (listener, door(Some(acceptor.clone()))));
        let mut shards = Shards::default();
        for index in 0..count {
            let mut doors = vec![(self.plain.listener.try_clone()?, plain.clone())];
            if let Some((listener, door)) = &tls {
                doors.push((listener.listener.try_clone()?, door.clone()));
            }
            shards.start(index, doors).with_context(|| format!("cannot start shard {index}"))?;
        }
        Ok(shards)
    }

    /// Tells the URL of each app on each listener.
    fn announce(&self, apps: &[Arc<App>]) {
        let bases = [Some(("http", &self.plain)), self.tls.as_ref().map(|(listener, _)| ("https", listener))];
        for (scheme, listener) in bases.into_iter().flatten() {
            let base = format!("{scheme}://{}/", listener.reachable_address());
            for app in apps {
                let (root, name) = (app.root().display(), app.name());
                let slash = if name.is_empty() { "" } else { "/" };
                say(format_args!("{root} is served at {base}{name}{slash}"));
            }
            if apps.is_empty() {
                say(format_args!("no app is mounted; a welcome page is served at {base}"));
            }
        }
    }
}

impl Listener {
    fn bind(host: &str, port: u16) -> Result<Self> {
        let addresses =
            (host, port).to_socket_addrs().with_context(|| format!("no address is known for host {host}"))?;
        let mut failure = anyhow!("no address is known for host {host}");
        for address in addresses {
            match listen(address) {
                Ok(listener) => return Ok(Self { address: listener.local_addr()?, listener }),
                Err(error) => failure = explain(&error, address),
            }
        }
        Err(failure)
    }

    /// The address for a URL on this machine: nobody can connect to "any address".
    fn reachable_address(&self) -> SocketAddr {
        let mut address = self.address;
        if address.ip().is_unspecified() {
            match &mut address {
                SocketAddr::V4(v4) => v4.set_ip(std::net::Ipv4Addr::LOCALHOST),
                SocketAddr::V6(v6) => v6.set_ip(std::net::Ipv6Addr::LOCALHOST),
            }
        }
        address
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A restart need not wait until the connections of the last run are forgotten. Two servers at a time are still
    // refused: that would take SO_REUSEPORT.
    socket.set_reuse_address(true)?;
    // Accepted sockets inherit it.
    socket.set_tcp_nodelay(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn explain(error: &io::Error, address: SocketAddr) -> anyhow::Error {
    match error.kind() {
        io::ErrorKind::AddrInUse => anyhow!("cannot listen on {address}: the port is in use"),
        io::ErrorKind::AddrNotAvailable => anyhow!("cannot listen on {address}: not an address of this machine"),
        io::ErrorKind::PermissionDenied => anyhow!("cannot listen on {address}: this user may not use the port"),
        _ => anyhow!("cannot listen on {address}: {error}"),
    }
}

/// The threads that serve connections, each with an event loop of its own.
#[derive(Default)]
struct Shards {
    threads: Vec<(watch::Sender<bool>, thread::JoinHandle<()>)>,
}

impl Shards {
    fn start(&mut self, index: usize, doors: Vec<(TcpListener, Arc<Door<Site>>)>) -> Result<()> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let (close, closing) = watch::channel(false);
        let doors = {
            let _inside = runtime.enter();
            let open = |(listener, door)| tokio::net::TcpListener::from_std(listener).map(|listener| (listener, door));
            doors.into_iter().map(open).collect::<io::Result<Vec<_>>>()?
        };
        let thread =
            thread::Builder::new().name(format!("shard-{index}")).spawn(move || shard(runtime, doors, closing))?;
        self.threads.push((close, thread));
        Ok(())
    }

    /// Ends the threads, and with them every connection.
    fn close(self) {
        for (close, _) in &self.threads {
            let _ = close.send(true);
        }
        for (_, thread) in self.threads {
            if thread.join().is_err() {
                tracing::error!("a shard has failed");
            }
        }
    }
}

fn shard(runtime: Runtime, doors: Vec<(tokio::net::TcpListener, Arc<Door<Site>>)>, mut closing: watch::Receiver<bool>) {
    runtime.block_on(async move {
        for (listener, door) in doors {
            tokio::spawn(door.accept(listener));
        }
        // An error means that the server has ended in another way.
        let _ = closing.wait_for(|closing| *closing).await;
    });
    // Waits for no file that is being read.
    runtime.shutdown_background();
}
