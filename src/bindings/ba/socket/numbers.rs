//! `ba.socket.h2n` and `n2h`: numbers in network byte order.

use mlua::{Lua, LuaString, MultiValue, Result};

use crate::bindings::args::Args;

/// `ba.socket.h2n(size, number)`: the number as `size` bytes, 1 to 8, the most significant first.
pub fn h2n(lua: &Lua, args: MultiValue) -> Result<LuaString> {
    let args = Args::new(lua, "ba.socket.h2n", args);
    let size = size(&args)?;
    let number = args.integer(2, "number")?;
    let bits = 8 * size as u32;
    // Both signed numbers (two's complement) and unsigned ones of this size are allowed.
    if !(-(1i128 << (bits - 1))..1i128 << bits).contains(&i128::from(number)) {
        return Err(args.refuse(2, "number", &format!("{number} does not fit into {size} bytes")));
    }
    lua.create_string(&number.to_be_bytes()[8 - size..])
}

/// `ba.socket.n2h(size, data [, position])`: the unsigned number in the `size` bytes at `position`, which counts from 1.
pub fn n2h(lua: &Lua, args: MultiValue) -> Result<i64> {
    let args = Args::new(lua, "ba.socket.n2h", args);
    let (size, data) = (size(&args)?, args.string(2, "data")?);
    let start = if args.is_absent(3) { 1 } else { args.integer_in(3, "position", 1..=i64::MAX)? };
    let bytes = usize::try_from(start - 1).ok().and_then(|start| data.get(start..)?.get(..size));
    let Some(bytes) = bytes else {
        return Err(args.refuse(
            2,
            "data",
            &format!("{size} bytes expected from {start} on, got {} in all", data.len()),
        ));
    };
    Ok(bytes.iter().fold(0, |number, byte| number << 8 | i64::from(*byte)))
}

fn size(args: &Args) -> Result<usize> {
    // The range fits into a usize.
    args.integer_in(1, "size", 1..=8).map(|size| size as usize)
}
