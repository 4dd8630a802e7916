//! The answers the server gives by itself: small pages for errors, redirects and the welcome page.

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Full};
use hyper::StatusCode;
use hyper::header::{
    ALLOW, CONNECTION, CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION, X_CONTENT_TYPE_OPTIONS, X_XSS_PROTECTION,
};

use super::{Body, Response};

const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");
const CLOSE: HeaderValue = HeaderValue::from_static("close");

/// Keeps browsers from taking a response for another type than the one it names.
const NOSNIFF: HeaderValue = HeaderValue::from_static("nosniff");
/// The filters of old browsers could be turned against a page; today's have none.
const NO_FILTER: HeaderValue = HeaderValue::from_static("0");

/// Marks a response whose app brought headers of its own, instead of the default ones.
#[derive(Clone, Copy)]
struct HasAppHeaders;

/// Adds an app's own headers where the response has none of that name; the default headers then stay away.
pub fn add_app_headers<B>(response: &mut hyper::Response<B>, headers: &HeaderMap) {
    if response.extensions_mut().insert(HasAppHeaders).is_some() {
        return;
    }
    for (name, value) in headers {
        response.headers_mut().entry(name).or_insert_with(|| value.clone());
    }
}

/// Adds the default headers of app responses where the app has not set them.
pub fn add_default_headers(response: &mut Response) {
    if response.extensions().get::<HasAppHeaders>().is_some() {
        return;
    }
    let headers = response.headers_mut();
    // The HTML of a directory function that names no type would be shown as plain text, if browsers were not to look.
    if headers.contains_key(CONTENT_TYPE) {
        headers.entry(X_CONTENT_TYPE_OPTIONS).or_insert(NOSNIFF);
    }
    headers.entry(X_XSS_PROTECTION).or_insert(NO_FILTER);
}

/// A complete body.
pub fn whole(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// No body.
pub fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

/// The words behind a status code. For a code of the app's own they tell the class that it is of.
pub fn reason(status: StatusCode) -> &'static str {
    status.canonical_reason().unwrap_or(match status.as_u16() {
        ..300 => "Success",
        300..400 => "Redirection",
        400..500 => "Client Error",
        500.. => "Server Error",
    })
}

/// An error page. The connection closes behind it, since after a bad request client and server may disagree on where the next
/// one begins.
pub fn error(status: StatusCode) -> Response {
    let mut response = html(error_page(status));
    *response.status_mut() = status;
    response.headers_mut().insert(CONNECTION, CLOSE);
    response
}

/// `allowed` lists methods as the `Allow` header does.
pub fn method_not_allowed(allowed: &'static str) -> Response {
    let mut response = error(StatusCode::METHOD_NOT_ALLOWED);
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    response
}

pub fn options(allowed: &'static str) -> Response {
    let mut response = Response::new(empty());
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    response
}

/// Sends the client to another URL.
pub fn redirect(location: &str) -> Response {
    let Ok(location) = HeaderValue::from_str(location) else {
        return error(StatusCode::BAD_REQUEST);
    };
    let mut response = Response::new(empty());
    *response.status_mut() = StatusCode::FOUND;
    response.headers_mut().insert(LOCATION, location);
    response
}

/// An error page of its own.
pub fn failure(page: String) -> Response {
    let mut response = html(page);
    *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
    response
}

/// What all URLs show while no app is mounted.
pub fn welcome(status: StatusCode) -> Response {
    let mut response = html(
        "<!DOCTYPE html><html><head><title>smq</title></head><body><h1>Welcome to smq</h1>\
         <p>The server runs, but no app is mounted. Its log says why.</p></body></html>"
            .to_owned(),
    );
    *response.status_mut() = status;
    response
}

/// An error as raw bytes, for a connection that hyper does not drive (any more).
pub fn raw_error(status: StatusCode) -> Vec<u8> {
    let page = error_page(status);
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: text/html; charset=utf-8\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{page}",
        page.len()
    )
    .into_bytes()
}

fn html(page: String) -> Response {
    let mut response = Response::new(whole(page));
    response.headers_mut().insert(CONTENT_TYPE, HTML);
    response
}

fn error_page(status: StatusCode) -> String {
    format!("<!DOCTYPE html><html><head><title>{status}</title></head><body><h1>{status}</h1></body></html>")
}
