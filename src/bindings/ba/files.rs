//! `ba.openio` and `ba.mkio`.

use std::path::PathBuf;
use std::rc::Rc;

use mlua::{IntoLua, Lua, MultiValue, Result, Table, Value};

use crate::bindings::args::Args;
use crate::bindings::built_in;
use crate::bindings::io::{self, LuaIo};
use crate::lua::World;

pub fn register(world: &Rc<World>, ba: &Table) -> Result<()> {
    ba.set("openio", world.lua.create_function(openio)?)?;
    ba.set("mkio", world.lua.create_function(mkio)?)
}

/// `ba.openio(name)`: an `io` object for the working directory (`home`), the whole machine (`disk`), the files that are
/// built into the program (`vm`, read-only), or web servers (`net`, read-only); nil for any other name.
fn openio(lua: &Lua, args: MultiValue) -> Result<Value> {
    let name = Args::new(lua, "ba.openio", args).text(1, "name")?;
    if name == "net" {
        return lua.load(include_str!("../../../lua/internal/netio.lua")).set_name("=[smq]").eval();
    }
    root(&name).map(LuaIo::new).into_lua(lua)
}

/// `ba.mkio(io, folder)`: the files below a folder of `io`; or nil and the error's name.
fn mkio(lua: &Lua, args: MultiValue) -> Result<MultiValue> {
    let args = Args::new(lua, "ba.mkio", args);
    let above = args.object::<LuaIo>(1, "io", "io object")?;
    io::answer(lua, above.below(&args.text(2, "folder")?))
}

fn root(name: &str) -> Option<PathBuf> {
    match name {
        "home" => std::env::current_dir().and_then(std::fs::canonicalize).ok(),
        "disk" => Some(PathBuf::from("/")),
        "vm" => match built_in::folder() {
            Ok(folder) => Some(folder),
            Err(error) => {
                tracing::warn!(%error, "ba.openio: the built-in files cannot be written to a temporary folder");
                None
            }
        },
        _ => None,
    }
}
