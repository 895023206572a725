//! Writes a sealed file: whole, on disk, and only then under its name.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::data_type::{ByteArray, ByteArrayType, DataType, Int32Type, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::metadata::{KeyValue, SortingColumn};
use parquet::file::properties::{
    EnabledStatistics, WriterProperties, WriterPropertiesBuilder, WriterVersion,
};
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};

use super::row::{Numbers, Row, SCHEMA, SCHEMA_WITH_REALMS, SCHEMA_WITH_SESSIONS, column};
use super::{Hash, SealedError, hash_of, hex};
use crate::maplog::directory;
use crate::maplog::realms::Register;

/// Rows of a page: what a look-up decompresses at least. With half as many, the pages' headers cost 0.07 bytes
/// an event more, and no look-up is quicker.
const PAGE_ROWS: usize = 8192;
/// Compression level; higher ones take longer and gain nothing on columns this dense.
const ZSTD_LEVEL: i32 = 3;

/// Keys of a file's own facts, in its Parquet metadata.
pub(super) mod key {
    pub const VERSION: &str = "cgn.version";
    pub const FIRST_SEQUENCE: &str = "cgn.first_sequence";
    pub const NEXT_SEQUENCE: &str = "cgn.next_sequence";
    pub const PREVIOUS: &str = "cgn.previous_sha256";
}
/// Version of files with blocks only, and of those with mappings or sessions.
pub(super) const VERSION: &str = "2";
pub(super) const VERSION_WITH_SESSIONS: &str = "3";
/// Version of files with subscribers of several realms.
pub(super) const VERSION_WITH_REALMS: &str = "4";
/// The version before, whose files have no column `key`.
pub(super) const VERSION_WITHOUT_KEY: &str = "1";

/// What a file says of its place in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chained {
    /// Number of the file's first record, or of the record before which blocks were held.
    pub first_sequence: u64,
    /// One more than the number of its last record.
    pub next_sequence: u64,
    /// Hash of the file before this one; None in a log's first file.
    pub previous: Option<Hash>,
}

/// Sorts `rows` and writes them to `path`, atomically: after a crash at any point the
/// file is there as a whole, or not at all. Returns its hash.
///
/// # Errors
/// Nothing stands at `path` that was not there before.
pub fn seal(
    path: &Path,
    rows: &mut [Row],
    chained: &Chained,
    realms: &Register,
) -> Result<Hash, SealedError> {
    // Stable: rows of one block stay in the order in which they happened.
    rows.sort_by_key(Row::key);
    atomically(path, |out| encode(out, rows, chained, realms))
}

/// Writes what `encode` gives to `path`: whole, on disk, and only then under its name. Returns its hash.
pub(super) fn atomically(
    path: &Path,
    encode: impl FnOnce(BufWriter<&File>) -> Result<(), ParquetError>,
) -> Result<Hash, SealedError> {
    let failed = |operation| {
        move |source| SealedError::Io {
            operation,
            path: path.into(),
            source,
        }
    };
    directory::create(directory::above(path)).map_err(failed("create the directory of"))?;
    let unfinished = directory::unfinished(path);
    let outcome = write_unfinished(&unfinished, encode).and_then(|hash| {
        fs::rename(&unfinished, path).map_err(failed("rename the new file to"))?;
        directory::sync(directory::above(path)).map_err(failed("bring to disk the name of"))?;
        Ok(hash)
    });
    if outcome.is_err() {
        // The first error is the one to tell; a leftover is removed at the next start.
        let _ = fs::remove_file(&unfinished);
    }
    outcome
}

fn write_unfinished(
    path: &Path,
    encode: impl FnOnce(BufWriter<&File>) -> Result<(), ParquetError>,
) -> Result<Hash, SealedError> {
    let failed = |operation| {
        move |source| SealedError::Io {
            operation,
            path: path.into(),
            source,
        }
    };
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o640)
        .open(path)
        .map_err(failed("create"))?;
    encode(BufWriter::new(&file)).map_err(|error| match error {
        ParquetError::External(source) => failed("write")(io::Error::other(source)),
        source => SealedError::Parquet {
            path: path.into(),
            source,
        },
    })?;
    file.sync_all().map_err(failed("bring to disk"))?;
    let mut written = File::open(path).map_err(failed("read"))?;
    let (hash, _) = hash_of(&mut written).map_err(failed("read"))?;
    Ok(hash)
}

/// Writes rows, which are sorted, as one row group.
fn encode(
    out: impl Write + Send,
    rows: &[Row],
    chained: &Chained,
    realms: &Register,
) -> Result<(), ParquetError> {
    // Who logs blocks only has files without the columns of sessions.
    let has_realms = rows.iter().any(|row| row.realm() != 0);
    let has_sessions = has_realms || rows.iter().any(|row| row.session().is_some());
    let (schema, version) = match (has_realms, has_sessions) {
        (true, _) => (&SCHEMA_WITH_REALMS, VERSION_WITH_REALMS),
        (_, true) => (&SCHEMA_WITH_SESSIONS, VERSION_WITH_SESSIONS),
        _ => (&SCHEMA, VERSION),
    };
    let properties = Arc::new(properties(chained, version));
    let mut writer = SerializedFileWriter::new(out, Arc::clone(schema), properties)?;
    if !rows.is_empty() {
        let mut group = writer.next_row_group()?;
        write_group(&mut group, rows)?;
        if has_sessions {
            write_session_columns(&mut group, rows)?;
        }
        if has_realms {
            write_realm_columns(&mut group, rows, realms)?;
        }
        group.close()?;
    }
    writer.finish()?;
    writer.inner_mut().flush()?;
    Ok(())
}

fn write_group<W: Write + Send>(
    group: &mut SerializedRowGroupWriter<'_, W>,
    rows: &[Row],
) -> Result<(), ParquetError> {
    let times: Vec<i64> = rows.iter().map(|row| row.unix_ms.cast_signed()).collect();
    write_column::<Int64Type, W>(group, &times)?;
    let text = |pick: fn(&Row) -> &'static str| -> Vec<ByteArray> {
        let texts = rows.iter().map(|row| ByteArray::from(pick(row)));
        texts.collect()
    };
    write_column::<ByteArrayType, W>(group, &text(|row| row.words().0))?;
    write_column::<ByteArrayType, W>(group, &text(|row| row.words().1))?;
    let picks: [fn(Numbers) -> i32; 6] = [
        |numbers| numbers.external,
        |numbers| numbers.first_port,
        |numbers| numbers.port_count,
        |numbers| numbers.inside,
        |numbers| numbers.pool,
        |numbers| numbers.key,
    ];
    write_numbers(group, rows, &picks)
}

fn write_session_columns<W: Write + Send>(
    group: &mut SerializedRowGroupWriter<'_, W>,
    rows: &[Row],
) -> Result<(), ParquetError> {
    let protocol = |row: &Row| row.session().map_or("", |session| session.protocol.name());
    let texts: Vec<ByteArray> = rows
        .iter()
        .map(|row| ByteArray::from(protocol(row)))
        .collect();
    write_column::<ByteArrayType, W>(group, &texts)?;
    let picks: [fn(Numbers) -> i32; 3] = [
        |numbers| numbers.inside_port,
        |numbers| numbers.remote,
        |numbers| numbers.remote_port,
    ];
    write_numbers(group, rows, &picks)
}

fn write_realm_columns<W: Write + Send>(
    group: &mut SerializedRowGroupWriter<'_, W>,
    rows: &[Row],
    realms: &Register,
) -> Result<(), ParquetError> {
    let names: Vec<ByteArray> = rows
        .iter()
        .map(|row| ByteArray::from(realms.name(row.realm()).into_bytes()))
        .collect();
    write_column::<ByteArrayType, W>(group, &names)?;
    write_numbers(group, rows, &[|numbers| numbers.realm])
}

fn write_numbers<W: Write + Send>(
    group: &mut SerializedRowGroupWriter<'_, W>,
    rows: &[Row],
    picks: &[fn(Numbers) -> i32],
) -> Result<(), ParquetError> {
    for pick in picks {
        let values: Vec<i32> = rows.iter().map(|row| pick(Numbers::of(row))).collect();
        write_column::<Int32Type, W>(group, &values)?;
    }
    Ok(())
}

pub(super) fn write_column<T: DataType, W: Write + Send>(
    group: &mut SerializedRowGroupWriter<'_, W>,
    values: &[T::T],
) -> Result<(), ParquetError> {
    let column = group.next_column()?;
    let mut column = column.ok_or_else(|| ParquetError::General("a column too many".into()))?;
    column.typed::<T>().write_batch(values, None, None)?;
    column.close()
}

/// A file's own facts.
fn facts(chained: &Chained, version: &str) -> Vec<KeyValue> {
    let facts = [
        (key::VERSION, version.to_owned()),
        (key::FIRST_SEQUENCE, chained.first_sequence.to_string()),
        (key::NEXT_SEQUENCE, chained.next_sequence.to_string()),
        (
            key::PREVIOUS,
            chained.previous.as_ref().map(hex).unwrap_or_default(),
        ),
    ];
    let facts = facts.map(|(key, value)| KeyValue::new(key.to_owned(), value));
    facts.to_vec()
}

/// What all sealed files have in common: encodings that every reader knows, a dictionary for what repeats, and
/// deltas for the `dense` columns, of numbers that do not.
pub(super) fn builder<'a>(
    chained: &Chained,
    version: &str,
    dense: impl IntoIterator<Item = &'a str>,
) -> WriterPropertiesBuilder {
    let level = ZstdLevel::try_new(ZSTD_LEVEL).unwrap_or_default();
    let builder = WriterProperties::builder()
        .set_writer_version(WriterVersion::PARQUET_2_0)
        .set_created_by(concat!("cgn ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_compression(Compression::ZSTD(level))
        .set_max_row_group_row_count(None)
        .set_data_page_row_count_limit(PAGE_ROWS)
        .set_write_batch_size(PAGE_ROWS)
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_key_value_metadata(Some(facts(chained, version)));
    dense.into_iter().fold(builder, |builder, name| {
        builder
            .set_column_dictionary_enabled(name.into(), false)
            .set_column_encoding(name.into(), Encoding::DELTA_BINARY_PACKED)
    })
}

fn properties(chained: &Chained, version: &str) -> WriterProperties {
    let sorted = [column::EXTERNAL, column::FIRST_PORT];
    let sorted = sorted.map(|column| SortingColumn {
        column_idx: column as i32,
        descending: false,
        nulls_first: false,
    });
    let name = |number: usize| SCHEMA_WITH_SESSIONS.get_fields()[number].name();
    let is_held = chained.first_sequence == chained.next_sequence;
    let dense = [column::EXTERNAL, column::INSIDE, column::TIME].map(name);
    // Hours repeat, times to the millisecond do not.
    let dense = dense.into_iter().take(if is_held { 2 } else { 3 });
    builder(chained, version, dense)
        .set_sorting_columns(Some(sorted.to_vec()))
        .set_column_statistics_enabled(name(column::EXTERNAL).into(), EnabledStatistics::Page)
        .build()
}
