//! How a change of a file is noticed.

use std::fs::Metadata;
use std::time::SystemTime;

/// The time and size of a file: an edit changes one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    modified: Option<SystemTime>,
    size: u64,
}

impl Stamp {
    /// The stamp of the file with this metadata.
    pub fn of(metadata: &Metadata) -> Self {
        Self { modified: metadata.modified().ok(), size: metadata.len() }
    }
}
