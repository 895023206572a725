//! `cgn`: the carrier-grade NAT.

use std::io::{IsTerminal as _, stderr};
use std::process::ExitCode;

use cgn_user::cli::{Arguments, Command};
use cgn_user::config::Config;
use cgn_user::{cli, supervisor};
use clap::Parser as _;
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Run(arguments) => run(&arguments),
        Command::Detach(arguments) => cli::detach(&arguments),
        Command::Reload(arguments) => cli::reload(&arguments),
        Command::Check(arguments) => cli::check(&arguments),
        Command::Show(arguments) => cli::show(&arguments),
        Command::Pool(arguments) => cli::pool(&arguments),
        Command::Subscriber(arguments) => cli::subscriber(&arguments),
        Command::Lookup(arguments) => cli::lookup(&arguments),
        Command::Explain(arguments) => cli::explain(&arguments),
        Command::Trace(arguments) => cli::trace(&arguments),
        Command::Capture(arguments) => cli::capture(&arguments),
        Command::Top(arguments) => cli::top(&arguments),
        Command::Log(arguments) => cli::log(&arguments),
        Command::Advise(arguments) => cli::advise(&arguments),
        Command::Map(arguments) => cli::map(&arguments),
        Command::Report(arguments) => cli::report(&arguments),
        Command::Completions { shell } => cli::completions(shell),
        Command::Manual { folder } => cli::manual(&folder),
        Command::SampleConfig => {
            print!("{}", Config::SAMPLE);
            ExitCode::SUCCESS
        }
    }
}

fn run(arguments: &cli::Run) -> ExitCode {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(stderr)
        .with_ansi(stderr().is_terminal())
        .with_target(false)
        .init();
    match supervisor::run(arguments) {
        Ok(None) => ExitCode::SUCCESS,
        // Returns only if it failed.
        Ok(Some(reload)) => {
            let error = supervisor::execute_again(reload);
            eprintln!("cgn: cannot execute itself again: {error}; start it anew");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("cgn: {error:#}");
            ExitCode::FAILURE
        }
    }
}
