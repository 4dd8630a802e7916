//! Clients that connect, subscribe, disconnect, and connect again.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Instant;

use anyhow::{Context, Result};
use tokio::task::JoinSet;

use crate::bench::args::ChurnArgs;
use crate::bench::client::Client;
use crate::bench::phases::{Latencies, Run, latencies, record, uid};
use crate::bench::report::Report;
use crate::bench::session::Role;
use crate::bench::target::Target;

struct Churn {
    cycles: Cell<u64>,
    /// From connecting to the confirmed subscription.
    setup_times: RefCell<Latencies>,
    clients: Cell<usize>,
}

pub async fn run(run: &Run, args: &ChurnArgs, report: &mut Report) -> Result<()> {
    let churn = Rc::new(Churn { cycles: Cell::new(0), setup_times: RefCell::new(latencies()), clients: Cell::new(0) });
    let mut tasks = JoinSet::new();
    for slot in 0..args.concurrency as usize {
        tasks.spawn_local(cycles(run.target.clone(), churn.clone(), slot));
    }
    let reset = || {
        churn.cycles.set(0);
        churn.setup_times.borrow_mut().reset();
    };
    let usage = run.measure(&mut tasks, || churn.cycles.get(), reset).await?;
    let count = churn.cycles.get();
    report.count("concurrency", "clients at a time", args.concurrency);
    report.count("cycles", "cycles", count);
    report.number("cycles_per_s", "cycles per s", count as f64 / usage.elapsed);
    report.latencies(&churn.setup_times.borrow());
    report.usage(&usage, "broker_cpu_ns_per_cycle", "broker CPU per cycle, ns", count);
    let memory = run.meter.broker_memory()?;
    report.maybe("broker_rss_bytes", "broker memory, bytes", memory.map(|bytes| bytes as f64));
    Ok(())
}

/// Runs one cycle after the other, each as a new client.
async fn cycles(target: Rc<Target>, churn: Rc<Churn>, slot: usize) -> Result<()> {
    let role = Role::Subscriber(format!("bench.{slot}"));
    loop {
        let start = Instant::now();
        let uid = uid(churn.clients.replace(churn.clients.get() + 1));
        let client = Client::open(&target, &role, &uid).await.with_context(|| format!("client {slot}"))?;
        record(&mut churn.setup_times.borrow_mut(), start.elapsed());
        client.leave().await.with_context(|| format!("client {slot} leaves"))?;
        churn.cycles.set(churn.cycles.get() + 1);
    }
}
