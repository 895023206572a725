//! What stands in a row of a sealed file.
//!
//! | column | holds |
//! |---|---|
//! | `time` | when it happened; of `held`, the hour in which the block was allocated |
//! | `event` | `allocate`, `release`, `start`, `stop`, `gap`, `resume`, `open`, `close`; `held` in files of that name |
//! | `reason` | of a release; else empty |
//! | `external` | external address as a number: 192.0.2.1 is 3221225985 |
//! | `first_port`, `port_count` | the block's ports |
//! | `inside` | the subscriber's address as a number |
//! | `pool` | number of the pool in the configuration at the time |
//! | `key` | of a scattered block, the number of its key, of one with ports of both classes 255: ports are then places; else 0. Files of version 1 have no such column and no such blocks |
//!
//! Rows are sorted by external address and first port; rows of one block are in the order in
//! which they happened. `start`, `stop`, `gap` and `resume` have no block: 0 in its columns.
//!
//! A file with mappings or sessions (`log.mode`) is of version 2 and has four columns more:
//!
//! | column | holds |
//! |---|---|
//! | `protocol` | `tcp`, `udp`, `icmp`; empty in rows that are not about a mapping |
//! | `inside_port` | the subscriber's port |
//! | `remote`, `remote_port` | the remote endpoint, 0 where destinations are not logged |
//!
//! A file with a subscriber of another realm than the first is of version 4 and has these, and two more:
//!
//! | column | holds |
//! |---|---|
//! | `realm` | name of the subscriber's realm; empty for the first |
//! | `realm_number` | its number in this log; 0 for the first |
//!
//! In rows of sessions `first_port` is the external port, `port_count` 1, and `pool` 0. With `held` they
//! lasted when the day began.

use std::net::Ipv4Addr;
use std::sync::{Arc, LazyLock};

use parquet::basic::Repetition;
use parquet::schema::parser::parse_message_type;
use parquet::schema::types::{SchemaDescriptor, Type, TypePtr};

use crate::maplog::directory::Hour;
use crate::maplog::event::{Block, Entry, Event, PortRange, ProtocolScope, ReleaseReason};
use crate::maplog::session::{Protocol, Remote, Session};

/// Numbers of the columns.
pub(super) mod column {
    pub const TIME: usize = 0;
    pub const EVENT: usize = 1;
    pub const REASON: usize = 2;
    pub const EXTERNAL: usize = 3;
    pub const FIRST_PORT: usize = 4;
    pub const PORT_COUNT: usize = 5;
    pub const INSIDE: usize = 6;
    pub const POOL: usize = 7;
    pub const KEY: usize = 8;
    pub const PROTOCOL: usize = 9;
    pub const INSIDE_PORT: usize = 10;
    pub const REMOTE: usize = 11;
    pub const REMOTE_PORT: usize = 12;
    pub const ALL_OF_SESSIONS: usize = 13;
    pub const REALM_NUMBER: usize = 14;
    pub const ALL: usize = 15;
}

const OF_BLOCKS: &str = "
    required int64 time (TIMESTAMP(MILLIS, true));
    required binary event (STRING);
    required binary reason (STRING);
    required int32 external (INTEGER(32, false));
    required int32 first_port (INTEGER(16, false));
    required int32 port_count (INTEGER(16, false));
    required int32 inside (INTEGER(32, false));
    required int32 pool (INTEGER(16, false));";
const OF_KEY: &str = "
    required int32 key (INTEGER(8, false));";
const OF_SESSIONS: &str = "
    required binary protocol (STRING);
    required int32 inside_port (INTEGER(16, false));
    required int32 remote (INTEGER(32, false));
    required int32 remote_port (INTEGER(16, false));";

const OF_REALMS: &str = "
    required binary realm (STRING);
    required int32 realm_number (INTEGER(16, false));";

fn parsed(more: &[&str]) -> TypePtr {
    let text = format!("message mapping_log {{ {OF_BLOCKS} {} }}", more.concat());
    Arc::new(parse_message_type(&text).expect("the texts above are a schema"))
}

/// The schema of files of version 1, whose blocks are all contiguous.
pub(super) static SCHEMA_WITHOUT_KEY: LazyLock<TypePtr> = LazyLock::new(|| parsed(&[]));

/// The schema of files of version 2, which have blocks only.
pub(super) static SCHEMA: LazyLock<TypePtr> = LazyLock::new(|| parsed(&[OF_KEY]));

/// The schema of files of version 3.
pub(super) static SCHEMA_WITH_SESSIONS: LazyLock<TypePtr> =
    LazyLock::new(|| parsed(&[OF_KEY, OF_SESSIONS]));

/// The schema of files of version 4.
pub(super) static SCHEMA_WITH_REALMS: LazyLock<TypePtr> =
    LazyLock::new(|| parsed(&[OF_KEY, OF_SESSIONS, OF_REALMS]));

/// Whether a file has the columns of `wanted` and no others.
pub(super) fn has_schema(found: &SchemaDescriptor, wanted: &Type) -> bool {
    let fields = |schema: &Type| -> Vec<(String, Option<parquet::basic::Type>, Repetition)> {
        let fields = schema.get_fields().iter();
        fields
            .map(|field| {
                let physical = field.is_primitive().then(|| field.get_physical_type());
                let info = field.get_basic_info();
                (field.name().to_owned(), physical, info.repetition())
            })
            .collect()
    };
    fields(found.root_schema()) == fields(wanted)
}

/// What a row says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fact {
    /// A record of the log.
    Event(Event),
    /// The block was held, since the hour that the row's time tells.
    Held(Block),
    /// The mapping or session lasted, since the hour that the row's time tells.
    Lasting(Session),
}

/// A row of a sealed file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Row {
    /// Milliseconds of Unix time.
    pub unix_ms: u64,
    pub fact: Fact,
}

impl From<Entry> for Row {
    fn from(entry: Entry) -> Self {
        Self {
            unix_ms: entry.unix_ms,
            fact: Fact::Event(entry.event),
        }
    }
}

impl Row {
    /// The row of a block that is held since `unix_ms`.
    #[must_use]
    pub fn held(block: Block, unix_ms: u64) -> Self {
        Self {
            unix_ms: Hour::of(unix_ms).start_ms(),
            fact: Fact::Held(block),
        }
    }

    /// The block that the row is about; those of log and daemon have none.
    #[must_use]
    pub fn block(&self) -> Option<Block> {
        match self.fact {
            Fact::Event(event) => event.block(),
            Fact::Held(block) => Some(block),
            Fact::Lasting(_) => None,
        }
    }

    /// The row of a mapping or session that lasts since `unix_ms`.
    #[must_use]
    pub fn lasting(session: Session, unix_ms: u64) -> Self {
        Self {
            unix_ms: Hour::of(unix_ms).start_ms(),
            fact: Fact::Lasting(session),
        }
    }

    /// The mapping or session that the row is about.
    #[must_use]
    pub fn session(&self) -> Option<Session> {
        match self.fact {
            Fact::Event(event) => event.session(),
            Fact::Held(_) => None,
            Fact::Lasting(session) => Some(session),
        }
    }

    /// Number of the subscriber's realm in this log.
    #[must_use]
    pub fn realm(&self) -> u16 {
        let of_session = || self.session().map_or(0, |session| session.realm);
        self.block().map_or_else(of_session, |block| block.realm)
    }

    /// By what rows are sorted: external address and first port.
    pub(in crate::maplog) fn key(&self) -> u64 {
        let key = |external: Ipv4Addr, port| u64::from(external.to_bits()) << 16 | u64::from(port);
        match (self.block(), self.session()) {
            (Some(block), _) => key(block.external, block.ports.first()),
            (_, Some(session)) => key(session.external, session.external_port),
            _ => 0,
        }
    }

    /// Texts of the columns `event` and `reason`.
    pub(super) fn words(&self) -> (&'static str, &'static str) {
        match self.fact {
            Fact::Held(_) | Fact::Lasting(_) => ("held", ""),
            Fact::Event(Event::Open(_)) => ("open", ""),
            Fact::Event(Event::Close(_)) => ("close", ""),
            // They are in files of their own.
            Fact::Event(Event::Name(_)) => ("name", ""),
            Fact::Event(Event::Login { .. }) => ("login", ""),
            Fact::Event(Event::Logout(_)) => ("logout", ""),
            Fact::Event(Event::Start) => ("start", ""),
            Fact::Event(Event::Stop) => ("stop", ""),
            Fact::Event(Event::Gap) => ("gap", ""),
            Fact::Event(Event::Resume) => ("resume", ""),
            Fact::Event(Event::Allocate(_)) => ("allocate", ""),
            Fact::Event(Event::Release { reason, .. }) => ("release", reason.name()),
        }
    }
}

/// The numbers of a row's block, as they stand in the columns.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Numbers {
    pub external: i32,
    pub first_port: i32,
    pub port_count: i32,
    pub inside: i32,
    pub pool: i32,
    pub key: i32,
    pub inside_port: i32,
    pub remote: i32,
    pub remote_port: i32,
    pub realm: i32,
}

impl Numbers {
    /// All 0 without a block or session.
    pub(super) fn of(row: &Row) -> Self {
        if let Some(session) = row.session() {
            return Self::of_session(&session);
        }
        row.block().map_or_else(Self::default, |block| Self {
            external: block.external.to_bits().cast_signed(),
            first_port: i32::from(block.ports.first()),
            port_count: i32::from(block.ports.count()),
            inside: block.inside.to_bits().cast_signed(),
            pool: i32::from(block.pool),
            key: i32::from(block.key),
            realm: i32::from(block.realm),
            ..Self::default()
        })
    }

    fn of_session(session: &Session) -> Self {
        let address = |address: Ipv4Addr| address.to_bits().cast_signed();
        Self {
            external: address(session.external),
            first_port: i32::from(session.external_port),
            port_count: 1,
            inside: address(session.inside),
            pool: 0,
            key: 0,
            inside_port: i32::from(session.inside_port),
            remote: session.remote.map_or(0, |remote| address(remote.address)),
            remote_port: session.remote.map_or(0, |remote| i32::from(remote.port)),
            realm: i32::from(session.realm),
        }
    }

    /// Address and port 0 are nobody's remote endpoint.
    fn session(&self, protocol: &[u8]) -> Option<Session> {
        let port = |port| u16::try_from(port).ok();
        let remote = Remote {
            address: Ipv4Addr::from_bits(self.remote.cast_unsigned()),
            port: port(self.remote_port)?,
        };
        Some(Session {
            external: Ipv4Addr::from_bits(self.external.cast_unsigned()),
            external_port: port(self.first_port)?,
            protocol: Protocol::named(protocol)?,
            realm: u16::try_from(self.realm).ok()?,
            inside: Ipv4Addr::from_bits(self.inside.cast_unsigned()),
            inside_port: port(self.inside_port)?,
            remote: (self.remote != 0 || self.remote_port != 0).then_some(remote),
        })
    }

    fn block(&self) -> Option<Block> {
        let first = u16::try_from(self.first_port).ok()?;
        let count = u16::try_from(self.port_count).ok()?;
        Some(Block {
            inside: Ipv4Addr::from_bits(self.inside.cast_unsigned()),
            realm: u16::try_from(self.realm).ok()?,
            external: Ipv4Addr::from_bits(self.external.cast_unsigned()),
            ports: PortRange::new(first, count)?,
            pool: u16::try_from(self.pool).ok()?,
            scope: ProtocolScope::All,
            key: u8::try_from(self.key).ok()?,
        })
    }

    /// The row with these numbers and words; None if they are of no row that we write.
    pub(super) fn row(
        &self,
        time: i64,
        event: &[u8],
        reason: &[u8],
        protocol: &[u8],
    ) -> Option<Row> {
        let fact = match event {
            b"held" if !protocol.is_empty() => Fact::Lasting(self.session(protocol)?),
            b"open" => Fact::Event(Event::Open(self.session(protocol)?)),
            b"close" => Fact::Event(Event::Close(self.session(protocol)?)),
            b"held" => Fact::Held(self.block()?),
            b"allocate" => Fact::Event(Event::Allocate(self.block()?)),
            b"release" => Fact::Event(Event::Release {
                block: self.block()?,
                reason: ReleaseReason::named(reason)?,
            }),
            b"start" => Fact::Event(Event::Start),
            b"stop" => Fact::Event(Event::Stop),
            b"gap" => Fact::Event(Event::Gap),
            b"resume" => Fact::Event(Event::Resume),
            _ => return None,
        };
        let unix_ms = time.cast_unsigned();
        Some(Row { unix_ms, fact })
    }
}
