//! What collectors are told besides the log's records: that something ran out, or is about to
//! (RFC 8158 sections 4.6.5 to 4.6.8), and floods, which IPFIX and NetFlow have no event for. The
//! log itself has none of it.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;

use crate::policy::throttle::Prefix;

/// Notices that are kept for sinks that are slow or away.
pub const MOST_KEPT: usize = 1024;

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum What {
    /// A new subscriber found no free block at any address of the pool.
    AddressesExhausted { pool: u16 },
    /// A subscriber's address has no block left for it: all ports of `protocol` (IANA number).
    PortsExhausted {
        pool: u16,
        external: Ipv4Addr,
        protocol: u8,
    },
    /// As many mappings as the pool has memory for are allotted (`max_blocks`), so many of a protocol.
    MappingsExceeded { pool: u16, most: u32 },
    /// The subscriber has all ports of a protocol that it may have.
    SubscriberExceeded {
        pool: u16,
        inside: Ipv4Addr,
        /// Number of its realm in the log.
        #[serde(skip)]
        realm: u16,
        most: u32,
    },
    /// So many addresses' worth of the pool's blocks are in use or in hold.
    PoolHigh { pool: u16, addresses: u32 },
    /// Again so few.
    PoolLow { pool: u16, addresses: u32 },
    /// An external address gets so many packets a second that nobody waits for.
    AttackBegan {
        pool: u16,
        external: Ipv4Addr,
        per_second: u64,
    },
    /// It gets few again.
    AttackEnded { pool: u16, external: Ipv4Addr },
    /// A prefix of sources on that side (`inside` or `outside`) opens too many sessions, and is limited.
    PrefixThrottled {
        side: &'static str,
        /// Number of its realm in the log.
        #[serde(skip)]
        realm: u16,
        prefix: IpAddr,
        length: u8,
    },
    /// It is limited no more.
    PrefixReleased {
        side: &'static str,
        /// Number of its realm in the log.
        #[serde(skip)]
        realm: u16,
        prefix: IpAddr,
        length: u8,
    },
    /// The slow path is overloaded, and some new subscribers are put off.
    OverloadBegan { busy_percent: u64 },
    /// Nobody is put off any more.
    OverloadEnded { busy_percent: u64 },
    /// So many of a deterministic pool's blocks for overflow are in use or in hold.
    OverflowHigh { pool: u16, blocks: u64 },
    /// Again so few.
    OverflowLow { pool: u16, blocks: u64 },
}

/// Says it once, with its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub struct Notice {
    /// Milliseconds of Unix time.
    pub unix_ms: u64,
    #[serde(flatten)]
    pub what: What,
}

/// Whom a notice is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Concern {
    /// Somebody in the realm with this number in the log.
    Realm(u16),
    /// All whom the pool with this number serves.
    Pool(u16),
    /// Who runs the CGN.
    Provider,
}

impl What {
    /// The names of all kinds.
    pub const NAMES: [&'static str; 14] = [
        "addresses_exhausted",
        "ports_exhausted",
        "mappings_exceeded",
        "subscriber_exceeded",
        "pool_high",
        "pool_low",
        "attack_began",
        "attack_ended",
        "prefix_throttled",
        "prefix_released",
        "overload_began",
        "overload_ended",
        "overflow_high",
        "overflow_low",
    ];

    /// Place of the kind in [`Self::NAMES`].
    #[must_use]
    pub const fn number(&self) -> usize {
        match self {
            Self::AddressesExhausted { .. } => 0,
            Self::PortsExhausted { .. } => 1,
            Self::MappingsExceeded { .. } => 2,
            Self::SubscriberExceeded { .. } => 3,
            Self::PoolHigh { .. } => 4,
            Self::PoolLow { .. } => 5,
            Self::AttackBegan { .. } => 6,
            Self::AttackEnded { .. } => 7,
            Self::PrefixThrottled { .. } => 8,
            Self::PrefixReleased { .. } => 9,
            Self::OverloadBegan { .. } => 10,
            Self::OverloadEnded { .. } => 11,
            Self::OverflowHigh { .. } => 12,
            Self::OverflowLow { .. } => 13,
        }
    }

    #[must_use]
    pub const fn concern(&self) -> Concern {
        match *self {
            Self::AddressesExhausted { pool }
            | Self::PortsExhausted { pool, .. }
            | Self::MappingsExceeded { pool, .. }
            | Self::PoolHigh { pool, .. }
            | Self::PoolLow { pool, .. }
            | Self::OverflowHigh { pool, .. }
            | Self::OverflowLow { pool, .. }
            | Self::AttackBegan { pool, .. }
            | Self::AttackEnded { pool, .. } => Concern::Pool(pool),
            Self::SubscriberExceeded { realm, .. } => Concern::Realm(realm),
            Self::PrefixThrottled { side, realm, .. }
            | Self::PrefixReleased { side, realm, .. } => match side.as_bytes() {
                b"inside" => Concern::Realm(realm),
                _ => Concern::Provider,
            },
            Self::OverloadBegan { .. } | Self::OverloadEnded { .. } => Concern::Provider,
        }
    }

    /// A prefix, of the realm with this number in the log, is limited from now on.
    #[must_use]
    pub const fn throttled(prefix: Prefix, realm: u16) -> Self {
        let (prefix, length, side) = (prefix.first, prefix.length, prefix.side());
        Self::PrefixThrottled {
            side,
            realm,
            prefix,
            length,
        }
    }

    /// And no more.
    #[must_use]
    pub const fn released(prefix: Prefix, realm: u16) -> Self {
        let (prefix, length, side) = (prefix.first, prefix.length, prefix.side());
        Self::PrefixReleased {
            side,
            realm,
            prefix,
            length,
        }
    }

    /// The word that metrics, texts and JSON have for it.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        Self::NAMES[self.number()]
    }
}

/// The newest notices, for those who send them. Each reader keeps its own place.
#[derive(Debug, Default)]
pub struct Board(Mutex<Posted>);

#[derive(Debug, Default)]
struct Posted {
    /// Notices ever posted.
    count: u64,
    newest: VecDeque<Notice>,
}

impl Board {
    fn posted(&self) -> MutexGuard<'_, Posted> {
        // A push that panicked left nothing half done that matters.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn post(&self, notice: Notice) {
        let posted = &mut *self.posted();
        if posted.newest.len() == MOST_KEPT {
            posted.newest.pop_front();
        }
        posted.newest.push_back(notice);
        posted.count += 1;
    }

    /// What was posted after the first `place` notices, at most `most`, and how many of them are gone.
    /// `place` goes on accordingly.
    pub fn read(&self, place: &mut u64, most: usize) -> (Vec<Notice>, u64) {
        let posted = self.posted();
        let first_kept = posted.count - posted.newest.len() as u64;
        let lost = first_kept.saturating_sub(*place);
        *place += lost;
        let skipped = (*place - first_kept) as usize;
        let notices: Vec<Notice> = posted
            .newest
            .iter()
            .skip(skipped)
            .take(most)
            .copied()
            .collect();
        *place += notices.len() as u64;
        (notices, lost)
    }

    /// Notices ever posted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.posted().count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_gets_each_notice_once_or_is_told_how_many_are_gone() {
        let board = Board::default();
        let notice = |unix_ms| Notice {
            unix_ms,
            what: What::AddressesExhausted { pool: 0 },
        };
        let mut place = board.count();
        (1..=3).for_each(|unix_ms| board.post(notice(unix_ms)));
        assert_eq!(board.read(&mut place, 2), (vec![notice(1), notice(2)], 0));
        assert_eq!(board.read(&mut place, 2), (vec![notice(3)], 0));
        assert_eq!(board.read(&mut place, 2), (vec![], 0));
        (0..MOST_KEPT as u64 + 5).for_each(|unix_ms| board.post(notice(unix_ms)));
        assert_eq!(board.read(&mut place, 1), (vec![notice(5)], 5));
        assert_eq!(board.read(&mut place, 9999).0.len(), MOST_KEPT - 1);
    }
}
