//! `ba.socket.connect`: connections that a script opens.

use std::time::Duration;

use mlua::{IntoLuaMulti, Lua, MultiValue, Result, Value};

use super::object::Socket;
use crate::bindings::args::Args;
use crate::bindings::options::Options;
use crate::dial::Target;
use crate::tls::client::Trust;
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
        tls: trust(&options)?,
        timeout: options.count("timeout")?.map_or(TIMEOUT, Duration::from_millis),
    };
    match target.connect().await {
        Err(failure) => (Value::Nil, failure.code(), failure.to_string()).into_lua_multi(&lua),
        Ok(connection) => Socket::opened(connection, Default::default(), Form::Raw).into_lua_multi(&lua),
    }
}

/// By what to trust the server; `None` without TLS.
fn trust(options: &Options) -> Result<Option<Trust>> {
    Ok(match (options.flag("trusted")?, options.text("ca")?, options.flag("secure")?) {
        (_, _, Some(false)) => None,
        (Some(false), _, _) => Some(Trust::Anybody),
        (_, Some(pem), _) => Some(Trust::Pem(pem)),
        (Some(true), None, _) | (_, _, Some(true)) => Some(Trust::System),
        (None, None, None) => None,
    })
}
