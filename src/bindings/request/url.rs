//! URLs of a request, and the absolute URL that a redirect needs.

use percent_encoding::percent_decode_str;

use crate::http::{self, PageRequest};

/// The path, percent-decoded.
pub fn decoded_path(request: &PageRequest) -> Vec<u8> {
    percent_decode_str(request.head.uri.path()).collect()
}

fn authority(request: &PageRequest) -> String {
    http::authority(&request.head, request.local)
}

/// The host without its port.
pub fn domain(request: &PageRequest) -> String {
    let authority = authority(request);
    // The colons of an IPv6 address stand in brackets.
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => host.to_owned(),
        _ => authority,
    }
}

fn scheme(request: &PageRequest) -> &'static str {
    if request.is_tls { "https" } else { "http" }
}

/// Scheme, host and path as sent; no query.
pub fn full(request: &PageRequest) -> String {
    format!("{}://{}{}", scheme(request), authority(request), request.head.uri.path())
}

/// Makes `target` absolute: a full URL, `//host/x`, `/x`, `x/y` beside the page's path, or `""` for the page itself.
pub fn absolute(request: &PageRequest, target: &str) -> String {
    resolve(scheme(request), &authority(request), request.head.uri.path(), target)
}

/// The same beside the URL that has these parts.
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

/// The request's own URL with a slash behind the path.
pub fn with_slash(request: &PageRequest) -> String {
    let query = request.head.uri.query().map_or_else(String::new, |query| format!("?{query}"));
    format!("{}/{query}", full(request))
}
