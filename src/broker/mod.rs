//! The broker core.
