//! Where things are: the repository, its target directory, the toolchain in use.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::step;

/// Top folder of the repository.
pub fn root() -> PathBuf {
    // The variable is there when cargo runs this program; the constant serves a program that was
    // started by hand from target/.
    let manifest_dir = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    manifest_dir
        .parent()
        .map_or_else(|| manifest_dir.clone(), Path::to_path_buf)
}

/// Cargo's target directory, also when `CARGO_TARGET_DIR` moves it.
pub fn target_dir() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => root().join(dir),
        None => root().join("target"),
    }
}

/// Where these commands keep what they fetch and build; `cargo clean` empties it.
pub fn store() -> PathBuf {
    target_dir().join("xtask")
}

/// The cargo that runs us, in the repository's top folder. It does not see what the one that
/// started us said of this package: build scripts that ask for it (ring's) would run again each
/// time that cargo is started by hand and by us in turn, and all that is built on them with them.
pub fn cargo() -> Command {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if ["CARGO_PKG_", "CARGO_MANIFEST_"]
            .iter()
            .any(|of| text.starts_with(of))
        {
            command.env_remove(&name);
        }
    }
    command.current_dir(root());
    command
}

/// `cargo test` for the whole workspace, of which the arguments choose targets. Not for a package of
/// it: cargo would choose the features of dependencies anew, and compile half of all a second time.
pub fn cargo_test() -> Command {
    let mut command = cargo();
    command.args(["test", "--workspace"]);
    command
}

/// The version line of the rustc in use, such as `rustc 1.95.0 (59807616e 2026-04-14)`.
pub fn rustc_version() -> Result<String> {
    let line = step::capture(Command::new("rustc").arg("--version").current_dir(root()))?;
    Ok(line.trim().to_owned())
}

/// The number in a version line: `1.95.0` of `rustc 1.95.0 (59807616e 2026-04-14)`.
pub fn version_number(version_line: &str) -> Result<&str> {
    version_line
        .split_whitespace()
        .nth(1)
        .with_context(|| format!("no version number in {version_line:?}"))
}

/// Folder of the toolchain in use.
pub fn sysroot() -> Result<PathBuf> {
    let line = step::capture(
        Command::new("rustc")
            .args(["--print", "sysroot"])
            .current_dir(root()),
    )?;
    Ok(PathBuf::from(line.trim()))
}

/// True when this process may load programs and make namespaces.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// First file of this name on `PATH`, or in the folders of system programs, which a user's `PATH` often lacks.
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}
