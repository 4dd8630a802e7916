//! `require"httpc"`: an HTTP client for scripts, on hyper. While a coroutine waits for the server, others go on.
//!
//! This file has what scripts call. `request` reads their options, `exchange` is one request and its response,
//! `redirect` and `unpack` are parts of that.
//!
//! What a script does wrong is raised as an error. What the server does wrong is returned: nil, a word to compare with,
//! and a sentence for people ([`Failure`]).

mod exchange;
mod redirect;
mod request;
mod unpack;

use std::rc::Rc;

use bytes::Bytes;
use mlua::{IntoLua, IntoLuaMulti, Lua, MetaMethod, MultiValue, Result, UserData, UserDataMethods, UserDataRef, Value};
use tokio::sync::{Mutex, Notify};

use super::args::Args;
use super::modules;
use super::options::Options;
use crate::dial;
use exchange::{Exchange, Failure};
use request::{Defaults, Request};

/// The most bytes that `read"*a"` returns, unless the client has a `maxsize`.
const MAX_ALL: usize = 16 << 20;

pub fn install(lua: &Lua) -> Result<()> {
    modules::register(lua, "httpc", |lua| {
        let module = lua.create_table()?;
        module.set("create", lua.create_function(create)?)?;
        Ok(Value::Table(module))
    })
}

/// A client. It makes one request at a time, and keeps the connection for the next one.
struct Client {
    defaults: Defaults,
    /// The last request, whose response may yet be read, and whose connection the next one may use. Locked while a coroutine
    /// waits for the server.
    exchange: Mutex<Option<Exchange>>,
    /// Notifies the coroutines that wait when the client is closed.
    closed: Rc<Notify>,
}

/// `httpc.create([{trusted=, ca=, timeout=, user=, password=, header=, maxsize=, redirect=, compressed=}])`
fn create(lua: &Lua, args: MultiValue) -> Result<Client> {
    let args = Args::new(lua, "httpc.create", args);
    let defaults = Defaults::read(&Options::optional(&args, 1, "options")?)?;
    Ok(Client { defaults, exchange: Mutex::default(), closed: Rc::default() })
}

impl UserData for Client {
    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_async_method("request", |lua, this, args| until_closed(lua, this, args, request));
        methods.add_async_method("write", |lua, this, args| until_closed(lua, this, args, write));
        methods.add_async_method("status", |lua, this, args| until_closed(lua, this, args, status));
        methods.add_async_method("header", |lua, this, args| until_closed(lua, this, args, header));
        methods.add_async_method("headerpairs", |lua, this, args| until_closed(lua, this, args, headerpairs));
        methods.add_async_method("read", |lua, this, args| until_closed(lua, this, args, read));
        methods.add_async_method("close", |_, this: UserDataRef<Self>, _: MultiValue| async move {
            this.closed.notify_waiters();
            *this.exchange.lock().await = None;
            Ok(true)
        });
        methods.add_meta_method(MetaMethod::ToString, |_, _, _: MultiValue| Ok("http client"));
    }
}

/// Does work that may wait for the server. Fails if another coroutine closes the client meanwhile.
async fn until_closed(
    lua: Lua,
    this: UserDataRef<Client>,
    args: MultiValue,
    work: impl AsyncFnOnce(Lua, UserDataRef<Client>, MultiValue) -> Result<MultiValue>,
) -> Result<MultiValue> {
    let closed = this.closed.clone();
    tokio::select! {
        biased;
        () = closed.notified() => failed(&lua, &Failure::Abandoned),
        done = work(lua.clone(), this, args) => done,
    }
}

/// What scripts get for a failure: nil, a word and a sentence.
fn failed(lua: &Lua, failure: &Failure) -> Result<MultiValue> {
    (Value::Nil, failure.code(), failure.to_string()).into_lua_multi(lua)
}

/// `http:request{url=, method=, header=, query=, user=, password=, data=, size=, redirect=, compressed=}`: sends the head, and
/// the body if it is in `data`; true. A POST, PUT or PATCH without `data` is followed by `write`, in as many pieces as wanted,
/// up to `size` bytes if given.
async fn request(lua: Lua, this: UserDataRef<Client>, args: MultiValue) -> Result<MultiValue> {
    let args = Args::new(&lua, "http:request", args);
    let request = Request::read(&Options::required(&args, 1, "options")?, &this.defaults)?;
    let mut last = this.exchange.lock().await;
    let kept = match last.take() {
        Some(mut exchange) => exchange.take_kept().await,
        None => None,
    };
    match Exchange::start(request, kept).await {
        Ok(exchange) => {
            *last = Some(exchange);
            true.into_lua_multi(&lua)
        }
        Err(failure) => {
            let failure = Rc::new(failure);
            *last = Some(Exchange::not_made(failure.clone()));
            failed(&lua, &failure)
        }
    }
}

/// `http:write(data)`: true, or nil, a word and a sentence.
async fn write(lua: Lua, this: UserDataRef<Client>, args: MultiValue) -> Result<MultiValue> {
    let data = Args::new(&lua, "http:write", args).string(1, "data")?;
    let mut last = this.exchange.lock().await;
    match current(&mut last, "http:write")?.write(data).await {
        Ok(()) => true.into_lua_multi(&lua),
        Err(failure) => failed(&lua, &failure),
    }
}

/// `http:status()`: waits for the response; its status code, or nil, a word and a sentence.
async fn status(lua: Lua, this: UserDataRef<Client>, _: MultiValue) -> Result<MultiValue> {
    let mut last = this.exchange.lock().await;
    match current(&mut last, "http:status")?.head().await {
        Ok(head) => head.status.as_u16().into_lua_multi(&lua),
        Err(failure) => failed(&lua, &failure),
    }
}

/// `http:header([name])`: one value in any letter case, or a table of all, names in lower case; of repeated names the
/// last.
async fn header(lua: Lua, this: UserDataRef<Client>, args: MultiValue) -> Result<MultiValue> {
    let name = Args::new(&lua, "http:header", args).optional_text(1, "name")?;
    let mut last = this.exchange.lock().await;
    let head = match current(&mut last, "http:header")?.head().await {
        Ok(head) => head,
        Err(failure) => return failed(&lua, &failure),
    };
    match name {
        Some(name) => match head.headers.get(name.as_str()) {
            Some(value) => lua.create_string(value.as_bytes())?.into_lua_multi(&lua),
            None => Value::Nil.into_lua_multi(&lua),
        },
        None => {
            let table = lua.create_table()?;
            for (name, value) in &head.headers {
                table.set(name.as_str(), lua.create_string(value.as_bytes())?)?;
            }
            table.into_lua_multi(&lua)
        }
    }
}

/// `http:headerpairs()`: an iterator over all names and values, repeated names included.
async fn headerpairs(lua: Lua, this: UserDataRef<Client>, _: MultiValue) -> Result<MultiValue> {
    let mut last = this.exchange.lock().await;
    let mut pairs = match current(&mut last, "http:headerpairs")?.head().await {
        Ok(head) => head.headers.clone().into_iter(),
        Err(failure) => return failed(&lua, &failure),
    };
    let mut last = None;
    let next = lua.create_function_mut(move |lua, _: MultiValue| match pairs.next() {
        Some((name, value)) => {
            // `HeaderMap` gives a repeated name only once, with its first value.
            last = name.or_else(|| last.take());
            let name = last.as_ref().map(|name| name.as_str().to_owned());
            (name, lua.create_string(value.as_bytes())?).into_lua_multi(lua)
        }
        None => Value::Nil.into_lua_multi(lua),
    })?;
    next.into_lua_multi(&lua)
}

/// `http:read()`: the next bytes of the body, as many as have arrived; `http:read(n)`: `n` bytes, or fewer at the end;
/// `http:read"*a"`: all that is left. At the end nil, or `""` for `"*a"`. On failure nil, a word and a sentence.
async fn read(lua: Lua, this: UserDataRef<Client>, args: MultiValue) -> Result<MultiValue> {
    let args = Args::new(&lua, "http:read", args);
    let max = this.defaults.max_size.unwrap_or(MAX_ALL);
    let (least, is_all) = match args.value(1) {
        Value::Nil => (1, false),
        Value::String(form) if matches!(&*form.as_bytes(), b"*a" | b"a") => (max.saturating_add(1), true),
        Value::String(form) => {
            let why = format!("\"*a\" or a number of bytes expected, got \"{}\"", form.to_string_lossy());
            return Err(args.refuse(1, "size", &why));
        }
        // The range fits into a usize.
        _ => (args.integer_in(1, "size", 1..=1 << 30)? as usize, false),
    };
    let mut last = this.exchange.lock().await;
    let data = match current(&mut last, "http:read")?.read(least, !args.is_absent(1)).await {
        Ok(data) => data,
        Err(failure) => return failed(&lua, &failure),
    };
    if is_all && data.len() > max {
        return failed(&lua, &Failure::TooLarge(max));
    }
    match data.is_empty() && !is_all {
        true => Value::Nil.into_lua_multi(&lua),
        false => lua.create_string(data)?.into_lua(&lua)?.into_lua_multi(&lua),
    }
}

/// The WebSocket that the request of an HTTP client has become, and the bytes that were received on it already. The
/// client may also be one of `require"http"`, which is a table around one of `require"httpc"`.
pub async fn take_websocket(
    args: &Args<'_>,
    position: usize,
) -> Result<std::result::Result<(dial::Connection, Bytes), Failure>> {
    let given = args.value(position);
    let value = match &given {
        Value::Table(table) => table.raw_get("client")?,
        other => other.clone(),
    };
    let client = value.as_userdata().and_then(|data| data.borrow::<Client>().ok());
    let Some(client) = client else { return Err(args.mismatch(position, "http", "HTTP client", &given)) };
    let mut last = client.exchange.lock().await;
    Ok(current(&mut last, "ba.socket.http2sock")?.take_websocket().await)
}

/// The last request. An error, which begins with `function`, if there was none.
fn current<'last>(last: &'last mut Option<Exchange>, function: &str) -> Result<&'last mut Exchange> {
    let none = || mlua::Error::runtime(format!("{function}: there is no request; call http:request first"));
    last.as_mut().ok_or_else(none)
}
