//! What `hub.create` is given.

use std::time::Duration;

use mlua::{Function, Result, Table, Value};

use super::super::args::Args;
use super::callbacks::Callbacks;
use crate::broker::Keepalive;

/// The options of a hub, checked.
pub struct HubOptions {
    pub callbacks: Callbacks,
    pub onmsg: Option<Function>,
    pub random_server_etid: bool,
    pub handshake_timeout: Duration,
    pub keepalive: Keepalive,
    pub queue_size: u32,
}

impl HubOptions {
    pub fn read(args: &Args<'_>) -> Result<Self> {
        let options = match args.optional_table(1, "op")? {
            Some(table) => table,
            None => return Ok(Self::default()),
        };
        let function = |name: &str| function(args, &options, name);
        let callbacks = Callbacks {
            authenticate: function("authenticate")?,
            permittop: function("permittop")?,
            permitsubtop: function("permitsubtop")?,
            onconnect: function("onconnect")?,
            onclose: function("onclose")?,
            onpublish: function("onpublish")?,
            ondrop: function("ondrop")?,
            log: function("log")?,
        };
        let idle = seconds(args, &options, "keepidle")?;
        let interval = seconds(args, &options, "keepintv")?;
        let keepalive = Keepalive::new(idle.unwrap_or(Keepalive::default().idle), interval);
        let defaults = Self::default();
        Ok(Self {
            callbacks,
            onmsg: function("onmsg")?,
            random_server_etid: truth(&options, "rndtid")?,
            handshake_timeout: number(args, &options, "readtmo", 1.0..=86_400_000.0)?
                .map_or(defaults.handshake_timeout, |ms| Duration::from_secs_f64(ms / 1000.0)),
            keepalive,
            queue_size: number(args, &options, "queuesize", 1.0..=4_294_967_295.0)?
                .map_or(defaults.queue_size, |size| size as u32),
        })
    }
}

impl Default for HubOptions {
    fn default() -> Self {
        Self {
            callbacks: Callbacks::default(),
            onmsg: None,
            random_server_etid: false,
            handshake_timeout: Duration::from_millis(4000),
            keepalive: Keepalive::default(),
            queue_size: 200,
        }
    }
}

fn function(args: &Args<'_>, options: &Table, name: &str) -> Result<Option<Function>> {
    match options.get(name)? {
        Value::Nil => Ok(None),
        Value::Function(function) => Ok(Some(function)),
        other => Err(args.refuse(1, "op", &format!("op.{name}: function expected, got {}", other.type_name()))),
    }
}

fn truth(options: &Table, name: &str) -> Result<bool> {
    Ok(!matches!(options.get(name)?, Value::Nil | Value::Boolean(false)))
}

fn number(args: &Args<'_>, options: &Table, name: &str, range: std::ops::RangeInclusive<f64>) -> Result<Option<f64>> {
    let number = match options.get(name)? {
        Value::Nil => return Ok(None),
        Value::Integer(number) => number as f64,
        Value::Number(number) => number,
        other => {
            return Err(args.refuse(1, "op", &format!("op.{name}: number expected, got {}", other.type_name())));
        }
    };
    if range.contains(&number) {
        return Ok(Some(number));
    }
    let (least, most) = (range.start(), range.end());
    Err(args.refuse(1, "op", &format!("op.{name}: {least}..{most} expected, got {number}")))
}

fn seconds(args: &Args<'_>, options: &Table, name: &str) -> Result<Option<Duration>> {
    // The kernel takes no more than 32767 seconds.
    Ok(number(args, options, name, 1.0..=32_767.0)?.map(Duration::from_secs_f64))
}
