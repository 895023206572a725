//! Names of subscribers from write-ahead segments to sealed files, over starts and crashes.

use std::fs;
use std::net::Ipv4Addr;

use super::super::directory::{self, Content, HOUR_MS};
use super::super::identity::{Book, Who};
use super::super::query::identities;
use super::super::replay::names_before;
use super::super::sealed::IdentityFile;
use super::super::sealer::{Retention, Sealer};
use super::super::verify::verify;
use super::*;

const DAY_MS: u64 = 24 * HOUR_MS;
/// 2026-03-03T00:00Z.
const START: u64 = 1_772_496_000_000;
const KEEP: Retention = Retention {
    days: None,
    sealed_bytes: None,
    spool_bytes: u64::MAX,
};
/// A name that needs two records for its bytes.
const LONG: &str = "alice.with.a.long.name@example.net";

fn inside(number: u8) -> Ipv4Addr {
    [100, 64, 0, number].into()
}

fn stay(number: u8, realm: u16, session: u32, early_secs: u16) -> Login {
    Login {
        inside: inside(number),
        realm,
        early_secs,
        nas: 7,
        session,
    }
}

fn comes(unix_ms: u64, login: Login, name: &str) -> (u64, Vec<Event>) {
    let events = super::login(login, Attribute::UserName, name.as_bytes());
    (unix_ms, events)
}

/// Subscriber 1 is alice for two days and a half, then nobody, then bob, who came 90 s before he was
/// told. Subscriber 2 changes within an hour. One in realm 1 has the address of 1. In each hour a
/// block is given, so that there is a file for each.
fn story() -> Vec<(u64, Vec<Event>)> {
    let mut groups = vec![
        comes(START + HOUR_MS + 5_000, stay(1, 0, 1, 0), LONG),
        comes(START + HOUR_MS + 6_000, stay(1, 1, 2, 0), "mvno's"),
        comes(START + 2 * HOUR_MS + 1_000, stay(2, 0, 3, 0), "carol"),
        comes(START + 2 * HOUR_MS + 9_000, stay(2, 0, 4, 0), "dave"),
        (
            START + 2 * DAY_MS + 12 * HOUR_MS,
            vec![Event::Logout(stay(1, 0, 1, 0))],
        ),
        comes(
            START + 2 * DAY_MS + 13 * HOUR_MS + 30_000,
            stay(1, 0, 5, 90),
            "bob",
        ),
    ];
    for hour in 0..3 * 24_u64 {
        let entry = allocate((hour % 40) as u16);
        groups.push((START + hour * HOUR_MS + 100, vec![entry.event]));
    }
    groups.sort_by_key(|(unix_ms, _)| *unix_ms);
    groups
}

fn write(log: &mut Log, groups: &[(u64, Vec<Event>)]) {
    for (unix_ms, events) in groups {
        let entries = events.iter().map(|event| Entry {
            unix_ms: *unix_ms,
            event: *event,
        });
        log.append(&entries.collect::<Vec<_>>()).unwrap();
    }
}

fn seal(root: &Path) {
    let mut sealer = Sealer::open(root, KEEP, None).unwrap();
    sealer.turn(START).unwrap();
}

fn written(is_sealed: bool) -> (Directory, Log) {
    let directory = Directory::new();
    let (mut log, _) = open_log(&directory.0);
    let groups = story();
    for (number, some) in groups.chunks(9).enumerate() {
        write(&mut log, some);
        // A sealer that starts anew knows the names.
        if is_sealed && number % 2 == 1 {
            seal(&directory.0);
        }
    }
    if is_sealed {
        seal(&directory.0);
    }
    (directory, log)
}

fn names(root: &Path, who: Who, from_ms: u64, to_ms: u64) -> Vec<String> {
    let found = identities(root, who, from_ms, to_ms).unwrap();
    found.iter().map(|known| known.name.to_string()).collect()
}

#[test]
fn a_name_is_found_at_its_time_alike_in_segments_sealed_files_and_a_copy() {
    let late = START + 2 * DAY_MS + 12 * HOUR_MS;
    type Case = (&'static str, Who, u64, u64, &'static [&'static str]);
    let one = (0, inside(1));
    let two = (0, inside(2));
    let changes = START + 2 * HOUR_MS;
    let cases: [Case; 13] = [
        ("before it was told", one, START + HOUR_MS, 0, &[]),
        ("in its hour", one, START + HOUR_MS + 5_001, 0, &[LONG]),
        ("a day later", one, START + DAY_MS + 5, 0, &[LONG]),
        (
            "another realm",
            (1, inside(1)),
            START + DAY_MS,
            0,
            &["mvno's"],
        ),
        ("no such realm", (2, inside(1)), START + DAY_MS, 0, &[]),
        ("just before its end", one, late - 1, 0, &[LONG]),
        ("after its end", one, late + 1, 0, &[]),
        (
            "the next comes before he is told",
            one,
            late + HOUR_MS - 59_000,
            0,
            &["bob"],
        ),
        ("and no earlier", one, late + HOUR_MS - 61_000, 0, &[]),
        ("the first of two", two, changes + 5_000, 0, &["carol"]),
        ("the second", two, changes + 9_500, 0, &["dave"]),
        ("both", two, changes + 8_500, 1_000, &["carol", "dave"]),
        ("nobody told a name", (0, inside(3)), late, 0, &[]),
    ];
    for is_sealed in [false, true] {
        let (directory, log) = written(is_sealed);
        let root = &directory.0;
        let check = |what: &str| {
            for (sentence, who, from_ms, more, expected) in &cases {
                let found = names(root, *who, *from_ms, from_ms + more);
                assert_eq!(found, *expected, "{sentence}, {what}, sealed: {is_sealed}");
            }
        };
        check("as it is");
        let verdict = verify(root, None).unwrap();
        assert_eq!(verdict.problems, Vec::<String>::new());
        let count: usize = story().iter().map(|(_, events)| events.len()).sum();
        assert_eq!(verdict.records, count as u64);
        drop(log);
        if is_sealed {
            // Of the last hour there is a block only.
            fs::remove_dir_all(directory::wal(root)).unwrap();
            check("a copy");
        }
    }
}

#[test]
fn names_survive_starts() {
    for is_sealed in [false, true] {
        let (directory, log) = written(is_sealed);
        drop(log);
        let (log, recovery) = open_log(&directory.0);
        let mut known: Vec<_> = recovery.names.all().map(|named| &*named.name).collect();
        known.sort_unstable();
        assert_eq!(known, ["bob", "dave", "mvno's"]);
        let bob = recovery.names.of((0, inside(1))).unwrap();
        assert_eq!((bob.login.nas, bob.login.session), (7, 5));
        // As of each record, whichever of it is sealed.
        let mut book = Book::default();
        for record in read(&directory.0).unwrap() {
            let record = record.unwrap();
            let found = names_before(&directory.0, record.sequence).unwrap();
            assert_eq!(names_of(&found), names_of(&book), "#{}", record.sequence);
            book.follow(&record.entry);
        }
        drop(log);
    }
}

fn names_of(book: &Book) -> Vec<(Who, String)> {
    let all = book.all();
    let mut names: Vec<_> = all
        .map(|named| (named.login.who(), named.name.to_string()))
        .collect();
    names.sort_unstable();
    names
}

#[test]
fn files_of_names_stand_apart_and_only_where_there_are_names() {
    let (directory, _log) = written(true);
    let root = &directory.0;
    let mut found = Vec::new();
    for day in directory::days(root).unwrap() {
        for name in directory::sealed_of(root, day).unwrap() {
            if !name.content.is_of_blocks() {
                let rows = IdentityFile::open(&name.path(root))
                    .unwrap()
                    .rows()
                    .unwrap();
                found.push((day.0 - START / DAY_MS, name.content, rows.len()));
            }
        }
    }
    let expected = [
        (0, Content::Identities, 2),
        (0, Content::Identities, 2),
        (1, Content::IdentitiesHeld, 3),
        (2, Content::IdentitiesHeld, 3),
        (2, Content::Identities, 1),
        (2, Content::Identities, 1),
    ];
    assert_eq!(found, expected);
}

/// Whoever dies between the two files of an hour leaves a log that is whole after the next turn.
#[test]
fn a_crash_between_the_files_of_an_hour_does_no_harm() {
    for content in [Content::Records, Content::Held] {
        let (directory, log) = written(true);
        let root = &directory.0;
        let day = *directory::days(root).unwrap().last().unwrap();
        // What comes from the first such file on was never written.
        let files = directory::sealed_of(root, day).unwrap();
        let of_names = files.iter().position(|file| match content {
            Content::Held => file.content == Content::IdentitiesHeld,
            _ => file.content == Content::Identities,
        });
        for name in &files[of_names.unwrap() + 1..] {
            fs::remove_file(name.path(root)).unwrap();
        }
        let _ = fs::remove_file(directory::manifest_path(root, day));
        seal(root);
        let verdict = verify(root, None).unwrap();
        assert_eq!(verdict.problems, Vec::<String>::new(), "{content:?}");
        let late = START + 2 * DAY_MS + 14 * HOUR_MS;
        assert_eq!(names(root, (0, inside(1)), late, late), ["bob"]);
        drop(log);
    }
}

#[test]
fn a_name_that_was_changed_or_taken_away_is_noticed() {
    let (directory, _log) = written(true);
    let root = &directory.0;
    let day = directory::days(root).unwrap()[1];
    let held = directory::sealed_of(root, day).unwrap()[0].path(root);
    let bytes = fs::read(&held).unwrap();
    fs::remove_file(&held).unwrap();
    assert_ne!(verify(root, None).unwrap().problems, Vec::<String>::new());
    let mut changed = bytes.clone();
    let at = bytes.len() / 2;
    changed[at] ^= 1;
    fs::write(&held, changed).unwrap();
    assert_ne!(verify(root, None).unwrap().problems, Vec::<String>::new());
    fs::write(&held, bytes).unwrap();
    assert_eq!(verify(root, None).unwrap().problems, Vec::<String>::new());
}
