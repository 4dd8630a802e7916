//! `ba.openio`.

use std::path::PathBuf;
use std::rc::Rc;

use mlua::{MultiValue, Table};

use crate::bindings::args::Args;
use crate::bindings::built_in;
use crate::bindings::io::LuaIo;
use crate::lua::World;

/// `ba.openio(name)`: the files of the working directory (`home`), of the whole machine (`disk`), or those that are part of
/// the program (`vm`, read-only); nil otherwise.
pub fn register(world: &Rc<World>, ba: &Table) -> mlua::Result<()> {
    let openio = world.lua.create_function(|lua, args: MultiValue| {
        let name = Args::new(lua, "ba.openio", args).text(1, "name")?;
        Ok(root(&name).map(LuaIo::new))
    })?;
    ba.set("openio", openio)
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
