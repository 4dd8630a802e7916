//! One hub for one test, and Lua beside it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{Client, PATIENCE, Server, Via};

/// A hub of its own in the shared server. Snippets of Lua run with a table of globals of their own in which `hub` is
/// the hub and `event(...)` records something for [`Hub::expect_events`].
pub struct Hub {
    pub server: Arc<Server>,
    name: String,
}

impl Hub {
    /// A hub without options.
    pub fn new() -> Self {
        Self::with("")
    }

    /// A hub made with these options: the inside of a Lua table constructor.
    pub fn with(options: &str) -> Self {
        let hub = Self::none();
        hub.lua(&format!("hub = require'smq.hub'.create{{{options}}}"));
        hub
    }

    /// A hub that records `onconnect` and `onclose`, each with the client's uid.
    pub fn that_records_lives() -> Self {
        Self::with(
            "onconnect = function(tid, info, peer) event('onconnect', peer.uid) end,
             onclose = function(tid, sock, peer, err) event('onclose', peer.uid, err) end",
        )
    }

    /// Globals for snippets, but no hub yet.
    pub fn none() -> Self {
        Self::on(Server::shared())
    }

    pub fn on(server: Arc<Server>) -> Self {
        static MADE: AtomicUsize = AtomicUsize::new(0);
        Self { server, name: format!("hub{}", MADE.fetch_add(1, Ordering::Relaxed)) }
    }

    /// The URL path that leads to the hub.
    pub fn path(&self) -> String {
        format!("/connect.lsp?hub={}", self.name)
    }

    /// Another one that leads there by way of a directory function.
    pub fn directory_path(&self) -> String {
        format!("/hubs/{}", self.name)
    }

    /// A connection that has got Init and not yet sent Connect.
    pub fn open(&self, via: Via) -> Client {
        Client::open(&self.server, via, &self.path())
    }

    /// A connected client.
    pub fn connect(&self, via: Via, uid: &str) -> Client {
        let mut client = self.open(via);
        client.login(uid, "", "");
        client
    }

    /// A connected raw client.
    pub fn raw(&self, uid: &str) -> Client {
        self.connect(Via::Raw, uid)
    }

    /// A connected WebSocket client.
    pub fn web(&self, uid: &str) -> Client {
        self.connect(Via::WebSocket, uid)
    }

    /// Runs a snippet in a page; its first value, or null.
    pub fn lua(&self, code: &str) -> Value {
        self.lua_all(code).into_iter().next().unwrap_or(Value::Null)
    }

    /// All values of a snippet.
    pub fn lua_all(&self, code: &str) -> Vec<Value> {
        self.run(code).unwrap_or_else(|error| panic!("{error}\nin: {code}"))
    }

    /// The error a snippet must raise.
    pub fn lua_error(&self, code: &str) -> String {
        match self.run(code) {
            Err(error) => error,
            Ok(values) => panic!("no error but {values:?} from: {code}"),
        }
    }

    fn run(&self, code: &str) -> Result<Vec<Value>, String> {
        let answer = self.server.post_form("/eval.lsp", &[("hub", &self.name), ("code", code)]);
        let result: Value = serde_json::from_str(&answer.body).unwrap_or(Value::Null);
        if let Some(values) = result["values"].as_array() {
            return Ok(values.clone());
        }
        match result["error"].as_str() {
            Some(error) => Err(error.to_owned()),
            None => panic!("the page for snippets failed: {answer:?}"),
        }
    }

    /// Waits until a snippet returns this.
    pub fn eventually(&self, code: &str, expected: impl Into<Value>) {
        let expected = expected.into();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let value = self.lua(code);
            if value == expected {
                return;
            }
            assert!(Instant::now() < deadline, "still {value}, not {expected}: {code}");
            // Leaves the processor to the server; how long does not matter.
            thread::sleep(Duration::from_millis(2));
        }
    }

    pub fn events(&self) -> Value {
        self.lua("return {n = #events, table.unpack(events)}")
    }

    /// Waits until as many events as these are recorded, and compares them.
    pub fn expect_events(&self, expected: Value) {
        let count = expected.as_array().map_or(0, Vec::len);
        self.eventually(&format!("return #events >= {count}"), true);
        assert_eq!(self.events(), expected);
    }

    /// Forgets the events so far.
    pub fn clear_events(&self) {
        self.lua("for i = #events, 1, -1 do events[i] = nil end");
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        if thread::panicking() {
            let output = self.server.output();
            let lines: Vec<&str> = output.lines().collect();
            eprintln!("the server said last:\n{}", lines[lines.len().saturating_sub(25)..].join("\n"));
        }
    }
}
