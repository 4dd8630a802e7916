//! `smq`: a Lua-scriptable message server.
//!
//! It hosts Barracuda-style applications (a folder of Lua Server Pages, a `.preload` script and static files) and gives
//! their scripts a publish/subscribe broker as `require"smq.hub"`.
//!
//! # The idea
//!
//! Everyone is a peer. A client's connection and the hub's own Lua side attach to the broker alike: with an ephemeral topic
//! id (ETID) and an outbound queue of encoded packets. So each feature has one path through the code, whoever publishes
//! and whoever subscribes.
//!
//! # Threads
//!
//! - The shards, by default one thread per processor but one, each with its own event loop, serve all sockets. A connection
//!   stays on one shard. A message is read, routed and written by the shard that read it, also to receivers on other shards.
//! - The Lua thread runs all Lua: pages, callbacks and timers are coroutines, and one that waits lets the others run. What
//!   is asked of it travels there and back once per turn of an event loop. A hub with `onpublish` has its plain connections
//!   on the Lua thread, since every message has to be asked about there.
//! - The main thread starts and stops the server.
//!
//! # The map
//!
//! | module | owns | knows nothing of |
//! | --- | --- | --- |
//! | [`protocol`] | packets, ids, return codes: bytes to packets and back | I/O, tokio, Lua, HTTP |
//! | [`broker`] | topics, peers, subscriptions, observers, routing; decides, never waits | HTTP, Lua |
//! | [`connection`], [`transport`] | one client's connection, raw or WebSocket, plain or TLS | Lua, pages |
//! | [`socket`], [`tls`] | sockets that HTTP and the transports hand to each other; certificates, the server's and others' | what is sent |
//! | [`seats`] | how many connections there may be, and which shard serves each | what they are for |
//! | [`dial`] | connections that scripts open, plain or TLS | Lua |
//! | [`http`] | accepting, TLS, static files; hands a request to a page, gives its socket away when asked | SMQ |
//! | [`lua`] | the thread that runs Lua, and how other threads ask it and are answered | what pages and hubs do |
//! | [`lsp`], [`bindings`] | pages, apps and what scripts can call | wire bytes |
//! | [`mod@bench`] | `smq bench`: clients that put a load on a broker | everything but the protocol and sockets |
//! | [`traces`] | what scripts say, for the trace console of `--dev` | HTTP, Lua |
//! | [`stamp`] | how a change of a file is noticed | which files matter |
//! | [`config`], [`server`] | flags, configuration, start and stop | everything below |
//! | [`testing`] | `smq test`: Lua test scripts against a server of their own | how pages and hubs work |
//!
//! # Three paths to read first
//!
//! 1. A message from a client to subscribers: [`connection`] reads it with [`transport::wire`], [`broker::session`] checks it,
//!    [`broker::Hub::route`] finds the receivers, [`broker::outbox`] writes to each once per turn, through
//!    [`broker::outbound`].
//! 2. `hub:publish()` in Lua: [`bindings::hub`] turns a table into JSON and names into ids, and calls the same
//!    [`broker::Hub::route`].
//! 3. A request becomes a connection: [`http::connection`] parses it, [`lsp`] runs the page, which calls
//!    `hub:connect(request)`; then `http` gives the socket to [`connection::Upgrade`], and 1. begins.

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
pub mod stamp;
pub mod testing;
pub mod tls;
pub mod traces;
pub mod transport;
