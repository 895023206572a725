//! Reads sealed files. A look-up reads the pages that can hold the address, and no others.

use std::net::Ipv4Addr;
use std::ops::Range;
use std::path::Path;

use cgn_common::limits::MAX_BLOCK_PORTS;
use parquet::data_type::{ByteArray, ByteArrayType, Int32Type, Int64Type};
use parquet::file::page_index::column_index::ColumnIndexMetaData;

use super::row::{
    Numbers, Row, SCHEMA, SCHEMA_WITH_REALMS, SCHEMA_WITH_SESSIONS, SCHEMA_WITHOUT_KEY, column,
    has_schema,
};
use super::table::Table;
use super::write::{VERSION, VERSION_WITH_REALMS, VERSION_WITH_SESSIONS, VERSION_WITHOUT_KEY};
use super::{Chained, SealedError};

/// A sealed file, open for reading.
#[derive(Debug)]
pub struct SealedFile {
    table: Table,
    chained: Chained,
    has_key: bool,
    has_sessions: bool,
    has_realms: bool,
}

impl SealedFile {
    /// Opens the file and reads its metadata.
    ///
    /// # Errors
    /// It cannot be read, or is no sealed file that this program knows.
    pub fn open(path: &Path) -> Result<Self, SealedError> {
        let table = Table::open(path)?;
        let columns = table.columns();
        let has_realms = columns.num_columns() == column::ALL;
        let has_sessions = has_realms || columns.num_columns() == column::ALL_OF_SESSIONS;
        let has_key = columns.num_columns() > column::KEY;
        let (schema, version) = match (has_sessions, has_key) {
            _ if has_realms => (&SCHEMA_WITH_REALMS, VERSION_WITH_REALMS),
            (true, _) => (&SCHEMA_WITH_SESSIONS, VERSION_WITH_SESSIONS),
            (_, true) => (&SCHEMA, VERSION),
            _ => (&SCHEMA_WITHOUT_KEY, VERSION_WITHOUT_KEY),
        };
        let chained = table.chained_as(version, has_schema(columns, schema))?;
        Ok(Self {
            table,
            chained,
            has_key,
            has_sessions,
            has_realms,
        })
    }

    /// Its place in the log.
    #[must_use]
    pub fn chained(&self) -> &Chained {
        &self.chained
    }

    /// Whether it has rows of mappings or sessions.
    #[must_use]
    pub fn has_sessions(&self) -> bool {
        self.has_sessions
    }

    /// How many rows it has.
    #[must_use]
    pub fn row_count(&self) -> u64 {
        self.table.row_count()
    }

    /// All rows, in the file's order.
    ///
    /// # Errors
    /// The file is damaged.
    pub fn rows(&self) -> Result<Vec<Row>, SealedError> {
        let mut rows = Vec::new();
        for group in 0..self.table.metadata.num_row_groups() {
            let count = self.table.rows_of_group(group);
            rows.extend(self.rows_in(group, 0..count)?);
        }
        Ok(rows)
    }

    /// The rows of blocks of an external address, and of mappings, in the file's order.
    ///
    /// # Errors
    /// The file is damaged.
    pub fn rows_of_external(&self, external: Ipv4Addr) -> Result<Vec<Row>, SealedError> {
        let mut rows = Vec::new();
        for group in 0..self.table.metadata.num_row_groups() {
            rows.extend(self.rows_in(group, self.range_of_external(group, external)?)?);
        }
        Ok(rows)
    }

    /// The rows of blocks that can hold a port of an external address, and of mappings with that
    /// port, among others; in the file's order.
    ///
    /// # Errors
    /// The file is damaged.
    pub fn rows_of_port(&self, external: Ipv4Addr, port: u16) -> Result<Vec<Row>, SealedError> {
        if !self.has_sessions {
            // So few that looking for the port first would take longer.
            return self.rows_of_external(external);
        }
        let mut rows = Vec::new();
        let least = i32::from(port.saturating_sub(MAX_BLOCK_PORTS as u16 - 1));
        for group in 0..self.table.metadata.num_row_groups() {
            let range = self.range_of_external(group, external)?;
            // A scattered block has any ports.
            let keys = self.table.read::<Int32Type>(group, column::KEY, &range)?;
            if keys.iter().any(|key| *key != 0) {
                rows.extend(self.rows_in(group, range)?);
                continue;
            }
            let ports = self
                .table
                .read::<Int32Type>(group, column::FIRST_PORT, &range)?;
            let first = ports.partition_point(|first| *first < least);
            let after = ports.partition_point(|first| *first <= i32::from(port));
            rows.extend(self.rows_in(group, range.start + first..range.start + after)?);
        }
        Ok(rows)
    }

    fn range_of_external(
        &self,
        group: usize,
        external: Ipv4Addr,
    ) -> Result<Range<usize>, SealedError> {
        let wanted = external.to_bits();
        let pages = self.pages_with(group, wanted);
        let addresses: Vec<u32> = self
            .table
            .read::<Int32Type>(group, column::EXTERNAL, &pages)?
            .into_iter()
            .map(i32::cast_unsigned)
            .collect();
        let first = addresses.partition_point(|address| *address < wanted);
        let after = addresses.partition_point(|address| *address <= wanted);
        Ok(pages.start + first..pages.start + after)
    }

    /// The rows of a subscriber's blocks, in the file's order.
    ///
    /// # Errors
    /// The file is damaged.
    pub fn rows_of_inside(&self, inside: Ipv4Addr) -> Result<Vec<Row>, SealedError> {
        let mut rows = Vec::new();
        let wanted = inside.to_bits().cast_signed();
        for group in 0..self.table.metadata.num_row_groups() {
            let count = self.table.rows_of_group(group);
            let addresses = self
                .table
                .read::<Int32Type>(group, column::INSIDE, &(0..count))?;
            let found = addresses.iter().enumerate();
            for (at, _) in found.filter(|(_, address)| **address == wanted) {
                rows.extend(self.rows_in(group, at..at + 1)?);
            }
        }
        // A start or stop has 0 in the place of an address.
        rows.retain(|row| row.block().is_some() || row.session().is_some());
        Ok(rows)
    }

    /// The rows of the pages that can hold an external address; all without a page index.
    fn pages_with(&self, group: usize, wanted: u32) -> Range<usize> {
        let count = self.table.rows_of_group(group);
        let index = self.table.metadata.page_index_for_row_group(group);
        let (Some(ColumnIndexMetaData::INT32(pages)), Some(places)) = (
            index.column_index(column::EXTERNAL),
            index.offset_index(column::EXTERNAL),
        ) else {
            return 0..count;
        };
        let starts = places.page_locations();
        let may_hold = |page: &usize| {
            let least = pages
                .min_value(*page)
                .map_or(0, |value| value.cast_unsigned());
            let most = pages
                .max_value(*page)
                .map_or(u32::MAX, |value| value.cast_unsigned());
            (least..=most).contains(&wanted)
        };
        let mut holding = (0..starts.len()).filter(may_hold);
        let Some(first) = holding.next() else {
            return 0..0;
        };
        let last = holding.next_back().unwrap_or(first);
        let row = |page: usize| {
            starts
                .get(page)
                .map_or(count, |start| start.first_row_index as usize)
        };
        row(first)..row(last + 1)
    }

    fn rows_in(&self, group: usize, range: Range<usize>) -> Result<Vec<Row>, SealedError> {
        let times = self.table.read::<Int64Type>(group, column::TIME, &range)?;
        let events = self
            .table
            .read::<ByteArrayType>(group, column::EVENT, &range)?;
        let reasons = self
            .table
            .read::<ByteArrayType>(group, column::REASON, &range)?;
        let number = |number| self.table.read::<Int32Type>(group, number, &range);
        let externals = number(column::EXTERNAL)?;
        let first_ports = number(column::FIRST_PORT)?;
        let port_counts = number(column::PORT_COUNT)?;
        let insides = number(column::INSIDE)?;
        let pools = number(column::POOL)?;
        let keys = match self.has_key {
            true => number(column::KEY)?,
            false => vec![0; range.len()],
        };
        let of_sessions = |column| match self.has_sessions {
            true => self.table.read::<Int32Type>(group, column, &range),
            false => Ok(vec![0; range.len()]),
        };
        let inside_ports = of_sessions(column::INSIDE_PORT)?;
        let remotes = of_sessions(column::REMOTE)?;
        let remote_ports = of_sessions(column::REMOTE_PORT)?;
        let protocols = match self.has_sessions {
            true => self
                .table
                .read::<ByteArrayType>(group, column::PROTOCOL, &range)?,
            false => Vec::new(),
        };
        let realms = match self.has_realms {
            true => number(column::REALM_NUMBER)?,
            false => vec![0; range.len()],
        };
        (0..range.len())
            .map(|at| {
                let numbers = Numbers {
                    external: externals[at],
                    first_port: first_ports[at],
                    port_count: port_counts[at],
                    inside: insides[at],
                    pool: pools[at],
                    key: keys[at],
                    inside_port: inside_ports[at],
                    remote: remotes[at],
                    remote_port: remote_ports[at],
                    realm: realms[at],
                };
                let row = numbers.row(
                    times[at],
                    text(&events[at]),
                    text(&reasons[at]),
                    protocols.get(at).map_or(b"", text),
                );
                row.ok_or_else(|| {
                    let event = events[at].as_utf8().unwrap_or("?");
                    self.table.unknown(&format!("{event:?} with {numbers:?}"))
                })
            })
            .collect()
    }
}

pub(super) fn text(value: &ByteArray) -> &[u8] {
    value.data()
}
