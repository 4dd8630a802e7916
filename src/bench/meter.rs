//! CPU time and memory of processes, from `/proc`.

use std::fs;
use std::time::Instant;

use anyhow::{Context, Result};

/// Ticks per second in `/proc/PID/stat`: the same on all Linux systems.
const TICKS: f64 = 100.0;

/// What the broker and this process spend.
pub struct Meter {
    broker: Option<u32>,
}

pub struct Sample {
    at: Instant,
    broker_cpu: Option<f64>,
    own_cpu: Option<f64>,
}

/// What was spent between two samples, in seconds.
pub struct Usage {
    pub elapsed: f64,
    /// User and system time of the whole process.
    pub broker_cpu: Option<f64>,
    pub own_cpu: Option<f64>,
}

impl Meter {
    /// `broker` is a process of this machine.
    pub fn new(broker: Option<u32>) -> Result<Self> {
        let meter = Self { broker };
        meter.sample()?;
        Ok(meter)
    }

    pub fn sample(&self) -> Result<Sample> {
        Ok(Sample {
            broker_cpu: self.broker.map(|pid| cpu_seconds(&pid.to_string())).transpose()?,
            own_cpu: cpu_seconds("self").ok(),
            at: Instant::now(),
        })
    }

    pub fn usage_since(&self, start: &Sample) -> Result<Usage> {
        let end = self.sample()?;
        let spent = |from: Option<f64>, to: Option<f64>| Some(to? - from?);
        Ok(Usage {
            elapsed: (end.at - start.at).as_secs_f64(),
            broker_cpu: spent(start.broker_cpu, end.broker_cpu),
            own_cpu: spent(start.own_cpu, end.own_cpu),
        })
    }

    /// The broker's resident memory in bytes.
    pub fn broker_memory(&self) -> Result<Option<u64>> {
        let Some(pid) = self.broker else { return Ok(None) };
        let status = read(&pid.to_string(), "status")?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kibibytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        Ok(Some(1024 * kibibytes.with_context(|| format!("/proc/{pid}/status tells no memory"))?))
    }
}

fn read(pid: &str, file: &str) -> Result<String> {
    fs::read_to_string(format!("/proc/{pid}/{file}")).with_context(|| format!("no figures about the process {pid}"))
}

fn cpu_seconds(pid: &str) -> Result<f64> {
    let stat = read(pid, "stat")?;
    cpu_ticks(&stat).map(|ticks| ticks as f64 / TICKS).with_context(|| format!("/proc/{pid}/stat is not understood"))
}

/// Fields 14 and 15, user and system time, of all threads that ever were. The name in field 2 may hold spaces.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let (_, behind_name) = stat.rsplit_once(") ")?;
    let mut fields = behind_name.split(' ').skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_name_may_look_like_anything() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 100 0 0 0 12 30 0 0 20 0 1 0";
        assert_eq!(cpu_ticks(stat), Some(42));
    }
}
