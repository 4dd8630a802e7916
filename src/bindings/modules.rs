//! `require`: the built-in modules, and `mako.createloader` for an app's own.

use mlua::{AnyUserData, Lua, MultiValue, Result, Table, Value};

use super::args::Args;
use super::io::{self, LuaIo};

/// The built-in modules that are written in Lua.
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
    let package: Table = lua.globals().get("package")?;
    // Nothing is found in the working directory by accident; a script may still set a path of its own.
    package.set("path", "")?;
    package.set("cpath", "")?;
    for (name, source) in LUA_MODULES {
        let name: &'static str = name;
        let source: &'static str = source;
        register(lua, name, move |lua| lua.load(source).set_name(format!("=[{name}]")).eval())?;
    }
    lua.globals().set("mako", mako(lua)?)
}

/// Makes `require(name)` answer what `open` returns. It is called once, when a script first asks.
pub fn register(lua: &Lua, name: &str, open: impl Fn(&Lua) -> Result<Value> + 'static) -> Result<()> {
    lua.preload_module(name, lua.create_function(move |lua, _: MultiValue| open(lua))?)
}

fn mako(lua: &Lua) -> Result<Table> {
    let mako = lua.create_table()?;
    mako.set("createloader", lua.create_function(create_loader)?)?;
    mako.set("argv", lua.create_sequence_from(std::env::args_os().map(|arg| arg.to_string_lossy().into_owned()))?)?;
    let executable = std::env::current_exe().ok();
    let folder = executable.as_deref().and_then(|path| path.parent()).map(|path| path.to_string_lossy().into_owned());
    mako.set("execpath", folder)?;
    Ok(mako)
}

/// `mako.createloader(io)`: from now on `require"a.b"` also looks for `.lua/a/b.lua` in `io`.
fn create_loader(lua: &Lua, args: MultiValue) -> Result<()> {
    let args = Args::new(lua, "mako.createloader", args);
    let io = match args.value(1) {
        Value::UserData(io) if io.is::<LuaIo>() => io,
        other => return Err(args.mismatch(1, "io", "io object", &other)),
    };
    let search = lua.create_function(move |lua, name: String| search(lua, &io, &name))?;
    let searchers: Table = lua.globals().get::<Table>("package")?.get("searchers")?;
    searchers.push(search)
}

/// A loader that calls the module's chunk with the module's name alone, or why there is none.
fn search(lua: &Lua, io: &AnyUserData, name: &str) -> Result<Value> {
    let path = format!(".lua/{}.lua", name.replace('.', "/"));
    let source = match io.borrow::<LuaIo>()?.read(&path) {
        Ok(source) => source,
        Err(_) => return Ok(Value::String(lua.create_string(format!("no file '{path}' in the app"))?)),
    };
    let chunk = io::chunk(lua, &source, &path, None)?;
    let loader = lua.load("local chunk = ... return function(name) return chunk(name) end").set_name("=[smq]");
    Ok(Value::Function(loader.call(chunk)?))
}
