//! A time in which blocks are given and taken though the log cannot be written
//! (`log.on_full = "continue"`): what the log lacks, and the mark that outlives the daemon.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::net::Ipv4Addr;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::event::{Block, Entry, Event, ReleaseReason};

/// Digits of a time in the mark: milliseconds of Unix time, until the year 2286.
const DIGITS: usize = 13;

/// External address and first port.
type Key = (Ipv4Addr, u16);

/// What must be written to bring the log in line again, however long the gap: at most two
/// records for each block.
#[derive(Debug, Default)]
pub(super) struct Lacking {
    /// Allocated by the log, and released without a record.
    released: BTreeMap<Key, (Block, ReleaseReason)>,
    /// Held without a record.
    held: BTreeMap<Key, Block>,
}

impl Lacking {
    /// Takes into account what happens without a record.
    pub(super) fn follow(&mut self, event: Event) {
        match event {
            Event::Allocate(block) => {
                self.held.insert(key(&block), block);
            }
            Event::Release { block, reason } => {
                if self.held.remove(&key(&block)).is_none() {
                    self.released.insert(key(&block), (block, reason));
                }
            }
            Event::Start | Event::Stop | Event::Gap | Event::Resume => {}
            // Which ones came and went is as unknown as blocks that did.
            Event::Open(_) | Event::Close(_) => {}
            Event::Name(_) | Event::Login { .. } | Event::Logout(_) => {}
        }
    }

    /// The group that ends the gap. A block that was released and given again is released first.
    pub(super) fn entries(&self, since_ms: u64, unix_ms: u64) -> Vec<Entry> {
        let gap = Entry {
            unix_ms: since_ms,
            event: Event::Gap,
        };
        let released = self.released.values();
        let released = released.map(|(block, reason)| Event::Release {
            block: *block,
            reason: *reason,
        });
        let held = self.held.values().map(|block| Event::Allocate(*block));
        let now = [Event::Resume].into_iter().chain(released).chain(held);
        let now = now.map(|event| Entry { unix_ms, event });
        [gap].into_iter().chain(now).collect()
    }
}

fn key(block: &Block) -> Key {
    (block.external, block.ports.first())
}

/// The file `gap` in the log's directory: 0, or when the gap began that is not in the log yet. It
/// is there beforehand and keeps its length, so that it can be written on a full disk too.
#[derive(Debug)]
pub(super) struct Mark {
    file: File,
    since_ms: Option<u64>,
}

impl Mark {
    /// The mark of the log in `root`; made if it is not there and `is_wanted`.
    pub(super) fn open(root: &Path, is_wanted: bool) -> io::Result<Option<Self>> {
        let path = path(root);
        let is_there = path.exists();
        if !is_there && !is_wanted {
            return Ok(None);
        }
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o640)
            .open(&path)?;
        let since_ms = marked(root)?;
        let mut mark = Self { file, since_ms };
        if since_ms.is_none() {
            mark.write(None)?;
            mark.file.sync_all()?;
            super::directory::sync(root)?;
        }
        Ok(Some(mark))
    }

    pub(super) fn since_ms(&self) -> Option<u64> {
        self.since_ms
    }

    pub(super) fn write(&mut self, since_ms: Option<u64>) -> io::Result<()> {
        self.since_ms = since_ms;
        let text = format!("{:0DIGITS$}\n", since_ms.unwrap_or(0));
        self.file.write_all_at(text.as_bytes(), 0)?;
        self.file.sync_data()
    }
}

/// When the gap began that the log in `root` has no record of yet, in milliseconds of Unix time.
pub(super) fn marked(root: &Path) -> io::Result<Option<u64>> {
    match std::fs::read_to_string(path(root)) {
        Ok(text) => Ok(text.trim().parse().ok().filter(|since| *since > 0)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn path(root: &Path) -> PathBuf {
    root.join("gap")
}
