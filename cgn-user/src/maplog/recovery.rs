//! What a log says of blocks at start.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use super::event::{Block, Entry, Event, Record};
use super::identity::Book;

/// A block and the time of its last record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoggedBlock {
    pub block: Block,
    /// Milliseconds of Unix time.
    pub unix_ms: u64,
}

/// What was found when the log was opened. Blocks are keyed by external address
/// and first port.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Records in the file.
    pub records: u64,
    /// Sequence number of the last one; None in a log without records.
    pub last_sequence: Option<u64>,
    /// Time of the last one, milliseconds of Unix time.
    pub last_unix_ms: Option<u64>,
    /// Bytes of records that were never all written (the machine or the daemon
    /// died in a write), which were cut off. They were never acknowledged.
    pub torn_bytes: u64,
    /// The last record is a stop: the daemon ended in order. Not known, and false, when the
    /// last record is in a sealed file.
    pub is_stopped: bool,
    /// Allocated and not released, with the time of allocation.
    pub live: HashMap<(Ipv4Addr, u16), LoggedBlock>,
    /// Released within `keep_released_ms` and not allocated since, with the time
    /// of release: their hold goes on (RFC 6888 REQ-8).
    pub released: HashMap<(Ipv4Addr, u16), LoggedBlock>,
    /// Allocations of a live block and releases of one that was not live: signs
    /// of a fault in the daemon. The later record counts.
    pub unpaired: u64,
    /// Names of subscribers.
    pub names: Book,
}

impl Recovery {
    /// Takes a block into account that was held since `unix_ms` when a day began.
    pub(super) fn add_held(&mut self, block: Block, unix_ms: u64) {
        let key = (block.external, block.ports.first());
        self.live.insert(key, LoggedBlock { block, unix_ms });
    }

    /// Takes the next record into account. Releases before `released_since_ms`
    /// are not kept, so that memory follows what is of use.
    pub(super) fn add(&mut self, record: &Record, released_since_ms: u64) {
        self.last_sequence = Some(record.sequence);
        self.names.follow(&record.entry);
        self.add_entry(&record.entry, released_since_ms);
        self.last_unix_ms = Some(record.entry.unix_ms);
    }

    /// The same for a record whose number is not known: of a sealed file, in which
    /// records of one block are in order, but not those of several.
    pub(super) fn add_entry(&mut self, entry: &Entry, released_since_ms: u64) {
        let unix_ms = entry.unix_ms;
        self.records += 1;
        self.last_unix_ms = self.last_unix_ms.max(Some(unix_ms));
        self.is_stopped = entry.event == Event::Stop;
        match entry.event {
            Event::Start | Event::Stop | Event::Gap | Event::Resume => {}
            // The tables know them.
            Event::Open(_) | Event::Close(_) => {}
            Event::Name(_) | Event::Login { .. } | Event::Logout(_) => {}
            Event::Allocate(block) => {
                let key = (block.external, block.ports.first());
                self.released.remove(&key);
                let earlier = self.live.insert(key, LoggedBlock { block, unix_ms });
                self.unpaired += u64::from(earlier.is_some());
            }
            Event::Release { block, .. } => {
                let key = (block.external, block.ports.first());
                let earlier = self.live.remove(&key).map(|earlier| earlier.block);
                self.unpaired += u64::from(earlier != Some(block));
                if unix_ms >= released_since_ms {
                    self.released.insert(key, LoggedBlock { block, unix_ms });
                }
            }
        }
    }
}
