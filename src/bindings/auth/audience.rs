//! What kind of client sent a request, which decides whether it is asked by a login form or by an HTTP challenge.

use crate::bindings::request::Request;

/// What a response goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audience {
    /// A browser that shows the response to its user.
    Person,
    /// A browser that loads something for a page: a script, a style, an image, or what a script fetches. A challenge
    /// here would make the browser open its own login dialog.
    Page,
    /// Any other client.
    Program,
}

impl Audience {
    /// Guesses from the request's headers.
    pub fn of(request: &Request) -> Self {
        Self::by(|name| request.header(name).map(|value| String::from_utf8_lossy(&value).into_owned()))
    }

    fn by(header: impl Fn(&str) -> Option<String>) -> Self {
        if header("Accept").is_some_and(|accepted| accepted.contains("text/html")) {
            return Self::Person;
        }
        // Browsers do not send the first two over an insecure connection.
        let is_browser = header("Sec-Fetch-Mode").is_some()
            || header("Sec-Fetch-Dest").is_some()
            || header("User-Agent").is_some_and(|agent| agent.starts_with("Mozilla/"));
        if is_browser { Self::Page } else { Self::Program }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_headers_of_a_request_tell_people_pages_and_programs_apart() {
        for (headers, expected) in [
            (&[("Accept", "text/html,*/*"), ("User-Agent", "Mozilla/5.0")][..], Audience::Person),
            (&[("Accept", "*/*"), ("Sec-Fetch-Mode", "cors")], Audience::Page),
            (&[("Accept", "image/*"), ("Sec-Fetch-Dest", "image")], Audience::Page),
            (&[("User-Agent", "Mozilla/5.0 (X11)")], Audience::Page),
            (&[("Accept", "*/*"), ("User-Agent", "curl/8")], Audience::Program),
            (&[], Audience::Program),
        ] {
            let header =
                |name: &str| headers.iter().find(|(found, _)| *found == name).map(|(_, value)| (*value).to_owned());
            assert_eq!(Audience::by(header), expected, "{headers:?}");
        }
    }
}
