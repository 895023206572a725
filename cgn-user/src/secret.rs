//! Files with secrets: read only if nobody else can.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Permissions of group and others.
const NOT_OWNER: u32 = 0o077;

/// Why a secret is not read.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    #[error("cannot read the key {path}: {source}", path = path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("the key {path} can be read by others (mode {mode:o}), so it is no secret: make a new one, with `umask 077` before", path = path.display())]
    Readable { path: PathBuf, mode: u32 },
}

/// The bytes of a file that group and others may not touch.
///
/// # Errors
/// They may, or it cannot be read.
pub fn read(path: &Path) -> Result<Vec<u8>, SecretError> {
    let read_error = |source| SecretError::Read {
        path: path.into(),
        source,
    };
    let mut file = File::open(path).map_err(read_error)?;
    // Of the open file, so that no other can be put in its place.
    let mode = file.metadata().map_err(read_error)?.permissions().mode() & 0o777;
    if mode & NOT_OWNER != 0 {
        let path = path.into();
        return Err(SecretError::Readable { path, mode });
    }
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(read_error)?;
    Ok(bytes)
}
