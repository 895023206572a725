//! The files of a log, newest first, from a time on; and what is missing between them.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use super::super::directory::{self, Content, Hour, SealedName};
use super::super::error::ReadError;
use super::super::event::Event;
use super::super::sealed::{Fact, Row, SealedFile};
use super::super::{gap, reader};
use crate::utc::{Day, Utc};

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
    /// A gap that is not in the log yet.
    marked: Option<Gap>,
}

/// A time in which the log could not be written and blocks were given and taken all the same:
/// milliseconds of Unix time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Gap {
    pub since_ms: u64,
    /// None if it goes on, or the daemon died in it.
    pub until_ms: Option<u64>,
}

impl Gap {
    /// Whether any of it is from `from_ms` to `to_ms`.
    fn overlaps(&self, from_ms: u64, to_ms: u64) -> bool {
        self.since_ms <= to_ms && self.until_ms.is_none_or(|until| from_ms <= until)
    }

    /// A sentence for the asker.
    pub fn remark(&self) -> String {
        let until = self.until_ms.map_or_else(
            || "now, or until the daemon that wrote it ended".to_owned(),
            |until| Utc(until).to_string(),
        );
        format!(
            "from {} to {until} the log could not be written and blocks were given all the same: what it says of that time may be wrong",
            Utc(self.since_ms)
        )
    }
}

impl Source {
    /// The gaps that it tells of.
    fn gaps(&self) -> Result<Vec<Gap>, ReadError> {
        let of_file;
        let rows = match self {
            Self::Segments(rows) => rows,
            // Rows without a block stand at address 0.
            Self::Records(file) => {
                of_file = file.rows_of_external(Ipv4Addr::UNSPECIFIED)?;
                &of_file
            }
            Self::Held(..) => return Ok(Vec::new()),
        };
        let mut gaps: Vec<Gap> = Vec::new();
        for row in rows {
            match (row.fact, gaps.last_mut()) {
                (Fact::Event(Event::Gap), _) => gaps.push(Gap {
                    since_ms: row.unix_ms,
                    until_ms: None,
                }),
                (Fact::Event(Event::Resume), Some(gap)) => gap.until_ms = Some(row.unix_ms),
                _ => {}
            }
        }
        Ok(gaps)
    }

    /// The gaps among them that reach into the time from `from_ms` to `to_ms`.
    pub fn gaps_in(&self, from_ms: u64, to_ms: u64) -> Result<Vec<Gap>, ReadError> {
        let mut gaps = self.gaps()?;
        gaps.retain(|gap| gap.overlaps(from_ms, to_ms));
        Ok(gaps)
    }
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
            marked: gap::marked(root).map_err(io)?.map(|since_ms| Gap {
                since_ms,
                until_ms: None,
            }),
        };
        // The file after the last one tells by its name alone whether one is missing between.
        let mut after: Option<SealedName> = None;
        while let Some(day) = days.pop() {
            let files = directory::blocks_of(root, day).map_err(io)?;
            if day > last.day() {
                after = first_of_records(&files).or(after);
                continue;
            }
            let split = files.partition_point(|file| file.hour <= last);
            after = first_of_records(&files[split..]).or(after);
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
            // A gap is told of in the hour in which it ended.
            walk.files.extend(after);
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
            self.files = directory::blocks_of(&self.root, day).map_err(|source| ReadError::Io {
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
            Content::Held => Source::Held(file, name.hour.start_ms()),
            _ => Source::Records(file),
        }))
    }

    /// The gap that is not in the log yet, if it reaches into that time.
    pub(super) fn marked_in(&self, from_ms: u64, to_ms: u64) -> Option<Gap> {
        self.marked.filter(|gap| gap.overlaps(from_ms, to_ms))
    }

    /// Number of the first record that was given; None before the first file.
    pub(super) fn begins_at(&self) -> Option<u64> {
        self.begins_at
    }
}

fn first_of_records(files: &[SealedName]) -> Option<SealedName> {
    let mut files = files.iter();
    files.find(|file| file.content == Content::Records).cloned()
}
