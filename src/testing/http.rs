//! The HTTP client of test scripts: each request has a connection of its own, and the response is read as a whole.

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, HOST};
use hyper::{Request, Uri};
use hyper_util::rt::TokioIo;
use mlua::{Error, Function, Lua, LuaString, Result, Table};
use tokio::net::TcpStream;

/// The most bytes of a response.
const MAX_ANSWER: usize = 64 * 1024 * 1024;

/// `request(method, url, headers, body)`: a table with `status`, `headers` (names in lower case) and `body`.
pub fn request_function(lua: &Lua) -> Result<Function> {
    lua.create_async_function(
        |lua, (method, url, headers, body): (String, String, Option<Table>, Option<LuaString>)| async move {
            let request = build(&method, &url, headers, body)?;
            let answer = send(request).await.map_err(|why| Error::runtime(format!("{method} {url}: {why:#}")))?;
            table(&lua, answer)
        },
    )
}

fn build(method: &str, url: &str, headers: Option<Table>, body: Option<LuaString>) -> Result<Request<Full<Bytes>>> {
    let uri: Uri = url.parse().map_err(Error::external)?;
    let host = uri.authority().ok_or_else(|| Error::runtime(format!("not a URL with a host: {url}")))?;
    let mut request = Request::builder().method(method).header(HOST, host.as_str()).header(CONNECTION, "close");
    for pair in headers.iter().flat_map(|headers| headers.pairs::<String, LuaString>()) {
        let (name, value) = pair?;
        request = request.header(name, &*value.as_bytes());
    }
    let body = body.map_or_else(Bytes::new, |body| Bytes::copy_from_slice(&body.as_bytes()));
    request.uri(uri).body(Full::new(body)).map_err(Error::external)
}

type Answer = (hyper::http::response::Parts, Bytes);

async fn send(mut request: Request<Full<Bytes>>) -> anyhow::Result<Answer> {
    let stream = TcpStream::connect(request.uri().authority().map_or("", |host| host.as_str())).await?;
    // A server, unlike a proxy, is told the path alone.
    if let Some(path) = request.uri().path_and_query().cloned() {
        *request.uri_mut() = Uri::from(path);
    }
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let answer = async {
        let (head, body) = sender.send_request(request).await?.into_parts();
        let body = Limited::new(body, MAX_ANSWER).collect().await.map_err(anyhow::Error::from_boxed)?;
        Ok((head, body.to_bytes()))
    };
    let mut connection = std::pin::pin!(connection);
    tokio::pin!(answer);
    tokio::select! {
        answer = &mut answer => answer,
        // The connection may end before its last answer has been read out of it.
        _ = &mut connection => answer.await,
    }
}

fn table(lua: &Lua, (head, body): Answer) -> Result<Table> {
    let headers = lua.create_table()?;
    for (name, value) in &head.headers {
        headers.set(name.as_str(), lua.create_string(value)?)?;
    }
    let answer = lua.create_table()?;
    answer.set("status", head.status.as_u16())?;
    answer.set("headers", headers)?;
    answer.set("body", lua.create_string(body)?)?;
    Ok(answer)
}
