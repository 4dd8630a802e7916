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
mod streamed;
pub mod trace_console;
mod upload;
pub mod url_path;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::http::request::Parts;

use crate::socket::Takeover;

pub use answers::{add_app_headers, empty, reason, redirect, whole};
pub use arrival::{Arrival, Ends, absolute_url, authority, is_form};
use head_tap::SentHeaders;
pub use streamed::{Piece, streamed};
pub use upload::Upload;

/// A response body: complete, a file, or what a page is still writing.
pub type Body = UnsyncBoxBody<Bytes, std::io::Error>;
/// A response with any of these bodies.
pub type Response = hyper::Response<Body>;

/// A request on its way to Lua.
pub struct PageRequest {
    pub head: Parts,
    /// The header names and values in the order and letter case in which they were sent.
    pub headers: SentHeaders,
    /// The whole body, if it is a form or small; otherwise empty.
    pub body: Bytes,
    /// Any other body, which the page reads as it comes.
    pub upload: Option<Upload>,
    /// The addresses of client and server.
    pub ends: Ends,
}

/// What came of a request that was handed to Lua.
pub enum PageReply {
    /// The answer.
    Response(Response),
    /// The page took the socket: no response will come.
    Taken(Takeover),
    /// No directory function answers it; the search goes on.
    NotMine(Box<PageRequest>),
}
