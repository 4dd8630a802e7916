//! What the black-box tests share: a running server, clients of every transport, packets in the protocol's own form.
//!
//! - [`Server`]: the real binary, serving an app that a test wrote; killed when dropped.
//! - [`Hub`]: one hub of the shared server, for one test, with a way to run Lua beside it.
//! - [`Client`]: a blocking SMQ client; [`Via`] chooses its transport.
//! - [`packet`]: every packet as the bytes the protocol prescribes.
//!
//! Nothing here uses the `smq` library: the tests are an independent reading of the protocol.

// Each test binary compiles this module for itself and none of them uses all of it.
#![allow(dead_code, unused_imports)]

mod app;
mod client;
mod hub;
mod packet;
mod server;
mod stranger;
mod stream;

pub use app::{App, pack};
pub use client::{Client, End, Via};
pub use hub::Hub;
pub use packet::*;
pub use server::Server;
pub use stranger::{read_head, says, stranger};
pub use stream::Stream;

use std::time::Duration;

/// How long a test waits for what must happen; long, because the machine may be busy.
pub const PATIENCE: Duration = Duration::from_secs(15);
