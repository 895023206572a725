//! Python packages that judge the mapping log's files, what Kafka is sent, and the API, and that speak QUIC and WebSocket.
//! Debian has none of them in these versions, so they come from PyPI into an environment of their own below `target`.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::step::{self, note, step};
use crate::workspace;

/// With their versions, so that a new release cannot break our tests.
const PACKAGES: [&str; 7] = [
    "duckdb==2.0.1",
    "pyarrow==26.0.1",
    "chdb==4.4.0",
    "confluent-kafka==2.16.1",
    "aioquic==1.7.2",
    "websockets==17.4",
    "schemathesis==4.32.5",
];

/// The file in the environment that tells what is in it.
const LIST: &str = "packages";

/// Gets the packages, unless the caller names a Python of his own in `CGN_JUDGE_PYTHON`. Without them,
/// tests that need them are skipped by name.
pub fn ensure() -> Result<()> {
    if std::env::var_os("CGN_JUDGE_PYTHON").is_some() || python().is_some() {
        return Ok(());
    }
    step(
        "DuckDB, pyarrow, ClickHouse, Kafka, QUIC, WebSocket and schemathesis for Python, apart from the system's",
        || {
            if let Err(error) = install() {
                note(format_args!("not to be had: {error:#}"));
            }
            Ok(())
        },
    )
}

/// The Python that has the packages, all of them in these versions.
pub fn python() -> Option<PathBuf> {
    let has = std::fs::read_to_string(folder().join(LIST)).unwrap_or_default();
    (has == PACKAGES.join("\n")).then(|| program(&folder()))
}

fn install() -> Result<()> {
    // The folder has its name only once it is complete.
    let begun = folder().with_extension("part");
    if begun.exists() {
        std::fs::remove_dir_all(&begun)?;
    }
    step::run(Command::new("python3").args(["-m", "venv"]).arg(&begun))?;
    step::run(
        Command::new(program(&begun))
            .args([
                "-m",
                "pip",
                "install",
                "--quiet",
                "--disable-pip-version-check",
            ])
            .args(["--retries", "1", "--timeout", "20"])
            .args(PACKAGES),
    )?;
    std::fs::write(begun.join(LIST), PACKAGES.join("\n"))?;
    // One with other packages.
    if folder().exists() {
        std::fs::remove_dir_all(folder())?;
    }
    Ok(std::fs::rename(&begun, folder())?)
}

fn program(folder: &Path) -> PathBuf {
    folder.join("bin/python3")
}

fn folder() -> PathBuf {
    workspace::store().join("judges")
}
