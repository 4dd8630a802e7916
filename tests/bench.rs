//! `smq bench`: every workload gets through on every transport.

mod support;

use std::fs::File;
use std::process::{Command, Output, Stdio};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use support::{App, Hub, Server};

const WORKLOADS: [(&str, &str); 5] = [
    ("fanout --publishers 2 --subscribers 3", "delivered"),
    ("pairs --pairs 2", "delivered"),
    ("rtt --pairs 2", "delivered"),
    ("idle --connections 3", "connections"),
    ("churn --concurrency 2", "cycles"),
];

fn bench(url: &str, flags: &[&str], workload: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_smq"));
    command.args(["bench", url, "--warmup", "0", "--seconds", "0.2"]).args(flags);
    command.args(workload.split(' ')).output().unwrap()
}

fn expect_success(url: &str, flags: &[&str]) {
    for (workload, key) in WORKLOADS {
        let output = bench(url, &[flags, &["--json"]].concat(), workload);
        assert!(output.status.success(), "{workload}: {}", String::from_utf8_lossy(&output.stderr));
        let result: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert!(result[key].as_u64() > Some(0), "{workload}: {result}");
        assert_eq!(result["lost"].as_u64().unwrap_or(0), 0, "{workload}: {result}");
    }
}

#[test]
fn every_workload_gets_through_over_http() {
    let hub = Hub::new();
    let url = format!("http://{}{}", hub.server.http(), hub.path());
    expect_success(&url, &[]);
    expect_success(&url, &["--websocket"]);
}

#[test]
fn a_result_that_cannot_be_written_is_an_error() {
    let hub = Hub::new();
    let url = format!("http://{}{}", hub.server.http(), hub.path());
    let full = File::options().write(true).open("/dev/full").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_smq"));
    command.args(["bench", &url, "--warmup", "0", "--seconds", "0.1", "rtt"]).stdout(full);
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("smq: cannot write the result: "), "{said}");
}

#[test]
fn every_workload_gets_through_over_https() {
    let hub = Hub::new();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ca.pem");
    let body = STANDARD.encode(hub.server.certificate());
    std::fs::write(&path, format!("-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n")).unwrap();
    let url = format!("https://localhost:{}{}", hub.server.https().port(), hub.path());
    let ca = path.to_str().unwrap();
    expect_success(&url, &["--ca", ca]);
    expect_success(&url, &["--ca", ca, "--websocket"]);
}

#[test]
fn publishers_can_go_by_way_of_a_script() {
    let app = App::new()
        .file(".preload", include_str!("../examples/compare/publisher/.preload"))
        .file("smq.lsp", include_str!("../examples/compare/publisher/smq.lsp"));
    let server = Server::start(app);
    let url = format!("http://{}/smq.lsp", server.http());
    let output = bench(&url, &["--json"], "fanout --publishers 2 --subscribers 3 --via relay");
    let result: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(result["delivered"].as_u64() > Some(0), "{result}");
    assert_eq!(result["lost"], 0, "{result}");
}

/// The result of a run, with these flags and on a server with this script, whose global `hub` is the hub.
fn result(preload: &str, flags: &[&str], workload: &str) -> Value {
    let app = App::new().file(".preload", preload).file("smq.lsp", "<?lsp app.hub:connect(request) ?>");
    let server = Server::start(app);
    let pid = server.id().to_string();
    let flags = [&["--json", "--pid", &pid], flags].concat();
    let output = bench(&format!("http://{}/smq.lsp", server.http()), &flags, workload);
    assert!(output.status.success(), "{workload}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// All figures are rounded to three digits behind the point.
fn expect_about(result: &Value, key: &str, expected: f64) {
    let found = result[key].as_f64().unwrap_or(f64::NAN);
    assert!((found - expected).abs() <= 0.002 + expected.abs() / 100.0, "{key} is not {expected}: {result}");
}

fn expect_shares(result: &Value, count: f64, each: &str) {
    let keys = ["p50_us", "p90_us", "p99_us", "p999_us", "max_us"];
    let times: Vec<_> = keys.iter().map(|key| result[key].as_f64().unwrap()).collect();
    assert!(times.is_sorted() && times[0] > 0.0, "{result}");
    expect_about(result, each, result["broker_cpu_s"].as_f64().unwrap() * 1e9 / count);
}

#[test]
fn the_figures_of_a_report_agree_with_each_other() {
    let hub = "hub = require'smq.hub'.create()";
    for (flags, workload, facts) in [
        (
            &[][..],
            "fanout --publishers 2 --subscribers 3 --size 100 --window 5",
            json!(["fanout", "SMQ", 0.2, 1, 2, 3, 100, 5]),
        ),
        (
            &["--websocket"],
            "pairs --pairs 2 --size 200 --window 3",
            json!(["pairs", "SMQ over WebSocket", 0.2, 2, 2, 2, 200, 3]),
        ),
    ] {
        let result = result(hub, flags, workload);
        let keys = ["workload", "protocol", "seconds", "topics", "publishers", "subscribers", "size", "window"];
        assert_eq!(json!(keys.map(|key| &result[key])), facts);
        let [delivered, elapsed, size, window, publishers, subscribers, topics] =
            ["delivered", "elapsed_s", "size", "window", "publishers", "subscribers", "topics"]
                .map(|key| result[key].as_f64().unwrap());
        expect_about(&result, "delivered_per_s", delivered / elapsed);
        expect_about(&result, "mb_per_s", delivered * size / 1e6 / elapsed);
        expect_shares(&result, delivered, "broker_cpu_ns_per_msg");
        assert!(result["slowest_share"].as_f64().is_some_and(|share| (0.1..=1.0).contains(&share)), "{result}");
        // Little's law for the mean, of which the median is at most twice as much.
        let mean = window * publishers * subscribers / topics / delivered * elapsed * 1e6;
        assert!(result["p50_us"].as_f64().unwrap() < 3.0 * mean, "{mean}: {result}");
    }
    let result = result(hub, &[], "rtt --pairs 2 --size 50");
    let (delivered, elapsed) = (result["delivered"].as_f64().unwrap(), result["elapsed_s"].as_f64().unwrap());
    expect_about(&result, "delivered_per_s", delivered / elapsed);
    expect_about(&result, "roundtrips_per_s", delivered / 2.0 / elapsed);
    expect_shares(&result, delivered, "broker_cpu_ns_per_msg");
    assert!(result["p50_us"].as_f64().unwrap() < 3.0 * 2.0 / (delivered / 2.0) * elapsed * 1e6, "{result}");
}

#[test]
fn the_figures_of_connections_agree_with_each_other() {
    let hub = "hub = require'smq.hub'.create()";
    let churn = result(hub, &[], "churn --concurrency 2");
    let (cycles, elapsed) = (churn["cycles"].as_f64().unwrap(), churn["elapsed_s"].as_f64().unwrap());
    expect_about(&churn, "cycles_per_s", cycles / elapsed);
    expect_shares(&churn, cycles, "broker_cpu_ns_per_cycle");
    let idle = result(hub, &[], "idle --connections 100 --topics 3");
    assert_eq!((&idle["connections"], &idle["topics"]), (&100.into(), &3.into()));
    expect_about(&idle, "elapsed_s", 100.0 / idle["connections_per_s"].as_f64().unwrap());
    expect_shares(&idle, 100.0, "broker_cpu_ns_per_connection");
    // The server may give memory back meanwhile that its start needed.
    assert!(idle["rss_bytes_per_connection"].as_f64().is_some_and(|bytes| bytes.abs() < 200_000.0), "{idle}");
}

/// Passes on what comes to the topic `relay`, but not one message of ten, and another one twice.
const UNRELIABLE: &str = "hub = require'smq.hub'.create()
    local target, count = hub:create'bench.0', 0
    hub:subscribe('relay', {onmsg = function(data)
        count = count + 1
        if count % 10 == 3 then return end
        hub:publish(data, target)
        if count % 10 == 6 then hub:publish(data, target) end
    end})";

#[test]
fn a_broker_that_loses_messages_and_repeats_others_does_not_hide_it() {
    let result = result(UNRELIABLE, &[], "fanout --subscribers 2 --via relay");
    let [delivered, lost, duplicates] = ["delivered", "lost", "duplicates"].map(|key| result[key].as_f64().unwrap());
    for share in [lost / delivered, duplicates / delivered] {
        assert!((0.05..0.3).contains(&share), "{result}");
    }
}

/// Passes on nothing behind the first hundred messages.
const TIRED: &str = "hub = require'smq.hub'.create()
    local target, count = hub:create'bench.0', 0
    hub:subscribe('relay', {onmsg = function(data)
        count = count + 1
        if count <= 100 then hub:publish(data, target) end
    end})";

#[test]
fn what_is_still_under_way_long_after_the_end_is_lost() {
    let fanout = result(TIRED, &[], "fanout --subscribers 3 --window 7 --via relay");
    assert_eq!((&fanout["lost"], &fanout["duplicates"]), (&21.into(), &0.into()), "{fanout}");
    let deaf = "hub = require'smq.hub'.create{onpublish = function() return false end}";
    let rtt = result(deaf, &[], "rtt --pairs 2");
    assert_eq!((&rtt["lost"], &rtt["delivered"], &rtt["p50_us"]), (&2.into(), &0.into(), &Value::Null), "{rtt}");
}

#[test]
fn numbers_that_make_no_sense_are_refused() {
    for arguments in [
        "--seconds 3601 rtt",
        "--seconds NaN rtt",
        "--warmup=-1 rtt",
        "fanout --size 15",
        "fanout --size 65521",
        "pairs --size 15",
        "rtt --size 7",
        "fanout --subscribers 0",
        "fanout --window 0",
        "idle --topics 0",
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_smq"));
        let output = command.args(["bench", "http://127.0.0.1:1/"]).args(arguments.split(' ')).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(2) && said.contains("invalid value"), "{arguments}: {said}");
    }
}

#[test]
fn people_get_a_table() {
    let hub = Hub::new();
    let output = bench(&format!("http://{}{}", hub.server.http(), hub.path()), &[], "rtt");
    let table = String::from_utf8(output.stdout).unwrap();
    assert!(table.contains("workload") && table.contains("latency p50, us"), "{table}");
}

#[test]
fn a_terminal_shows_how_the_run_goes_on() {
    let hub = Hub::new();
    let url = format!("http://{}{}", hub.server.http(), hub.path());
    let command = format!("{} bench {url} --warmup 0 --seconds 0.5 fanout 2>&1", env!("CARGO_BIN_EXE_smq"));
    // `script` gives it a terminal; Debian's base system has it.
    let output = Command::new("script").args(["-qec", &command, "/dev/null"]).stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("\r\x1b[Kfanout: measuring, "), "{said:?}");
}

/// A hub that sends everybody away when two clients have been there for a moment.
const CLOSING: &str = "hub = require'smq.hub'.create()
    local closing = ba.timer(function() hub:shutdown'closing time' end)
    hub:observe('bench.idle.0', function(subscribers) if subscribers == 2 then closing:set(100, true) end end)";

#[test]
fn idle_clients_that_do_not_stay_connected_are_no_result() {
    let server =
        Server::start(App::new().file(".preload", CLOSING).file("smq.lsp", "<?lsp app.hub:connect(request) ?>"));
    let mut command = Command::new(env!("CARGO_BIN_EXE_smq"));
    command.args(["bench", &format!("http://{}/smq.lsp", server.http()), "--warmup", "0", "--seconds", "20"]);
    let output = command.args(["idle", "--connections", "2"]).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && said.contains("the broker disconnected the client: closing time"), "{said}");
}

#[test]
fn what_fails_is_told() {
    let hub = Hub::new();
    let server = hub.server.http();
    for (url, flags, expected) in [
        (format!("http://{server}/static.txt"), vec![], "the URL does not lead to a hub: HTTP/1.1 200 OK"),
        (format!("http://{server}/none.txt"), vec![], "the URL does not lead to a hub: HTTP/1.1 404 Not Found"),
        (format!("https://{server}/"), vec![], "name the certificate to trust with --ca FILE"),
        (format!("http://{server}/"), vec!["--ca", "x.pem"], "--ca is for https://; this connection is not encrypted"),
        ("http://127.0.0.1:99999/".to_owned(), vec![], "127.0.0.1:99999: the port must be a number from 0 to 65535"),
        (format!("http://{server}/"), vec!["--pid", "4194305"], "is 4194305 the broker's process?"),
        (format!("ftp://{server}/"), vec![], "a URL begins with http://, https://, mqtt:// or nats://"),
    ] {
        let output = bench(&url, &flags, "rtt");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && said.contains(expected), "{url}: {said}");
    }
}
