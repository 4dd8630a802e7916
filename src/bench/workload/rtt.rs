//! Requests and replies: pairs of a requester and a responder with one request under way.

use std::task::Waker;
use std::time::Instant;

use anyhow::{Result, bail};

use crate::bench::args::RttArgs;
use crate::bench::client::{Sender, Workload};
use crate::bench::phases::{Counted, Latencies, Run, latencies, record};
use crate::bench::report::Report;
use crate::bench::session::Role;

/// The request's number, at the start of each payload.
pub const STAMP: usize = 8;
const FILLER: u8 = b'.';

pub async fn run(run: &Run, args: &RttArgs, report: &mut Report) -> Result<()> {
    let pairs = args.pairs as usize;
    let topic = |index: usize| format!("bench.{index}");
    let responders = (0..pairs).map(|index| Role::Responder(topic(index)));
    let requesters = (0..pairs).map(|index| Role::Requester(topic(index)));
    let clients = run.connect(&responders.chain(requesters).collect::<Vec<_>>()).await?;
    let (crew, usage, completed) = run.work(clients, RoundTrips::new(pairs, args.size as usize)).await?;
    let trips = crew.workload.borrow();
    // The request and its reply.
    let delivered = 2 * completed;
    report.count("pairs", "pairs", args.pairs);
    report.count("size", "payload, bytes", args.size);
    report.number("roundtrips_per_s", "round trips per s", completed as f64 / usage.elapsed);
    report.count("delivered", "delivered", delivered);
    report.number("delivered_per_s", "delivered per s", delivered as f64 / usage.elapsed);
    report.count("lost", "lost", trips.outstanding());
    report.count("duplicates", "duplicates", trips.duplicates);
    report.latencies(&trips.latencies);
    report.usage(&usage, "broker_cpu_ns_per_msg", "broker CPU per delivery, ns", delivered);
    Ok(())
}

struct RoundTrips {
    /// Pair by pair. The responders' slots come before the requesters'.
    requests: Vec<Request>,
    payload: Vec<u8>,
    is_measuring: bool,
    is_stopped: bool,
    completed: u64,
    unanswered: u64,
    duplicates: u64,
    latencies: Latencies,
}

/// The request that a pair sent last.
struct Request {
    number: u64,
    sent_at: Instant,
    is_answered: bool,
}

impl RoundTrips {
    fn new(pairs: usize, size: usize) -> Self {
        let none = || Request { number: 0, sent_at: Instant::now(), is_answered: true };
        Self {
            requests: (0..pairs).map(|_| none()).collect(),
            payload: vec![FILLER; size],
            is_measuring: false,
            is_stopped: false,
            completed: 0,
            unanswered: 0,
            duplicates: 0,
            latencies: latencies(),
        }
    }
}

impl Workload for RoundTrips {
    /// A requester whose last request is answered sends the next one.
    fn fill(&mut self, slot: usize, sender: &mut Sender<'_>, _: &Waker) {
        let Some(pair) = slot.checked_sub(self.requests.len()) else { return };
        let request = &mut self.requests[pair];
        if self.is_stopped || !request.is_answered {
            return;
        }
        *request = Request { number: request.number + 1, sent_at: Instant::now(), is_answered: false };
        self.unanswered += 1;
        self.payload[..STAMP].copy_from_slice(&request.number.to_be_bytes());
        sender.publish(&self.payload);
    }

    fn on_message(&mut self, slot: usize, payload: &[u8], sender: &mut Sender<'_>, now: Instant) -> Result<()> {
        if payload.len() != self.payload.len() {
            bail!("a message came with another length");
        }
        let Some(pair) = slot.checked_sub(self.requests.len()) else {
            sender.reply(payload);
            return Ok(());
        };
        let request = &mut self.requests[pair];
        if request.is_answered || payload[..STAMP] != request.number.to_be_bytes() {
            self.duplicates += 1;
            return Ok(());
        }
        request.is_answered = true;
        self.unanswered -= 1;
        if self.is_measuring {
            self.completed += 1;
            record(&mut self.latencies, now.saturating_duration_since(request.sent_at));
        }
        Ok(())
    }
}

impl Counted for RoundTrips {
    fn count(&self) -> u64 {
        self.completed
    }

    fn outstanding(&self) -> u64 {
        self.unanswered
    }

    fn start_measuring(&mut self) {
        self.is_measuring = true;
    }

    fn stop(&mut self) {
        self.is_measuring = false;
        self.is_stopped = true;
    }
}
