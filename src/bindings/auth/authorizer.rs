//! `ba.create.authorizer` and `jsonuser:authorizer`: which URLs an authenticated user may see.

use std::cell::RefCell;
use std::collections::HashSet;
use std::rc::Rc;

use mlua::{Error, Lua, MultiValue, Result, Table, UserData, UserDataMethods, UserDataRegistry, Value};

use super::User;
use super::users::{UserTable, strings, table_or_json};
use crate::bindings::args::{Args, is_truthy};
use crate::bindings::request::Request;
use crate::lua::life::{Kept, Life};
use crate::lua::{World, budget};

/// Decides whether a user may see a URL.
#[derive(Clone)]
pub enum Authorizer {
    Function(Kept),
    Roles(Rc<Roles>),
}

impl Authorizer {
    /// The authorizer behind a script's value; `None` when it is something else.
    pub fn from_value(value: &Value) -> Option<Self> {
        let data = value.as_userdata()?;
        let function = data.borrow::<LuaAuthorizer>().ok().map(|function| Self::Function(function.0.clone()));
        function.or_else(|| data.borrow::<JsonAuthorizer>().ok().map(|roles| Self::Roles(roles.0.clone())))
    }

    /// Whether the user may see `path`, which is relative to the directory. An error in the script's function is
    /// returned.
    pub async fn allows(&self, world: &World, request: &Request, user: &User, path: &str) -> Result<bool> {
        match self {
            Self::Roles(roles) => Ok(roles.allow(&user.name, request.method().as_bytes(), path)),
            Self::Function(function) => {
                let name = world.lua.create_string(&user.name)?;
                let environment = request.environment(&world.lua)?;
                let answer: Value = budget::call(&function.get()?, (name, request.method(), path, environment)).await?;
                Ok(is_truthy(&answer))
            }
        }
    }
}

/// What `ba.create.authorizer(f)` makes; `f(name, method, path, _ENV)` returns true for what it allows.
pub struct LuaAuthorizer(Kept);

impl UserData for LuaAuthorizer {}

pub fn create(lua: &Lua, args: MultiValue) -> Result<LuaAuthorizer> {
    Args::new(lua, "ba.create.authorizer", args)
        .function(1, "function")
        .map(|function| LuaAuthorizer(Life::current().keep(function)))
}

/// What `jsonuser:authorizer()` makes: it allows nothing until `set` is called.
pub struct JsonAuthorizer(Rc<Roles>);

impl JsonAuthorizer {
    pub fn new(users: Rc<UserTable>) -> Self {
        Self(Rc::new(Roles { users, constraints: RefCell::default() }))
    }
}

impl UserData for JsonAuthorizer {
    fn register(registry: &mut UserDataRegistry<Self>) {
        registry.add_method("set", |lua, this, args: MultiValue| {
            let table = table_or_json(lua, "authorizer:set", "constraints", args)?;
            *this.0.constraints.borrow_mut() = read(lua, &table)?;
            Ok(true)
        });
    }
}

/// Which roles may use which URLs and methods.
pub struct Roles {
    users: Rc<UserTable>,
    constraints: RefCell<Vec<Constraint>>,
}

struct Constraint {
    /// Paths relative to the directory, without a leading slash; `*` stands for any text.
    urls: HashSet<Vec<u8>>,
    /// In upper case. Empty means all methods.
    methods: HashSet<Vec<u8>>,
    roles: HashSet<Vec<u8>>,
}

impl Roles {
    /// Whether a constraint allows it. What no constraint mentions is forbidden.
    fn allow(&self, name: &[u8], method: &[u8], path: &str) -> bool {
        let Some(user) = self.users.find(name) else { return false };
        self.constraints.borrow().iter().any(|constraint| {
            constraint.urls.iter().any(|pattern| matches(pattern, path.as_bytes()))
                && (constraint.methods.is_empty() || constraint.methods.contains(method))
                && !constraint.roles.is_disjoint(&user.roles)
        })
    }
}

fn read(lua: &Lua, table: &Table) -> Result<Vec<Constraint>> {
    table.pairs::<Value, Value>().map(|pair| pair.and_then(|(name, value)| read_one(lua, &name, &value))).collect()
}

fn read_one(lua: &Lua, name: &Value, value: &Value) -> Result<Constraint> {
    let refuse = |why: &str| {
        Error::runtime(format!("authorizer:set: constraint '{}': {why}", name.to_string().unwrap_or_default()))
    };
    let fields = value.as_table().ok_or_else(|| refuse("a table with 'urls', 'methods' and 'roles' expected"))?;
    let list = |field: &str| {
        strings(lua, &fields.raw_get(field)?).ok_or_else(|| refuse(&format!("'{field}' must be a list of strings")))
    };
    let without_slash = |url: Vec<u8>| url.strip_prefix(b"/").map(<[u8]>::to_vec).unwrap_or(url);
    Ok(Constraint {
        urls: list("urls")?.into_iter().map(without_slash).collect(),
        methods: list("methods")?.into_iter().map(|method| method.to_ascii_uppercase()).collect(),
        roles: list("roles")?,
    })
}

/// Whether the text matches the pattern, in which each `*` stands for any text.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let mut parts = pattern.split(|&byte| byte == b'*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let mut parts: Vec<_> = parts.collect();
    // Without a `*` the first part is the whole pattern.
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts.into_iter().filter(|part| !part.is_empty()) {
        let Some(at) = rest.windows(part.len()).position(|window| window == part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn a_star_stands_for_any_text() {
        for (pattern, text, fits) in [
            ("*", "", true),
            ("*", "a/b", true),
            ("a/*", "a/b/c", true),
            ("a/*", "ab", false),
            ("*.lsp", "a/b.lsp", true),
            ("*.lsp", "a/b.lspx", false),
            ("a*b*c", "a-b-c", true),
            ("a*b*c", "acb", false),
            ("a*b*c", "a-c", false),
            ("a**c", "a-c", true),
            ("*aa*aa", "aaa", false),
            ("*aa*aa", "aaaa", true),
            ("a", "a", true),
            ("a", "ab", false),
            ("ab*b", "ab", false),
        ] {
            assert_eq!(matches(pattern.as_bytes(), text.as_bytes()), fits, "{pattern} {text}");
        }
    }
}
