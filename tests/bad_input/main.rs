//! What a script or a client must not bring down: every function with wrong, empty and huge values, and every way to
//! spell a path that leads out of an app.

#[path = "../support/mod.rs"]
mod support;

mod functions;
mod paths;
mod requests;
