//! The phases that all runs have in common: connecting, warming up, measuring.

use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use hdrhistogram::Histogram;
use tokio::task::JoinSet;
use tokio::time::{interval, timeout};

use super::args::BenchArgs;
use super::client::{Client, Crew, Workload};
use super::meter::{Meter, Usage};
use super::progress::Progress;
use super::session::Role;
use super::target::Target;

/// The number of clients that are set up at the same time before the load starts.
const SETUP_CONCURRENCY: usize = 32;
/// How long setting up one client may take.
const SETUP_TIME: Duration = Duration::from_secs(10);
/// At the end of a run, messages that are under way count as lost when none has arrived for this time.
const GRACE: Duration = Duration::from_secs(3);
/// How often the rate is shown.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(250);
/// How often it is checked, at the end of a run, whether messages are under way.
const DRAIN_INTERVAL: Duration = Duration::from_millis(10);

/// What all workloads need for a run.
pub struct Run {
    pub target: Rc<Target>,
    pub meter: Meter,
    warmup: Duration,
    seconds: Duration,
    pub progress: Progress,
}

/// A workload that counts messages, or whatever its unit of work is.
pub trait Counted: Workload {
    /// The count since measuring has started.
    fn count(&self) -> u64;

    /// How many are under way.
    fn outstanding(&self) -> u64;

    /// Starts counting.
    fn start_measuring(&mut self);

    /// Starts nothing new from now on; what is under way still arrives.
    fn stop(&mut self);
}

impl Run {
    pub fn new(target: Target, args: &BenchArgs) -> Result<Self> {
        Ok(Self {
            target: Rc::new(target),
            meter: Meter::new(args.pid)?,
            warmup: Duration::from_secs_f64(args.warmup),
            seconds: Duration::from_secs_f64(args.seconds),
            progress: Progress::new(args.load.name()),
        })
    }

    /// Connects one client per role, at most `concurrency` at a time. Returns them in the order of the roles, and how
    /// long each took.
    pub async fn open_all(&self, roles: &[Role], concurrency: usize) -> Result<(Vec<Client>, Latencies)> {
        let mut opening = JoinSet::new();
        let mut clients: Vec<Option<Client>> = roles.iter().map(|_| None).collect();
        let mut times = latencies();
        let mut waiting = roles.iter().cloned().enumerate();
        for ready in 0..roles.len() {
            while opening.len() < concurrency {
                let Some((slot, role)) = waiting.next() else { break };
                opening.spawn_local(open(self.target.clone(), role, slot));
            }
            let Some(opened) = opening.join_next().await else { break };
            let (slot, client, time) = opened??;
            clients[slot] = Some(client);
            record(&mut times, time);
            self.progress.show(&format!("{} of {} clients connected", ready + 1, roles.len()));
        }
        Ok((clients.into_iter().flatten().collect(), times))
    }

    /// Connects one client per role. Returns them in the order of the roles.
    pub async fn connect(&self, roles: &[Role]) -> Result<Vec<Client>> {
        Ok(self.open_all(roles, SETUP_CONCURRENCY).await?.0)
    }

    /// Lets the clients work: warm-up, measuring, and then until all that is under way has arrived or is lost. Returns
    /// what was used and counted while measuring.
    pub async fn work<W: Counted>(&self, clients: Vec<Client>, workload: W) -> Result<(Rc<Crew<W>>, Usage, u64)> {
        let crew = Crew::new(workload);
        let mut tasks = JoinSet::new();
        for (slot, client) in clients.into_iter().enumerate() {
            tasks.spawn_local(client.work(slot, crew.clone()));
        }
        self.pass(self.warmup, &mut tasks, || crew.workload.borrow().count(), "warming up").await?;
        crew.workload.borrow_mut().start_measuring();
        let start = self.meter.sample()?;
        self.pass(self.seconds, &mut tasks, || crew.workload.borrow().count(), "measuring").await?;
        let usage = self.meter.usage_since(&start)?;
        let count = crew.workload.borrow().count();
        crew.workload.borrow_mut().stop();
        drain(&crew, &mut tasks).await?;
        self.progress.clear();
        Ok((crew, usage, count))
    }

    /// Warm-up and measuring, for a workload without a [`Crew`], whose `tasks` do the work. `reset` is called in
    /// between.
    pub async fn measure(
        &self,
        tasks: &mut JoinSet<Result<()>>,
        count: impl Fn() -> u64,
        reset: impl Fn(),
    ) -> Result<Usage> {
        self.pass(self.warmup, tasks, &count, "warming up").await?;
        reset();
        let start = self.meter.sample()?;
        self.pass(self.seconds, tasks, &count, "measuring").await?;
        let usage = self.meter.usage_since(&start)?;
        self.progress.clear();
        Ok(usage)
    }

    /// Waits for `time` and shows the rate. An error if one of the tasks fails.
    async fn pass(
        &self,
        time: Duration,
        tasks: &mut JoinSet<Result<()>>,
        count: impl Fn() -> u64,
        phase: &str,
    ) -> Result<()> {
        let end = Instant::now() + time;
        let mut ticks = interval(PROGRESS_INTERVAL);
        ticks.tick().await;
        let mut last = (Instant::now(), count());
        loop {
            tokio::select! {
                () = tokio::time::sleep_until(end.into()) => return Ok(()),
                Some(ended) = tasks.join_next() => ended??,
                _ = ticks.tick() => {
                    let now = (Instant::now(), count());
                    let rate = now.1.saturating_sub(last.1) as f64 / (now.0 - last.0).as_secs_f64();
                    let rate = if now.1 > 0 { format!(": {rate:.0}/s") } else { String::new() };
                    let left = end.saturating_duration_since(now.0).as_secs_f64();
                    self.progress.show(&format!("{phase}, {left:.0} s left{rate}"));
                    last = now;
                }
            }
        }
    }
}

/// Connects the client of one slot, and measures how long that takes.
async fn open(target: Rc<Target>, role: Role, slot: usize) -> Result<(usize, Client, Duration)> {
    let start = Instant::now();
    let uid = uid(slot);
    let opened = timeout(SETUP_TIME, Client::open(&target, &role, &uid)).await;
    let client = opened.context("the broker does not answer")?.with_context(|| format!("client {slot}"))?;
    Ok((slot, client, start.elapsed()))
}

/// A client id that is unique on this machine.
pub fn uid(number: usize) -> String {
    format!("smq-bench-{}-{number}", std::process::id())
}

/// Waits until nothing is under way, or nothing has arrived for [`GRACE`].
async fn drain<W: Counted>(crew: &Rc<Crew<W>>, tasks: &mut JoinSet<Result<()>>) -> Result<()> {
    let mut last = (crew.workload.borrow().outstanding(), Instant::now());
    while last.0 > 0 && last.1.elapsed() < GRACE {
        tokio::select! {
            Some(ended) = tasks.join_next() => ended??,
            () = tokio::time::sleep(DRAIN_INTERVAL) => {}
        }
        let outstanding = crew.workload.borrow().outstanding();
        if outstanding != last.0 {
            last = (outstanding, Instant::now());
        }
    }
    Ok(())
}

/// A distribution of times in nanoseconds.
pub type Latencies = Histogram<u64>;

/// An empty distribution of times up to a minute, exact to three digits.
pub fn latencies() -> Latencies {
    // The bounds are constants within what the histogram takes.
    Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("valid bounds")
}

/// Adds a time.
pub fn record(latencies: &mut Latencies, time: Duration) {
    latencies.saturating_record(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
}
