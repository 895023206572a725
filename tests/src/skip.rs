//! Tests that cannot run here say so, and are counted as skipped.

use std::io::Write as _;

/// True if this process may load BPF programs; otherwise the test is skipped.
#[must_use]
pub fn is_root(test: &str) -> bool {
    // SAFETY: a system call without arguments that cannot fail.
    if unsafe { libc::geteuid() } == 0 {
        return true;
    }
    skip(
        test,
        "rights: loading BPF programs needs root; run it with sudo",
    );
    false
}

/// Prints that `test` is skipped and appends it to the file that `CGN_SKIPS`
/// names. A part of a test is written `test::part*`.
///
/// # Panics
/// The file cannot be written: a skip must never be lost.
pub fn skip(test: &str, reason: &str) {
    println!("skipped: {test}: {reason}");
    if let Some(path) = std::env::var_os("CGN_SKIPS") {
        let mut file = std::fs::File::options()
            .append(true)
            .create(true)
            .open(path)
            .expect("the file that CGN_SKIPS names can be opened");
        file.write_all(format!("test {test}\t{reason}\n").as_bytes())
            .expect("the file that CGN_SKIPS names can be written");
    }
}
