//! Where things stand in the file: key paths, lines and columns.

use std::collections::BTreeMap;
use std::fmt;

use toml::de::{DeTable, DeValue};

/// The path of a key from the top of the file, such as `pool[1].addresses[0]`; empty for the file
/// itself.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyPath(String);

impl KeyPath {
    /// The file itself.
    pub(super) fn root() -> Self {
        Self(String::new())
    }

    /// The path of `key` in this table. A key that TOML would want in quotes gets them, so that
    /// no path can hold line breaks or terminal controls.
    pub(super) fn key(&self, key: &str) -> Self {
        let bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        let separator = if self.0.is_empty() { "" } else { "." };
        if !key.is_empty() && key.chars().all(bare) {
            Self(format!("{}{separator}{key}", self.0))
        } else {
            Self(format!("{}{separator}{key:?}", self.0))
        }
    }

    /// The path of an element of this list, counted from 0.
    pub(super) fn index(&self, index: usize) -> Self {
        Self(format!("{}[{index}]", self.0))
    }

    /// Whether `other` is this path or below it.
    pub(super) fn holds(&self, other: &Self) -> bool {
        match other.0.strip_prefix(&self.0) {
            Some(rest) => self.0.is_empty() || rest.is_empty() || rest.starts_with(['.', '[']),
            None => false,
        }
    }

    /// The path without its last step; `None` for the file itself. A quoted key that contains a
    /// dot takes more than one step, each shorter than the one before.
    fn parent(&self) -> Option<Self> {
        if self.0.is_empty() {
            return None;
        }
        let end = self.0.rfind(['.', '[']).unwrap_or(0);
        Some(Self(self.0[..end].to_owned()))
    }

    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for KeyPath {
    fn from(path: &str) -> Self {
        Self(path.to_owned())
    }
}

impl From<String> for KeyPath {
    fn from(path: String) -> Self {
        Self(path)
    }
}

impl fmt::Display for KeyPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The position of every key and list element of a file.
#[derive(Debug, Clone, Default)]
pub(super) struct Places {
    /// Byte offset at which each line begins.
    line_starts: Vec<usize>,
    /// Byte offset of each key and element.
    offsets: BTreeMap<KeyPath, usize>,
    /// Byte offset of each key, with the table in which the text after it stands.
    owners: BTreeMap<usize, KeyPath>,
}

impl Places {
    pub(super) fn of(text: &str, table: &DeTable<'_>) -> Self {
        let after_newlines = text.match_indices('\n').map(|(newline, _)| newline + 1);
        let mut places = Self {
            line_starts: std::iter::once(0).chain(after_newlines).collect(),
            ..Self::default()
        };
        places.walk_table(&KeyPath::root(), table);
        places
    }

    fn walk_table(&mut self, path: &KeyPath, table: &DeTable<'_>) {
        for (key, value) in table {
            let (child, offset) = (path.key(key.get_ref()), key.span().start);
            let owner = match value.get_ref() {
                DeValue::Table(_) => &child,
                _ => path,
            };
            self.owners.insert(offset, owner.clone());
            self.walk_value(&child, offset, value.get_ref());
        }
    }

    fn walk_value(&mut self, path: &KeyPath, offset: usize, value: &DeValue<'_>) {
        self.offsets.insert(path.clone(), offset);
        match value {
            DeValue::Table(table) => self.walk_table(path, table),
            DeValue::Array(elements) => {
                for (index, element) in elements.iter().enumerate() {
                    let child = path.index(index);
                    self.walk_value(&child, element.span().start, element.get_ref());
                }
            }
            _ => {}
        }
    }

    /// The line (from 1) of a key or, when it is not in the file, of what should contain it.
    pub(super) fn line(&self, path: &KeyPath) -> Option<usize> {
        let climb = std::iter::successors(Some(path.clone()), KeyPath::parent);
        climb
            .filter_map(|path| self.offsets.get(&path))
            .map(|offset| self.line_at(*offset))
            .next()
    }

    /// The line (from 1) of a byte offset.
    pub(super) fn line_at(&self, offset: usize) -> usize {
        self.line_starts.partition_point(|start| *start <= offset)
    }

    /// The column (from 1, in characters) of a byte offset into `text`.
    pub(super) fn column_at(&self, text: &str, offset: usize) -> usize {
        let line = self.line_at(offset).saturating_sub(1);
        let start = self.line_starts.get(line).copied().unwrap_or(0);
        text.get(start..offset)
            .map_or(1, |before| before.chars().count() + 1)
    }

    /// The path of `key` that stands at `offset` for the second time: in the table of the key
    /// before it, or in one around that.
    pub(super) fn path_of_duplicate(&self, key: &str, offset: usize) -> KeyPath {
        let before = self.owners.range(..offset).next_back();
        let owner = before.map(|(_, owner)| owner.clone());
        std::iter::successors(owner, KeyPath::parent)
            .map(|owner| owner.key(key))
            .find(|path| self.offsets.contains_key(path))
            .unwrap_or_else(|| KeyPath::root().key(key))
    }
}
