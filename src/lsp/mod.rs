//! Apps: folders or zip files with `.preload`, pages (Lua Server Pages), directory functions, `onunload`.
//!
//! [`App`] is what HTTP holds. It can be used on any thread, and asks the Lua thread for each call; flags tell when
//! that is not necessary. The app itself is an entry of [`Apps`], on the Lua thread.

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
use crate::stamp::Stamp;

pub(crate) use app::State as AppState;
pub use app::UNLOAD_TIME;
use archive::Unpacked;
pub(crate) use directory::Directory;
pub use error_page::error_page;
pub(crate) use include::{Target, find as find_targets, run as run_target};
use shared::Shared;

/// Which folder or zip file to serve, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppSpec {
    /// The app is mounted at `/NAME/`, or at `/` if this is empty.
    pub name: String,
    /// -127 to 127. Of several apps that a path could belong to, the highest is asked first.
    pub priority: i32,
    pub path: PathBuf,
}

/// A mounted app, for any thread.
pub struct App {
    id: AppId,
    name: String,
    priority: i32,
    /// What the user has named: a folder or a zip file.
    path: PathBuf,
    root: PathBuf,
    /// For a zip file.
    unpacked: Option<Unpacked>,
    lua: LuaThread,
    /// What is known about the app's directories.
    shared: Arc<Shared>,
    /// What is known about the directories beside all apps.
    server_shared: Arc<Shared>,
    /// Whether it was unloaded, because the server stops or the app is reloaded.
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

    /// The apps in the order in which they are asked: the same as that of the [`Site`](crate::http::site::Site).
    fn by_priority(&self) -> Vec<Rc<app::State>> {
        let mut apps: Vec<_> = self.apps.borrow().iter().map(|(id, app)| (*id, app.clone())).collect();
        apps.sort_by_key(|(id, app)| (-app.priority, app.name.is_empty(), id.0));
        apps.into_iter().map(|(_, app)| app).collect()
    }

    /// The directory at the server's root, beside all apps, where `dir:insert()` without an argument mounts.
    pub(crate) fn server_root(&self) -> &Rc<Directory> {
        &self.server
    }

    /// Ends the directories that an app's scripts have mounted beside all apps and in others.
    fn end_directories_of(&self, life: &Life) {
        self.server.end_all_of(life);
        self.apps.borrow().values().for_each(|app| app.directory.end_all_of(life));
    }
}

impl App {
    /// Opens the folder or zip file, and runs its `.preload`. If that fails, the error has the script's message and
    /// traceback.
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

    /// The name, which is empty for an app at `/`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// See [`AppSpec::priority`].
    pub fn priority(&self) -> i32 {
        self.priority
    }

    /// The folder or zip file, with all symbolic links resolved.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The folder with the app's files, with all symbolic links resolved. For a zip file, that is where it was
    /// unpacked.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The gzip form of a file below [`App::root`], which files of a zip file may have.
    pub fn gzip_of(&self, file: &Path) -> Option<PathBuf> {
        self.unpacked.as_ref()?.gzip_of(file)
    }

    /// Answers with the page at `path`, which is relative to the root and must not lead out of it. `metadata` is the
    /// file's, and tells whether the page has to be compiled again.
    pub async fn page(&self, path: &str, metadata: &Metadata, request: Box<PageRequest>) -> PageReply {
        let stamp = Stamp::of(metadata);
        let (id, path) = (self.id, path.to_owned());
        self.ask(move |world, reply| async move { page::serve(&world, id, path, stamp, request, reply).await }).await
    }

    /// Asks the directory functions for `path`, which is relative to the root and decoded.
    pub async fn directories(&self, path: &str, request: Box<PageRequest>) -> PageReply {
        if !self.has_directories() {
            return PageReply::NotMine(request);
        }
        let (id, path) = (self.id, path.to_owned());
        self.ask(move |world, reply| async move { directory::serve(&world, id, path, request, reply).await }).await
    }

    /// Asks the directory functions that scripts have mounted beside all apps, which any app can be used for. `path` is
    /// relative to the server's root and decoded.
    pub async fn directories_beside(&self, path: &str, request: Box<PageRequest>) -> PageReply {
        let path = path.to_owned();
        self.ask(move |world, reply| async move { directory::serve_beside(&world, path, request, reply).await }).await
    }

    /// Whether [`App::directories_beside`] could find anything. Does not ask the Lua thread.
    pub fn has_directories_beside(&self) -> bool {
        self.server_shared.has_directories()
    }

    /// Whether [`App::directories`] could find anything. Does not ask the Lua thread.
    pub fn has_directories(&self) -> bool {
        self.shared.has_directories()
    }

    /// Whether [`App::enter`] has to be asked before anything else, since the app's root directory has an authenticator
    /// or a prologue. Does not ask the Lua thread.
    pub fn has_gate(&self) -> bool {
        self.shared.has_gate()
    }

    /// Authenticates the client, if the app's root directory has an authenticator, and asks the prologue directories.
    /// [`PageReply::NotMine`] means that the files and pages of the app may answer the request.
    pub async fn enter(&self, path: &str, request: Box<PageRequest>) -> PageReply {
        let (id, path) = (self.id, path.to_owned());
        self.ask(move |world, reply| async move { directory::enter(&world, id, path, request, reply).await }).await
    }

    /// Adds the headers that the app has set for its root directory, see `dir:header`.
    pub fn add_headers(&self, response: &mut Response) {
        if let Some(headers) = self.shared.headers() {
            crate::http::add_app_headers(response, &headers);
        }
    }

    /// Calls the app's `onunload` and removes the app; for a server that stops. Errors are logged.
    pub async fn unload(&self) {
        self.is_unloaded.store(true, Ordering::Relaxed);
        let id = self.id;
        // If the Lua thread has ended, there is nothing left to unload.
        let _ = self.lua.call(move |world| async move { app::unload(&world, id).await }).await;
    }

    /// Unloads the app while the server goes on: all that its scripts have started ends.
    pub async fn retire(&self) {
        self.is_unloaded.store(true, Ordering::Relaxed);
        let id = self.id;
        // If the Lua thread has ended, there is nothing left to unload.
        let _ = self.lua.call(move |world| async move { app::retire(&world, id).await }).await;
    }

    /// Starts `work` on the Lua thread and waits for its reply, not for its end: a page goes on after its headers are
    /// sent.
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
