//! The `mako` table and `require"loadconf"`: what scripts may know of the server around them.

use std::cell::RefCell;
use std::rc::Rc;

use mlua::{Lua, MultiValue, Result, Table, Value};

use super::args::Args;
use super::auth::JsonUser;
use super::{console, modules};
use crate::config::value::ConfigValue;
use crate::lua::life::{Kept, Life};
use crate::lua::{Settings, World, budget};

/// The functions that `mako.onexit` was given, as app data of the Lua state.
#[derive(Default)]
struct OnExit(RefCell<Vec<Kept>>);

pub fn install(world: &Rc<World>) -> Result<()> {
    let lua = &world.lua;
    lua.set_app_data(OnExit::default());
    let conf = conf(lua, &world.settings)?;
    let mako = lua.create_table()?;
    mako.set("createloader", lua.create_function(modules::create_loader)?)?;
    mako.set("argv", lua.create_sequence_from(std::env::args_os().map(|arg| arg.to_string_lossy().into_owned()))?)?;
    let executable = std::env::current_exe().ok();
    let folder = executable.as_deref().and_then(|path| path.parent()).map(|path| path.to_string_lossy().into_owned());
    mako.set("execpath", folder)?;
    mako.set("port", world.settings.port)?;
    mako.set("sslport", world.settings.tls_port)?;
    mako.set("conf", &conf)?;
    if let Value::Table(users) = conf.raw_get("users")? {
        mako.set("udb", JsonUser::of_configuration(lua, &users))?;
    }
    mako.set("onexit", lua.create_function(on_exit)?)?;
    lua.globals().set("mako", mako)?;
    modules::register(lua, "loadconf", move |_| Ok(Value::Table(conf.clone())))
}

/// What the configuration file says, with the ports and the host that the server really has.
fn conf(lua: &Lua, settings: &Settings) -> Result<Table> {
    let conf = ConfigValue::to_table(&settings.conf, lua)?;
    conf.set("host", settings.host.as_deref())?;
    conf.set("port", settings.port)?;
    conf.set("sslport", settings.tls_port)?;
    Ok(conf)
}

/// `mako.onexit(f[, enable])`: `f` is called when the server stops, behind every `onunload`; with `false` no longer.
fn on_exit(lua: &Lua, args: MultiValue) -> Result<()> {
    let args = Args::new(lua, "mako.onexit", args);
    let function = args.function(1, "function")?;
    if let Some(functions) = lua.app_data_ref::<OnExit>() {
        let mut functions = functions.0.borrow_mut();
        functions.retain(|known| known.get().is_ok_and(|known| known != function));
        if args.is_absent(2) || args.truth(2) {
            functions.push(Life::current().keep(function));
        }
    }
    Ok(())
}

/// Calls what `mako.onexit` was given by apps that were not replaced, the last first.
pub async fn exit(world: &World) {
    let functions = world.lua.app_data_ref::<OnExit>().map(|functions| functions.0.take()).unwrap_or_default();
    for function in functions.iter().rev().filter_map(|kept| kept.get().ok()) {
        if let Err(error) = budget::call::<()>(&function, ()).await {
            console::report("mako.onexit", &error);
        }
    }
}
