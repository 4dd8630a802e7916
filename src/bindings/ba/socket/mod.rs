//! `ba.socket`: sockets for scripts. While a coroutine waits to read or write, others go on.

mod connect;
mod http2sock;
mod numbers;
mod object;

use std::rc::Rc;

use mlua::{Lua, MultiValue, Result, Table};

use crate::bindings::args::Args;
use crate::bindings::coroutine::spawn;
use crate::bindings::outcome::outcome;
use crate::bindings::request::Request;
use crate::connection::Greeting;
use crate::lua::World;
use crate::socket;
use crate::transport::queued::{self, Form};
use crate::transport::websocket::{self, Role};
use object::{Description, Socket};

pub fn register(world: &Rc<World>, ba: &Table) -> Result<()> {
    let lua = &world.lua;
    let socket = lua.create_table()?;
    socket.set("req2sock", lua.create_function(req2sock)?)?;
    socket.set("http2sock", lua.create_async_function(http2sock::http2sock)?)?;
    socket.set("connect", lua.create_async_function(connect::connect)?)?;
    socket.set("event", lua.create_function(event)?)?;
    socket.set("h2n", lua.create_function(numbers::h2n)?)?;
    socket.set("n2h", lua.create_function(numbers::n2h)?)?;
    ba.set("socket", socket)
}

/// `ba.socket.req2sock(request)`: takes over the request's connection, as a WebSocket if the client asked for one, else
/// as a plain socket; nil and a reason if it cannot be taken.
fn req2sock(lua: &Lua, args: MultiValue) -> Result<MultiValue> {
    let args = Args::new(lua, "ba.socket.req2sock", args);
    let request = args.object::<Request>(1, "request", "request")?;
    let greeting = match request.header("Sec-WebSocket-Key") {
        Some(key) => Greeting::WebSocket { accept: websocket::accept_key(&key) },
        None => Greeting::None,
    };
    let form = if greeting == Greeting::None { Form::Raw } else { Form::WebSocket(Role::Server) };
    let (reader, writer, pump) = queued::queues(form);
    let takeover = move |socket: socket::Socket, early| {
        tokio::spawn(pump.run(socket, greeting.response().into_owned().into_bytes(), early));
    };
    let description =
        Description { peer: request.peer_addr(), local: request.local_addr(), is_tls: request.is_tls(), form };
    let taken = request.take_socket(Box::new(takeover));
    outcome(lua, taken.map(|()| Socket::new(reader, writer, description)).map_err(|error| error.to_string()))
}

/// `ba.socket.event(f, ...)`: runs `f(...)` as a coroutine that may wait on sockets.
fn event(lua: &Lua, args: MultiValue) -> Result<()> {
    let function = Args::new(lua, "ba.socket.event", args.clone()).function(1, "function")?;
    spawn("ba.socket.event", function, args.into_iter().skip(1).collect(), || ());
    Ok(())
}
