//! Where the `cgn` program is.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context as _, Result, bail};

use super::process::run_to_end;

/// Building may have to wait for another cargo.
const BUILD_SECS: f64 = 900.0;

/// The `cgn` program: the file that `CGN_BIN` names, or the one beside this test program, which is
/// built anew first if cargo runs us.
///
/// # Errors
/// There is none, or it does not build.
pub fn cgn_program() -> Result<&'static Path> {
    static FOUND: OnceLock<std::result::Result<PathBuf, String>> = OnceLock::new();
    match FOUND.get_or_init(|| find().map_err(|error| format!("{error:#}"))) {
        Ok(path) => Ok(path),
        Err(text) => bail!("{text}"),
    }
}

fn find() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("CGN_BIN") {
        return Ok(path.into());
    }
    let this = std::env::current_exe().context("cannot tell where this program is")?;
    // Test programs lie in PROFILE/deps, others in PROFILE.
    let folder = this
        .parent()
        .map(|folder| if folder.ends_with("deps") { folder.parent().unwrap_or(folder) } else { folder })
        .context("this program lies nowhere")?;
    if let Some(cargo) = std::env::var_os("CARGO") {
        let mut command = Command::new(cargo);
        command
            .args(["build", "--quiet", "--package", "cgn-user", "--bin", "cgn"])
            .current_dir(env!("CARGO_MANIFEST_DIR"));
        if folder.ends_with("release") {
            command.arg("--release");
        }
        run_to_end(&mut command, BUILD_SECS)?;
    }
    let program = folder.join("cgn");
    if !program.is_file() {
        bail!(
            "{} is missing; build it with `cargo build --package cgn-user`, or name it in CGN_BIN",
            program.display()
        );
    }
    Ok(program)
}
