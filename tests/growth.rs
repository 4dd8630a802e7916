//! Costs that must not grow: with the number of topics and clients, with what a server has been through, with clients who
//! have gone. Takes minutes and measures time, so it runs only when asked, on an otherwise quiet machine:
//! `cargo test --release --test growth -- --ignored --nocapture --test-threads 1`

#![cfg(target_os = "linux")]

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;

/// How much more may be by chance.
const TOLERANCE: f64 = 1.2;
const ROUNDS: usize = 7;
const PATIENCE: Duration = Duration::from_secs(60);

/// A process that ends when this is dropped.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

struct Server {
    process: Process,
    url: String,
}

impl Server {
    fn start() -> Self {
        let mut process = smq(&["serve", "examples/compare/plain", "--port", "0"]);
        let output = BufReader::new(process.0.stdout.take().unwrap());
        let url = output.lines().find_map(|line| Some(line.unwrap().split_once("served at ")?.1.to_owned()));
        Self { process, url: format!("{}smq.lsp", url.expect("the server says where it listens")) }
    }

    fn pid(&self) -> String {
        self.process.0.id().to_string()
    }

    /// Runs `smq bench` to its end.
    fn bench(&self, arguments: &str) -> Value {
        let pid = self.pid();
        let mut all = vec!["bench", &self.url, "--json", "--pid", &pid];
        all.extend(arguments.split(' '));
        let mut process = smq(&all);
        serde_json::from_reader(process.0.stdout.take().unwrap()).expect("the load succeeds")
    }

    /// Clients that stay until this is dropped.
    fn hold(&self, count: usize) -> Process {
        let (connections, seconds) = (count.to_string(), PATIENCE.as_secs() * 10);
        let arguments = ["--seconds", &seconds.to_string(), "idle", "--connections", &connections];
        let process = smq(&[&["bench", &self.url][..], &arguments, &["--topics", &connections]].concat());
        let deadline = Instant::now() + PATIENCE;
        while self.files() < count {
            assert!(Instant::now() < deadline, "the clients do not connect");
            sleep(Duration::from_millis(50));
        }
        process
    }

    /// Open files: connections and a few more.
    fn files(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.pid())).unwrap().count()
    }

    /// Resident memory in KiB.
    fn memory(&self) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// Broker CPU per message, in nanoseconds.
    fn cost(&self, workload: &str) -> f64 {
        let result = self.bench(&format!("--warmup 0.2 --seconds 1 {workload}"));
        result["broker_cpu_ns_per_msg"].as_f64().unwrap()
    }
}

fn smq(arguments: &[&str]) -> Process {
    let mut command = Command::new(env!("CARGO_BIN_EXE_smq"));
    Process(command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap())
}

/// The medians of the cost to both, measured in turn.
fn expect_same_cost(fresh: &Server, other: &Server) {
    for workload in ["pairs --pairs 50", "fanout --subscribers 100", "rtt --pairs 20"] {
        let (mut usual, mut grown): (Vec<_>, Vec<_>) =
            (0..ROUNDS).map(|_| (fresh.cost(workload), other.cost(workload))).unzip();
        usual.sort_by(f64::total_cmp);
        grown.sort_by(f64::total_cmp);
        let (usual, grown) = (usual[ROUNDS / 2], grown[ROUNDS / 2]);
        println!("{workload}: {usual:.0} ns before, {grown:.0} ns after, {:.2} times", grown / usual);
        assert!(grown <= usual * TOLERANCE, "{workload}: {usual} ns grow to {grown} ns");
    }
}

#[test]
#[ignore = "measures time for minutes"]
fn a_message_costs_the_same_with_10_and_10_000_topics_and_clients() {
    let (few, many) = (Server::start(), Server::start());
    let _few = few.hold(10);
    let _many = many.hold(10_000);
    expect_same_cost(&few, &many);
}

#[test]
#[ignore = "measures time for minutes"]
fn a_message_costs_the_same_after_a_million_connections_and_subscriptions() {
    let (fresh, old) = (Server::start(), Server::start());
    let mut events = 0;
    while events < 1_000_000 {
        let result = old.bench("--warmup 0 --seconds 10 churn");
        // Connect, create, subscribe, unsubscribe (by leaving), disconnect.
        events += 5 * result["cycles"].as_u64().unwrap();
    }
    println!("{events} events; {} KiB before, {} KiB after", fresh.memory(), old.memory());
    expect_same_cost(&fresh, &old);
}

#[test]
#[ignore = "measures time for minutes"]
fn memory_comes_back_when_5_000_clients_have_gone() {
    let server = Server::start();
    // What the first clients make a server keep for good.
    server.bench("--warmup 0 --seconds 0 idle --connections 100");
    let before = server.memory();
    let clients = server.hold(5_000);
    let full = server.memory();
    drop(clients);
    let deadline = Instant::now() + PATIENCE;
    while server.files() > 1000 {
        assert!(Instant::now() < deadline, "the clients are still there");
        sleep(Duration::from_millis(50));
    }
    sleep(Duration::from_secs(2));
    let after = server.memory();
    println!("{before} KiB before, {full} KiB with 5000 clients, {after} KiB after");
    assert!(after <= before * TOLERANCE, "{before} KiB grow to {after} KiB");
}
