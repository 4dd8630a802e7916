//! Start and stop of the whole server.
