//! Going on without records, as `log.on_full = "continue"` wants: what the log says of it afterwards.

use super::super::directory::HOUR_MS;
use super::super::query::{Answer, Enquiry, Outcome, subscriber, who};
use super::super::sealer::{Retention, Sealer};
use super::*;

/// 2026-03-03T00:00Z.
const START: u64 = 1_772_496_000_000;
/// The gap: over the ends of four hours.
const SINCE: u64 = START + HOUR_MS / 2;
const UNTIL: u64 = START + 4 * HOUR_MS + 7;
const MAY_LACK: LogOptions = LogOptions {
    may_lack: true,
    ..OPTIONS
};

fn open_lacking(root: &Path) -> Log {
    when_unlocked(|| Log::open(root, MAY_LACK)).unwrap().0
}

fn at(unix_ms: u64, entry: Entry) -> Entry {
    Entry { unix_ms, ..entry }
}

/// Block 1 was there before; in the gap it is released, 2 is given, 3 is given and released.
fn with_gap(root: &Path) -> Log {
    let mut log = open_lacking(root);
    log.append(&[at(START + 5, allocate(1))]).unwrap();
    log.lack(SINCE, &[allocate(2), allocate(3)]).unwrap();
    log.lack(SINCE + 9, &[release(1), release(3)]).unwrap();
    log
}

fn outcome(root: &Path, number: u16, at_ms: u64) -> Answer {
    let enquiry = Enquiry {
        external: block(number).external,
        port: block(number).ports.first(),
        at_ms,
        skew_ms: 0,
    };
    who(root, &enquiry).unwrap()
}

#[test]
fn a_gap_is_on_record_with_what_outlived_it() {
    let directory = Directory::new();
    let mut log = with_gap(&directory.0);
    let refused = log.append(&[at(UNTIL, allocate(4))]);
    assert!(matches!(refused, Err(AppendError::Lacking)), "{refused:?}");
    log.catch_up(UNTIL).unwrap();
    assert_eq!(log.lacking_since_ms(), None);
    log.append(&[at(UNTIL + 1, allocate(4))]).unwrap();
    let written: Vec<Entry> = records(&directory.0).iter().map(|r| r.entry).collect();
    let expected = [
        at(START + 5, allocate(1)),
        at(
            SINCE,
            Entry {
                unix_ms: 0,
                event: Event::Gap,
            },
        ),
        at(
            UNTIL,
            Entry {
                unix_ms: 0,
                event: Event::Resume,
            },
        ),
        at(UNTIL, release(1)),
        at(UNTIL, allocate(2)),
        at(UNTIL + 1, allocate(4)),
    ];
    assert_eq!(written, expected);
}

#[test]
fn answers_say_what_the_gap_makes_of_them() {
    /// When it is asked.
    #[derive(Debug, Clone, Copy)]
    enum Stage {
        /// The gap goes on: only its mark tells.
        Within,
        After,
        Sealed,
    }
    let cases = [
        ("before the gap", 1, SINCE - 1, Outcome::One),
        ("in its first hour", 1, SINCE + 1, Outcome::Unknown),
        (
            "hours later within it",
            1,
            SINCE + 2 * HOUR_MS,
            Outcome::Unknown,
        ),
        (
            "of a block that nobody had by the log",
            9,
            SINCE + HOUR_MS,
            Outcome::Unknown,
        ),
        ("after it, released within", 1, UNTIL + 1, Outcome::Nobody),
        ("after it, given within", 2, UNTIL + 1, Outcome::One),
        (
            "after it, given and released within",
            3,
            UNTIL + 1,
            Outcome::Nobody,
        ),
    ];
    for stage in [Stage::Within, Stage::After, Stage::Sealed] {
        let directory = Directory::new();
        let mut log = with_gap(&directory.0);
        if !matches!(stage, Stage::Within) {
            log.catch_up(UNTIL).unwrap();
            log.append(&[at(UNTIL + 50, allocate(4))]).unwrap();
        }
        if matches!(stage, Stage::Sealed) {
            log.end_hour(UNTIL + HOUR_MS).unwrap();
            let keep = Retention {
                days: None,
                sealed_bytes: None,
                spool_bytes: 0,
            };
            let mut sealer = Sealer::open(&directory.0, keep, None).unwrap();
            assert_eq!(sealer.turn(UNTIL + HOUR_MS).unwrap().files, 2);
        }
        for (what, number, at_ms, expected) in cases {
            if matches!(stage, Stage::Within) && at_ms > UNTIL {
                continue;
            }
            let answer = outcome(&directory.0, number, at_ms);
            assert_eq!(answer.outcome, expected, "{stage:?}, {what}: {answer:?}");
            let is_told = answer
                .remarks
                .iter()
                .any(|r| r.contains("could not be written"));
            assert_eq!(is_told, expected == Outcome::Unknown, "{stage:?}, {what}");
        }
        let owned = subscriber(&directory.0, (0, block(2).inside), SINCE, UNTIL).unwrap();
        assert!(
            owned.remarks[0].contains("2026-03-03T00:30:00"),
            "{owned:?}"
        );
    }
}

#[test]
fn a_daemon_that_dies_in_a_gap_leaves_its_mark() {
    let directory = Directory::new();
    let log = with_gap(&directory.0);
    drop(log);
    // The tables tell the next daemon what is held; the log, whose choice may be another now, tells of the gap.
    let mut log = open_log(&directory.0).0;
    assert_eq!(log.lacking_since_ms(), Some(SINCE));
    log.catch_up(UNTIL).unwrap();
    let kinds: Vec<Event> = records(&directory.0)[1..]
        .iter()
        .map(|r| r.entry.event)
        .collect();
    assert_eq!(kinds, [Event::Gap, Event::Resume]);
    drop(log);
    let log = open_log(&directory.0).0;
    assert_eq!(log.lacking_since_ms(), None, "it is told once");
}

#[test]
fn a_log_that_must_not_lack_records_has_no_mark() {
    let directory = Directory::new();
    let (mut log, _) = open_log(&directory.0);
    assert!(log.lack(SINCE, &[allocate(1)]).is_err());
    assert!(!directory.0.join("gap").exists());
}
