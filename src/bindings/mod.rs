//! What scripts can call: one file per module, one line each in [`install`].

pub mod args;
pub mod auth;
pub mod ba;
pub mod built_in;
pub mod callback;
pub mod console;
pub mod coroutine;
mod exit;
mod httpc;
pub mod hub;
pub mod io;
pub mod mako;
pub mod modules;
mod options;
mod outcome;
pub mod request;
pub mod session;
mod tally;
pub mod trace;

use std::rc::Rc;

use crate::lua::World;

/// Fills a new Lua state with everything that scripts can call.
pub fn install(world: &Rc<World>) -> mlua::Result<()> {
    // First, since the rest is built on coroutines that go together with asynchronous functions.
    coroutine::install(&world.lua)?;
    trace::install(&world.lua)?;
    exit::install(world)?;
    modules::install(&world.lua)?;
    mako::install(world)?;
    httpc::install(&world.lua)?;
    request::install(&world.lua)?;
    hub::install(world)?;
    ba::install(world)?;
    // Last, since it leaves alone what is there.
    absent(&world.lua)
}

/// Makes what is not offered say so.
fn absent(lua: &mlua::Lua) -> mlua::Result<()> {
    let ba: mlua::Table = lua.globals().get("ba")?;
    lua.load(include_str!("../../lua/internal/absent.lua")).set_name("=[smq]").call(ba)
}
