//! `file:read`.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};

use mlua::{IntoLuaMulti, Lua, MultiValue, Result, Value};

use super::file::LuaFile;
use crate::bindings::args::Args;

/// What is to be read.
#[derive(Clone, Copy)]
enum What {
    /// So many bytes, or fewer at the end of the file.
    Count(u64),
    /// The rest of the file.
    All,
    /// A line, with or without its line break.
    Line { has_end: bool },
}

/// `file:read(n)`: up to `n` bytes; `file:read"l"`: a line; `file:read"L"`: a line with its line break; each nil at the
/// end. `file:read"a"` or `file:read()`: the rest, `""` at the end.
pub fn read(lua: &Lua, this: &LuaFile, args: MultiValue) -> Result<MultiValue> {
    let what = what(&Args::new(lua, "file:read", args))?;
    let mut data = Vec::new();
    let outcome = this.with(lua, |file| take(file, what, &mut data))?;
    match outcome.front() {
        Some(Value::Boolean(true)) => lua.create_string(&data)?.into_lua_multi(lua),
        Some(Value::Boolean(false)) => Value::Nil.into_lua_multi(lua),
        _ => Ok(outcome),
    }
}

fn what(args: &Args) -> Result<What> {
    if args.is_absent(1) {
        return Ok(What::All);
    }
    if matches!(args.value(1), Value::Integer(_) | Value::Number(_)) {
        return Ok(What::Count(args.integer_in(1, "count", 0..=i64::MAX)? as u64));
    }
    let format = args.text(1, "format")?;
    // As in Lua's own library, only the first letter counts, and the asterisk of older versions may stand before it.
    match format.strip_prefix('*').unwrap_or(&format).chars().next() {
        Some('a') => Ok(What::All),
        Some('l') => Ok(What::Line { has_end: false }),
        Some('L') => Ok(What::Line { has_end: true }),
        _ => Err(args.refuse(1, "format", &format!("a number, \"a\", \"l\" or \"L\" expected, got {format}"))),
    }
}

/// Reads into `data`. False at the end of the file.
fn take(file: &mut File, what: What, data: &mut Vec<u8>) -> io::Result<bool> {
    match what {
        What::All => file.read_to_end(data).map(|_| true),
        What::Count(count) => file.take(count).read_to_end(data).map(|read| read > 0 || count == 0),
        What::Line { has_end } => line(file, has_end, data),
    }
}

fn line(file: &mut File, has_end: bool, data: &mut Vec<u8>) -> io::Result<bool> {
    let start = file.stream_position()?;
    let read = BufReader::new(&mut *file).read_until(b'\n', data)?;
    // The reader has read more than the line: go back to what follows it.
    file.seek(SeekFrom::Start(start + read as u64))?;
    if !has_end && data.ends_with(b"\n") {
        data.pop();
    }
    Ok(read > 0)
}
