//! What the sealed files say of blocks: the newest list of held blocks and what came after it.

use std::collections::BTreeMap;
use std::path::Path;

use super::directory::{self, Content, SealedName};
use super::error::ReadError;
use super::event::{Entry, Event};
use super::identity::Book;
use super::reader;
use super::recovery::Recovery;
use super::sealed::{Fact, Hash, IdentityFile, Row, SealedFile, place_of};
use super::sealer::follow_sessions;
use super::session::Session;

/// Where the sealed files end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SealedEnd {
    /// Number of the record after the last sealed one; 1 if there is none.
    pub next_sequence: u64,
}

/// Adds what the sealed files say to `recovery`, with releases from `released_since_ms` on.
/// Reads no more days than that needs.
pub(super) fn replay_sealed(
    root: &Path,
    released_since_ms: u64,
    recovery: &mut Recovery,
) -> Result<SealedEnd, ReadError> {
    let io = |source| ReadError::Io {
        path: root.into(),
        source,
    };
    let mut files = Vec::new();
    for day in directory::days(root).map_err(io)?.into_iter().rev() {
        let of_day = directory::blocks_of(root, day).map_err(io)?;
        let begins = of_day.first().is_some_and(|file| {
            file.content == Content::Held && file.hour.start_ms() <= released_since_ms
        });
        files.splice(0..0, of_day);
        if begins {
            break;
        }
    }
    let mut next_sequence = files.first().map_or(1, |file| file.first_sequence);
    for (number, name) in files.iter().enumerate() {
        // What is held is known but at the beginning.
        if name.content == Content::Held && number > 0 {
            continue;
        }
        let file = open_next(root, name, next_sequence)?;
        for row in file.rows()? {
            let unix_ms = row.unix_ms;
            match row.fact {
                Fact::Held(block) => recovery.add_held(block, unix_ms),
                Fact::Lasting(_) => {}
                Fact::Event(event) => {
                    recovery.add_entry(&Entry { unix_ms, event }, released_since_ms);
                }
            }
        }
        next_sequence = file.chained().next_sequence;
    }
    recovery.last_sequence = (next_sequence > 1).then(|| next_sequence - 1);
    // The order of records within a sealed file is not known.
    recovery.is_stopped = false;
    Ok(SealedEnd { next_sequence })
}

/// The mappings and sessions that last at the end of the sealed files, and since when: those that
/// did when the last day began, and what came after.
pub(super) fn lasting_at_end(root: &Path) -> Result<BTreeMap<Session, u64>, ReadError> {
    let io = |source| ReadError::Io {
        path: root.into(),
        source,
    };
    let mut lasting = BTreeMap::new();
    let last_day = directory::days(root).map_err(io)?.pop();
    let Some(day) = last_day else {
        return Ok(lasting);
    };
    for name in directory::blocks_of(root, day).map_err(io)? {
        let file = SealedFile::open(&name.path(root))?;
        if !file.has_sessions() && lasting.is_empty() {
            continue;
        }
        let rows = file.rows()?;
        // A release stands before what its block had at other ports: it comes last here.
        let (releases, others): (Vec<&Row>, Vec<&Row>) = rows
            .iter()
            .partition(|row| matches!(row.fact, Fact::Event(Event::Release { .. })));
        for row in others.into_iter().chain(releases) {
            match row.fact {
                Fact::Held(_) => {}
                Fact::Lasting(session) => {
                    lasting.insert(session, row.unix_ms);
                }
                Fact::Event(event) => follow_sessions(&mut lasting, &event, row.unix_ms),
            }
        }
    }
    Ok(lasting)
}

/// The names of subscribers at the end of the sealed files: those that were known when the last day
/// began, and what came after.
pub(super) fn names_at_end(root: &Path) -> Result<Book, ReadError> {
    let io = |source| ReadError::Io {
        path: root.into(),
        source,
    };
    let mut book = Book::default();
    let last_day = directory::days(root).map_err(io)?.pop();
    let Some(day) = last_day else {
        return Ok(book);
    };
    let mut files = directory::sealed_of(root, day).map_err(io)?;
    files.retain(|file| !file.content.is_of_blocks());
    for name in files {
        for row in IdentityFile::open(&name.path(root))?.rows()? {
            row.follow(&mut book);
        }
    }
    Ok(book)
}

/// The names as of the record of this number, or of the first that the write-ahead segments have if that is
/// later.
pub(super) fn names_before(root: &Path, sequence: u64) -> Result<Book, ReadError> {
    let io = |source| ReadError::Io {
        path: root.into(),
        source,
    };
    let segments = directory::segments(root).map_err(io)?;
    let sealed_end = match directory::last_sealed(root).map_err(io)? {
        Some(file) => place_of(&file.path(root))?.0.next_sequence,
        None => 1,
    };
    let most = sequence.min(sealed_end);
    let earlier = segments.iter().rev().find(|first| **first <= most);
    let Some(first) = earlier.or(segments.first()).copied() else {
        return names_at_end(root);
    };
    let mut book = Book::default();
    for day in directory::days(root).map_err(io)?.into_iter().rev() {
        let files = directory::sealed_of(root, day).map_err(io)?;
        let mut held = files.iter().filter(|file| file.content == Content::Held);
        if held.all(|file| file.first_sequence > first) {
            continue;
        }
        let earlier = files.iter().filter(|file| match file.content {
            Content::IdentitiesHeld => true,
            Content::Identities => file.first_sequence < first,
            Content::Held | Content::Records => false,
        });
        for name in earlier {
            for row in IdentityFile::open(&name.path(root))?.rows()? {
                row.follow(&mut book);
            }
        }
        break;
    }
    for record in reader::read_from(root, first)? {
        let record = record?;
        if record.sequence >= sequence {
            break;
        }
        book.follow(&record.entry);
    }
    Ok(book)
}

fn open_next(root: &Path, name: &SealedName, expected: u64) -> Result<SealedFile, ReadError> {
    if name.first_sequence != expected {
        return Err(ReadError::Missing {
            path: name.path(root),
            first: expected,
            last: name.first_sequence.saturating_sub(1),
        });
    }
    Ok(SealedFile::open(&name.path(root))?)
}

/// Hash of the last sealed file, which the next one will name.
pub(super) fn last_hash(root: &Path) -> Result<Option<Hash>, ReadError> {
    let io = |path: &Path| {
        let path = path.to_owned();
        move |source| ReadError::Io { path, source }
    };
    let days = directory::days(root).map_err(io(root))?;
    for day in days.into_iter().rev() {
        let files = directory::sealed_of(root, day).map_err(io(root))?;
        if let Some(name) = files.last() {
            let path = name.path(root);
            let mut file = std::fs::File::open(&path).map_err(io(&path))?;
            let (hash, _) = super::sealed::hash_of(&mut file).map_err(io(&path))?;
            return Ok(Some(hash));
        }
    }
    Ok(None)
}
