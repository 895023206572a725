//! Where the `cgn` program is.

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};

/// The `cgn` program as cargo builds it with the tests: same source, same library.
const NAME: &str = "cgn-under-test";

/// The `cgn` program: the file that `CGN_BIN` names, or the one that was built with this test.
///
/// # Errors
/// It was not built.
pub fn cgn_program() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("CGN_BIN") {
        return Ok(path.into());
    }
    let this = std::env::current_exe().context("cannot tell where this program is")?;
    // Test programs lie in PROFILE/deps, others in PROFILE.
    let program = this
        .ancestors()
        .skip(1)
        .take(2)
        .map(|folder| folder.join(NAME))
        .find(|program| program.is_file());
    match program {
        Some(program) => Ok(program),
        None => bail!(
            "{NAME} is missing beside {}; `cargo test` builds it, and CGN_BIN can name a `cgn`",
            this.display()
        ),
    }
}
