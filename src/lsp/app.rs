//! An app on the Lua thread: its table, its pages, its directories, and the beginning and end of its life.

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
/// Time for the `onunload` of an app that another replaces, and for its hubs' `onclose`.
const UNLOAD_TIME: Duration = Duration::from_secs(1);

/// Where an app lies and where it is mounted.
pub struct Place {
    pub name: String,
    pub priority: i32,
    /// What was named to be served: a folder, or a zip file.
    pub path: PathBuf,
    /// The folder with the app's files, with all symbolic links resolved.
    pub root: PathBuf,
}

/// What an app consists of on the Lua thread.
pub struct State {
    pub name: String,
    pub priority: i32,
    pub root: PathBuf,
    /// The globals of `.preload`, which pages know as `app`.
    pub table: Table,
    /// The files of the app, as scripts see them.
    pub io: AnyUserData,
    /// Pages that have been asked for, by path.
    pub pages: RefCell<HashMap<String, Rc<Page>>>,
    pub directory: Rc<Directory>,
    /// To which all belongs that the app's scripts start.
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

    /// How error messages name a file of this app.
    pub fn file_name(&self, path: &str) -> String {
        if self.name.is_empty() { path.to_owned() } else { format!("{}/{path}", self.name) }
    }
}

fn uri(name: &str) -> String {
    if name.is_empty() { "/".into() } else { format!("/{name}/") }
}

/// Makes the app and runs its `.preload`; when that fails the app is forgotten again.
pub async fn load(world: &Rc<World>, place: Place, shared: Arc<Shared>) -> Result<AppId> {
    let path = place.path.clone();
    let state = Rc::new(State::new(&world.lua, place, shared).map_err(readable)?);
    let id = world.apps.new_id();
    world.apps.apps.borrow_mut().insert(id, state.clone());
    if let Err(error) = state.life.clone().scope(preload(&world.lua, &state, &path)).await {
        world.apps.apps.borrow_mut().remove(&id);
        end(world, &state).await;
        return Err(error);
    }
    Ok(id)
}

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

/// Forgets the app and calls its `onunload`: the server stops.
pub async fn unload(world: &Rc<World>, id: AppId) {
    let Some(state) = world.apps.apps.borrow_mut().remove(&id) else { return };
    state.life.clone().scope(run_onunload(&state)).await;
}

/// The same when the server goes on: all that the app's scripts have started ends.
pub async fn retire(world: &Rc<World>, id: AppId) {
    let Some(state) = world.apps.apps.borrow_mut().remove(&id) else { return };
    within(UNLOAD_TIME, &state.file_name("onunload"), state.life.clone().scope(run_onunload(&state))).await;
    end(world, &state).await;
}

async fn within(limit: Duration, what: &str, work: impl Future<Output = ()>) {
    if timeout(limit, work).await.is_err() {
        tracing::warn!("{what} takes too long; going on without it");
    }
}

async fn run_onunload(state: &State) {
    let Ok(Some(onunload)) = state.table.raw_get::<Option<Function>>("onunload") else { return };
    if let Err(error) = budget::call::<()>(&onunload, ()).await {
        console::report(&state.file_name("onunload"), &error);
    }
}

/// Ends what the app's scripts have started, and lets go of the scripts themselves.
async fn end(world: &World, state: &State) {
    within(UNLOAD_TIME, &state.file_name("onclose"), world.hubs.shut_down(&state.life)).await;
    state.life.end();
    world.hubs.forget(&state.life);
    state.directory.end();
    world.apps.server.end_children_of(&state.life);
    let forgotten = modules::forget(&world.lua, &state.root);
    // What has ended lets go of its sockets and responses, so that these end, too, when they are collected.
    tokio::task::yield_now().await;
    if let Err(error) = forgotten.and_then(|()| world.lua.gc_collect()) {
        console::report(&state.file_name("onunload"), &error);
    }
}
