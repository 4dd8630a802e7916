//! `ba.crypto.hash` and `ba.aeskey`, `aesencode`, `aesdecode`: hashes, message authentication, encryption.

mod aes;
mod hash;

use std::rc::Rc;

use mlua::{Result, Table};

use crate::lua::World;

pub fn register(world: &Rc<World>, ba: &Table) -> Result<()> {
    let lua = &world.lua;
    let crypto = lua.create_table()?;
    crypto.set("hash", lua.create_function(hash::hash)?)?;
    ba.set("crypto", crypto)?;
    ba.set("aeskey", lua.create_function(aes::aeskey)?)?;
    ba.set("aesencode", lua.create_function(aes::aesencode)?)?;
    ba.set("aesdecode", lua.create_function(aes::aesdecode)?)
}
