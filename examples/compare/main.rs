//! Compares this server with Mosquitto and NATS, and writes the table and the plot that the README shows. Started by
//! `scripts/bench`, which builds and installs what it needs.
//!
//! Each broker gets the same work from the same load generator, `smq bench`, with the same settings. Brokers take turns
//! (A B C, A B C, ...), each run has a fresh broker, and the figures are medians of the rounds: what else the machine does
//! then hits all alike.

mod brokers;
mod plot;
mod rounds;
mod table;
mod workloads;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Parser;

use rounds::Rounds;

const README_START: &str = "<!-- scripts/bench writes from here -->";
const README_END: &str = "<!-- to here -->";

#[derive(Parser)]
#[command(name = "scripts/bench", about = "Compares this server with Mosquitto and NATS")]
struct Args {
    /// About two minutes: the main workloads, in short runs
    #[arg(long)]
    quick: bool,
    /// Rounds; figures are their medians [default: 5, quick: 3]
    #[arg(long, value_name = "N")]
    rounds: Option<usize>,
    /// Measured seconds of each run [default: 3, quick: 1]
    #[arg(long, value_name = "S")]
    seconds: Option<f64>,
    /// The server to measure
    #[arg(long, value_name = "FILE", default_value = "target/release/smq")]
    smq: PathBuf,
    /// Where bench.md and bench.svg go; the README keeps its table [default: docs, and a new table in the README]
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let plan = rounds::Plan {
        workloads: workloads::all().into_iter().filter(|workload| !args.quick || workload.is_quick).collect(),
        rounds: args.rounds.unwrap_or(if args.quick { 3 } else { 5 }).max(1),
        seconds: args.seconds.unwrap_or(if args.quick { 1.0 } else { 3.0 }),
        warmup: if args.quick { 0.3 } else { 0.5 },
    };
    let rounds = Rounds::run(&plan, &args.smq)?;
    let tables = table::tables(&rounds);
    println!("{tables}");
    let folder = args.out.as_deref().unwrap_or(Path::new("docs"));
    std::fs::create_dir_all(folder)?;
    write(folder, "bench.md", &table::document(&rounds, &tables, args.quick))?;
    write(folder, "bench.svg", &plot::svg(&rounds))?;
    match args.out {
        Some(_) => Ok(()),
        None => update_readme(Path::new("README.md"), &table::summary(&rounds)),
    }
}

/// Replaces what stands between the marks.
fn update_readme(path: &Path, summary: &str) -> Result<()> {
    let text = std::fs::read_to_string(path)?;
    let (head, rest) = text.split_once(README_START).context("README.md has lost the mark of scripts/bench")?;
    let (_, tail) = rest.split_once(README_END).context("README.md has lost the end mark of scripts/bench")?;
    Ok(std::fs::write(path, format!("{head}{README_START}\n\n{summary}\n{README_END}{tail}"))?)
}

fn write(folder: &Path, name: &str, text: &str) -> Result<()> {
    let path = folder.join(name);
    std::fs::write(&path, text)?;
    println!("written: {}", path.display());
    Ok(())
}
