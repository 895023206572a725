//! Sealed files: an hour of the log as Parquet, sorted for look-up.
//!
//! * `row`: what stands in a row, and the schema. Pure.
//! * `write`: rows to a file, atomically.
//! * `read`: a file to rows: all, or those of one address.
//! * `identities`: names of subscribers, in files of their own.
//! * `table`: a file as columns.

mod identities;
mod read;
mod row;
mod table;
mod write;

use std::io;
use std::path::PathBuf;

pub use identities::{IdentityFile, IdentityRow, Told, seal_identities};
pub use read::SealedFile;
pub use row::{Fact, Row};
pub use table::place_of;
pub use write::{Chained, seal};

use parquet::errors::ParquetError;
use thiserror::Error;

/// SHA-256 of a file.
pub type Hash = [u8; 32];

/// Hash and length in bytes of everything that `file` holds.
///
/// # Errors
/// It cannot be read.
pub fn hash_of(file: &mut impl io::Read) -> io::Result<(Hash, u64)> {
    let mut context = ring::digest::Context::new(&ring::digest::SHA256);
    let mut buffer = vec![0; 256 * 1024];
    let mut length = 0;
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            count => {
                context.update(&buffer[..count]);
                length += count as u64;
            }
        }
    }
    let mut hash = [0; 32];
    hash.copy_from_slice(context.finish().as_ref());
    Ok((hash, length))
}

/// A hash as hexadecimal digits.
#[must_use]
pub fn hex(hash: &Hash) -> String {
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What [`hex`] wrote; None for anything else.
#[must_use]
pub fn unhex(text: &str) -> Option<Hash> {
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    let mut hash = [0; 32];
    for (byte, digits) in hash.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(hash)
}

/// A sealed file that cannot be written or read.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SealedError {
    #[error("cannot {operation} {path}", path = path.display())]
    Io {
        operation: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error("{path} is no sealed file of a mapping log, or is damaged: get it from a copy, and `cgn log verify` names the others", path = path.display())]
    Parquet { path: PathBuf, source: ParquetError },
    #[error("{path} says {what}, which this program does not know: use a newer program", path = path.display())]
    Unknown { path: PathBuf, what: String },
}
