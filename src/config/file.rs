//! The configuration file: a Lua script whose globals are the settings.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, ensure};
use mlua::{FromLua, Lua, Table, Value};

use super::app_spec;
use super::value::ConfigValue;
use crate::bindings::args::kind;
use crate::bindings::{auth, io};
use crate::lsp::AppSpec;

/// The settings of a configuration file; see [`Config`](super::Config) for what they are.
#[derive(Default)]
pub struct ConfigFile {
    pub host: Option<String>,
    pub port: Option<u16>,
    pub tls_host: Option<String>,
    pub tls_port: Option<u16>,
    /// Certificate and key.
    pub certificate: Option<(PathBuf, PathBuf)>,
    pub apps: Vec<AppSpec>,
    /// In milliseconds.
    pub script_warning: Option<u64>,
    /// In milliseconds.
    pub script_limit: Option<u64>,
    /// All globals that the file has set.
    pub all: Vec<(ConfigValue, ConfigValue)>,
    pub allow_exec: bool,
}

impl ConfigFile {
    /// Runs the file in a Lua state of its own, and reads the globals that it has set. An error if one has a wrong
    /// value.
    pub fn read(path: &Path) -> Result<Self> {
        let name = path.display();
        let source = std::fs::read(path).with_context(|| format!("cannot read the configuration {name}"))?;
        let lua = Lua::new();
        let found =
            run(&lua, &source, &name.to_string()).map_err(|error| anyhow!("the configuration fails: {error}"))?;
        Self::from_table(&lua, &found).map_err(|error| anyhow!("the configuration {name}: {error}"))
    }

    fn from_table(lua: &Lua, table: &Table) -> Result<Self> {
        check_users(lua, table)?;
        Ok(Self {
            host: get(lua, table, "host", "a string")?,
            port: get(lua, table, "port", "a number from 0 to 65535")?,
            tls_host: get(lua, table, "sslhost", "a string")?,
            tls_port: get(lua, table, "sslport", "a number from 0 to 65535")?,
            certificate: get(lua, table, "certificate", "a table")?.as_ref().map(certificate).transpose()?,
            // Not by Lua's own rule, by which `allowexec = "no"` would be true.
            allow_exec: match get::<Value>(lua, table, "allowexec", "true or false")? {
                None => false,
                Some(Value::Boolean(allowed)) => allowed,
                Some(other) => return Err(misfit("`allowexec`", "true or false", &other)),
            },
            apps: match get::<Value>(lua, table, "apps", "a list")? {
                None => Vec::new(),
                Some(one @ Value::String(_)) => vec![app(lua, &one)?],
                Some(Value::Table(list)) => apps(lua, &list)?,
                Some(other) => return Err(misfit("`apps`", "a list of apps", &other)),
            },
            script_warning: get(lua, table, "scriptwarning", "a number of milliseconds")?,
            script_limit: get(lua, table, "scriptlimit", "a number of milliseconds")?,
            all: ConfigValue::pairs(table),
        })
    }
}

/// Runs the file. The result holds its globals; those of Lua can be read through its metatable.
fn run(lua: &Lua, source: &[u8], name: &str) -> mlua::Result<Table> {
    let environment = lua.create_table()?;
    let meta = lua.create_table()?;
    meta.set("__index", lua.globals())?;
    environment.set_metatable(Some(meta))?;
    io::chunk(lua, source, name, Some(environment.clone()))?.call::<()>(())?;
    Ok(environment)
}

/// Checks the users at once. Otherwise a mistake would be noticed only when somebody cannot log in.
fn check_users(lua: &Lua, table: &Table) -> Result<()> {
    match get::<Value>(lua, table, "users", "a table of users")? {
        None => Ok(()),
        Some(Value::Table(users)) => auth::check_users(lua, &users).map_err(anyhow::Error::msg),
        Some(other) => Err(misfit("`users`", "a table of users", &other)),
    }
}

/// The value of a global, if the file itself has set it.
fn get<T: FromLua>(lua: &Lua, table: &Table, key: &str, expected: &str) -> Result<Option<T>> {
    let value: Value = table.raw_get(key).map_err(plain)?;
    if value.is_nil() {
        return Ok(None);
    }
    T::from_lua(value.clone(), lua).map(Some).map_err(|_| misfit(&format!("`{key}`"), expected, &value))
}

/// The error for a value of the wrong type, or a number out of range.
fn misfit(what: &str, expected: &str, got: &Value) -> anyhow::Error {
    anyhow!("{what} must be {expected}, got {}", kind(got))
}

/// `{cert = FILE, key = FILE}` or `{FILE, FILE}`.
fn certificate(table: &Table) -> Result<(PathBuf, PathBuf)> {
    let field = |name: &str, place: i64| -> Result<PathBuf> {
        let value: Option<String> = match table.get::<Option<String>>(name).map_err(plain)? {
            None => table.get(place).map_err(plain)?,
            named => named,
        };
        value.map(PathBuf::from).ok_or_else(|| anyhow!("`certificate` must name two files, as {{cert=FILE, key=FILE}}"))
    };
    Ok((field("cert", 1)?, field("key", 2)?))
}

/// The apps of a list. An error if it has gaps or names, since the apps behind a gap, or with a name, would be missed.
fn apps(lua: &Lua, list: &Table) -> Result<Vec<AppSpec>> {
    let apps: Vec<_> = list.sequence_values().map(|value| app(lua, &value.map_err(plain)?)).collect::<Result<_>>()?;
    let count = list.pairs::<Value, Value>().count();
    ensure!(
        count == apps.len(),
        "`apps` must be a list without names and gaps, as {{\"www\", {{name=\"shop\", path=\"shop\"}}}}"
    );
    Ok(apps)
}

/// `"[[NAME]:[PRIO]:]PATH"` or `{name = NAME, priority = PRIO, path = PATH}`.
fn app(lua: &Lua, value: &Value) -> Result<AppSpec> {
    let spec = match value {
        Value::String(text) => text.to_str().map_err(plain)?.parse(),
        Value::Table(table) => {
            check_fields(table)?;
            let name: Option<String> = get(lua, table, "name", "a string")?;
            let priority: Option<i64> = get(lua, table, "priority", "a number from -127 to 127")?;
            let path: Option<String> = get(lua, table, "path", "a string")?;
            app_spec(&name.unwrap_or_default(), priority.unwrap_or(0), &path.unwrap_or_default())
        }
        other => return Err(misfit("an app in `apps`", "a string or a table", other)),
    };
    spec.map_err(anyhow::Error::msg)
}

/// Refuses unknown fields. A misspelt one would not be noticed until the wrong app answers.
fn check_fields(app: &Table) -> Result<()> {
    for pair in app.pairs::<Value, Value>() {
        let field = pair.map_err(plain)?.0.to_string().map_err(plain)?;
        ensure!(
            ["name", "priority", "path"].contains(&field.as_str()),
            "an app in `apps` has `name`, `priority` and `path`, no `{field}`"
        );
    }
    Ok(())
}

/// The text of an error of mlua, which itself cannot be sent to another thread.
fn plain(error: mlua::Error) -> anyhow::Error {
    anyhow!("{error}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(name: &str, priority: i32, path: &str) -> AppSpec {
        AppSpec { name: name.into(), priority, path: path.into() }
    }

    fn read(source: &str) -> Result<ConfigFile> {
        let lua = Lua::new();
        let table = run(&lua, source.as_bytes(), "test").map_err(|error| anyhow!("{error}"))?;
        ConfigFile::from_table(&lua, &table)
    }

    #[test]
    fn a_configuration_is_lua() {
        let file = read(
            "local base = 8000; port = base + 80; host = ('x'):rep(2); sslport = 1 \
             certificate = {cert = 'c.pem', key = 'k.pem'} \
             apps = {'www', {name = 'shop', path = 'shop', priority = 3}}",
        )
        .unwrap();
        assert_eq!((file.port, file.host.as_deref(), file.tls_port), (Some(8080), Some("xx"), Some(1)));
        assert_eq!(file.certificate, Some(("c.pem".into(), "k.pem".into())));
        assert_eq!(file.apps, [spec("", 0, "www"), spec("shop", 3, "shop")]);
    }

    #[test]
    fn a_file_may_begin_with_a_byte_order_mark_or_a_line_for_the_shell() {
        for source in ["\u{feff}port = 5", "#!/usr/bin/lua\nport = 5"] {
            assert_eq!(read(source).unwrap().port, Some(5), "{source}");
        }
    }

    #[test]
    fn a_wrong_value_is_named() {
        const NO_LIST: &str =
            "`apps` must be a list without names and gaps, as {\"www\", {name=\"shop\", path=\"shop\"}}";
        for (source, expected) in [
            ("port = {}", "`port` must be a number from 0 to 65535, got table"),
            ("port = 65536", "`port` must be a number from 0 to 65535, got 65536"),
            ("apps = 5", "`apps` must be a list of apps, got 5"),
            ("allowexec = 'no'", "`allowexec` must be true or false, got string"),
            ("users = 5", "`users` must be a table of users, got 5"),
            ("users = {bob = 'x'}", "`users`: user 'bob': a table with the field 'pwd' expected"),
            ("users = {bob = {}}", "`users`: user 'bob': 'pwd' must be the password, or a table with its hash"),
            ("apps = {{}}", "the path of the app is empty"),
            ("apps = {{'www'}}", "an app in `apps` has `name`, `priority` and `path`, no `1`"),
            ("apps = {{path = 'www', prio = 5}}", "an app in `apps` has `name`, `priority` and `path`, no `prio`"),
            ("apps = {{path = 'www', name = true}}", "`name` must be a string, got boolean"),
            ("apps = {{path = 'www', priority = 'x'}}", "`priority` must be a number from -127 to 127, got string"),
            ("apps = {{path = 'www', name = '.x'}}", "the app name .x begins with a dot: such paths are never served"),
            ("apps = {shop = 'shop'}", NO_LIST),
            ("apps = {'www', nil, 'shop'}", NO_LIST),
            ("certificate = {cert = 'c'}", "`certificate` must name two files, as {cert=FILE, key=FILE}"),
        ] {
            assert_eq!(read(source).err().map(|error| error.to_string()).as_deref(), Some(expected), "{source}");
        }
    }
}
