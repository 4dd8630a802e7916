//! `ba.rnd`, `ba.rnds`, `ba.rndbs`: random numbers and bytes. All are from a cryptographic generator, so that scripts
//! can use them as tokens.

use std::rc::Rc;

use mlua::{Lua, LuaString, MultiValue, Table};
use rand::{Rng, RngCore};

use crate::bindings::args::Args;
use crate::lua::World;

/// The most bytes of one call of `ba.rndbs`.
const MAX_BYTES: i64 = 1 << 20;

/// Adds the three functions to the table `ba`.
pub fn register(world: &Rc<World>, ba: &Table) -> mlua::Result<()> {
    add_to(&world.lua, ba)
}

fn add_to(lua: &Lua, ba: &Table) -> mlua::Result<()> {
    ba.raw_set("rnd", lua.create_function(rnd)?)?;
    ba.raw_set("rnds", lua.create_function(rnds)?)?;
    ba.raw_set("rndbs", lua.create_function(rndbs)?)
}

/// `ba.rnd()`: an unsigned 32-bit number. `ba.rnd(lower, upper)`: an integer of that range, both ends included.
fn rnd(lua: &Lua, args: MultiValue) -> mlua::Result<i64> {
    let args = Args::new(lua, "ba.rnd", args);
    if args.is_absent(1) && args.is_absent(2) {
        return Ok(rand::rng().next_u32().into());
    }
    let from = args.integer(1, "lower")?;
    let to = args.integer_in(2, "upper", from..=i64::MAX)?;
    Ok(rand::rng().random_range(from..=to))
}

/// `ba.rnds(n)`: a number of `n` random bytes, 1 to 8. It is never negative, so of 8 bytes one bit is left out.
fn rnds(lua: &Lua, args: MultiValue) -> mlua::Result<i64> {
    let bytes = Args::new(lua, "ba.rnds", args).integer_in(1, "size", 1..=8)?;
    let bits = (bytes * 8).min(63);
    Ok(rand::rng().random_range(0..=i64::MAX >> (63 - bits)))
}

/// `ba.rndbs(n)`: a string of `n` random bytes, up to 1 MiB.
fn rndbs(lua: &Lua, args: MultiValue) -> mlua::Result<LuaString> {
    let length = Args::new(lua, "ba.rndbs", args).integer_in(1, "size", 0..=MAX_BYTES)?;
    let mut bytes = vec![0; length as usize];
    rand::rng().fill_bytes(&mut bytes);
    lua.create_string(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn holds(condition: &str) {
        let lua = Lua::new();
        let ba = lua.create_table().unwrap();
        add_to(&lua, &ba).unwrap();
        lua.globals().set("ba", ba).unwrap();
        let code = format!("for i = 1, 500 do assert({condition}) end");
        lua.load(code).exec().unwrap_or_else(|error| panic!("{error}"));
    }

    #[track_caller]
    fn raises(call: &str, message: &str) {
        holds(&format!("(function(ok, e) return not ok and tostring(e):find([[{message}]], 1, true) end)({call})"));
    }

    #[test]
    fn rnd_gives_an_unsigned_32_bit_integer() {
        holds("math.type(ba.rnd()) == 'integer'");
        holds("ba.rnd() >= 0 and ba.rnd() < 2^32");
        holds("(function() for i = 1, 200 do if ba.rnd() >= 2^31 then return true end end end)()");
    }

    #[test]
    fn rnd_of_a_range_includes_both_ends() {
        holds("(function(x) return x >= -1 and x <= 1 end)(ba.rnd(-1, 1))");
        holds("ba.rnd(5, 5) == 5 and ba.rnd(5.0, '5') == 5");
        holds("(function(seen) for i = 1, 300 do seen[ba.rnd(1, 3)] = 1 end return #seen == 3 end){}");
        holds("math.type(ba.rnd(math.mininteger, math.maxinteger)) == 'integer'");
    }

    #[test]
    fn rnds_gives_a_number_of_so_many_bytes() {
        holds("(function(x) return x >= 0 and x <= 255 end)(ba.rnds(1))");
        holds("(function(x) return x >= 0 and x < 2^32 end)(ba.rnds(4))");
        holds("ba.rnds(7) >= 0 and ba.rnds(8) >= 0");
        holds("(function() for i = 1, 200 do if ba.rnds(8) >= 1 << 62 then return true end end end)()");
    }

    #[test]
    fn rndbs_gives_a_string_of_so_many_bytes() {
        holds("#ba.rndbs(16) == 16 and ba.rndbs(0) == ''");
        holds("ba.rndbs(16) ~= ba.rndbs(16)");
    }

    #[test]
    fn wrong_arguments_are_named() {
        raises("pcall(ba.rnd, 1)", "bad argument #2 'upper' to 'ba.rnd' (integer expected, got no value)");
        raises("pcall(ba.rnd, 'x', 1)", "bad argument #1 'lower' to 'ba.rnd' (integer expected, got string)");
        raises("pcall(ba.rnd, 2, 1)", "bad argument #2 'upper' to 'ba.rnd' (at least 2 expected, got 1)");
        raises("pcall(ba.rnds, 9)", "bad argument #1 'size' to 'ba.rnds' (1..8 expected, got 9)");
        raises("pcall(ba.rnds, 0)", "bad argument #1 'size' to 'ba.rnds'");
        raises("pcall(ba.rndbs, -1)", "bad argument #1 'size' to 'ba.rndbs'");
        raises("pcall(ba.rndbs, 1048577)", "bad argument #1 'size' to 'ba.rndbs'");
    }
}
