//! The files of a log, newest first, from a time on; and what is missing between them.

use std::path::{Path, PathBuf};

use super::super::directory::{self, Content, Hour, SealedName};
use super::super::error::ReadError;
use super::super::reader;
use super::super::sealed::{Row, SealedFile};
use crate::utc::Day;

/// One file of the walk.
pub(super) enum Source {
    /// Records of segments that are not sealed yet, in order.
    Segments(Vec<Row>),
    Records(SealedFile),
    /// What was held when the day began that starts at this time, in milliseconds of Unix time.
    Held(SealedFile, u64),
}

/// Goes back through a log.
pub(super) struct Walk {
    root: PathBuf,
    /// Days that were not listed yet, ascending.
    days: Vec<Day>,
    /// Files of the listed day that were not given yet, ascending.
    files: Vec<SealedName>,
    /// Number at which what was given last begins; what comes before must end there.
    begins_at: Option<u64>,
    /// What is not sealed, and the number of its first record.
    segments: Option<(u64, Vec<Row>)>,
    /// First and last number of records that are missing between the files given so far.
    pub missing: Vec<(u64, u64)>,
    /// What comes after `to_ms` is known to be in the log, or to have not happened yet.
    pub is_end_known: bool,
}

impl Walk {
    /// Begins with the records of the hour after `to_ms`: a clock that was set back, or a group
    /// of records at the turn of an hour, can have put a record there.
    pub(super) fn back_from(root: &Path, to_ms: u64) -> Result<Self, ReadError> {
        let io = |source| ReadError::Io {
            path: root.into(),
            source,
        };
        let last = Hour(Hour::of(to_ms).0 + 1);
        let mut days = directory::days(root).map_err(io)?;
        let mut walk = Self {
            root: root.into(),
            days: Vec::new(),
            files: Vec::new(),
            begins_at: None,
            segments: None,
            missing: Vec::new(),
            is_end_known: false,
        };
        // The file after the last one tells by its name alone whether one is missing between.
        let mut after = None;
        while let Some(day) = days.pop() {
            let files = directory::sealed_of(root, day).map_err(io)?;
            if day > last.day() {
                after = files.first().map(|file| file.first_sequence).or(after);
                continue;
            }
            let split = files.partition_point(|file| file.hour <= last);
            after = files.get(split).map(|file| file.first_sequence).or(after);
            walk.files = files[..split].to_vec();
            if !walk.files.is_empty() {
                break;
            }
        }
        walk.days = days;
        // A file of the hour after tells that all before it is there, or the walk finds the gap.
        let is_last_there = walk.files.last().is_some_and(|file| file.hour == last);
        walk.is_end_known = is_last_there || after.is_some();
        if !is_last_there {
            walk.begins_at = after;
        }
        if !walk.is_end_known {
            walk.read_segments(io)?;
        }
        Ok(walk)
    }

    /// What is not sealed is younger than all sealed files.
    fn read_segments(
        &mut self,
        io: impl Fn(std::io::Error) -> ReadError + Copy,
    ) -> Result<(), ReadError> {
        let sealed_end = match self.files.last() {
            Some(name) => {
                SealedFile::open(&name.path(&self.root))?
                    .chained()
                    .next_sequence
            }
            None => 1,
        };
        let segments = directory::segments(&self.root).map_err(io)?;
        let unsealed = segments.iter().find(|first| **first >= sealed_end);
        let Some(first) = unsealed.copied() else {
            return Ok(());
        };
        let mut rows = Vec::new();
        for record in reader::read_from(&self.root, first)? {
            rows.push(Row::from(record?.entry));
        }
        self.segments = Some((first, rows));
        self.is_end_known = true;
        Ok(())
    }

    /// The next older file; None at the beginning of the log.
    pub(super) fn next(&mut self) -> Result<Option<Source>, ReadError> {
        if let Some((first, rows)) = self.segments.take() {
            self.begins_at = Some(first);
            return Ok(Some(Source::Segments(rows)));
        }
        while self.files.is_empty() {
            let Some(day) = self.days.pop() else {
                return Ok(None);
            };
            self.files = directory::sealed_of(&self.root, day).map_err(|source| ReadError::Io {
                path: self.root.clone(),
                source,
            })?;
        }
        let Some(name) = self.files.pop() else {
            return Ok(None);
        };
        let file = SealedFile::open(&name.path(&self.root))?;
        let next = file.chained().next_sequence;
        if let Some(first) = self.begins_at.filter(|first| next < *first) {
            self.missing.push((next, first - 1));
        }
        self.begins_at = Some(name.first_sequence);
        Ok(Some(match name.content {
            Content::Records => Source::Records(file),
            Content::Held => Source::Held(file, name.hour.start_ms()),
        }))
    }

    /// Number of the first record that was given; None before the first file.
    pub(super) fn begins_at(&self) -> Option<u64> {
        self.begins_at
    }
}
