//! Where the files of a mapping log stand, and what their names say.
//!
//! ```text
//! /var/lib/cgn/log/
//!   lock                                  the daemon that writes here
//!   gap                                   since when the log lacks records, or 0
//!   wal/00000000000000123457.log          write-ahead segments, by their first sequence number
//!   2026-03-03/held-00000000000000100001.parquet   who had which block before that record
//!   2026-03-03/14-00000000000000120333.parquet     the records from that one on, of 14 h UTC
//!   2026-03-03/identities-14-00000000000000120333.parquet   names of subscribers among them
//!   2026-03-03/identities-held-00000000000000100001.parquet   those that were known before
//!   2026-03-03/manifest.json              the day's files and their hashes, once it is over
//! ```
//!
//! A name sorts as its sequence number does, so that a listing is an index: no file has to be
//! opened to find the hour of an enquiry.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::utc::Day;

/// Milliseconds of an hour.
pub const HOUR_MS: u64 = 3_600_000;
/// Hours of a day.
const DAY_HOURS: u64 = 24;
/// Digits of a sequence number in a name: all of 64 bits.
const DIGITS: usize = 20;
/// Heads of names.
const HELD: &str = "held";
const OF_IDENTITIES: &str = "identities-";
/// End of the name of a file that is being written.
const UNFINISHED: &str = "tmp";

/// An hour counted from 1970-01-01T00:00Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hour(pub u64);

impl Hour {
    /// The hour of a time in milliseconds of Unix time.
    #[must_use]
    pub const fn of(unix_ms: u64) -> Self {
        Self(unix_ms / HOUR_MS)
    }

    #[must_use]
    pub const fn day(self) -> Day {
        Day(self.0 / DAY_HOURS)
    }

    /// First millisecond, of Unix time.
    #[must_use]
    pub const fn start_ms(self) -> u64 {
        self.0 * HOUR_MS
    }
}

/// What a sealed file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Content {
    /// Every name of a subscriber that was known then; there if there was one.
    IdentitiesHeld,
    /// Every block that was held before record `first_sequence`; stands at the head of a day.
    Held,
    /// Names of subscribers that the records from `first_sequence` on tell; there if they tell any.
    Identities,
    /// The other records from `first_sequence` on.
    Records,
}

impl Content {
    /// True for files of blocks, mappings and marks; false for those of names of subscribers.
    #[must_use]
    pub const fn is_of_blocks(self) -> bool {
        matches!(self, Self::Held | Self::Records)
    }
}

/// A sealed file, as its name tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedName {
    pub first_sequence: u64,
    pub content: Content,
    /// Of what was held, the first hour of its day.
    pub hour: Hour,
}

impl SealedName {
    /// The file in the log at `root`.
    #[must_use]
    pub fn path(&self, root: &Path) -> PathBuf {
        let day = self.hour.day();
        let sequence = self.first_sequence;
        let of_identities = match self.content.is_of_blocks() {
            true => "",
            false => OF_IDENTITIES,
        };
        let head = match self.content {
            Content::IdentitiesHeld | Content::Held => HELD.to_owned(),
            Content::Identities | Content::Records => format!("{:02}", self.hour.0 % DAY_HOURS),
        };
        let name = format!("{of_identities}{head}-{sequence:0DIGITS$}.parquet");
        root.join(day.to_string()).join(name)
    }

    fn parse(day: Day, name: &str) -> Option<Self> {
        let name = name.strip_suffix(".parquet")?;
        let of_identities = name.strip_prefix(OF_IDENTITIES);
        let (head, sequence) = of_identities.unwrap_or(name).split_once('-')?;
        let (held, records) = match of_identities {
            Some(_) => (Content::IdentitiesHeld, Content::Identities),
            None => (Content::Held, Content::Records),
        };
        let first_hour = day.0 * DAY_HOURS;
        let (content, hour) = match head {
            HELD => (held, first_hour),
            _ if head.len() == 2 => {
                let hour: u64 = head.parse().ok().filter(|hour| *hour < DAY_HOURS)?;
                (records, first_hour + hour)
            }
            _ => return None,
        };
        Some(Self {
            first_sequence: sequence_of(sequence)?,
            content,
            hour: Hour(hour),
        })
    }

    /// By sequence number; what was held before a record stands before it.
    fn order(&self) -> (u64, Content) {
        (self.first_sequence, self.content)
    }
}

fn sequence_of(text: &str) -> Option<u64> {
    let is_number = text.len() == DIGITS && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().ok()).flatten()
}

/// The write-ahead segment that begins with record `first_sequence`.
#[must_use]
pub fn segment_path(root: &Path, first_sequence: u64) -> PathBuf {
    wal(root).join(format!("{first_sequence:0DIGITS$}.log"))
}

/// The directory of the write-ahead segments.
#[must_use]
pub fn wal(root: &Path) -> PathBuf {
    root.join("wal")
}

/// The directory of a day's sealed files.
#[must_use]
pub fn day_path(root: &Path, day: Day) -> PathBuf {
    root.join(day.to_string())
}

/// The manifest of a day.
#[must_use]
pub fn manifest_path(root: &Path, day: Day) -> PathBuf {
    day_path(root, day).join("manifest.json")
}

/// First sequence numbers of the write-ahead segments, ascending. None at all if
/// there is no such directory, as in a copy of the sealed files.
///
/// # Errors
/// The directory cannot be read.
pub fn segments(root: &Path) -> io::Result<Vec<u64>> {
    let mut found: Vec<u64> = names(&wal(root))?
        .iter()
        .filter_map(|name| sequence_of(name.strip_suffix(".log")?))
        .collect();
    found.sort_unstable();
    Ok(found)
}

/// The days of which there are sealed files, ascending.
///
/// # Errors
/// The directory cannot be read.
pub fn days(root: &Path) -> io::Result<Vec<Day>> {
    let mut found: Vec<Day> = names(root)?
        .iter()
        .filter_map(|name| Day::parse(name))
        .collect();
    found.sort_unstable();
    Ok(found)
}

/// The sealed files of a day, by sequence number.
///
/// # Errors
/// The directory cannot be read.
pub fn sealed_of(root: &Path, day: Day) -> io::Result<Vec<SealedName>> {
    let mut found: Vec<SealedName> = names(&day_path(root, day))?
        .iter()
        .filter_map(|name| SealedName::parse(day, name))
        .collect();
    found.sort_unstable_by_key(SealedName::order);
    Ok(found)
}

/// Those of them that are not of names of subscribers.
///
/// # Errors
/// The directory cannot be read.
pub fn blocks_of(root: &Path, day: Day) -> io::Result<Vec<SealedName>> {
    let mut found = sealed_of(root, day)?;
    found.retain(|file| file.content.is_of_blocks());
    Ok(found)
}

/// The newest sealed file of records.
///
/// # Errors
/// A directory cannot be read.
pub fn last_sealed(root: &Path) -> io::Result<Option<SealedName>> {
    for day in days(root)?.into_iter().rev() {
        let mut files = sealed_of(root, day)?.into_iter().rev();
        if let Some(file) = files.find(|file| file.content == Content::Records) {
            return Ok(Some(file));
        }
    }
    Ok(None)
}

fn names(directory: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    entries
        .map(|entry| Ok(entry?.file_name().into_string().unwrap_or_default()))
        .collect()
}

/// Creates `directory` (mode 0750) and those above it that are missing, and brings
/// their names to disk.
pub(super) fn create(directory: &Path) -> io::Result<()> {
    if directory.is_dir() {
        return Ok(());
    }
    let existing = directory.ancestors().find(|above| above.is_dir());
    DirBuilder::new()
        .recursive(true)
        .mode(0o750)
        .create(directory)?;
    // A new directory survives a crash only once the one above it is on disk.
    for new in directory.ancestors() {
        if existing == Some(new) {
            break;
        }
        sync(above(new))?;
    }
    Ok(())
}

/// The directory that `path` is in.
pub(super) fn above(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Brings the names in a directory to disk.
pub(super) fn sync(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

/// The name under which `path` is written before it is whole.
pub(super) fn unfinished(path: &Path) -> PathBuf {
    path.with_extension(UNFINISHED)
}

/// Removes what a daemon that died left unfinished.
pub(super) fn remove_unfinished(root: &Path) -> io::Result<()> {
    for day in days(root)? {
        let directory = day_path(root, day);
        for name in names(&directory)? {
            if name.ends_with(&format!(".{UNFINISHED}")) {
                fs::remove_file(directory.join(name))?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_what_they_hold() {
        let root = Path::new("/log");
        let day = Day::parse("2026-03-03").unwrap();
        let cases = [
            (
                "held-00000000000000000001.parquet",
                Some((1, Content::Held, 0)),
            ),
            (
                "00-00000000000000000001.parquet",
                Some((1, Content::Records, 0)),
            ),
            (
                "23-18446744073709551615.parquet",
                Some((u64::MAX, Content::Records, 23)),
            ),
            (
                "identities-14-00000000000000000007.parquet",
                Some((7, Content::Identities, 14)),
            ),
            (
                "identities-held-00000000000000000007.parquet",
                Some((7, Content::IdentitiesHeld, 0)),
            ),
            ("names-14-00000000000000000007.parquet", None),
            ("24-00000000000000000001.parquet", None),
            ("0-00000000000000000001.parquet", None),
            ("00-1.parquet", None),
            ("00-+0000000000000000001.parquet", None),
            ("00-00000000000000000001.tmp", None),
            ("manifest.json", None),
        ];
        for (name, expected) in cases {
            let found = SealedName::parse(day, name);
            let is = found
                .as_ref()
                .map(|file| (file.first_sequence, file.content, file.hour.0 % 24));
            assert_eq!(is, expected, "{name}");
            if let Some(found) = found {
                assert_eq!(found.path(root), root.join("2026-03-03").join(name));
            }
        }
    }
}
