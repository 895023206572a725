//! `cargo xtask lint`: all that CI refuses without running a test.

use anyhow::{Context as _, Result};

use crate::ebpf_build::{self, Tools};
use crate::programs::{self, BuildSupport};
use crate::step::{note, step};
use crate::{check_deps, ebpf, rfc, step as child, workspace};

pub fn run() -> Result<()> {
    let build = programs::ensure_build()?;
    step("formatting", format)?;
    step("clippy", || clippy(build))?;
    match Tools::find() {
        Ok(tools) => step("clippy of cgn-ebpf", || ebpf_build::clippy(&tools))?,
        Err(error) => note(format_args!("clippy of cgn-ebpf left out: {error:#}")),
    }
    check_deps::run()?;
    match build {
        BuildSupport::Complete => rfc::check()?,
        BuildSupport::WithoutTestPackage => {
            note("RFC table left out: it is printed by the test package")
        }
    }
    ebpf::check(false)
}

fn format() -> Result<()> {
    for manifest in ["Cargo.toml", "cgn-ebpf/Cargo.toml", "fuzz/Cargo.toml"] {
        if workspace::root().join(manifest).exists() {
            child::run(workspace::cargo().args([
                "fmt",
                "--all",
                "--check",
                "--manifest-path",
                manifest,
            ]))
            .context("Remedy: cargo fmt (rustup component add rustfmt, if it is missing)")?;
        }
    }
    Ok(())
}

fn clippy(build: BuildSupport) -> Result<()> {
    let mut command = workspace::cargo();
    command.args(["clippy", "--workspace", "--all-targets"]);
    command.args(build.excluded());
    command.args(["--", "-D", "warnings"]);
    child::run(&mut command)
        .context("Remedy: fix what is named (rustup component add clippy, if it is missing)")
}
