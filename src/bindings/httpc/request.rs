//! Reads the options of the HTTP client and of its requests.

use std::time::Duration;

use hyper::header::{
    ACCEPT_ENCODING, AUTHORIZATION, CONNECTION, CONTENT_LENGTH, HOST, HeaderName, HeaderValue, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_VERSION, TRANSFER_ENCODING, UPGRADE, USER_AGENT,
};
use hyper::http::uri::{Authority, InvalidUri};
use hyper::{HeaderMap, Method, Uri};
use mlua::Value;

use crate::bindings::ba::encoding;
use crate::bindings::options::Options;
use crate::dial::Target;
use crate::tls::client::Trust;

/// The default timeout.
const TIMEOUT: Duration = Duration::from_secs(20);
const AGENT: &str = concat!("smq/", env!("CARGO_PKG_VERSION"));

/// The options of a client, which are for all its requests.
pub struct Defaults {
    /// By what to trust servers.
    pub trust: Trust,
    /// For each step: the connection, the head of the response, each piece of a body.
    pub timeout: Duration,
    /// The most bytes that are read at once with `read"*a"`.
    pub max_size: Option<usize>,
    headers: HeaderMap,
    follows: bool,
    compressed: bool,
}

/// A request to be sent.
#[derive(Clone)]
pub struct Request {
    pub method: Method,
    pub target: Target,
    /// Path and query.
    pub path: Uri,
    pub headers: HeaderMap,
    pub body: Body,
    /// By what to trust the server that a redirect leads to; `None` if redirects are not followed.
    pub follow: Option<Trust>,
    /// Whether a compressed response is decompressed.
    pub unpacks: bool,
}

/// The body of a request.
#[derive(Clone)]
pub enum Body {
    /// The whole body; empty if there is none.
    Whole(Vec<u8>),
    /// It will be written by the script: as many bytes as `size` says, or without one in chunks.
    Written { size: Option<u64> },
}

impl Defaults {
    pub fn read(options: &Options) -> mlua::Result<Self> {
        let mut headers = HeaderMap::new();
        headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
        add_headers(options, &mut headers)?;
        add_credentials(options, &mut headers)?;
        Ok(Self {
            trust: options.trust()?,
            timeout: options.count("timeout")?.map_or(TIMEOUT, Duration::from_millis),
            max_size: options.count("maxsize")?.map(|size| size as usize),
            headers,
            follows: options.flag("redirect")?.unwrap_or(true),
            compressed: options.flag("compressed")?.unwrap_or(false),
        })
    }
}

fn add_credentials(options: &Options, headers: &mut HeaderMap) -> mlua::Result<()> {
    if let Some(user) = options.text("user")? {
        let password = options.text("password")?.unwrap_or_default();
        headers.insert(AUTHORIZATION, basic(&user, &password));
    }
    Ok(())
}

/// The value of `Authorization` for basic authentication; marked as sensitive, so that hyper does not log it.
fn basic(user: &[u8], password: &[u8]) -> HeaderValue {
    let text = format!("Basic {}", encoding::base64(&[user, b":", password].concat()));
    // Base64 is made of what a header may hold.
    let mut value = HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static(""));
    value.set_sensitive(true);
    value
}

fn add_headers(options: &Options, headers: &mut HeaderMap) -> mlua::Result<()> {
    let Some(table) = options.table("header")? else { return Ok(()) };
    for pair in table.pairs::<Value, Value>() {
        let (name, value) = pair?;
        let name = options.plain_text(&name).and_then(|name| HeaderName::from_bytes(&name).ok());
        let value = options.plain_text(&value).and_then(|value| HeaderValue::from_bytes(&value).ok());
        let (Some(name), Some(value)) = (name, value) else {
            return Err(options.refuse("header", "a name or value that no header can have"));
        };
        if name == CONTENT_LENGTH || name == TRANSFER_ENCODING {
            return Err(options.refuse("header", &format!("{name} follows from 'data' or 'size'")));
        }
        headers.insert(name, value);
    }
    Ok(())
}

impl Request {
    pub fn read(options: &Options, defaults: &Defaults) -> mlua::Result<Self> {
        let url = options.text("url")?.ok_or_else(|| options.mismatch("url", "string", &Value::Nil))?;
        let method = options.text("method")?.unwrap_or_else(|| b"GET".to_vec());
        let method = Method::from_bytes(&method).map_err(|_| options.refuse("method", "no method"))?;
        let (target, path) = address(options, &url, defaults)?;
        let mut headers = defaults.headers.clone();
        headers.insert(HOST, host(&target).ok_or_else(|| options.refuse("url", "no host"))?);
        if is_websocket(&url) {
            add_handshake(&mut headers);
        }
        let unpacks = options.flag("compressed")?.unwrap_or(defaults.compressed);
        if unpacks {
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
        }
        add_headers(options, &mut headers)?;
        add_credentials(options, &mut headers)?;
        let size = options.count("size")?;
        let body = match options.text("data")? {
            Some(data) => Body::Whole(data),
            None if takes_body(&method) || size.is_some() => Body::Written { size },
            None => Body::Whole(Vec::new()),
        };
        if let Body::Written { size: Some(size) } = body {
            headers.insert(CONTENT_LENGTH, size.into());
        }
        let follows = options.flag("redirect")?.unwrap_or(defaults.follows);
        Ok(Self { method, target, path, headers, body, follow: follows.then(|| defaults.trust.clone()), unpacks })
    }
}

/// Whether a request with this method usually has a body.
pub fn takes_body(method: &Method) -> bool {
    matches!(*method, Method::POST | Method::PUT | Method::PATCH)
}

fn is_websocket(url: &[u8]) -> bool {
    url.get(..2).is_some_and(|start| start.eq_ignore_ascii_case(b"ws"))
}

/// Adds the headers that ask for a WebSocket (RFC 6455, section 4.1).
fn add_handshake(headers: &mut HeaderMap) {
    let key = HeaderValue::try_from(encoding::base64(&rand::random::<[u8; 16]>()));
    // Base64 is made of what a header may hold.
    headers.insert(SEC_WEBSOCKET_KEY, key.unwrap_or_else(|_| HeaderValue::from_static("")));
    headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
}

/// The server of a URL, and its path and query; the fields of the option `query` are added to that.
fn address(options: &Options, url: &[u8], defaults: &Defaults) -> mlua::Result<(Target, Uri)> {
    let target = target(url, &defaults.trust, defaults.timeout);
    let (target, uri) = target.map_err(|mistake| options.refuse("url", &mistake.in_url(url)))?;
    let mut path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
    for (name, value) in query(options)? {
        path.push(if path.contains('?') { '&' } else { '?' });
        path.push_str(&format!("{name}={value}"));
    }
    let path = Uri::try_from(path).map_err(|_| options.refuse("url", "too long"))?;
    Ok((target, path))
}

/// What is wrong with a URL.
pub enum Mistake {
    /// A character that must be percent-encoded, at this place, counted from 1.
    Character(usize),
    Syntax(InvalidUri),
    /// Its scheme is not one of HTTP or WebSockets.
    Kind,
    /// It contains a user name.
    Credentials,
    /// Its port is not a number up to 65535.
    Port,
}

impl Mistake {
    fn in_url(&self, url: &[u8]) -> String {
        let url = String::from_utf8_lossy(url);
        match self {
            Self::Character(place) => {
                format!("\"{url}\" has a character at place {place} that must be percent-encoded, as by ba.urlencode")
            }
            Self::Syntax(error) => format!("\"{url}\": {error}"),
            Self::Kind => format!("an http or https URL expected, got \"{url}\""),
            Self::Port => format!("\"{url}\" has a port that is no number up to 65535"),
            // Without the URL itself, since the message may be logged.
            Self::Credentials => {
                "name and password are options of the client or the request (user, password), no part of a URL".into()
            }
        }
    }
}

/// The server of a URL, and the URL itself.
pub fn target(url: &[u8], trust: &Trust, timeout: Duration) -> Result<(Target, Uri), Mistake> {
    if let Some(place) = url.iter().position(|byte| byte.is_ascii_whitespace() || byte.is_ascii_control()) {
        return Err(Mistake::Character(place + 1));
    }
    let uri = Uri::try_from(url).map_err(Mistake::Syntax)?;
    let tls = match uri.scheme_str().map(str::to_ascii_lowercase).as_deref() {
        Some("http" | "ws") => None,
        Some("https" | "wss") => Some(trust.clone()),
        _ => return Err(Mistake::Kind),
    };
    let authority = uri.authority().ok_or(Mistake::Kind)?;
    if authority.as_str().contains('@') {
        return Err(Mistake::Credentials);
    }
    let host = authority.host().trim_matches(['[', ']']).to_owned();
    let port = port(authority)?.unwrap_or(if tls.is_some() { 443 } else { 80 });
    Ok((Target { host, port, tls, timeout }, uri))
}

/// The port of a URL; `None` if there is none.
fn port(authority: &Authority) -> Result<Option<u16>, Mistake> {
    match authority.as_str()[authority.host().len()..].strip_prefix(':') {
        None | Some("") => Ok(None),
        Some(port) => port.parse().map(Some).map_err(|_| Mistake::Port),
    }
}

/// The fields of the query, encoded and in the order of their names.
fn query(options: &Options) -> mlua::Result<Vec<(String, String)>> {
    let Some(table) = options.table("query")? else { return Ok(Vec::new()) };
    let text = |value: &Value| match value {
        Value::Boolean(truth) => Some(truth.to_string()),
        value => options.plain_text(value).map(|text| encoding::url(&text)),
    };
    let mut fields = Vec::new();
    for pair in table.pairs::<Value, Value>() {
        let (name, value) = pair?;
        let (Some(name), Some(value)) = (text(&name), text(&value)) else {
            return Err(options.mismatch("query", "a table of texts", &value));
        };
        fields.push((name, value));
    }
    fields.sort();
    Ok(fields)
}

/// The value of the header Host; `None` if the host contains what a header cannot.
pub fn host(target: &Target) -> Option<HeaderValue> {
    let host = if target.host.contains(':') { format!("[{}]", target.host) } else { target.host.clone() };
    let is_usual = target.port == if target.tls.is_some() { 443 } else { 80 };
    HeaderValue::try_from(if is_usual { host } else { format!("{host}:{}", target.port) }).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_is_written_as_in_a_url_with_its_port_unless_that_is_the_usual_one() {
        let named = |name: &str, port, tls| {
            let target = Target { host: name.into(), port, tls, timeout: Duration::ZERO };
            host(&target).expect("a header").to_str().expect("text").to_owned()
        };
        assert_eq!(named("a", 80, None), "a");
        assert_eq!(named("a", 443, None), "a:443");
        assert_eq!(named("a", 443, Some(Trust::System)), "a");
        assert_eq!(named("::1", 8080, None), "[::1]:8080");
    }

    #[test]
    fn a_url_tells_host_port_and_whether_there_is_tls() {
        for (url, expected) in [
            ("http://a", ("a", 80, false)),
            ("https://a/", ("a", 443, true)),
            ("HTTPS://a:/", ("a", 443, true)),
            ("ws://a:81/b", ("a", 81, false)),
            ("WSS://a", ("a", 443, true)),
            ("http://[::1]:8080/", ("::1", 8080, false)),
        ] {
            let (target, _) = target(url.as_bytes(), &Trust::System, TIMEOUT).ok().expect("a URL");
            assert_eq!((target.host.as_str(), target.port, target.tls.is_some()), expected, "{url}");
        }
    }
}
