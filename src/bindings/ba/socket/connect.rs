//! `ba.socket.connect`: connections that a script opens.

use std::time::Duration;

use mlua::{IntoLuaMulti, Lua, MultiValue, Result, Value};

use super::object::Socket;
use crate::bindings::args::Args;
use crate::bindings::options::Options;
use crate::dial::Target;
use crate::tls::client::Trust;
use crate::transport::queued::Form;

/// Time for a connection, unless the script says otherwise.
const TIMEOUT: Duration = Duration::from_secs(10);

/// `ba.socket.connect(host, port [, {secure=, trusted=, ca=, timeout=}])`: the socket; or nil, a word and a sentence.
///
/// `secure` asks for TLS, as do the others but `timeout` (milliseconds). The server's certificate is checked against the
/// machine's authorities, or those of the PEM text `ca`; `trusted=false` switches the check off.
pub async fn connect(lua: Lua, args: MultiValue) -> Result<MultiValue> {
    let args = Args::new(&lua, "ba.socket.connect", args);
    let options = Options::optional(&args, 3, "options")?;
    let target = Target {
        host: args.text(1, "host")?,
        // The range fits by far.
        port: args.integer_in(2, "port", 1..=65535)? as u16,
        tls: trust(&options)?,
        timeout: options.count("timeout")?.map_or(TIMEOUT, Duration::from_millis),
    };
    match target.connect().await {
        Err(failure) => (Value::Nil, failure.code(), failure.to_string()).into_lua_multi(&lua),
        Ok(connection) => Socket::opened(connection, Default::default(), Form::Raw).into_lua_multi(&lua),
    }
}

/// Whether and whom to trust.
fn trust(options: &Options) -> Result<Option<Trust>> {
    Ok(match (options.flag("trusted")?, options.text("ca")?, options.flag("secure")?) {
        (_, _, Some(false)) => None,
        (Some(false), _, _) => Some(Trust::Anybody),
        (_, Some(pem), _) => Some(Trust::Pem(pem)),
        (Some(true), None, _) | (_, _, Some(true)) => Some(Trust::System),
        (None, None, None) => None,
    })
}
