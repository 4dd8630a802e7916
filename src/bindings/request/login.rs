//! The responses of authenticators: login pages, refusals, and the redirect after a login.

use hyper::StatusCode;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, LOCATION, WWW_AUTHENTICATE};
use mlua::{Error, Result};

use super::methods::error_page;
use super::{Request, url};

impl Request {
    /// Begins a login page, or the body of a 401 with these `WWW-Authenticate` headers. An error if the response has
    /// begun.
    pub fn start_login_page(&self, status: StatusCode, challenges: Vec<String>) -> Result<()> {
        let challenges = challenges.into_iter().map(|text| HeaderValue::try_from(text).map_err(Error::external));
        let challenges = challenges.collect::<Result<Vec<_>>>()?;
        self.uncommitted(|output| {
            output.start_over();
            output.set_default_headers();
            output.status = status;
            for challenge in challenges {
                output.headers.append(WWW_AUTHENTICATE, challenge);
            }
        })
    }

    /// Writes the small page that goes with a status.
    pub fn write_error_page(&self, status: StatusCode) -> Result<()> {
        self.0.output.borrow_mut().write(&error_page(status, b""))
    }

    /// Tells a user who is logged in that this is forbidden (403).
    pub fn refuse_entry(&self) -> Result<()> {
        self.start_login_page(StatusCode::FORBIDDEN, Vec::new())?;
        self.write_error_page(StatusCode::FORBIDDEN)
    }

    /// Redirects the client to this request's own URL, without the query.
    pub fn redirect_to_itself(&self) -> Result<()> {
        let location = self.with_input(url::full).unwrap_or_default();
        let location = HeaderValue::try_from(location).map_err(Error::external)?;
        self.uncommitted(|output| {
            output.clear();
            output.headers.remove(CONTENT_TYPE);
            output.headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
            output.status = StatusCode::FOUND;
            output.headers.insert(LOCATION, location);
            output.complete();
        })
    }

    /// Whether the client asked for exactly this URL, with its query.
    pub fn is_at(&self, uri: &str) -> bool {
        self.with_input(|input| input.head.uri.path_and_query().is_some_and(|asked| asked.as_str() == uri))
            .unwrap_or(false)
    }
}
