//! From write-ahead segments to sealed files: nothing lost, nothing doubled, at any crash.

use std::collections::HashMap;
use std::fs;

use super::super::directory::{self, Content, HOUR_MS, Hour, SealedName};
use super::super::sealed::{Fact, Row, SealedFile};
use super::super::sealer::manifest::Manifest;
use super::super::sealer::{Retention, SealError, Sealer};
use super::*;
use crate::utc::Day;

const DAY_MS: u64 = 24 * HOUR_MS;
/// 2026-03-03T00:00Z.
const START: u64 = 1_772_496_000_000;

const KEEP: Retention = Retention {
    days: None,
    sealed_bytes: None,
    spool_bytes: u64::MAX,
};
const KEEP_NO_SPOOL: Retention = Retention {
    spool_bytes: 0,
    ..KEEP
};

fn at(unix_ms: u64, entry: Entry) -> Entry {
    Entry { unix_ms, ..entry }
}

/// Three days: per hour one block is allocated and the one of five hours ago is released.
fn three_days() -> Vec<Entry> {
    let mut entries = Vec::new();
    for hour in 0..72_u16 {
        let unix_ms = START + u64::from(hour) * HOUR_MS + 1_234;
        entries.push(at(unix_ms, allocate(hour % 40)));
        if hour >= 5 {
            entries.push(at(unix_ms + 5_000, release((hour - 5) % 40)));
        }
    }
    entries
}

fn write(log: &mut Log, entries: &[Entry]) {
    for entry in entries {
        log.append(&[*entry]).unwrap();
    }
}

/// A log of three days in a directory of its own, of which nothing is sealed.
fn unsealed() -> (Directory, Log, Vec<Entry>) {
    let directory = Directory::new();
    let (mut log, recovery) = open_log(&directory.0);
    assert_eq!(recovery, Recovery::default());
    let entries = three_days();
    write(&mut log, &entries);
    (directory, log, entries)
}

fn seal_all(root: &Path, retention: Retention) -> Sealer {
    let mut sealer = Sealer::open(root, retention, None).unwrap();
    sealer.turn(START).unwrap();
    sealer
}

/// All events in sealed files, and those in segments that are not sealed, sorted by what they say.
fn everything(root: &Path) -> Vec<(u64, Event)> {
    let mut next_sequence = 1;
    let mut found = Vec::new();
    for day in directory::days(root).unwrap() {
        for name in directory::sealed_of(root, day).unwrap() {
            let file = SealedFile::open(&name.path(root)).unwrap();
            next_sequence = file.chained().next_sequence;
            for row in file.rows().unwrap() {
                if let Fact::Event(event) = row.fact {
                    found.push((row.unix_ms, event));
                }
            }
        }
    }
    for record in read_from(root, next_sequence).unwrap() {
        let record = record.unwrap();
        if record.sequence >= next_sequence {
            found.push((record.entry.unix_ms, record.entry.event));
        }
    }
    found.sort_by_key(|(unix_ms, event)| (*unix_ms, format!("{event:?}")));
    found
}

fn as_written(entries: &[Entry]) -> Vec<(u64, Event)> {
    let mut all: Vec<_> = entries
        .iter()
        .map(|entry| (entry.unix_ms, entry.event))
        .collect();
    all.sort_by_key(|(unix_ms, event)| (*unix_ms, format!("{event:?}")));
    all
}

fn live_of(entries: &[Entry]) -> HashMap<(std::net::Ipv4Addr, u16), Block> {
    let mut live = HashMap::new();
    for entry in entries {
        let block = entry.event.block().unwrap();
        let key = (block.external, block.ports.first());
        match entry.event {
            Event::Allocate(block) => live.insert(key, block),
            _ => live.remove(&key),
        };
    }
    live
}

#[test]
fn each_hour_is_a_segment_and_then_a_file_and_each_day_begins_with_what_is_held() {
    let (directory, log, entries) = unsealed();
    let root = &directory.0;
    assert_eq!(directory::segments(root).unwrap().len(), 72);
    let sealer = seal_all(root, KEEP);
    // The last hour is still being written.
    assert_eq!(sealer.next_sequence(), entries.len() as u64 - 1);
    let days = directory::days(root).unwrap();
    assert_eq!(days.len(), 3);
    for (number, day) in days.iter().enumerate() {
        let files = directory::sealed_of(root, *day).unwrap();
        let hours = if number == 2 { 23 } else { 24 };
        assert_eq!(files.len(), 1 + hours, "{day}");
        assert_eq!(files[0].content, Content::Held);
        let held = SealedFile::open(&files[0].path(root)).unwrap();
        let expected = if number == 0 { 0 } else { 5 };
        assert_eq!(held.row_count(), expected);
    }
    assert_eq!(everything(root), as_written(&entries));
    drop(log);
    // The same blocks are live as when all was in segments.
    let (log, recovery) = open_log(root);
    let live: HashMap<_, _> = recovery
        .live
        .iter()
        .map(|(key, logged)| (*key, logged.block))
        .collect();
    assert_eq!(live, live_of(&entries));
    assert_eq!(recovery.unpaired, 0);
    assert_eq!(log.next_sequence(), entries.len() as u64 + 1);
}

#[test]
fn rows_are_sorted_by_block_and_read_back_by_either_address() {
    let (directory, mut log, _) = unsealed();
    let root = &directory.0;
    // An hour with many addresses, so that it has several pages.
    let mut group = Vec::new();
    for number in 0..20_000_u32 {
        let block = Block {
            realm: 0,
            inside: (0x6440_0000 + number).into(),
            external: (0xcb00_7100 + number % 200).into(),
            ports: PortRange::new(1024 + (number / 200) as u16 * 512, 512).unwrap(),
            pool: (number % 3) as u16,
            scope: ProtocolScope::All,
            key: 0,
        };
        let unix_ms = START + 3 * DAY_MS + u64::from(number * 7_919 % 3_600_000);
        group.push(at(
            unix_ms,
            Entry {
                unix_ms,
                event: Event::Allocate(block),
            },
        ));
    }
    log.append(&group).unwrap();
    log.end_hour(START + 4 * DAY_MS).unwrap();
    seal_all(root, KEEP);
    let name = directory::last_sealed(root).unwrap().unwrap();
    let file = SealedFile::open(&name.path(root)).unwrap();
    let rows = file.rows().unwrap();
    assert_eq!(rows.len(), 20_000);
    let place = |row: &Row| {
        row.block()
            .map(|block| (block.external, block.ports.first()))
    };
    assert!(rows.is_sorted_by_key(place));
    for external in [
        0xcb00_70ff_u32,
        0xcb00_7100,
        0xcb00_7163,
        0xcb00_71c7,
        0xcb00_71c8,
        0,
    ] {
        let wanted: Vec<Row> = rows
            .iter()
            .copied()
            .filter(|row| row.block().unwrap().external == std::net::Ipv4Addr::from(external))
            .collect();
        assert_eq!(
            file.rows_of_external(external.into()).unwrap(),
            wanted,
            "{external:x}"
        );
    }
    for inside in [0x6440_0000_u32, 0x6440_4e1f, 0x6440_4e20] {
        let wanted = rows
            .iter()
            .filter(|row| row.block().unwrap().inside == std::net::Ipv4Addr::from(inside));
        let wanted: Vec<Row> = wanted.copied().collect();
        assert_eq!(
            file.rows_of_inside(inside.into()).unwrap(),
            wanted,
            "{inside:x}"
        );
    }
}

#[test]
fn a_crash_while_sealing_loses_and_doubles_nothing() {
    // What the crash left of the sealed file: nothing of it is under its name.
    for kept in [0, 1, 100, 1_000] {
        let (directory, log, entries) = unsealed();
        let root = &directory.0;
        seal_all(root, KEEP);
        let last = directory::last_sealed(root).unwrap().unwrap().path(root);
        let bytes = fs::read(&last).unwrap();
        let unfinished = last.with_extension("tmp");
        fs::write(&unfinished, &bytes[..kept.min(bytes.len())]).unwrap();
        fs::remove_file(&last).unwrap();
        drop(log);
        let (_log, recovery) = open_log(root);
        assert_eq!(recovery.live.len(), live_of(&entries).len());
        assert!(!unfinished.exists());
        assert_eq!(everything(root), as_written(&entries));
        seal_all(root, KEEP);
        assert_eq!(fs::read(&last).unwrap(), bytes, "the same file again");
        assert_eq!(everything(root), as_written(&entries));
    }
}

#[test]
fn a_crash_between_the_files_of_a_new_day_is_made_good() {
    let (directory, log, entries) = unsealed();
    let root = &directory.0;
    seal_all(root, KEEP);
    drop(log);
    // Only what was held is there of the last day.
    let day = *directory::days(root).unwrap().last().unwrap();
    for name in &directory::sealed_of(root, day).unwrap()[1..] {
        fs::remove_file(name.path(root)).unwrap();
    }
    let (_log, recovery) = open_log(root);
    assert_eq!(recovery.live.len(), live_of(&entries).len());
    seal_all(root, KEEP);
    assert_eq!(directory::sealed_of(root, day).unwrap().len(), 24);
    assert_eq!(everything(root), as_written(&entries));
}

#[test]
fn segments_go_only_when_they_are_sealed_and_the_oldest_first() {
    let (directory, log, entries) = unsealed();
    let root = &directory.0;
    let mut sealer = Sealer::open(root, KEEP_NO_SPOOL, None).unwrap();
    let turn = sealer.turn(START).unwrap();
    assert_eq!((turn.files, turn.records), (71, entries.len() as u64 - 2));
    assert_eq!(
        directory::segments(root).unwrap().len(),
        1,
        "the one that is written"
    );
    assert_eq!(turn.spool_bytes, 40 + 2 * 40);
    assert_eq!(everything(root), as_written(&entries));
    drop(log);
    let (mut log, recovery) = open_log(root);
    assert_eq!(recovery.live.len(), live_of(&entries).len());
    assert_eq!(
        log.append(&[allocate(1)]).unwrap().start,
        entries.len() as u64 + 1
    );
    drop(log);
    // A copy without segments goes on as well.
    fs::remove_dir_all(directory::wal(root)).unwrap();
    let (log, _) = open_log(root);
    assert_eq!(log.next_sequence(), sealer.next_sequence());
}

#[test]
fn what_is_missing_in_the_middle_is_told_and_nothing_is_sealed_over_it() {
    let (directory, log, _) = unsealed();
    let root = &directory.0;
    drop(log);
    let segments = directory::segments(root).unwrap();
    let path = directory::segment_path(root, segments[10]);
    let whole = fs::read(&path).unwrap();
    fs::remove_file(&path).unwrap();
    let error = when_unlocked(|| Log::open(root, OPTIONS)).unwrap_err();
    assert!(
        matches!(error, OpenError::Read(ReadError::Missing { .. })),
        "{error:?}"
    );
    assert!(
        error
            .to_string()
            .contains(&format!("{} to {}", segments[10], segments[11] - 1))
    );
    let mut sealer = Sealer::open(root, KEEP, None).unwrap();
    let error = sealer.turn(START).unwrap_err();
    assert!(
        matches!(error, SealError::Read(ReadError::Missing { .. })),
        "{error:?}"
    );
    assert_eq!(sealer.next_sequence(), segments[10]);
    // Half a record at the end of a segment that ended long ago.
    fs::write(&path, &whole[..whole.len() - 7]).unwrap();
    let error = when_unlocked(|| Log::open(root, OPTIONS)).unwrap_err();
    assert!(
        matches!(
            error,
            OpenError::Read(ReadError::TornInside { bytes: 33, .. })
        ),
        "{error:?}"
    );
    assert!(sealer.turn(START).is_err());
    // With the file back all is well.
    fs::write(&path, &whole).unwrap();
    sealer.turn(START).unwrap();
    open_log(root);
}

#[test]
fn old_days_go_by_age_and_by_size_but_never_the_newest() {
    type Case = (&'static str, Option<u64>, Option<u64>, u64, usize);
    let cases: [Case; 5] = [
        ("nothing is old", Some(2), None, START + 2 * DAY_MS, 3),
        (
            "the first day is too old",
            Some(1),
            None,
            START + 2 * DAY_MS,
            2,
        ),
        (
            "all are too old, and what is held stays known",
            Some(1),
            None,
            START + 99 * DAY_MS,
            1,
        ),
        ("one byte too much", None, Some(u64::MAX), START, 3),
        ("no room at all", None, Some(0), START, 1),
    ];
    for (sentence, days, sealed_bytes, now, left) in cases {
        let (directory, log, entries) = unsealed();
        let retention = Retention {
            days,
            sealed_bytes,
            spool_bytes: 0,
        };
        let mut sealer = Sealer::open(&directory.0, retention, None).unwrap();
        let turn = sealer.turn(now).unwrap();
        assert_eq!(
            directory::days(&directory.0).unwrap().len(),
            left,
            "{sentence}"
        );
        assert_eq!(turn.removed_days.len(), 3 - left, "{sentence}");
        drop(log);
        let (_, recovery) = open_log(&directory.0);
        assert_eq!(recovery.live.len(), live_of(&entries).len(), "{sentence}");
    }
}

#[test]
fn a_clock_that_goes_back_does_not_open_an_old_day() {
    let directory = Directory::new();
    let root = &directory.0;
    let (mut log, _) = open_log(root);
    let entries = [
        at(START + 5 * HOUR_MS, allocate(1)),
        at(START - 3 * HOUR_MS, allocate(2)),
        at(START + 6 * HOUR_MS, release(2)),
        at(START + 7 * HOUR_MS, release(1)),
    ];
    write(&mut log, &entries);
    seal_all(root, KEEP);
    let day = Hour::of(START).day();
    assert_eq!(directory::days(root).unwrap(), [day]);
    let hours: Vec<u64> = directory::sealed_of(root, day)
        .unwrap()
        .iter()
        .map(|file| file.hour.0 % 24)
        .collect();
    assert_eq!(hours, [0, 5, 5, 6]);
    assert_eq!(everything(root), as_written(&entries));
}

#[test]
fn a_day_that_is_over_has_a_manifest_of_all_its_files() {
    let (directory, _log, _) = unsealed();
    let root = &directory.0;
    seal_all(root, KEEP);
    let days = directory::days(root).unwrap();
    let manifest = |day: Day| -> Option<Manifest> {
        let text = fs::read(directory::manifest_path(root, day)).ok()?;
        Some(serde_json::from_slice(&text).unwrap())
    };
    let first = manifest(days[0]).unwrap();
    let second = manifest(days[1]).unwrap();
    assert_eq!(manifest(days[2]), None, "it is not over");
    assert_eq!((first.files.len(), second.files.len()), (25, 25));
    assert_eq!(first.previous_sha256, "");
    assert_eq!(second.previous_sha256.len(), 64);
    let name = SealedName {
        first_sequence: 1,
        content: Content::Records,
        hour: Hour::of(START),
    };
    assert_eq!(
        first.files[1].name,
        name.path(root).file_name().unwrap().to_str().unwrap()
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn what_was_acknowledged_is_found_after_any_death(
        groups in prop::collection::vec((1..40_u64, prop::collection::vec(0..20_u16, 1..6)), 1..25),
        deaths in prop::collection::vec((0..25_usize, 0..100_usize), 0..6),
        spool in prop_oneof![Just(0), Just(u64::MAX)],
    ) {
        let directory = Directory::new();
        let root = &directory.0;
        let retention = Retention { spool_bytes: spool, ..KEEP };
        let (mut log, _) = open_log(root);
        let mut sealer = Sealer::open(root, retention, None).unwrap();
        let mut acknowledged: Vec<Entry> = Vec::new();
        let mut live: HashMap<u16, ()> = HashMap::new();
        let mut unix_ms = START;
        for (number, (minutes, numbers)) in groups.into_iter().enumerate() {
            unix_ms += minutes * 60_000;
            let group: Vec<Entry> = numbers.iter().map(|&number| {
                let entry = match live.remove(&number) {
                    Some(()) => release(number),
                    None => {
                        live.insert(number, ());
                        allocate(number)
                    }
                };
                at(unix_ms, entry)
            }).collect();
            log.append(&group).unwrap();
            acknowledged.extend(group);
            if number % 3 == 0 {
                sealer.turn(unix_ms).unwrap();
            }
            for (_, torn) in deaths.iter().filter(|(when, _)| *when == number) {
                // The daemon dies some bytes into its next group.
                let last = *directory::segments(root).unwrap().last().unwrap();
                drop(log);
                let path = directory::segment_path(root, last);
                let mut bytes = fs::read(&path).unwrap();
                let next = Record {
                    sequence: acknowledged.len() as u64 + 1,
                    entry: at(unix_ms, allocate(30)),
                };
                bytes.extend(&next.encode()[..(*torn).min(RECORD_BYTES - 1)]);
                fs::write(&path, bytes).unwrap();
                let recovery;
                (log, recovery) = open_log(root);
                sealer = Sealer::open(root, retention, None).unwrap();
                prop_assert_eq!(recovery.live.len(), live.len());
                prop_assert_eq!(recovery.torn_bytes as usize, (*torn).min(RECORD_BYTES - 1));
                prop_assert_eq!(log.next_sequence(), acknowledged.len() as u64 + 1);
            }
        }
        sealer.turn(unix_ms).unwrap();
        prop_assert_eq!(everything(root), as_written(&acknowledged));
    }
}
