//! Files that scripts have opened, with `io:open`.

use std::cell::RefCell;
use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};

use mlua::{IntoLuaMulti, Lua, MetaMethod, MultiValue, Result, UserData, UserDataMethods, UserDataRegistry, Value};

use super::{LuaIo, answer, read};
use crate::bindings::args::Args;

/// A file as scripts see it; `None` when it is closed.
pub struct LuaFile {
    file: RefCell<Option<File>>,
}

/// `io:open(path[, mode])`: a file, or nil, error name. Modes r, w, a, each with an optional + and b.
pub fn open(lua: &Lua, io: &LuaIo, args: MultiValue) -> Result<MultiValue> {
    let args = Args::new(lua, "io:open", args);
    let path = args.text(1, "path")?;
    let mode = args.optional_text(2, "mode")?.unwrap_or_else(|| "r".into());
    let Some(options) = open_options(&mode) else {
        return Err(args.refuse(2, "mode", &format!("r, w, a, r+, w+ or a+ expected, got {mode}")));
    };
    let open = || {
        let path = if mode.starts_with(['w', 'a']) || mode.contains('+') {
            io.resolve_to_write(&path)?
        } else {
            io.resolve(&path)?
        };
        // On Unix, opening a folder succeeds, and reading it fails later with a confusing error.
        if path.is_dir() { Err(io::ErrorKind::IsADirectory.into()) } else { options.open(path) }
    };
    answer(lua, open().map(|file| LuaFile { file: RefCell::new(Some(file)) }))
}

fn open_options(mode: &str) -> Option<OpenOptions> {
    let mut options = OpenOptions::new();
    match mode.replace('b', "").as_str() {
        "r" => options.read(true),
        "r+" => options.read(true).write(true),
        "w" => options.write(true).create(true).truncate(true),
        "w+" => options.read(true).write(true).create(true).truncate(true),
        "a" => options.append(true).create(true),
        "a+" => options.read(true).append(true).create(true),
        _ => return None,
    };
    Some(options)
}

impl LuaFile {
    /// Does something with the file, if that is open; otherwise the result is nil, "closed".
    pub fn with<T: IntoLuaMulti>(
        &self,
        lua: &Lua,
        work: impl FnOnce(&mut File) -> io::Result<T>,
    ) -> Result<MultiValue> {
        match self.file.borrow_mut().as_mut() {
            Some(file) => answer(lua, work(file)),
            None => (Value::Nil, "closed").into_lua_multi(lua),
        }
    }
}

impl UserData for LuaFile {
    fn register(registry: &mut UserDataRegistry<Self>) {
        registry.add_method("read", read::read);
        registry.add_method("write", |lua, this, args: MultiValue| {
            let args = Args::new(lua, "file:write", args);
            let data =
                (1..=args.count()).map(|position| args.string(position, "data")).collect::<Result<Vec<_>>>()?.concat();
            this.with(lua, |file| file.write_all(&data).map(|()| true))
        });
        registry.add_method("seek", |lua, this, args: MultiValue| {
            let position = Args::new(lua, "file:seek", args).integer_in(1, "position", 0..=i64::MAX)?;
            this.with(lua, |file| file.seek(SeekFrom::Start(position as u64)).map(|_| true))
        });
        registry.add_method("flush", |lua, this, _: MultiValue| this.with(lua, |file| file.flush().map(|()| true)));
        registry.add_method("close", |_, this, _: MultiValue| Ok(this.file.borrow_mut().take().is_some()));
        registry.add_meta_method(MetaMethod::Close, |_, this, _: MultiValue| {
            this.file.borrow_mut().take();
            Ok(())
        });
    }
}
