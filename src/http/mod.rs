//! HTTP: accepts connections, serves static files, hands requests to pages, and gives a socket away when a page asks.

pub mod accept;
mod answers;
mod arrival;
mod conditional;
pub mod connection;
pub mod encodings;
mod exchange;
mod failing_body;
mod head_tap;
pub mod limits;
pub mod media_type;
pub mod rtl;
pub mod site;
mod static_files;
pub mod trace_console;
mod upload;
pub mod url_path;

use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::http::request::Parts;

use crate::socket::Takeover;

pub use answers::{add_app_headers, empty, redirect, whole};
pub use arrival::{Arrival, authority, is_form};
use head_tap::SentHeaders;
pub use upload::Upload;

/// A response body: whole, a file, or what a page still writes.
pub type Body = UnsyncBoxBody<Bytes, std::io::Error>;
pub type Response = hyper::Response<Body>;

/// A request on its way to Lua.
pub struct PageRequest {
    pub head: Parts,
    /// The header names and values in the order and letter case in which they were sent.
    pub headers: SentHeaders,
    /// The body, as far as it has been read: forms and what is small, whole.
    pub body: Bytes,
    /// What is neither: the page reads it as it comes.
    pub upload: Option<Upload>,
    /// The client's address.
    pub peer: SocketAddr,
    /// The address the client connected to.
    pub local: SocketAddr,
    pub is_tls: bool,
}

/// What came of a request that was handed to Lua.
pub enum PageReply {
    Response(Response),
    /// The page took the socket: no response will come.
    Taken(Takeover),
    /// No directory function wanted it; the search for somebody who does goes on.
    NotMine(Box<PageRequest>),
}
