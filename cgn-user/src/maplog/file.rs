//! The daemon's log file: one writer, recovery at start, whole groups only.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use super::appender::Appender;
use super::directory;
use super::error::{AppendError, OpenError, ReadError};
use super::event::Entry;
use super::record::Header;
use super::recovery::Recovery;
use super::scan::{Beginning, Next, Position, Scanner, read_beginning};

/// How a log is written and what is remembered of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogOptions {
    /// Bring each group to disk (fdatasync) before `append` returns. Without it
    /// records survive the death of the daemon, but not of the machine.
    pub sync: bool,
    /// Releases of the last so many milliseconds are in [`Recovery::released`]:
    /// the hold time of blocks.
    pub keep_released_ms: u64,
    /// Blocks may be given though the log cannot be written ([`super::Log::lack`]).
    pub may_lack: bool,
}

/// A log open for writing; no other process can write it meanwhile.
#[derive(Debug)]
pub struct LogFile {
    appender: Appender<File>,
}

impl LogFile {
    /// Opens the log at `path`, or creates it (mode 0640) with its directory
    /// (mode 0750), reads it all, and cuts off a torn tail.
    ///
    /// # Errors
    /// The file cannot be used, another process writes it, or it is damaged
    /// anywhere but at its end; nothing was changed in it then.
    pub fn open(path: &Path, options: LogOptions) -> Result<(Self, Recovery), OpenError> {
        let mut recovery = Recovery::default();
        let log = Self::open_at(path, options, 1, &mut recovery)?;
        Ok((log, recovery))
    }

    /// The same for a file that begins with record `first_sequence` if it is new; what it
    /// says is added to `recovery`.
    pub(super) fn open_at(
        path: &Path,
        options: LogOptions,
        first_sequence: u64,
        recovery: &mut Recovery,
    ) -> Result<Self, OpenError> {
        let prepare = |source| OpenError::Prepare {
            path: path.into(),
            source,
        };
        let file = open_locked(path)?;
        let now_unix_ms = now_unix_ms();
        let (header, cut_bytes) = match read_beginning(&file, path)? {
            Beginning::Header(header) => (header, 0),
            Beginning::Unwritten { bytes } => {
                let header = create(&file, path, now_unix_ms, first_sequence).map_err(prepare)?;
                (header, bytes)
            }
        };
        let mut position = Position::after(&header);
        let since_ms = now_unix_ms.saturating_sub(options.keep_released_ms);
        let torn_bytes = recover(&file, path, &mut position, since_ms, recovery)?;
        let length = file.metadata().map_err(prepare)?.len();
        if length > position.offset {
            // What is torn, and zeros ahead.
            file.set_len(position.offset)
                .and_then(|()| file.sync_data())
                .map_err(prepare)?;
        }
        recovery.torn_bytes += torn_bytes + cut_bytes;
        let appender = Appender::new(
            file,
            path.into(),
            options.sync,
            position.offset,
            position.next_sequence(),
        );
        Ok(Self { appender })
    }

    /// Appends a group of records with one write, and with `sync` waits for the
    /// disk. Returns their sequence numbers.
    ///
    /// # Errors
    /// The group is not in the log, no record of it: none of its blocks may be
    /// used. The log stays well-formed, and a later append may succeed.
    pub fn append(&mut self, entries: &[Entry]) -> Result<Range<u64>, AppendError> {
        self.appender.append(entries)
    }

    /// Ends the file where its records end, and brings it to disk, also in a log that does not
    /// wait for that.
    ///
    /// # Errors
    /// It may not be on disk.
    pub fn finish(&mut self) -> Result<(), AppendError> {
        self.appender.finish()
    }

    #[must_use]
    pub fn path(&self) -> &Path {
        self.appender.path()
    }

    /// Bytes of header and records: the file can have zeros beyond.
    #[must_use]
    pub fn length_bytes(&self) -> u64 {
        self.appender.length()
    }

    /// Sequence number of the next record.
    #[must_use]
    pub fn next_sequence(&self) -> u64 {
        self.appender.next_sequence()
    }
}

pub(super) fn open_locked(path: &Path) -> Result<File, OpenError> {
    let named = || PathBuf::from(path);
    let directory = directory::above(path);
    directory::create(directory).map_err(|source| OpenError::Directory {
        path: directory.into(),
        source,
    })?;
    // A device or a pipe must not be opened at all: that alone can have effects.
    if std::fs::metadata(path).is_ok_and(|metadata| !metadata.is_file()) {
        return Err(OpenError::NotAFile { path: named() });
    }
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o640)
        .open(path)
        .map_err(|source| OpenError::Open {
            path: named(),
            source,
        })?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::Locked { path: named() }),
        Err(TryLockError::Error(source)) => Err(OpenError::Lock {
            path: named(),
            source,
        }),
    }
}

/// Writes the header of a new log, over what there may be of one, and brings file
/// and name to disk.
fn create(
    file: &File,
    path: &Path,
    created_unix_ms: u64,
    first_sequence: u64,
) -> io::Result<Header> {
    let header = Header {
        created_unix_ms,
        first_sequence,
    };
    file.write_all_at(&header.encode(), 0)?;
    file.sync_all()?;
    directory::sync(directory::above(path))?;
    Ok(header)
}

/// Adds what the file says to `recovery`; returns the bytes of its torn tail.
pub(super) fn recover(
    file: &File,
    path: &Path,
    position: &mut Position,
    released_since_ms: u64,
    recovery: &mut Recovery,
) -> Result<u64, ReadError> {
    let mut scanner = Scanner::new(file, path, position);
    loop {
        match scanner.next()? {
            Next::Record(record) => recovery.add(&record, released_since_ms),
            Next::End { torn_bytes } => return Ok(torn_bytes),
        }
    }
}

/// A clock before 1970 counts as 1970: the log must still be written.
pub(super) fn now_unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as u64)
}
