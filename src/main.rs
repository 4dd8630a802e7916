//! The command line of `smq`.

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::Parser;
use smq::config::{Cli, Command, Config};
use smq::{bench, server, testing};
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let Cli { command } = Cli::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let is_terminal = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(is_terminal).init();
    let outcome = match command {
        Command::Serve(args) => Config::from_args(args).and_then(server::run).map(|()| true),
        Command::Test(args) => testing::run(args),
        Command::Bench(args) => bench::run(args).map(|()| true),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("smq: {error:#}");
            ExitCode::FAILURE
        }
    }
}
