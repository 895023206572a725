//! `cargo xtask bench`: builds the bench program and the daemon optimised, and runs it.

use std::ffi::OsString;
use std::process::Command;

use anyhow::Result;

use crate::{step, workspace};

#[derive(clap::Args)]
pub struct Args {
    /// Part and options of the bench program: `micro [--json]`; `micro --help` tells all
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<OsString>,
}

/// Standard output is the bench program's alone, so that `--json` prints one object.
pub fn run(args: &Args) -> Result<()> {
    eprintln!("==> building the bench program");
    step::run(workspace::cargo().args([
        "build",
        "--release",
        "--quiet",
        "--package",
        "cgn-tests",
        "--bin",
        "cgn-bench",
        "--package",
        "cgn-user",
        "--bin",
        "cgn",
    ]))?;
    let built = |name: &str| workspace::target_dir().join("release").join(name);
    step::run(
        Command::new(built("cgn-bench"))
            .args(&args.args)
            .env("CGN_BIN", built("cgn")),
    )
}
