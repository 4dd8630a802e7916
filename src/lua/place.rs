//! Where a script is, for messages to its author.

use mlua::Lua;
use mlua::debug::Debug;

/// `file:line` of the script that is running.
pub fn of_script(lua: &Lua) -> String {
    let place = |frame: &Debug| {
        let line = frame.current_line()?;
        Some(format!("{}:{line}", frame.source().short_src?))
    };
    // The innermost frames may be built-in code.
    let found = (0..8).map_while(|level| lua.inspect_stack(level, place)).flatten();
    found.into_iter().find(|place| !place.starts_with("[smq]")).unwrap_or_else(|| "a script".into())
}
