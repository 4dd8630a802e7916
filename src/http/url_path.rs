//! The path of a URL as a place below the server's root: decoded, collapsed, and safe to join to a folder's path.

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};

/// What a path segment must not contain unencoded (RFC 3986, `pchar`), and what would confuse a `Location` header.
const SEGMENT: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'/')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// A path without empty, `.` and `..` segments, none of which begins with a dot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UrlPath {
    segments: Vec<String>,
    /// Whether it names a directory: it ended with `/`, `/.` or `/..`, or it is the root.
    is_dir: bool,
}

/// Why a path leads nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// No path at all, or one whose percent encoding is broken.
    Malformed,
    /// Outside the root, hidden, or a name no file can have.
    Hidden,
}

impl UrlPath {
    /// Reads the path part of a URL as it was sent.
    pub fn parse(raw: &str) -> Result<Self, Refused> {
        if !raw.starts_with('/') || !is_well_encoded(raw) {
            return Err(Refused::Malformed);
        }
        // Decoded before it is split, so that `%2f` separates as `/` does and `%2e%2e` is `..`.
        let decoded = percent_decode_str(raw).decode_utf8().map_err(|_| Refused::Hidden)?;
        if decoded.contains(|c: char| c.is_control() || c == '\\') {
            return Err(Refused::Hidden);
        }
        let segments = collapse(&decoded)?;
        if segments.iter().any(|segment| segment.starts_with('.')) || is_fragment(segments.last()) {
            return Err(Refused::Hidden);
        }
        let is_dir = segments.is_empty() || matches!(decoded.rsplit('/').next(), Some("" | "." | ".."));
        Ok(Self { segments, is_dir })
    }

    pub fn is_dir(&self) -> bool {
        self.is_dir
    }

    pub fn is_root(&self) -> bool {
        self.segments.is_empty()
    }

    /// The path as seen from the mount `name` (`""` is the root), with a trailing slash where it names a directory;
    /// `None` when it is not below that mount.
    pub fn below(&self, name: &str) -> Option<String> {
        let mut rest = self.segments.as_slice();
        for part in name.split('/').filter(|part| !part.is_empty()) {
            let (first, others) = rest.split_first()?;
            if first != part {
                return None;
            }
            rest = others;
        }
        let mut path = rest.join("/");
        if self.is_dir && !rest.is_empty() {
            path.push('/');
        }
        Some(path)
    }

    /// Whether a missing file of this name may have been meant as a directory: its last part has no dot.
    pub fn may_be_a_directory(&self) -> bool {
        !self.is_dir && self.segments.last().is_some_and(|last| !last.contains('.'))
    }

    /// The path encoded for a URL, as a directory.
    pub fn to_directory_url(&self) -> String {
        let mut url = String::from("/");
        for segment in &self.segments {
            url.extend(utf8_percent_encode(segment, SEGMENT));
            url.push('/');
        }
        url
    }
}

/// Whether each `%` is followed by two hexadecimal digits.
fn is_well_encoded(raw: &str) -> bool {
    raw.split('%').skip(1).all(|rest| rest.len() >= 2 && rest.bytes().take(2).all(|b| b.is_ascii_hexdigit()))
}

fn collapse(path: &str) -> Result<Vec<String>, Refused> {
    let mut segments = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => drop(segments.pop().ok_or(Refused::Hidden)?),
            name => segments.push(name.to_owned()),
        }
    }
    Ok(segments)
}

/// `.shtml` files are parts of pages, for `response:include`.
fn is_fragment(name: Option<&String>) -> bool {
    name.and_then(|name| name.rsplit_once('.')).is_some_and(|(_, ending)| ending.eq_ignore_ascii_case("shtml"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn below_root(raw: &str) -> Result<String, Refused> {
        UrlPath::parse(raw).map(|path| path.below("").expect("everything is below the root"))
    }

    #[test]
    fn slashes_and_dots_collapse() {
        assert_eq!(below_root("//a///b/./c/../d"), Ok("a/b/d".into()));
        assert_eq!(below_root("/a/b/.."), Ok("a/".into()));
        assert_eq!(below_root("/a%2fb%2f"), Ok("a/b/".into()));
        assert_eq!(below_root("/"), Ok(String::new()));
        assert_eq!(below_root("/a/.."), Ok(String::new()));
    }

    #[test]
    fn nothing_leads_out_of_the_root() {
        for raw in ["/..", "/../etc/passwd", "/a/../../b", "/%2e%2e/x", "/..%2fx", "/a/%2e%2e%2f%2e%2e%2fx"] {
            assert_eq!(below_root(raw), Err(Refused::Hidden), "{raw}");
        }
    }

    #[test]
    fn hidden_names_are_refused_in_every_spelling() {
        for raw in ["/.preload", "/%2epreload", "/.lua/x.lua", "/a/.b/c", "/...", "/x.shtml", "/x.SHTML", "/x.%73html"]
        {
            assert_eq!(below_root(raw), Err(Refused::Hidden), "{raw}");
        }
    }

    #[test]
    fn names_no_file_can_have_are_refused() {
        for raw in ["/a%00.html", "/a%0a", "/a\\b", "/a%5cb", "/%ff"] {
            assert_eq!(below_root(raw), Err(Refused::Hidden), "{raw}");
        }
        for raw in ["", "*", "x", "/%", "/%4", "/%zz", "/a%2"] {
            assert_eq!(below_root(raw), Err(Refused::Malformed), "{raw}");
        }
    }

    #[test]
    fn a_mount_sees_what_is_below_its_name() {
        let path = UrlPath::parse("/shop/cart/").unwrap();
        assert_eq!(path.below("shop"), Some("cart/".into()));
        assert_eq!(path.below("sho"), None);
        assert_eq!(UrlPath::parse("/shop/").unwrap().below("shop"), Some(String::new()));
    }

    #[test]
    fn a_directory_url_is_encoded_again() {
        assert_eq!(UrlPath::parse("/a%20b//%C3%A9").unwrap().to_directory_url(), "/a%20b/%C3%A9/");
    }
}
