//! `io` objects, as pages and `ba.openio` get them: the files below one folder, and nothing outside it.

mod file;
mod read;

use std::fs::{self, File, Metadata};
use std::io;
use std::path::{Component, Path, PathBuf};
use std::time::UNIX_EPOCH;

use mlua::{
    Function, IntoLuaMulti, Lua, MultiValue, Result, Table, UserData, UserDataMethods, UserDataRegistry, Value,
};

use super::args::{Args, brief, no_object};
use super::outcome::outcome;
use crate::lua::budget;

/// The files below `root`. Paths may not lead out of it, neither by `..` nor through a symbolic link.
pub struct LuaIo {
    root: PathBuf,
    is_read_only: bool,
}

impl LuaIo {
    /// `root` must be canonical, since resolved links are compared with it. If its mode forbids writing, as that of an
    /// unpacked zip file does, scripts cannot write anywhere below, not even in a process of root.
    pub fn new(root: PathBuf) -> Self {
        let is_read_only = fs::metadata(&root).is_ok_and(|metadata| metadata.permissions().readonly());
        Self { root, is_read_only }
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The files below a folder in here. They are read-only if these are.
    pub fn below(&self, path: &str) -> io::Result<Self> {
        let root = self.resolve(path)?;
        if !fs::metadata(&root)?.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        let below = Self::new(root);
        Ok(Self { is_read_only: self.is_read_only || below.is_read_only, ..below })
    }

    /// The whole content of a file.
    pub fn read(&self, path: &str) -> io::Result<Vec<u8>> {
        fs::read(self.resolve(path)?)
    }

    /// Size, times and kind of a file.
    pub fn metadata(&self, path: &str) -> io::Result<Metadata> {
        fs::metadata(self.resolve(path)?)
    }

    /// Opens a file for reading.
    pub fn open_file(&self, path: &str) -> io::Result<File> {
        File::open(self.resolve(path)?)
    }

    /// The same as [`LuaIo::resolve`], for writing.
    fn resolve_to_write(&self, path: &str) -> io::Result<PathBuf> {
        self.check_writable()?;
        self.resolve(path)
    }

    fn check_writable(&self) -> io::Result<()> {
        if self.is_read_only { Err(io::ErrorKind::ReadOnlyFilesystem.into()) } else { Ok(()) }
    }

    /// The path on disk, with all links resolved. Its last part need not exist. An error if it leads out of the root.
    fn resolve(&self, path: &str) -> io::Result<PathBuf> {
        let path = self.root.join(relative(path)?);
        match fs::canonicalize(&path) {
            Ok(real) => self.confined(real),
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.resolve_new(&path),
            Err(error) => Err(error),
        }
    }

    fn resolve_new(&self, path: &Path) -> io::Result<PathBuf> {
        // Refuse a link whose target is missing: creating the file would follow it.
        if fs::symlink_metadata(path).is_ok() {
            return Err(io::ErrorKind::NotFound.into());
        }
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(io::ErrorKind::NotFound.into());
        };
        Ok(self.confined(fs::canonicalize(parent)?)?.join(name))
    }

    /// The path on disk, where only the folder's links are resolved: removing and renaming are about a link itself, not
    /// about what it points to.
    fn resolve_entry(&self, path: &str) -> io::Result<PathBuf> {
        self.check_writable()?;
        let relative = relative(path)?;
        let (Some(parent), Some(name)) = (relative.parent(), relative.file_name()) else {
            return Err(io::ErrorKind::PermissionDenied.into());
        };
        Ok(self.confined(fs::canonicalize(self.root.join(parent))?)?.join(name))
    }

    fn confined(&self, real: PathBuf) -> io::Result<PathBuf> {
        if real.starts_with(&self.root) { Ok(real) } else { Err(io::ErrorKind::PermissionDenied.into()) }
    }
}

/// The path without `.`, `..` and leading slashes. An error if it leads above its start.
fn relative(path: &str) -> io::Result<PathBuf> {
    if path.contains('\0') {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut clean = PathBuf::new();
    for part in Path::new(path).components() {
        match part {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir if !clean.pop() => return Err(io::ErrorKind::PermissionDenied.into()),
            _ => {}
        }
    }
    Ok(clean)
}

/// The name that scripts get for an error of the file system.
fn error_name(error: &io::Error) -> String {
    use io::ErrorKind::*;
    match error.kind() {
        NotFound => "enoent",
        AlreadyExists => "exist",
        DirectoryNotEmpty => "notempty",
        PermissionDenied | ReadOnlyFilesystem => "noaccess",
        InvalidInput | NotADirectory | IsADirectory => "invalidname",
        StorageFull => "nospace",
        _ => return format!("ioerror {error}"),
    }
    .into()
}

/// The result of a call for a script: the values, or nil and the error's name.
pub fn answer<T: IntoLuaMulti>(lua: &Lua, result: io::Result<T>) -> Result<MultiValue> {
    outcome(lua, result.map_err(|error| error_name(&error)))
}

impl UserData for LuaIo {
    fn register(registry: &mut UserDataRegistry<Self>) {
        registry.add_method("open", file::open);
        registry.add_method("stat", stat);
        registry.add_method("files", files);
        registry.add_method("loadfile", |lua, io, args: MultiValue| {
            let args = Args::new(lua, "io:loadfile", args);
            outcome(lua, load(lua, io, &args)?)
        });
        // Asynchronous, since the file's code may wait.
        registry.add_async_function("dofile", dofile);
        registry.add_method("mkdir", |lua, io, args: MultiValue| {
            let path = Args::new(lua, "io:mkdir", args).text(1, "path")?;
            answer(lua, io.resolve_to_write(&path).and_then(fs::create_dir).map(|()| true))
        });
        registry.add_method("rmdir", |lua, io, args: MultiValue| {
            let path = Args::new(lua, "io:rmdir", args).text(1, "path")?;
            answer(lua, io.resolve_entry(&path).and_then(fs::remove_dir).map(|()| true))
        });
        registry.add_method("remove", |lua, io, args: MultiValue| {
            let path = Args::new(lua, "io:remove", args).text(1, "path")?;
            answer(lua, io.resolve_entry(&path).and_then(fs::remove_file).map(|()| true))
        });
        registry.add_method("rename", |lua, io, args: MultiValue| {
            let args = Args::new(lua, "io:rename", args);
            let (from, to) = (args.text(1, "from")?, args.text(2, "to")?);
            let rename = || fs::rename(io.resolve_entry(&from)?, io.resolve_entry(&to)?);
            answer(lua, rename().map(|()| true))
        });
        registry.add_method("realpath", |lua, io, args: MultiValue| {
            let path = Args::new(lua, "io:realpath", args).optional_text(1, "path")?.unwrap_or_default();
            answer(lua, io.resolve(&path).map(|path| path.to_string_lossy().into_owned()))
        });
        registry.add_method("resourcetype", |_, _, _: MultiValue| Ok("disk"));
    }
}

/// `io:stat(path)`: name, size, mtime (seconds since 1970), isdir and type; or nil, error name.
fn stat(lua: &Lua, io: &LuaIo, args: MultiValue) -> Result<MultiValue> {
    let path = Args::new(lua, "io:stat", args).text(1, "path")?;
    match io.resolve(&path).and_then(fs::metadata) {
        Ok(metadata) => {
            let name = Path::new(&path).file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            stat_table(lua, &name, &metadata)?.into_lua_multi(lua)
        }
        Err(error) => answer::<()>(lua, Err(error)),
    }
}

fn stat_table(lua: &Lua, name: &str, metadata: &Metadata) -> Result<Table> {
    let table = lua.create_table()?;
    table.set("name", name)?;
    table.set("size", metadata.len())?;
    table.set("mtime", modified(metadata))?;
    table.set("isdir", metadata.is_dir())?;
    table.set("type", if metadata.is_dir() { "directory" } else { "regular" })?;
    Ok(table)
}

/// The time of the last change in seconds since 1970; 0 if it is not known.
fn modified(metadata: &Metadata) -> u64 {
    metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok()).map_or(0, |age| age.as_secs())
}

/// `io:files(path[, true])`: an iterator over the names, with `true` also isdir, mtime and size. nil, error name when
/// the folder cannot be read.
fn files(lua: &Lua, io: &LuaIo, args: MultiValue) -> Result<MultiValue> {
    let args = Args::new(lua, "io:files", args);
    let path = args.optional_text(1, "path")?.unwrap_or_default();
    let detailed = args.truth(2);
    let list = || {
        let folder = io.resolve(&path)?;
        let mut names = vec![".".to_owned(), "..".to_owned()];
        for entry in fs::read_dir(&folder)? {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        names.sort_unstable();
        Ok((folder, names))
    };
    let (folder, names) = match list() {
        Ok(found) => found,
        Err(error) => return answer::<()>(lua, Err(error)),
    };
    let mut names = names.into_iter();
    let next = lua.create_function_mut(move |lua, _: MultiValue| match names.next() {
        None => Value::Nil.into_lua_multi(lua),
        Some(name) if !detailed => name.into_lua_multi(lua),
        Some(name) => {
            // What is above may be outside of the root: show the folder itself for `..`.
            let shown = if name == ".." { folder.clone() } else { folder.join(&name) };
            match fs::metadata(shown) {
                Ok(metadata) => (name, metadata.is_dir(), modified(&metadata), metadata.len()).into_lua_multi(lua),
                Err(_) => (name, false, 0, 0).into_lua_multi(lua),
            }
        }
    })?;
    next.into_lua_multi(lua)
}

/// Loads the file of argument 1 with the environment of argument 2, by default the globals. The inner error is the text
/// for the script.
fn load(lua: &Lua, io: &LuaIo, args: &Args) -> Result<std::result::Result<Function, String>> {
    let path = args.text(1, "path")?;
    let environment = args.optional_table(2, "env")?;
    let source = match io.read(&path) {
        Ok(source) => source,
        Err(error) => return Ok(Err(format!("cannot open {}: {}", brief(&path), error_name(&error)))),
    };
    let name = path.trim_start_matches('/');
    match chunk(lua, &source, name, environment) {
        Ok(chunk) => Ok(Ok(chunk)),
        Err(error) => Ok(Err(super::console::describe(&error).message)),
    }
}

/// Compiles a script, which errors call `name`. A byte order mark, and a first line that begins with `#`, are skipped.
pub fn chunk(lua: &Lua, source: &[u8], name: &str, environment: Option<Table>) -> Result<Function> {
    let source = source.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(source);
    let is_script_line = source.starts_with(b"#");
    let start = if is_script_line { source.iter().position(|&byte| byte == b'\n').unwrap_or(source.len()) } else { 0 };
    let chunk = lua.load(&source[start..]).set_name(format!("@{name}")).set_mode(mlua::chunk::ChunkMode::Text);
    match environment {
        Some(table) => chunk.set_environment(table).into_function(),
        None => chunk.into_function(),
    }
}

/// `io:dofile(path[, env])`: runs the file and returns its values. An error if it cannot be read.
async fn dofile(lua: Lua, mut args: MultiValue) -> Result<MultiValue> {
    let this = args.pop_front().unwrap_or(Value::Nil);
    let chunk = {
        let args = Args::new(&lua, "io:dofile", args);
        let io = this.as_userdata().and_then(|data| data.borrow::<LuaIo>().ok());
        let io = io.ok_or_else(|| no_object("io:dofile", "an io object"))?;
        load(&lua, &io, &args)?.map_err(mlua::Error::runtime)?
    };
    budget::call(&chunk, ()).await
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_path_cannot_lead_above_its_root() {
        assert!(relative("../secret").is_err());
        assert!(relative("a/../../secret").is_err());
        assert_eq!(relative("/a/./b/../c").expect("it stays inside"), Path::new("a/c"));
    }

    #[test]
    fn files_below_read_only_ones_are_read_only_too() {
        let folder = tempfile::tempdir().expect("the system has room for a temporary folder");
        let root = folder.path().canonicalize().expect("it exists");
        fs::create_dir(root.join("below")).expect("it is new");
        let is_writable = |mode| {
            fs::set_permissions(&root, Permissions::from_mode(mode)).expect("it is ours");
            LuaIo::new(root.clone()).below("below").expect("it is a folder").check_writable().is_ok()
        };
        assert_eq!([0o555, 0o755].map(is_writable), [false, true]);
    }
}
