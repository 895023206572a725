//! Which name a subscriber had at a time, where the log has names (`[identity]`).

use std::path::Path;
use std::sync::Arc;

use super::super::directory::{self, Content, Hour};
use super::super::error::ReadError;
use super::super::identity::{Attribute, Book, Change, Named, Who};
use super::super::reader;
use super::super::sealed::{IdentityFile, IdentityRow, Told, place_of};
use super::{Answer, Enquiry};

/// A name that a subscriber had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    pub name: Arc<str>,
    pub attribute: Attribute,
    /// Milliseconds of Unix time.
    pub since_ms: u64,
    /// None if it had it still at the end of what was read.
    pub until_ms: Option<u64>,
}

impl Known {
    /// Whether it was had at some time from `from_ms` to `to_ms`.
    #[must_use]
    pub fn overlaps(&self, from_ms: u64, to_ms: u64) -> bool {
        self.since_ms <= to_ms && self.until_ms.is_none_or(|until| until > from_ms)
    }
}

impl From<&Named> for Known {
    fn from(named: &Named) -> Self {
        Self {
            name: Arc::clone(&named.name),
            attribute: named.attribute,
            since_ms: named.since_ms,
            until_ms: None,
        }
    }
}

/// The names of each subscriber that `answer` names, at the time of the enquiry.
///
/// # Errors
/// As of [`identities`].
pub fn names(
    root: &Path,
    enquiry: &Enquiry,
    answer: &Answer,
) -> Result<Vec<Vec<Known>>, ReadError> {
    let from_ms = enquiry.at_ms.saturating_sub(enquiry.skew_ms);
    let to_ms = enquiry.at_ms.saturating_add(enquiry.skew_ms);
    let holdings = answer.holdings.iter().map(|held| {
        let (since_ms, until_ms) = held.time_ms();
        identities(root, held.who(), from_ms.max(since_ms), to_ms.min(until_ms))
    });
    holdings.collect()
}

/// The names that `who` had at some time from `from_ms` to `to_ms`, in milliseconds of Unix time, in order.
/// Empty where none are logged.
///
/// # Errors
/// A file that the answer depends on cannot be read.
pub fn identities(
    root: &Path,
    who: Who,
    from_ms: u64,
    to_ms: u64,
) -> Result<Vec<Known>, ReadError> {
    let mut names: Vec<Known> = Vec::new();
    for row in rows(root, who, from_ms, to_ms)? {
        let at_ms = row.happened_ms();
        if at_ms > to_ms {
            continue;
        }
        let open = names.last_mut().filter(|known| known.until_ms.is_none());
        match &row.told {
            // It is told again when a day begins.
            Told::Held(named)
                if open
                    .as_ref()
                    .is_some_and(|open| open.since_ms == named.since_ms) => {}
            Told::Held(named) => names.push(named.into()),
            Told::Change(change) => {
                if let Some(open) = open {
                    open.until_ms = Some(at_ms.max(open.since_ms));
                }
                if let Change::Begun { named, .. } = change {
                    names.push(named.into());
                }
            }
        }
    }
    names.retain(|known| known.overlaps(from_ms, to_ms));
    Ok(names)
}

/// What the log says of the names of `who`, from the last day that began before `from_ms` on. What was told
/// up to an hour after it happened is found, too.
fn rows(root: &Path, who: Who, from_ms: u64, to_ms: u64) -> Result<Vec<IdentityRow>, ReadError> {
    let io = |source| ReadError::Io {
        path: root.into(),
        source,
    };
    let last = Hour(Hour::of(to_ms).0 + 1);
    let mut rows = Vec::new();
    for day in directory::days(root).map_err(io)?.into_iter().rev() {
        let files = directory::sealed_of(root, day).map_err(io)?;
        let of_names = files.iter().filter(|file| !file.content.is_of_blocks());
        for name in of_names.rev().filter(|file| file.hour <= last) {
            let earlier = IdentityFile::open(&name.path(root))?.rows_of(who)?;
            rows.splice(0..0, earlier);
        }
        let begins = files
            .iter()
            .any(|file| file.content == Content::Held && file.hour.start_ms() <= from_ms);
        if begins {
            break;
        }
    }
    let sealed = directory::last_sealed(root).map_err(io)?;
    if sealed.as_ref().is_some_and(|file| file.hour >= last) {
        return Ok(rows);
    }
    let first = match sealed {
        Some(file) => place_of(&file.path(root))?.0.next_sequence,
        None => 1,
    };
    rows.extend(unsealed(root, who, first)?);
    Ok(rows)
}

/// The same of segments that are not sealed yet.
fn unsealed(root: &Path, who: Who, first: u64) -> Result<Vec<IdentityRow>, ReadError> {
    let segments = directory::segments(root).map_err(|source| ReadError::Io {
        path: root.into(),
        source,
    })?;
    let Some(first) = segments.into_iter().find(|segment| *segment >= first) else {
        return Ok(Vec::new());
    };
    let mut book = Book::default();
    let mut rows = Vec::new();
    for record in reader::read_from(root, first)? {
        let entry = record?.entry;
        rows.extend(IdentityRow::of([entry].into_iter(), &mut book));
    }
    rows.retain(|row| row.who() == who);
    Ok(rows)
}
