//! The figures as Markdown.

use std::fmt::Write;
use std::fs;
use std::process::Command;

use crate::brokers::Broker;
use crate::rounds::Rounds;
use crate::workloads::{Metric, Workload};

/// One table per workload.
pub fn tables(rounds: &Rounds<'_>) -> String {
    rounds.plan.workloads.iter().map(|workload| table(rounds, workload)).collect::<Vec<_>>().join("\n")
}

/// The figure that counts, of each workload, and ours relative to the better of the others.
pub fn summary(rounds: &Rounds<'_>) -> String {
    let titles: Vec<_> = Broker::ALL.iter().map(|broker| broker.title()).collect();
    let mut text = format!("| | {} | smq to the better |\n| --- |", titles.join(" | "));
    text.push_str(&" ---: |".repeat(titles.len() + 1));
    text.push('\n');
    for workload in rounds.plan.workloads.iter().filter(|workload| workload.is_comparison()) {
        let metric = &workload.metrics[0];
        let figure = |&broker| rounds.median(workload, broker, metric).map_or(f64::NAN, |(median, _)| median);
        let cells: Vec<_> = Broker::ALL.iter().map(|broker| number(figure(broker))).collect();
        let better = figure(&Broker::Mosquitto).min(figure(&Broker::Nats));
        let ratio = figure(&Broker::Raw) / better;
        let _ = writeln!(text, "| {}: {} | {} | {ratio:.2} |", workload.title, metric.title, cells.join(" | "));
    }
    let _ = writeln!(
        text,
        "\nMedians of {} rounds on {} cores, {}, {}; broker and load generator on the same machine.",
        rounds.plan.rounds,
        cores(),
        processor(),
        said("date", &["+%Y-%m-%d"])
    );
    text
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn table(rounds: &Rounds<'_>, workload: &Workload) -> String {
    let titles: Vec<_> = workload.brokers.iter().map(|broker| broker.title()).collect();
    let mut text = format!("### {}\n\n`smq bench URL {}`\n\n", workload.title, workload.arguments);
    let _ = writeln!(text, "| | {} |\n| --- |{}", titles.join(" | "), " ---: |".repeat(titles.len()));
    for metric in workload.metrics {
        let cells: Vec<_> = workload.brokers.iter().map(|&broker| cell(rounds, workload, broker, metric)).collect();
        let _ = writeln!(text, "| {} | {} |", metric.title, cells.join(" | "));
    }
    text
}

fn cell(rounds: &Rounds<'_>, workload: &Workload, broker: Broker, metric: &Metric) -> String {
    let Some((median, spread)) = rounds.median(workload, broker, metric) else { return "-".to_owned() };
    if median == 0.0 {
        return "0".to_owned();
    }
    format!("{} ±{:.0} %", number(median), 100.0 * spread / median)
}

/// Three significant digits, or all in front of the point.
pub fn number(value: f64) -> String {
    match value {
        100.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// `docs/bench.md`.
pub fn document(rounds: &Rounds<'_>, tables: &str, is_quick: bool) -> String {
    let plan = rounds.plan;
    let command = if is_quick { "scripts/bench --quick" } else { "scripts/bench" };
    let mut settings: Vec<_> = Vec::new();
    for broker in plan.workloads.iter().flat_map(|workload| workload.brokers) {
        let setting = format!("- {}: {}", broker.title(), broker.settings());
        if !settings.contains(&setting) {
            settings.push(setting);
        }
    }
    format!(
        "# Measured side by side\n\n\
         ![Broker CPU time per message](bench.svg)\n\n\
         Written by `{command}` on {date}.\n\n\
         - Machine: {cores} cores, {processor}; load generator and broker on the same machine, over the loopback interface\n\
         - Brokers: {smq}, {mosquitto}, {nats}\n\
         - Method: every broker gets the same work from the same load generator (`smq bench`, one thread) with the same settings. \
         Brokers take turns, each run has a fresh one; {rounds} rounds, {warmup} s warm-up and {seconds} s measured per run. \
         Figures are medians, with half the range of the rounds. CPU time is user and system time of the whole broker process, from \
         `/proc/PID/stat`, per delivered message.\n\
         - Not alike: clients of `smq` start with an HTTP request that a Lua page answers, which counts in churn and idle.\n\n\
         Settings:\n\n{settings}\n\n{tables}",
        date = said("date", &["+%Y-%m-%d"]),
        cores = cores(),
        processor = processor(),
        smq = concat!("smq ", env!("CARGO_PKG_VERSION")),
        mosquitto = said("mosquitto", &["-h"]).replace("version ", "").to_lowercase(),
        nats = said("nats-server", &["--version"]).replace(':', ""),
        rounds = plan.rounds,
        warmup = plan.warmup,
        seconds = plan.seconds,
        settings = settings.join("\n"),
    )
}

fn processor() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    name.map_or_else(|| "unknown processor".to_owned(), |(_, name)| name.to_owned())
}

/// The first line that a command prints.
fn said(command: &str, arguments: &[&str]) -> String {
    let path = format!("{}:/usr/sbin", std::env::var("PATH").unwrap_or_default());
    let output = Command::new(command).env("PATH", path).args(arguments).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    text.lines().next().unwrap_or("unknown").trim().to_owned()
}
