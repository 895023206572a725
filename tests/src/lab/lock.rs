//! One test laboratory at a time: tests measure time, and this is a small machine.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::Path;

use anyhow::{Context as _, Result};

use super::deadline::wait_until;

/// Held by a test while its laboratory stands; also across processes.
const PATH: &str = "/run/cgn-lab.lock";

/// How long a test waits for others.
const PATIENCE_SECS: f64 = 300.0;

/// The lock; given back when this value ends, also when the process dies.
#[derive(Debug)]
pub struct LabLock {
    _file: File,
}

impl LabLock {
    /// Waits until no other test has a laboratory.
    ///
    /// # Errors
    /// The file cannot be opened, or the wait was too long.
    pub fn take() -> Result<Self> {
        let path = Path::new(PATH);
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path)
            .with_context(|| format!("cannot open {PATH}"))?;
        wait_until(
            "no other test holds the network laboratory (/run/cgn-lab.lock)",
            PATIENCE_SECS,
            || match file.try_lock() {
                Ok(()) => Ok(Some(())),
                Err(TryLockError::WouldBlock) => Ok(None),
                Err(TryLockError::Error(error)) => Err(error.into()),
            },
        )?;
        Ok(Self { _file: file })
    }
}
