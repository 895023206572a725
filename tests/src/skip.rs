//! Tests that cannot run here say so, and are counted as skipped.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

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

/// True, and recorded, if a program is missing.
#[must_use]
pub fn lacks_program(test: &str, program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let is_there = std::env::split_paths(&path).any(|folder| folder.join(program).is_file());
    if !is_there {
        skip(test, &format!("no program {program}"));
    }
    !is_there
}

/// A Python that has the module; a skip is told otherwise.
#[must_use]
pub fn python_with(test: &str, module: &str) -> Option<PathBuf> {
    let named = std::env::var_os("CGN_JUDGE_PYTHON").map(PathBuf::from);
    let mut pythons = named
        .into_iter()
        .chain([PathBuf::from("/usr/bin/python3"), "python3".into()]);
    let found = pythons.find(|python| {
        let mut command = Command::new(python);
        command.args(["-c", &format!("import {module}")]);
        let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
        status.is_ok_and(|status| status.success())
    });
    if found.is_none() {
        let why = format!(
            "no Python has {module}: pip install {module} in a venv, and name its python in CGN_JUDGE_PYTHON"
        );
        skip(test, &why);
    }
    found
}
