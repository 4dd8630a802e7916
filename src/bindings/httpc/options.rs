//! What scripts pass to the HTTP client.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::header::{
    ACCEPT_ENCODING, AUTHORIZATION, CONNECTION, CONTENT_LENGTH, HOST, HeaderName, HeaderValue, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_VERSION, TRANSFER_ENCODING, UPGRADE, USER_AGENT,
};
use hyper::{HeaderMap, Method, Uri};
use mlua::{Lua, Result, Table, Value};

use super::{text_field, wrong};
use crate::bindings::args::{Args, plain_text};
use crate::dial::Target;
use crate::tls::client::Trust;

const TIMEOUT: Duration = Duration::from_secs(20);
const AGENT: &str = concat!("smq/", env!("CARGO_PKG_VERSION"));

/// What holds for all requests of a client.
pub struct Defaults {
    pub trust: Trust,
    /// For each step: the connection, the head of the response, each piece of a body.
    pub timeout: Duration,
    pub max_size: Option<usize>,
    headers: HeaderMap,
    follows: bool,
    compressed: bool,
}

/// A request to be sent.
pub struct Request {
    pub method: Method,
    pub target: Target,
    /// Path and query.
    pub path: Uri,
    pub headers: HeaderMap,
    pub body: Body,
    /// Whom to trust when a redirect leads to TLS; `None` if redirects are not to be followed.
    pub follow: Option<Trust>,
    /// Whether the response is unpacked if it comes compressed.
    pub unpacks: bool,
}

pub enum Body {
    /// All of it, or none.
    Whole(Vec<u8>),
    /// It will be written, as many bytes as its Content-Length says or in chunks.
    Written,
}

impl Defaults {
    pub fn read(args: &Args) -> Result<Self> {
        let mut defaults = Self {
            trust: Trust::System,
            timeout: TIMEOUT,
            max_size: None,
            headers: HeaderMap::new(),
            follows: true,
            compressed: false,
        };
        defaults.headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
        let Some(options) = args.optional_table(1, "options")? else { return Ok(defaults) };
        let lua = args.lua();
        if !flag(args, &options, "trusted", true)? {
            defaults.trust = Trust::Anybody;
        }
        defaults.follows = flag(args, &options, "redirect", true)?;
        defaults.compressed = flag(args, &options, "compressed", false)?;
        if let Some(pem) = text_field(lua, args, &options, "ca")? {
            defaults.trust = Trust::Pem(pem);
        }
        if let Some(milliseconds) = number(args, &options, "timeout")? {
            defaults.timeout = Duration::from_millis(milliseconds);
        }
        defaults.max_size = number(args, &options, "maxsize")?.map(|size| size as usize);
        add_headers(lua, args, &options, &mut defaults.headers)?;
        if let Some(user) = text_field(lua, args, &options, "user")? {
            let password = text_field(lua, args, &options, "password")?.unwrap_or_default();
            defaults.headers.insert(AUTHORIZATION, basic(&user, &password));
        }
        Ok(defaults)
    }
}

/// The credentials are hidden from what hyper may log.
fn basic(user: &[u8], password: &[u8]) -> HeaderValue {
    let text = format!("Basic {}", STANDARD.encode([user, b":", password].concat()));
    // Base64 is made of what a header may hold.
    let mut value = HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static(""));
    value.set_sensitive(true);
    value
}

fn flag(args: &Args, options: &Table, field: &str, default: bool) -> Result<bool> {
    match options.raw_get::<Value>(field)? {
        Value::Nil => Ok(default),
        Value::Boolean(flag) => Ok(flag),
        other => Err(wrong(args, field, "boolean", &other)),
    }
}

fn number(args: &Args, options: &Table, field: &str) -> Result<Option<u64>> {
    match options.raw_get::<Value>(field)? {
        Value::Nil => Ok(None),
        Value::Integer(number) if number >= 0 => Ok(Some(number as u64)),
        Value::Number(number) if (0.0..1e15).contains(&number) => Ok(Some(number as u64)),
        other => Err(wrong(args, field, "number not below 0", &other)),
    }
}

fn add_headers(lua: &Lua, args: &Args, options: &Table, headers: &mut HeaderMap) -> Result<()> {
    let table = match options.raw_get::<Value>("header")? {
        Value::Nil => return Ok(()),
        Value::Table(table) => table,
        other => return Err(wrong(args, "header", "table", &other)),
    };
    for pair in table.pairs::<Value, Value>() {
        let (name, value) = pair?;
        let (name, value) = (plain_text(lua, &name), plain_text(lua, &value));
        let name = name.and_then(|name| HeaderName::from_bytes(&name).ok());
        let value = value.and_then(|value| HeaderValue::from_bytes(&value).ok());
        let (Some(name), Some(value)) = (name, value) else {
            return Err(args.refuse(1, "options", "field 'header': a name or value that no header can have"));
        };
        if name == CONTENT_LENGTH || name == TRANSFER_ENCODING {
            return Err(args.refuse(1, "options", &format!("field 'header': {name} follows from 'data' or 'size'")));
        }
        headers.insert(name, value);
    }
    Ok(())
}

impl Request {
    pub fn read(args: &Args, defaults: &Defaults) -> Result<Self> {
        let (lua, options) = (args.lua(), args.table(1, "options")?);
        let url = text_field(lua, args, &options, "url")?.ok_or_else(|| wrong(args, "url", "string", &Value::Nil))?;
        let method = text_field(lua, args, &options, "method")?.unwrap_or_else(|| b"GET".to_vec());
        let method = Method::from_bytes(&method).map_err(|_| args.refuse(1, "options", "field 'method': no method"))?;
        let (target, path) = address(args, &options, &url, defaults)?;
        let mut headers = defaults.headers.clone();
        headers.insert(HOST, host(&target).ok_or_else(|| args.refuse(1, "options", "field 'url': no host"))?);
        if is_websocket(&url) {
            add_handshake(&mut headers);
        }
        let unpacks = flag(args, &options, "compressed", defaults.compressed)?;
        if unpacks {
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
        }
        add_headers(lua, args, &options, &mut headers)?;
        let data = text_field(lua, args, &options, "data")?;
        let size = number(args, &options, "size")?;
        let takes_body = matches!(method, Method::POST | Method::PUT | Method::PATCH);
        let body = match data {
            Some(data) => Body::Whole(data),
            None if takes_body || size.is_some() => Body::Written,
            None => Body::Whole(Vec::new()),
        };
        if let (Body::Written, Some(size)) = (&body, size) {
            headers.insert(CONTENT_LENGTH, size.into());
        }
        let follows = flag(args, &options, "redirect", defaults.follows)?;
        Ok(Self { method, target, path, headers, body, follow: follows.then(|| defaults.trust.clone()), unpacks })
    }
}

fn is_websocket(url: &[u8]) -> bool {
    url.get(..2).is_some_and(|start| start.eq_ignore_ascii_case(b"ws"))
}

/// What asks for a WebSocket (RFC 6455, 4.1).
fn add_handshake(headers: &mut HeaderMap) {
    let key = HeaderValue::try_from(STANDARD.encode(rand::random::<[u8; 16]>()));
    // Base64 is made of what a header may hold.
    headers.insert(SEC_WEBSOCKET_KEY, key.unwrap_or_else(|_| HeaderValue::from_static("")));
    headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
}

/// Where a URL with its query leads.
fn address(args: &Args, options: &Table, url: &[u8], defaults: &Defaults) -> Result<(Target, Uri)> {
    let no_url = || {
        let url = String::from_utf8_lossy(url);
        args.refuse(1, "options", &format!("field 'url': an http or https URL expected, got \"{url}\""))
    };
    let (target, uri) = target(url, &defaults.trust, defaults.timeout).ok_or_else(no_url)?;
    let mut path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
    for (name, value) in query(args, options)? {
        path.push(if path.contains('?') { '&' } else { '?' });
        path.push_str(&format!("{name}={value}"));
    }
    let path = Uri::try_from(path).map_err(|_| args.refuse(1, "options", "field 'url': too long"))?;
    Ok((target, path))
}

/// Where a URL leads; `None` if it is none for HTTP or WebSockets.
pub fn target(url: &[u8], trust: &Trust, timeout: Duration) -> Option<(Target, Uri)> {
    let uri = Uri::try_from(url).ok()?;
    let tls = match uri.scheme_str()? {
        "http" | "ws" => None,
        "https" | "wss" => Some(trust.clone()),
        _ => return None,
    };
    let authority = uri.authority().filter(|authority| !authority.as_str().contains('@'))?;
    let host = authority.host().trim_matches(['[', ']']).to_owned();
    let port = uri.port_u16().unwrap_or(if tls.is_some() { 443 } else { 80 });
    Some((Target { host, port, tls, timeout }, uri))
}

/// The fields of the query, encoded and in the order of their names.
fn query(args: &Args, options: &Table) -> Result<Vec<(String, String)>> {
    let table = match options.raw_get::<Value>("query")? {
        Value::Nil => return Ok(Vec::new()),
        Value::Table(table) => table,
        other => return Err(wrong(args, "query", "table", &other)),
    };
    let text = |value: &Value| match value {
        Value::Boolean(truth) => Some(truth.to_string()),
        value => plain_text(args.lua(), value).map(|text| crate::bindings::ba::encoding::url(&text)),
    };
    let mut fields = Vec::new();
    for pair in table.pairs::<Value, Value>() {
        let (name, value) = pair?;
        let (Some(name), Some(value)) = (text(&name), text(&value)) else {
            return Err(wrong(args, "query", "a table of texts", &value));
        };
        fields.push((name, value));
    }
    fields.sort();
    Ok(fields)
}

/// The value of the header Host; `None` if the target has none that a header may hold.
pub fn host(target: &Target) -> Option<HeaderValue> {
    let host = if target.host.contains(':') { format!("[{}]", target.host) } else { target.host.clone() };
    let is_usual = target.port == if target.tls.is_some() { 443 } else { 80 };
    HeaderValue::try_from(if is_usual { host } else { format!("{host}:{}", target.port) }).ok()
}
