//! What is kept, and for how long.

use std::fs;
use std::io;
use std::path::Path;

use crate::maplog::directory;
use crate::utc::Day;

/// What is kept of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Whole days that sealed files are kept after theirs; None for ever.
    pub days: Option<u64>,
    /// Most bytes of sealed files; beyond it the oldest days go. None without limit.
    pub sealed_bytes: Option<u64>,
    /// Most bytes of write-ahead segments that are sealed already: what a sink that was
    /// away can still be sent.
    pub spool_bytes: u64,
}

/// Removes the days that are too old or too many, oldest first; never `newest` or a later one,
/// which say what is held now. Returns those that are gone.
pub(super) fn remove_days(
    root: &Path,
    retention: &Retention,
    today: Day,
    newest: Day,
) -> io::Result<Vec<Day>> {
    let mut days = Vec::new();
    for day in directory::days(root)? {
        days.push((day, bytes_in(&directory::day_path(root, day))?));
    }
    let mut total: u64 = days.iter().map(|(_, bytes)| bytes).sum();
    let mut removed = Vec::new();
    for (day, bytes) in days {
        let is_old = retention.days.is_some_and(|keep| day.0 + keep < today.0);
        let is_much = retention.sealed_bytes.is_some_and(|most| total > most);
        if day >= newest || !(is_old || is_much) {
            break;
        }
        remove_day(root, day)?;
        total -= bytes;
        removed.push(day);
    }
    Ok(removed)
}

/// In the order of the chain, so that what a crash leaves is the end of the day.
fn remove_day(root: &Path, day: Day) -> io::Result<()> {
    for file in directory::sealed_of(root, day)? {
        fs::remove_file(file.path(root))?;
    }
    fs::remove_dir_all(directory::day_path(root, day))?;
    directory::sync(root)
}

/// Removes the oldest segments that end before `next_sequence` (they are sealed) and are more than
/// the spool holds. Returns the bytes of those that stay, sealed or not.
pub(super) fn trim_spool(root: &Path, most_bytes: u64, next_sequence: u64) -> io::Result<u64> {
    let segments = directory::segments(root)?;
    let mut sizes = Vec::new();
    for first in &segments {
        sizes.push(fs::metadata(directory::segment_path(root, *first))?.len());
    }
    let is_sealed = |number: usize| {
        let after = segments.get(number + 1);
        after.is_some_and(|after| *after <= next_sequence)
    };
    let sealed: u64 = (0..segments.len())
        .filter(|number| is_sealed(*number))
        .map(|number| sizes[number])
        .sum();
    let mut surplus = sealed.saturating_sub(most_bytes);
    let mut kept: u64 = sizes.iter().sum();
    for (number, first) in segments.iter().enumerate() {
        if surplus == 0 || !is_sealed(number) {
            break;
        }
        fs::remove_file(directory::segment_path(root, *first))?;
        surplus = surplus.saturating_sub(sizes[number]);
        kept -= sizes[number];
    }
    Ok(kept)
}

/// Bytes of the files in `directory`.
pub(super) fn bytes_in(directory: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(directory)? {
        bytes += entry?.metadata()?.len();
    }
    Ok(bytes)
}
