//! Lua's coroutines and protected calls, changed so that scripts can wait inside them for Rust's asynchronous functions, and
//! catch Rust's errors as strings. An error that must not be caught, such as [`budget::OverBudget`], is raised again.

use mlua::{Function, Lua, MultiValue, Result, Value};

use super::console;
use crate::lua::budget::{self, is_over_budget};
use crate::lua::life::Life;

/// Raised by `response:abort` and `sendredirect` to end a page. It is not an error of the page.
#[derive(Debug, thiserror::Error)]
#[error("the page has ended")]
pub struct PageEnded;

/// Whether this is [`PageEnded`].
pub fn is_page_ended(error: &mlua::Error) -> bool {
    error.downcast_ref::<PageEnded>().is_some()
}

/// Whether a script has raised nil. That is what a script gets that catches [`PageEnded`], and it may raise it again.
pub fn is_nil(error: &mlua::Error) -> bool {
    matches!(error, mlua::Error::RuntimeError(message) if message.starts_with("nil\nstack traceback:"))
}

/// Runs a function as a task of its own on the Lua thread, which ends with its app at the latest, and then calls `end`. The log
/// tells of an error as one of `what`.
pub fn spawn(what: &'static str, function: Function, args: MultiValue, end: impl FnOnce() + 'static) {
    let life = Life::current();
    let call = life.clone().run(budget::call::<Value>(&function, args));
    tokio::task::spawn_local(life.scope(async move {
        if let Some(Err(error)) = call.await {
            console::report(what, &error);
        }
        end();
    }));
}

/// `attempt(what, f, ...)`, for built-in modules that call functions of scripts: true and the first result; or false and the
/// error's message, and the log tells of it as an error of `what`. The function is a coroutine with a budget of its own, so
/// that the module goes on even if the function is stopped.
pub fn attempt(lua: &Lua) -> Result<Function> {
    // Lua calls it, since it may also be a table with `__call`.
    let apply = "local f = ... local result = f(select(2, ...)) return result";
    let apply = lua.load(apply).set_name("=[smq]").into_function()?;
    lua.create_async_function(move |lua, (what, function_and_args): (String, MultiValue)| {
        let apply = apply.clone();
        async move {
            match budget::call::<Value>(&apply, function_and_args).await {
                Ok(value) => Ok((true, value)),
                Err(error) => {
                    console::report(&what, &error);
                    Ok((false, lua.create_string(console::describe(&error).message).map(Value::String)?))
                }
            }
        }
    })
}

/// Replaces `pcall`, `xpcall`, and the functions of `coroutine` that are concerned.
pub fn install(lua: &Lua) -> Result<()> {
    let plain = lua.create_function(|lua, error: Value| match error {
        Value::Error(error) if is_over_budget(&error) => Ok((Value::Error(error), true)),
        Value::Error(error) if is_page_ended(&error) => Ok((Value::Nil, false)),
        Value::Error(error) => Ok((Value::String(lua.create_string(console::describe(&error).message)?), false)),
        Value::String(text) => Ok((Value::String(console::caught_text(lua, text)?), false)),
        other => Ok((other, false)),
    })?;
    let prelude = lua.load(include_str!("../../lua/internal/coroutines.lua")).set_name("=[smq]");
    prelude.call((Lua::poll_pending(), plain, console::INNER_WAIT))
}
