//! `ba.sleep`.

use std::rc::Rc;
use std::time::Duration;

use mlua::{MultiValue, Table};

use crate::bindings::args::Args;
use crate::lua::World;

/// `ba.sleep(milliseconds)`: the script waits, others go on.
pub fn register(world: &Rc<World>, ba: &Table) -> mlua::Result<()> {
    let sleep = world.lua.create_async_function(|lua, args: MultiValue| async move {
        let milliseconds = Args::new(&lua, "ba.sleep", args).number(1, "milliseconds")?;
        // NaN and negative times are no time; the cast caps what is too great.
        tokio::time::sleep(Duration::from_millis(milliseconds as u64)).await;
        Ok(())
    })?;
    ba.set("sleep", sleep)
}
