//! Following redirects, of requests that change nothing (GET and HEAD).

use hyper::header::{AUTHORIZATION, COOKIE, HOST, LOCATION, PROXY_AUTHORIZATION};
use hyper::http::response::Parts;
use hyper::{Method, StatusCode, Uri};

use super::exchange::Failure;
use super::request::{self, Body, Request};
use crate::bindings::request::resolve_url;
use crate::dial::Target;
use crate::tls::client::Trust;

/// The most redirects in a row.
pub const MAX: usize = 10;

/// A request whose redirects are followed: the last one that was made, and how many more there may be.
pub struct Trail {
    request: Request,
    trust: Trust,
    left: usize,
}

impl Trail {
    /// `None` for a request whose redirects are not followed.
    pub fn of(request: &Request) -> Option<Self> {
        let trust = request.follow.clone()?;
        let is_harmless = matches!(request.method, Method::GET | Method::HEAD)
            && matches!(&request.body, Body::Whole(data) if data.is_empty());
        is_harmless.then(|| Self { request: request.clone(), trust, left: MAX })
    }

    /// The request that this response redirects to. `None` if it is no redirect, or one to no valid URL, which is left
    /// to the script. An error if there were too many.
    pub fn next(&mut self, response: &Parts) -> Result<Option<Request>, Failure> {
        let Some((target, path)) = self.destination(response) else { return Ok(None) };
        self.left = self.left.checked_sub(1).ok_or(Failure::Redirects)?;
        let from = &self.request.target;
        if (&target.host, target.port, &target.tls) != (&from.host, from.port, &from.tls) {
            // Credentials and cookies are for one server only.
            for name in [AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION] {
                self.request.headers.remove(name);
            }
            let Some(host) = request::host(&target) else { return Ok(None) };
            self.request.headers.insert(HOST, host);
        }
        (self.request.target, self.request.path) = (target, path);
        Ok(Some(self.request.clone()))
    }

    /// The server, and path and query, that a redirect leads to.
    fn destination(&self, response: &Parts) -> Option<(Target, Uri)> {
        let is_redirect = matches!(
            response.status,
            StatusCode::MOVED_PERMANENTLY
                | StatusCode::FOUND
                | StatusCode::SEE_OTHER
                | StatusCode::TEMPORARY_REDIRECT
                | StatusCode::PERMANENT_REDIRECT
        );
        let location = response.headers.get(LOCATION).filter(|_| is_redirect)?.to_str().ok()?;
        let Request { target: from, path, headers, .. } = &self.request;
        let scheme = if from.tls.is_some() { "https" } else { "http" };
        let authority = headers.get(HOST)?.to_str().ok()?;
        let url = resolve_url(scheme, authority, path.path(), location);
        let (target, uri) = request::target(url.as_bytes(), &self.trust, from.timeout).ok()?;
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        Some((target, Uri::try_from(path).ok()?))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use hyper::{HeaderMap, Response};

    use super::*;

    /// The names of the headers of a request to `https://a/` that go along when that redirects to `location`.
    fn passed_on(location: &str) -> Vec<String> {
        let headers = ["host", "authorization", "cookie", "proxy-authorization", "x"];
        let headers: HeaderMap =
            headers.into_iter().map(|name| (name.parse().unwrap(), "a".parse().unwrap())).collect();
        let (target, path) = request::target(b"https://a/", &Trust::System, Duration::ZERO).ok().expect("a URL");
        let (method, body, follow) = (Method::GET, Body::Whole(Vec::new()), Some(Trust::System));
        let request = Request { method, target, path, headers, body, follow, unpacks: false };
        let response = Response::builder().status(StatusCode::FOUND).header(LOCATION, location).body(()).unwrap();
        let next = Trail::of(&request).unwrap().next(&response.into_parts().0).unwrap().expect("a redirect");
        next.headers.keys().map(ToString::to_string).collect()
    }

    #[test]
    fn what_is_secret_goes_to_no_other_host_or_port_and_over_no_plain_connection() {
        assert_eq!(passed_on("https://a:443/b"), ["host", "authorization", "cookie", "proxy-authorization", "x"]);
        for location in ["https://b/", "https://a:444/", "http://a:443/"] {
            assert_eq!(passed_on(location), ["host", "x"], "{location}");
        }
    }
}
