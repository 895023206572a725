//! Sealed names of subscribers, in files of their own: who logs none has none of them.
//!
//! | column | holds |
//! |---|---|
//! | `time` | when it was told |
//! | `since` | when it happened |
//! | `event` | `login`, `logout`; `held` of what lasted when the day began |
//! | `inside` | the subscriber's address as a number |
//! | `realm` | name of its realm; empty for the first |
//! | `realm_number` | its number in this log; 0 for the first |
//! | `attribute` | of RADIUS, that the name is from; empty of a logout |
//! | `identity` | the name; empty of a logout |
//! | `nas`, `nas_session` | digests of the access server and of its session |
//! | `records` | how many records of the log the row stands for |
//!
//! Rows are sorted by address and realm; those of one subscriber are in the order in which they were told.

use std::io::Write;
use std::net::Ipv4Addr;
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, LazyLock};

use parquet::data_type::{ByteArray, ByteArrayType, Int32Type, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use parquet::schema::types::TypePtr;

use super::read::text;
use super::row::has_schema;
use super::table::Table;
use super::write::{atomically, builder, write_column};
use super::{Chained, Hash, SealedError};
use crate::maplog::event::Entry;
use crate::maplog::identity::{Attribute, Book, Change, Login, Named, Who};
use crate::maplog::realms::Register;

const VERSION: &str = "identities 1";

mod column {
    pub const TIME: usize = 0;
    pub const SINCE: usize = 1;
    pub const EVENT: usize = 2;
    pub const INSIDE: usize = 3;
    pub const REALM_NUMBER: usize = 5;
    pub const ATTRIBUTE: usize = 6;
    pub const IDENTITY: usize = 7;
    pub const NAS: usize = 8;
    pub const NAS_SESSION: usize = 9;
    pub const RECORDS: usize = 10;
}

static SCHEMA: LazyLock<TypePtr> = LazyLock::new(|| {
    let text = "message identities {
        required int64 time (TIMESTAMP(MILLIS, true));
        required int64 since (TIMESTAMP(MILLIS, true));
        required binary event (STRING);
        required int32 inside (INTEGER(32, false));
        required binary realm (STRING);
        required int32 realm_number (INTEGER(16, false));
        required binary attribute (STRING);
        required binary identity (STRING);
        required int32 nas (INTEGER(32, false));
        required int32 nas_session (INTEGER(32, false));
        required int32 records (INTEGER(8, false));
    }";
    Arc::new(parse_message_type(text).expect("the text above is a schema"))
});

/// What a row says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    Change(Change),
    /// The subscriber had the name when the day began.
    Held(Named),
}

/// A row of such a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdentityRow {
    /// When it was told, milliseconds of Unix time.
    pub unix_ms: u64,
    pub told: Told,
}

impl IdentityRow {
    /// The row of a name that lasts when the day begins at this time.
    #[must_use]
    pub fn held(named: &Named, unix_ms: u64) -> Self {
        let told = Told::Held(named.clone());
        Self { unix_ms, told }
    }

    /// The rows of these records; what they change is put into `book`.
    pub fn of(entries: impl Iterator<Item = Entry>, book: &mut Book) -> Vec<Self> {
        let rows = entries.filter_map(|entry| {
            let told = Told::Change(book.follow(&entry)?);
            let unix_ms = entry.unix_ms;
            Some(Self { unix_ms, told })
        });
        rows.collect()
    }

    #[must_use]
    pub fn named(&self) -> Option<&Named> {
        match &self.told {
            Told::Change(Change::Begun { named, .. }) | Told::Held(named) => Some(named),
            Told::Change(Change::Ended(_)) => None,
        }
    }

    fn login(&self) -> &Login {
        match &self.told {
            Told::Change(Change::Begun { named, .. }) | Told::Held(named) => &named.login,
            Told::Change(Change::Ended(login)) => login,
        }
    }

    #[must_use]
    pub fn who(&self) -> Who {
        self.login().who()
    }

    /// When it happened, milliseconds of Unix time.
    #[must_use]
    pub fn happened_ms(&self) -> u64 {
        let of_logout = || self.login().happened_ms(self.unix_ms);
        self.named().map_or_else(of_logout, |named| named.since_ms)
    }

    /// How many records of the log it stands for.
    #[must_use]
    pub fn records(&self) -> u8 {
        match &self.told {
            Told::Change(Change::Begun { records, .. }) => *records,
            Told::Change(Change::Ended(_)) => 1,
            Told::Held(_) => 0,
        }
    }

    fn event(&self) -> &'static str {
        match &self.told {
            Told::Change(Change::Begun { .. }) => "login",
            Told::Change(Change::Ended(_)) => "logout",
            Told::Held(_) => "held",
        }
    }

    fn number(&self, column: usize) -> i32 {
        let login = self.login();
        match column {
            column::INSIDE => login.inside.to_bits().cast_signed(),
            column::REALM_NUMBER => i32::from(login.realm),
            column::NAS => login.nas.cast_signed(),
            column::NAS_SESSION => login.session.cast_signed(),
            _ => i32::from(self.records()),
        }
    }

    /// Puts what it says into `book`.
    pub fn follow(&self, book: &mut Book) {
        book.set(self.who(), self.named().cloned());
    }
}

/// Sorts `rows` and writes them to `path`, as [`super::seal`] does. Returns the file's hash.
///
/// # Errors
/// Nothing stands at `path` that was not there before.
pub fn seal_identities(
    path: &Path,
    rows: &mut [IdentityRow],
    chained: &Chained,
    realms: &Register,
) -> Result<Hash, SealedError> {
    rows.sort_by_key(|row| (row.login().inside, row.login().realm));
    atomically(path, |out| encode(out, rows, chained, realms))
}

fn encode(
    mut out: impl Write + Send,
    rows: &[IdentityRow],
    chained: &Chained,
    realms: &Register,
) -> Result<(), ParquetError> {
    let dense = [column::TIME, column::SINCE, column::INSIDE];
    let dense = dense.map(|number| SCHEMA.get_fields()[number].name());
    let properties = Arc::new(builder(chained, VERSION, dense).build());
    let mut writer = SerializedFileWriter::new(&mut out, Arc::clone(&SCHEMA), properties)?;
    let mut group = writer.next_row_group()?;
    let signed = |of: fn(&IdentityRow) -> u64| -> Vec<i64> {
        rows.iter().map(|row| of(row).cast_signed()).collect()
    };
    let texts = |of: &dyn Fn(&IdentityRow) -> String| -> Vec<ByteArray> {
        let texts = rows.iter().map(|row| ByteArray::from(of(row).into_bytes()));
        texts.collect()
    };
    let numbers = |column| -> Vec<i32> { rows.iter().map(|row| row.number(column)).collect() };
    let of_name = |of: fn(&Named) -> &str| {
        move |row: &IdentityRow| {
            row.named()
                .map_or_else(String::new, |named| of(named).to_owned())
        }
    };
    write_column::<Int64Type, _>(&mut group, &signed(|row| row.unix_ms))?;
    write_column::<Int64Type, _>(&mut group, &signed(IdentityRow::happened_ms))?;
    write_column::<ByteArrayType, _>(&mut group, &texts(&|row| row.event().to_owned()))?;
    write_column::<Int32Type, _>(&mut group, &numbers(column::INSIDE))?;
    write_column::<ByteArrayType, _>(&mut group, &texts(&|row| realms.name(row.login().realm)))?;
    write_column::<Int32Type, _>(&mut group, &numbers(column::REALM_NUMBER))?;
    let attributes = of_name(|named| named.attribute.name());
    write_column::<ByteArrayType, _>(&mut group, &texts(&attributes))?;
    write_column::<ByteArrayType, _>(&mut group, &texts(&of_name(|named| &named.name)))?;
    for number in [column::NAS, column::NAS_SESSION, column::RECORDS] {
        write_column::<Int32Type, _>(&mut group, &numbers(number))?;
    }
    group.close()?;
    writer.finish()?;
    drop(writer);
    out.flush()?;
    Ok(())
}

/// A sealed file of names, open for reading.
#[derive(Debug)]
pub struct IdentityFile {
    table: Table,
    chained: Chained,
}

impl IdentityFile {
    /// Opens the file and reads its metadata.
    ///
    /// # Errors
    /// It cannot be read, or is no such file that this program knows.
    pub fn open(path: &Path) -> Result<Self, SealedError> {
        let table = Table::open(path)?;
        let chained = table.chained_as(VERSION, has_schema(table.columns(), &SCHEMA))?;
        Ok(Self { table, chained })
    }

    /// Its place in the log.
    #[must_use]
    pub fn chained(&self) -> &Chained {
        &self.chained
    }

    /// All rows, in the file's order.
    ///
    /// # Errors
    /// The file is damaged.
    pub fn rows(&self) -> Result<Vec<IdentityRow>, SealedError> {
        let mut rows = Vec::new();
        for group in 0..self.table.metadata.num_row_groups() {
            rows.extend(self.rows_in(group, &(0..self.table.rows_of_group(group)))?);
        }
        Ok(rows)
    }

    /// The rows of one subscriber, in the order in which they were told.
    ///
    /// # Errors
    /// The file is damaged.
    pub fn rows_of(&self, who: Who) -> Result<Vec<IdentityRow>, SealedError> {
        let mut rows = Vec::new();
        let wanted = who.1.to_bits();
        for group in 0..self.table.metadata.num_row_groups() {
            let all = 0..self.table.rows_of_group(group);
            let addresses = self.table.read::<Int32Type>(group, column::INSIDE, &all)?;
            let before =
                |least: u32| addresses.partition_point(|address| address.cast_unsigned() < least);
            let first = before(wanted);
            let after = wanted.checked_add(1).map_or(all.end, before);
            rows.extend(self.rows_in(group, &(first..after))?);
        }
        rows.retain(|row| row.who() == who);
        Ok(rows)
    }

    fn rows_in(&self, group: usize, range: &Range<usize>) -> Result<Vec<IdentityRow>, SealedError> {
        let times = |column| self.table.read::<Int64Type>(group, column, range);
        let texts = |column| self.table.read::<ByteArrayType>(group, column, range);
        let numbers = |column| self.table.read::<Int32Type>(group, column, range);
        let (told, since) = (times(column::TIME)?, times(column::SINCE)?);
        let events = texts(column::EVENT)?;
        let attributes = texts(column::ATTRIBUTE)?;
        let names = texts(column::IDENTITY)?;
        let insides = numbers(column::INSIDE)?;
        let realms = numbers(column::REALM_NUMBER)?;
        let servers = numbers(column::NAS)?;
        let sessions = numbers(column::NAS_SESSION)?;
        let records = numbers(column::RECORDS)?;
        let row = |at: usize| {
            let (unix_ms, since_ms) = (told[at].cast_unsigned(), since[at].cast_unsigned());
            let early_secs = unix_ms.saturating_sub(since_ms) / 1000;
            let login = Login {
                inside: Ipv4Addr::from_bits(insides[at].cast_unsigned()),
                realm: u16::try_from(realms[at]).ok()?,
                early_secs: u16::try_from(early_secs).unwrap_or(u16::MAX),
                nas: servers[at].cast_unsigned(),
                session: sessions[at].cast_unsigned(),
            };
            let named = || {
                let attribute = std::str::from_utf8(text(&attributes[at])).ok()?;
                Some(Named {
                    login,
                    attribute: Attribute::named(attribute)?,
                    name: std::str::from_utf8(text(&names[at])).ok()?.into(),
                    since_ms,
                })
            };
            let told = match text(&events[at]) {
                b"held" => Told::Held(named()?),
                b"logout" => Told::Change(Change::Ended(login)),
                b"login" => Told::Change(Change::Begun {
                    named: named()?,
                    records: u8::try_from(records[at]).ok()?,
                }),
                _ => return None,
            };
            Some(IdentityRow { unix_ms, told })
        };
        let rows = (0..range.len())
            .map(|at| row(at).ok_or_else(|| self.table.unknown("a row that is none of a name")));
        rows.collect()
    }
}
