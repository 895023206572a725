//! The manifest of a day: its sealed files with their hashes, and the hash of the manifest before,
//! so that one signature vouches for all days up to it.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::maplog::directory::{self, SealedName};
use crate::maplog::keys::SigningKey;
use crate::maplog::sealed::{SealedError, hash_of, hex, place_of};
use crate::utc::Day;

/// Version of the manifest.
pub const VERSION: u32 = 1;

/// What stands in `manifest.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    pub version: u32,
    /// The day in UTC, as `2026-03-03`.
    pub day: String,
    /// SHA-256 of the last manifest before it, in hexadecimal; empty in a log's first.
    pub previous_sha256: String,
    /// By sequence number.
    pub files: Vec<Listed>,
}

/// A sealed file in a manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listed {
    pub name: String,
    pub first_sequence: u64,
    /// One more than the number of the last record.
    pub next_sequence: u64,
    pub rows: u64,
    pub bytes: u64,
    /// SHA-256 of the file, in hexadecimal.
    pub sha256: String,
}

/// A manifest that cannot be written.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ManifestError {
    #[error("cannot {operation} {path}", path = path.display())]
    Io {
        operation: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error(transparent)]
    Sealed(#[from] SealedError),
}

/// Where the signature of a manifest stands: 64 bytes, as `openssl pkeyutl -verify -rawin` wants them.
#[must_use]
pub fn signature_path(manifest: &Path) -> PathBuf {
    manifest.with_extension("sig")
}

impl Listed {
    /// What is to be listed of a sealed file.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn of(path: &Path) -> Result<Self, SealedError> {
        let io = |source| SealedError::Io {
            operation: "read",
            path: path.into(),
            source,
        };
        let (hash, bytes) = hash_of(&mut File::open(path).map_err(io)?).map_err(io)?;
        let (chained, rows) = place_of(path)?;
        let name = path.file_name().unwrap_or_default();
        Ok(Self {
            name: name.to_string_lossy().into_owned(),
            first_sequence: chained.first_sequence,
            next_sequence: chained.next_sequence,
            rows,
            bytes,
            sha256: hex(&hash),
        })
    }
}

/// Writes the manifest of a day that is over; with a key, its signature first, so that
/// a manifest that should have one never lacks it.
pub(super) fn write(
    root: &Path,
    day: Day,
    files: &[SealedName],
    key: Option<&SigningKey>,
) -> Result<(), ManifestError> {
    let listed = files.iter().map(|name| Listed::of(&name.path(root)));
    let manifest = Manifest {
        version: VERSION,
        day: day.to_string(),
        previous_sha256: previous_hash(root, day)?,
        files: listed.collect::<Result<_, _>>()?,
    };
    let path = directory::manifest_path(root, day);
    let mut text = serde_json::to_vec_pretty(&manifest).expect("strings and numbers are JSON");
    text.push(b'\n');
    if let Some(key) = key {
        replace(&signature_path(&path), &key.sign(&text))?;
    }
    replace(&path, &text)
}

/// Of the last manifest before `day`.
fn previous_hash(root: &Path, day: Day) -> Result<String, ManifestError> {
    let io = |operation, path: &Path| {
        let path = path.to_owned();
        move |source| ManifestError::Io {
            operation,
            path,
            source,
        }
    };
    let days = directory::days(root).map_err(io("list", root))?;
    for earlier in days.into_iter().rev().filter(|earlier| *earlier < day) {
        let path = directory::manifest_path(root, earlier);
        if path.exists() {
            let mut file = File::open(&path).map_err(io("read", &path))?;
            let (hash, _) = hash_of(&mut file).map_err(io("read", &path))?;
            return Ok(hex(&hash));
        }
    }
    Ok(String::new())
}

/// Writes a small file atomically.
fn replace(path: &Path, bytes: &[u8]) -> Result<(), ManifestError> {
    let unfinished = directory::unfinished(path);
    let write = || -> io::Result<()> {
        let mut file = File::create(&unfinished)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&unfinished, path)?;
        directory::sync(directory::above(path))
    };
    write().map_err(|source| ManifestError::Io {
        operation: "write",
        path: path.into(),
        source,
    })
}
