//! Who may enter a directory: `ba.create.authenticator`, `authuser`, `jsonuser`, `authorizer`.

mod attempts;
mod audience;
mod authenticator;
mod authorizer;
mod digest;
mod nonces;
mod secret;
mod seeds;
mod users;

use std::rc::Rc;

use mlua::{MultiValue, Result, Table, Value};

use super::args::Args;
use super::request::Request;
use crate::lua::World;
use authenticator::{Authenticator, LuaAuthenticator};
use authorizer::Authorizer;
pub use users::{JsonUser, check_users};

/// A user who is logged in. Has no `Debug`, so that the password is never logged by accident.
#[derive(Clone)]
pub struct User {
    pub name: Vec<u8>,
    /// The password, as the client sent it or as the user database has it; `None` if neither has it in plain text.
    pub password: Option<Vec<u8>>,
    /// How the user logged in: `form`, `basic` or `digest`.
    pub method: &'static str,
}

/// What protects a directory: who the client is, and then, if there is an authorizer, what it may see.
pub struct Guard {
    authenticator: Rc<Authenticator>,
    authorizer: Option<Authorizer>,
}

impl Guard {
    /// Whether the client may have `path`, which is relative to the directory. If not, the response has been written.
    pub async fn admit(&self, world: &World, request: &Request, path: &str) -> Result<bool> {
        let user = match request.logged_in() {
            Some(user) => user,
            None => match self.authenticator.authenticate(world, request).await? {
                Some(user) => user,
                None => return Ok(false),
            },
        };
        let Some(authorizer) = &self.authorizer else { return Ok(true) };
        let is_allowed = authorizer.allows(world, request, &user, path).await?;
        if !is_allowed {
            request.refuse_entry()?;
        }
        Ok(is_allowed)
    }
}

/// The arguments of `dir:setauth(authenticator[, authorizer])`; `None` for nil, which takes the guard away.
pub fn guard(args: &Args) -> Result<Option<Guard>> {
    if args.count() > 0 && args.is_absent(1) {
        return Ok(None);
    }
    let authenticator = args.object::<LuaAuthenticator>(1, "authenticator", "authenticator")?;
    let authorizer = match args.value(2) {
        Value::Nil => None,
        other => match Authorizer::from_value(&other) {
            Some(authorizer) => Some(authorizer),
            None => return Err(args.mismatch(2, "authorizer", "authorizer", &other)),
        },
    };
    Ok(Some(Guard { authenticator: authenticator.0.clone(), authorizer }))
}

/// Adds the functions to `ba.create`.
pub fn register(world: &Rc<World>, ba: &Table) -> Result<()> {
    let (lua, create): (_, Table) = (&world.lua, ba.get("create")?);
    create.set("authenticator", lua.create_function(authenticator::create)?)?;
    create.set("authuser", lua.create_function(users::create_authuser)?)?;
    create.set("jsonuser", lua.create_function(|_, _: MultiValue| Ok(users::JsonUser::default()))?)?;
    create.set("authorizer", lua.create_function(authorizer::create)?)
}
