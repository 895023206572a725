//! Reads records one after the other and tells where they end and why. A group counts as a
//! whole, or not at all.
//!
//! Bytes that are no record are a *torn tail* if no later group begins behind them, at any byte: a
//! write of which not every sector came to the disk. Otherwise the log is *damaged*, and that is
//! an error: nothing is ever skipped. Zeros up to the end of the file are neither.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::error::ReadError;
use super::event::Record;
use super::record::{
    DecodeError, HEADER_BYTES, Header, HeaderError, MAGIC, Place, RECORD_BYTES, RECORD_PREFIX,
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
    /// A record of a whole group.
    Record(Record),
    /// The end; `torn_bytes` of a group may lie beyond `Position::offset`.
    End { torn_bytes: u64 },
}

/// The same without regard to groups.
enum Scanned {
    Record(Record, Place),
    End { torn_bytes: u64 },
}

pub(super) struct Scanner<'a> {
    file: &'a File,
    path: &'a Path,
    position: &'a mut Position,
}

/// How far a file was read.
#[derive(Debug)]
pub(super) struct Position {
    /// Byte at which the next group begins; while one is read, its next record.
    pub(super) offset: u64,
    /// Number of the record there.
    next_sequence: u64,
    /// Records of a whole group that were not asked for yet.
    group: VecDeque<Record>,
    /// Bytes of the file from `offset` on are `buffer[start..]`.
    buffer: Vec<u8>,
    start: usize,
}

impl Position {
    pub(super) fn after(header: &Header) -> Self {
        Self {
            offset: HEADER_BYTES as u64,
            next_sequence: header.first_sequence,
            group: VecDeque::new(),
            buffer: Vec::new(),
            start: 0,
        }
    }

    /// Number of the record that comes next.
    pub(super) fn next_sequence(&self) -> u64 {
        let next = self.group.front();
        next.map_or(self.next_sequence, |record| record.sequence)
    }

    /// Lets the next bytes be read from the file again.
    fn forget(&mut self) {
        self.buffer.clear();
        self.start = 0;
    }

    /// Goes on at the record of this number, if that is not behind; before anything is read.
    pub(super) fn skip_to(&mut self, sequence: u64) {
        let records = sequence.saturating_sub(self.next_sequence);
        self.offset += records * RECORD_BYTES as u64;
        self.next_sequence += records;
        self.forget();
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
        if self.position.group.is_empty()
            && let Some(torn_bytes) = self.read_group()?
        {
            return Ok(Next::End { torn_bytes });
        }
        let record = self.position.group.pop_front();
        Ok(record.map_or(Next::End { torn_bytes: 0 }, Next::Record))
    }

    /// Reads the next group; if it is not whole, the bytes that there are of it.
    fn read_group(&mut self) -> Result<Option<u64>, ReadError> {
        let begin = (self.position.offset, self.position.next_sequence);
        loop {
            match self.scan() {
                Ok(Scanned::Record(record, place)) => {
                    self.position.group.push_back(record);
                    if place.is_last {
                        return Ok(None);
                    }
                }
                Ok(Scanned::End { torn_bytes }) => {
                    let unfinished = self.position.offset - begin.0;
                    self.position.group.clear();
                    self.position.forget();
                    (self.position.offset, self.position.next_sequence) = begin;
                    return Ok(Some(unfinished + torn_bytes));
                }
                Err(error) => {
                    self.position.group.clear();
                    return Err(error);
                }
            }
        }
    }

    fn scan(&mut self) -> Result<Scanned, ReadError> {
        let mut bytes = self.peek()?;
        if bytes.is_none() || bytes.is_some_and(|bytes| Record::decode(&bytes).is_err()) {
            // A daemon may have changed these bytes since they were read into
            // the buffer: they are judged as they are now.
            self.position.forget();
            bytes = self.peek()?;
        }
        let Some(bytes) = bytes else {
            let torn_bytes = content(&self.position.buffer) as u64;
            self.position.forget();
            return Ok(Scanned::End { torn_bytes });
        };
        match Record::decode(&bytes) {
            Ok(record) => self.accept(record, Place::of(&bytes)),
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

    fn accept(&mut self, record: Record, place: Place) -> Result<Scanned, ReadError> {
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
        Ok(Scanned::Record(record, place))
    }

    /// The record at `offset` is bad. Looks for the beginning of a later group at every byte
    /// after it, since bytes may be missing as well as changed.
    fn judge(&mut self, source: DecodeError) -> Result<Scanned, ReadError> {
        let bad = self.position.offset;
        let mut chunk = vec![0; CHUNK_BYTES];
        let mut at = bad;
        let mut content_end = bad;
        loop {
            let count = fill(self.file, &mut chunk, at).map_err(|source| self.failed(source))?;
            let read = &chunk[..count];
            let bytes = content(read);
            if bytes > 0 {
                content_end = (at + bytes as u64).min(at + count as u64);
                let skipped = usize::from(at == bad);
                let mut windows = read[skipped.min(count)..].windows(RECORD_BYTES);
                if let Some(found) = windows.position(is_whole_first_record) {
                    let next_offset = at + (skipped + found) as u64;
                    return self.damaged(next_offset, source);
                }
            }
            if count < CHUNK_BYTES {
                let torn_bytes = content_end - bad;
                return Ok(Scanned::End { torn_bytes });
            }
            // A record may begin in the last bytes of this chunk.
            at += (CHUNK_BYTES - (RECORD_BYTES - 1)) as u64;
        }
    }

    /// A later group is there, so the bad record is damaged, unless both were written while we
    /// looked.
    fn damaged(&mut self, next_offset: u64, source: DecodeError) -> Result<Scanned, ReadError> {
        self.position.forget();
        if let Some(bytes) = self.peek()?
            && let Ok(record) = Record::decode(&bytes)
        {
            return self.accept(record, Place::of(&bytes));
        }
        Err(ReadError::Damaged {
            path: self.path.into(),
            offset: self.position.offset,
            next_offset,
            source,
        })
    }

    fn failed(&self, source: io::Error) -> ReadError {
        ReadError::Io {
            path: self.path.into(),
            source,
        }
    }
}

/// True for the record that a group begins with, of whatever meaning.
fn is_whole_first_record(window: &[u8]) -> bool {
    // The prefix is compared first: it spares nearly all checksums.
    window.starts_with(&RECORD_PREFIX)
        && window.first_chunk().is_some_and(|bytes| {
            let decoded = Record::decode(bytes);
            !matches!(decoded, Err(DecodeError::Checksum { .. })) && Place::of(bytes).is_first
        })
}

/// How many of these bytes, in whole records, are more than zeros up to the end.
fn content(bytes: &[u8]) -> usize {
    let last = bytes.iter().rposition(|byte| *byte != 0);
    let records = last.map_or(0, |last| last / RECORD_BYTES + 1);
    (records * RECORD_BYTES).min(bytes.len())
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
