//! `cargo xtask`: every command that a person or CI runs, one module for each.
//!
//! A new command is one module with `Args` and `run`, one variant below and one arm in `main`.

mod bench;
mod bpf_linker;
mod check_deps;
mod core_sources;
mod debian;
mod demo;
mod dist;
mod ebpf;
mod ebpf_build;
mod fuzz;
mod judges;
mod leftovers;
mod lint;
mod mutate;
mod object_record;
mod programs;
mod rfc;
mod rustc_wrapper;
mod setup;
mod step;
mod strip;
mod test;
mod test_report;
mod verifier;
mod vm;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Builds, checks, tests and shows the CGN.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Get what rebuilding the BPF object needs: core's sources and bpf-linker
    Setup(setup::Args),
    /// Rebuild the committed BPF object from source, or check it with --check
    Ebpf(ebpf::Args),
    /// Formatting, clippy, dependency directions and the object's record
    Lint,
    /// Check which crate may depend on which, and that the pure modules are pure
    CheckDeps,
    /// Run every test; with --kernel 6.1 those that load the object, in a guest
    Test(test::Args),
    /// Run libFuzzer on the targets in fuzz/; what breaks them stays in fuzz/crashes
    Fuzz(fuzz::Args),
    /// Put faults into a copy of the last commit, and see whether the tests notice each
    Mutate(mutate::Args),
    /// Write docs/rfc.md from the conformance tests, or check it with --check
    Rfc(rfc::Args),
    /// Print what the verifier says of each program; fails over the budget. Needs root
    Verifier(verifier::Args),
    /// Show the CGN at work between network namespaces; needs root
    Demo(demo::Args),
    /// Make a Debian package; with --test, install, upgrade and purge it in a container
    Dist(dist::Args),
    /// Measure: `bench micro` tells what one packet costs, `bench rig` compares with other systems
    Bench(bench::Args),
}

fn main() -> ExitCode {
    if std::env::var_os(rustc_wrapper::SWITCH).is_some() {
        return rustc_wrapper::run();
    }
    let result = match Cli::parse().command {
        Command::Demo(args) => demo::run(&args),
        Command::Dist(args) => dist::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Setup(args) => setup::run(&args),
        Command::Ebpf(args) => ebpf::run(&args),
        Command::Lint => lint::run(),
        Command::CheckDeps => check_deps::run(),
        Command::Test(args) => test::run(&args),
        Command::Fuzz(args) => fuzz::run(&args),
        Command::Mutate(args) => mutate::run(&args),
        Command::Rfc(args) => rfc::run(&args),
        Command::Verifier(args) => verifier::run(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
