//! `smq bench`: puts a load on a broker and measures it, as `nats bench` does for NATS.
//!
//! | module | owns |
//! | --- | --- |
//! | [`args`] | the command line |
//! | `target` | the broker's URL, and how to connect to it |
//! | `session` | the client's side of each protocol, without I/O |
//! | `client` | one client: its connection, session and buffers |
//! | `workload` | what the clients do, one file for each workload |
//! | `phases` | connecting, warming up, measuring |
//! | `meter`, `progress`, `report` | CPU time and memory, the line on the terminal, the result |
//!
//! All clients are tasks of one thread, so they share their workload without locks, and the other processors are free
//! for the broker.

pub mod args;
mod client;
mod meter;
mod phases;
mod progress;
mod report;
mod session;
mod target;
mod workload;

use std::io::{self, Write};

use anyhow::{Context, Result};
use tokio::runtime::Builder;
use tokio::task::LocalSet;

use args::{BenchArgs, Load};
use phases::Run;
use report::Report;
use target::Target;
use workload::{churn, flow, idle, rtt};

/// Runs a workload and prints the result.
///
/// # Errors
/// If the broker cannot be reached, breaks its protocol, or closes a connection.
pub fn run(args: BenchArgs) -> Result<()> {
    // Thousands of clients need as many file descriptors. If there are too few, the connection that fails will tell.
    let _ = rlimit::increase_nofile_limit(u64::MAX);
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let report = LocalSet::new().block_on(&runtime, measure(&args))?;
    let text = if args.json { report.to_json() + "\n" } else { report.to_table() };
    io::stdout().write_all(text.as_bytes()).context("cannot write the result")
}

async fn measure(args: &BenchArgs) -> Result<Report> {
    let target = Target::resolve(args).await?;
    let mut report = Report::default();
    report.text("workload", "workload", args.load.name());
    report.text("url", "URL", &args.url.to_string());
    report.text("protocol", "protocol", target.protocol.name());
    report.number("seconds", "measured for, s", args.seconds);
    let run = Run::new(target, args)?;
    match &args.load {
        Load::Fanout(fanout) => flow::run(&run, &fanout.into(), &mut report).await,
        Load::Pairs(pairs) => flow::run(&run, &pairs.into(), &mut report).await,
        Load::Rtt(rtt) => rtt::run(&run, rtt, &mut report).await,
        Load::Idle(idle) => idle::run(&run, idle, &mut report).await,
        Load::Churn(churn) => churn::run(&run, churn, &mut report).await,
    }?;
    Ok(report)
}
