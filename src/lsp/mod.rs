//! Application folders on the Lua thread: `.preload`, pages, directory functions, `onunload`.

pub mod compile;

/// The apps that are mounted.
#[derive(Default)]
pub struct Apps {}
