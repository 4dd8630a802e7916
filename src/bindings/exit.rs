//! `os.exit`: the server stops as it does for a signal, so that `onunload` runs and nothing is left behind.

use std::future::pending;
use std::rc::Rc;

use mlua::{MultiValue, Result, Table, Value};

use super::args::Args;
use crate::lua::World;

pub fn install(world: &Rc<World>) -> Result<()> {
    let thread = world.thread.clone();
    let exit = world.lua.create_async_function(move |lua, args: MultiValue| {
        let thread = thread.clone();
        async move {
            let args = Args::new(&lua, "os.exit", args);
            thread.exit(match args.value(1) {
                Value::Nil | Value::Boolean(true) => 0,
                Value::Boolean(false) => 1,
                // What a process can tell; the system would cut it off, too.
                _ => args.integer(1, "code")? as u8,
            });
            // For whoever calls this nothing comes behind it.
            pending::<Result<()>>().await
        }
    })?;
    world.lua.globals().get::<Table>("os")?.set("exit", exit)
}
