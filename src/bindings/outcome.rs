//! What a function gives a script that may fail for reasons of the world.

use mlua::{IntoLua, IntoLuaMulti, Lua, MultiValue, Result, Value};

/// The values alone, so that a call may stand among other arguments; or nil and why there are none.
pub fn outcome<T: IntoLuaMulti, W: IntoLua>(lua: &Lua, result: std::result::Result<T, W>) -> Result<MultiValue> {
    match result {
        Ok(values) => values.into_lua_multi(lua),
        Err(why) => (Value::Nil, why).into_lua_multi(lua),
    }
}
