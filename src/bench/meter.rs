//! CPU time and memory of processes, from `/proc`.

use std::fs;
use std::time::Instant;

use anyhow::{Context, Result};

/// Clock ticks per second in `/proc/PID/stat`: the same on all Linux systems.
const TICKS: f64 = 100.0;

/// Measures the broker and this process.
pub struct Meter {
    /// The broker's process, if it is known.
    broker: Option<u32>,
}

/// CPU times up to a point in time, in seconds.
pub struct Sample {
    at: Instant,
    broker_cpu: Option<f64>,
    own_cpu: Option<f64>,
}

/// The differences between two samples, in seconds. CPU time is user and system time of a whole process.
pub struct Usage {
    pub elapsed: f64,
    /// `None` if the broker's process is not known.
    pub broker_cpu: Option<f64>,
    /// That of this process, the load generator.
    pub own_cpu: Option<f64>,
}

impl Meter {
    /// `broker` is the broker's process, if it runs on this machine. An error if there is no such process.
    pub fn new(broker: Option<u32>) -> Result<Self> {
        let meter = Self { broker };
        meter.sample()?;
        Ok(meter)
    }

    /// The CPU times up to now.
    pub fn sample(&self) -> Result<Sample> {
        Ok(Sample {
            broker_cpu: self.broker.map(|pid| cpu_seconds(&pid.to_string())).transpose()?,
            own_cpu: cpu_seconds("self").ok(),
            at: Instant::now(),
        })
    }

    /// What was used since `start`.
    pub fn usage_since(&self, start: &Sample) -> Result<Usage> {
        let end = self.sample()?;
        let spent = |from: Option<f64>, to: Option<f64>| Some(to? - from?);
        Ok(Usage {
            elapsed: (end.at - start.at).as_secs_f64(),
            broker_cpu: spent(start.broker_cpu, end.broker_cpu),
            own_cpu: spent(start.own_cpu, end.own_cpu),
        })
    }

    /// The broker's resident memory in bytes; `None` if its process is not known.
    pub fn broker_memory(&self) -> Result<Option<u64>> {
        let Some(pid) = self.broker else { return Ok(None) };
        let status = read(&pid.to_string(), "status")?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kibibytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        Ok(Some(1024 * kibibytes.with_context(|| format!("/proc/{pid}/status has no VmRSS in kB"))?))
    }
}

fn read(pid: &str, file: &str) -> Result<String> {
    let path = format!("/proc/{pid}/{file}");
    fs::read_to_string(&path).with_context(|| format!("cannot read {path}: is {pid} the broker's process?"))
}

fn cpu_seconds(pid: &str) -> Result<f64> {
    let stat = read(pid, "stat")?;
    cpu_ticks(&stat).map(|ticks| ticks as f64 / TICKS).with_context(|| format!("/proc/{pid}/stat has no CPU times"))
}

/// Fields 14 and 15: user and system time of all threads, past ones included. The name in field 2 may contain spaces.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let (_, behind_name) = stat.rsplit_once(") ")?;
    let mut fields = behind_name.split(' ').skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::time::Duration;

    use super::*;

    #[test]
    fn cpu_times_are_found_whatever_the_process_is_called() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 100 0 0 0 12 30 0 0 20 0 1 0";
        assert_eq!(cpu_ticks(stat), Some(42));
    }

    #[test]
    fn what_was_used_is_told_of_the_broker_and_of_this_process() {
        let mut broker = Command::new("sleep").arg("60").spawn().unwrap();
        let meter = Meter::new(Some(broker.id())).unwrap();
        // As if it had been taken before the broker used 7 s and this process 3 s.
        let mut start = meter.sample().unwrap();
        start.at -= Duration::from_secs(10);
        start.broker_cpu = start.broker_cpu.map(|seconds| seconds - 7.0);
        start.own_cpu = start.own_cpu.map(|seconds| seconds - 3.0);
        let usage = meter.usage_since(&start).unwrap();
        assert!((10.0..15.0).contains(&usage.elapsed));
        assert!((7.0..7.5).contains(&usage.broker_cpu.unwrap()) && (3.0..6.0).contains(&usage.own_cpu.unwrap()));
        broker.kill().unwrap();
        broker.wait().unwrap();
        assert!(meter.sample().is_err(), "a broker that has ended is no result");
    }

    /// What the system says.
    fn resident() -> String {
        let status = fs::read_to_string("/proc/self/status").unwrap();
        status.lines().find(|line| line.starts_with("VmRSS:")).unwrap().to_owned()
    }

    #[test]
    fn memory_is_told_in_bytes() {
        let meter = Meter::new(Some(std::process::id())).unwrap();
        // Tests that run beside this one change it.
        let mut told = std::iter::repeat_with(|| (resident(), meter.broker_memory().unwrap().unwrap(), resident()));
        let (line, memory, _) = told.find(|(before, _, after)| before == after).unwrap();
        assert!(line.ends_with(&format!(" {} kB", memory / 1024)) && memory.is_multiple_of(1024), "{memory}, {line}");
    }
}
