//! Headless Chromium through chromedriver: the few WebDriver commands that the tests need. They are JSON over HTTP, so a
//! small HTTP client does; the WebDriver crates bring some eighty others along.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine;
use serde_json::{Value, json};

/// How long one command may take; a test script may wait that long in the page.
const PATIENCE: Duration = Duration::from_secs(60);

/// Keeps the browser to itself: no sandbox (CI runs as root), no calls home.
const FLAGS: [&str; 10] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
];

/// A running chromedriver. Browsers that it started end before it does: drop them first.
pub struct Driver {
    process: Child,
    agent: ureq::Agent,
    url: String,
}

impl Driver {
    pub fn start() -> Driver {
        // It takes a port that is free with IPv6, and gives up if the same one is not with IPv4, which happens now and then.
        let started = std::iter::repeat_with(Driver::start_process).take(20).flatten().next();
        let (process, port) = started.expect("chromedriver finds a port");
        let config = ureq::Agent::config_builder().timeout_global(Some(PATIENCE)).http_status_as_error(false);
        Driver { process, agent: config.build().into(), url: format!("http://127.0.0.1:{port}") }
    }

    /// The process and its port; `None` if it found none and has ended.
    fn start_process() -> Option<(Child, String)> {
        let mut process = Command::new("chromedriver")
            .arg("--port=0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("no chromedriver: run scripts/install-test-tools");
        let stdout = process.stdout.take().expect("stdout is piped");
        let mut lines = BufReader::new(stdout).lines().map_while(Result::ok);
        let port = lines.find_map(|line| {
            Some(line.split_once("started successfully on port ")?.1.trim_end_matches('.').to_owned())
        });
        if port.is_none() {
            let _ = process.wait();
        }
        Some((process, port?))
    }

    /// A browser of its own, with a fresh profile.
    pub fn open(&self, screen: Screen) -> Browser<'_> {
        let mut options = json!({ "args": FLAGS });
        match screen {
            Screen::Desktop => options["args"].as_array_mut().expect("a list").push(json!("--window-size=1180,800")),
            Screen::Phone => {
                options["mobileEmulation"] =
                    json!({ "deviceMetrics": { "width": 390, "height": 780, "pixelRatio": 2, "touch": true } });
            }
        }
        let wanted = json!({
            "goog:chromeOptions": options,
            "goog:loggingPrefs": { "browser": "ALL" },
            "timeouts": { "implicit": 10_000 },
        });
        let wanted = json!({ "capabilities": { "alwaysMatch": wanted } });
        let session = self.command("POST", "/session", &wanted);
        let id = session["sessionId"].as_str().expect("a new session has an id");
        Browser { driver: self, path: format!("/session/{id}") }
    }

    fn command(&self, method: &str, path: &str, body: &Value) -> Value {
        let request = ureq::http::Request::builder().method(method).uri(format!("{}{path}", self.url));
        let request = request.header("Content-Type", "application/json").body(body.to_string()).expect("a request");
        let mut response = self.agent.run(request).unwrap_or_else(|error| panic!("{method} {path}: {error}"));
        let text = response.body_mut().with_config().limit(64 << 20).read_to_string().expect("a text body");
        let mut answer: Value = serde_json::from_str(&text).expect("chromedriver answers in JSON");
        let value = answer["value"].take();
        assert!(value["error"].is_null(), "{method} {path}: {}: {}", value["error"], value["message"]);
        value
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

pub enum Screen {
    Desktop,
    Phone,
}

/// One browser with one page.
pub struct Browser<'a> {
    driver: &'a Driver,
    path: String,
}

impl Browser<'_> {
    pub fn goto(&self, url: &str) {
        self.post("/url", &json!({ "url": url }));
    }

    /// Presses the back button.
    pub fn back(&self) {
        self.post("/back", &json!({}));
    }

    /// Runs the body of an async function in the page, and gives what it returns. Panics with what it throws.
    pub fn run(&self, body: &str) -> Value {
        let script = format!(
            "const done = arguments[arguments.length - 1];
             (async () => {{ {body} }})().then((value) => done({{ value }}), (error) => done({{ error: `${{error.stack || error}}` }}));"
        );
        let mut outcome = self.post("/execute/async", &json!({ "script": script, "args": [] }));
        if let Some(error) = outcome["error"].as_str() {
            panic!("in the page: {error}\nscript: {body}");
        }
        outcome["value"].take()
    }

    /// Waits until the expression is true in the page.
    pub fn until(&self, expression: &str) {
        self.until_within(Duration::from_secs(10), expression);
    }

    pub fn until_within(&self, patience: Duration, expression: &str) {
        let deadline = Instant::now() + patience;
        // The page looks again with each frame that it draws: no fixed pause here.
        let look = format!(
            "const start = performance.now();
             while (!({expression}) && performance.now() - start < 1000) await new Promise(requestAnimationFrame);
             return Boolean({expression});"
        );
        while self.run(&look) != json!(true) {
            assert!(
                Instant::now() < deadline,
                "never true in the page: {expression}\n{}",
                self.run("return document.body.innerText")
            );
        }
    }

    /// What the browser's console has shown since it was looked at before.
    pub fn complaints(&self) -> Vec<String> {
        let entries = self.post("/se/log", &json!({ "type": "browser" }));
        entries.as_array().expect("a list").iter().map(|entry| entry["message"].to_string()).collect()
    }

    /// Waits for an element, also one of the next page: what `until` runs in a page ends with it.
    pub fn until_there(&self, selector: &str) {
        self.post("/element", &json!({ "using": "css selector", "value": selector }));
    }

    /// The page as a PNG file.
    pub fn screenshot(&self) -> Vec<u8> {
        let image = self.driver.command("GET", &format!("{}/screenshot", self.path), &json!({}));
        let image = image.as_str().expect("a screenshot is text in base64");
        base64::engine::general_purpose::STANDARD.decode(image).expect("base64")
    }

    fn post(&self, what: &str, body: &Value) -> Value {
        self.driver.command("POST", &format!("{}{what}", self.path), body)
    }
}

impl Drop for Browser<'_> {
    fn drop(&mut self) {
        let url = format!("{}{}", self.driver.url, self.path);
        let _ = self.driver.agent.delete(url).call();
    }
}
