//! Who had which ports when: answers from sealed files and write-ahead segments alike, while the
//! daemon runs or from a copy.
//!
//! * `walk`: the log's files backwards from a time. * `who`: an address and port at a time.
//! * `subscriber`: all that one subscriber had. * `access_log`: lines of servers' logs. Pure.
//! * `sessions`: the mappings and sessions of a port, where the log has them.
//! * `identities`: the names of a subscriber, where the log has them.
//! * `rows`: answers as they are told.

pub mod access_log;
mod identities;
mod rows;
mod sessions;
mod subscriber;
#[cfg(test)]
mod tests;
mod walk;
mod who;

use std::net::Ipv4Addr;
use std::path::Path;

pub use identities::{Known, identities, names};
pub use rows::{AnswerRow, HoldingRow, NameRow, SessionRow, Told};
pub use sessions::{Lasted, sessions};
pub use subscriber::{Owned, subscriber};
pub use who::{Answer, Enquiry, Outcome, who};

use super::directory::{self, Content, Hour};
use super::error::ReadError;
use super::event::{Block, Event, PortRange, ProtocolScope, ReleaseReason};
use super::identity::Who;
use super::maps::Static;
use super::realms::{RealmsError, Register};
use super::scatter::{Keyring, KeyringError};
use super::sealed::{Fact, Row, SealedFile};

/// A block in the hands of one subscriber.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holding {
    pub block: Block,
    /// Milliseconds of Unix time; None if the allocation is not in the log any more.
    pub since_ms: Option<u64>,
    /// When it was released, and why; None if it was still held at the end of what was read.
    pub until: Option<(u64, ReleaseReason)>,
}

impl Holding {
    /// Whose it was.
    #[must_use]
    pub const fn who(&self) -> Who {
        (self.block.realm, self.block.inside)
    }

    /// From when to when, as far as is known.
    #[must_use]
    pub fn time_ms(&self) -> (u64, u64) {
        let until = self.until.map_or(u64::MAX, |(until, _)| until);
        (self.since_ms.unwrap_or(0), until)
    }
}

/// A share as if it were a block on record.
fn held_by_map(held: Static<'_>, realms: &Register) -> Option<Result<Holding, RealmsError>> {
    let count = held.share.last_port - held.share.first_port + 1;
    let ports = PortRange::new(held.share.first_port, count)?;
    let Some(realm) = realms.number(held.realm) else {
        let name = held.realm.to_owned();
        return Some(Err(RealmsError::Unnamed { name }));
    };
    let block = Block {
        inside: held.inside,
        realm,
        external: held.share.external,
        ports,
        pool: held.pool,
        scope: ProtocolScope::All,
        key: 0,
    };
    let until = held.until_ms;
    Some(Ok(Holding {
        block,
        since_ms: Some(held.since_ms),
        until: until.map(|ms| (ms, ReleaseReason::Reconfigured)),
    }))
}

/// When a block that was held when a day began was allocated: its record is in the hour that
/// the row tells.
fn exact_since(root: &Path, block: &Block, hour_ms: u64) -> Result<Option<u64>, ReadError> {
    let hour = Hour::of(hour_ms);
    let io = |source| ReadError::Io {
        path: root.into(),
        source,
    };
    for name in directory::sealed_of(root, hour.day()).map_err(io)? {
        // A clock that went back may have put the record into a later hour.
        if name.content != Content::Records || name.hour < hour {
            continue;
        }
        let rows = SealedFile::open(&name.path(root))?.rows_of_external(block.external)?;
        let allocation = rows.iter().rev().find(|row| {
            row.fact == Fact::Event(Event::Allocate(*block)) && Hour::of(row.unix_ms) == hour
        });
        if let Some(row) = allocation {
            return Ok(Some(row.unix_ms));
        }
        if name.hour > Hour(hour.0 + 1) {
            break;
        }
    }
    Ok(None)
}

/// Whether the row is about a block with this port of this address.
fn concerns(
    row: &Row,
    keys: &Keyring,
    external: Ipv4Addr,
    port: u16,
) -> Result<bool, KeyringError> {
    match row.block().filter(|block| block.external == external) {
        Some(block) => keys.has(&block, port),
        None => Ok(false),
    }
}
