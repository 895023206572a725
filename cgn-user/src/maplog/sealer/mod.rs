//! The sealer makes Parquet of write-ahead segments that have ended, lists each day that is over
//! in a manifest, and removes what need not be kept.
//!
//! One turn does all that is due; a crash at any point of it leaves what the next turn, or the
//! next start, completes: a file counts only under its name, a segment is sealed when the file
//! with its first number is there, and nothing is removed before that.

pub mod manifest;
mod retention;

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use thiserror::Error;

pub use retention::Retention;

use super::directory::{self, Content, Hour, SealedName};
use super::error::ReadError;
use super::event::{Block, Event, Record};
use super::identity::Book;
use super::keys::SigningKey;
use super::reader;
use super::realms::Register;
use super::recovery::{LoggedBlock, Recovery};
use super::replay::{last_hash, lasting_at_end, names_at_end, replay_sealed};
use super::sealed::{Chained, Hash, IdentityRow, Row, SealedError, seal, seal_identities};
use super::session::Session;
use crate::utc::Day;
use manifest::ManifestError;

/// What could not be done; the next turn tries again.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SealError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Sealed(#[from] SealedError),
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    #[error("cannot list or clean up the mapping log {path}", path = path.display())]
    Directory { path: PathBuf, source: io::Error },
}

/// What a turn did and left.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Turn {
    /// Sealed files of records that were made.
    pub files: u64,
    /// Records in them.
    pub records: u64,
    /// Days that were removed.
    pub removed_days: Vec<Day>,
    /// Bytes of all sealed files; None if nothing changed.
    pub sealed_bytes: Option<u64>,
    /// Bytes of the write-ahead segments.
    pub spool_bytes: u64,
}

/// Seals a log that another thread writes.
#[derive(Debug)]
pub struct Sealer {
    root: PathBuf,
    key: Option<SigningKey>,
    retention: Retention,
    /// What is held after the last sealed record.
    held: HashMap<(Ipv4Addr, u16), LoggedBlock>,
    /// What lasts of mappings and sessions, by them, and since when.
    lasting: BTreeMap<Session, u64>,
    /// Names of subscribers.
    names: Book,
    next_sequence: u64,
    last_hash: Option<Hash>,
    /// Hour of the last sealed file.
    last_hour: Option<Hour>,
    /// Manifests and retention were looked after since the start.
    has_looked: bool,
}

impl Sealer {
    /// Reads where the sealed files of the log in `root` end.
    ///
    /// # Errors
    /// They cannot be read, or records are missing between them.
    pub fn open(
        root: &Path,
        retention: Retention,
        key: Option<SigningKey>,
    ) -> Result<Self, SealError> {
        let mut recovery = Recovery::default();
        let sealed = replay_sealed(root, u64::MAX, &mut recovery)?;
        let last = directory::last_sealed(root).map_err(failed(root))?;
        Ok(Self {
            root: root.into(),
            key,
            retention,
            held: recovery.live,
            lasting: lasting_at_end(root)?,
            names: names_at_end(root)?,
            next_sequence: sealed.next_sequence,
            last_hash: last_hash(root)?,
            last_hour: last.map(|file| file.hour),
            has_looked: false,
        })
    }

    /// Number of the first record that is not sealed.
    #[must_use]
    pub fn next_sequence(&self) -> u64 {
        self.next_sequence
    }

    /// Does all that is due at `now_unix_ms`.
    ///
    /// # Errors
    /// What came before the error is done.
    pub fn turn(&mut self, now_unix_ms: u64) -> Result<Turn, SealError> {
        let mut turn = Turn::default();
        let segments = directory::segments(&self.root).map_err(failed(&self.root))?;
        // The last one is being written.
        for pair in segments.windows(2) {
            if pair[0] >= self.next_sequence {
                turn.records += self.seal_segment(pair[0])?;
                turn.files += 1;
            }
        }
        let is_changed = turn.files > 0 || !self.has_looked;
        if is_changed {
            self.write_manifests()?;
            turn.removed_days = self.remove_days(now_unix_ms)?;
            turn.sealed_bytes = Some(self.sealed_bytes()?);
            self.has_looked = true;
        }
        let most = self.retention.spool_bytes;
        turn.spool_bytes = retention::trim_spool(&self.root, most, self.next_sequence)
            .map_err(failed(&self.root))?;
        Ok(turn)
    }

    fn remove_days(&self, now_unix_ms: u64) -> Result<Vec<Day>, SealError> {
        let Some(last_hour) = self.last_hour else {
            return Ok(Vec::new());
        };
        let (today, newest) = (Hour::of(now_unix_ms).day(), last_hour.day());
        retention::remove_days(&self.root, &self.retention, today, newest)
            .map_err(failed(&self.root))
    }

    /// Seals the segment that begins with record `first_sequence`; returns how many it has.
    fn seal_segment(&mut self, first_sequence: u64) -> Result<u64, SealError> {
        let path = directory::segment_path(&self.root, first_sequence);
        if first_sequence != self.next_sequence {
            return Err(SealError::Read(ReadError::Missing {
                path,
                first: self.next_sequence,
                last: first_sequence - 1,
            }));
        }
        let mut reader = reader::read(&path)?;
        let records: Vec<Record> = reader.by_ref().collect::<Result<_, _>>()?;
        let next_sequence = reader.end_of_whole_segment()?;
        let first = records.first();
        let of_first = first.map_or(Hour(0), |record| Hour::of(record.entry.unix_ms));
        // A clock that goes back does not open an old hour again.
        let hour = self.last_hour.map_or(of_first, |last| last.max(of_first));
        self.begin_day(hour)?;
        self.seal_names(hour, &records)?;
        let name = SealedName {
            first_sequence,
            content: Content::Records,
            hour,
        };
        let realms = Register::read(&self.root).map_err(ReadError::Realms)?;
        let others = records
            .iter()
            .filter(|record| !record.entry.event.is_of_identity());
        let mut rows: Vec<Row> = others.map(|record| record.entry.into()).collect();
        let chained = Chained {
            first_sequence,
            next_sequence,
            previous: self.last_hash,
        };
        self.last_hash = Some(seal(&name.path(&self.root), &mut rows, &chained, &realms)?);
        self.last_hour = Some(hour);
        self.next_sequence = next_sequence;
        for record in &records {
            self.follow(record);
        }
        Ok(records.len() as u64)
    }

    /// The first file of a day says what is held, so that an enquiry never looks further back.
    fn begin_day(&mut self, hour: Hour) -> Result<(), SealError> {
        let day = hour.day();
        let there = directory::blocks_of(&self.root, day).map_err(failed(&self.root))?;
        if !there.is_empty() {
            return Ok(());
        }
        let first = Hour(day.0 * 24);
        let names = self.names.all();
        let names = names.map(|named| IdentityRow::held(named, first.start_ms()));
        let rows = names.collect();
        self.seal_identities(Content::IdentitiesHeld, first, rows)?;
        let name = SealedName {
            first_sequence: self.next_sequence,
            content: Content::Held,
            hour: first,
        };
        let held = self.held.values();
        let mut rows: Vec<Row> = held
            .map(|held| Row::held(held.block, held.unix_ms))
            .collect();
        let lasting = self.lasting.iter();
        rows.extend(lasting.map(|(session, unix_ms)| Row::lasting(*session, *unix_ms)));
        let realms = Register::read(&self.root).map_err(ReadError::Realms)?;
        let chained = Chained {
            first_sequence: self.next_sequence,
            next_sequence: self.next_sequence,
            previous: self.last_hash,
        };
        self.last_hash = Some(seal(&name.path(&self.root), &mut rows, &chained, &realms)?);
        Ok(())
    }

    /// The names that these records tell.
    fn seal_names(&mut self, hour: Hour, records: &[Record]) -> Result<(), SealError> {
        let entries = records.iter().map(|record| record.entry);
        let rows = IdentityRow::of(entries, &mut self.names);
        self.seal_identities(Content::Identities, hour, rows)
    }

    /// Before the file of blocks with the same number: what a crash leaves without that is not made again.
    fn seal_identities(
        &mut self,
        content: Content,
        hour: Hour,
        mut rows: Vec<IdentityRow>,
    ) -> Result<(), SealError> {
        let name = SealedName {
            first_sequence: self.next_sequence,
            content,
            hour,
        };
        let path = name.path(&self.root);
        if rows.is_empty() || path.exists() {
            return Ok(());
        }
        let realms = Register::read(&self.root).map_err(ReadError::Realms)?;
        let chained = Chained {
            first_sequence: self.next_sequence,
            next_sequence: self.next_sequence,
            previous: self.last_hash,
        };
        self.last_hash = Some(seal_identities(&path, &mut rows, &chained, &realms)?);
        Ok(())
    }

    fn follow(&mut self, record: &Record) {
        let unix_ms = record.entry.unix_ms;
        match record.entry.event {
            Event::Start | Event::Stop | Event::Gap | Event::Resume => {}
            Event::Allocate(block) => {
                let key = (block.external, block.ports.first());
                self.held.insert(key, LoggedBlock { block, unix_ms });
            }
            Event::Release { block, .. } => {
                self.held.remove(&(block.external, block.ports.first()));
            }
            Event::Open(_) | Event::Close(_) => {}
            Event::Name(_) | Event::Login { .. } | Event::Logout(_) => {}
        }
        follow_sessions(&mut self.lasting, &record.entry.event, unix_ms);
    }

    /// Of days that are over: a later one has begun.
    fn write_manifests(&self) -> Result<(), SealError> {
        let Some(last_hour) = self.last_hour else {
            return Ok(());
        };
        for day in directory::days(&self.root).map_err(failed(&self.root))? {
            let path = directory::manifest_path(&self.root, day);
            if day < last_hour.day() && !path.exists() {
                let files = directory::sealed_of(&self.root, day).map_err(failed(&self.root))?;
                manifest::write(&self.root, day, &files, self.key.as_ref())?;
            }
        }
        Ok(())
    }

    fn sealed_bytes(&self) -> Result<u64, SealError> {
        let mut bytes = 0;
        for day in directory::days(&self.root).map_err(failed(&self.root))? {
            let path = directory::day_path(&self.root, day);
            bytes += retention::bytes_in(&path).map_err(failed(&path))?;
        }
        Ok(bytes)
    }
}

/// Takes into account what begins and ends of mappings and sessions.
pub(super) fn follow_sessions(lasting: &mut BTreeMap<Session, u64>, event: &Event, unix_ms: u64) {
    match event {
        Event::Open(session) => {
            lasting.insert(*session, unix_ms);
        }
        Event::Close(session) => {
            lasting.remove(session);
        }
        Event::Release { block, .. } => end_those_of(lasting, block, unix_ms),
        _ => {}
    }
}

/// A block that is released at `unix_ms` has no sessions any more but younger ones.
fn end_those_of(lasting: &mut BTreeMap<Session, u64>, block: &Block, unix_ms: u64) {
    let ends = |port| Session::least_of(block.external, port);
    let range = ends(block.ports.first())..;
    let of_block: Vec<Session> = lasting
        .range(range)
        .take_while(|(session, _)| {
            session.external == block.external && block.ports.contains(session.external_port)
        })
        .filter(|(_, since_ms)| **since_ms <= unix_ms)
        .map(|(session, _)| *session)
        .collect();
    for session in of_block {
        lasting.remove(&session);
    }
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> SealError + use<> {
    let path = path.to_owned();
    move |source| SealError::Directory { path, source }
}
