//! `ba.sleep`.

use std::rc::Rc;

use mlua::{MultiValue, Table};

use crate::bindings::args::Args;
use crate::lua::World;

/// `ba.sleep(milliseconds)`: the script waits, others go on.
pub fn register(world: &Rc<World>, ba: &Table) -> mlua::Result<()> {
    let sleep = world.lua.create_async_function(|lua, args: MultiValue| async move {
        let time = Args::new(&lua, "ba.sleep", args).milliseconds(1)?;
        tokio::time::sleep(time).await;
        Ok(())
    })?;
    ba.set("sleep", sleep)
}
