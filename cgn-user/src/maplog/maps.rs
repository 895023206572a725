//! Records of deterministic maps (RFC 7422 section 3): with them, and no record of any subscriber,
//! the owner of a static port is known for every moment of the past.
//!
//! `maps.jsonl` in the log's directory has one line for each pool at each change of its map, and once
//! a day: `{"time": "2026-03-03T14:03:07.123Z", "pool": "residential", "number": 0, "map": {...}}`;
//! `map` is null from when on the pool is deterministic no more. Where its subscribers are in another realm than
//! the first, `realm` before `map` has its name: an older program refuses such a line. A line counts with its end.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::net::Ipv4Addr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::policy::deterministic::{Map, Owner, Share};
use crate::utc::Utc;

const NAME: &str = "maps.jsonl";
/// After so many milliseconds a record is written again (RFC 7422 section 3).
const AGAIN_MS: u64 = 86_400_000;

/// Records that cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum MapsError {
    #[error("cannot use the records of deterministic maps, {path}", path = path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("line {line} of {path} is no record of a map: get the file from a copy", path = path.display())]
    Line { path: PathBuf, line: usize },
}

/// A map from a time on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapRecord {
    /// Milliseconds of Unix time.
    pub unix_ms: u64,
    /// Name of the pool.
    pub pool: String,
    /// Its number in the configuration.
    pub number: u16,
    /// None: the pool is not deterministic, or there is none of this name.
    pub map: Option<Map>,
}

/// How a record stands in the file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    time: String,
    pool: String,
    number: u16,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    realm: String,
    map: Option<Map>,
}

/// A map and the time in which it held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span<'a> {
    pub record: &'a MapRecord,
    pub map: &'a Map,
    /// Milliseconds of Unix time.
    pub since_ms: u64,
    /// None: until now.
    pub until_ms: Option<u64>,
}

/// A static port, or share, in the hands of a subscriber.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Static<'a> {
    /// Name of his realm; empty for the first.
    pub realm: &'a str,
    pub inside: Ipv4Addr,
    pub share: Share,
    pub pool: u16,
    pub since_ms: u64,
    pub until_ms: Option<u64>,
}

/// All records of a log, in the order of time.
#[derive(Debug)]
pub struct Maps {
    path: PathBuf,
    records: Vec<MapRecord>,
    /// Bytes of the file that are whole lines.
    whole: u64,
}

impl Maps {
    /// The records in the log's directory `root`; none if it has no such file.
    ///
    /// # Errors
    /// They cannot be read.
    pub fn read(root: &Path) -> Result<Self, MapsError> {
        let path = root.join(NAME);
        let text = match fs::read_to_string(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            read => read.map_err(|source| MapsError::Io {
                path: path.clone(),
                source,
            })?,
        };
        // What has no end was never acknowledged.
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        let records = text[..whole].lines().enumerate().map(|(at, line)| {
            record_of(line).ok_or_else(|| MapsError::Line {
                path: path.clone(),
                line: at + 1,
            })
        });
        let records = records.collect::<Result<_, _>>()?;
        Ok(Self {
            path,
            records,
            whole: whole as u64,
        })
    }

    /// Writes what has changed, and what was not written for a day, and brings it to the disk.
    /// `maps`: name of each pool, by its number, with its map.
    ///
    /// # Errors
    /// It cannot be written; the next call tries again.
    pub fn bring_up(
        &mut self,
        maps: &[(String, Option<Map>)],
        unix_ms: u64,
    ) -> Result<usize, MapsError> {
        let mut due = Vec::new();
        for (number, (pool, map)) in (0..).zip(maps) {
            let is_known = self.last(pool).is_some_and(|last| {
                let is_old = unix_ms >= last.unix_ms.saturating_add(AGAIN_MS);
                (&last.map, last.number) == (map, number) && !(is_old && map.is_some())
            });
            let never_was = map.is_none() && self.last(pool).is_none();
            if !is_known && !never_was {
                due.push((pool.clone(), number, map.clone()));
            }
        }
        for gone in self.pools_but(maps) {
            due.push((gone, u16::MAX, None));
        }
        let records = due.into_iter().map(|(pool, number, map)| MapRecord {
            unix_ms,
            pool,
            number,
            map,
        });
        let records: Vec<MapRecord> = records.collect();
        if !records.is_empty() {
            self.append(&records).map_err(|source| {
                let path = self.path.clone();
                MapsError::Io { path, source }
            })?;
        }
        let count = records.len();
        self.records.extend(records);
        Ok(count)
    }

    fn last(&self, pool: &str) -> Option<&MapRecord> {
        self.records.iter().rev().find(|record| record.pool == pool)
    }

    /// Pools with a map that the configuration has no more.
    fn pools_but(&self, maps: &[(String, Option<Map>)]) -> Vec<String> {
        let mut gone: Vec<String> = Vec::new();
        for record in &self.records {
            let is_there = maps.iter().any(|(pool, _)| *pool == record.pool);
            let had_map = self
                .last(&record.pool)
                .is_some_and(|last| last.map.is_some());
            if !is_there && had_map && !gone.contains(&record.pool) {
                gone.push(record.pool.clone());
            }
        }
        gone
    }

    fn append(&mut self, records: &[MapRecord]) -> io::Result<()> {
        let mut text = String::new();
        for record in records {
            let line = Line {
                time: Utc(record.unix_ms).to_string(),
                pool: record.pool.clone(),
                number: record.number,
                realm: record.map.as_ref().map_or("", |map| &map.realm).to_owned(),
                map: record.map.clone(),
            };
            text += &serde_json::to_string(&line)?;
            text.push('\n');
        }
        let mut options = OpenOptions::new();
        let mut file = options
            .create(true)
            .append(true)
            .mode(0o600)
            .open(&self.path)?;
        // A line that was never all written.
        file.set_len(self.whole)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        if self.whole == 0
            && let Some(directory) = self.path.parent()
        {
            File::open(directory)?.sync_all()?;
        }
        self.whole += text.len() as u64;
        Ok(())
    }

    /// The maps that held at some time from `from_ms` to `to_ms`.
    pub fn spans(&self, from_ms: u64, to_ms: u64) -> impl Iterator<Item = Span<'_>> {
        let spans = self.records.iter().enumerate().filter_map(|(at, record)| {
            let mut earlier = self.records[..at].iter().rev();
            let before = earlier.find(|before| before.pool == record.pool);
            // The daily record of what is known.
            if before.is_some_and(|before| before.map == record.map) {
                return None;
            }
            let mut later = self.records[at + 1..].iter();
            let end = later.find(|later| later.pool == record.pool && later.map != record.map);
            Some(Span {
                record,
                map: record.map.as_ref()?,
                since_ms: record.unix_ms,
                until_ms: end.map(|end| end.unix_ms),
            })
        });
        spans.filter(move |span| {
            span.since_ms <= to_ms && span.until_ms.is_none_or(|until| until > from_ms)
        })
    }

    /// Who had this port by a map from `from_ms` to `to_ms`.
    pub fn who(
        &self,
        external: Ipv4Addr,
        port: u16,
        from_ms: u64,
        to_ms: u64,
    ) -> impl Iterator<Item = Static<'_>> {
        self.spans(from_ms, to_ms).filter_map(move |span| {
            match span.map.reverse(external, port)? {
                Owner::Static(inside) => span.of(inside),
                Owner::Dynamic | Owner::Nobody => None,
            }
        })
    }

    /// What an inside address in the realm with this name had by a map from `from_ms` to `to_ms`.
    pub fn of_subscriber<'a>(
        &'a self,
        (realm, inside): (&'a str, Ipv4Addr),
        from_ms: u64,
        to_ms: u64,
    ) -> impl Iterator<Item = Static<'a>> {
        let spans = self.spans(from_ms, to_ms);
        let of_realm = spans.filter(move |span| span.map.realm == realm);
        of_realm.filter_map(move |span| span.of(inside))
    }
}

impl<'a> Span<'a> {
    fn of(&self, inside: Ipv4Addr) -> Option<Static<'a>> {
        Some(Static {
            realm: &self.map.realm,
            inside,
            share: self.map.forward(inside)?,
            pool: self.record.number,
            since_ms: self.since_ms,
            until_ms: self.until_ms,
        })
    }
}

fn record_of(line: &str) -> Option<MapRecord> {
    let line: Line = serde_json::from_str(line).ok()?;
    let Utc(unix_ms) = Utc::parse(&line.time)?;
    Some(MapRecord {
        unix_ms,
        pool: line.pool,
        number: line.number,
        map: line.map.map(|map| map.in_realm(&line.realm)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const T0: u64 = 1_772_546_587_123;
    const HOUR: u64 = 3_600_000;
    const EXTERNAL: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 5);

    struct Root(PathBuf);

    impl Root {
        fn new(name: &str) -> Self {
            let root = std::env::temp_dir().join(format!("cgn-maps-{}-{name}", std::process::id()));
            let _ = fs::remove_dir_all(&root);
            fs::create_dir_all(&root).unwrap();
            Self(root)
        }
    }

    impl Drop for Root {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn map(first: u8) -> Map {
        let inside = vec![([100, 64, 0, first].into(), [100, 64, 0, first + 9].into())];
        Map::new(inside, vec![(EXTERNAL, EXTERNAL)], 2, 1024, 6).unwrap()
    }

    fn pools(map: Option<Map>) -> Vec<(String, Option<Map>)> {
        vec![("dynamic".to_owned(), None), ("static".to_owned(), map)]
    }

    fn owner(maps: &Maps, at_ms: u64) -> Vec<u8> {
        let who = maps.who(EXTERNAL, 1024, at_ms, at_ms);
        who.map(|one| one.inside.octets()[3]).collect()
    }

    /// R7422-8, R7422-9.
    #[test]
    fn a_record_at_each_change_and_once_a_day_answers_for_every_moment() {
        let root = Root::new("change");
        let mut maps = Maps::read(&root.0).unwrap();
        assert_eq!(maps.bring_up(&pools(Some(map(10))), T0).unwrap(), 1);
        assert_eq!(maps.bring_up(&pools(Some(map(10))), T0 + HOUR).unwrap(), 0);
        assert_eq!(
            maps.bring_up(&pools(Some(map(10))), T0 + 24 * HOUR)
                .unwrap(),
            1,
            "daily"
        );
        assert_eq!(
            maps.bring_up(&pools(Some(map(50))), T0 + 25 * HOUR)
                .unwrap(),
            1
        );
        assert_eq!(maps.bring_up(&pools(None), T0 + 30 * HOUR).unwrap(), 1);
        assert_eq!(maps.bring_up(&pools(None), T0 + 90 * HOUR).unwrap(), 0);
        assert_eq!(
            maps.bring_up(&pools(Some(map(70))), T0 + 91 * HOUR)
                .unwrap(),
            1
        );
        assert_eq!(
            maps.bring_up(&[], T0 + 99 * HOUR).unwrap(),
            1,
            "its pool is gone"
        );
        assert_eq!(maps.bring_up(&[], T0 + 999 * HOUR).unwrap(), 0);
        let again = Maps::read(&root.0).unwrap();
        assert_eq!(again.records, maps.records);
        let cases: [(u64, &[u8]); 7] = [
            (T0 - 1, &[]),
            (T0, &[10]),
            (T0 + 24 * HOUR + 1, &[10]),
            (T0 + 25 * HOUR, &[50]),
            (T0 + 30 * HOUR, &[]),
            (T0 + 91 * HOUR, &[70]),
            (T0 + 99 * HOUR, &[]),
        ];
        for (at_ms, expected) in cases {
            assert_eq!(owner(&again, at_ms), expected, "at {}", Utc(at_ms));
        }
        let around = T0 + 25 * HOUR;
        let both: Vec<_> = again
            .who(EXTERNAL, 1024, around - 1000, around + 1000)
            .collect();
        assert_eq!(both.len(), 2, "within the skew of a change");
        assert_eq!(both[0].since_ms, T0, "not the daily record's time");
        assert_eq!(both[0].until_ms, Some(around));
    }

    /// Two realms with equal addresses have pools of their own; a line without `realm` is of the first one.
    #[test]
    fn a_map_is_of_its_realm() {
        let root = Root::new("realm");
        let other = Ipv4Addr::new(203, 0, 113, 6);
        let inside = map(10).inside;
        let of_mvno = Map::new(inside, vec![(other, other)], 2, 1024, 6).unwrap();
        let pools = [
            ("first".to_owned(), Some(map(10))),
            ("mvno".to_owned(), Some(of_mvno.in_realm("mvno"))),
        ];
        Maps::read(&root.0).unwrap().bring_up(&pools, T0).unwrap();
        let text = fs::read_to_string(root.0.join(NAME)).unwrap();
        let has_realm: Vec<bool> = text.lines().map(|line| line.contains("realm")).collect();
        assert_eq!(has_realm, [false, true], "{text}");
        let mut maps = Maps::read(&root.0).unwrap();
        assert_eq!(
            maps.bring_up(&pools, T0 + 1).unwrap(),
            0,
            "as it was written"
        );
        let home = Ipv4Addr::new(100, 64, 0, 10);
        for (realm, external) in [("", EXTERNAL), ("mvno", other)] {
            let had: Vec<_> = maps.of_subscriber((realm, home), T0, T0).collect();
            assert_eq!(had.len(), 1, "{had:?}");
            assert_eq!((had[0].realm, had[0].share.external), (realm, external));
            let who: Vec<_> = maps.who(external, 1024, T0, T0).collect();
            assert_eq!(who, had);
        }
        assert_eq!(maps.of_subscriber(("cloud", home), T0, T0).count(), 0);
    }

    #[test]
    fn a_torn_line_is_cut_off_and_damage_is_told() {
        let root = Root::new("torn");
        let mut maps = Maps::read(&root.0).unwrap();
        maps.bring_up(&pools(Some(map(10))), T0).unwrap();
        let path = root.0.join(NAME);
        let whole = fs::read_to_string(&path).unwrap();
        fs::write(&path, format!("{whole}{}", &whole[..40])).unwrap();
        let mut maps = Maps::read(&root.0).unwrap();
        assert_eq!(maps.records.len(), 1);
        maps.bring_up(&pools(Some(map(50))), T0 + 1).unwrap();
        assert_eq!(Maps::read(&root.0).unwrap().records.len(), 2);
        for damaged in [whole.replace("pool", "pond"), "\n".to_owned()] {
            fs::write(&path, damaged).unwrap();
            let read = Maps::read(&root.0);
            assert!(matches!(read, Err(MapsError::Line { line: 1, .. })));
        }
    }
}
