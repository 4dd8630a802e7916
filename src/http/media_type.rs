//! The media type of a file, by the ending of its name.

use std::path::Path;

use hyper::header::HeaderValue;
use mime_guess::mime;

/// Today's types where the list of mime_guess has older ones.
const NEWER: [(&str, &str); 6] = [
    ("mjs", "text/javascript; charset=utf-8"),
    ("ts", "text/plain; charset=utf-8"),
    ("lua", "text/plain; charset=utf-8"),
    ("map", "application/json"),
    ("webmanifest", "application/manifest+json"),
    ("ico", "image/vnd.microsoft.icon"),
];

/// The value of `Content-Type` for a file; text is UTF-8.
pub fn of(path: &Path) -> HeaderValue {
    let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default().to_ascii_lowercase();
    if let Some((_, media_type)) = NEWER.iter().find(|(known, _)| *known == ending) {
        return HeaderValue::from_static(media_type);
    }
    let guess = mime_guess::from_ext(&ending).first_or_octet_stream();
    let text = guess.type_() == mime::TEXT;
    let value = if text { format!("{}; charset=utf-8", guess.essence_str()) } else { guess.essence_str().to_owned() };
    HeaderValue::try_from(value).unwrap_or(HeaderValue::from_static("application/octet-stream"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_those_of_today() {
        for (name, expected) in [
            ("a.html", "text/html; charset=utf-8"),
            ("a.JS", "text/javascript; charset=utf-8"),
            ("a.mjs", "text/javascript; charset=utf-8"),
            ("a.css", "text/css; charset=utf-8"),
            ("a.json", "application/json"),
            ("a.wasm", "application/wasm"),
            ("a.svg", "image/svg+xml"),
            ("a.woff2", "font/woff2"),
            ("a.webp", "image/webp"),
            ("a.csv", "text/csv; charset=utf-8"),
            ("a.md", "text/markdown; charset=utf-8"),
            ("a.d.ts", "text/plain; charset=utf-8"),
            ("a.nosuchending", "application/octet-stream"),
            ("README", "application/octet-stream"),
        ] {
            assert_eq!(of(Path::new(name)), expected, "{name}");
        }
    }
}
