//! Appends groups of records, all of a group or nothing.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::error::AppendError;
use super::event::{Entry, Record};
use super::record::{Place, RECORD_BYTES};

/// What a log is stored in; a seam for faults that no test can order from a disk.
pub(super) trait Storage {
    /// Writes some of `bytes` at `offset` and says how many.
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<usize>;
    fn set_length(&mut self, length: u64) -> io::Result<()>;
    /// Returns when data and length are on disk.
    fn sync(&mut self) -> io::Result<()>;
}

impl Storage for File {
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        FileExt::write_at(self, bytes, offset)
    }

    fn set_length(&mut self, length: u64) -> io::Result<()> {
        self.set_len(length)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }
}

/// Fewest and most zeros that are written ahead of the records: as many as there are bytes before
/// them, so that a quiet log is small. A file that grows brings its new length to disk with every
/// group, which waits for all that others write to the file system; one whose bytes are there
/// already does not.
const LEAST_AHEAD: u64 = 1 << 12;
const MOST_AHEAD: u64 = 1 << 20;
/// So many are written with one call.
static ZEROS: [u8; 1 << 16] = [0; 1 << 16];

#[derive(Debug)]
pub(super) struct Appender<S> {
    storage: S,
    path: PathBuf,
    is_synced: bool,
    /// Bytes up to the end of the last whole group.
    length: u64,
    /// Bytes of the file: from `length` on they are zeros, but for a leftover.
    prepared: u64,
    next_sequence: u64,
    /// True if bytes of a failed group may lie beyond `length`.
    has_leftover: bool,
    buffer: Vec<u8>,
}

impl<S: Storage> Appender<S> {
    /// Appends from `length` on, where the last whole record ends.
    pub(super) fn new(
        storage: S,
        path: PathBuf,
        is_synced: bool,
        length: u64,
        next_sequence: u64,
    ) -> Self {
        Self {
            storage,
            path,
            is_synced,
            length,
            prepared: length,
            next_sequence,
            has_leftover: false,
            buffer: Vec::new(),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn length(&self) -> u64 {
        self.length
    }

    pub(super) fn next_sequence(&self) -> u64 {
        self.next_sequence
    }

    pub(super) fn append(&mut self, entries: &[Entry]) -> Result<Range<u64>, AppendError> {
        if self.has_leftover {
            self.cut().map_err(|source| AppendError::Cut {
                path: self.path.clone(),
                source,
            })?;
        }
        let first = self.next_sequence;
        let sequences = first..first + entries.len() as u64;
        self.buffer.clear();
        self.buffer.reserve(entries.len() * RECORD_BYTES);
        for (sequence, &entry) in sequences.clone().zip(entries) {
            let record = Record { sequence, entry };
            let place = Place {
                is_first: sequence == first,
                is_last: sequence + 1 == sequences.end,
            };
            self.buffer.extend_from_slice(&record.encode_at(place));
        }
        self.prepare();
        self.has_leftover = true;
        let path = || self.path.clone();
        let outcome = match write_all(&mut self.storage, &self.buffer, self.length) {
            Err(source) => Err(AppendError::Write {
                path: path(),
                source,
            }),
            Ok(()) if self.is_synced && !entries.is_empty() => {
                let synced = self.storage.sync();
                synced.map_err(|source| AppendError::Sync {
                    path: path(),
                    source,
                })
            }
            Ok(()) => Ok(()),
        };
        match outcome {
            Ok(()) => {
                self.has_leftover = false;
                self.length += self.buffer.len() as u64;
                self.prepared = self.prepared.max(self.length);
                self.next_sequence = sequences.end;
                Ok(sequences)
            }
            Err(error) => {
                // The first error is the one to tell. If the cut fails too,
                // `has_leftover` stays and the next append begins with it.
                let _ = self.cut();
                Err(error)
            }
        }
    }

    /// Cuts what is no whole group, zeros included, and brings the rest to disk.
    pub(super) fn finish(&mut self) -> Result<(), AppendError> {
        let path = self.path.clone();
        if (self.has_leftover || self.prepared > self.length)
            && let Err(source) = self.cut()
        {
            return Err(AppendError::Cut { path, source });
        }
        let synced = self.storage.sync();
        synced.map_err(|source| AppendError::Sync { path, source })
    }

    fn cut(&mut self) -> io::Result<()> {
        self.storage.set_length(self.length)?;
        self.prepared = self.length;
        self.has_leftover = false;
        Ok(())
    }

    /// Writes zeros ahead if the group in `buffer` goes beyond them. They are only to save time:
    /// whether there is room is for the group to find out.
    fn prepare(&mut self) {
        let end = self.length + self.buffer.len() as u64;
        if !self.is_synced || end <= self.prepared {
            return;
        }
        let wanted = end + self.length.clamp(LEAST_AHEAD, MOST_AHEAD);
        while self.prepared < wanted {
            let count = ZEROS.len().min((wanted - self.prepared) as usize);
            match self.storage.write_at(&ZEROS[..count], self.prepared) {
                Ok(written) if written > 0 => self.prepared += written as u64,
                _ => return,
            }
        }
    }
}

/// One write for all, and more only if the storage takes less or was interrupted.
fn write_all(storage: &mut impl Storage, bytes: &[u8], offset: u64) -> io::Result<()> {
    let mut written = 0;
    while written < bytes.len() {
        match storage.write_at(&bytes[written..], offset + written as u64) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => written += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
