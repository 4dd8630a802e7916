//! `/rtl/`: the browser client, as part of the program, and what is installed beside it. It is a mount of its own in front
//! of all apps.

use std::io;
use std::net::SocketAddr;
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
use super::trace_console::TraceConsole;
use crate::traces::Traces;

/// The mount's name.
pub const NAME: &str = "rtl";

/// A file that is part of the program.
pub struct Embedded {
    name: &'static str,
    bytes: &'static [u8],
    version: Version,
}

impl Embedded {
    /// The name's ending tells the media type.
    pub fn new(name: &'static str, bytes: &'static [u8]) -> Self {
        let etag = format!("\"{}\"", URL_SAFE_NO_PAD.encode(Sha1::digest(bytes)));
        Self { name, bytes, version: Version { etag, modified: None } }
    }

    /// Answers a request for the file.
    pub fn serve(&self, head: &Parts) -> Response {
        static_files::serve_embedded(head, self.name, self.bytes, &self.version)
    }
}

/// The built-in files: name and content.
pub const BUILT_IN: [(&str, &[u8]); 3] = [
    ("smq.js", include_bytes!("../rtl/smq.js")),
    ("smq.mjs", include_bytes!("../rtl/smq.mjs")),
    ("smq.d.ts", include_bytes!("../rtl/smq.d.ts")),
];

static FILES: LazyLock<[Embedded; 3]> = LazyLock::new(|| BUILT_IN.map(|(name, bytes)| Embedded::new(name, bytes)));

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
    /// Only with `--dev`.
    console: Option<TraceConsole>,
}

impl Rtl {
    /// With the files of `folder` beside the built-in ones, and a console that shows the traces.
    pub fn new(folder: Option<&Path>, traces: Option<Traces>) -> io::Result<Self> {
        let folder = folder.map(Path::canonicalize).transpose()?;
        Ok(Self { folder, has_advised: AtomicBool::new(false), console: traces.map(TraceConsole::new) })
    }

    /// Answers a request for `path` below the mount; `None` when there is no such file.
    pub async fn serve(&self, head: &Parts, peer: SocketAddr, path: &str) -> Option<Response> {
        if let Some(file) = FILES.iter().find(|file| file.name == path) {
            return Some(file.serve(head));
        }
        if let Some(console) = &self.console
            && let Some(response) = console.serve(head, peer, path)
        {
            return Some(response);
        }
        Some(static_files::serve(head, &self.find(path)?, None).await)
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
