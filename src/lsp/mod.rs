//! Application folders on the Lua thread: `.preload`, pages, directory functions, `onunload`.
//!
//! [`App`] is what HTTP holds: it may be shared by all threads and hops to the Lua thread for each call. What an app
//! consists of there is an entry of [`Apps`].

mod app;
pub mod archive;
pub mod compile;
mod directory;
mod error_page;
mod include;
mod page;
mod shared;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fs::Metadata;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};
use hyper::StatusCode;
use hyper::header::{CONTENT_TYPE, HeaderValue};

use crate::http::{PageReply, PageRequest, Response, whole};
use crate::lua::hop::{self, Reply};
use crate::lua::life::Life;
use crate::lua::{LuaThread, World};

pub(crate) use app::State as AppState;
use archive::Unpacked;
pub(crate) use directory::Directory;
pub use error_page::error_page;
pub(crate) use include::{Target, find as find_targets, media_type, run as run_target};
use shared::Shared;

/// Which folder or zip file to serve, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppSpec {
    /// The app is mounted at `/NAME/`; empty: at `/`.
    pub name: String,
    /// -127 to 127; of apps that are mounted at the same place the highest is asked first.
    pub priority: i32,
    pub path: PathBuf,
}

/// A mounted app.
pub struct App {
    id: AppId,
    name: String,
    priority: i32,
    /// What was named to be served: a folder, or a zip file.
    path: PathBuf,
    root: PathBuf,
    /// Of a zip file.
    unpacked: Option<Unpacked>,
    lua: LuaThread,
    shared: Arc<Shared>,
    /// Of the directories beside all apps.
    server_shared: Arc<Shared>,
    /// Whether it was unloaded: the server stops, or another app takes its place.
    is_unloaded: AtomicBool,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct AppId(u64);

/// The apps that are mounted, as the Lua thread knows them.
pub struct Apps {
    next_id: Cell<u64>,
    apps: RefCell<HashMap<AppId, Rc<app::State>>>,
    /// Directories that scripts mounted at the server's root, beside all apps.
    server: Rc<Directory>,
    server_shared: Arc<Shared>,
}

impl Default for Apps {
    fn default() -> Self {
        let server_shared = Arc::<Shared>::default();
        let server = Directory::root("/".into(), server_shared.clone(), Life::default());
        Self { next_id: Cell::new(0), apps: RefCell::default(), server, server_shared }
    }
}

impl Apps {
    fn get(&self, id: AppId) -> Option<Rc<app::State>> {
        self.apps.borrow().get(&id).cloned()
    }

    fn new_id(&self) -> AppId {
        self.next_id.set(self.next_id.get() + 1);
        AppId(self.next_id.get())
    }

    /// In the order in which they are asked, as the [`Site`](crate::http::site::Site) does.
    fn by_priority(&self) -> Vec<Rc<app::State>> {
        let mut apps: Vec<_> = self.apps.borrow().iter().map(|(id, app)| (*id, app.clone())).collect();
        apps.sort_by_key(|(id, app)| (-app.priority, app.name.is_empty(), id.0));
        apps.into_iter().map(|(_, app)| app).collect()
    }

    /// Where `dir:insert()` without a parent mounts.
    pub(crate) fn server_root(&self) -> &Rc<Directory> {
        &self.server
    }
}

impl App {
    /// Runs the folder's `.preload`. When that fails the error has its message and traceback, and there is no app.
    pub async fn load(lua: &LuaThread, spec: &AppSpec) -> Result<Arc<App>> {
        let path = spec.path.canonicalize().with_context(|| format!("cannot open the app {}", spec.path.display()))?;
        let unpacked = if path.is_dir() { None } else { Some(Unpacked::new(&path)?) };
        let root = unpacked.as_ref().map_or_else(|| path.clone(), |unpacked| unpacked.root().to_owned());
        let shared = Arc::new(Shared::default());
        let (name, priority) = (spec.name.clone(), spec.priority);
        let place = app::Place { name, priority, path: path.clone(), root: root.clone() };
        let for_state = shared.clone();
        let load = move |world: Rc<World>| async move {
            let id = app::load(&world, place, for_state).await?;
            anyhow::Ok((id, world.apps.server_shared.clone()))
        };
        let (id, server_shared) = lua.call(load).await??;
        let (name, priority, lua) = (spec.name.clone(), spec.priority, lua.clone());
        let is_unloaded = AtomicBool::new(false);
        Ok(Arc::new(App { id, name, priority, path, root, unpacked, lua, shared, server_shared, is_unloaded }))
    }

    /// Empty for the root app.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn priority(&self) -> i32 {
        self.priority
    }

    /// The folder or zip file, with all symbolic links resolved.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The folder where the app's files are, with all symbolic links resolved; of a zip file, where it is unpacked.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where a file below [`App::root`] is as gzip, which it may be in a zip file.
    pub fn gzip_of(&self, file: &Path) -> Option<PathBuf> {
        self.unpacked.as_ref()?.gzip_of(file)
    }

    /// Runs the page at `path`, which is relative to the root and has been checked to lie in it. `metadata` tells
    /// whether the page has to be compiled anew.
    pub async fn page(&self, path: &str, metadata: &Metadata, request: Box<PageRequest>) -> PageReply {
        let stamp = page::Stamp::of(metadata);
        let (id, path) = (self.id, path.to_owned());
        self.ask(move |world, reply| async move { page::serve(&world, id, path, stamp, request, reply).await }).await
    }

    /// Asks the directory functions that are responsible for `path`, which is relative to the root and decoded.
    pub async fn directories(&self, path: &str, request: Box<PageRequest>) -> PageReply {
        if !self.has_directories() {
            return PageReply::NotMine(request);
        }
        let (id, path) = (self.id, path.to_owned());
        self.ask(move |world, reply| async move { directory::serve(&world, id, path, request, reply).await }).await
    }

    /// Asks the directory functions that scripts mounted beside all apps. Every app leads there; `path` is relative to
    /// the server's root and decoded.
    pub async fn directories_beside(&self, path: &str, request: Box<PageRequest>) -> PageReply {
        let path = path.to_owned();
        self.ask(move |world, reply| async move { directory::serve_beside(&world, path, request, reply).await }).await
    }

    /// Whether there is anything for [`App::directories_beside`]. Costs no hop to the Lua thread.
    pub fn has_directories_beside(&self) -> bool {
        self.server_shared.has_directories()
    }

    /// Whether there is any directory function that [`App::directories`] could find. Costs no hop to the Lua thread.
    pub fn has_directories(&self) -> bool {
        self.shared.has_directories()
    }

    /// Whether [`App::enter`] has to be asked before anything else: the app's own directory has an authenticator or a
    /// prologue. Costs no hop to the Lua thread.
    pub fn has_gate(&self) -> bool {
        self.shared.has_gate()
    }

    /// Authenticates the client where the app's own directory asks for it, then asks its prologue directories.
    /// [`PageReply::NotMine`] means that the request may go on to the files and pages of the app.
    pub async fn enter(&self, path: &str, request: Box<PageRequest>) -> PageReply {
        let (id, path) = (self.id, path.to_owned());
        self.ask(move |world, reply| async move { directory::enter(&world, id, path, request, reply).await }).await
    }

    /// Adds the headers of `dir:header`, when the app has set some for its own directory.
    pub fn add_headers(&self, response: &mut Response) {
        if let Some(headers) = self.shared.headers() {
            crate::http::add_app_headers(response, &headers);
        }
    }

    /// Calls the app's `onunload` and forgets the app. Errors are logged.
    pub async fn unload(&self) {
        self.is_unloaded.store(true, Ordering::Relaxed);
        let id = self.id;
        // When the Lua thread has ended there is nothing left to unload.
        let _ = self.lua.call(move |world| async move { app::unload(&world, id).await }).await;
    }

    /// Unloads the app while the server goes on: all that its scripts have started ends.
    pub async fn retire(&self) {
        self.is_unloaded.store(true, Ordering::Relaxed);
        let id = self.id;
        // Likewise.
        let _ = self.lua.call(move |world| async move { app::retire(&world, id).await }).await;
    }

    /// Starts `work` on the Lua thread and waits for its reply, not for its end: a page may run on after its headers.
    async fn ask<F>(&self, work: impl FnOnce(Rc<World>, Reply<PageReply>) -> F + Send + 'static) -> PageReply
    where
        F: Future<Output = ()> + 'static,
    {
        let (reply, answer) = hop::reply();
        // Boxed, since tokio copies a task as a whole several times when it starts and ends.
        let start = move |world: &Rc<World>| drop(tokio::task::spawn_local(Box::pin(work(world.clone(), reply))));
        if self.lua.send(start).is_err() {
            return refusal(StatusCode::SERVICE_UNAVAILABLE, "The server is stopping\n");
        }
        answer.await.unwrap_or_else(|_| self.silence())
    }

    /// The answer to a request that the Lua thread has dropped.
    fn silence(&self) -> PageReply {
        if self.is_unloaded.load(Ordering::Relaxed) {
            return refusal(StatusCode::SERVICE_UNAVAILABLE, "The app is being stopped\n");
        }
        refusal(StatusCode::INTERNAL_SERVER_ERROR, "Internal server error\n")
    }
}

/// A plain answer for requests that no script could answer.
fn refusal(status: StatusCode, text: &'static str) -> PageReply {
    let mut response = Response::new(whole(text));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    PageReply::Response(response)
}
