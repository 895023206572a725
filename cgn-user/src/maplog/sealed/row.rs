//! What stands in a row of a sealed file.
//!
//! | column | holds |
//! |---|---|
//! | `time` | when it happened; of `held`, the hour in which the block was allocated |
//! | `event` | `allocate`, `release`, `start`, `stop`, `gap`, `resume`; `held` in files of that name |
//! | `reason` | of a release; else empty |
//! | `external` | external address as a number: 192.0.2.1 is 3221225985 |
//! | `first_port`, `port_count` | the block's ports |
//! | `inside` | the subscriber's address as a number |
//! | `pool` | number of the pool in the configuration at the time |
//! | `key` | of a scattered block, the number of its key: ports are then places; else 0. Files of version 1 have no such column and no such blocks |
//!
//! Rows are sorted by external address and first port; rows of one block are in the order in
//! which they happened. `start`, `stop`, `gap` and `resume` have no block: 0 in its columns.

use std::net::Ipv4Addr;
use std::sync::{Arc, LazyLock};

use parquet::basic::Repetition;
use parquet::schema::parser::parse_message_type;
use parquet::schema::types::{SchemaDescriptor, Type, TypePtr};

use crate::maplog::directory::Hour;
use crate::maplog::event::{Block, Entry, Event, PortRange, ProtocolScope, ReleaseReason};

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
    pub const ALL: usize = 9;
}

/// The schema of a sealed file, version 2.
pub(super) static SCHEMA: LazyLock<TypePtr> = LazyLock::new(|| {
    let text = "message mapping_log {
        required int64 time (TIMESTAMP(MILLIS, true));
        required binary event (STRING);
        required binary reason (STRING);
        required int32 external (INTEGER(32, false));
        required int32 first_port (INTEGER(16, false));
        required int32 port_count (INTEGER(16, false));
        required int32 inside (INTEGER(32, false));
        required int32 pool (INTEGER(16, false));
        required int32 key (INTEGER(8, false));
    }";
    Arc::new(parse_message_type(text).expect("the text above is a schema"))
});

/// Whether a file has these columns and no others; version 1 had all but the last.
pub(super) fn has_schema(found: &SchemaDescriptor) -> bool {
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
    let (found, known) = (fields(found.root_schema()), fields(&SCHEMA));
    found == known || found == known[..column::KEY]
}

/// What a row says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fact {
    /// A record of the log.
    Event(Event),
    /// The block was held, since the hour that the row's time tells.
    Held(Block),
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
        }
    }

    /// By what rows are sorted: external address and first port.
    pub(in crate::maplog) fn key(&self) -> u64 {
        self.block().map_or(0, |block| {
            u64::from(block.external.to_bits()) << 16 | u64::from(block.ports.first())
        })
    }

    /// Texts of the columns `event` and `reason`.
    pub(super) fn words(&self) -> (&'static str, &'static str) {
        match self.fact {
            Fact::Held(_) => ("held", ""),
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
}

impl Numbers {
    /// All 0 without a block.
    pub(super) fn of(row: &Row) -> Self {
        row.block().map_or_else(Self::default, |block| Self {
            external: block.external.to_bits().cast_signed(),
            first_port: i32::from(block.ports.first()),
            port_count: i32::from(block.ports.count()),
            inside: block.inside.to_bits().cast_signed(),
            pool: i32::from(block.pool),
            key: i32::from(block.key),
        })
    }

    fn block(&self) -> Option<Block> {
        let first = u16::try_from(self.first_port).ok()?;
        let count = u16::try_from(self.port_count).ok()?;
        Some(Block {
            inside: Ipv4Addr::from_bits(self.inside.cast_unsigned()),
            external: Ipv4Addr::from_bits(self.external.cast_unsigned()),
            ports: PortRange::new(first, count)?,
            pool: u16::try_from(self.pool).ok()?,
            scope: ProtocolScope::All,
            key: u8::try_from(self.key).ok()?,
        })
    }

    /// The row with these numbers and words; None if they are of no row that we write.
    pub(super) fn row(&self, time: i64, event: &[u8], reason: &[u8]) -> Option<Row> {
        let fact = match event {
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
