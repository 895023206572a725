//! `cargo xtask demo`: builds the product and the demonstration, and runs it.

use std::os::unix::process::CommandExt as _;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::step::{self, step};
use crate::{programs, workspace};

#[derive(clap::Args)]
pub struct Args {
    /// Print one JSON object on standard output; progress goes to standard error
    #[arg(long)]
    json: bool,
    /// Leave everything running until Ctrl-C, to look around
    #[arg(long)]
    keep: bool,
}

/// Does not return when all goes well: the demonstration takes this process's place, so that Ctrl-C
/// and signals reach it and nobody else has to pass them on.
pub fn run(args: &Args) -> Result<()> {
    if args.json {
        step::progress_to_stderr();
    }
    if !workspace::is_root() {
        bail!(
            "the demonstration makes network namespaces and loads BPF programs, so it needs root: run it with sudo"
        );
    }
    let missing = programs::ensure_demo()?;
    if !missing.is_empty() {
        bail!(
            "the demonstration needs the packages {}",
            missing.join(", ")
        );
    }
    step("building cgn and the demonstration, optimised", || {
        step::run(workspace::cargo().args([
            "build",
            "--release",
            "--package",
            "cgn-user",
            "--package",
            "cgn-tests",
            "--bin",
            "cgn",
            "--bin",
            "cgn-demo",
        ]))
    })?;
    let folder = workspace::target_dir().join("release");
    let mut command = Command::new(folder.join("cgn-demo"));
    command.arg("--cgn").arg(folder.join("cgn"));
    if args.json {
        command.arg("--json");
    }
    if args.keep {
        command.arg("--keep");
    }
    Err(command.exec()).with_context(|| format!("cannot start `{}`", step::shown(&command)))
}
