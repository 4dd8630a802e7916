//! Fan-out, fan-in and pairs: publishers keep a window of messages under way to the subscribers of their topics.

use std::task::Waker;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::ledger::{Ledger, Shape};
use crate::bench::args::{FanoutArgs, PairsArgs};
use crate::bench::client::{Sender, Workload};
use crate::bench::phases::{Counted, Latencies, Run, latencies, record};
use crate::bench::report::Report;
use crate::bench::session::Role;

/// Time, publisher and sequence number, at the start of each payload.
pub const STAMP: usize = 16;
const FILLER: u8 = b'.';

pub struct Plan {
    shape: Shape,
    size: usize,
    window: usize,
    /// The topic that publishers send to, if it is not that of their subscribers.
    via: Option<String>,
}

impl From<&FanoutArgs> for Plan {
    fn from(args: &FanoutArgs) -> Self {
        let (publishers, subscribers) = (args.publishers as usize, args.subscribers as usize);
        Self {
            shape: Shape { topics: 1, publishers, subscribers },
            size: args.size as usize,
            window: args.window as usize,
            via: args.via.clone(),
        }
    }
}

impl From<&PairsArgs> for Plan {
    fn from(args: &PairsArgs) -> Self {
        Self {
            shape: Shape { topics: args.pairs as usize, publishers: 1, subscribers: 1 },
            size: args.size as usize,
            window: args.window as usize,
            via: None,
        }
    }
}

pub async fn run(run: &Run, plan: &Plan, report: &mut Report) -> Result<()> {
    let shape = plan.shape;
    let clients = run.connect(&roles(plan)).await?;
    let (crew, usage, delivered) = run.work(clients, Flow::new(plan)).await?;
    let memory = run.meter.broker_memory()?;
    let flow = crew.workload.borrow();
    let per_second = delivered as f64 / usage.elapsed;
    report.count("topics", "topics", shape.topics as u64);
    report.count("publishers", "publishers", shape.all_publishers() as u64);
    report.count("subscribers", "subscribers", shape.all_subscribers() as u64);
    report.count("size", "payload, bytes", plan.size as u64);
    report.count("window", "window, messages", plan.window as u64);
    report.count("delivered", "delivered", delivered);
    report.number("delivered_per_s", "delivered per s", per_second);
    report.number("mb_per_s", "payload delivered, MB/s", per_second * plan.size as f64 / 1e6);
    report.number("slowest_share", "slowest subscriber's share of the mean", flow.slowest_share);
    report.count("lost", "lost", flow.ledger.lost + flow.ledger.outstanding);
    report.count("duplicates", "duplicates", flow.ledger.duplicates);
    report.latencies(&flow.latencies);
    report.usage(&usage, "broker_cpu_ns_per_msg", "broker CPU per delivery, ns", delivered);
    report.maybe("broker_rss_bytes", "broker memory, bytes", memory.map(|bytes| bytes as f64));
    Ok(())
}

/// The subscribers first, then the publishers, topic by topic.
fn roles(plan: &Plan) -> Vec<Role> {
    let shape = &plan.shape;
    let topic = |index: usize| format!("bench.{index}");
    let target = |index: usize| plan.via.clone().unwrap_or_else(|| topic(index));
    let subscribers = (0..shape.all_subscribers()).map(|index| Role::Subscriber(topic(index / shape.subscribers)));
    let publishers = (0..shape.all_publishers()).map(|index| Role::Publisher(target(index / shape.publishers)));
    subscribers.chain(publishers).collect()
}

struct Flow {
    ledger: Ledger,
    first_publisher: usize,
    /// The publishers that wait for room in their windows.
    asleep: Vec<Option<Waker>>,
    payload: Vec<u8>,
    start: Instant,
    phase: Phase,
    /// By subscriber.
    delivered: Vec<u64>,
    slowest_share: f64,
    latencies: Latencies,
}

#[derive(PartialEq)]
enum Phase {
    WarmUp,
    Measured,
    Stopped,
}

impl Flow {
    fn new(plan: &Plan) -> Self {
        Self {
            ledger: Ledger::new(&plan.shape, plan.window),
            first_publisher: plan.shape.all_subscribers(),
            asleep: vec![None; plan.shape.all_publishers()],
            payload: vec![FILLER; plan.size],
            start: Instant::now(),
            phase: Phase::WarmUp,
            delivered: vec![0; plan.shape.all_subscribers()],
            slowest_share: 0.0,
            latencies: latencies(),
        }
    }
}

impl Workload for Flow {
    fn fill(&mut self, slot: usize, sender: &mut Sender<'_>, waker: &Waker) {
        let Some(publisher) = slot.checked_sub(self.first_publisher) else { return };
        if self.phase == Phase::Stopped || !self.ledger.has_room(publisher) {
            self.asleep[publisher].get_or_insert_with(|| waker.clone());
            return;
        }
        let sent_at = self.start.elapsed();
        while let Some(sequence) = self.ledger.publish(publisher) {
            Stamp { sent_at, publisher: publisher as u32, sequence }.write(&mut self.payload);
            sender.publish(&self.payload);
        }
        self.asleep[publisher] = Some(waker.clone());
    }

    fn on_message(&mut self, slot: usize, payload: &[u8], _: &mut Sender<'_>, now: Instant) -> Result<()> {
        let stamp = Stamp::read(payload).filter(|_| payload.len() == self.payload.len());
        let stamp = stamp.context("a message came with another length")?;
        let publisher = stamp.publisher as usize;
        if !self.ledger.deliver(slot, publisher, stamp.sequence)? {
            return Ok(());
        }
        if self.phase == Phase::Measured {
            self.delivered[slot] += 1;
            record(&mut self.latencies, now.duration_since(self.start).saturating_sub(stamp.sent_at));
        }
        if self.asleep[publisher].is_some()
            && self.ledger.has_room(publisher)
            && let Some(waker) = self.asleep[publisher].take()
        {
            waker.wake();
        }
        Ok(())
    }
}

impl Counted for Flow {
    fn count(&self) -> u64 {
        self.delivered.iter().sum()
    }

    fn outstanding(&self) -> u64 {
        self.ledger.outstanding
    }

    fn start_measuring(&mut self) {
        self.phase = Phase::Measured;
    }

    fn stop(&mut self) {
        self.phase = Phase::Stopped;
        let fewest = self.delivered.iter().min().copied().unwrap_or(0);
        self.slowest_share = fewest as f64 * self.delivered.len() as f64 / self.count() as f64;
    }
}

struct Stamp {
    /// Since the flow began.
    sent_at: Duration,
    publisher: u32,
    sequence: u32,
}

impl Stamp {
    fn write(&self, payload: &mut [u8]) {
        payload[..8].copy_from_slice(&(self.sent_at.as_nanos() as u64).to_be_bytes());
        payload[8..12].copy_from_slice(&self.publisher.to_be_bytes());
        payload[12..STAMP].copy_from_slice(&self.sequence.to_be_bytes());
    }

    fn read(payload: &[u8]) -> Option<Self> {
        let (sent_at, rest) = payload.split_first_chunk()?;
        let (publisher, rest) = rest.split_first_chunk()?;
        Some(Self {
            sent_at: Duration::from_nanos(u64::from_be_bytes(*sent_at)),
            publisher: u32::from_be_bytes(*publisher),
            sequence: u32::from_be_bytes(*rest.first_chunk()?),
        })
    }
}
