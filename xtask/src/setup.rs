//! `cargo xtask setup`: gets what rebuilding the BPF object needs. Running it again changes nothing.

use anyhow::Result;

use crate::step::{note, step};
use crate::{bpf_linker, core_sources};

#[derive(clap::Args)]
pub struct Args {
    /// Leave the rustup toolchain alone: take core's sources from Debian only
    #[arg(long)]
    without_rustup: bool,
}

pub fn run(args: &Args) -> Result<()> {
    let library = step("sources of core", || core_sources::get(args.without_rustup))?;
    note(library.display());
    let linker = step("BPF linker", bpf_linker::get)?;
    note(linker.display());
    println!("`cargo xtask ebpf` can rebuild the BPF object now.");
    Ok(())
}
