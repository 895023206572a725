//! The BPF linker, in the one version that uses the LLVM of the pinned compiler.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::step::{self, note};
use crate::workspace;

/// Later versions want a system LLVM 23; this one uses the toolchain's own LLVM 22.
pub const VERSION: &str = "0.10.3";

/// The linker on `PATH` or among our own tools, if it has the right version.
pub fn find() -> Option<PathBuf> {
    let own = tools().join("bin/bpf-linker");
    [workspace::find_program("bpf-linker"), Some(own)]
        .into_iter()
        .flatten()
        .find(|program| version(program).as_deref() == Some(VERSION))
}

/// Builds the linker from its published source unless it is there.
pub fn get() -> Result<PathBuf> {
    if let Some(program) = find() {
        note(format_args!(
            "bpf-linker {VERSION}: {} (already there)",
            program.display()
        ));
        return Ok(program);
    }
    note(format_args!(
        "building bpf-linker {VERSION} into {} (about 2 minutes)",
        tools().display()
    ));
    let package = format!("bpf-linker@{VERSION}");
    step::run(
        workspace::cargo()
            .args(["install", &package, "--locked", "--root"])
            .arg(tools()),
    )
    .context("Remedy: check the network, that a C compiler is there (apt-get install gcc), and try again")?;
    find().with_context(|| {
        format!("cargo installed bpf-linker, but it does not say that it is {VERSION}")
    })
}

fn tools() -> PathBuf {
    workspace::store().join("tools")
}

fn version(program: &Path) -> Option<String> {
    let line = step::capture(Command::new(program).arg("--version")).ok()?;
    workspace::version_number(&line).ok().map(str::to_owned)
}
