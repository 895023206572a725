//! What sinks are sent: records of the log, and reports of what it has no record of, as the bytes
//! of each format. Pure: times and numbers are passed in.

pub mod ipfix;
pub mod jsonl;
mod names;
pub mod netflow9;
mod notice;
mod realms;
mod sets;
pub mod syslog;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use super::event::{Block, Event, Record};
use super::identity::{Login, Who};
use super::notice::{Concern, Notice};
use super::session::Session;

/// What is told of a block, start or stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Item {
    /// A record of the log.
    Record(Record),
    /// The block is held since `unix_ms`: told again and again, so that a collector that missed its
    /// allocation can still answer (interim record).
    Interim { block: Block, since_ms: u64 },
    /// Something ran out, or is about to.
    Notice(Notice),
}

impl Item {
    /// The block that the item is about; events of log and daemon have none.
    #[must_use]
    pub fn block(&self) -> Option<Block> {
        match self {
            Self::Record(record) => record.entry.event.block(),
            Self::Interim { block, .. } => Some(*block),
            Self::Notice(_) => None,
        }
    }

    /// The mapping or session that the item is about.
    #[must_use]
    pub fn session(&self) -> Option<Session> {
        match self {
            Self::Record(record) => record.entry.event.session(),
            Self::Interim { .. } | Self::Notice(_) => None,
        }
    }

    /// Number of the realm of the subscriber, or prefix, that the item is about; 0: the first, or none.
    #[must_use]
    pub fn realm(&self) -> u16 {
        match self {
            Self::Notice(notice) => match notice.what.concern() {
                Concern::Realm(realm) => realm,
                Concern::Pool(_) | Concern::Provider => 0,
            },
            _ => self.who().map_or(0, |(realm, _)| realm),
        }
    }

    /// The login that begins or ends.
    #[must_use]
    pub fn login(&self) -> Option<Login> {
        match self {
            Self::Record(record) => record.entry.event.login(),
            Self::Interim { .. } | Self::Notice(_) => None,
        }
    }

    /// The subscriber that the item is about; a notice names him without.
    #[must_use]
    pub fn who(&self) -> Option<Who> {
        let of_block = self.block().map(|block| (block.realm, block.inside));
        let of_session = || {
            self.session()
                .map(|session| (session.realm, session.inside))
        };
        let of_login = || self.login().map(|login| login.who());
        of_block.or_else(of_session).or_else(of_login)
    }

    /// Milliseconds of Unix time; of an interim record, that of its allocation.
    #[must_use]
    pub fn unix_ms(&self) -> u64 {
        match self {
            Self::Record(record) => record.entry.unix_ms,
            Self::Interim { since_ms, .. } => *since_ms,
            Self::Notice(notice) => notice.unix_ms,
        }
    }

    /// Whether ports of the block, or the mapping, begin (or go on) to mean the subscriber, or
    /// cease to.
    fn is_given(&self) -> bool {
        match self {
            Self::Record(record) => {
                matches!(record.entry.event, Event::Allocate(_) | Event::Open(_))
            }
            Self::Interim { .. } => true,
            Self::Notice(_) => false,
        }
    }
}

/// The name of each item's subscriber, if it is known; too short: of the others it is not.
pub type Names<'a> = &'a [Option<Arc<str>>];

/// Appends big-endian fields.
struct Fields(Vec<u8>);

impl Fields {
    fn u8(&mut self, value: u8) {
        self.0.push(value);
    }

    fn u16(&mut self, value: u16) {
        self.0.extend_from_slice(&value.to_be_bytes());
    }

    fn u32(&mut self, value: u32) {
        self.0.extend_from_slice(&value.to_be_bytes());
    }

    fn u64(&mut self, value: u64) {
        self.0.extend_from_slice(&value.to_be_bytes());
    }

    fn put_u16(&mut self, at: usize, value: u16) {
        self.0[at..at + 2].copy_from_slice(&value.to_be_bytes());
    }
}
