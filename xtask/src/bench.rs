//! `cargo xtask bench`: builds the bench program and the daemon optimised, and runs it; beside another
//! revision if one is named; and writes what it prints into docs/performance.md if asked to.

mod compare;
mod document;

use std::ffi::OsString;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};

use crate::{step, workspace};

/// What `all` runs, in this order.
const ALL: [&str; 4] = ["micro", "rig", "rfc9693", "control"];

#[derive(clap::Args)]
pub struct Args {
    /// Part (micro, memory, features, rig, rfc9693, control, slowpath, log, sharing; or `all` for the first four) and its
    /// options; `PART --help` tells all. With every part: `--compare REV` (micro and rig) measures
    /// another revision in the same rounds, `--write` puts the result into docs/performance.md
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<OsString>,
}

/// Standard output is the bench program's alone, so that `--json` prints one object.
pub fn run(args: &Args) -> Result<()> {
    let mut args = args.args.clone();
    let revision = take_value(&mut args, "--compare")?;
    let is_written = take_flag(&mut args, "--write");
    ensure!(
        !args.is_empty(),
        "which part? `cargo xtask bench --help` tells"
    );
    let part = args.remove(0);
    let part = part.to_str().context("no such part")?;
    eprintln!("==> building the bench program");
    step::run(workspace::cargo().args([
        "build",
        "--release",
        "--quiet",
        "--package",
        "cgn-tests",
        "--bin",
        "cgn-bench",
        "--package",
        "cgn-user",
        "--bin",
        "cgn",
    ]))?;
    let parts = if part == "all" { &ALL[..] } else { &[part] };
    for part in parts {
        let mut args = args.clone();
        if let Some(revision) = &revision {
            args.extend(compare::arguments(part, revision)?);
        }
        run_part(part, &args, is_written)?;
    }
    Ok(())
}

fn run_part(part: &str, args: &[OsString], is_written: bool) -> Result<()> {
    let built = |name: &str| workspace::target_dir().join("release").join(name);
    let mut command = Command::new(built("cgn-bench"));
    command.arg(part).args(args).env("CGN_BIN", built("cgn"));
    if !is_written {
        return step::run(&mut command);
    }
    let plot = document::plot(part)?;
    if let Some(plot) = &plot {
        command.arg("--svg").arg(workspace::root().join(plot));
    }
    let output = command
        .stdout(Stdio::piped())
        .spawn()
        .and_then(std::process::Child::wait_with_output)
        .context("cannot run the bench program")?;
    ensure!(output.status.success(), "bench {part} failed");
    let text = String::from_utf8(output.stdout).context("it printed no text")?;
    print!("{text}");
    document::write(part, args, &text, plot.as_deref())
}

fn take_flag(args: &mut Vec<OsString>, name: &str) -> bool {
    let before = args.len();
    args.retain(|arg| arg != name);
    args.len() < before
}

fn take_value(args: &mut Vec<OsString>, name: &str) -> Result<Option<String>> {
    let Some(at) = args.iter().position(|arg| arg == name) else {
        return Ok(None);
    };
    ensure!(at + 1 < args.len(), "{name} wants a revision");
    let value = args.remove(at + 1);
    args.remove(at);
    let value = value.to_str().context("a revision is text")?;
    Ok(Some(value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_options_are_taken_from_wherever_they_stand() {
        let mut args: Vec<OsString> = ["rig", "--compare", "v1", "--rounds", "3", "--write"]
            .map(Into::into)
            .to_vec();
        let revision = take_value(&mut args, "--compare").expect("there is one");
        assert_eq!(revision.as_deref(), Some("v1"));
        assert!(take_flag(&mut args, "--write"));
        assert_eq!(args, ["rig", "--rounds", "3"]);
        assert!(take_value(&mut vec!["--compare".into()], "--compare").is_err());
    }
}
