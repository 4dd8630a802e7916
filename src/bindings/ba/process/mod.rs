//! `ba.exec` and `ba.forkpty`: programs that a script runs. Only where the server's configuration allows it, since a
//! script's mistake is then the whole machine's. So it is with Lua's own `os.execute` and `io.popen`, which stop all other
//! scripts while they wait.

mod exec;
mod pty;

use std::rc::Rc;

use mlua::{Error, Lua, MultiValue, Result, Table};

use crate::lua::World;

/// Set when programs may be run.
struct Allowed;

pub fn register(world: &Rc<World>, ba: &Table) -> Result<()> {
    if world.settings.allow_exec {
        world.lua.set_app_data(Allowed);
    } else {
        take_away(&world.lua, "os", "execute")?;
        take_away(&world.lua, "io", "popen")?;
    }
    ba.set("exec", world.lua.create_async_function(exec::exec)?)?;
    ba.set("forkpty", world.lua.create_async_function(pty::forkpty)?)
}

/// Puts the error in the place of a function of Lua's own.
fn take_away(lua: &Lua, library: &str, function: &str) -> Result<()> {
    let name = format!("{library}.{function}");
    let refuse = lua.create_function(move |lua, _: MultiValue| check(lua, &name))?;
    lua.globals().get::<Table>(library)?.set(function, refuse)
}

fn check(lua: &Lua, function: &str) -> Result<()> {
    if lua.app_data_ref::<Allowed>().is_some() {
        return Ok(());
    }
    Err(Error::runtime(format!(
        "{function}: scripts may not run programs on this server; start it with --allow-exec, or put allowexec=true \
         into its configuration"
    )))
}
