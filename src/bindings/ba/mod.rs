//! The `ba` library, one file per group.

mod argument;
pub mod json;
pub mod random;
pub mod timer;
