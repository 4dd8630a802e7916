//! Start and stop of the whole server.

mod reload;

use std::fmt::Display;
use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};
use tokio::runtime::{Builder, Handle};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::bindings::mako;
use crate::broker::Keepalive;
use crate::config::Config;
use crate::http::accept::Door;
use crate::http::admission::Seats;
use crate::http::rtl::Rtl;
use crate::http::site::Site;
use crate::http::trace_console;
use crate::lsp::{App, AppSpec, archive};
use crate::lua::{LuaThread, Settings};
use crate::socket::defer_accept;
use crate::tls;
use crate::traces::Traces;

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 4096;
/// File descriptors kept for what is no connection: files that are sent, listeners, what scripts open.
const SPARE_FILES: u64 = 64;
/// Time for the `onunload` functions of all apps.
const UNLOAD_TIME: Duration = Duration::from_millis(1000);
/// Time for what was said last to leave for the clients.
const FAREWELL_TIME: Duration = Duration::from_millis(300);

/// Serves until SIGINT or SIGTERM. Browsers on this machine are shown the traces, if there are any to show.
pub fn run(config: Config, traces: Option<Traces>) -> Result<()> {
    Builder::new_current_thread().enable_all().build()?.block_on(serve(config, traces))
}

async fn serve(config: Config, traces: Option<Traces>) -> Result<()> {
    let mut signals = Signals::new()?;
    let mut server = Server::bind(config, traces)?;
    let is_loaded = tokio::select! {
        () = server.load() => true,
        () = signals.wait() => false,
    };
    if !is_loaded {
        unload(&server.apps()).await;
        return Ok(());
    }
    server.open()?;
    server.listeners.announce(&server.apps());
    if server.traces.is_some() {
        server.listeners.announce_console();
    }
    if server.config.is_dev {
        tokio::select! {
            () = reload::watch(&mut server) => {}
            () = signals.wait() => {}
        }
    } else {
        signals.wait().await;
    }
    tracing::info!("stopping");
    server.close().await;
    Ok(())
}

/// A server from its bound ports to its end.
pub struct Server {
    config: Config,
    max_connections: usize,
    listeners: Listeners,
    lua: LuaThread,
    traces: Option<Traces>,
    places: Vec<Place>,
    open: Option<Open>,
}

/// Where an app belongs, and the app unless it has failed to load.
struct Place {
    spec: AppSpec,
    app: Option<Arc<App>>,
}

/// What there is once connections are accepted.
struct Open {
    stop: watch::Sender<bool>,
    site: Arc<Site>,
    shards: Shards,
}

impl Server {
    /// Takes the ports and starts the Lua thread; a port in use should be told before any script runs.
    pub fn bind(config: Config, traces: Option<Traces>) -> Result<Self> {
        check_folders(&config.apps)?;
        let max_connections = limit_by_files(config.max_connections);
        let listeners = Listeners::bind(&config)?;
        let (lua, _) = LuaThread::start_with(settings(&config, &listeners))?;
        let places = config.apps.iter().map(|spec| Place { spec: spec.clone(), app: None }).collect();
        Ok(Self { config, max_connections, listeners, lua, traces, places, open: None })
    }

    /// Loads the apps one after the other. One that fails is reported and left out.
    pub async fn load(&mut self) {
        for place in &mut self.places {
            place.load(&self.lua).await;
        }
    }

    /// The apps that are loaded.
    pub fn apps(&self) -> Vec<Arc<App>> {
        self.places.iter().filter_map(|place| place.app.clone()).collect()
    }

    /// Whether no app has failed to load.
    pub fn is_whole(&self) -> bool {
        self.places.iter().all(|place| place.app.is_some())
    }

    /// Begins to accept connections.
    pub fn open(&mut self) -> Result<()> {
        let (stop, stopping) = watch::channel(false);
        let shards = Shards::start(self.config.shards.get())?;
        let seats = Seats::new(self.max_connections, self.config.max_connections_per_address, shards.threads.len());
        let rtl = Rtl::new(self.config.rtl.as_deref(), self.traces.clone()).context("the folder of --rtl")?;
        let site = Arc::new(Site::new(self.apps(), rtl));
        self.listeners.open(&shards, &site, &seats, &stopping)?;
        self.open = Some(Open { stop, site, shards });
        Ok(())
    }

    /// Where the server is reached by HTTP, such as `http://127.0.0.1:8080`.
    pub fn url(&self) -> String {
        format!("http://{}", self.listeners.plain.reachable_address())
    }

    /// Unloads the apps and ends every connection.
    pub async fn close(self) {
        if let Some(open) = &self.open {
            // Nobody is left to hear it only if every shard has ended already.
            let _ = open.stop.send(true);
        }
        unload(&self.apps()).await;
        exit(&self.lua).await;
        sleep(FAREWELL_TIME).await;
        if let Some(open) = self.open {
            open.shards.close();
        }
        self.lua.stop();
    }
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
            Ok(metadata) if !metadata.is_dir() && !archive::is_archive(&app.path) => {
                bail!("the app {path} is neither a folder nor a zip file")
            }
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

impl Place {
    async fn load(&mut self, lua: &LuaThread) {
        let name = if self.spec.name.is_empty() { "root application" } else { &self.spec.name };
        let path = self.spec.path.display();
        match App::load(lua, &self.spec).await {
            Ok(app) => {
                say(format_args!("{path} as \"{name}\" : ok"));
                self.app = Some(app);
            }
            Err(error) => {
                say(format_args!("{path} as \"{name}\" : failed"));
                tracing::error!(target: "lua", "{path}: {error:#}");
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

/// Calls what scripts gave to `mako.onexit`.
async fn exit(lua: &LuaThread) {
    let calls = lua.call(|world| async move { mako::exit(&world).await });
    if timeout(UNLOAD_TIME, calls).await.is_err() {
        tracing::warn!("a mako.onexit function takes too long; stopping without it");
    }
}

fn settings(config: &Config, listeners: &Listeners) -> Settings {
    Settings {
        budget: config.budget,
        is_dev: config.is_dev,
        host: Some(config.host.clone()),
        port: Some(listeners.plain.address.port()),
        tls_port: listeners.tls.as_ref().map(|(listener, _)| listener.address.port()),
        conf: config.conf.clone(),
        allow_exec: config.allow_exec,
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
                Some((Listener::bind(&tls.host, tls.port)?, acceptor))
            }
        };
        Ok(Self { plain: Listener::bind(&config.host, config.port)?, tls })
    }

    /// Lets the first shard accept from these listeners, for all.
    fn open(
        &self,
        shards: &Shards,
        site: &Arc<Site>,
        seats: &Arc<Seats>,
        stopping: &watch::Receiver<bool>,
    ) -> Result<()> {
        let runtimes: Arc<[Handle]> = shards.threads.iter().map(|shard| shard.runtime.clone()).collect();
        let door = |tls| Door::new(site.clone(), tls, seats.clone(), stopping.clone(), runtimes.clone());
        let plain = Some((&self.plain, door(None)));
        let tls = self.tls.as_ref().map(|(listener, acceptor)| (listener, door(Some(acceptor.clone()))));
        for (listener, door) in plain.into_iter().chain(tls) {
            let _inside = runtimes[0].enter();
            let listener = tokio::net::TcpListener::from_std(listener.listener.try_clone()?)?;
            tokio::spawn(door.accept(listener));
        }
        Ok(())
    }

    /// Tells the URL of each app on each listener.
    fn announce(&self, apps: &[Arc<App>]) {
        let bases = [Some(("http", &self.plain)), self.tls.as_ref().map(|(listener, _)| ("https", listener))];
        for (scheme, listener) in bases.into_iter().flatten() {
            let base = format!("{scheme}://{}/", listener.reachable_address());
            for app in apps {
                let (path, name) = (app.path().display(), app.name());
                let slash = if name.is_empty() { "" } else { "/" };
                say(format_args!("{path} is served at {base}{name}{slash}"));
            }
            if apps.is_empty() {
                say(format_args!("no app is mounted; a welcome page is served at {base}"));
            }
        }
    }

    /// Tells the URL of the trace console, if it can be reached: it is shown to this machine only.
    fn announce_console(&self) {
        let address = self.plain.reachable_address();
        if address.ip().is_loopback() {
            say(format_args!("what scripts print and trace is shown at http://{address}/{}", trace_console::PATH));
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
    // Accepted sockets inherit both, so that a connection to a hub with the usual keepalive costs no call for it.
    socket.set_tcp_nodelay(true)?;
    let keepalive = Keepalive::default();
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(keepalive.idle).with_interval(keepalive.interval))?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    defer_accept(&socket);
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

/// The threads that serve connections.
struct Shards {
    threads: Vec<Shard>,
}

/// A thread with an event loop of its own.
struct Shard {
    runtime: Handle,
    close: watch::Sender<bool>,
    thread: thread::JoinHandle<()>,
}

impl Shards {
    fn start(count: usize) -> Result<Self> {
        let shard = |index| Shard::start(index).with_context(|| format!("cannot start shard {index}"));
        Ok(Self { threads: (0..count).map(shard).collect::<Result<_>>()? })
    }

    /// Ends the threads, and with them every connection.
    fn close(self) {
        for shard in &self.threads {
            let _ = shard.close.send(true);
        }
        for shard in self.threads {
            if shard.thread.join().is_err() {
                tracing::error!("a shard has failed");
            }
        }
    }
}

impl Shard {
    fn start(index: usize) -> Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (close, mut closing) = watch::channel(false);
        let run = move || {
            // An error means that the server has ended in another way.
            let _ = runtime.block_on(closing.wait_for(|closing| *closing));
            // Waits for no file that is being read.
            runtime.shutdown_background();
        };
        let thread = thread::Builder::new().name(format!("shard-{index}")).spawn(run)?;
        Ok(Self { runtime: handle, close, thread })
    }
}
