//! `smq bench`: every workload gets through on every transport.

mod support;

use std::fs::File;
use std::process::{Command, Output, Stdio};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
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
        (format!("ftp://{server}/"), vec![], "a URL begins with http://, https://, mqtt:// or nats://"),
    ] {
        let output = bench(&url, &flags, "rtt");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && said.contains(expected), "{url}: {said}");
    }
}
