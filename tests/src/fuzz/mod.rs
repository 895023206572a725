//! What fuzzers try, as plain functions: `cargo xtask fuzz` runs them under libFuzzer, `cargo xtask
//! test` with the inputs that are kept and with mutations of them from a fixed seed.

mod datagrams;
mod fragments;
mod icmp_errors;
mod ipv6;
mod split;
mod translator;

use std::fs;
use std::path::{Path, PathBuf};

/// Runs one input, and panics if something is wrong. Whether it got to the end of the way: was
/// translated, released, fragmented.
pub type Run = fn(&[u8]) -> bool;

/// One thing to fuzz.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// As its file in `fuzz/fuzz_targets`.
    pub name: &'static str,
    pub run: Run,
}

/// Every target.
pub const TARGETS: [Target; 6] = [
    Target {
        name: "translator",
        run: translator::run,
    },
    Target {
        name: "icmp_errors",
        run: icmp_errors::run,
    },
    Target {
        name: "datagrams",
        run: datagrams::run,
    },
    Target {
        name: "fragments",
        run: fragments::run,
    },
    Target {
        name: "ipv6",
        run: ipv6::run,
    },
    Target {
        name: "split",
        run: split::run,
    },
];

/// Runs an input of the target with this name.
///
/// # Panics
/// Something is wrong with the result, or there is no such target.
pub fn run(name: &str, input: &[u8]) {
    let target = TARGETS.iter().find(|target| target.name == name);
    let _ = (target.expect("a name in TARGETS").run)(input);
}

/// A kept input with its file.
pub type Kept = (PathBuf, Vec<u8>);

/// Inputs of a target that are kept in `fuzz/KIND/NAME`, in the order of their names: `corpus`, or
/// `crashes`, whose names tell what was wrong once.
///
/// # Panics
/// A file cannot be read.
#[must_use]
pub fn kept(kind: &str, name: &str) -> Vec<Kept> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz");
    let Ok(files) = fs::read_dir(root.join(kind).join(name)) else {
        return Vec::new();
    };
    let mut kept: Vec<Kept> = files
        .map(|file| {
            let path = file.expect("a folder can be read").path();
            let bytes = fs::read(&path).expect("a file can be read");
            (path, bytes)
        })
        .collect();
    kept.sort();
    kept
}
