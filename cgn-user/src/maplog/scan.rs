//! Reads records one after the other and tells where they end and why.
//!
//! Bytes that are no record are a *torn tail* if no whole record follows them
//! at any byte: a write that was cut short. Otherwise the log is *damaged*, and
//! that is an error: nothing is ever skipped.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::error::ReadError;
use super::event::Record;
use super::record::{
    DecodeError, HEADER_BYTES, Header, HeaderError, MAGIC, RECORD_BYTES, RECORD_PREFIX,
};

/// Bytes read at once.
const CHUNK_BYTES: usize = 64 * 1024;

/// What the first bytes of a file are.
pub(super) enum Beginning {
    Header(Header),
    /// Less than a header, and nothing that is not of one: the file was only
    /// just created, maybe by a daemon that died then.
    Unwritten {
        bytes: u64,
    },
}

/// What comes next in the file.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    Record(Record),
    /// The end; `torn_bytes` of a record or more may lie beyond `Scanner::offset`.
    End {
        torn_bytes: u64,
    },
}

pub(super) struct Scanner<'a> {
    file: &'a File,
    path: &'a Path,
    position: &'a mut Position,
}

/// How far a file was read.
#[derive(Debug)]
pub(super) struct Position {
    /// Byte at which the next record begins.
    pub(super) offset: u64,
    pub(super) next_sequence: u64,
    /// Bytes of the file from `offset` on are `buffer[start..]`.
    buffer: Vec<u8>,
    start: usize,
}

impl Position {
    pub(super) fn after(header: &Header) -> Self {
        Self {
            offset: HEADER_BYTES as u64,
            next_sequence: header.first_sequence,
            buffer: Vec::new(),
            start: 0,
        }
    }

    /// Goes on at the record of this number, if that is not behind.
    pub(super) fn skip_to(&mut self, sequence: u64) {
        let records = sequence.saturating_sub(self.next_sequence);
        self.offset += records * RECORD_BYTES as u64;
        self.next_sequence += records;
        self.buffer.clear();
        self.start = 0;
    }
}

pub(super) fn read_beginning(file: &File, path: &Path) -> Result<Beginning, ReadError> {
    let path = || PathBuf::from(path);
    let mut bytes = [0; HEADER_BYTES];
    let count = fill(file, &mut bytes, 0).map_err(|source| ReadError::Io {
        path: path(),
        source,
    })?;
    if count < HEADER_BYTES {
        let magic = MAGIC.len().min(count);
        if bytes[..magic] != MAGIC[..magic] {
            return Err(ReadError::NotALog { path: path() });
        }
        return Ok(Beginning::Unwritten {
            bytes: count as u64,
        });
    }
    match Header::decode(&bytes) {
        Ok(header) => Ok(Beginning::Header(header)),
        Err(HeaderError::Magic) => Err(ReadError::NotALog { path: path() }),
        Err(HeaderError::Version { found }) => Err(ReadError::Version {
            path: path(),
            found,
        }),
        Err(HeaderError::Damaged) => Err(ReadError::Header { path: path() }),
    }
}

impl<'a> Scanner<'a> {
    pub(super) fn new(file: &'a File, path: &'a Path, position: &'a mut Position) -> Self {
        Self {
            file,
            path,
            position,
        }
    }

    pub(super) fn next(&mut self) -> Result<Next, ReadError> {
        let mut bytes = self.peek()?;
        if bytes.is_none() || bytes.is_some_and(|bytes| Record::decode(&bytes).is_err()) {
            // A daemon may have changed these bytes since they were read into
            // the buffer: they are judged as they are now.
            self.position.buffer.clear();
            self.position.start = 0;
            bytes = self.peek()?;
        }
        let Some(bytes) = bytes else {
            let torn_bytes = self.position.buffer.len() as u64;
            self.position.buffer.clear();
            return Ok(Next::End { torn_bytes });
        };
        match Record::decode(&bytes) {
            Ok(record) => self.accept(record),
            Err(source @ DecodeError::Checksum { .. }) => self.judge(source),
            Err(source) => Err(ReadError::Unknown {
                path: self.path.into(),
                offset: self.position.offset,
                source,
            }),
        }
    }

    /// The bytes of the next record; None if the file has less than one.
    fn peek(&mut self) -> Result<Option<[u8; RECORD_BYTES]>, ReadError> {
        let position = &mut *self.position;
        if position.buffer.len() - position.start < RECORD_BYTES {
            position.buffer.resize(CHUNK_BYTES, 0);
            position.start = 0;
            let count = fill(self.file, &mut position.buffer, position.offset);
            position.buffer.truncate(*count.as_ref().unwrap_or(&0));
            count.map_err(|source| self.failed(source))?;
        }
        let bytes = &self.position.buffer[self.position.start..];
        Ok(bytes.first_chunk().copied())
    }

    fn accept(&mut self, record: Record) -> Result<Next, ReadError> {
        let position = &mut *self.position;
        if record.sequence != position.next_sequence {
            return Err(ReadError::Sequence {
                path: self.path.into(),
                offset: position.offset,
                expected: position.next_sequence,
                found: record.sequence,
            });
        }
        position.next_sequence += 1;
        position.offset += RECORD_BYTES as u64;
        position.start += RECORD_BYTES;
        Ok(Next::Record(record))
    }

    /// The record at `offset` is bad. Looks for a whole one at every byte after
    /// it, since bytes may be missing as well as changed.
    fn judge(&mut self, source: DecodeError) -> Result<Next, ReadError> {
        let bad = self.position.offset;
        self.position.buffer.clear();
        self.position.start = 0;
        let mut chunk = vec![0; CHUNK_BYTES];
        let mut at = bad + 1;
        loop {
            let count = fill(self.file, &mut chunk, at).map_err(|source| self.failed(source))?;
            let mut windows = chunk[..count].windows(RECORD_BYTES);
            if let Some(found) = windows.position(is_whole_record) {
                return Err(ReadError::Damaged {
                    path: self.path.into(),
                    offset: bad,
                    next_offset: at + found as u64,
                    source,
                });
            }
            if count < CHUNK_BYTES {
                let end = at + count as u64;
                return Ok(Next::End {
                    torn_bytes: end - bad,
                });
            }
            // A record may begin in the last bytes of this chunk.
            at += (CHUNK_BYTES - (RECORD_BYTES - 1)) as u64;
        }
    }

    fn failed(&self, source: io::Error) -> ReadError {
        ReadError::Io {
            path: self.path.into(),
            source,
        }
    }
}

fn is_whole_record(window: &[u8]) -> bool {
    // The prefix is compared first: it spares nearly all checksums.
    window.starts_with(&RECORD_PREFIX)
        && window.first_chunk().is_some_and(|bytes| {
            let decoded = Record::decode(bytes);
            !matches!(decoded, Err(DecodeError::Checksum { .. }))
        })
}

/// Reads until `bytes` is full or the file ends; returns how many.
fn fill(file: &File, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut count = 0;
    while count < bytes.len() {
        match file.read_at(&mut bytes[count..], offset + count as u64) {
            Ok(0) => break,
            Ok(more) => count += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(count)
}
