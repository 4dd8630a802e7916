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
            let code = match args.value(1) {
                Value::Nil | Value::Boolean(true) => 0,
                Value::Boolean(false) => 1,
                // What a process can tell; the system would cut it off, too.
                _ => args.integer(1, "code")? as u8,
            };
            if !thread.exit(code) {
                // The stop would wait for an `onunload` that waits, and not come to the functions behind it.
                return Err(mlua::Error::runtime("os.exit: the server is stopping already"));
            }
            // For whoever calls this nothing comes behind it.
            pending::<Result<()>>().await
        }
    })?;
    world.lua.globals().get::<Table>("os")?.set("exit", exit)
}
