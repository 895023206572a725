//! Whether a log is as it was written: every file read, every hash and number compared.
//!
//! What is found: a changed, missing, doubled or moved file; a changed, missing or added record
//! in it; a day that was sealed anew after its manifest was signed. What cannot be found without
//! a copy of a later manifest: files that were cut off at the end, and all of it written anew by
//! somebody who has the key.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::directory::{self, Content, SealedName};
use super::error::ReadError;
use super::event::{Block, Event};
use super::identity::{Book, Named};
use super::keys::VerifyingKey;
use super::reader;
use super::sealed::{
    Chained, Fact, Hash, IdentityFile, IdentityRow, Row, SealedError, SealedFile, hash_of, hex,
};
use super::sealer::manifest::{self, Listed, Manifest};
use crate::utc::Day;

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdict {
    /// What is not as it was written, each a sentence. Empty: all is well.
    pub problems: Vec<String>,
    /// Sealed files that were read.
    pub files: u64,
    /// Records in them and in segments that are not sealed yet.
    pub records: u64,
    /// Number of the first and after the last record; None in an empty log.
    pub sequences: Option<(u64, u64)>,
    /// Days whose manifest has a good signature.
    pub signed_days: u64,
    /// Days whose manifest has none, or none that was looked at.
    pub unsigned_days: u64,
}

/// Reads the whole log in the directory `root`; with a key, each day that is over must be signed.
///
/// # Errors
/// The directory cannot be read. What is wrong with its files is in the verdict.
pub fn verify(root: &Path, key: Option<&VerifyingKey>) -> Result<Verdict, ReadError> {
    let io = |source| ReadError::Io {
        path: root.into(),
        source,
    };
    let mut state = State {
        root: root.into(),
        verdict: Verdict::default(),
        next_sequence: None,
        last_hash: None,
        last_manifest: None,
        held: None,
        names: None,
        of_names: 0,
    };
    let days = directory::days(root).map_err(io)?;
    for (number, day) in days.iter().enumerate() {
        let files = directory::sealed_of(root, *day).map_err(io)?;
        let mut listed = Vec::new();
        for name in &files {
            listed.extend(state.file(name));
        }
        state.manifest(*day, &listed, number + 1 == days.len(), key);
    }
    state.segments(&directory::segments(root).map_err(io)?);
    Ok(state.verdict)
}

struct State {
    root: PathBuf,
    verdict: Verdict,
    next_sequence: Option<u64>,
    last_hash: Option<Hash>,
    last_manifest: Option<Hash>,
    /// What is held after what was read; None before the first file that says it.
    held: Option<HashSet<Block>>,
    /// Names that are known after what was read; None before the first file that says it.
    names: Option<Book>,
    /// Records that the file of names stands for, which are not in the next one.
    of_names: u64,
}

/// What a sealed file holds.
enum Rows {
    Blocks(Vec<Row>),
    Identities(Vec<IdentityRow>),
}

impl Rows {
    fn read(name: &SealedName, path: &Path) -> Result<(Chained, Self), SealedError> {
        if name.content.is_of_blocks() {
            let file = SealedFile::open(path)?;
            return Ok((*file.chained(), Self::Blocks(file.rows()?)));
        }
        let file = IdentityFile::open(path)?;
        Ok((*file.chained(), Self::Identities(file.rows()?)))
    }
}

impl State {
    fn problem(&mut self, text: String) {
        self.verdict.problems.push(text);
    }

    fn file(&mut self, name: &SealedName) -> Option<Listed> {
        let path = name.path(&self.root);
        let named = path.display().to_string();
        let read = Listed::of(&path).and_then(|listed| {
            let (chained, rows) = Rows::read(name, &path)?;
            Ok((listed, chained, rows))
        });
        let (listed, chained, rows) = match read {
            Ok(read) => read,
            Err(error) => {
                self.problem(told(&error));
                // What follows cannot be judged by it.
                (self.next_sequence, self.last_hash, self.held) = (None, None, None);
                (self.names, self.of_names) = (None, 0);
                return None;
            }
        };
        self.verdict.files += 1;
        if chained.first_sequence != name.first_sequence {
            let first = chained.first_sequence;
            self.problem(format!(
                "{named} begins with record {first}: it was renamed"
            ));
        }
        self.follows(&named, chained.first_sequence);
        if let Some(last) = self.last_hash
            && chained.previous != Some(last)
        {
            self.problem(format!("{named} does not follow the file before it: one of the two was changed, or one is missing between"));
        }
        match rows {
            Rows::Blocks(rows) if name.content == Content::Held => self.compare_held(&named, &rows),
            Rows::Blocks(rows) => {
                let expected = chained.next_sequence - chained.first_sequence;
                let count = rows.len() as u64 + std::mem::take(&mut self.of_names);
                if count != expected {
                    self.problem(format!("{named} has {count} records instead of {expected}"));
                }
                self.verdict.records += count;
                self.follow(&rows);
            }
            Rows::Identities(rows) if name.content == Content::IdentitiesHeld => {
                self.compare_names(&named, &rows);
            }
            Rows::Identities(rows) => self.follow_names(&rows),
        }
        let begins = self
            .verdict
            .sequences
            .map_or(chained.first_sequence, |known| known.0);
        self.verdict.sequences = Some((begins, chained.next_sequence));
        self.next_sequence = Some(chained.next_sequence);
        self.last_hash = parse_hash(&listed);
        Some(listed)
    }

    fn follows(&mut self, named: &str, first: u64) {
        if let Some(expected) = self.next_sequence
            && expected != first
        {
            self.problem(match expected < first {
                true => format!(
                    "records {expected} to {} are missing before {named}",
                    first - 1
                ),
                false => format!("{named} begins with record {first}, which was there already"),
            });
        }
    }

    fn follow(&mut self, rows: &[Row]) {
        let Some(held) = &mut self.held else { return };
        for row in rows {
            match row.fact {
                Fact::Event(Event::Allocate(block)) => {
                    held.insert(block);
                }
                Fact::Event(Event::Release { block, .. }) => {
                    held.remove(&block);
                }
                Fact::Event(Event::Start | Event::Stop | Event::Gap | Event::Resume)
                | Fact::Event(Event::Open(_) | Event::Close(_))
                | Fact::Event(Event::Name(_) | Event::Login { .. } | Event::Logout(_))
                | Fact::Held(_)
                | Fact::Lasting(_) => {}
            }
        }
    }

    fn compare_held(&mut self, named: &str, rows: &[Row]) {
        let said: HashSet<Block> = rows.iter().filter_map(Row::block).collect();
        if let Some(held) = &self.held
            && *held != said
        {
            let differ = held.symmetric_difference(&said).count();
            self.problem(format!(
                "{named} differs in {differ} blocks from what the records before it leave held"
            ));
        }
        self.held = Some(said);
    }

    fn follow_names(&mut self, rows: &[IdentityRow]) {
        self.of_names = rows.iter().map(|row| u64::from(row.records())).sum();
        let names = self.names.get_or_insert_default();
        rows.iter().for_each(|row| row.follow(names));
    }

    fn compare_names(&mut self, named: &str, rows: &[IdentityRow]) {
        let mut said = Book::default();
        rows.iter().for_each(|row| row.follow(&mut said));
        let differs = |name: &&Named, other: &Book| {
            let other = other.of(name.login.who());
            other.is_none_or(|other| other.name != name.name)
        };
        if let Some(names) = &self.names {
            let lost = names.all().filter(|name| differs(name, &said)).count();
            let added = said.all().filter(|name| differs(name, names)).count();
            if lost + added > 0 {
                self.problem(format!(
                    "{named} differs in names from what the records before it leave: {lost} and {added}"
                ));
            }
        }
        self.names = Some(said);
    }

    fn manifest(&mut self, day: Day, listed: &[Listed], is_last: bool, key: Option<&VerifyingKey>) {
        let path = directory::manifest_path(&self.root, day);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound && is_last => return,
            Err(error) => {
                let path = path.display();
                return self.problem(format!(
                    "the manifest {path} of a day that is over cannot be read: {error}"
                ));
            }
        };
        let named = path.display();
        match serde_json::from_slice::<Manifest>(&text) {
            Err(error) => self.problem(format!("{named} is no manifest: {error}")),
            Ok(said) => {
                if said.version != manifest::VERSION || said.day != day.to_string() {
                    self.problem(format!("{named} is of another day or version"));
                }
                if said.files != listed {
                    self.problem(format!(
                        "{named} lists other files than there are: {}",
                        difference(&said.files, listed)
                    ));
                }
                if let Some(last) = self.last_manifest
                    && said.previous_sha256 != hex(&last)
                {
                    self.problem(format!("{named} does not follow the manifest before it"));
                }
            }
        }
        self.last_manifest = hash_of(&mut text.as_slice()).ok().map(|(hash, _)| hash);
        let signature = fs::read(manifest::signature_path(&path));
        match (key, signature) {
            (None, _) => self.verdict.unsigned_days += 1,
            (Some(_), Err(error)) => self.problem(format!("{named} has no signature: {error}")),
            (Some(key), Ok(signature)) if key.verifies(&text, &signature) => {
                self.verdict.signed_days += 1;
            }
            (Some(_), Ok(_)) => self.problem(format!(
                "the signature of {named} is not of this key and these bytes"
            )),
        }
    }

    /// Segments that are not sealed yet.
    fn segments(&mut self, segments: &[u64]) {
        let sealed_end = self.next_sequence.unwrap_or(1);
        let Some(first) = segments.iter().copied().find(|first| *first >= sealed_end) else {
            return;
        };
        let named = directory::segment_path(&self.root, first)
            .display()
            .to_string();
        self.follows(&named, first);
        let read = || -> Result<(u64, u64), ReadError> {
            let mut records = reader::read_from(&self.root, first)?;
            let mut count = 0;
            for record in &mut records {
                record?;
                count += 1;
            }
            Ok((count, records.next_sequence()))
        };
        match read() {
            Ok((count, next)) => {
                self.verdict.records += count;
                let begins = self.verdict.sequences.map_or(first, |known| known.0);
                self.verdict.sequences = Some((begins, next));
                if segments.iter().any(|segment| *segment > next) {
                    self.problem(format!(
                        "records from {next} on are missing: a later segment follows"
                    ));
                }
            }
            Err(error) => self.problem(told(&error)),
        }
    }
}

fn parse_hash(listed: &Listed) -> Option<Hash> {
    super::sealed::unhex(&listed.sha256)
}

fn difference(said: &[Listed], there: &[Listed]) -> String {
    let only = |from: &[Listed], other: &[Listed]| -> Vec<String> {
        let differing = from.iter().filter(|one| !other.contains(one));
        differing.map(|one| one.name.clone()).collect()
    };
    let (missing, new) = (only(said, there), only(there, said));
    format!(
        "listed and not there as listed: [{}]; there and not listed so: [{}]",
        missing.join(", "),
        new.join(", ")
    )
}

/// An error with its causes.
fn told(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        text.push_str(&format!(": {source}"));
        cause = source.source();
    }
    text
}
