//! A request whose head has come and whose body may still be on its way.

use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Body, Incoming};
use hyper::http::request::Parts;
use hyper::{StatusCode, header};
use tokio::time::timeout;

use super::PageRequest;
use super::limits::{BODY_TIME, MAX_BODY_SIZE};

/// Both ends of a connection.
#[derive(Debug, Clone, Copy)]
pub struct Ends {
    pub peer: SocketAddr,
    pub local: SocketAddr,
    pub is_tls: bool,
}

pub struct Arrival {
    pub head: Parts,
    pub headers: Vec<(String, Bytes)>,
    pub body: Incoming,
    pub ends: Ends,
}

impl Arrival {
    /// Reads the body, and makes the request one for a page. The status is the answer to a body that cannot be read:
    /// too long (413), too slow (408), or broken (400).
    pub async fn into_page_request(self) -> Result<PageRequest, StatusCode> {
        let Ends { peer, local, is_tls } = self.ends;
        let body = read_body(self.body).await?;
        Ok(PageRequest { head: self.head, headers: self.headers, body, peer, local, is_tls })
    }
}

impl PageRequest {
    pub fn ends(&self) -> Ends {
        Ends { peer: self.peer, local: self.local, is_tls: self.is_tls }
    }
}

/// The URL of `path` on this server as the client calls it: with the host it asked for, and its query.
pub fn absolute_url(head: &Parts, ends: Ends, path: &str) -> String {
    let scheme = if ends.is_tls { "https" } else { "http" };
    let asked = head.uri.authority().map(|authority| authority.as_str());
    let asked = asked.or_else(|| head.headers.get(header::HOST)?.to_str().ok()).filter(|host| !host.is_empty());
    let host = asked.map_or_else(|| ends.local.to_string(), str::to_owned);
    let query = head.uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    format!("{scheme}://{host}{path}{query}")
}

async fn read_body(body: Incoming) -> Result<Bytes, StatusCode> {
    // An announced length is judged before the client is told to go on.
    if body.size_hint().lower() > MAX_BODY_SIZE as u64 {
        return Err(StatusCode::PAYLOAD_TOO_LARGE);
    }
    match timeout(BODY_TIME, Limited::new(body, MAX_BODY_SIZE).collect()).await {
        Err(_) => Err(StatusCode::REQUEST_TIMEOUT),
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(StatusCode::PAYLOAD_TOO_LARGE),
        Ok(Err(_)) => Err(StatusCode::BAD_REQUEST),
    }
}
