//! `ba.exec` and `ba.forkpty`: running programs. They raise an error unless the server was started with permission for
//! it, since with them a mistake in a script can affect the whole machine. The same goes for Lua's own `os.execute` and
//! `io.popen`, which moreover hold up all other scripts while they wait.

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

/// Replaces a function of Lua's own by one that raises the error.
fn take_away(lua: &Lua, library: &str, function: &str) -> Result<()> {
    let name = format!("{library}.{function}");
    let refuse = lua.create_function(move |lua, _: MultiValue| check(lua, &name))?;
    lua.globals().get::<Table>(library)?.set(function, refuse)
}

/// An error, which begins with `function`, unless programs may be run.
fn check(lua: &Lua, function: &str) -> Result<()> {
    if lua.app_data_ref::<Allowed>().is_some() {
        return Ok(());
    }
    Err(Error::runtime(format!(
        "{function}: scripts may not run programs on this server; start it with --allow-exec, or put allowexec=true \
         into its configuration"
    )))
}
