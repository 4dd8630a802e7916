//! The server as its clients see it: bytes in, bytes out, following the wire protocol from the HTTP request to the end
//! of the connection, and what Lua code sees of it meanwhile.

#[path = "../support/mod.rs"]
mod support;

mod bootstrap;
mod callbacks;
mod chaos;
mod connect;
mod fragments;
mod hub_api;
mod life;
mod observe;
mod packets;
mod publish;
mod races;
mod robustness;
mod server_messages;
mod session;
mod shutdown;
mod websocket;
