//! Reads sealed files. A look-up reads the pages that can hold the address, and no others.

use std::fs::File;
use std::net::Ipv4Addr;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parquet::column::reader::ColumnReaderImpl;
use parquet::data_type::{ByteArray, ByteArrayType, DataType, Int32Type, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader};
use parquet::file::page_index::column_index::ColumnIndexMetaData;
use parquet::file::serialized_reader::SerializedPageReader;

use super::row::{Numbers, Row, column, has_schema};
use super::write::{VERSION, VERSION_WITHOUT_KEY, key};
use super::{Chained, SealedError, unhex};

/// A sealed file, open for reading.
#[derive(Debug)]
pub struct SealedFile {
    path: PathBuf,
    file: Arc<File>,
    metadata: ParquetMetaData,
    chained: Chained,
}

impl SealedFile {
    /// Opens the file and reads its metadata.
    ///
    /// # Errors
    /// It cannot be read, or is no sealed file that this program knows.
    pub fn open(path: &Path) -> Result<Self, SealedError> {
        let file = File::open(path).map_err(|source| SealedError::Io {
            operation: "open",
            path: path.into(),
            source,
        })?;
        let mut reader =
            ParquetMetaDataReader::new().with_page_index_policy(PageIndexPolicy::Optional);
        let metadata = reader
            .try_parse(&file)
            .and_then(|()| reader.finish())
            .map_err(|source| SealedError::Parquet {
                path: path.into(),
                source,
            })?;
        let unknown = |what: &str| SealedError::Unknown {
            path: path.into(),
            what: what.to_owned(),
        };
        if !has_schema(metadata.file_metadata().schema_descr()) {
            return Err(unknown("columns"));
        }
        let chained = chained(&metadata).ok_or_else(|| unknown("a version or numbers"))?;
        Ok(Self {
            path: path.into(),
            file: Arc::new(file),
            metadata,
            chained,
        })
    }

    /// Its place in the log.
    #[must_use]
    pub fn chained(&self) -> &Chained {
        &self.chained
    }

    /// How many rows it has.
    #[must_use]
    pub fn row_count(&self) -> u64 {
        self.metadata.file_metadata().num_rows().unsigned_abs()
    }

    /// All rows, in the file's order.
    ///
    /// # Errors
    /// The file is damaged.
    pub fn rows(&self) -> Result<Vec<Row>, SealedError> {
        let mut rows = Vec::new();
        for group in 0..self.metadata.num_row_groups() {
            let count = self.metadata.row_group(group).num_rows() as usize;
            rows.extend(self.rows_in(group, 0..count)?);
        }
        Ok(rows)
    }

    /// The rows of blocks of an external address, in the file's order.
    ///
    /// # Errors
    /// The file is damaged.
    pub fn rows_of_external(&self, external: Ipv4Addr) -> Result<Vec<Row>, SealedError> {
        let mut rows = Vec::new();
        for group in 0..self.metadata.num_row_groups() {
            let wanted = external.to_bits();
            let pages = self.pages_with(group, wanted);
            let addresses: Vec<u32> = self
                .read::<Int32Type>(group, column::EXTERNAL, &pages)?
                .into_iter()
                .map(i32::cast_unsigned)
                .collect();
            let first = addresses.partition_point(|address| *address < wanted);
            let after = addresses.partition_point(|address| *address <= wanted);
            if first < after {
                rows.extend(self.rows_in(group, pages.start + first..pages.start + after)?);
            }
        }
        Ok(rows)
    }

    /// The rows of a subscriber's blocks, in the file's order.
    ///
    /// # Errors
    /// The file is damaged.
    pub fn rows_of_inside(&self, inside: Ipv4Addr) -> Result<Vec<Row>, SealedError> {
        let mut rows = Vec::new();
        let wanted = inside.to_bits().cast_signed();
        for group in 0..self.metadata.num_row_groups() {
            let count = self.metadata.row_group(group).num_rows() as usize;
            let addresses = self.read::<Int32Type>(group, column::INSIDE, &(0..count))?;
            let found = addresses.iter().enumerate();
            for (at, _) in found.filter(|(_, address)| **address == wanted) {
                rows.extend(self.rows_in(group, at..at + 1)?);
            }
        }
        // A start or stop has 0 in the place of an address.
        rows.retain(|row| row.block().is_some());
        Ok(rows)
    }

    /// The rows of the pages that can hold an external address; all without a page index.
    fn pages_with(&self, group: usize, wanted: u32) -> Range<usize> {
        let count = self.metadata.row_group(group).num_rows() as usize;
        let index = self.metadata.page_index_for_row_group(group);
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
        let times = self.read::<Int64Type>(group, column::TIME, &range)?;
        let events = self.read::<ByteArrayType>(group, column::EVENT, &range)?;
        let reasons = self.read::<ByteArrayType>(group, column::REASON, &range)?;
        let number = |number| self.read::<Int32Type>(group, number, &range);
        let externals = number(column::EXTERNAL)?;
        let first_ports = number(column::FIRST_PORT)?;
        let port_counts = number(column::PORT_COUNT)?;
        let insides = number(column::INSIDE)?;
        let pools = number(column::POOL)?;
        let has_key = self.metadata.file_metadata().schema_descr().num_columns() > column::KEY;
        let keys = match has_key {
            true => number(column::KEY)?,
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
                };
                let row = numbers.row(times[at], text(&events[at]), text(&reasons[at]));
                row.ok_or_else(|| SealedError::Unknown {
                    path: self.path.clone(),
                    what: format!("{:?} with {numbers:?}", events[at].as_utf8().unwrap_or("?")),
                })
            })
            .collect()
    }

    /// The values of a column in `range`, exactly that many.
    fn read<T: DataType>(
        &self,
        group: usize,
        column: usize,
        range: &Range<usize>,
    ) -> Result<Vec<T::T>, SealedError> {
        let mut values = Vec::with_capacity(range.len());
        if range.is_empty() {
            return Ok(values);
        }
        let read = |values: &mut Vec<T::T>| -> Result<bool, ParquetError> {
            let row_group = self.metadata.row_group(group);
            let index = self.metadata.page_index_for_row_group(group);
            let places = index.offset_index(column);
            let pages = SerializedPageReader::new(
                Arc::clone(&self.file),
                row_group.column(column),
                row_group.num_rows() as usize,
                places.map(|places| places.page_locations().clone()),
            )?;
            let description = self.metadata.file_metadata().schema_descr().column(column);
            let mut reader = ColumnReaderImpl::<T>::new(description, Box::new(pages));
            let skipped = reader.skip_records(range.start)?;
            let (count, _, _) = reader.read_records(range.len(), None, None, values)?;
            Ok(skipped == range.start && count == range.len())
        };
        let outcome = read(&mut values).and_then(|is_whole| match is_whole {
            true => Ok(values),
            false => Err(ParquetError::EOF("the column is too short".into())),
        });
        outcome.map_err(|source| SealedError::Parquet {
            path: self.path.clone(),
            source,
        })
    }
}

fn text(value: &ByteArray) -> &[u8] {
    value.data()
}

/// None if a fact is missing or is not as we write it.
fn chained(metadata: &ParquetMetaData) -> Option<Chained> {
    let facts = metadata.file_metadata().key_value_metadata()?;
    let fact = |name: &str| {
        let found = facts.iter().find(|fact| fact.key == name)?;
        found.value.as_deref()
    };
    let has_key = metadata.file_metadata().schema_descr().num_columns() == column::ALL;
    if fact(key::VERSION)?
        != if has_key {
            VERSION
        } else {
            VERSION_WITHOUT_KEY
        }
    {
        return None;
    }
    Some(Chained {
        first_sequence: fact(key::FIRST_SEQUENCE)?.parse().ok()?,
        next_sequence: fact(key::NEXT_SEQUENCE)?.parse().ok()?,
        previous: match fact(key::PREVIOUS)? {
            "" => None,
            hash => Some(unhex(hash)?),
        },
    })
}
