//! Where a script is, for messages to its author.

use mlua::Lua;
use mlua::debug::Debug;

/// `file:line` of the script that is running.
pub fn of_script(lua: &Lua) -> String {
    // The innermost frames may be built-in code.
    (0..8).find_map(|level| at(lua, level)).unwrap_or_else(|| "a script".into())
}

/// `file:line` of a function that is running, by its level on the stack; `None` where it is none of a script's.
pub fn at(lua: &Lua, level: usize) -> Option<String> {
    let place = |frame: &Debug| {
        let line = frame.current_line()?;
        Some(format!("{}:{line}", frame.source().short_src?))
    };
    lua.inspect_stack(level, place).flatten().filter(|place| !place.starts_with("[smq]"))
}
