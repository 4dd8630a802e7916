//! The command line of `smq bench`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use hyper::Uri;

use super::workload::{flow, rtt};
use crate::protocol::MAX_PAYLOAD;

/// The largest payload that SMQ allows; the limit for the other protocols, too, so that runs can be compared.
const MAX_SIZE: i64 = MAX_PAYLOAD as i64;

/// The command line of `smq bench`.
#[derive(Debug, Args)]
#[command(
    after_help = "The window is the number of messages of one publisher that may be under way, which means that not all \
                  subscribers have received them. A publisher waits when its window is full, so a broker has no reason to drop \
                  messages. With a full window, latencies mostly depend on its size; `rtt` measures the latency of a single \
                  message."
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
    /// The broker's process, if it runs on this machine, to report its CPU time and memory
    #[arg(long, global = true, value_name = "PID")]
    pub pid: Option<u32>,
    /// Print the result as one line of JSON
    #[arg(long, global = true)]
    pub json: bool,
    #[command(subcommand)]
    pub load: Load,
}

/// The workloads.
#[derive(Debug, Subcommand)]
pub enum Load {
    /// Publishers send to one topic, and all subscribers receive it
    Fanout(FanoutArgs),
    /// As many publishers as subscribers, each pair with a topic of its own
    Pairs(PairsArgs),
    /// Requests and replies: each requester waits for the reply before it sends the next request
    Rtt(RttArgs),
    /// Clients that connect and stay idle: what each of them costs
    Idle(IdleArgs),
    /// Clients that connect, subscribe, disconnect, and connect again
    Churn(ChurnArgs),
}

/// The options of `fanout`.
#[derive(Debug, Args)]
pub struct FanoutArgs {
    /// Clients that publish
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = count())]
    pub publishers: u32,
    /// Clients that receive each message
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = count())]
    pub subscribers: u32,
    /// Bytes of each payload
    #[arg(long, value_name = "BYTES", default_value_t = 64, value_parser = size(flow::STAMP))]
    pub size: u32,
    /// Messages that each publisher may have under way
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = count())]
    pub window: u32,
    /// Publish to this topic instead; a script in the broker has to forward its messages to the subscribers' topic,
    /// bench.0
    #[arg(long, value_name = "TOPIC")]
    pub via: Option<String>,
}

/// The options of `pairs`.
#[derive(Debug, Args)]
pub struct PairsArgs {
    /// Pairs of a publisher and a subscriber
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = count())]
    pub pairs: u32,
    /// Bytes of each payload
    #[arg(long, value_name = "BYTES", default_value_t = 64, value_parser = size(flow::STAMP))]
    pub size: u32,
    /// Messages that each publisher may have under way
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = count())]
    pub window: u32,
}

/// The options of `rtt`.
#[derive(Debug, Args)]
pub struct RttArgs {
    /// Pairs of a requester and a responder
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = count())]
    pub pairs: u32,
    /// Bytes of each payload
    #[arg(long, value_name = "BYTES", default_value_t = 64, value_parser = size(rtt::STAMP))]
    pub size: u32,
}

/// The options of `idle`.
#[derive(Debug, Args)]
pub struct IdleArgs {
    /// Clients to connect
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = count())]
    pub connections: u32,
    /// Topics; each client subscribes to one of them
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = count())]
    pub topics: u32,
    /// Connections that are set up at the same time
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = count())]
    pub concurrency: u32,
}

/// The options of `churn`.
#[derive(Debug, Args)]
pub struct ChurnArgs {
    /// Clients at the same time
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = count())]
    pub concurrency: u32,
}

impl Load {
    /// The name of the subcommand.
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

/// A number of clients, messages or topics.
fn count() -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(1..=1_000_000)
}

/// The size of a payload, which must have room for the workload's own data in it.
fn size(stamp: usize) -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(stamp as i64..=MAX_SIZE)
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds) if (0.0..=3600.0).contains(&seconds) => Ok(seconds),
        _ => Err("it must be a number from 0 to 3600".to_owned()),
    }
}
