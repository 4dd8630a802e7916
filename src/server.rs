//! Starting and stopping the server.

mod listeners;
mod reload;
mod shards;
mod signals;

use std::fmt::Display;
use std::io::{self, Write};
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tokio::runtime::Builder;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::bindings::console::Described;
use crate::bindings::mako;
use crate::config::Config;
use crate::http::rtl::Rtl;
use crate::http::site::{Broken, Site};
use crate::lsp::{App, AppSpec, UNLOAD_TIME, archive, error_page};
use crate::lua::{LuaThread, Settings};
use crate::seats::Seats;
use crate::traces::Traces;
use listeners::Listeners;
use reload::Scripts;
use shards::Shards;
pub use signals::{Signals, ignores_hangup};

/// File descriptors kept for other things than connections: files that are sent, listeners, what scripts open.
const SPARE_FILES: u64 = 64;
/// Time to send what is still queued for clients.
const FAREWELL_TIME: Duration = Duration::from_millis(300);
/// Time for what scripts are waiting for to be dropped, and for programs that they run to be stopped.
const END_TIME: Duration = Duration::from_secs(1);

/// Serves until a signal or a script says to stop, and returns the exit code. Browsers on this machine are shown the traces,
/// if there are any to show.
pub fn run(config: Config, traces: Option<Traces>) -> Result<u8> {
    Builder::new_current_thread().enable_all().build()?.block_on(serve(config, traces))
}

async fn serve(config: Config, traces: Option<Traces>) -> Result<u8> {
    let mut signals = Signals::new()?;
    let mut server = Server::bind(config, traces)?;
    let lua = server.lua.clone();
    let stop = async {
        tokio::select! {
            () = signals.wait() => 0,
            code = lua.exit_code() => code,
        }
    };
    let mut stop = pin!(stop);
    let stopped = tokio::select! {
        () = server.load() => None,
        code = &mut stop => Some(code),
    };
    if let Some(code) = stopped {
        server.close().await;
        return Ok(code);
    }
    server.open()?;
    server.listeners.announce(&server.apps());
    if server.traces.is_some() {
        server.listeners.announce_console();
    }
    let code = if server.config.is_dev {
        tokio::select! {
            () = reload::watch(&mut server) => 0,
            code = stop => code,
        }
    } else {
        stop.await
    };
    tracing::info!("stopping");
    server.close().await;
    Ok(code)
}

/// A server: first its ports are bound, then apps are loaded, then connections are accepted.
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
    /// Why there is no app.
    problem: Option<String>,
    /// The scripts that ran when it was loaded; only if the server watches them for changes.
    seen: Scripts,
}

/// What exists only while connections are accepted.
struct Open {
    stop: watch::Sender<bool>,
    site: Arc<Site>,
    shards: Shards,
}

impl Server {
    /// Binds the ports and starts the Lua thread. No script runs before it is certain that the ports are free.
    pub fn bind(config: Config, traces: Option<Traces>) -> Result<Self> {
        config.apps.iter().try_for_each(check_app)?;
        config.rtl.as_deref().map_or(Ok(()), check_rtl)?;
        let max_connections = limit_by_files(config.max_connections);
        let listeners = Listeners::bind(&config)?;
        let (lua, _) = LuaThread::start_with(settings(&config, &listeners))?;
        let places = config.apps.iter().cloned().map(Place::new).collect();
        Ok(Self { config, max_connections, listeners, lua, traces, places, open: None })
    }

    /// Loads the apps one after the other. One that fails is reported and left out.
    pub async fn load(&mut self) {
        if self.places.is_empty() {
            tracing::warn!(
                "no app is named: add its folder or zip file to the command line, or `apps` to the configuration"
            );
        }
        for place in &mut self.places {
            if self.config.is_dev {
                place.look();
            }
            place.load(&self.lua).await;
        }
    }

    /// The apps that are loaded.
    pub fn apps(&self) -> Vec<Arc<App>> {
        self.places.iter().filter_map(|place| place.app.clone()).collect()
    }

    /// The apps that have failed to load, if browsers may see why.
    fn broken(&self) -> Vec<Broken> {
        self.places.iter().filter(|_| self.config.is_dev).filter_map(Place::broken).collect()
    }

    /// Whether no app has failed to load.
    pub fn is_whole(&self) -> bool {
        self.places.iter().all(|place| place.app.is_some())
    }

    /// Begins to accept connections.
    pub fn open(&mut self) -> Result<()> {
        let (stop, stopping) = watch::channel(false);
        let shards = Shards::start(self.config.shards.get())?;
        let seats = Seats::new(self.max_connections, self.config.max_connections_per_address, shards.count());
        let rtl = Rtl::new(self.config.rtl.as_deref(), self.traces.clone()).context("the folder of --rtl")?;
        let site = Arc::new(Site::new(self.apps(), self.broken(), rtl));
        self.listeners.open(&shards, &site, &seats, &stopping)?;
        self.open = Some(Open { stop, site, shards });
        Ok(())
    }

    /// Where the apps run.
    pub fn lua(&self) -> &LuaThread {
        &self.lua
    }

    /// Where the server is reached by HTTP, such as `http://127.0.0.1:8080`.
    pub fn url(&self) -> String {
        format!("http://{}", self.listeners.plain.reachable_address())
    }

    /// Unloads the apps and ends every connection.
    pub async fn close(self) {
        // From here on `os.exit` has nothing to ask for.
        self.lua.exit(0);
        if let Some(open) = &self.open {
            // Fails only if every shard has ended already.
            let _ = open.stop.send(true);
        }
        unload(&self.apps()).await;
        exit(&self.lua).await;
        if let Some(open) = self.open {
            sleep(FAREWELL_TIME).await;
            open.shards.close();
        }
        self.lua.stop();
        if timeout(END_TIME, self.lua.ended()).await.is_err() {
            tracing::warn!("a script takes too long; stopping without its end");
        }
    }
}

fn check_app(app: &AppSpec) -> Result<()> {
    let path = app.path.display();
    let is_app = app.path.metadata().and_then(|found| Ok(found.is_dir() || archive::is_archive(&app.path)?));
    match is_app {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let is_half_named = app.name.is_empty() && path.to_string().contains(':');
            let hint = if is_half_named { "; an app with a name is written NAME::PATH" } else { "" };
            bail!("the app folder {path} does not exist{hint}")
        }
        Err(error) => bail!("the app {path} cannot be read: {error}"),
        Ok(false) => bail!("the app {path} is neither a folder nor a zip file"),
        Ok(true) => Ok(()),
    }
}

fn check_rtl(folder: &Path) -> Result<()> {
    let path = folder.display();
    let found = folder.metadata().with_context(|| format!("the folder of --rtl, {path}, cannot be read"))?;
    ensure!(found.is_dir(), "--rtl needs a folder, and {path} is none");
    Ok(())
}

/// Raises the limit of open files as far as the system allows, since each connection is one. Returns the number of connections
/// that are possible.
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
    fn new(spec: AppSpec) -> Self {
        Self { spec, app: None, problem: None, seen: Scripts::new() }
    }

    async fn load(&mut self, lua: &LuaThread) {
        let name = if self.spec.name.is_empty() { "root application" } else { &self.spec.name };
        let path = self.spec.path.display();
        match App::load(lua, &self.spec).await {
            Ok(app) => {
                say(format_args!("{path} as \"{name}\" : ok"));
                (self.app, self.problem) = (Some(app), None);
            }
            Err(error) => {
                say(format_args!("{path} as \"{name}\" : failed"));
                tracing::error!(target: "lua", "{path}: {error:#}");
                (self.app, self.problem) = (None, Some(format!("{error:#}")));
            }
        }
    }

    fn broken(&self) -> Option<Broken> {
        let problem = Described::from(self.problem.clone()?);
        Some(Broken { name: self.spec.name.clone(), page: error_page("This app cannot be loaded", &problem) })
    }
}

/// Calls every app's `onunload`. One that waits keeps neither the others from being called nor the server from stopping.
async fn unload(apps: &[Arc<App>]) {
    let all: JoinSet<()> = apps.iter().cloned().map(|app| async move { app.unload().await }).collect();
    // Each has its time; this is for a Lua thread that is too busy to look at the clock.
    if timeout(2 * UNLOAD_TIME, all.join_all()).await.is_err() {
        tracing::warn!("a script takes too long; stopping without the onunload functions behind it");
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

/// Prints a line on standard output. A failure is ignored: the server works without a reader.
pub fn say(line: impl Display) {
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}
