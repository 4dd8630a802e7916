//! The result of a run, as a table for people and as JSON for programs.

use std::fmt::Write;

use super::meter::Usage;
use super::phases::Latencies;

/// The figures, in the order in which they are shown. Each has a key, for programs, and a label, for people.
#[derive(Default)]
pub struct Report {
    rows: Vec<Row>,
}

struct Row {
    key: &'static str,
    label: &'static str,
    value: Value,
}

enum Value {
    Text(String),
    Count(u64),
    Number(f64),
    Unknown,
}

impl Report {
    /// Adds a text.
    pub fn text(&mut self, key: &'static str, label: &'static str, text: &str) {
        self.add(key, label, Value::Text(text.to_owned()));
    }

    /// Adds a whole number.
    pub fn count(&mut self, key: &'static str, label: &'static str, count: impl Into<u64>) {
        self.add(key, label, Value::Count(count.into()));
    }

    /// Adds a number; one that is infinite or no number is shown as unknown.
    pub fn number(&mut self, key: &'static str, label: &'static str, number: f64) {
        self.add(key, label, if number.is_finite() { Value::Number(number) } else { Value::Unknown });
    }

    /// Adds a number if it is known.
    pub fn maybe(&mut self, key: &'static str, label: &'static str, number: Option<f64>) {
        if let Some(number) = number {
            self.number(key, label, number);
        }
    }

    /// Adds the percentiles of a distribution, in microseconds; those of an empty one are unknown.
    pub fn latencies(&mut self, latencies: &Latencies) {
        let microseconds = |nanoseconds: u64| if latencies.is_empty() { f64::NAN } else { nanoseconds as f64 / 1e3 };
        for (key, label, quantile) in [
            ("p50_us", "latency p50, us", 0.5),
            ("p90_us", "p90, us", 0.9),
            ("p99_us", "p99, us", 0.99),
            ("p999_us", "p99.9, us", 0.999),
        ] {
            self.number(key, label, microseconds(latencies.value_at_quantile(quantile)));
        }
        self.number("max_us", "largest, us", microseconds(latencies.max()));
    }

    /// Adds CPU times: the broker's in nanoseconds for each one of `count`, which `key` and `label` name; then totals
    /// in seconds.
    pub fn usage(&mut self, usage: &Usage, key: &'static str, label: &'static str, count: u64) {
        self.maybe(key, label, usage.broker_cpu.map(|seconds| seconds * 1e9 / count as f64));
        self.maybe("broker_cpu_s", "broker CPU, s", usage.broker_cpu);
        self.maybe("generator_cpu_s", "load generator CPU, s", usage.own_cpu);
        self.number("elapsed_s", "elapsed, s", usage.elapsed);
    }

    fn add(&mut self, key: &'static str, label: &'static str, value: Value) {
        self.rows.push(Row { key, label, value });
    }

    /// One line of JSON.
    pub fn to_json(&self) -> String {
        let fields: Vec<String> = self.rows.iter().map(Row::to_json).collect();
        format!("{{{}}}", fields.join(","))
    }

    /// A table with one line for each figure.
    pub fn to_table(&self) -> String {
        let width = self.rows.iter().map(|row| row.label.len()).max().unwrap_or(0);
        let mut table = String::new();
        for row in &self.rows {
            let _ = writeln!(table, "{:width$}  {}", row.label, row.value.to_text());
        }
        table
    }
}

impl Row {
    fn to_json(&self) -> String {
        let value = match &self.value {
            Value::Text(text) => quoted(text),
            Value::Count(count) => count.to_string(),
            Value::Number(number) => format!("{number:.3}"),
            Value::Unknown => "null".to_owned(),
        };
        format!("{}:{value}", quoted(self.key))
    }
}

impl Value {
    fn to_text(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Count(count) => grouped(*count),
            Self::Number(number) if *number <= -1000.0 => format!("-{}", grouped(number.abs().round() as u64)),
            Self::Number(number) if *number >= 1000.0 => grouped(number.round() as u64),
            Self::Number(number) if number.abs() >= 10.0 => format!("{number:.1}"),
            Self::Number(number) => format!("{number:.2}"),
            Self::Unknown => "-".to_owned(),
        }
    }
}

/// The number in groups of three digits.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

/// A JSON string.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            control if control < ' ' => {
                let _ = write!(quoted, "\\u{:04x}", u32::from(control));
            }
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::bench::phases::{latencies, record};

    fn report() -> Report {
        let mut report = Report::default();
        report.text("url", "URL", "a \"b\"\n");
        report.count("delivered", "delivered", 1_234_567u64);
        report.number("rate", "rate", 1.5);
        report.number("share", "share", f64::NAN);
        report.number("growth", "growth", -1_392.64);
        report.number("p50", "p50", 87.654);
        report.number("p99", "p99", 12_345.67);
        report
    }

    #[test]
    fn the_json_form_is_one_line_with_all_figures() {
        let json: serde_json::Value = serde_json::from_str(&report().to_json()).unwrap();
        let expected = serde_json::json!({"url": "a \"b\"\n", "delivered": 1_234_567, "rate": 1.5, "share": null, "growth": -1392.64,
            "p50": 87.654, "p99": 12_345.67});
        assert_eq!(json, expected);
        assert!(!report().to_json().contains('\n'));
    }

    #[test]
    fn nothing_is_known_of_latencies_when_nothing_has_arrived() {
        let mut report = Report::default();
        report.latencies(&latencies());
        let json: serde_json::Value = serde_json::from_str(&report.to_json()).unwrap();
        assert!(json.as_object().unwrap().values().all(serde_json::Value::is_null), "{json}");
    }

    #[test]
    fn percentiles_are_in_microseconds() {
        let mut times = latencies();
        (1..=10_000).for_each(|number| record(&mut times, Duration::from_micros(number)));
        let mut report = Report::default();
        report.latencies(&times);
        let json: serde_json::Value = serde_json::from_str(&report.to_json()).unwrap();
        for (key, expected) in
            [("p50_us", 5000.0), ("p90_us", 9000.0), ("p99_us", 9900.0), ("p999_us", 9990.0), ("max_us", 10_000.0)]
        {
            let error = json[key].as_f64().unwrap() / expected - 1.0;
            assert!(error.abs() < 0.0005, "{key}: {json}");
        }
    }

    #[test]
    fn a_time_of_seconds_is_no_smaller_in_the_report() {
        let mut times = latencies();
        record(&mut times, Duration::from_secs(50));
        let mut report = Report::default();
        report.latencies(&times);
        let json: serde_json::Value = serde_json::from_str(&report.to_json()).unwrap();
        assert!((json["max_us"].as_f64().unwrap() / 50e6 - 1.0).abs() < 0.001, "{json}");
    }

    #[test]
    fn the_brokers_cpu_time_is_shared_out_and_what_is_not_known_is_left_out() {
        let json = |broker_cpu| {
            let mut report = Report::default();
            report.usage(&Usage { elapsed: 5.0, broker_cpu, own_cpu: Some(3.0) }, "each_ns", "each, ns", 1000);
            serde_json::from_str::<serde_json::Value>(&report.to_json()).unwrap()
        };
        let own = serde_json::json!({"generator_cpu_s": 3.0, "elapsed_s": 5.0});
        assert_eq!(json(None), own);
        let both = serde_json::json!({"each_ns": 2e6, "broker_cpu_s": 2.0, "generator_cpu_s": 3.0, "elapsed_s": 5.0});
        assert_eq!(json(Some(2.0)), both);
    }

    #[test]
    fn the_table_is_aligned_and_groups_the_digits_of_large_numbers() {
        let table = report().to_table();
        let figures = "delivered  1 234 567\nrate       1.50\nshare      -\ngrowth     -1 393\np50        87.7\np99        12 346\n";
        assert!(table.ends_with(figures), "{table}");
    }
}
