//! `cargo xtask verifier`: what the verifier says of each program, and whether it is within the budget.

use anyhow::Result;

use crate::test_report::Report;
use crate::{step, vm, workspace};

#[derive(clap::Args)]
pub struct Args {
    /// Ask Debian's kernel of this series (6.1), under emulation, and not this machine's
    #[arg(long, value_name = "SERIES")]
    kernel: Option<String>,
}

/// Test target that asks the verifier.
const TARGET: &str = "verifier";
/// A guest verifies slowly.
const GUEST_SECS: u64 = 900;

pub fn run(args: &Args) -> Result<()> {
    if let Some(series) = &args.kernel {
        return in_guest(series);
    }
    step::run(workspace::cargo_test().args(["--quiet", "--test", TARGET, "--", "--table"]))
}

fn in_guest(series: &str) -> Result<()> {
    let mut report = Report::default();
    let request = vm::Request {
        series,
        package: None,
        timeout_secs: GUEST_SECS,
        filter: None,
        targets: &[TARGET],
    };
    vm::run(&request, &mut report)?;
    report.print_details(false);
    anyhow::ensure!(
        report.totals(false).failed == 0,
        "a program is refused or over the budget"
    );
    Ok(())
}
