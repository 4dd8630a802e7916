//! `/rtl/`: the browser client, as part of the program, and what is installed beside it. It is a mount of its own in front
//! of all apps.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering};

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

/// What apps load by this name and the program does not contain.
const JQUERY: &str = "jquery.js";
/// Where Debian's package libjs-jquery puts it.
const INSTALLED_JQUERY: &str = "/usr/share/javascript/jquery/jquery.js";

/// The mount.
pub struct Rtl {
    /// Further files, with all symbolic links resolved.
    folder: Option<PathBuf>,
    /// Whether the log has told how to get jQuery.
    has_advised: AtomicBool,
}

impl Rtl {
    /// With the files of `folder` beside the built-in ones.
    pub fn new(folder: Option<&Path>) -> io::Result<Self> {
        let folder = folder.map(Path::canonicalize).transpose()?;
        Ok(Self { folder, has_advised: AtomicBool::new(false) })
    }

    /// Answers a request for `path` below the mount; `None` when there is no such file.
    pub async fn serve(&self, head: &Parts, path: &str) -> Option<Response> {
        if let Some(file) = FILES.iter().find(|file| file.name == path) {
            return Some(static_files::serve_embedded(head, file.name, file.bytes, &file.version));
        }
        Some(static_files::serve(head, &self.find(path)?).await)
    }

    fn find(&self, path: &str) -> Option<PathBuf> {
        if let Some(folder) = &self.folder
            && let Ok(file) = folder.join(path).canonicalize()
            && file.starts_with(folder)
            && file.is_file()
        {
            return Some(file);
        }
        if path != JQUERY {
            return None;
        }
        let installed = Path::new(INSTALLED_JQUERY);
        if installed.is_file() {
            return Some(installed.to_owned());
        }
        if !self.has_advised.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "an app asks for /rtl/{JQUERY}, which smq does not contain: install it (Debian: apt install libjs-jquery), \
                 or name a folder that has it with --rtl"
            );
        }
        None
    }
}
