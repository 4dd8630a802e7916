//! User databases, `ba.create.authuser` and `jsonuser`: a function of the app, or a table.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::time::Duration;

use mlua::{
    AnyUserData, Error, Lua, MetaMethod, MultiValue, Result, Table, UserData, UserDataMethods, UserDataRegistry, Value,
};

use super::authorizer::JsonAuthorizer;
use super::secret::Secret;
use crate::bindings::args::{Args, plain_text};
use crate::bindings::ba::json;
use crate::bindings::console::describe;
use crate::bindings::request::Request;
use crate::lua::life::{Kept, Life};
use crate::lua::{World, budget};

/// What a user database knows about a user.
#[derive(Clone)]
pub struct Account {
    pub secret: Secret,
    pub roles: HashSet<Vec<u8>>,
    /// The most sessions that the user may have at a time; `None` for no limit.
    pub max_users: Option<usize>,
    /// Whether one session too many ends the oldest one. Otherwise the login is denied.
    pub recycle: bool,
    /// How long a session lives without a request; `None` for the default.
    pub inactive: Option<Duration>,
}

/// A user database.
#[derive(Clone)]
pub enum Users {
    /// See [`account_of_answer`] for what it returns.
    Function(Kept),
    Table(Rc<UserTable>),
}

/// Accounts by user name.
#[derive(Default)]
pub struct UserTable(RefCell<HashMap<Vec<u8>, Account>>);

impl Users {
    /// The user database behind a script's value; `None` when it is something else.
    pub fn from_value(value: &Value) -> Option<Self> {
        let data = value.as_userdata()?;
        let function = data.borrow::<AuthUser>().ok().map(|user| Self::Function(user.0.clone()));
        function.or_else(|| data.borrow::<JsonUser>().ok().map(|user| Self::Table(user.0.clone())))
    }

    /// The user's account. `password` is what the client sent in plain text, if it did.
    pub async fn find(
        &self,
        world: &World,
        request: &Request,
        name: &[u8],
        password: Option<&[u8]>,
    ) -> Result<Option<Account>> {
        match self {
            Self::Table(users) => Ok(users.find(name)),
            Self::Function(function) => {
                let lua = &world.lua;
                let sent = password.map(|password| lua.create_string(password)).transpose()?;
                let environment = request.environment(lua)?;
                let answer: MultiValue =
                    budget::call(&function.get()?, (lua.create_string(name)?, sent, environment)).await?;
                Ok(account_of_answer(lua, &answer, password.is_some()))
            }
        }
    }
}

/// The account that a script's function returned: the password, a table with its hash, or true to accept the password
/// that it was given; then [`Account::max_users`], [`Account::recycle`], and [`Account::inactive`] in seconds.
fn account_of_answer(lua: &Lua, answer: &MultiValue, has_password: bool) -> Option<Account> {
    let value = |index| answer.get(index).unwrap_or(&Value::Nil);
    let secret = match value(0) {
        Value::Boolean(true) if has_password => Secret::Accepted,
        other => secret(lua, other)?,
    };
    let number = |index| value(index).as_integer().and_then(|number| u32::try_from(number).ok());
    Some(Account {
        secret,
        roles: HashSet::new(),
        max_users: number(1).map(|number| number as usize).filter(|number| *number > 0),
        recycle: matches!(value(2), Value::Boolean(true)),
        inactive: number(3).filter(|seconds| *seconds > 0).map(|seconds| Duration::from_secs(seconds.into())),
    })
}

/// A password, or a table with its HA1.
fn secret(lua: &Lua, value: &Value) -> Option<Secret> {
    match value {
        Value::Table(table) => plain_text(lua, &table.raw_get(1).ok()?).map(Secret::Ha1),
        other => plain_text(lua, other).map(Secret::Password),
    }
}

impl UserTable {
    /// The account of the user with this name.
    pub fn find(&self, name: &[u8]) -> Option<Account> {
        self.0.borrow().get(name).cloned()
    }
}

/// What `ba.create.authuser(f)` makes.
pub struct AuthUser(Kept);

impl UserData for AuthUser {}

pub fn create_authuser(lua: &Lua, args: MultiValue) -> Result<AuthUser> {
    Args::new(lua, "ba.create.authuser", args)
        .function(1, "function")
        .map(|function| AuthUser(Life::current().keep(function)))
}

/// What `ba.create.jsonuser()` makes.
#[derive(Default)]
pub struct JsonUser(Rc<UserTable>);

impl UserData for JsonUser {
    fn register(registry: &mut UserDataRegistry<Self>) {
        registry.add_method("set", |lua, this, args: MultiValue| {
            let users = read_users(lua, "jsonuser:set", &table_or_json(lua, "jsonuser:set", "users", args)?)?;
            *this.0.0.borrow_mut() = users;
            Ok(true)
        });
        // Scripts call `mako.udb()`, where `mako.udb` is one of these.
        registry.add_meta_function(MetaMethod::Call, |_, (this, _): (AnyUserData, MultiValue)| Ok(this));
        registry.add_method("authorizer", |_, this, _: MultiValue| Ok(JsonAuthorizer::new(this.0.clone())));
    }
}

impl JsonUser {
    /// The users of the configuration. If one is wrong, there are none at all: a mistake must not let anybody in.
    pub fn of_configuration(lua: &Lua, users: &Table) -> Self {
        let read = read_users(lua, "users", users).unwrap_or_else(|error| {
            tracing::error!("the configuration: {}; until it is mended nobody can log in", describe(&error).message);
            HashMap::new()
        });
        Self(Rc::new(UserTable(RefCell::new(read))))
    }
}

/// Checks the users of a configuration. The error says what is wrong with which user.
pub fn check_users(lua: &Lua, users: &Table) -> std::result::Result<(), String> {
    read_users(lua, "`users`", users).map(drop).map_err(|error| describe(&error).message)
}

/// Argument 1, called `name` in errors: a table, or the JSON text of one.
pub fn table_or_json(lua: &Lua, function: &'static str, name: &str, args: MultiValue) -> Result<Table> {
    let args = Args::new(lua, function, args);
    let Value::String(text) = args.value(1) else { return args.table(1, name) };
    match json::decode(lua, &text.as_bytes()) {
        Ok(Value::Table(table)) => Ok(table),
        Ok(_) => Err(args.refuse(1, name, "a table or the JSON text of one expected")),
        Err(reason) => Err(args.refuse(1, name, &format!("not JSON: {reason}"))),
    }
}

/// Accounts by name. Errors begin with `place`.
fn read_users(lua: &Lua, place: &str, table: &Table) -> Result<HashMap<Vec<u8>, Account>> {
    let pairs = table.pairs::<Value, Value>();
    pairs.map(|pair| pair.and_then(|(name, value)| read_user(lua, place, &name, &value))).collect()
}

fn read_user(lua: &Lua, place: &str, name: &Value, value: &Value) -> Result<(Vec<u8>, Account)> {
    let shown = name.to_string().unwrap_or_default();
    let refuse = |why: &str| Error::runtime(format!("{place}: user '{shown}': {why}"));
    let bytes = plain_text(lua, name).ok_or_else(|| refuse("the name must be a string"))?;
    let fields = value.as_table().ok_or_else(|| refuse("a table with the field 'pwd' expected"))?;
    let secret = secret(lua, &fields.raw_get("pwd")?)
        .ok_or_else(|| refuse("'pwd' must be the password, or a table with its hash"))?;
    let number = |field: &str| match fields.raw_get::<Value>(field)? {
        Value::Nil => Ok(None),
        value => match value.as_integer().and_then(|number| u32::try_from(number).ok()).filter(|number| *number > 0) {
            Some(number) => Ok(Some(number)),
            None => Err(refuse(&format!("'{field}' must be a positive integer"))),
        },
    };
    let account = Account {
        secret,
        roles: strings(lua, &fields.raw_get("roles")?).ok_or_else(|| refuse("'roles' must be a list of strings"))?,
        max_users: number("maxusers")?.map(|number| number as usize),
        recycle: matches!(fields.raw_get("recycle")?, Value::Boolean(true)),
        inactive: number("inactive")?.map(|seconds| Duration::from_secs(seconds.into())),
    };
    Ok((bytes, account))
}

/// A list of strings as a set. A single string counts as a list of one, nil as the empty list; `None` for anything
/// else.
pub fn strings(lua: &Lua, value: &Value) -> Option<HashSet<Vec<u8>>> {
    match value {
        Value::Nil => Some(HashSet::new()),
        Value::Table(list) => list.sequence_values().map(|item| plain_text(lua, &item.ok()?)).collect(),
        one => plain_text(lua, one).map(|one| HashSet::from([one])),
    }
}
