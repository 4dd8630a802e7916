//! App folders written by tests.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use tempfile::TempDir;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

/// A folder with an app in it; removed when dropped.
pub struct App {
    folder: TempDir,
}

impl App {
    pub fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("the system has room for a temporary folder") }
    }

    /// Adds a file; `name` may contain folders.
    pub fn file(self, name: &str, contents: impl AsRef<[u8]>) -> Self {
        let path = self.folder.path().join(name);
        let folder = path.parent().expect("a file is in a folder");
        fs::create_dir_all(folder).expect("the temporary folder is ours");
        fs::write(path, contents).expect("the temporary folder is ours");
        self
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The app of the shared server: hubs made on demand, and a page that runs any Lua beside one of them.
    pub fn hubs() -> Self {
        Self::new()
            .file(".preload", include_str!("app/preload.lua"))
            .file("connect.lsp", include_str!("app/connect.lsp"))
            .file("eval.lsp", include_str!("app/eval.lsp"))
            .file("static.txt", "a file\n")
    }
}

/// Writes a zip file with these files, compressed.
pub fn pack(path: &Path, files: &[(&str, &str)]) {
    let mut zip = ZipWriter::new(File::create(path).expect("the folder is ours"));
    for (name, contents) in files {
        zip.start_file(*name, SimpleFileOptions::default()).expect("a valid name");
        zip.write_all(contents.as_bytes()).expect("the file is open");
    }
    zip.finish().expect("the file is open");
}
