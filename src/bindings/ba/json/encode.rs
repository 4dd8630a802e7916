//! Lua tables to JSON text.

use std::ffi::c_void;
use std::io::Write;

use mlua::{Table, Value};

use super::MAX_DEPTH;

#[derive(Default)]
pub struct Encoder {
    text: Vec<u8>,
    /// The tables around the current value, by address: one that comes again is a cycle.
    path: Vec<*const c_void>,
}

impl Encoder {
    pub fn encode(mut self, table: &Table) -> mlua::Result<Vec<u8>> {
        self.table(table)?;
        Ok(self.text)
    }

    fn value(&mut self, value: &Value) -> mlua::Result<()> {
        match value {
            Value::Boolean(value) => self.display(value),
            Value::Integer(value) => self.display(value),
            Value::Number(value) => self.float(*value),
            Value::String(value) => self.string(&value.as_bytes()),
            Value::Table(value) => self.table(value)?,
            _ => self.null(),
        }
        Ok(())
    }

    fn table(&mut self, table: &Table) -> mlua::Result<()> {
        let address = table.to_pointer();
        if self.path.contains(&address) {
            self.null();
            return Ok(());
        }
        if self.path.len() == MAX_DEPTH {
            return Err(mlua::Error::runtime(format!("ba.json.encode: tables are nested deeper than {MAX_DEPTH}")));
        }
        self.path.push(address);
        let is_array = !table.raw_get::<Value>(1)?.is_nil();
        if is_array {
            self.array(table)?
        } else {
            self.object(table)?
        }
        self.path.pop();
        Ok(())
    }

    fn array(&mut self, table: &Table) -> mlua::Result<()> {
        for index in 1..=table.raw_len() {
            self.text.push(if index == 1 { b'[' } else { b',' });
            self.value(&table.raw_get(index)?)?;
        }
        self.text.push(b']');
        Ok(())
    }

    fn object(&mut self, table: &Table) -> mlua::Result<()> {
        let mut separator = b'{';
        for pair in table.pairs::<Value, Value>() {
            let (key, value) = pair?;
            // JSON has no name for the others.
            if !matches!(key, Value::String(_) | Value::Integer(_) | Value::Number(_)) {
                continue;
            }
            self.text.push(separator);
            separator = b',';
            match &key {
                Value::String(name) => self.string(&name.as_bytes()),
                number => self.string(number.to_string()?.as_bytes()),
            }
            self.text.push(b':');
            self.value(&value)?;
        }
        if separator == b'{' {
            self.text.push(separator);
        }
        self.text.push(b'}');
        Ok(())
    }

    /// The shortest form that reads back as the same number; without `.0`.
    fn float(&mut self, value: f64) {
        if !value.is_finite() {
            return self.null();
        }
        self.display(format_args!("{value:?}"));
        if self.text.ends_with(b".0") {
            self.text.truncate(self.text.len() - 2);
        }
    }

    fn string(&mut self, bytes: &[u8]) {
        self.text.push(b'"');
        for chunk in bytes.utf8_chunks() {
            self.escaped(chunk.valid().as_bytes());
            if !chunk.invalid().is_empty() {
                self.display(char::REPLACEMENT_CHARACTER);
            }
        }
        self.text.push(b'"');
    }

    /// The slash is escaped, too: JSON may stand in a `<script>` of a page, which `</script>` would end.
    fn escaped(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while let Some(at) = rest.iter().position(|byte| matches!(byte, 0..=31 | b'"' | b'\\' | b'/')) {
            self.text.extend_from_slice(&rest[..at]);
            match rest[at] {
                b'\n' => self.text.extend_from_slice(b"\\n"),
                b'\r' => self.text.extend_from_slice(b"\\r"),
                b'\t' => self.text.extend_from_slice(b"\\t"),
                control @ 0..=31 => self.display(format_args!("\\u{control:04x}")),
                byte => self.text.extend_from_slice(&[b'\\', byte]),
            }
            rest = &rest[at + 1..];
        }
        self.text.extend_from_slice(rest);
    }

    fn null(&mut self) {
        self.text.extend_from_slice(b"null");
    }

    fn display(&mut self, value: impl std::fmt::Display) {
        // Writing to a vector cannot fail.
        let _ = write!(self.text, "{value}");
    }
}
