//! `trace`, `tracep`, the console's `print`, and the harmless part of Lua's `debug` library.

use mlua::debug::Debug;
use mlua::{Lua, Result, Value, Variadic};

use super::console;

/// `tracep` calls with a greater number are only shown when debug output is on.
const DEFAULT_PRIORITY: i64 = 5;

pub fn install(lua: &Lua) -> Result<()> {
    let globals = lua.globals();
    globals.set(
        "print",
        lua.create_function(|lua, values: Variadic<Value>| {
            console::line(&console::join(lua, values));
            Ok(())
        })?,
    )?;
    globals.set(
        "trace",
        lua.create_function(|lua, values: Variadic<Value>| {
            console::line(&format!("{}: {}", caller(lua), console::join(lua, values)));
            Ok(())
        })?,
    )?;
    globals.set("tracep", lua.create_function(tracep)?)?;
    globals.set("debug", debug_library(lua)?)
}

/// `tracep(withprefix, priority, ...)`: like `trace`; the prefix and the priority are the caller's to choose.
fn tracep(lua: &Lua, (with_prefix, priority, values): (Value, Value, Variadic<Value>)) -> Result<()> {
    let text = console::join(lua, values);
    let with_prefix = !matches!(with_prefix, Value::Nil | Value::Boolean(false));
    let text = if with_prefix { format!("{}: {text}", caller(lua)) } else { text };
    if priority.as_integer().unwrap_or(DEFAULT_PRIORITY) <= DEFAULT_PRIORITY {
        console::line(&text);
    } else {
        tracing::debug!(target: "lua", "{text}");
    }
    Ok(())
}

/// `function line` of whoever called the running Rust function; only the line at the top level of a file.
fn caller(lua: &Lua) -> String {
    let place = |frame: &Debug| {
        let line = frame.current_line().unwrap_or(0);
        let name = frame.names().name.filter(|_| frame.source().what != "main").map(|name| name.into_owned());
        name.map_or_else(|| line.to_string(), |name| format!("{name} {line}"))
    };
    lua.inspect_stack(1, place).unwrap_or_else(|| "?".into())
}

/// `debug.traceback` and `debug.getinfo`. The rest of that library can break the interpreter, so it is left out.
fn debug_library(lua: &Lua) -> Result<mlua::Table> {
    let library = lua.create_table()?;
    library.set("traceback", lua.create_function(traceback)?)?;
    library.set("getinfo", lua.create_function(getinfo)?)?;
    Ok(library)
}

/// `debug.traceback([message[, level]])`; a message that is no string is returned as it is.
fn traceback(lua: &Lua, (message, level): (Value, Option<usize>)) -> Result<Value> {
    let message = match message {
        Value::Nil => None,
        Value::String(text) => Some(text.to_string_lossy()),
        Value::Integer(_) | Value::Number(_) => Some(console::join(lua, [message])),
        other => return Ok(other),
    };
    lua.traceback(message.as_deref(), level.unwrap_or(1)).map(Value::String)
}

/// `debug.getinfo(level)`: name, source and lines of a running function; nil above the stack's end.
fn getinfo(lua: &Lua, level: usize) -> Result<Option<mlua::Table>> {
    let info = lua.create_table()?;
    let fill = |frame: &Debug| -> Result<()> {
        let source = frame.source();
        info.set("currentline", frame.current_line().map_or(-1, |line| line as i64))?;
        info.set("name", frame.names().name.map(|name| name.into_owned()))?;
        info.set("source", source.source.as_deref())?;
        info.set("short_src", source.short_src.as_deref())?;
        info.set("linedefined", source.line_defined)?;
        info.set("what", source.what)
    };
    lua.inspect_stack(level, fill).transpose().map(|found| found.map(|()| info))
}
