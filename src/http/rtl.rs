//! `/rtl/`: the browser client, as part of the program. It is a mount of its own in front of all apps.

use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hyper::http::request::Parts;
use sha1::{Digest, Sha1};

use super::Response;
use super::conditional::Version;
use super::static_files;

/// The mount's name.
pub const NAME: &str = "rtl";

struct Embedded {
    name: &'static str,
    bytes: &'static [u8],
    version: Version,
}

static FILES: LazyLock<[Embedded; 3]> = LazyLock::new(|| {
    [
        embedded("smq.js", include_bytes!("../rtl/smq.js")),
        embedded("smq.mjs", include_bytes!("../rtl/smq.mjs")),
        embedded("smq.d.ts", include_bytes!("../rtl/smq.d.ts")),
    ]
});

fn embedded(name: &'static str, bytes: &'static [u8]) -> Embedded {
    let etag = format!("\"{}\"", URL_SAFE_NO_PAD.encode(Sha1::digest(bytes)));
    Embedded { name, bytes, version: Version { etag, modified: None } }
}

/// Answers a request for `path` below the mount; `None` when there is no such file.
pub fn serve(head: &Parts, path: &str) -> Option<Response> {
    let file = FILES.iter().find(|file| file.name == path)?;
    Some(static_files::serve_embedded(head, file.name, file.bytes, &file.version))
}
