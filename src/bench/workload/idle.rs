//! Connections with one subscription each that do nothing: what it costs to hold them.

use std::time::Duration;

use anyhow::Result;

use crate::bench::args::IdleArgs;
use crate::bench::phases::Run;
use crate::bench::report::Report;
use crate::bench::session::Role;

/// The broker's last work for a new connection is done by then.
const SETTLE: Duration = Duration::from_millis(300);

pub async fn run(run: &Run, args: &IdleArgs, report: &mut Report) -> Result<()> {
    let count = args.connections as usize;
    let roles = vec![Role::Subscriber("bench.idle".to_owned()); count];
    let before = run.meter.broker_memory()?;
    let start = run.meter.sample()?;
    let (clients, times) = run.open_all(&roles, args.concurrency as usize).await?;
    let usage = run.meter.usage_since(&start)?;
    tokio::time::sleep(SETTLE).await;
    let after = run.meter.broker_memory()?;
    run.progress.clear();
    drop(clients);
    let each = before.zip(after).map(|(before, after)| (after as f64 - before as f64) / count as f64);
    report.count("connections", "connections", args.connections);
    report.count("concurrency", "set up at a time", args.concurrency);
    report.number("connections_per_s", "connections per s", count as f64 / usage.elapsed);
    report.maybe("rss_bytes_per_connection", "broker memory per connection, bytes", each);
    report.maybe("before_rss_bytes", "broker memory before, bytes", before.map(|bytes| bytes as f64));
    report.latencies(&times);
    report.usage(&usage, "broker_cpu_ns_per_connection", "broker CPU per connection, ns", count as u64);
    Ok(())
}
