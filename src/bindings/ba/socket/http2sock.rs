//! `ba.socket.http2sock`: the WebSocket that a request of the HTTP client became.

use mlua::{IntoLuaMulti, Lua, MultiValue, Result, Value};

use super::object::Socket;
use crate::bindings::args::Args;
use crate::bindings::httpc;
use crate::transport::queued::Form;
use crate::transport::websocket::Role;

/// `ba.socket.http2sock(http)`: the socket; or nil, a word and a sentence.
pub async fn http2sock(lua: Lua, args: MultiValue) -> Result<MultiValue> {
    let args = Args::new(&lua, "ba.socket.http2sock", args);
    match httpc::take_websocket(&args, 1).await? {
        Ok((connection, early)) => {
            Socket::opened(connection, early, Form::WebSocket(Role::Client)).into_lua_multi(&lua)
        }
        Err(failure) => (Value::Nil, failure.code(), failure.to_string()).into_lua_multi(&lua),
    }
}
