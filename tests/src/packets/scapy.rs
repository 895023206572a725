//! scapy as a judge of frames.

use std::io::Write as _;
use std::process::{Command, Stdio};

use crate::skip;

/// What a script for scapy prints when it reads these lines; None, and recorded, if there is no
/// scapy here.
///
/// # Panics
/// Python does not run it.
#[must_use]
pub fn output(test: &str, script: &str, lines: &[String]) -> Option<String> {
    let Some(python) = ["/usr/bin/python3", "python3"].into_iter().find(|python| {
        let import = Command::new(python)
            .args(["-c", "import scapy"])
            .stderr(Stdio::null())
            .status();
        import.is_ok_and(|status| status.success())
    }) else {
        skip::skip(test, "python3-scapy is not installed");
        return None;
    };
    let mut child = Command::new(python)
        .args(["-c", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python runs");
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin
        .write_all(lines.join("\n").as_bytes())
        .expect("python reads");
    drop(stdin);
    let output = child.wait_with_output().expect("python ends");
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
