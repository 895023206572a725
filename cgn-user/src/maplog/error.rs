//! What can go wrong with a mapping log file, with the remedy.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use super::maps::MapsError;
use super::realms::RealmsError;
use super::record::{DecodeError, VERSION};
use super::scatter::KeyringError;
use super::sealed::SealedError;

/// A log that cannot be read, wholly or from some byte on.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ReadError {
    #[error("cannot read the mapping log {path}", path = path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("{path} is no mapping log: set another path", path = path.display())]
    NotALog { path: PathBuf },
    #[error("the mapping log {path} has no header yet: try again once the daemon runs", path = path.display())]
    NoHeader { path: PathBuf },
    #[error("the mapping log {path} has version {found}, this program knows version {known}: use that other version of it, or move the file away to begin a new one", path = path.display(), known = VERSION)]
    Version { path: PathBuf, found: u8 },
    #[error("the header of the mapping log {path} is damaged: move the file away to begin a new one", path = path.display())]
    Header { path: PathBuf },
    /// A record that is not whole, with whole ones after it: not a torn tail.
    #[error("the mapping log {path} is damaged at byte {offset}, and a whole record follows at byte {next_offset}: keep the file, move it away to begin a new one", path = path.display())]
    Damaged {
        path: PathBuf,
        /// Byte at which the bad record begins.
        offset: u64,
        /// Byte at which the next whole record begins.
        next_offset: u64,
        source: DecodeError,
    },
    /// A whole record that this version does not understand.
    #[error("cannot understand the record at byte {offset} of the mapping log {path}: use a newer program, or move the file away to begin a new one", path = path.display())]
    Unknown {
        path: PathBuf,
        offset: u64,
        source: DecodeError,
    },
    #[error("the mapping log {path} has record {found} at byte {offset} instead of {expected}, so records are missing or doubled: keep the file, move it away to begin a new one", path = path.display())]
    Sequence {
        path: PathBuf,
        offset: u64,
        expected: u64,
        found: u64,
    },
    /// Whole files are gone from the middle of a log.
    #[error("records {first} to {last} of the mapping log are missing before {path}: get their files from a copy, or move the directory away to begin a new one", path = path.display())]
    Missing {
        /// The file that follows the gap.
        path: PathBuf,
        first: u64,
        last: u64,
    },
    /// A segment that ended long ago ends in the middle of a record.
    #[error("the segment {path} ends in {bytes} bytes that are no record, and a later segment follows: keep the file, get it from a copy, or move the directory away to begin a new one", path = path.display())]
    TornInside { path: PathBuf, bytes: u64 },
    #[error(transparent)]
    Sealed(#[from] SealedError),
    /// Nothing can be said of static ports.
    #[error(transparent)]
    Maps(#[from] MapsError),
    /// Nothing can be said of realms.
    #[error(transparent)]
    Realms(#[from] RealmsError),
    /// Nothing can be said of scattered blocks.
    #[error(transparent)]
    Keys(#[from] KeyringError),
}

/// A log that the daemon cannot write to.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OpenError {
    #[error("cannot create the directory {path} of the mapping log", path = path.display())]
    Directory { path: PathBuf, source: io::Error },
    #[error("cannot open the mapping log {path} for writing", path = path.display())]
    Open { path: PathBuf, source: io::Error },
    #[error("{path} is no regular file: set another path for the mapping log", path = path.display())]
    NotAFile { path: PathBuf },
    #[error("{path} is no directory: set another directory for the mapping log", path = path.display())]
    NotADirectory { path: PathBuf },
    #[error("another process writes the mapping log {path}: stop it first, or set another path", path = path.display())]
    Locked { path: PathBuf },
    #[error("cannot lock the mapping log {path}: put it on a file system that has locks", path = path.display())]
    Lock { path: PathBuf, source: io::Error },
    #[error("cannot prepare the mapping log {path}", path = path.display())]
    Prepare { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// A group of records that was not logged: nothing of it may be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum AppendError {
    #[error("cannot write to the mapping log {path}", path = path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("cannot bring the mapping log {path} to disk", path = path.display())]
    Sync { path: PathBuf, source: io::Error },
    #[error("cannot begin the next segment of the mapping log")]
    Segment { source: Box<OpenError> },
    /// A part of an earlier group is still in the file. Every later append tries again.
    #[error("cannot cut a partly written group off the mapping log {path}", path = path.display())]
    Cut { path: PathBuf, source: io::Error },
    /// The log lacks earlier records; they come first.
    #[error("the mapping log lacks records, and is not tried again yet")]
    Lacking,
}
