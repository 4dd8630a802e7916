//! `ba.json`: tables to JSON and back.
//!
//! The parser is our own and reads straight into Lua tables. Apps rely on a certain mix of extensions, such as comments
//! and single quotes (see [`decode()`]), which no maintained crate has.

mod decode;
mod encode;
#[cfg(test)]
mod tests;

use std::rc::Rc;

use mlua::{IntoLuaMulti, Lua, LuaString, MultiValue, Table, Value};

use crate::bindings::args::Args;
use crate::lua::World;

pub use decode::Reason;

/// How deep tables may be nested. The limit keeps input from exhausting the stack; it is the same for both directions,
/// so that what was encoded can be decoded.
const MAX_DEPTH: usize = 128;

/// Adds `json` to the table `ba`.
pub fn register(world: &Rc<World>, ba: &Table) -> mlua::Result<()> {
    ba.raw_set("json", library(&world.lua)?)
}

fn library(lua: &Lua) -> mlua::Result<Table> {
    let json = lua.create_table()?;
    json.raw_set("null", Value::NULL)?;
    json.raw_set("encode", lua.create_function(encode_all)?)?;
    json.raw_set("decode", lua.create_function(decode_all)?)?;
    Ok(json)
}

/// Writes a table as JSON. Lua code never runs (no metamethods).
///
/// A table with `[1]` is an array of its sequence part, any other an object; an empty one is `{}`. Functions, cycles, NaN
/// and infinities become null, and bytes that are not UTF-8 become U+FFFD, so the result is always valid JSON.
///
/// # Errors
/// When tables are nested deeper than 128.
pub fn encode(table: &Table) -> mlua::Result<Vec<u8>> {
    encode::Encoder::default().encode(table)
}

/// Reads text that holds exactly one object or array.
///
/// Beyond the standard it takes comments (`//` and `/* */`, not after the end), a comma after the last member of an
/// object, single quotes, raw control characters in strings, and leading zeros. Integers that fit are Lua integers, all
/// other numbers floats; null is `ba.json.null`.
pub fn decode(lua: &Lua, text: &[u8]) -> Result<Value, Reason> {
    let mut decoder = decode::Decoder::new(lua, text);
    let value = decoder.document()?;
    if decoder.is_at_end() { Ok(value) } else { Err(Reason::Parse) }
}

/// `ba.json.encode(t, ...)`: several tables are written one after the other.
fn encode_all(lua: &Lua, args: MultiValue) -> mlua::Result<LuaString> {
    let args = Args::new(lua, "ba.json.encode", args);
    let mut text = encode(&args.table(1, "table")?)?;
    for position in 2..=args.count() {
        text.extend(encode(&args.table(position, "table")?)?);
    }
    lua.create_string(text)
}

/// `ba.json.decode(s)`: all objects and arrays of the text, or nil and the reason.
fn decode_all(lua: &Lua, args: MultiValue) -> mlua::Result<MultiValue> {
    let text = Args::new(lua, "ba.json.decode", args).string(1, "text")?;
    match documents(lua, &text) {
        Ok(values) => Ok(MultiValue::from_vec(values)),
        Err(Reason::Lua(error)) => Err(error),
        Err(reason) => (Value::Nil, reason.to_string()).into_lua_multi(lua),
    }
}

fn documents(lua: &Lua, text: &[u8]) -> Result<Vec<Value>, Reason> {
    let mut decoder = decode::Decoder::new(lua, text);
    let mut values = vec![decoder.document()?];
    while !decoder.is_at_end() {
        if values.len() == MAX_DOCUMENTS {
            return Err(Reason::Parse);
        }
        values.push(decoder.document()?);
    }
    Ok(values)
}

/// Values that one call of `ba.json.decode` may return; more would not fit on Lua's stack.
const MAX_DOCUMENTS: usize = 4096;
