//! The `ba` table: one file per group of functions, one line each in [`install`].

mod crypto;
pub mod dir;
pub mod encoding;
mod files;
pub mod json;
mod pages;
mod process;
pub mod random;
mod sleep;
mod socket;
mod thread;
mod time;
pub mod timer;

use std::rc::Rc;

use crate::lua::World;

pub fn install(world: &Rc<World>) -> mlua::Result<()> {
    let ba = world.lua.create_table()?;
    crypto::register(world, &ba)?;
    dir::register(world, &ba)?;
    encoding::register(world, &ba)?;
    files::register(world, &ba)?;
    json::register(world, &ba)?;
    pages::register(world, &ba)?;
    super::auth::register(world, &ba)?;
    process::register(world, &ba)?;
    random::register(world, &ba)?;
    sleep::register(world, &ba)?;
    socket::register(world, &ba)?;
    thread::register(world, &ba)?;
    time::register(world, &ba)?;
    timer::register(world, &ba)?;
    world.lua.globals().set("ba", ba)
}
