//! Installs the package in a container: a bare Debian that boots with its own systemd, in
//! namespaces of its own. What is tried there is a list in `deploy/debian/trial/steps.sh`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::step::{self, step};
use crate::{debian, workspace};

/// Bare, with what the steps use.
const PACKAGES: &str =
    "systemd,systemd-sysv,dbus,iproute2,ethtool,python3-minimal,man-db,bash-completion";
/// The container is ended after so long.
const PATIENCE_SECS: &str = "300";

/// Installs `package` and upgrades to `next`.
///
/// # Errors
/// A step that failed, or a container that did not come up; what it printed is on the screen.
pub fn run(package: &Path, next: &Path) -> Result<()> {
    if !workspace::is_root() {
        bail!("a container needs root: run it with sudo");
    }
    let bare = bare_debian()?;
    let machine = workspace::store().join(format!("trial-{}", std::process::id()));
    let outcome = in_container(&bare, &machine, package, next);
    // Only what this process made.
    let removed = fs::remove_dir_all(&machine);
    let outcome = outcome?;
    removed.with_context(|| format!("cannot remove {}", machine.display()))?;
    print!("{outcome}");
    if !outcome.lines().any(|line| line == "all steps passed") {
        bail!("the package failed a step");
    }
    Ok(())
}

/// A Debian of the machine's own release, made once.
fn bare_debian() -> Result<PathBuf> {
    let os_release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let suite = os_release
        .lines()
        .find_map(|line| line.strip_prefix("VERSION_CODENAME="))
        .context("this machine's release has no name")?;
    let bare = workspace::store().join(format!("debian-{suite}"));
    if bare.join("done").exists() {
        return Ok(bare);
    }
    // Not that of security updates, which may be the first.
    let mut archives = debian::archives()?.into_iter();
    let archive = archives
        .find(|archive| debian::Suite::open(archive, suite).is_ok())
        .with_context(|| format!("no Debian archive has the suite {suite}"))?;
    step(format!("a bare Debian {suite}, once"), || {
        if bare.exists() {
            fs::remove_dir_all(&bare)?;
        }
        step::run(
            Command::new("debootstrap")
                .args(["--variant=minbase", &format!("--include={PACKAGES}"), suite])
                .arg(&bare)
                .arg(archive),
        )?;
        fs::write(bare.join("done"), "")?;
        Ok(())
    })?;
    Ok(bare)
}

fn in_container(bare: &Path, machine: &Path, package: &Path, next: &Path) -> Result<String> {
    step("a copy of the bare Debian", || {
        step::run(
            Command::new("cp")
                .args(["--archive", "--reflink=auto"])
                .arg(bare)
                .arg(machine),
        )
    })?;
    let trial = machine.join("root/trial");
    fs::create_dir_all(&trial)?;
    let ours = workspace::root().join("deploy/debian/trial");
    for (from, to) in [
        (package.to_owned(), "one.deb"),
        (next.to_owned(), "two.deb"),
        (ours.join("steps.sh"), "steps.sh"),
        (ours.join("talk.py"), "talk.py"),
    ] {
        fs::copy(&from, trial.join(to))
            .with_context(|| format!("cannot copy {}", from.display()))?;
    }
    fs::copy(
        ours.join("trial.service"),
        machine.join("etc/systemd/system/trial.service"),
    )?;
    let wants = machine.join("etc/systemd/system/multi-user.target.wants");
    fs::create_dir_all(&wants)?;
    std::os::unix::fs::symlink("../trial.service", wants.join("trial.service"))?;
    step("install, start, reload, upgrade, kill, purge", || {
        let mut command = Command::new("timeout");
        command
            .args(["--kill-after=10", PATIENCE_SECS, "systemd-nspawn"])
            .args([
                "--quiet",
                "--boot",
                "--register=no",
                "--keep-unit",
                "--private-network",
            ])
            .args([
                "--console=pipe",
                "--capability=all",
                "--system-call-filter=bpf perf_event_open",
            ])
            .env("SYSTEMD_NSPAWN_API_VFS_WRITABLE", "1")
            .env("SYSTEMD_NSPAWN_UNIFIED_HIERARCHY", "0")
            .arg("--directory")
            .arg(machine);
        // Its console is of no interest unless the steps leave nothing.
        let console = step::capture(&mut command);
        fs::read_to_string(trial.join("result")).with_context(|| match console {
            Ok(text) => format!("the container left no result; its console:\n{text}"),
            Err(error) => format!("the container left no result: {error:#}"),
        })
    })
}
