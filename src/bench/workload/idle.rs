//! Idle clients with one subscription each: what it costs to keep them connected.

use std::task::Waker;
use std::time::Instant;

use anyhow::Result;
use tokio::task::JoinSet;

use crate::bench::args::IdleArgs;
use crate::bench::client::{Client, Crew, Sender, Workload};
use crate::bench::phases::Run;
use crate::bench::report::Report;
use crate::bench::session::Role;

pub async fn run(run: &Run, args: &IdleArgs, report: &mut Report) -> Result<()> {
    let count = args.connections as usize;
    let role = |index: usize| Role::Subscriber(format!("bench.idle.{}", index % args.topics as usize));
    let roles: Vec<_> = (0..count).map(role).collect();
    let before = run.meter.broker_memory()?;
    let start = run.meter.sample()?;
    let (clients, times) = run.open_all(&roles, args.concurrency as usize).await?;
    let usage = run.meter.usage_since(&start)?;
    let mut staying = stay(clients);
    let holding = run.measure(&mut staying, || 0, || ()).await?;
    let after = run.meter.broker_memory()?;
    drop(staying);
    let each = before.zip(after).map(|(before, after)| (after as f64 - before as f64) / count as f64);
    report.count("connections", "connections", args.connections);
    report.count("topics", "topics", args.topics);
    report.count("concurrency", "set up at a time", args.concurrency);
    report.number("connections_per_s", "connections per s", count as f64 / usage.elapsed);
    report.maybe("rss_bytes_per_connection", "broker memory per connection, bytes", each);
    report.maybe("before_rss_bytes", "broker memory before, bytes", before.map(|bytes| bytes as f64));
    report.maybe("hold_broker_cpu_s", "broker CPU while they stay, s", holding.broker_cpu);
    report.latencies(&times);
    report.usage(&usage, "broker_cpu_ns_per_connection", "broker CPU per connection, ns", count as u64);
    Ok(())
}

/// What idle clients do.
struct Idle;

impl Workload for Idle {
    fn fill(&mut self, _: usize, _: &mut Sender<'_>, _: &Waker) {}

    fn on_message(&mut self, _: usize, _: &[u8], _: &mut Sender<'_>, _: Instant) -> Result<()> {
        Ok(())
    }
}

/// Keeps the clients connected, and notices when the broker lets one go.
fn stay(clients: Vec<Client>) -> JoinSet<Result<()>> {
    let crew = Crew::new(Idle);
    let mut staying = JoinSet::new();
    for (slot, client) in clients.into_iter().enumerate() {
        staying.spawn_local(client.work(slot, crew.clone()));
    }
    staying
}
