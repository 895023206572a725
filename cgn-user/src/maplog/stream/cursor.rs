//! How far a sink's collector is: one number in a file, replaced atomically.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::maplog::directory;

/// Between two writes: what arrived since the last one is sent again after a crash.
const SAVE: Duration = Duration::from_secs(1);

/// A number on disk.
#[derive(Debug)]
pub(super) struct Cursor {
    path: PathBuf,
    next_sequence: u64,
    saved: Option<u64>,
    save_at: Instant,
}

impl Cursor {
    /// The cursor of the sink `name`, or a new one at `next_sequence`.
    pub(super) fn open(
        root: &Path,
        name: &str,
        next_sequence: u64,
    ) -> Result<Self, (PathBuf, io::Error)> {
        let path = root.join("sinks").join(format!("{name}.cursor"));
        let failed = |source| (path.clone(), source);
        directory::create(directory::above(&path)).map_err(failed)?;
        let saved = match fs::read_to_string(&path) {
            Ok(text) => Some(text.trim().parse().map_err(|_| {
                let what = "it holds no number: remove it to begin with the next record";
                failed(io::Error::new(io::ErrorKind::InvalidData, what))
            })?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(failed(error)),
        };
        Ok(Self {
            // A log that was begun anew is behind an old cursor.
            next_sequence: saved.unwrap_or(next_sequence).min(next_sequence),
            saved,
            save_at: Instant::now(),
            path,
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn next_sequence(&self) -> u64 {
        self.next_sequence
    }

    pub(super) fn advance(&mut self, next_sequence: u64) {
        self.next_sequence = self.next_sequence.max(next_sequence);
    }

    /// Writes the number if it changed, once a second at most.
    pub(super) fn save(&mut self, now: Instant) -> io::Result<()> {
        if now < self.save_at {
            return Ok(());
        }
        self.save_at = now + SAVE;
        self.save_now()
    }

    pub(super) fn save_now(&mut self) -> io::Result<()> {
        if self.saved == Some(self.next_sequence) {
            return Ok(());
        }
        let unfinished = directory::unfinished(&self.path);
        let file = fs::File::create(&unfinished)?;
        io::Write::write_all(&mut &file, format!("{}\n", self.next_sequence).as_bytes())?;
        file.sync_all()?;
        fs::rename(&unfinished, &self.path)?;
        self.saved = Some(self.next_sequence);
        Ok(())
    }
}
