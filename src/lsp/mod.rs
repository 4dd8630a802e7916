//! Application folders on the Lua thread: `.preload`, pages, directory functions, `onunload`.

/// The apps that are mounted.
#[derive(Default)]
pub struct Apps {}
