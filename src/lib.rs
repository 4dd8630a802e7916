//! `smq`: a Lua-scriptable message server.
//!
//! It hosts Barracuda-style applications (a folder of Lua Server Pages, a `.preload` script and static files) and gives
//! their scripts a publish/subscribe broker as `require"smq.hub"`.
//!
//! # The map
//!
//! | module | owns | knows nothing of |
//! | --- | --- | --- |
//! | [`protocol`] | packets, ids, return codes: bytes to packets and back | I/O, tokio, Lua, HTTP |
//! | [`broker`] | topics, peers, subscriptions, observers, routing; decides, never waits | HTTP, Lua |
//! | [`connection`], [`transport`] | one client's life on a raw socket or a WebSocket, plain or TLS | Lua, pages |
//! | [`socket`], [`tls`] | sockets that HTTP and the transports hand to each other; certificates, own and others' | what is sent |
//! | [`seats`] | how many connections there may be, and which shard serves each | what they are for |
//! | [`dial`] | connections that scripts open, plain or TLS | Lua |
//! | [`http`] | accepting, TLS, static files; hands a request to a page, gives its socket away when asked | SMQ |
//! | [`lua`] | the one thread that runs Lua, and the ways to it and back | what pages and hubs do |
//! | [`lsp`], [`bindings`] | pages, apps and what scripts can call | wire bytes |
//! | [`mod@bench`] | `smq bench`: clients that put a load on a broker | everything but the protocol |
//! | [`traces`] | what scripts say, for the trace console of `--dev` | HTTP, Lua |
//! | [`config`], [`server`] | flags, configuration, start and stop | everything below |
//! | [`testing`] | `smq test`: Lua test scripts against a server of their own | how pages and hubs work |
//!
//! Everyone is a peer: a socket and the hub's own Lua side attach to the broker alike, with an ephemeral topic id and a
//! bounded outbound queue of encoded packets, so each feature has one path through the code.

pub mod bench;
pub mod bindings;
pub mod broker;
pub mod config;
pub mod connection;
pub mod dial;
pub mod http;
pub mod lsp;
pub mod lua;
pub mod protocol;
pub mod seats;
pub mod server;
pub mod socket;
pub mod testing;
pub mod tls;
pub mod traces;
pub mod transport;
