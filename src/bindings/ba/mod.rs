//! The `ba` table: one file per group of functions, one line each in [`install`].

pub mod dir;
mod files;
mod sleep;

use std::rc::Rc;

use crate::lua::World;

pub fn install(world: &Rc<World>) -> mlua::Result<()> {
    let ba = world.lua.create_table()?;
    dir::register(world, &ba)?;
    files::register(world, &ba)?;
    sleep::register(world, &ba)?;
    world.lua.globals().set("ba", ba)
}
