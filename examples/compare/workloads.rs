//! What the brokers have to do.

use crate::brokers::Broker;

pub struct Workload {
    pub title: &'static str,
    /// Arguments of `smq bench`.
    pub arguments: &'static str,
    pub is_quick: bool,
    /// Who does it, in this order.
    pub brokers: &'static [Broker],
    /// The first one is the figure that counts.
    pub metrics: &'static [Metric],
}

pub struct Metric {
    pub title: &'static str,
    /// In the JSON of `smq bench`.
    pub key: &'static str,
    pub scale: f64,
}

impl Workload {
    /// Whether it compares brokers, and not only settings of ours.
    pub fn is_comparison(&self) -> bool {
        self.brokers == Broker::ALL
    }
}

const fn metric(title: &'static str, key: &'static str, scale: f64) -> Metric {
    Metric { title, key, scale }
}

const FLOW: &[Metric] = &[
    metric("broker CPU per message, ns", "broker_cpu_ns_per_msg", 1.0),
    metric("delivered/s, thousands", "delivered_per_s", 1e-3),
    metric("slowest subscriber / mean", "slowest_share", 1.0),
    metric("lost", "lost", 1.0),
];
const ROUND_TRIPS: &[Metric] = &[
    metric("broker CPU per message, ns", "broker_cpu_ns_per_msg", 1.0),
    metric("round trips/s, thousands", "roundtrips_per_s", 1e-3),
    metric("p50, µs", "p50_us", 1.0),
    metric("p99, µs", "p99_us", 1.0),
];
const IDLE: &[Metric] = &[
    metric("resident bytes per client", "rss_bytes_per_connection", 1.0),
    metric("broker CPU per connection, µs", "broker_cpu_ns_per_connection", 1e-3),
];
const CHURN: &[Metric] =
    &[metric("broker CPU per cycle, µs", "broker_cpu_ns_per_cycle", 1e-3), metric("cycles/s", "cycles_per_s", 1.0)];

pub fn all() -> Vec<Workload> {
    let workload =
        |title, arguments, is_quick, metrics| Workload { title, arguments, is_quick, metrics, brokers: Broker::ALL };
    let among_ours = |title, arguments, brokers| Workload { title, arguments, is_quick: false, metrics: FLOW, brokers };
    vec![
        workload("1 publisher to 100 subscribers, 64 B", "fanout --subscribers 100 --window 64", true, FLOW),
        workload(
            "50 publishers to 10 subscribers, 64 B",
            "fanout --publishers 50 --subscribers 10 --window 16",
            true,
            FLOW,
        ),
        workload(
            "1 publisher to 10 subscribers, 16 KiB",
            "fanout --subscribers 10 --size 16384 --window 16",
            false,
            FLOW,
        ),
        workload("50 pairs, 64 B", "pairs --pairs 50 --window 16", true, FLOW),
        workload("request and reply, 1 pair", "rtt --pairs 1", false, ROUND_TRIPS),
        workload("request and reply, 50 pairs", "rtt --pairs 50", true, ROUND_TRIPS),
        workload("5000 idle clients, one subscription each", "idle --connections 5000", false, IDLE),
        workload("churn: connect, subscribe, leave", "churn --concurrency 32", false, CHURN),
        among_ours(
            "4 publishers to a Lua function",
            "fanout --publishers 4 --subscribers 1 --window 64",
            &[Broker::Raw, Broker::LuaSubscriber],
        ),
        among_ours(
            "a Lua function publishes to 100 subscribers",
            "fanout --subscribers 100 --window 64",
            &[Broker::Raw, Broker::LuaPublisher],
        ),
        among_ours(
            "1 publisher to 100 subscribers on 1, 2 and 4 shards",
            "fanout --subscribers 100 --window 64",
            Broker::SHARDS,
        ),
        among_ours("50 pairs on 1, 2 and 4 shards", "pairs --pairs 50 --window 16", Broker::SHARDS),
    ]
}
