//! `ba.socket.connect`: connections that a script opens.

use std::time::Duration;

use mlua::{IntoLuaMulti, Lua, MultiValue, Result, Table, Value};

use super::object::Socket;
use crate::bindings::args::Args;
use crate::dial::Target;
use crate::tls::client::Trust;
use crate::transport::queued::Form;

/// Time for a connection, unless the script says otherwise.
const TIMEOUT_MS: u64 = 10_000;

/// `ba.socket.connect(host, port [, {secure=, trusted=, ca=, timeout=}])`: the socket; or nil, a word and a sentence.
///
/// `secure` asks for TLS, as do the others but `timeout` (milliseconds). The server's certificate is checked against the
/// machine's authorities, or those of the PEM text `ca`; `trusted=false` switches the check off.
pub async fn connect(lua: Lua, args: MultiValue) -> Result<MultiValue> {
    let args = Args::new(&lua, "ba.socket.connect", args);
    let target = Target {
        host: args.text(1, "host")?,
        // The range fits by far.
        port: args.integer_in(2, "port", 1..=65535)? as u16,
        tls: trust(&args, 3)?,
        timeout: time(&args, 3)?,
    };
    match target.connect().await {
        Err(failure) => (Value::Nil, failure.code(), failure.to_string()).into_lua_multi(&lua),
        Ok(connection) => Socket::opened(connection, Default::default(), Form::Raw).into_lua_multi(&lua),
    }
}

/// Whether and whom to trust, from a table of options.
pub fn trust(args: &Args, position: usize) -> Result<Option<Trust>> {
    let Some(options) = args.optional_table(position, "options")? else { return Ok(None) };
    let ca = match options.raw_get::<Value>("ca")? {
        Value::Nil => None,
        Value::String(pem) => Some(pem.as_bytes().to_vec()),
        other => return Err(wrong(args, position, "ca", "PEM text", &other)),
    };
    let (secure, trusted) = (flag(args, position, &options, "secure")?, flag(args, position, &options, "trusted")?);
    Ok(match (trusted, ca, secure) {
        (_, _, Some(false)) => None,
        (Some(false), _, _) => Some(Trust::Anybody),
        (_, Some(pem), _) => Some(Trust::Pem(pem)),
        (Some(true), None, _) | (_, _, Some(true)) => Some(Trust::System),
        (None, None, None) => None,
    })
}

fn time(args: &Args, position: usize) -> Result<Duration> {
    let Some(options) = args.optional_table(position, "options")? else { return Ok(Duration::from_millis(TIMEOUT_MS)) };
    let milliseconds = match options.raw_get::<Value>("timeout")? {
        Value::Nil => TIMEOUT_MS,
        Value::Integer(number) if number >= 0 => number as u64,
        Value::Number(number) if number >= 0.0 => number as u64,
        other => return Err(wrong(args, position, "timeout", "milliseconds", &other)),
    };
    Ok(Duration::from_millis(milliseconds))
}

fn flag(args: &Args, position: usize, options: &Table, name: &str) -> Result<Option<bool>> {
    match options.raw_get::<Value>(name)? {
        Value::Nil => Ok(None),
        Value::Boolean(flag) => Ok(Some(flag)),
        other => Err(wrong(args, position, name, "boolean", &other)),
    }
}

fn wrong(args: &Args, position: usize, field: &str, expected: &str, got: &Value) -> mlua::Error {
    args.refuse(position, "options", &format!("field '{field}': {expected} expected, got {}", got.type_name()))
}
