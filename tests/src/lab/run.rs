//! Runs the body of a test in a laboratory.

use anyhow::Result;

use super::topology::{Lab, Plan};
use crate::skip;

/// Runs `body` in a laboratory; skips without rights. A failure shows what the daemon printed last.
///
/// # Panics
/// The laboratory cannot be built, or `body` failed.
pub fn in_lab(test: &str, plan: &Plan<'_>, body: impl FnOnce(&Lab) -> Result<()>) {
    if !skip::is_root(test) {
        return;
    }
    let lab = Lab::new(plan).unwrap_or_else(|error| panic!("{error:#}"));
    if let Err(error) = body(&lab) {
        let log = std::fs::read_to_string(lab.folder().join("daemon.log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let tail = lines[lines.len().saturating_sub(40)..].join("\n");
        panic!("{error:#}\n--- the daemon printed last:\n{tail}");
    }
}
