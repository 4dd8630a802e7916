//! The command line of `smq bench`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use hyper::Uri;

use super::workload::{flow, rtt};
use crate::protocol::MAX_PAYLOAD;

/// SMQ's own largest payload, for all protocols alike.
const MAX_SIZE: i64 = MAX_PAYLOAD as i64;

#[derive(Debug, Args)]
#[command(
    after_help = "A window is how many messages each publisher may have under way that not all subscribers have received: \
                  publishers never send more, so a broker has no reason to drop any. With a full window, latencies mostly tell \
                  how long the window is; `rtt` tells the latency of a single message."
)]
pub struct BenchArgs {
    /// The broker: http://HOST:PORT/PATH or https://..., where PATH leads to a hub; or mqtt://HOST:PORT, nats://HOST:PORT to compare with
    pub url: Uri,
    /// Speak SMQ over WebSocket instead of raw frames
    #[arg(long, global = true)]
    pub websocket: bool,
    /// Certificates to trust for https, in PEM form
    #[arg(long, global = true, value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// Seconds to run before measuring
    #[arg(long, global = true, value_name = "S", default_value_t = 1.0, value_parser = seconds)]
    pub warmup: f64,
    /// Seconds to measure
    #[arg(long, global = true, value_name = "S", default_value_t = 5.0, value_parser = seconds)]
    pub seconds: f64,
    /// The broker's process, if it runs on this machine: tells its CPU time and memory
    #[arg(long, global = true, value_name = "PID")]
    pub pid: Option<u32>,
    /// Print the result as one line of JSON
    #[arg(long, global = true)]
    pub json: bool,
    #[command(subcommand)]
    pub load: Load,
}

#[derive(Debug, Subcommand)]
pub enum Load {
    /// Publishers send to one topic, which all subscribers get
    Fanout(FanoutArgs),
    /// As many publishers as subscribers, each pair with a topic of its own
    Pairs(PairsArgs),
    /// Requests and replies: each requester awaits its reply before it goes on
    Rtt(RttArgs),
    /// Clients that do nothing but stay: what each costs
    Idle(IdleArgs),
    /// Clients that connect, subscribe, disconnect and start over
    Churn(ChurnArgs),
}

#[derive(Debug, Args)]
pub struct FanoutArgs {
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = count())]
    pub publishers: u32,
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = count())]
    pub subscribers: u32,
    /// Bytes of each payload
    #[arg(long, value_name = "BYTES", default_value_t = 64, value_parser = size(flow::STAMP))]
    pub size: u32,
    /// Messages that each publisher may have under way
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = count())]
    pub window: u32,
    /// Publish to this topic, from which a script of the broker has to send everything on to topic bench.0, the subscribers'
    #[arg(long, value_name = "TOPIC")]
    pub via: Option<String>,
}

#[derive(Debug, Args)]
pub struct PairsArgs {
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = count())]
    pub pairs: u32,
    /// Bytes of each payload
    #[arg(long, value_name = "BYTES", default_value_t = 64, value_parser = size(flow::STAMP))]
    pub size: u32,
    /// Messages that each publisher may have under way
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = count())]
    pub window: u32,
}

#[derive(Debug, Args)]
pub struct RttArgs {
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = count())]
    pub pairs: u32,
    /// Bytes of each payload
    #[arg(long, value_name = "BYTES", default_value_t = 64, value_parser = size(rtt::STAMP))]
    pub size: u32,
}

#[derive(Debug, Args)]
pub struct IdleArgs {
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = count())]
    pub connections: u32,
    /// Topics that the clients are spread over, each subscribed to one
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = count())]
    pub topics: u32,
    /// Connections being set up at a time
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = count())]
    pub concurrency: u32,
}

#[derive(Debug, Args)]
pub struct ChurnArgs {
    /// Clients at a time
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = count())]
    pub concurrency: u32,
}

impl Load {
    pub fn name(&self) -> &'static str {
        match self {
            Self::Fanout(_) => "fanout",
            Self::Pairs(_) => "pairs",
            Self::Rtt(_) => "rtt",
            Self::Idle(_) => "idle",
            Self::Churn(_) => "churn",
        }
    }
}

fn count() -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(1..=1_000_000)
}

/// A payload has room for the workload's own stamp.
fn size(stamp: usize) -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(stamp as i64..=MAX_SIZE)
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds) if (0.0..=3600.0).contains(&seconds) => Ok(seconds),
        _ => Err("it must be a number from 0 to 3600".to_owned()),
    }
}
