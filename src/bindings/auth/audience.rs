//! Who is at the other end: whether a form or a challenge makes sense there.

use crate::bindings::request::Request;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audience {
    /// Somebody who is shown what comes.
    Person,
    /// A page, for a script, a style or an image of it. A browser that finds a challenge in the answer asks by itself.
    Page,
    Program,
}

impl Audience {
    pub fn of(request: &Request) -> Self {
        Self::by(|name| request.header(name).map(|value| String::from_utf8_lossy(&value).into_owned()))
    }

    fn by(header: impl Fn(&str) -> Option<String>) -> Self {
        if header("Accept").is_some_and(|accepted| accepted.contains("text/html")) {
            return Self::Person;
        }
        // Browsers leave the first two out where the connection is not secure.
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
    fn people_pages_and_programs_are_known_by_their_headers() {
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
