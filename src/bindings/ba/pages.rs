//! `ba.parselsp` and `ba.session`.

use std::rc::Rc;

use mlua::{IntoLuaMulti, Lua, MultiValue, Result, Table, Value};

use crate::bindings::args::Args;
use crate::lsp::compile::compile;
use crate::lua::World;

pub fn register(world: &Rc<World>, ba: &Table) -> Result<()> {
    ba.set("parselsp", world.lua.create_function(parselsp)?)?;
    let sessions = world.sessions.clone();
    let session = world.lua.create_function(move |lua, args: MultiValue| {
        let id = Args::new(lua, "ba.session", args).string(1, "id")?;
        Ok(sessions.peek(&id))
    })?;
    ba.set("session", session)
}

/// `ba.parselsp(text)`: a page as Lua source, to be loaded and called with `_ENV, pathname, io, page, app`; nil and a
/// message when it is no page.
fn parselsp(lua: &Lua, args: MultiValue) -> Result<MultiValue> {
    let text = Args::new(lua, "ba.parselsp", args).string(1, "text")?;
    match compile(&text) {
        Ok(source) => lua.create_string(source)?.into_lua_multi(lua),
        Err(error) => (Value::Nil, error.to_string()).into_lua_multi(lua),
    }
}
