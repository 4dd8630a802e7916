//! `require`: the built-in modules, and `mako.createloader` for an app's own.

use std::path::{Path, PathBuf};

use mlua::{AnyUserData, Function, Lua, MultiValue, Result, Table, Value};

use super::args::Args;
use super::coroutine;
use super::io::{self, LuaIo};
use crate::lua::place;

/// The built-in modules that are written in Lua. Each gets [`coroutine::attempt`].
const LUA_MODULES: &[(&str, &str)] = &[
    ("http", include_str!("../../lua/http.lua")),
    ("httpm", "return require'http'"),
    ("smq.client", include_str!("../../lua/client/client.lua")),
    ("smq.client.link", include_str!("../../lua/client/link.lua")),
    ("smq.broker", include_str!("../../lua/broker.lua")),
    ("rwfile", include_str!("../../lua/rwfile.lua")),
    ("serpent", include_str!("../../lua/serpent.lua")),
];

pub fn install(lua: &Lua) -> Result<()> {
    lua.set_app_data(Loaders::default());
    let package: Table = lua.globals().get("package")?;
    // Nothing is found in the working directory by accident; a script may still set a path of its own.
    package.set("path", "")?;
    package.set("cpath", "")?;
    // Those after the first two look for modules written in C, which are not loaded.
    let searchers = searchers(lua)?;
    for index in (3..=searchers.raw_len()).rev() {
        searchers.raw_remove(index)?;
    }
    // As errors begin.
    let place = |lua: &Lua, level| Ok(place::at(lua, level).map_or_else(String::new, |place| place + ": "));
    let place = lua.create_function(place)?;
    lua.load(include_str!("../../lua/internal/require.lua")).set_name("=[smq]").call::<()>(place)?;
    for (name, source) in LUA_MODULES {
        let name: &'static str = name;
        let source: &'static str = source;
        register(lua, name, move |lua| lua.load(source).set_name(format!("=[{name}]")).call(coroutine::attempt(lua)?))?;
    }
    Ok(())
}

/// Makes `require(name)` answer what `open` returns. It is called once, when a script first asks.
pub fn register(lua: &Lua, name: &str, open: impl Fn(&Lua) -> Result<Value> + 'static) -> Result<()> {
    lua.preload_module(name, lua.create_function(move |lua, _: MultiValue| open(lua))?)
}

/// `mako.createloader(io)`: from now on `require"a.b"` also looks for `.lua/a/b.lua` in `io`.
pub fn create_loader(lua: &Lua, args: MultiValue) -> Result<()> {
    let args = Args::new(lua, "mako.createloader", args);
    let io = match args.value(1) {
        Value::UserData(io) if io.is::<LuaIo>() => io,
        other => return Err(args.mismatch(1, "io", "io object", &other)),
    };
    let root = io.borrow::<LuaIo>()?.root().to_owned();
    let search = lua.create_function(move |lua, name: String| search(lua, &io, &name))?;
    searchers(lua)?.push(&search)?;
    if let Some(mut loaders) = lua.app_data_mut::<Loaders>() {
        loaders.warn_of_namesakes(&root);
        loaders.0.push(Loader { root, search, names: Vec::new() });
    }
    Ok(())
}

fn searchers(lua: &Lua) -> Result<Table> {
    lua.globals().get::<Table>("package")?.get("searchers")
}

/// A searcher that an app has added, and the names of the modules that it found.
struct Loader {
    root: PathBuf,
    search: Function,
    names: Vec<String>,
}

/// All that were added; app data of each Lua state.
#[derive(Default)]
struct Loaders(Vec<Loader>);

impl Loaders {
    /// The app in `root` has this module, and it is about to be loaded.
    fn note(&mut self, root: &Path, name: &str) {
        if self.0.iter().any(|loader| loader.root == root && loader.names.iter().any(|known| known == name)) {
            return;
        }
        for other in self.0.iter().filter(|other| other.root != root) {
            warn_of_namesake(name, root, &other.root);
        }
        for loader in self.0.iter_mut().filter(|loader| loader.root == root) {
            loader.names.push(name.to_owned());
        }
    }

    /// Looks in an app that has just come for modules that others have loaded.
    fn warn_of_namesakes(&self, root: &Path) {
        for loader in self.0.iter().filter(|loader| loader.root != root) {
            loader.names.iter().for_each(|name| warn_of_namesake(name, &loader.root, root));
        }
    }
}

/// All apps share what is loaded: of modules with the same name, every script gets the one that was loaded first.
fn warn_of_namesake(name: &str, loaded: &Path, root: &Path) {
    let path = file(name);
    if root.join(&path).is_file() {
        tracing::warn!(
            "require\"{name}\" loads {path} of {}, for all apps; that of {} is not used",
            loaded.display(),
            root.display()
        );
    }
}

/// Where an app has its module of this name.
fn file(name: &str) -> String {
    format!(".lua/{}.lua", name.replace('.', "/"))
}

/// Forgets the modules that the app in `root` has loaded, and its way to load them, so that it can be loaded anew.
pub fn forget(lua: &Lua, root: &Path) -> Result<()> {
    let gone: Vec<Loader> = match lua.app_data_mut::<Loaders>() {
        Some(mut loaders) => loaders.0.extract_if(.., |loader| loader.root == root).collect(),
        None => return Ok(()),
    };
    let loaded: Table = lua.globals().get::<Table>("package")?.get("loaded")?;
    let searchers = searchers(lua)?;
    for loader in gone {
        for name in loader.names {
            loaded.set(name, Value::Nil)?;
        }
        for index in (1..=searchers.raw_len()).rev() {
            if searchers.get::<Value>(index)? == Value::Function(loader.search.clone()) {
                searchers.raw_remove(index)?;
            }
        }
    }
    Ok(())
}

/// A loader that calls the module's chunk with the module's name alone, or why there is none.
fn search(lua: &Lua, io: &AnyUserData, name: &str) -> Result<Value> {
    let path = file(name);
    let source = match io.borrow::<LuaIo>()?.read(&path) {
        Ok(source) => source,
        Err(_) => return Ok(Value::String(lua.create_string(format!("no file '{path}' in the app"))?)),
    };
    if let Some(mut loaders) = lua.app_data_mut::<Loaders>() {
        loaders.note(io.borrow::<LuaIo>()?.root(), name);
    }
    let chunk = io::chunk(lua, &source, &path, None)?;
    let loader = lua.load("local chunk = ... return function(name) return chunk(name) end").set_name("=[smq]");
    Ok(Value::Function(loader.call(chunk)?))
}
