//! Errors for wrong arguments of functions that take plain values instead of [`Args`](crate::bindings::args::Args).

use mlua::{Lua, Value};

/// The error for a wrong argument: names the function, the argument, what was expected and what came. `position` counts
/// from 1.
pub fn bad(function: &str, position: usize, expected: &str, came: &Value) -> mlua::Error {
    let came = match came {
        Value::Nil => "nil or nothing".to_owned(),
        Value::Integer(number) => number.to_string(),
        Value::Number(number) => number.to_string(),
        other => other.type_name().to_owned(),
    };
    mlua::Error::runtime(format!("bad argument #{position} to '{function}' ({expected} expected, got {came})"))
}

/// An integer, or a float or string that can be converted to one without loss.
pub fn integer(lua: &Lua, function: &str, position: usize, value: &Value) -> mlua::Result<i64> {
    let number = lua.coerce_integer(value.clone()).ok().flatten();
    number.ok_or_else(|| bad(function, position, "integer", value))
}
