//! An app on the Lua thread: its table, pages and directories, and how it is loaded and unloaded.

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, anyhow};
use mlua::{AnyUserData, Function, Lua, Table};
use tokio::time::timeout;

use super::AppId;
use super::directory::Directory;
use super::page::Page;
use super::shared::Shared;
use crate::bindings::ba::dir::Dir;
use crate::bindings::console;
use crate::bindings::io::{self, LuaIo};
use crate::bindings::modules;
use crate::lua::life::Life;
use crate::lua::{World, budget};

const PRELOAD: &str = ".preload";
/// How long an `onunload` function may take; also the `onclose` functions behind it, when an app is loaded again, and the
/// functions given to `mako.onexit`, when the server stops.
pub const UNLOAD_TIME: Duration = Duration::from_secs(1);

/// Where an app's files are, and where it is mounted.
pub struct Place {
    pub name: String,
    pub priority: i32,
    /// What the user has named: a folder or a zip file.
    pub path: PathBuf,
    /// The folder with the app's files, with all symbolic links resolved.
    pub root: PathBuf,
}

/// A mounted app on the Lua thread.
pub struct State {
    pub name: String,
    pub priority: i32,
    pub root: PathBuf,
    /// The globals of `.preload`, which pages know as `app`.
    pub table: Table,
    /// The files of the app, as scripts see them.
    pub io: AnyUserData,
    /// The pages that have been asked for, by their path from the root.
    pub pages: RefCell<HashMap<String, Rc<Page>>>,
    /// The root of the app's directories.
    pub directory: Rc<Directory>,
    /// Ends, with the app, all that its scripts have started.
    pub life: Life,
}

impl State {
    fn new(lua: &Lua, place: Place, shared: Arc<Shared>) -> mlua::Result<Self> {
        let Place { name, priority, root, path: _ } = place;
        let life = Life::default();
        let directory = Directory::root(uri(&name), shared, life.clone());
        let io = lua.create_userdata(LuaIo::new(root.clone()))?;
        let table = lua.create_table()?;
        table.set("io", &io)?;
        table.set("dir", Dir::new(directory.clone()))?;
        table.set("app", &table)?;
        let globals = lua.create_table()?;
        globals.set("__index", lua.globals())?;
        table.set_metatable(Some(globals))?;
        Ok(Self { name, priority, root, table, io, pages: RefCell::default(), directory, life })
    }

    /// The app's URL from the server's root, with a slash at both ends.
    pub fn uri(&self) -> String {
        uri(&self.name)
    }

    /// What error messages call a file of this app.
    pub fn file_name(&self, path: &str) -> String {
        if self.name.is_empty() { path.to_owned() } else { format!("{}/{path}", self.name) }
    }
}

fn uri(name: &str) -> String {
    if name.is_empty() { "/".into() } else { format!("/{name}/") }
}

/// Makes the app and runs its `.preload`. If that fails, the app is removed again, and the error has the script's
/// message and traceback.
pub async fn load(world: &Rc<World>, place: Place, shared: Arc<Shared>) -> Result<AppId> {
    let path = place.path.clone();
    let state = Rc::new(State::new(&world.lua, place, shared).map_err(readable)?);
    let id = world.apps.new_id();
    world.apps.apps.borrow_mut().insert(id, state.clone());
    if let Err(error) = state.life.clone().scope(preload(&world.lua, &state, &path)).await {
        world.apps.apps.borrow_mut().remove(&id);
        end(world, state).await;
        return Err(error);
    }
    Ok(id)
}

/// Runs `.preload`, if there is one. `path` is what messages call the app.
async fn preload(lua: &Lua, state: &State, path: &Path) -> Result<()> {
    let source = match tokio::fs::read(state.root.join(PRELOAD)).await {
        Ok(source) => source,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            tracing::info!("{} has no {PRELOAD}", path.display());
            return Ok(());
        }
        Err(error) => return Err(anyhow!("cannot read the {PRELOAD} of {}: {error}", path.display())),
    };
    let chunk = io::chunk(lua, &source, &state.file_name(PRELOAD), Some(state.table.clone())).map_err(readable)?;
    budget::call::<()>(&chunk, ()).await.map_err(readable)
}

/// A script's error as text that can leave the Lua thread.
fn readable(error: mlua::Error) -> anyhow::Error {
    anyhow!("{}", console::describe(&error))
}

/// Removes the app and calls its `onunload`; for a server that stops.
pub async fn unload(world: &Rc<World>, id: AppId) {
    let Some(state) = world.apps.apps.borrow_mut().remove(&id) else { return };
    run_onunload(&state).await;
}

/// Removes the app, calls its `onunload`, and ends all that its scripts have started; for a server that goes on.
pub async fn retire(world: &Rc<World>, id: AppId) {
    let Some(state) = world.apps.apps.borrow_mut().remove(&id) else { return };
    run_onunload(&state).await;
    end(world, state).await;
}

/// Waits for `work`, which a warning calls `what`, but not longer than `limit`.
async fn within(limit: Duration, what: &str, work: impl Future<Output = ()>) {
    if timeout(limit, work).await.is_err() {
        tracing::warn!("{what} takes too long; going on without it");
    }
}

async fn run_onunload(state: &State) {
    let Ok(Some(onunload)) = state.table.raw_get::<Option<Function>>("onunload") else { return };
    let what = state.file_name("onunload");
    let call = async {
        if let Err(error) = budget::call::<()>(&onunload, ()).await {
            console::report(&what, &error);
        }
    };
    within(UNLOAD_TIME, &what, state.life.clone().scope(call)).await;
}

/// Ends what the app's scripts have started, and frees the scripts themselves.
async fn end(world: &World, state: Rc<State>) {
    within(UNLOAD_TIME, &state.file_name("onclose"), world.hubs.shut_down(&state.life)).await;
    state.life.end();
    world.hubs.forget(&state.life);
    state.directory.end();
    world.apps.end_directories_of(&state.life);
    let forgotten = modules::forget(&world.lua, &state.root);
    let what = state.file_name("onunload");
    // With it the app's globals.
    drop(state);
    // The tasks that were ended are dropped in this pause; after that, the sockets and responses that they and the globals
    // held can be garbage-collected, which ends these, too.
    tokio::task::yield_now().await;
    if let Err(error) = forgotten.and_then(|()| world.lua.gc_collect()) {
        console::report(&what, &error);
    }
}
