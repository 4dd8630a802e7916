//! A request whose head has come and whose body may still be on its way.

use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Body, Incoming};
use hyper::http::request::Parts;
use hyper::{StatusCode, header};
use tokio::time::timeout;

use super::limits::{BODY_TIME, MAX_BODY_SIZE, MAX_READY_BODY_SIZE};
use super::{PageRequest, SentHeaders, Upload};
use crate::socket::canonical;

const URLENCODED: &[u8] = b"application/x-www-form-urlencoded";

/// Both ends of a connection.
#[derive(Debug, Clone, Copy)]
pub struct Ends {
    /// The client's address.
    pub peer: SocketAddr,
    /// The address that the client connected to.
    pub local: SocketAddr,
    /// Whether the connection is encrypted.
    pub is_tls: bool,
}

impl Ends {
    /// The ends of a connection with these addresses, as the system tells them.
    pub fn new(peer: SocketAddr, local: SocketAddr, is_tls: bool) -> Self {
        Self { peer: canonical(peer), local: canonical(local), is_tls }
    }
}

/// A request whose body has not been read.
pub struct Arrival {
    pub head: Parts,
    /// The header names and values in the order and letter case in which they were sent.
    pub headers: SentHeaders,
    pub body: Incoming,
    pub ends: Ends,
}

impl Arrival {
    /// Makes the request one for a page; reads its body if that is a form or small. The error is the answer to a body that
    /// cannot be read: too long (413), too slow (408), or broken (400).
    pub async fn into_page_request(self: Box<Self>) -> Result<Box<PageRequest>, StatusCode> {
        let is_upload = self.is_upload();
        let Self { head, headers, body, ends } = *self;
        let (body, upload) = match is_upload {
            true => (Bytes::new(), Some(Upload::new(body))),
            false if body.is_end_stream() => (Bytes::new(), None),
            // Boxed, since most requests have none.
            false => (Box::pin(read_body(body)).await?, None),
        };
        Ok(Box::new(PageRequest { head, headers, body, upload, ends }))
    }

    /// Whether a page reads the body as it comes.
    pub fn is_upload(&self) -> bool {
        let is_ready = self.body.size_hint().upper().is_some_and(|size| size <= MAX_READY_BODY_SIZE as u64);
        !is_ready && !is_form(&self.head)
    }

    /// Whether the page reads the body and its length was not announced: then nobody else knows where it ends.
    pub fn has_unseen_end(&self) -> bool {
        self.is_upload() && self.body.size_hint().upper().is_none()
    }
}

/// Whether the body is an urlencoded form.
pub fn is_form(head: &Parts) -> bool {
    head.headers.get(header::CONTENT_TYPE).is_some_and(|value| {
        let media_type = value.as_bytes().split(|&byte| byte == b';').next().unwrap_or_default();
        media_type.trim_ascii().eq_ignore_ascii_case(URLENCODED)
    })
}

/// The URL of `path` on this server as the client would write it: with the host that it asked for, and its query.
pub fn absolute_url(head: &Parts, ends: Ends, path: &str) -> String {
    let scheme = if ends.is_tls { "https" } else { "http" };
    let authority = authority(head, ends.local);
    let query = head.uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    format!("{scheme}://{authority}{path}{query}")
}

/// The host and port the client asked for, or else the address it connected to.
pub fn authority(head: &Parts, local: SocketAddr) -> String {
    // Where the request line names a host, the header does not count (RFC 9112, section 3.2.2).
    let asked = head.uri.authority().map(|authority| authority.as_str());
    let asked = asked.or_else(|| head.headers.get(header::HOST)?.to_str().ok()).filter(|host| !host.is_empty());
    asked.map_or_else(|| local.to_string(), str::to_owned)
}

async fn read_body(body: Incoming) -> Result<Bytes, StatusCode> {
    // Checked before the body is read, which would make hyper send 100 Continue.
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
