//! Flags and the configuration file.
