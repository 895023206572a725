//! Runs test programs in a guest with Debian's kernel of an older series: the kernel floor.
//!
//! The guest sees this machine's `/` read-only below a tmpfs, so the programs that were built here
//! run there as they are. It is emulated, so it works without KVM; it is for results, not for timing.

mod cpio;
mod guest;
mod image;
mod initramfs;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::programs;
use crate::step::{self, note, step};
use crate::test_report::Report;
use crate::workspace;

/// Test targets of `cgn-tests` that need a kernel and nothing else of the machine.
pub const TARGETS: &[&str] = &["prog_run", "verifier", "vlan", "vrf"];

/// What to boot and to run.
pub struct Request<'a> {
    /// Kernel series, such as `6.1`.
    pub series: &'a str,
    /// Package file with the kernel, instead of one from the mirror.
    pub package: Option<&'a Path>,
    /// The guest is ended after so many seconds.
    pub timeout_secs: u64,
    /// Only tests whose name holds this text.
    pub filter: Option<&'a str>,
    /// Test targets of `cgn-tests`.
    pub targets: &'a [&'static str],
}

/// A test program that was built on this machine.
pub struct TestProgram {
    pub target: String,
    pub file: PathBuf,
}

/// Builds the test programs, boots the guest, runs them there and reads their results.
pub fn run(request: &Request, report: &mut Report) -> Result<()> {
    if programs::ensure_build()? != programs::BuildSupport::Complete {
        bail!("cgn-tests cannot be compiled here; see above for the packages that are missing");
    }
    let missing = programs::ensure_guest()?;
    if !missing.is_empty() {
        bail!("a guest needs the packages {}", missing.join(", "));
    }
    let programs = step("building the tests for the guest", || {
        build(request.targets)
    })?;
    let kernel = step(format_args!("kernel {} of Debian", request.series), || {
        image::get(request.series, request.package)
    })?;
    step(format_args!("guest with kernel {}", kernel.release), || {
        guest::run(&kernel, &programs, request, report)
    })
}

fn build(wanted: &[&'static str]) -> Result<Vec<TestProgram>> {
    let metadata =
        step::capture(workspace::cargo().args(["metadata", "--no-deps", "--format-version", "1"]))?;
    let targets = existing_targets(&serde_json::from_str(&metadata)?, wanted);
    if targets.is_empty() {
        bail!(
            "cgn-tests has none of the test targets {}",
            wanted.join(", ")
        );
    }
    let mut command = workspace::cargo_test();
    command
        .args(["--no-run", "--message-format", "json-render-diagnostics"])
        .stderr(std::process::Stdio::inherit());
    for target in &targets {
        command.args(["--test", target]);
    }
    let messages = step::capture(&mut command)?;
    let programs: Vec<TestProgram> = messages.lines().filter_map(parse_artifact).collect();
    for program in &programs {
        note(format_args!(
            "{}: {}",
            program.target,
            program.file.display()
        ));
    }
    if programs.len() != targets.len() {
        bail!(
            "cargo built {} programs for the {} targets {}",
            programs.len(),
            targets.len(),
            targets.join(", ")
        );
    }
    Ok(programs)
}

fn existing_targets(metadata: &Value, wanted: &[&'static str]) -> Vec<&'static str> {
    let packages = metadata["packages"].as_array().into_iter().flatten();
    let names: Vec<&str> = packages
        .filter(|package| package["name"] == "cgn-tests")
        .flat_map(|package| package["targets"].as_array().into_iter().flatten())
        .filter_map(|target| target["name"].as_str())
        .collect();
    wanted
        .iter()
        .copied()
        .filter(|target| names.contains(target))
        .collect()
}

/// The program that one of cargo's messages tells of.
fn parse_artifact(message: &str) -> Option<TestProgram> {
    let message: Value = serde_json::from_str(message).ok()?;
    if message["reason"] != "compiler-artifact" || message["profile"]["test"] != true {
        return None;
    }
    Some(TestProgram {
        target: message["target"]["name"].as_str()?.to_owned(),
        file: PathBuf::from(message["executable"].as_str()?),
    })
}

/// A path as text; the guest's command line and script cannot hold others.
fn as_text(path: &Path) -> Result<&str> {
    path.to_str()
        .with_context(|| format!("{} is not UTF-8", path.display()))
}
