//! The methods that scripts call on `request` and `response`.

use std::net::SocketAddr;

use hyper::header::{
    CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue, LOCATION, TRANSFER_ENCODING,
};
use hyper::{HeaderMap, StatusCode, Version};
use mlua::{
    Error, FromLua, Function, IntoLuaMulti, Lua, MetaMethod, MultiValue, Result, UserDataFields, UserDataMethods,
};
use mlua::{UserDataRef, UserDataRegistry, Value, Variadic};

use super::output::Output;
use super::{Request, admission, body, compress, cookies, include, json, multipart, url};
use crate::bindings::args::{Args, no_object, plain_text};
use crate::bindings::coroutine::PageEnded;
use crate::http::reason;

/// Adds all methods. `output` are those that are written in Lua, see `lua/internal/output.lua`.
pub fn register(registry: &mut UserDataRegistry<Request>, output: Vec<(String, Function)>) {
    for (name, method) in output {
        registry.add_field(name, method);
    }
    register_request(registry);
    register_headers(registry);
    register_control(registry);
    admission::register(registry);
    body::register(registry);
    compress::register(registry);
    cookies::register(registry);
    include::register(registry);
    json::register(registry);
    multipart::register(registry);
    registry.add_meta_method(MetaMethod::ToString, |_, this, ()| Ok(format!("{this:?}")));
}

fn register_request(registry: &mut UserDataRegistry<Request>) {
    registry.add_method("header", header);
    registry.add_method("data", data);
    registry.add_method("datapairs", datapairs);
    registry.add_method("method", |_, this, _: MultiValue| Ok(this.method()));
    registry.add_method("uri", |_, this, _: MultiValue| Ok(this.uri()));
    registry.add_method("url", |_, this, _: MultiValue| Ok(this.with_input(url::full)));
    registry.add_method("domain", |_, this, _: MultiValue| Ok(this.with_input(url::domain)));
    registry.add_method("version", |_, this, _: MultiValue| {
        Ok(this.with_input(|input| if input.head.version == Version::HTTP_10 { "1.0" } else { "1.1" }))
    });
    registry.add_method("issecure", |_, this, _: MultiValue| Ok(this.is_tls()));
    registry.add_method("peername", |lua, this, _: MultiValue| address(lua, this.peer_addr()));
    registry.add_method("sockname", |lua, this, _: MultiValue| address(lua, this.local_addr()));
}

fn register_headers(registry: &mut UserDataRegistry<Request>) {
    registry.add_method("setstatus", |lua, this, args: MultiValue| {
        let code = Args::new(lua, "response:setstatus", args).integer_in(1, "status", 200..=599)?;
        this.uncommitted(|output| output.status = status(code))
    });
    registry.add_method("setheader", setheader);
    registry.add_method("setcontenttype", |lua, this, args: MultiValue| {
        let args = Args::new(lua, "response:setcontenttype", args);
        let value = header_value(&args, 1, "type")?;
        this.uncommitted(|output| drop(output.headers.insert(CONTENT_TYPE, value)))
    });
    registry.add_method("setcontentlength", |lua, this, args: MultiValue| {
        let length = Args::new(lua, "response:setcontentlength", args).integer_in(1, "length", 0..=i64::MAX)?;
        this.uncommitted(|output| drop(output.headers.insert(CONTENT_LENGTH, length.into())))
    });
    registry.add_method("setmaxage", |lua, this, args: MultiValue| {
        let seconds = Args::new(lua, "response:setmaxage", args).integer_in(1, "seconds", 0..=i64::MAX)?;
        let value = HeaderValue::try_from(format!("max-age={seconds}")).map_err(Error::external)?;
        this.uncommitted(|output| drop(output.headers.insert(CACHE_CONTROL, value)))
    });
    registry.add_method("setdefaultheaders", |_, this, _: MultiValue| this.uncommitted(Output::set_default_headers));
    registry.add_method("containsheader", |lua, this, args: MultiValue| {
        let name = Args::new(lua, "response:containsheader", args).text(1, "name")?;
        Ok(this.0.output.borrow().headers.contains_key(name.as_str()))
    });
}

fn register_control(registry: &mut UserDataRegistry<Request>) {
    registry.add_method("sendredirect", sendredirect);
    registry.add_method("senderror", senderror);
    registry.add_method("abort", |_, this, _: MultiValue| -> Result<()> {
        this.0.output.borrow_mut().abort();
        Err(Error::external(PageEnded))
    });
    registry.add_method("reset", |lua, this, args: MultiValue| {
        let args = Args::new(lua, "response:reset", args);
        match args.optional_text(1, "what")?.as_deref() {
            None => this.uncommitted(Output::start_over),
            Some("buffer") => this.uncommitted(Output::clear),
            Some(other) => Err(args.refuse(1, "what", &format!("\"buffer\" or nothing expected, got {other}"))),
        }
    });
    registry.add_method("deferred", |lua, this, _: MultiValue| {
        this.0.is_deferred.set(true);
        lua.create_any_userdata(this.clone())
    });
    registry.add_async_method("close", |_, this: UserDataRef<Request>, _: MultiValue| {
        let request = this.clone();
        async move {
            request.end(false).await;
            Ok(true)
        }
    });
    registry.add_method("valid", |_, this, _: MultiValue| Ok(this.0.output.borrow().is_valid()));
    registry.add_method("committed", |_, this, _: MultiValue| Ok(this.0.output.borrow().is_committed()));
}

impl Request {
    /// Changes the response, if that is not committed yet; otherwise the error is `iscommitted`, which scripts know.
    pub(super) fn uncommitted(&self, change: impl FnOnce(&mut Output)) -> Result<()> {
        let mut output = self.0.output.borrow_mut();
        if output.is_committed() {
            return Err(Error::runtime("iscommitted"));
        }
        change(&mut output);
        Ok(())
    }
}

/// The first half of `response:write(...)`: adds the strings and numbers among the values to the output. Returns
/// whether the page should wait for the client.
pub fn put(lua: &Lua, (response, values): (Value, Variadic<Value>)) -> Result<bool> {
    let response = receiver(lua, response, "response:write")?;
    let output = &response.0.output;
    for value in values.iter() {
        match value {
            Value::String(text) => output.borrow_mut().write(&text.as_bytes())?,
            other => {
                // Making text can start the garbage collector, and with it a script's finalizer, which may write, too.
                if let Some(text) = plain_text(lua, other) {
                    output.borrow_mut().write(&text)?;
                }
            }
        }
    }
    Ok(output.borrow().is_full())
}

fn receiver(lua: &Lua, response: Value, method: &str) -> Result<UserDataRef<Request>> {
    UserDataRef::from_lua(response, lua).map_err(|_| no_object(method, "a request or response"))
}

/// The first half of `response:flush()`. Returns whether there is something to wait for.
pub fn flush(lua: &Lua, response: Value) -> Result<bool> {
    Ok(receiver(lua, response, "response:flush")?.0.output.borrow_mut().flush())
}

/// The first half of `response:send(data)`. Returns whether there is something to wait for.
pub fn send(lua: &Lua, (response, args): (Value, MultiValue)) -> Result<bool> {
    let response = receiver(lua, response, "response:send")?;
    let data = Args::new(lua, "response:send", args).string(1, "data")?;
    let mut output = response.0.output.borrow_mut();
    output.write(&data)?;
    Ok(output.flush())
}

/// `request:header([name])`: the value of one header, or a table of all.
fn header(lua: &Lua, this: &Request, args: MultiValue) -> Result<Value> {
    match Args::new(lua, "request:header", args).optional_text(1, "name")? {
        None => this.headers_table(lua).map(Value::Table),
        Some(name) => match this.header(&name) {
            Some(value) => lua.create_string(value).map(Value::String),
            None => Ok(Value::Nil),
        },
    }
}

/// `request:data([name])`: the value of one form field, or a table of all. Of a repeated field the former is its first
/// value, the latter has its last one.
fn data(lua: &Lua, this: &Request, args: MultiValue) -> Result<Value> {
    match Args::new(lua, "request:data", args).optional_string(1, "name")? {
        None => this.data_table(lua).map(Value::Table),
        Some(name) => match this.field(&name) {
            Some(value) => lua.create_string(value).map(Value::String),
            None => Ok(Value::Nil),
        },
    }
}

/// `request:datapairs()`: an iterator over all fields in order.
fn datapairs(lua: &Lua, this: &Request, _: MultiValue) -> Result<Function> {
    let mut fields = this.fields().into_iter();
    lua.create_function_mut(move |lua, _: MultiValue| match fields.next() {
        Some((name, value)) => (lua.create_string(name)?, lua.create_string(value)?).into_lua_multi(lua),
        None => Value::Nil.into_lua_multi(lua),
    })
}

/// An address as scripts get it: IP address, port, whether it is IPv6; nil if there is none.
pub fn address(lua: &Lua, address: Option<SocketAddr>) -> Result<MultiValue> {
    match address {
        Some(address) => (address.ip().to_string(), address.port(), address.is_ipv6()).into_lua_multi(lua),
        None => Value::Nil.into_lua_multi(lua),
    }
}

/// Checks a header that a script passes in the table of argument 1. The server sets some headers itself; these are
/// refused.
pub fn read_header(args: &Args, name: &[u8], value: &[u8]) -> Result<(HeaderName, HeaderValue)> {
    let refuse = |why: &str| {
        args.refuse(1, "headers", &format!("header '{}': {why}", String::from_utf8_lossy(name).escape_debug()))
    };
    let header = HeaderName::from_bytes(name).map_err(|_| refuse("not a header name"))?;
    if matches!(header.as_str(), "transfer-encoding" | "content-length" | "connection") {
        return Err(refuse("the server sets it itself"));
    }
    let value = HeaderValue::from_bytes(value).map_err(|_| refuse("control characters are not allowed"))?;
    Ok((header, value))
}

/// `response:setheader(name, value)`: replaces; nil removes.
fn setheader(lua: &Lua, this: &Request, args: MultiValue) -> Result<()> {
    let args = Args::new(lua, "response:setheader", args);
    let name = args.string(1, "name")?;
    let name = HeaderName::from_bytes(&name).map_err(|_| args.refuse(1, "name", "not a header name"))?;
    if name == TRANSFER_ENCODING {
        return Err(args.refuse(1, "name", "the server decides how the body is sent"));
    }
    if args.is_absent(2) && args.count() >= 2 {
        return this.uncommitted(|output| drop(output.headers.remove(name)));
    }
    let value = match name {
        CONTENT_LENGTH => args.integer_in(2, "value", 0..=i64::MAX)?.into(),
        _ => header_value(&args, 2, "value")?,
    };
    this.uncommitted(|output| drop(output.headers.insert(name, value)))
}

fn header_value(args: &Args, position: usize, name: &str) -> Result<HeaderValue> {
    let value = args.string(position, name)?;
    HeaderValue::from_bytes(&value).map_err(|_| args.refuse(position, name, "control characters are not allowed"))
}

/// The caller has checked that the code is within 200 to 599, so there is always a status.
fn status(code: i64) -> StatusCode {
    u16::try_from(code)
        .ok()
        .and_then(|code| StatusCode::from_u16(code).ok())
        .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

/// `response:sendredirect(url[, permanent])`: completes the response with a redirect, and ends the page.
fn sendredirect(lua: &Lua, this: &Request, args: MultiValue) -> Result<()> {
    let args = Args::new(lua, "response:sendredirect", args);
    let target = args.text(1, "url")?;
    let permanent = args.truth(2);
    if this.is_complete() {
        return Err(Error::external(PageEnded));
    }
    let target = this.with_input(|input| url::absolute(input, &target)).unwrap_or(target);
    let location = HeaderValue::from_str(&escape(&target))
        .map_err(|_| args.refuse(1, "url", "control characters are not allowed"))?;
    this.uncommitted(|output| {
        output.clear();
        output.headers.remove(CONTENT_TYPE);
        output.status = if permanent { StatusCode::MOVED_PERMANENTLY } else { StatusCode::FOUND };
        output.headers.insert(LOCATION, location);
        output.complete();
    })?;
    Err(Error::external(PageEnded))
}

/// Percent-encodes what a URL must not contain: blanks and characters outside ASCII. Line breaks stay, and are refused
/// later, since they are more likely an attack (response splitting) than a URL.
fn escape(url: &str) -> String {
    const ALLOWED: &percent_encoding::AsciiSet = &percent_encoding::CONTROLS.add(b' ').remove(b'\r').remove(b'\n');
    percent_encoding::utf8_percent_encode(url, ALLOWED).to_string()
}

/// `response:senderror(status[, html])`: replaces the response by a small error page. The script goes on, and its
/// further output follows.
fn senderror(lua: &Lua, this: &Request, args: MultiValue) -> Result<()> {
    let args = Args::new(lua, "response:senderror", args);
    let code = status(args.integer_in(1, "status", 200..=599)?);
    let html = args.optional_string(2, "html")?.unwrap_or_default();
    if this.is_complete() {
        return Ok(());
    }
    let mut written = Ok(());
    this.uncommitted(|output| {
        output.clear();
        output.headers = HeaderMap::new();
        output.set_default_headers();
        output.headers.insert(CONNECTION, HeaderValue::from_static("close"));
        output.status = code;
        written = output.write(&error_page(code, &html));
    })?;
    written
}

/// The small page that goes with a status. `html` is a further text in it.
pub(super) fn error_page(code: StatusCode, html: &[u8]) -> Vec<u8> {
    let title = format!("{} {}", code.as_u16(), reason(code));
    let head = format!("<!DOCTYPE html><html><head><title>{title}</title></head><body><h1>{title}</h1><p>");
    [head.as_bytes(), html, b"</p></body></html>\n"].concat()
}
