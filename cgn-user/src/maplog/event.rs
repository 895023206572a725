//! What the mapping log says, whatever its bytes look like.

use std::net::Ipv4Addr;

use cgn_common::nat::class;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::identity::{Attribute, Login, Piece};
use super::session::Session;

/// At least one port, none beyond 65535. Host byte order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PortRange {
    first: u16,
    count: u16,
}

/// Which protocols' ports a block covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ProtocolScope {
    /// The same ports of TCP and UDP, and the same ICMP identifiers.
    All,
}

/// Why a block was released.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ReleaseReason {
    /// No mapping was left in it for long enough.
    Idle,
    /// The daemon stopped and gave everything back.
    Shutdown,
    /// The log said that it was live, the tables did not.
    Orphan,
    /// The configuration has its pool, subscriber or block size no more.
    Reconfigured,
    /// An operator asked for it.
    Administrative,
}

/// A block and the subscriber that it was given to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Block {
    /// The subscriber's inside address.
    pub inside: Ipv4Addr,
    /// Number of its realm in this log, see [`super::realms`]; 0: the first.
    pub realm: u16,
    pub external: Ipv4Addr,
    pub ports: PortRange,
    /// Number of the pool in the configuration at the time.
    pub pool: u16,
    pub scope: ProtocolScope,
    /// Number of the key with which the block is scattered (see [`super::scatter`]): `ports` are
    /// then places, not ports. [`class::KEY`]: it has ports of both classes, and `ports` are
    /// places, too. 0: the block is contiguous.
    pub key: u8,
}

impl Block {
    /// True if only a key tells its ports.
    #[must_use]
    pub const fn is_scattered(&self) -> bool {
        !matches!(self.key, 0 | class::KEY)
    }

    /// Its ranges, as they are told.
    #[must_use]
    pub fn ranges(&self) -> Ranges {
        Ranges::of(self.ports, self.key)
    }
}

/// The ranges of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ranges {
    /// Its ports, those from 1024 on if it has others below; of a scattered one, its places.
    pub ports: PortRange,
    /// Its ports below 1024.
    pub system: Option<PortRange>,
}

impl Ranges {
    /// Those of a block with these places (or ports, if they are the same) and this key on record.
    #[must_use]
    pub const fn of(places: PortRange, key: u8) -> Self {
        if key != class::KEY {
            return Self {
                ports: places,
                system: None,
            };
        }
        let [(system, few), (first, count)] = class::ranges(places.first, places.count);
        Self {
            ports: PortRange { first, count },
            system: PortRange::new(system, few),
        }
    }
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Event {
    /// A daemon began to write this log.
    Start,
    /// The daemon stopped in order.
    Stop,
    /// From this time on blocks were given and taken without records, for the log could not be
    /// written (`log.on_full = "continue"`). The next record is [`Event::Resume`].
    Gap,
    /// The log is written again; what is held without a record, and what was released without one,
    /// comes next in the same group.
    Resume,
    /// From now on the block's ports mean this subscriber.
    Allocate(Block),
    /// They do no more.
    Release {
        #[serde(flatten)]
        block: Block,
        reason: ReleaseReason,
    },
    /// A mapping or session began, at most about a second before.
    Open(Session),
    /// It ended. The release of its block is its end, too.
    Close(Session),
    /// Bytes of the name that the next login has.
    Name(Piece),
    /// The subscriber has a name from now on, in the place of the one before.
    Login {
        #[serde(flatten)]
        login: Login,
        attribute: Attribute,
        /// Bytes of the name, which is in the records before.
        #[serde(skip)]
        name_bytes: u8,
    },
    /// It has none any more.
    Logout(Login),
}

impl Serialize for Block {
    /// A scattered block has `first_place` and `place_count` with a `key`, so that nobody takes
    /// places for ports. One with ports below 1024 has `first_system_port` and `system_port_count`,
    /// too.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("inside", &self.inside)?;
        map.serialize_entry("external", &self.external)?;
        let (first, count) = match self.is_scattered() {
            false => ("first_port", "port_count"),
            true => ("first_place", "place_count"),
        };
        let ranges = self.ranges();
        map.serialize_entry(first, &ranges.ports.first())?;
        map.serialize_entry(count, &ranges.ports.count())?;
        if let Some(system) = ranges.system {
            map.serialize_entry("first_system_port", &system.first())?;
            map.serialize_entry("system_port_count", &system.count())?;
        }
        if self.is_scattered() {
            map.serialize_entry("key", &self.key)?;
        }
        map.serialize_entry("pool", &self.pool)?;
        map.serialize_entry("scope", &self.scope)?;
        map.end()
    }
}

impl ReleaseReason {
    /// Every reason with its name.
    const NAMES: [(Self, &'static str); 5] = [
        (Self::Idle, "idle"),
        (Self::Shutdown, "shutdown"),
        (Self::Orphan, "orphan"),
        (Self::Reconfigured, "reconfigured"),
        (Self::Administrative, "administrative"),
    ];

    /// The word that texts, files and streams have for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        let known = Self::NAMES.iter().find(|(reason, _)| *reason == self);
        known.map_or("", |(_, name)| name)
    }

    /// The reason of this name; None if there is none.
    #[must_use]
    pub fn named(name: &[u8]) -> Option<Self> {
        let known = Self::NAMES
            .iter()
            .find(|(_, known)| known.as_bytes() == name);
        known.map(|(reason, _)| *reason)
    }
}

impl Event {
    /// The block that the event is about; those of the log and the daemon have none.
    #[must_use]
    pub fn block(&self) -> Option<Block> {
        match self {
            Self::Start | Self::Stop | Self::Gap | Self::Resume => None,
            Self::Open(_) | Self::Close(_) => None,
            Self::Name(_) | Self::Login { .. } | Self::Logout(_) => None,
            Self::Allocate(block) | Self::Release { block, .. } => Some(*block),
        }
    }

    /// The mapping or session that it is about.
    #[must_use]
    pub fn session(&self) -> Option<Session> {
        match self {
            Self::Open(session) | Self::Close(session) => Some(*session),
            _ => None,
        }
    }

    /// The login that begins or ends.
    #[must_use]
    pub fn login(&self) -> Option<Login> {
        match self {
            Self::Login { login, .. } | Self::Logout(login) => Some(*login),
            _ => None,
        }
    }

    /// True for records of names of subscribers.
    #[must_use]
    pub const fn is_of_identity(&self) -> bool {
        matches!(self, Self::Name(_) | Self::Login { .. } | Self::Logout(_))
    }
}

/// What is to be logged; the log gives it its sequence number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub struct Entry {
    /// Milliseconds of Unix time.
    pub unix_ms: u64,
    #[serde(flatten)]
    pub event: Event,
}

/// One record of the log. Serializes as one flat object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub struct Record {
    /// One more than the record before; a gap is a loss.
    pub sequence: u64,
    #[serde(flatten)]
    pub entry: Entry,
}

impl PortRange {
    /// `count` ports from `first` on; None if that is no port, or one beyond 65535.
    #[must_use]
    pub const fn new(first: u16, count: u16) -> Option<Self> {
        if count == 0 || first.checked_add(count - 1).is_none() {
            return None;
        }
        Some(Self { first, count })
    }

    #[must_use]
    pub const fn first(self) -> u16 {
        self.first
    }

    #[must_use]
    pub const fn last(self) -> u16 {
        // `new` has checked that this does not overflow.
        self.first + (self.count - 1)
    }

    #[must_use]
    pub const fn contains(self, port: u16) -> bool {
        self.first <= port && port <= self.last()
    }

    #[must_use]
    pub const fn count(self) -> u16 {
        self.count
    }
}
