//! Visible progress: named steps with their time, and child processes with clear errors.

use std::ffi::OsStr;
use std::fmt::Display;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anyhow::{Context as _, Result, bail};

/// Whether standard output is for something else than progress.
static TO_STDERR: AtomicBool = AtomicBool::new(false);

/// From now on progress goes to standard error, as where a command prints JSON.
pub fn progress_to_stderr() {
    TO_STDERR.store(true, Ordering::Relaxed);
}

fn say(text: impl Display) {
    if TO_STDERR.load(Ordering::Relaxed) {
        eprintln!("{text}");
    } else {
        println!("{text}");
    }
}

/// Runs `work` under a headline and tells how long it took.
pub fn step<T>(name: impl Display, work: impl FnOnce() -> Result<T>) -> Result<T> {
    say(format_args!("==> {name}"));
    let start = Instant::now();
    let result = work();
    let outcome = if result.is_ok() { "done" } else { "FAILED" };
    say(format_args!(
        "    {outcome}: {name} ({:.1} s)",
        start.elapsed().as_secs_f64()
    ));
    result
}

/// One line below the headline of the step that runs.
pub fn note(text: impl Display) {
    say(format_args!("    {text}"));
}

/// Runs a command whose output the reader sees; an exit status other than 0 is an error.
pub fn run(command: &mut Command) -> Result<()> {
    if TO_STDERR.load(Ordering::Relaxed) {
        command.stdout(std::io::stderr());
    }
    let status = command
        .status()
        .with_context(|| format!("cannot start `{}`", shown(command)))?;
    if !status.success() {
        bail!("`{}` failed ({status})", shown(command));
    }
    Ok(())
}

/// Runs a command for its standard output; on failure the error holds what it said.
pub fn capture(command: &mut Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start `{}`", shown(command)))?;
    if !output.status.success() {
        bail!(
            "`{}` failed ({}): {}",
            shown(command),
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    String::from_utf8(output.stdout)
        .with_context(|| format!("`{}` did not print UTF-8", shown(command)))
}

/// A command as one would type it, for messages.
pub fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program());
    std::iter::once(program.file_name().unwrap_or(program.as_os_str()))
        .chain(command.get_args())
        .map(OsStr::to_string_lossy)
        .collect::<Vec<_>>()
        .join(" ")
}
