//! A sealed file as columns, whatever they mean.

use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parquet::column::reader::ColumnReaderImpl;
use parquet::data_type::DataType;
use parquet::errors::ParquetError;
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader};
use parquet::file::serialized_reader::SerializedPageReader;
use parquet::schema::types::SchemaDescriptor;

use super::write::key;
use super::{Chained, SealedError, unhex};

/// A sealed file, open for reading.
#[derive(Debug)]
pub(super) struct Table {
    path: PathBuf,
    file: Arc<File>,
    pub(super) metadata: ParquetMetaData,
}

impl Table {
    /// Opens the file and reads its metadata.
    ///
    /// # Errors
    /// It cannot be read, or is no Parquet.
    pub(super) fn open(path: &Path) -> Result<Self, SealedError> {
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
        Ok(Self {
            path: path.into(),
            file: Arc::new(file),
            metadata,
        })
    }

    pub(super) fn columns(&self) -> &SchemaDescriptor {
        self.metadata.file_metadata().schema_descr()
    }

    /// How many rows it has.
    pub(super) fn row_count(&self) -> u64 {
        self.metadata.file_metadata().num_rows().unsigned_abs()
    }

    /// How many of them are in a group.
    pub(super) fn rows_of_group(&self, group: usize) -> usize {
        self.metadata.row_group(group).num_rows() as usize
    }

    /// The file says what this program does not know.
    pub(super) fn unknown(&self, what: &str) -> SealedError {
        SealedError::Unknown {
            path: self.path.clone(),
            what: what.to_owned(),
        }
    }

    /// Its place in the log; None if a fact is missing or is not as we write it.
    pub(super) fn chained(&self) -> Option<Chained> {
        Some(Chained {
            first_sequence: self.fact(key::FIRST_SEQUENCE)?.parse().ok()?,
            next_sequence: self.fact(key::NEXT_SEQUENCE)?.parse().ok()?,
            previous: match self.fact(key::PREVIOUS)? {
                "" => None,
                hash => Some(unhex(hash)?),
            },
        })
    }

    /// The same of a file that has this version and these columns only.
    ///
    /// # Errors
    /// It has others.
    pub(super) fn chained_as(
        &self,
        version: &str,
        has_schema: bool,
    ) -> Result<Chained, SealedError> {
        if !has_schema {
            return Err(self.unknown("columns"));
        }
        let is_known = self.fact(key::VERSION) == Some(version);
        let chained = self.chained().filter(|_| is_known);
        chained.ok_or_else(|| self.unknown("a version or numbers"))
    }

    fn fact(&self, name: &str) -> Option<&str> {
        let facts = self.metadata.file_metadata().key_value_metadata()?;
        let found = facts.iter().find(|fact| fact.key == name)?;
        found.value.as_deref()
    }

    /// The values of a column in `range`, exactly that many.
    pub(super) fn read<T: DataType>(
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
            let description = self.columns().column(column);
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

/// Place in the log and number of rows of a sealed file of any kind.
///
/// # Errors
/// It cannot be read, or is none.
pub fn place_of(path: &Path) -> Result<(Chained, u64), SealedError> {
    let table = Table::open(path)?;
    let chained = table.chained();
    let chained = chained.ok_or_else(|| table.unknown("a version or numbers"))?;
    Ok((chained, table.row_count()))
}
