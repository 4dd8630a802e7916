//! The figure that counts, of each workload and broker, as bars.

use std::fmt::Write;

use crate::brokers::Broker;
use crate::rounds::Rounds;
use crate::table::number;
use crate::workloads::Workload;

const WIDTH: f64 = 860.0;
const LABELS: f64 = 150.0;
/// Behind a bar, for its figure.
const FIGURES: f64 = 110.0;
const BAR: f64 = 15.0;
const TITLE: f64 = 34.0;
const GAP: f64 = 14.0;
const HEAD: f64 = 52.0;

/// Bars of one workload share a scale; less is better in all of them.
pub fn svg(rounds: &Rounds<'_>) -> String {
    let group = TITLE + BAR * Broker::ALL.len() as f64 + GAP;
    let workloads: Vec<_> = rounds.plan.workloads.iter().filter(|workload| workload.is_comparison()).collect();
    let height = HEAD + group * workloads.len() as f64;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"system-ui, sans-serif\" \
         font-size=\"12\" role=\"img\" aria-label=\"Cost of each workload by broker\">\n\
         <style>text {{ fill: #24292f }} .other {{ fill: #9aa4af }} .ours {{ fill: #1f6feb }} .ground {{ fill: #ffffff }}\n\
         @media (prefers-color-scheme: dark) {{ text {{ fill: #e6edf3 }} .other {{ fill: #6e7681 }} .ours {{ fill: #4493f8 }} \
         .ground {{ fill: #0d1117 }} }}</style>\n\
         <rect class=\"ground\" width=\"{WIDTH}\" height=\"{height}\" rx=\"6\"/>\n\
         <text x=\"16\" y=\"28\" font-size=\"15\" font-weight=\"600\">What each costs the broker (shorter is better)</text>\n"
    );
    for (index, workload) in workloads.into_iter().enumerate() {
        bars(&mut svg, rounds, workload, HEAD + group * index as f64);
    }
    svg.push_str("</svg>\n");
    svg
}

fn bars(svg: &mut String, rounds: &Rounds<'_>, workload: &Workload, top: f64) {
    let metric = &workload.metrics[0];
    let figure = |&broker| rounds.median(workload, broker, metric).map_or(0.0, |(median, _)| median);
    let figures: Vec<f64> = Broker::ALL.iter().map(figure).collect();
    let largest = figures.iter().copied().fold(f64::MIN_POSITIVE, f64::max);
    let (title, unit) = (workload.title, metric.title);
    let _ = writeln!(
        svg,
        "<text x=\"16\" y=\"{y}\"><tspan font-weight=\"600\">{title}</tspan><tspan opacity=\"0.7\">: {unit}</tspan></text>",
        y = top + 16.0
    );
    for (index, (broker, figure)) in Broker::ALL.iter().zip(figures).enumerate() {
        let y = top + TITLE + BAR * index as f64 - 8.0;
        let length = ((WIDTH - LABELS - FIGURES) * figure / largest).max(1.0);
        let _ = writeln!(
            svg,
            "<text x=\"{right}\" y=\"{base}\" text-anchor=\"end\">{name}</text>\
             <rect class=\"{class}\" x=\"{LABELS}\" y=\"{y}\" width=\"{length:.1}\" height=\"{thick}\" rx=\"2\"/>\
             <text x=\"{end:.1}\" y=\"{base}\">{text}</text>",
            right = LABELS - 8.0,
            base = y + 10.0,
            name = broker.title(),
            class = if broker.is_ours() { "ours" } else { "other" },
            thick = BAR - 4.0,
            end = LABELS + length + 6.0,
            text = number(figure),
        );
    }
}
