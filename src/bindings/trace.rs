//! `trace`, `tracep`, the console's `print`, and the harmless part of Lua's `debug` library.

use mlua::debug::Debug;
use mlua::{Function, Lua, MultiValue, Result, Value, Variadic};

use super::args::{Args, is_truthy};
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
    let with_prefix = is_truthy(&with_prefix);
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

/// `debug.traceback([message[, level]])`; a message that is no string is returned as it is. Of another coroutine, which may
/// be named first, only the message is shown: its frames cannot be seen from here.
fn traceback(lua: &Lua, args: MultiValue) -> Result<Value> {
    let args = Args::new(lua, "debug.traceback", args);
    let of_another = matches!(args.value(1), Value::Thread(_));
    let first = if of_another { 2 } else { 1 };
    let message = match args.value(first) {
        Value::Nil => None,
        Value::String(text) => Some(text.to_string_lossy()),
        number @ (Value::Integer(_) | Value::Number(_)) => Some(console::join(lua, [number])),
        other => return Ok(other),
    };
    if of_another {
        let line = message.map_or_else(String::new, |message| message + "\n");
        return lua.create_string(format!("{line}stack traceback:\n\t(of another coroutine)")).map(Value::String);
    }
    let level = if args.is_absent(2) { 1 } else { level(&args, 2)? };
    lua.traceback(message.as_deref(), level).map(Value::String)
}

fn level(args: &Args, position: usize) -> Result<usize> {
    // The range fits by far.
    args.integer_in(position, "level", 0..=i64::from(i32::MAX)).map(|level| level as usize)
}

/// `debug.getinfo(level)` and `debug.getinfo(f)`: what is known of a running function, or of any; nil above the stack's end.
/// All fields but `func` are there, whichever are asked for: with functions from the stack a script could call what belongs
/// to the server.
fn getinfo(lua: &Lua, args: MultiValue) -> Result<Option<mlua::Table>> {
    let args = Args::new(lua, "debug.getinfo", args);
    if let Value::Function(function) = args.value(1) {
        return function_info(lua, &function).map(Some);
    }
    let running = |frame: &Debug| -> Result<mlua::Table> {
        let (info, names) = (function_info(lua, &frame.function())?, frame.names());
        info.set("currentline", line_number(frame.current_line()))?;
        info.set("name", names.name.as_deref())?;
        info.set("namewhat", names.name_what.unwrap_or_default())?;
        Ok(info)
    };
    lua.inspect_stack(level(&args, 1)?, running).transpose()
}

/// What is known of a function, whether it runs or not.
fn function_info(lua: &Lua, function: &Function) -> Result<mlua::Table> {
    let (info, known) = (lua.create_table()?, function.info());
    info.set("source", known.source)?;
    info.set("short_src", known.short_src)?;
    info.set("what", known.what)?;
    info.set("currentline", -1)?;
    info.set("linedefined", line_number(known.line_defined))?;
    info.set("lastlinedefined", line_number(known.last_line_defined))?;
    info.set("namewhat", "")?;
    info.set("nups", known.num_upvalues)?;
    info.set("nparams", known.num_params)?;
    info.set("isvararg", known.is_vararg)?;
    Ok(info)
}

/// -1 where there is none, as in Lua.
fn line_number(line: Option<usize>) -> i64 {
    line.map_or(-1, |line| line as i64)
}
