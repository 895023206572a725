//! The log for programs that do not write it.

use std::fs::File;
use std::path::{Path, PathBuf};

use super::error::ReadError;
use super::event::Record;
use super::scan::{Beginning, Next, Position, Scanner, read_beginning};

/// The records of a log, in order. Takes no lock, so a daemon may be writing.
///
/// A torn tail counts as the end. After `None` it may be asked again: records
/// that were appended meanwhile follow. After an error there is only `None`.
/// A record of a group that the daemon could not finish writing can be seen and
/// then disappear; its block was never used.
#[derive(Debug)]
pub struct Reader {
    file: File,
    path: PathBuf,
    position: Position,
    has_failed: bool,
}

/// Opens the log at `path` to read its records.
///
/// # Errors
/// The file cannot be opened, or its header is not one of a mapping log of this version.
pub fn read(path: &Path) -> Result<Reader, ReadError> {
    let file = File::open(path).map_err(|source| ReadError::Io {
        path: path.into(),
        source,
    })?;
    match read_beginning(&file, path)? {
        Beginning::Header(header) => Ok(Reader {
            file,
            path: path.into(),
            position: Position::after(&header),
            has_failed: false,
        }),
        Beginning::Unwritten { .. } => Err(ReadError::NoHeader { path: path.into() }),
    }
}

impl Iterator for Reader {
    type Item = Result<Record, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.has_failed {
            return None;
        }
        match Scanner::new(&self.file, &self.path, &mut self.position).next() {
            Ok(Next::Record(record)) => Some(Ok(record)),
            Ok(Next::End { .. }) => None,
            Err(error) => {
                self.has_failed = true;
                Some(Err(error))
            }
        }
    }
}
