//! Reads one TOML table key by key without stopping at a fault.
//!
//! Whatever cannot be read is put down in [`Findings`] and replaced by a placeholder *at its own
//! place*, so that the paths of all later findings stay true. Which keys a table knows is not
//! written down anywhere: they are the ones that were asked for.

use toml::de::{DeTable, DeValue};

use super::fault::{Fault, Findings};
use super::place::KeyPath;
use super::value::wrong_type;

pub(super) struct TableReader<'t> {
    table: &'t DeTable<'t>,
    path: KeyPath,
    findings: Findings,
    asked: Vec<&'static str>,
    /// Keys of another section, which have been complained of.
    foreign: &'static [&'static str],
    /// Keys that are not there, with the faults that follow from that. They are put down only at
    /// the end, when it is known that none of them was merely misspelt.
    absent: Vec<(&'static str, Findings)>,
}

/// Reads `table`, then names its unknown keys.
pub(super) fn read_table<T>(
    table: &DeTable<'_>,
    path: KeyPath,
    read: impl FnOnce(&mut TableReader<'_>) -> T,
) -> (T, Findings) {
    let mut reader = TableReader {
        table,
        path,
        findings: Findings::default(),
        asked: Vec::new(),
        foreign: &[],
        absent: Vec::new(),
    };
    let value = read(&mut reader);
    (value, reader.finish())
}

impl TableReader<'_> {
    /// A key with a default.
    pub(super) fn optional<T>(
        &mut self,
        key: &'static str,
        default: T,
        read: impl FnOnce(&DeValue<'_>) -> Result<T, Fault>,
    ) -> T {
        match self.find(key) {
            Some(value) => self.take(key, read(value), default),
            None => default,
        }
    }

    /// A key that must be there; `example` shows it with a value.
    pub(super) fn required<T>(
        &mut self,
        key: &'static str,
        example: &'static str,
        placeholder: T,
        read: impl FnOnce(&DeValue<'_>) -> Result<T, Fault>,
    ) -> T {
        match self.find(key) {
            Some(value) => self.take(key, read(value), placeholder),
            None => {
                self.miss(key, example);
                placeholder
            }
        }
    }

    /// A list that may be left out, and is empty then.
    pub(super) fn list<T: Clone>(
        &mut self,
        key: &'static str,
        placeholder: T,
        read: impl Fn(&DeValue<'_>) -> Result<T, Fault>,
    ) -> Vec<T> {
        let Some(value) = self.find(key) else {
            return Vec::new();
        };
        let path = self.path.key(key);
        let DeValue::Array(elements) = value else {
            let fault = wrong_type(value, "a list in [ ]");
            self.findings.add(path, fault);
            return Vec::new();
        };
        let mut list = Vec::with_capacity(elements.len());
        for (index, element) in elements.iter().enumerate() {
            list.push(read(element.get_ref()).unwrap_or_else(|fault| {
                self.findings.add(path.index(index), fault);
                placeholder.clone()
            }));
        }
        list
    }

    /// A list that must be there; `example` shows it with a value.
    pub(super) fn required_list<T: Clone>(
        &mut self,
        key: &'static str,
        example: &'static str,
        placeholder: T,
        read: impl Fn(&DeValue<'_>) -> Result<T, Fault>,
    ) -> Vec<T> {
        if !self.table.contains_key(key) {
            self.miss(key, example);
        }
        self.list(key, placeholder, read)
    }

    /// Whether the key is there.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// `[key]`. A section that is left out is read as an empty one.
    pub(super) fn section<T>(
        &mut self,
        key: &'static str,
        wanted: &'static str,
        read: impl FnOnce(&mut TableReader<'_>) -> T,
    ) -> T {
        let value = self.find(key);
        let path = self.path.key(key);
        match value {
            Some(DeValue::Table(table)) => {
                let (section, findings) = read_table(table, path, read);
                self.findings.append(findings);
                section
            }
            Some(other) => {
                self.findings.add(path.clone(), wrong_type(other, wanted));
                read_table(&DeTable::new(), path, read).0
            }
            None => {
                let (section, findings) = read_table(&DeTable::new(), path, read);
                self.absent.push((key, findings));
                section
            }
        }
    }

    /// `[[key]]`, once for each element. Left out it is an empty list.
    pub(super) fn sections<T>(
        &mut self,
        key: &'static str,
        wanted: &'static str,
        read: impl Fn(&mut TableReader<'_>) -> T,
    ) -> Vec<T> {
        let value = self.find(key);
        let path = self.path.key(key);
        let elements = match value {
            Some(DeValue::Array(elements)) => elements,
            Some(other) => {
                self.findings.add(path, wrong_type(other, wanted));
                return Vec::new();
            }
            None => {
                self.absent.push((key, Findings::default()));
                return Vec::new();
            }
        };
        let mut sections = Vec::with_capacity(elements.len());
        for (index, element) in elements.iter().enumerate() {
            let path = path.index(index);
            let (section, findings) = match element.get_ref() {
                DeValue::Table(table) => read_table(table, path, &read),
                other => {
                    let mut findings = Findings::default();
                    findings.add(path.clone(), wrong_type(other, wanted));
                    (read_table(&DeTable::new(), path, &read).0, findings)
                }
            };
            self.findings.append(findings);
            sections.push(section);
        }
        sections
    }

    /// Keys that stand in another section: who writes one of them here is told so by `fault`.
    pub(super) fn elsewhere(&mut self, keys: &'static [&'static str], fault: impl Fn() -> Fault) {
        self.foreign = keys;
        for key in keys.iter().filter(|key| self.table.contains_key(**key)) {
            self.findings.add(self.path.key(key), fault());
        }
    }

    fn take<T>(&mut self, key: &str, value: Result<T, Fault>, placeholder: T) -> T {
        value.unwrap_or_else(|fault| {
            self.findings.add(self.path.key(key), fault);
            placeholder
        })
    }

    fn miss(&mut self, key: &'static str, example: &'static str) {
        let mut findings = Findings::default();
        findings.add(self.path.key(key), Fault::MissingKey { example });
        self.absent.push((key, findings));
    }

    fn finish(mut self) -> Findings {
        for (key, _) in self.table {
            let key = key.get_ref().as_ref();
            if self.asked.contains(&key) || self.foreign.contains(&key) {
                continue;
            }
            let nearest = nearest_name(key, self.asked.iter().copied());
            let misspelt = self
                .absent
                .iter()
                .position(|(absent, _)| Some(*absent) == nearest);
            if let Some(at) = misspelt {
                let (absent, _) = self.absent.swap_remove(at);
                self.findings.spoil(self.path.key(absent));
            }
            let fault = Fault::UnknownKey {
                nearest: nearest.map(str::to_owned),
                known: self.asked.iter().map(|name| (*name).to_owned()).collect(),
            };
            self.findings.add(self.path.key(key), fault);
        }
        for (_, findings) in self.absent {
            self.findings.append(findings);
        }
        self.findings
    }
}

impl<'t> TableReader<'t> {
    fn find(&mut self, key: &'static str) -> Option<&'t DeValue<'t>> {
        self.asked.push(key);
        self.table.get(key).map(|value| value.get_ref())
    }
}

/// The known name that `name` was probably meant to be: at most a third of its characters differ,
/// or one is a part of the other (`udp` for `udp_secs`).
pub(super) fn nearest_name<'n>(
    name: &str,
    known: impl Iterator<Item = &'n str>,
) -> Option<&'n str> {
    let name = name.to_lowercase().replace('-', "_");
    let cost = |candidate: &str| {
        let distance = edit_distance(&name, &candidate.to_lowercase());
        let longest = name.chars().count().max(candidate.chars().count());
        let part = name.contains(candidate) || candidate.contains(&name);
        let long_enough = name.len().min(candidate.len()) >= 3;
        (distance * 3 <= longest || part && long_enough).then_some(distance)
    };
    known
        .filter_map(|candidate| Some((cost(candidate)?, candidate)))
        .min_by_key(|(cost, _)| *cost)
        .map(|(_, candidate)| candidate)
}

/// How many characters must be inserted, deleted, replaced or exchanged with their neighbour to
/// make `b` of `a` (optimal string alignment).
fn edit_distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut cost = vec![vec![0; b.len() + 1]; a.len() + 1];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            cost[i][j] = match (i, j) {
                (0, n) | (n, 0) => n,
                _ => {
                    let replace = cost[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
                    let exchange = if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]
                    {
                        cost[i - 2][j - 2] + 1
                    } else {
                        replace
                    };
                    replace
                        .min(exchange)
                        .min(cost[i - 1][j] + 1)
                        .min(cost[i][j - 1] + 1)
                }
            };
        }
    }
    cost[a.len()][b.len()]
}
