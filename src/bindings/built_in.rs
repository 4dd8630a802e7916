//! The files that are part of the program, as a folder that scripts can open.

use std::io;
use std::path::PathBuf;

use parking_lot::Mutex;

use crate::http::rtl::BUILT_IN;
use crate::lsp::archive::Unpacked;

/// One for all of the process. Not of the Lua state, whose end nobody waits for: the folder would stay behind.
static FOLDER: Mutex<Option<Unpacked>> = Mutex::new(None);

/// A folder with the built-in files, with all symbolic links resolved; made when it is first asked for.
pub fn folder() -> io::Result<PathBuf> {
    let mut folder = FOLDER.lock();
    if let Some(unpacked) = &*folder {
        return Ok(unpacked.root().to_owned());
    }
    let unpacked = Unpacked::of(&BUILT_IN)?;
    let root = unpacked.root().to_owned();
    *folder = Some(unpacked);
    Ok(root)
}

/// Removes the folder, if there is one: nobody else does when the process ends.
pub fn remove_folder() {
    FOLDER.lock().take();
}
