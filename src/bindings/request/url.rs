//! The URL of a request and its parts, and resolving references against it for redirects.

use crate::http::url_path::UrlPath;
use crate::http::{self, PageRequest};

/// The path, decoded and collapsed as for finding the page. As it was sent, `//host/x` would make a redirect to one's own
/// path lead to another server.
pub fn path(request: &PageRequest) -> String {
    // A path that cannot be parsed finds no page.
    let path = UrlPath::parse(request.head.uri.path()).ok();
    path.and_then(|path| path.below("")).map(|below| format!("/{below}")).unwrap_or_default()
}

fn authority(request: &PageRequest) -> String {
    http::authority(&request.head, request.ends.local)
}

/// The host that the client asked for, without the port.
pub fn domain(request: &PageRequest) -> String {
    let authority = authority(request);
    // A colon before a closing bracket is part of an IPv6 address.
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => host.to_owned(),
        _ => authority,
    }
}

fn scheme(request: &PageRequest) -> &'static str {
    if request.ends.is_tls { "https" } else { "http" }
}

/// The URL without its query; the path as it was sent.
pub fn full(request: &PageRequest) -> String {
    format!("{}://{}{}", scheme(request), authority(request), request.head.uri.path())
}

/// Makes `target` absolute, as a reference on the request's page: a full URL, `//host/x`, `/x`, the relative path
/// `x/y`, or `""` for the page itself.
pub fn absolute(request: &PageRequest, target: &str) -> String {
    resolve(scheme(request), &authority(request), request.head.uri.path(), target)
}

/// Makes `target` absolute, as a reference on the page whose URL has these parts. `..` is left to the client.
pub fn resolve(scheme: &str, authority: &str, path: &str, target: &str) -> String {
    if has_scheme(target) {
        target.to_owned()
    } else if target.starts_with("//") {
        format!("{scheme}:{target}")
    } else if target.starts_with('/') {
        format!("{scheme}://{authority}{target}")
    } else if target.is_empty() || target.starts_with(['?', '#']) {
        format!("{scheme}://{authority}{path}{target}")
    } else {
        let folder = &path[..path.rfind('/').map_or(0, |slash| slash + 1)];
        format!("{scheme}://{authority}{folder}{target}")
    }
}

fn has_scheme(target: &str) -> bool {
    let Some((scheme, _)) = target.split_once(':') else { return false };
    scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
}
