//! Cookies: `request:cookie`, `response:createcookie`, and the object both return.

use std::cell::RefCell;
use std::time::{Duration, SystemTime};

use hyper::header::{COOKIE, HeaderValue};
use mlua::{Error, IntoLua, Lua, MultiValue, Result, UserData, UserDataMethods, UserDataRegistry, Value};
use percent_encoding::{AsciiSet, CONTROLS, percent_decode, percent_encode};

use super::Request;
use crate::bindings::args::{Args, is_truthy};
use crate::http::PageRequest;

/// The characters that are percent-encoded in a value: those that RFC 6265 forbids, and `%` itself.
const VALUE: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b',').add(b';').add(b'\\').add(b'%');
/// The most bytes of a `Set-Cookie` header. Browsers ignore longer ones silently.
const MAX_SIZE: usize = 4096;

pub fn register(registry: &mut UserDataRegistry<Request>) {
    registry.add_method("cookie", |lua, this, args: MultiValue| {
        let args = Args::new(lua, "request:cookie", args);
        let name = args.text(1, "name")?;
        match this.with_input(|input| value(input, &name)).flatten() {
            Some(value) => Cookie::new(this, name, percent_decode(&value).collect()).into_lua(lua),
            None => Ok(Value::Nil),
        }
    });
    registry.add_method("createcookie", |lua, this, args: MultiValue| {
        let args = Args::new(lua, "response:createcookie", args);
        let name = args.text(1, "name")?;
        if name.is_empty() || !name.bytes().all(is_token) {
            return Err(args.refuse(1, "name", "letters, digits and some of !#$%&'*+-.^_`|~ expected"));
        }
        Ok(Cookie::new(this, name, Vec::new()))
    });
}

/// The value of the first cookie with this name, as it was sent, without quotes around it.
pub fn value(request: &PageRequest, name: &str) -> Option<Vec<u8>> {
    let headers = request.head.headers.get_all(COOKIE);
    let pairs = headers.iter().flat_map(|header| header.as_bytes().split(|&byte| byte == b';'));
    let mut pairs = pairs.filter_map(|pair| {
        let equals = pair.iter().position(|&byte| byte == b'=')?;
        Some((pair[..equals].trim_ascii(), pair[equals + 1..].trim_ascii()))
    });
    let (_, value) = pairs.find(|(known, _)| *known == name.as_bytes())?;
    let quoted = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\""));
    Some(quoted.unwrap_or(value).to_vec())
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// A cookie as scripts see it. Each method returns the attribute it is named after, or sets it if there is an argument.
/// Nothing is sent without `activate` or `delete`.
struct Cookie {
    request: Request,
    parts: RefCell<Parts>,
}

#[derive(Clone)]
struct Parts {
    name: String,
    value: Vec<u8>,
    path: Option<String>,
    domain: Option<String>,
    comment: Option<String>,
    /// In seconds; `None` for a cookie that lasts until the browser is closed.
    max_age: Option<i64>,
    http_only: bool,
    secure: bool,
}

impl Cookie {
    fn new(request: &Request, name: String, value: Vec<u8>) -> Self {
        let (path, domain, comment, max_age) = Default::default();
        let parts = Parts { name, value, path, domain, comment, max_age, http_only: false, secure: false };
        Self { request: request.clone(), parts: RefCell::new(parts) }
    }

    /// Adds the cookie to the response. Errors begin with `function`.
    fn send(&self, function: &str, parts: &Parts) -> Result<()> {
        let header = parts.header();
        if header.len() > MAX_SIZE {
            return Err(Error::runtime(format!(
                "{function}: the cookie '{}' has {} bytes, of which browsers take {MAX_SIZE}",
                parts.name,
                header.len()
            )));
        }
        let header = HeaderValue::try_from(header).map_err(Error::external)?;
        self.request.uncommitted(|output| output.set_cookie(&parts.name, header))
    }
}

impl Parts {
    /// The value of the `Set-Cookie` header.
    fn header(&self) -> String {
        let mut header = format!("{}={}", self.name, percent_encode(&self.value, VALUE));
        for (name, value) in [("Path", &self.path), ("Domain", &self.domain), ("Comment", &self.comment)] {
            if let Some(value) = value {
                header.push_str(&format!("; {name}={value}"));
            }
        }
        if let Some(seconds) = self.max_age {
            header.push_str(&format!("; Max-Age={seconds}; Expires={}", date_in(seconds)));
        }
        for (name, is_set) in [("; HttpOnly", self.http_only), ("; Secure", self.secure)] {
            header.push_str(if is_set { name } else { "" });
        }
        header
    }
}

/// The value of `Expires`, for clients that do not know `Max-Age`; at most ten years from now.
fn date_in(seconds: i64) -> String {
    let seconds = u64::try_from(seconds).unwrap_or(0).min(10 * 365 * 24 * 3600);
    let time = if seconds == 0 { SystemTime::UNIX_EPOCH } else { SystemTime::now() + Duration::from_secs(seconds) };
    httpdate::fmt_http_date(time)
}

impl UserData for Cookie {
    fn register(registry: &mut UserDataRegistry<Self>) {
        registry.add_method("name", |_, this, _: MultiValue| Ok(this.parts.borrow().name.clone()));
        registry.add_method("value", |lua, this, args: MultiValue| {
            if !args.is_empty() {
                this.parts.borrow_mut().value = Args::new(lua, "cookie:value", args).string(1, "value")?;
            }
            // A copy, since making the string can start a script's finalizer, which may set the value.
            let value = this.parts.borrow().value.clone();
            lua.create_string(value)
        });
        registry.add_method("path", |lua, this, args: MultiValue| {
            attribute(lua, "cookie:path", args, &this.parts, |parts| &mut parts.path)
        });
        registry.add_method("domain", |lua, this, args: MultiValue| {
            attribute(lua, "cookie:domain", args, &this.parts, |parts| &mut parts.domain)
        });
        registry.add_method("comment", |lua, this, args: MultiValue| {
            attribute(lua, "cookie:comment", args, &this.parts, |parts| &mut parts.comment)
        });
        registry.add_method("maxage", |lua, this, args: MultiValue| {
            if !args.is_empty() {
                let seconds = Args::new(lua, "cookie:maxage", args).integer_in(1, "seconds", 0..=i64::MAX)?;
                this.parts.borrow_mut().max_age = Some(seconds);
            }
            Ok(this.parts.borrow().max_age)
        });
        registry
            .add_method("httponly", |_, this, args: MultiValue| Ok(flag(args, &mut this.parts.borrow_mut().http_only)));
        registry.add_method("secure", |_, this, args: MultiValue| Ok(flag(args, &mut this.parts.borrow_mut().secure)));
        registry.add_method("activate", |_, this, _: MultiValue| {
            this.send("cookie:activate", &this.parts.borrow())?;
            Ok(true)
        });
        registry.add_method("delete", |_, this, _: MultiValue| {
            let parts = this.parts.borrow().clone();
            this.send("cookie:delete", &Parts { value: Vec::new(), max_age: Some(0), ..parts })?;
            Ok(true)
        });
    }
}

/// Returns a text attribute, which an argument sets. It must not contain what would end it or begin another attribute.
fn attribute(
    lua: &Lua,
    function: &'static str,
    args: MultiValue,
    parts: &RefCell<Parts>,
    of: fn(&mut Parts) -> &mut Option<String>,
) -> Result<Option<String>> {
    if !args.is_empty() {
        let args = Args::new(lua, function, args);
        let text = args.text(1, "text")?;
        if !text.bytes().all(|byte| (b' '..=b'~').contains(&byte) && byte != b';') {
            return Err(args.refuse(1, "text", "ASCII without ';' and control characters expected"));
        }
        // Borrowed only now, for the reason that `cookie:value` has.
        *of(&mut parts.borrow_mut()) = Some(text);
    }
    Ok(of(&mut parts.borrow_mut()).clone())
}

/// Returns a flag, which an argument sets.
fn flag(args: MultiValue, to: &mut bool) -> bool {
    if let Some(value) = args.front() {
        *to = is_truthy(value);
    }
    *to
}
