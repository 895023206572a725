//! The daemon's log: one writer, write-ahead segments of an hour each, recovery at start.
//!
//! A segment ends when its hour is over or it has [`SEGMENT_RECORDS`] records; then the sealer
//! makes one sealed file of it. Only the last segment is ever written.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::directory::{self, Hour};
use super::error::{AppendError, OpenError, ReadError};
use super::event::Entry;
use super::file::{LogFile, LogOptions, now_unix_ms, open_locked};
use super::gap::{Lacking, Mark};
use super::reader;
use super::recovery::Recovery;
use super::replay::{names_at_end, replay_sealed};

/// Most records of a segment: bounds the memory that sealing it takes.
pub const SEGMENT_RECORDS: u64 = 1 << 20;

/// Sequence number of the first record that is not committed yet: what sinks may send
/// ends before it.
#[derive(Debug, Clone, Default)]
pub struct Committed(Arc<AtomicU64>);

impl Committed {
    #[must_use]
    pub fn next_sequence(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }

    pub(super) fn advance(&self, next_sequence: u64) {
        self.0.store(next_sequence, Ordering::Release);
    }
}

/// A log open for writing; no other process can write it meanwhile.
#[derive(Debug)]
pub struct Log {
    root: PathBuf,
    options: LogOptions,
    segment: LogFile,
    /// Number of the segment's first record.
    first_sequence: u64,
    /// Hour of the segment's first record; None before it has one.
    hour: Option<Hour>,
    /// The segment was to end and its successor may be half there: nothing more goes in.
    is_ending: bool,
    committed: Committed,
    /// There if the log may lack records, or did.
    mark: Option<Mark>,
    /// Since the gap that the mark tells of.
    lacking: Lacking,
    _lock: File,
}

impl Log {
    /// Opens the log in the directory `root`, or makes a new one (mode 0750), reads what it says
    /// of blocks, and cuts a torn tail off the last segment.
    ///
    /// # Errors
    /// It cannot be used, another process writes it, a file is damaged, or records are
    /// missing; nothing was changed then but that unfinished files are gone.
    pub fn open(root: &Path, options: LogOptions) -> Result<(Self, Recovery), OpenError> {
        if root.exists() && !root.is_dir() {
            return Err(OpenError::NotADirectory { path: root.into() });
        }
        let lock = open_locked(&root.join("lock"))?;
        let prepare = |source| OpenError::Prepare {
            path: root.into(),
            source,
        };
        directory::create(&directory::wal(root)).map_err(prepare)?;
        directory::remove_unfinished(root).map_err(prepare)?;
        let mark = Mark::open(root, options.may_lack).map_err(prepare)?;
        let released_since_ms = now_unix_ms().saturating_sub(options.keep_released_ms);
        let mut recovery = Recovery::default();
        let sealed = replay_sealed(root, released_since_ms, &mut recovery)?;
        recovery.names = names_at_end(root)?;
        let mut next_sequence = sealed.next_sequence;
        let segments = directory::segments(root).map_err(prepare)?;
        let unsealed = segments.partition_point(|first| *first < next_sequence);
        let unsealed = &segments[unsealed..];
        for (number, first_sequence) in unsealed.iter().enumerate() {
            let path = directory::segment_path(root, *first_sequence);
            if *first_sequence != next_sequence {
                return Err(OpenError::Read(ReadError::Missing {
                    path,
                    first: next_sequence,
                    last: first_sequence - 1,
                }));
            }
            if number + 1 < unsealed.len() {
                next_sequence = replay_segment(&path, released_since_ms, &mut recovery)?;
            }
        }
        let first_sequence = next_sequence;
        let path = directory::segment_path(root, first_sequence);
        let segment = LogFile::open_at(&path, options, first_sequence, &mut recovery)?;
        let committed = Committed::default();
        committed.advance(segment.next_sequence());
        let log = Self {
            root: root.into(),
            options,
            first_sequence,
            hour: first_hour(&path)?,
            is_ending: false,
            segment,
            committed,
            mark,
            lacking: Lacking::default(),
            _lock: lock,
        };
        Ok((log, recovery))
    }

    /// Appends a group of records with one write, and with `sync` waits for the
    /// disk. Returns their sequence numbers.
    ///
    /// # Errors
    /// The group is not in the log, no record of it: none of its blocks may be
    /// used. The log stays well-formed, and a later append may succeed.
    pub fn append(&mut self, entries: &[Entry]) -> Result<Range<u64>, AppendError> {
        let Some(first) = entries.first() else {
            return Ok(self.next_sequence()..self.next_sequence());
        };
        if self.lacking_since_ms().is_some() {
            return Err(AppendError::Lacking);
        }
        self.append_in(Hour::of(first.unix_ms), entries)
    }

    fn append_in(&mut self, hour: Hour, entries: &[Entry]) -> Result<Range<u64>, AppendError> {
        let is_full = self.segment.next_sequence() - self.first_sequence >= SEGMENT_RECORDS;
        if self.is_ending || is_full || self.hour.is_some_and(|of_segment| of_segment != hour) {
            self.begin_segment()?;
        }
        let sequences = self.segment.append(entries)?;
        self.hour.get_or_insert(hour);
        self.committed.advance(sequences.end);
        Ok(sequences)
    }

    /// Takes note of `entries` that happen at `unix_ms` without records, as appending failed and
    /// the operator wants to go on. Nothing is appended then before [`Self::catch_up`].
    ///
    /// # Errors
    /// The gap cannot be marked on the disk: the death of the daemon would leave it unknown.
    pub fn lack(&mut self, unix_ms: u64, entries: &[Entry]) -> io::Result<()> {
        for entry in entries {
            self.lacking.follow(entry.event);
        }
        if self.lacking_since_ms().is_some() {
            return Ok(());
        }
        let mark = self.mark.as_mut().ok_or(io::ErrorKind::Unsupported)?;
        mark.write(Some(unix_ms))
    }

    /// Since when the log lacks records, milliseconds of Unix time; None if it lacks none.
    #[must_use]
    pub fn lacking_since_ms(&self) -> Option<u64> {
        self.mark.as_ref().and_then(Mark::since_ms)
    }

    /// Ends a gap: puts it on record, with the blocks that were released in it, and those that are
    /// held. What came and went within it stays unknown.
    ///
    /// # Errors
    /// The log still cannot be written, and the gap goes on.
    pub fn catch_up(&mut self, unix_ms: u64) -> Result<(), AppendError> {
        let Some(since_ms) = self.lacking_since_ms() else {
            return Ok(());
        };
        let entries = self.lacking.entries(since_ms, unix_ms);
        // In the hour in which it is written, as all records: that is where it is looked for.
        self.append_in(Hour::of(unix_ms), &entries)?;
        self.lacking = Lacking::default();
        let cleared = self.mark.as_mut().map_or(Ok(()), |mark| mark.write(None));
        if let Err(error) = cleared {
            tracing::warn!(%error, "the mark of a gap in the mapping log stays: after a start the gap is taken for longer");
        }
        Ok(())
    }

    /// Ends the segment if its hour is over at `unix_ms`, so that it is sealed also when
    /// nothing happens any more.
    ///
    /// # Errors
    /// The next segment cannot be made; it is tried again.
    pub fn end_hour(&mut self, unix_ms: u64) -> Result<(), AppendError> {
        let is_over = self.hour.is_some_and(|hour| hour < Hour::of(unix_ms));
        if self.is_ending || is_over {
            self.begin_segment()?;
        }
        Ok(())
    }

    /// The old segment is on disk before the new one is there: a reader that sees a later
    /// segment can rely on the earlier ones being whole.
    fn begin_segment(&mut self) -> Result<(), AppendError> {
        self.segment.finish()?;
        self.is_ending = true;
        let first_sequence = self.segment.next_sequence();
        let path = directory::segment_path(&self.root, first_sequence);
        let mut recovery = Recovery::default();
        self.segment = LogFile::open_at(&path, self.options, first_sequence, &mut recovery)
            .map_err(|source| AppendError::Segment {
                source: Box::new(source),
            })?;
        self.first_sequence = first_sequence;
        self.hour = None;
        self.is_ending = false;
        Ok(())
    }

    /// Directory of the log.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// How far the log is committed, for those who read along.
    #[must_use]
    pub fn committed(&self) -> Committed {
        self.committed.clone()
    }

    /// Bytes of the current segment, header included.
    #[must_use]
    pub fn length_bytes(&self) -> u64 {
        self.segment.length_bytes()
    }

    /// Sequence number of the next record.
    #[must_use]
    pub fn next_sequence(&self) -> u64 {
        self.segment.next_sequence()
    }

    /// Brings what was appended to disk, also when appending does not wait for it.
    ///
    /// # Errors
    /// It may not be on disk.
    pub fn finish(&mut self) -> Result<(), AppendError> {
        self.segment.finish()
    }
}

/// Adds a segment that is not the last one; returns the number of the record after it.
/// Such a segment was on disk before the next was begun, so it has no torn tail.
fn replay_segment(
    path: &Path,
    released_since_ms: u64,
    recovery: &mut Recovery,
) -> Result<u64, ReadError> {
    let mut records = reader::read(path)?;
    for record in &mut records {
        recovery.add(&record?, released_since_ms);
    }
    records.end_of_whole_segment()
}

fn first_hour(path: &Path) -> Result<Option<Hour>, ReadError> {
    let first = reader::read(path)?.next().transpose()?;
    Ok(first.map(|record| Hour::of(record.entry.unix_ms)))
}
