//! Checking the options that a script passes in a table: errors name the function, the argument, the field, what was
//! expected and what came.

use std::cell::RefCell;
use std::ops::RangeInclusive;

use mlua::{Error, Function, Result, Table, Value};

use super::args::{Args, is_truthy, kind, plain_text};
use crate::tls::client::Trust;

/// The options in one argument of a call.
pub struct Options<'args> {
    args: &'args Args<'args>,
    position: usize,
    /// What messages call the argument.
    name: &'static str,
    /// Without it none of the options is given.
    table: Option<Table>,
    /// The fields that were asked for.
    known: RefCell<Vec<&'static str>>,
}

impl<'args> Options<'args> {
    /// Of an argument that may be absent.
    pub fn optional(args: &'args Args<'args>, position: usize, name: &'static str) -> Result<Self> {
        Ok(Self::of(args, position, name, args.optional_table(position, name)?))
    }

    /// Of an argument that has to be there.
    pub fn required(args: &'args Args<'args>, position: usize, name: &'static str) -> Result<Self> {
        Ok(Self::of(args, position, name, Some(args.table(position, name)?)))
    }

    fn of(args: &'args Args<'args>, position: usize, name: &'static str, table: Option<Table>) -> Self {
        Self { args, position, name, table, known: RefCell::default() }
    }

    /// The option as it came; nil when it is absent.
    pub fn value(&self, field: &'static str) -> Result<Value> {
        self.known.borrow_mut().push(field);
        self.table.as_ref().map_or(Ok(Value::Nil), |table| table.get(field))
    }

    /// The text of something in an option, as [`plain_text`].
    pub fn plain_text(&self, value: &Value) -> Option<Vec<u8>> {
        plain_text(self.args.lua(), value)
    }

    /// A text; numbers are taken as their text, as in Lua's own library.
    pub fn text(&self, field: &'static str) -> Result<Option<Vec<u8>>> {
        let value = self.value(field)?;
        match self.plain_text(&value) {
            _ if value.is_nil() => Ok(None),
            Some(text) => Ok(Some(text)),
            None => Err(self.mismatch(field, "string", &value)),
        }
    }

    pub fn flag(&self, field: &'static str) -> Result<Option<bool>> {
        match self.value(field)? {
            Value::Nil => Ok(None),
            Value::Boolean(flag) => Ok(Some(flag)),
            other => Err(self.mismatch(field, "boolean", &other)),
        }
    }

    /// By what to trust the other end of a TLS connection: what `trusted` and `ca` say.
    pub fn trust(&self) -> Result<Trust> {
        Ok(match (self.flag("trusted")?, self.text("ca")?) {
            (Some(false), _) => Trust::Anybody,
            (_, Some(pem)) => Trust::Pem(pem),
            (_, None) => Trust::System,
        })
    }

    /// As Lua sees it: everything but nil and false is true.
    pub fn truth(&self, field: &'static str) -> Result<bool> {
        Ok(is_truthy(&self.value(field)?))
    }

    /// A whole number of something, such as bytes or milliseconds; a fraction is cut off.
    pub fn count(&self, field: &'static str) -> Result<Option<u64>> {
        match self.value(field)? {
            Value::Nil => Ok(None),
            Value::Integer(number) if number >= 0 => Ok(Some(number as u64)),
            Value::Number(number) if (0.0..1e15).contains(&number) => Ok(Some(number as u64)),
            other => Err(self.mismatch(field, "number not below 0", &other)),
        }
    }

    pub fn number_in(&self, field: &'static str, range: RangeInclusive<f64>) -> Result<Option<f64>> {
        let number = match self.value(field)? {
            Value::Nil => return Ok(None),
            Value::Integer(number) => number as f64,
            Value::Number(number) => number,
            other => return Err(self.mismatch(field, "number", &other)),
        };
        if range.contains(&number) {
            return Ok(Some(number));
        }
        Err(self.refuse(field, &format!("{}..{} expected, got {number}", range.start(), range.end())))
    }

    pub fn function(&self, field: &'static str) -> Result<Option<Function>> {
        match self.value(field)? {
            Value::Nil => Ok(None),
            Value::Function(function) => Ok(Some(function)),
            other => Err(self.mismatch(field, "function", &other)),
        }
    }

    pub fn table(&self, field: &'static str) -> Result<Option<Table>> {
        match self.value(field)? {
            Value::Nil => Ok(None),
            Value::Table(table) => Ok(Some(table)),
            other => Err(self.mismatch(field, "table", &other)),
        }
    }

    /// Logs a warning of each field that nobody has asked for. It is most likely misspelt, and what it was to do, such as
    /// to keep strangers out, is not done. An app that means it for another server still runs.
    pub fn warn_of_unknown(&self) -> Result<()> {
        let Some(table) = &self.table else { return Ok(()) };
        for pair in table.pairs::<Value, Value>() {
            let Some(field) = self.plain_text(&pair?.0) else { continue };
            let field = String::from_utf8_lossy(&field);
            if !self.known.borrow().iter().any(|known| *known == field) {
                self.args.warn(&format!("there is no option '{field}'; it is ignored"));
            }
        }
        Ok(())
    }

    /// The error for an option of the wrong type.
    pub fn mismatch(&self, field: &str, expected: &str, got: &Value) -> Error {
        self.refuse(field, &format!("{expected} expected, got {}", kind(got)))
    }

    /// The error for an option of the right type that will not do, for the reason `why`.
    pub fn refuse(&self, field: &str, why: &str) -> Error {
        self.args.refuse(self.position, self.name, &format!("field '{field}': {why}"))
    }
}
