//! The command line of `smq`.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use clap::Parser;
use smq::bindings::built_in;
use smq::config::{Cli, Command, Config};
use smq::traces::Traces;
use smq::{bench, server, testing};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, fmt};

/// Chosen since it gives memory back to the system when clients have gone.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let Cli { command } = Cli::parse();
    let traces = matches!(&command, Command::Serve(args) if args.dev).then(Traces::default);
    install_log(traces.clone());
    let outcome = match command {
        Command::Serve(args) => {
            Config::from_args(args).and_then(|config| server::run(config, traces)).map(ExitCode::from)
        }
        Command::Test(args) => {
            testing::run(args).map(|passed| if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Command::Bench(args) => bench::run(args).map(|()| ExitCode::SUCCESS),
    };
    built_in::remove_folder();
    match outcome {
        Ok(code) => code,
        Err(error) => {
            // If standard error is closed, the exit code still tells that it failed.
            let _ = writeln!(std::io::stderr(), "smq: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The log goes to standard error. What scripts say in it also goes to the readers of the traces.
fn install_log(traces: Option<Traces>) {
    // An empty RUST_LOG says nothing, and what cannot be understood in it is ignored with a word.
    let filter = EnvFilter::builder().with_default_directive(LevelFilter::INFO.into()).from_env_lossy();
    let terminal = fmt::layer().with_writer(std::io::stderr).with_ansi(std::io::stderr().is_terminal());
    tracing_subscriber::registry().with(filter).with(terminal).with(traces).init();
}
