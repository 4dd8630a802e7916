//! Checking what a script passes to a function: errors name the function, the argument, what was expected and what came.

use std::borrow::Cow;
use std::time::Duration;

use mlua::{Error, Function, Integer, Lua, MultiValue, Number, Result, Table, UserDataRef, Value};

use crate::lua::place;

/// Characters of a text that messages show.
const MAX_SHOWN: usize = 500;

/// The arguments of one call. Positions count from 1, as script authors do.
pub struct Args<'lua> {
    lua: &'lua Lua,
    function: &'static str,
    values: MultiValue,
}

impl<'lua> Args<'lua> {
    /// `function` is the name that error messages show, such as `response:setheader`.
    pub fn new(lua: &'lua Lua, function: &'static str, values: MultiValue) -> Self {
        Self { lua, function, values }
    }

    pub fn lua(&self) -> &'lua Lua {
        self.lua
    }

    /// The argument as it came; nil when it is absent.
    pub fn value(&self, position: usize) -> Value {
        self.values.get(position - 1).cloned().unwrap_or(Value::Nil)
    }

    /// How many arguments there are, nils in between included.
    pub fn count(&self) -> usize {
        self.values.len()
    }

    /// Whether the argument is missing or nil.
    pub fn is_absent(&self, position: usize) -> bool {
        self.value(position).is_nil()
    }

    /// A string; numbers are taken as their text, as in Lua's own library.
    pub fn string(&self, position: usize, name: &str) -> Result<Vec<u8>> {
        let value = self.value(position);
        match plain_text(self.lua, &value) {
            Some(text) => Ok(text),
            None => Err(self.mismatch(position, name, "string", &value)),
        }
    }

    /// A string that is readable as UTF-8 text; other bytes are replaced by U+FFFD.
    pub fn text(&self, position: usize, name: &str) -> Result<String> {
        self.string(position, name).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    pub fn optional_string(&self, position: usize, name: &str) -> Result<Option<Vec<u8>>> {
        if self.is_absent(position) { Ok(None) } else { self.string(position, name).map(Some) }
    }

    pub fn optional_text(&self, position: usize, name: &str) -> Result<Option<String>> {
        if self.is_absent(position) { Ok(None) } else { self.text(position, name).map(Some) }
    }

    /// An integer, a float without fraction, or a string that reads as one of them, as in Lua's own library: what a form
    /// sends is a string.
    pub fn integer(&self, position: usize, name: &str) -> Result<Integer> {
        let value = self.value(position);
        match self.lua.coerce_integer(value.clone())? {
            Some(number) => Ok(number),
            None => Err(self.mismatch(position, name, "integer", &value)),
        }
    }

    pub fn optional_integer(&self, position: usize, name: &str) -> Result<Option<Integer>> {
        if self.is_absent(position) { Ok(None) } else { self.integer(position, name).map(Some) }
    }

    /// A number, or a string that reads as one.
    pub fn number(&self, position: usize, name: &str) -> Result<Number> {
        let value = self.value(position);
        match self.lua.coerce_number(value.clone())? {
            Some(number) => Ok(number),
            None => Err(self.mismatch(position, name, "number", &value)),
        }
    }

    /// A time to wait, in milliseconds. NaN and negative times are no time; what is too great is the greatest there is.
    pub fn milliseconds(&self, position: usize) -> Result<Duration> {
        Ok(Duration::from_millis(self.number(position, "milliseconds")? as u64))
    }

    /// An integer in `range`.
    pub fn integer_in(&self, position: usize, name: &str, range: std::ops::RangeInclusive<Integer>) -> Result<Integer> {
        let number = self.integer(position, name)?;
        if range.contains(&number) {
            return Ok(number);
        }
        let expected = match (range.start(), range.end()) {
            (least, &Integer::MAX) => format!("at least {least}"),
            (least, most) => format!("{least}..{most}"),
        };
        Err(self.refuse(position, name, &format!("{expected} expected, got {number}")))
    }

    /// As Lua sees it: everything but nil and false is true.
    pub fn truth(&self, position: usize) -> bool {
        is_truthy(&self.value(position))
    }

    pub fn function(&self, position: usize, name: &str) -> Result<Function> {
        match self.value(position) {
            Value::Function(function) => Ok(function),
            other => Err(self.mismatch(position, name, "function", &other)),
        }
    }

    pub fn table(&self, position: usize, name: &str) -> Result<Table> {
        match self.value(position) {
            Value::Table(table) => Ok(table),
            other => Err(self.mismatch(position, name, "table", &other)),
        }
    }

    pub fn optional_table(&self, position: usize, name: &str) -> Result<Option<Table>> {
        if self.is_absent(position) { Ok(None) } else { self.table(position, name).map(Some) }
    }

    /// An object of this type, which messages call `expected`.
    pub fn object<T: 'static>(&self, position: usize, name: &str, expected: &str) -> Result<UserDataRef<T>> {
        let value = self.value(position);
        let object = value.as_userdata().and_then(|data| data.borrow::<T>().ok());
        object.ok_or_else(|| self.mismatch(position, name, expected, &value))
    }

    /// The error for an argument of the wrong type.
    pub fn mismatch(&self, position: usize, name: &str, expected: &str, got: &Value) -> Error {
        let is_absent = position > self.values.len();
        let got = if is_absent { Cow::Borrowed("no value") } else { kind(got) };
        self.refuse(position, name, &format!("{expected} expected, got {got}"))
    }

    /// The error for an argument of the right type that will not do, for the reason `why`.
    pub fn refuse(&self, position: usize, name: &str, why: &str) -> Error {
        Error::runtime(format!("bad argument #{position} '{name}' to '{}' ({})", self.function, brief(why)))
    }

    /// Logs what is odd about a call that is carried out all the same.
    pub fn warn(&self, what: &str) {
        tracing::warn!(target: "lua", "{}: {}: {}", place::of_script(self.lua), self.function, brief(what));
    }
}

/// The error for a method that got something else in the place of its `object`, most likely since it was called with a dot.
pub fn no_object(method: &str, object: &str) -> Error {
    Error::runtime(format!("{method}: call it with a colon, on {object}"))
}

/// The beginning of a text that may be a script's or a client's, and of any length, for a message that people read.
pub fn brief(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(MAX_SHOWN) {
        None => Cow::Borrowed(text),
        Some((end, _)) => Cow::Owned(format!("{}...", &text[..end])),
    }
}

/// What messages call a value: its type, or a number itself, since some numbers may be expected and others not.
pub fn kind(value: &Value) -> Cow<'static, str> {
    match value {
        Value::Integer(number) => Cow::Owned(number.to_string()),
        Value::Number(number) => Cow::Owned(number.to_string()),
        other => Cow::Borrowed(other.type_name()),
    }
}

/// Whether a condition in Lua takes the value as true: everything but nil and false.
pub fn is_truthy(value: &Value) -> bool {
    !matches!(value, Value::Nil | Value::Boolean(false))
}

/// The text of a string or number, numbers as Lua writes them; `None` for all else.
pub fn plain_text(lua: &Lua, value: &Value) -> Option<Vec<u8>> {
    match value {
        Value::String(text) => Some(text.as_bytes().to_vec()),
        Value::Integer(number) => Some(number.to_string().into_bytes()),
        // Only a number's text can be missing here, for want of memory.
        Value::Number(_) => lua.coerce_string(value.clone()).ok().flatten().map(|text| text.as_bytes().to_vec()),
        _ => None,
    }
}
