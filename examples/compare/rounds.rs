//! Round after round: every workload with every broker, in turn.

use std::collections::HashMap;
use std::io::{IsTerminal, Write, stderr};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::brokers::Broker;
use crate::workloads::{Metric, Workload};

pub struct Plan {
    pub workloads: Vec<Workload>,
    pub rounds: usize,
    /// Measured, of each run.
    pub seconds: f64,
    pub warmup: f64,
}

/// What came of all rounds.
pub struct Rounds<'a> {
    pub plan: &'a Plan,
    /// By workload and broker: the JSON of each round.
    results: HashMap<(&'static str, &'static str), Vec<Value>>,
}

impl<'a> Rounds<'a> {
    pub fn run(plan: &'a Plan, smq: &Path) -> Result<Self> {
        let mut results: HashMap<_, Vec<Value>> = HashMap::new();
        for round in 1..=plan.rounds {
            for workload in &plan.workloads {
                for &broker in workload.brokers {
                    show(&format!("round {round} of {}: {}, {}", plan.rounds, workload.title, broker.title()));
                    let result = run_once(plan, smq, workload, broker);
                    let result = result.with_context(|| format!("{}: {}", broker.title(), workload.title))?;
                    results.entry((workload.title, broker.title())).or_default().push(result);
                }
            }
        }
        show("");
        Ok(Self { plan, results })
    }

    /// The median of the rounds, and half their range.
    pub fn median(&self, workload: &Workload, broker: Broker, metric: &Metric) -> Option<(f64, f64)> {
        let rounds = self.results.get(&(workload.title, broker.title()))?;
        let values = rounds.iter().map(|round| round[metric.key].as_f64().map(|value| value * metric.scale));
        let mut values: Vec<f64> = values.collect::<Option<_>>()?;
        values.sort_by(f64::total_cmp);
        let (low, high) = (values.first()?, values.last()?);
        let middle = values.len() / 2;
        let median = if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 };
        Some((median, (high - low) / 2.0))
    }
}

fn run_once(plan: &Plan, smq: &Path, workload: &Workload, broker: Broker) -> Result<Value> {
    let running = broker.start(smq)?;
    let mut command = Command::new(smq);
    command.args(["bench", &running.url(), "--json", "--pid", &running.pid().to_string()]);
    command.args(["--warmup", &plan.warmup.to_string(), "--seconds", &plan.seconds.to_string()]);
    command.args(workload.arguments.split(' ')).args(broker.bench_arguments());
    let output = command.output()?;
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn show(line: &str) {
    let mut out = stderr();
    let _ = if out.is_terminal() { write!(out, "\r\x1b[K{line}") } else { writeln!(out, "{line}") };
}
