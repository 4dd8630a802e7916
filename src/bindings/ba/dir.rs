//! `ba.create.dir`: directories whose function answers requests for what is below them.

use std::rc::{Rc, Weak};

use hyper::HeaderMap;
use mlua::{IntoLua, Lua, MultiValue, Result, Table, UserData, UserDataMethods, UserDataRegistry, Value};

use crate::bindings::args::{Args, plain_text};
use crate::bindings::auth;
use crate::bindings::request::read_header;
use crate::lsp::Directory;
use crate::lua::World;

/// A directory as scripts see it. It stays mounted until `unlink`, whether or not a script still holds it.
pub struct Dir(Rc<Directory>);

impl Dir {
    pub fn new(directory: Rc<Directory>) -> Self {
        Self(directory)
    }
}

/// The world, by which methods find the directory at the server's root.
struct ServerWorld(Weak<World>);

/// `ba.create.dir([name][, priority])`
pub fn register(world: &Rc<World>, ba: &Table) -> Result<()> {
    world.lua.set_app_data(ServerWorld(Rc::downgrade(world)));
    let create = world.lua.create_table()?;
    create.set("dir", world.lua.create_function(create_dir)?)?;
    ba.set("create", create)
}

fn create_dir(lua: &Lua, args: MultiValue) -> Result<Dir> {
    let args = Args::new(lua, "ba.create.dir", args);
    // A number as the first argument is the priority of a directory without a name.
    if matches!(args.value(1), Value::Integer(_) | Value::Number(_)) {
        return Ok(Dir(Directory::new(None, priority(&args, 1)?)));
    }
    let name = args.optional_text(1, "name")?;
    let priority = if args.is_absent(2) { 0 } else { priority(&args, 2)? };
    Ok(Dir(Directory::new(name, priority)))
}

fn priority(args: &Args, position: usize) -> Result<i32> {
    // The range fits into an i32.
    args.integer_in(position, "priority", -127..=127).map(|priority| priority as i32)
}

impl UserData for Dir {
    fn register(registry: &mut UserDataRegistry<Self>) {
        registry.add_method("setfunc", |lua, this, args: MultiValue| {
            let args = Args::new(lua, "dir:setfunc", args);
            let is_removal = args.count() > 0 && args.is_absent(1);
            this.0.set_function(if is_removal { None } else { Some(args.function(1, "function")?) });
            Ok(true)
        });
        registry.add_method("insert", insert);
        registry.add_method("insertprolog", |lua, this, args: MultiValue| {
            let args = Args::new(lua, "dir:insertprolog", args);
            mount(&args, |child| this.0.insert_prologue(child))
        });
        registry.add_method("setauth", |lua, this, args: MultiValue| {
            this.0.set_guard(auth::guard(&Args::new(lua, "dir:setauth", args))?);
            Ok(true)
        });
        registry.add_method("header", header);
        registry.add_method("unlink", |_, this, _: MultiValue| Ok(this.0.unlink()));
        registry.add_method("baseuri", |_, this, _: MultiValue| Ok(this.0.base_uri()));
    }
}

/// `dir:insert(child[, keep])` mounts the child below; `dir:insert()` mounts the directory at the server's root.
fn insert(lua: &Lua, this: &Dir, args: MultiValue) -> Result<Value> {
    let args = Args::new(lua, "dir:insert", args);
    if args.count() == 0 {
        let world = lua.app_data_ref::<ServerWorld>().and_then(|world| world.0.upgrade());
        return world.is_some_and(|world| world.apps.server_root().insert(&this.0)).into_lua(lua);
    }
    mount(&args, |child| this.0.insert(child))?.into_lua(lua)
}

fn mount(args: &Args, insert: impl FnOnce(&Rc<Directory>) -> bool) -> Result<bool> {
    if !insert(&args.object::<Dir>(1, "child", "directory")?.0) {
        return Err(args.refuse(1, "child", "a directory cannot be mounted below itself"));
    }
    Ok(true)
}

/// `dir:header{name=value, ...}`: sets the headers of all responses from below that do not set them themselves. They
/// replace the server's default headers, and those of an earlier call.
fn header(lua: &Lua, this: &Dir, args: MultiValue) -> Result<bool> {
    let args = Args::new(lua, "dir:header", args);
    let mut headers = HeaderMap::new();
    for pair in args.table(1, "headers")?.pairs::<Value, Value>() {
        let (name, value) = pair?;
        // A number would be the place in a list.
        let (Value::String(name), Some(value)) = (&name, plain_text(lua, &value)) else {
            return Err(args.refuse(1, "headers", "names and values must be strings, as in {['X-Name'] = 'value'}"));
        };
        let (name, value) = read_header(&args, &name.as_bytes(), &value)?;
        headers.insert(name, value);
    }
    this.0.set_headers(headers);
    Ok(true)
}
