//! Another revision beside this one: its committed BPF object for `micro`, its whole daemon, built
//! in a work tree of its own, for `rig`. Both take their turns in every round.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};

use crate::{step, workspace};

/// The released object, from the top folder.
const OBJECT: &str = "cgn-user/bpf/cgn.bpf.o";

/// Options of the bench program that add `revision` to a part.
pub fn arguments(part: &str, revision: &str) -> Result<Vec<OsString>> {
    let commit = step::capture(
        git()
            .args(["rev-parse", "--verify", "--quiet"])
            .arg(format!("{revision}^{{commit}}")),
    )
    .with_context(|| format!("no revision {revision}"))?;
    let commit = commit.trim();
    let folder = workspace::store().join("compare");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    match part {
        "micro" => Ok(vec!["--against".into(), object(commit, &folder)?.into()]),
        "rig" => {
            let program = daemon(commit, &folder)?;
            let mut named = OsString::from(format!("{}=", &commit[..commit.len().min(12)]));
            named.push(program);
            Ok(vec!["--other-cgn".into(), named])
        }
        _ => bail!("--compare goes with micro and rig only"),
    }
}

fn git() -> Command {
    let mut command = Command::new("git");
    command.current_dir(workspace::root());
    command
}

fn object(commit: &str, folder: &Path) -> Result<PathBuf> {
    let output = git()
        .arg("show")
        .arg(format!("{commit}:{OBJECT}"))
        .output()
        .context("cannot run git")?;
    ensure!(output.status.success(), "{commit} has no {OBJECT}");
    let path = folder.join(format!("{commit}.bpf.o"));
    fs::write(&path, output.stdout).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

/// Builds the daemon of `commit`, unless it was built before.
fn daemon(commit: &str, folder: &Path) -> Result<PathBuf> {
    let program = folder.join(format!("cgn-{commit}"));
    if program.is_file() {
        return Ok(program);
    }
    let tree = folder.join("tree");
    if !tree.is_dir() {
        step::run(
            git()
                .args(["worktree", "add", "--detach"])
                .arg(&tree)
                .arg(commit),
        )?;
    } else {
        step::run(
            git()
                .arg("-C")
                .arg(&tree)
                .args(["checkout", "--quiet", "--detach", commit]),
        )?;
    }
    eprintln!("==> building the daemon of {commit}");
    let target = folder.join("target");
    step::run(
        workspace::cargo()
            .current_dir(&tree)
            .env("CARGO_TARGET_DIR", &target)
            .args([
                "build",
                "--release",
                "--quiet",
                "--package",
                "cgn-user",
                "--bin",
                "cgn",
            ]),
    )?;
    fs::copy(target.join("release/cgn"), &program)
        .with_context(|| format!("cannot write {}", program.display()))?;
    Ok(program)
}
