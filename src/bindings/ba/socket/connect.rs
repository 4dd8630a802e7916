//! `ba.socket.connect`: connections that a script opens.

use std::time::Duration;

use mlua::{IntoLuaMulti, Lua, MultiValue, Result, Value};

use super::object::Socket;
use crate::bindings::args::Args;
use crate::bindings::options::Options;
use crate::dial::Target;
use crate::transport::queued::Form;

/// How long connecting may take, by default.
const TIMEOUT: Duration = Duration::from_secs(10);

/// `ba.socket.connect(host, port [, {secure=, trusted=, ca=, timeout=}])`: the socket; or nil, a word and a sentence.
///
/// `secure`, `trusted` and `ca` ask for TLS. The server's certificate is checked against the authorities that the
/// system trusts, or those in the PEM text `ca`; `trusted=false` switches the check off. `timeout` is in milliseconds.
pub async fn connect(lua: Lua, args: MultiValue) -> Result<MultiValue> {
    let args = Args::new(&lua, "ba.socket.connect", args);
    let options = Options::optional(&args, 3, "options")?;
    let target = Target {
        host: args.text(1, "host")?,
        // The range fits into a u16.
        port: args.integer_in(2, "port", 1..=65535)? as u16,
        tls: if asks_for_tls(&options)? { Some(options.trust()?) } else { None },
        timeout: options.count("timeout")?.map_or(TIMEOUT, Duration::from_millis),
    };
    match target.connect().await {
        Err(failure) => (Value::Nil, failure.code(), failure.to_string()).into_lua_multi(&lua),
        Ok(connection) => Socket::opened(connection, Default::default(), Form::Raw).into_lua_multi(&lua),
    }
}

fn asks_for_tls(options: &Options) -> Result<bool> {
    let is_implied = options.flag("trusted")?.is_some() || options.text("ca")?.is_some();
    Ok(options.flag("secure")?.unwrap_or(is_implied))
}
