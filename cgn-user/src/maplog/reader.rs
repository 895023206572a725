//! The log for programs that do not write it.

use std::fs::File;
use std::path::{Path, PathBuf};

use super::directory;
use super::error::ReadError;
use super::event::Record;
use super::scan::{Beginning, Next, Position, Scanner, read_beginning};

/// The records of a log's write-ahead segments, in order. Takes no lock, so a daemon may be
/// writing.
///
/// A group that is not whole counts as the end. After `None` it may be asked again: records
/// that were appended meanwhile follow. After an error there is only `None`.
/// A group that the daemon wrote but could not bring to the disk can be seen and
/// then disappear; its blocks were never used.
#[derive(Debug)]
pub struct Reader {
    /// The log whose segments are read one after the other; None to read one file only.
    root: Option<PathBuf>,
    file: File,
    path: PathBuf,
    position: Position,
    has_failed: bool,
}

/// Opens the log at `path` to read its records: all write-ahead segments of a log's directory, or
/// one segment.
///
/// # Errors
/// There is none, or its header is not one of a mapping log of this version.
pub fn read(path: &Path) -> Result<Reader, ReadError> {
    if !path.is_dir() {
        return open(path);
    }
    let segments = directory::segments(path).map_err(|source| ReadError::Io {
        path: path.into(),
        source,
    })?;
    let Some(first) = segments.first() else {
        return Err(ReadError::NoHeader { path: path.into() });
    };
    let mut reader = open(&directory::segment_path(path, *first))?;
    reader.root = Some(path.into());
    Ok(reader)
}

/// Opens the log in the directory `root` to read its records from number `sequence` on, or from the
/// first that is kept if that is later.
///
/// # Errors
/// As of [`read`].
pub fn read_from(root: &Path, sequence: u64) -> Result<Reader, ReadError> {
    let segments = directory::segments(root).map_err(|source| ReadError::Io {
        path: root.into(),
        source,
    })?;
    let earlier = segments.iter().rev().find(|first| **first <= sequence);
    let Some(first) = earlier.or(segments.first()) else {
        return Err(ReadError::NoHeader { path: root.into() });
    };
    let mut reader = open(&directory::segment_path(root, *first))?;
    reader.root = Some(root.into());
    reader.position.skip_to(sequence);
    Ok(reader)
}

fn open(path: &Path) -> Result<Reader, ReadError> {
    let file = File::open(path).map_err(|source| ReadError::Io {
        path: path.into(),
        source,
    })?;
    match read_beginning(&file, path)? {
        Beginning::Header(header) => Ok(Reader {
            root: None,
            file,
            path: path.into(),
            position: Position::after(&header),
            has_failed: false,
        }),
        Beginning::Unwritten { .. } => Err(ReadError::NoHeader { path: path.into() }),
    }
}

impl Reader {
    /// Number of the record that [`Iterator::next`] gives next.
    #[must_use]
    pub fn next_sequence(&self) -> u64 {
        self.position.next_sequence()
    }

    /// Number of the record after the segment, which was read to its end; an error if it
    /// ends in the middle of a record.
    pub(super) fn end_of_whole_segment(&mut self) -> Result<u64, ReadError> {
        match Scanner::new(&self.file, &self.path, &mut self.position).next()? {
            Next::End { torn_bytes: 0 } => Ok(self.position.next_sequence()),
            Next::End { torn_bytes: bytes } => Err(ReadError::TornInside {
                path: self.path.clone(),
                bytes,
            }),
            Next::Record(record) => Ok(record.sequence),
        }
    }

    /// Goes on with the next segment, if there is one.
    fn turn_over(&mut self) -> Result<bool, ReadError> {
        let Some(root) = &self.root else {
            return Ok(false);
        };
        let next = directory::segment_path(root, self.position.next_sequence());
        if next == self.path || !next.exists() {
            return Ok(false);
        }
        match open(&next) {
            Ok(reader) => {
                let root = self.root.take();
                *self = Self { root, ..reader };
                Ok(true)
            }
            // It was only just created.
            Err(ReadError::NoHeader { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

impl Iterator for Reader {
    type Item = Result<Record, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.has_failed {
            return None;
        }
        loop {
            let scanned = Scanner::new(&self.file, &self.path, &mut self.position).next();
            let turned = match scanned {
                Ok(Next::Record(record)) => return Some(Ok(record)),
                Ok(Next::End { .. }) => self.turn_over(),
                Err(error) => Err(error),
            };
            match turned {
                Ok(true) => {}
                Ok(false) => return None,
                Err(error) => {
                    self.has_failed = true;
                    return Some(Err(error));
                }
            }
        }
    }
}
