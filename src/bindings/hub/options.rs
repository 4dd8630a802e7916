//! The options of `hub.create`.

use std::ops::RangeInclusive;
use std::time::Duration;

use mlua::{Function, Result};

use super::callbacks::Callbacks;
use crate::bindings::args::Args;
use crate::bindings::options::Options;
use crate::broker::{HANDSHAKE_TIMEOUT, Keepalive};

/// The times of keepalive that can be set, in seconds. The kernel takes no longer ones.
pub const KEEPALIVE_SECONDS: RangeInclusive<f64> = 1.0..=32_767.0;

/// The options of a hub, checked. Scripts give `readtmo` (the handshake's timeout) in milliseconds, `keepidle` and
/// `keepintv` in seconds.
pub struct HubOptions {
    pub callbacks: Callbacks,
    pub onmsg: Option<Function>,
    pub random_server_etid: bool,
    pub handshake_timeout: Duration,
    pub keepalive: Keepalive,
    pub queue_size: u32,
}

impl HubOptions {
    /// Reads argument 1, which may be absent.
    pub fn read(args: &Args<'_>) -> Result<Self> {
        let options = Options::optional(args, 1, "op")?;
        let defaults = Self::default();
        let read = Self {
            callbacks: Callbacks {
                authenticate: options.function("authenticate")?,
                permittop: options.function("permittop")?,
                permitsubtop: options.function("permitsubtop")?,
                onconnect: options.function("onconnect")?,
                onclose: options.function("onclose")?,
                onpublish: options.function("onpublish")?,
                ondrop: options.function("ondrop")?,
                log: options.function("log")?,
            },
            onmsg: options.function("onmsg")?,
            random_server_etid: options.truth("rndtid")?,
            handshake_timeout: options
                .number_in("readtmo", 1.0..=86_400_000.0)?
                .map_or(defaults.handshake_timeout, |ms| Duration::from_secs_f64(ms / 1000.0)),
            keepalive: Keepalive::new(
                seconds(&options, "keepidle")?.unwrap_or(defaults.keepalive.idle),
                seconds(&options, "keepintv")?,
            ),
            queue_size: options
                .number_in("queuesize", 1.0..=4_294_967_295.0)?
                .map_or(defaults.queue_size, |size| size as u32),
        };
        options.warn_of_unknown()?;
        Ok(read)
    }
}

impl Default for HubOptions {
    fn default() -> Self {
        Self {
            callbacks: Callbacks::default(),
            onmsg: None,
            random_server_etid: false,
            handshake_timeout: HANDSHAKE_TIMEOUT,
            keepalive: Keepalive::default(),
            queue_size: 200,
        }
    }
}

fn seconds(options: &Options<'_>, name: &'static str) -> Result<Option<Duration>> {
    Ok(options.number_in(name, KEEPALIVE_SECONDS)?.map(Duration::from_secs_f64))
}

#[cfg(test)]
mod tests {
    use mlua::Lua;

    use super::*;

    /// What is read from this table.
    fn read(options: &str) -> HubOptions {
        let lua = Lua::new();
        let values = lua.load(options).eval().unwrap();
        HubOptions::read(&Args::new(&lua, "hub.create", values)).unwrap()
    }

    #[test]
    fn what_is_not_given_has_the_documented_default() {
        for options in ["nil", "{}"] {
            let options = read(options);
            assert!(!options.random_server_etid);
            assert_eq!(options.handshake_timeout, Duration::from_millis(4000));
            assert_eq!(options.queue_size, 200);
        }
    }

    #[test]
    fn keepalive_has_an_interval_of_a_tenth_of_the_idle_time_but_at_least_3_seconds() {
        for (options, idle, interval) in [
            ("{}", 230, 23),
            ("{keepidle = 100}", 100, 10),
            ("{keepidle = 20}", 20, 3),
            ("{keepintv = 7}", 230, 7),
            ("{keepidle = 100, keepintv = 1}", 100, 3),
        ] {
            let Keepalive { idle: found, interval: between } = read(options).keepalive;
            assert_eq!((found.as_secs(), between.as_secs()), (idle, interval), "{options}");
        }
    }
}
