//! Questions whose answers are known, put to sealed files, to segments, and to both.

mod sessions;

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use super::super::directory::{self, HOUR_MS};
use super::super::sealer::{Retention, Sealer};
use super::super::{Block, Entry, Event, Log, LogOptions, PortRange, ProtocolScope, ReleaseReason};
use super::access_log::{Defaults, Visit, parse};
use super::*;
use crate::utc::Utc;

const DAY_MS: u64 = 24 * HOUR_MS;
/// 2026-03-03T00:00Z.
const START: u64 = 1_772_496_000_000;
const EXTERNAL: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 5);
const KEEP: Retention = Retention {
    days: None,
    sealed_bytes: None,
    spool_bytes: 0,
};

struct Place(PathBuf);

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn block(inside: u8, first_port: u16) -> Block {
    Block {
        realm: 0,
        inside: [100, 64, 0, inside].into(),
        external: EXTERNAL,
        ports: PortRange::new(first_port, 512).unwrap(),
        pool: 0,
        scope: ProtocolScope::All,
        key: 0,
    }
}

fn given(unix_ms: u64, inside: u8, first_port: u16) -> Entry {
    let event = Event::Allocate(block(inside, first_port));
    Entry { unix_ms, event }
}

fn taken(unix_ms: u64, inside: u8, first_port: u16) -> Entry {
    let event = Event::Release {
        block: block(inside, first_port),
        reason: ReleaseReason::Idle,
    };
    Entry { unix_ms, event }
}

/// Port 1024: subscriber 1 for three days, nobody for two minutes, then 2 for a minute, then 3.
/// Port 2048: subscriber 1 for an hour of the first day. Something happens in every hour.
fn story() -> Vec<Entry> {
    let change = START + 3 * DAY_MS + 14 * HOUR_MS;
    let mut entries = vec![
        given(START + 10, 1, 1024),
        given(START + 2 * HOUR_MS, 1, 2048),
        taken(START + 3 * HOUR_MS + 7, 1, 2048),
        taken(change, 1, 1024),
        given(change + 120_000, 2, 1024),
        taken(change + 180_000, 2, 1024),
        given(change + 300_000, 3, 1024),
    ];
    for hour in 0..4 * 24 {
        entries.push(given(START + hour * HOUR_MS + 500, 9, 40_000));
        entries.push(taken(START + hour * HOUR_MS + 900, 9, 40_000));
    }
    entries.sort_by_key(|entry| entry.unix_ms);
    entries
}

fn written(name: &str, is_sealed: bool) -> Place {
    let root = std::env::temp_dir().join(format!("cgn-query-{}-{name}", std::process::id()));
    let _ = fs::remove_dir_all(&root);
    let options = LogOptions {
        sync: false,
        keep_released_ms: 0,
        may_lack: false,
    };
    let (mut log, _) = Log::open(&root, options).unwrap();
    for entry in story() {
        log.append(&[entry]).unwrap();
    }
    if is_sealed {
        let mut sealer = Sealer::open(&root, KEEP, None).unwrap();
        sealer.turn(START + 4 * DAY_MS).unwrap();
    }
    Place(root)
}

fn ask(root: &Path, port: u16, at_ms: u64, skew_ms: u64) -> Answer {
    let enquiry = Enquiry {
        external: EXTERNAL,
        port,
        at_ms,
        skew_ms,
    };
    who(root, &enquiry).unwrap()
}

fn insides(answer: &Answer) -> Vec<u8> {
    let holdings = answer.holdings.iter();
    holdings.map(|held| held.block.inside.octets()[3]).collect()
}

#[test]
fn who_is_answered_alike_from_segments_and_sealed_files() {
    let change = START + 3 * DAY_MS + 14 * HOUR_MS;
    type Case = (
        &'static str,
        u16,
        u64,
        u64,
        Outcome,
        &'static [u8],
        Option<u64>,
    );
    let cases: [Case; 15] = [
        (
            "before the first record",
            1024,
            START,
            0,
            Outcome::Nobody,
            &[],
            None,
        ),
        (
            "at the millisecond of its allocation",
            1024,
            START + 10,
            0,
            Outcome::One,
            &[1],
            Some(START + 10),
        ),
        (
            "the last port of the block",
            1535,
            START + 99,
            0,
            Outcome::One,
            &[1],
            Some(START + 10),
        ),
        (
            "the port after the block",
            1536,
            START + 99,
            0,
            Outcome::Nobody,
            &[],
            None,
        ),
        (
            "the port before the block",
            1023,
            START + 99,
            0,
            Outcome::Nobody,
            &[],
            None,
        ),
        (
            "days later, without any record in between",
            1024,
            change - 1,
            0,
            Outcome::One,
            &[1],
            Some(START + 10),
        ),
        (
            "at the millisecond of its release",
            1024,
            change,
            0,
            Outcome::Nobody,
            &[],
            None,
        ),
        (
            "while nobody had it",
            1024,
            change + 60_000,
            30_000,
            Outcome::Nobody,
            &[],
            None,
        ),
        (
            "the skew reaches back over the release",
            1024,
            change + 10_000,
            20_000,
            Outcome::One,
            &[1],
            Some(START + 10),
        ),
        (
            "the skew reaches over two owners",
            1024,
            change + 60_000,
            61_000,
            Outcome::Several,
            &[1, 2],
            Some(START + 10),
        ),
        (
            "and over three",
            1024,
            change + 150_000,
            200_000,
            Outcome::Several,
            &[1, 2, 3],
            Some(START + 10),
        ),
        (
            "the third, now",
            1024,
            START + 4 * DAY_MS,
            0,
            Outcome::One,
            &[3],
            Some(change + 300_000),
        ),
        (
            "within the only hour",
            2048,
            START + 2 * HOUR_MS + 1,
            0,
            Outcome::One,
            &[1],
            Some(START + 2 * HOUR_MS),
        ),
        (
            "the same day, after it",
            2048,
            START + 9 * HOUR_MS,
            0,
            Outcome::Nobody,
            &[],
            None,
        ),
        (
            "days after it",
            2048,
            START + 3 * DAY_MS,
            0,
            Outcome::Nobody,
            &[],
            None,
        ),
    ];
    for is_sealed in [false, true] {
        let place = written(&format!("who-{is_sealed}"), is_sealed);
        for (sentence, port, at_ms, skew_ms, outcome, expected, since) in cases {
            let answer = ask(&place.0, port, at_ms, skew_ms);
            assert_eq!(
                answer.outcome, outcome,
                "{sentence}, sealed {is_sealed}: {answer:?}"
            );
            assert_eq!(insides(&answer), expected, "{sentence}, sealed {is_sealed}");
            let first = answer.holdings.first();
            assert_eq!(first.and_then(|held| held.since_ms), since, "{sentence}");
            assert_eq!(
                answer.remarks.is_empty(),
                outcome != Outcome::Several,
                "{answer:?}"
            );
        }
    }
}

#[test]
fn what_a_subscriber_had_is_listed() {
    let change = START + 3 * DAY_MS + 14 * HOUR_MS;
    for is_sealed in [false, true] {
        let place = written(&format!("had-{is_sealed}"), is_sealed);
        let had = |from_ms, to_ms| {
            let owned = subscriber(&place.0, (0, [100, 64, 0, 1].into()), from_ms, to_ms).unwrap();
            assert_eq!(owned.remarks, Vec::<String>::new());
            let holdings = owned.holdings.into_iter();
            holdings
                .map(|held| {
                    (
                        held.block.ports.first(),
                        held.since_ms,
                        held.until.map(|until| until.0),
                    )
                })
                .collect::<Vec<_>>()
        };
        let long = (1024, Some(START + 10), None);
        let short = (
            2048,
            Some(START + 2 * HOUR_MS),
            Some(START + 3 * HOUR_MS + 7),
        );
        assert_eq!(had(START, START + DAY_MS), [long, short]);
        assert_eq!(had(START + DAY_MS, START + 2 * DAY_MS), [long]);
        let ended = (1024, Some(START + 10), Some(change));
        assert_eq!(had(change - 1, change + 1), [ended]);
        assert_eq!(had(change + 1, START + 4 * DAY_MS), []);
    }
}

#[test]
fn a_missing_file_is_told_where_it_matters() {
    let place = written("missing", true);
    let root = &place.0;
    let day = directory::days(root).unwrap()[1];
    let files = directory::sealed_of(root, day).unwrap();
    // 12 h to 13 h of the second day.
    fs::remove_file(files[13].path(root)).unwrap();
    let noon = START + DAY_MS + 12 * HOUR_MS;
    for (sentence, at_ms, outcome) in [
        ("before it", noon - 2 * HOUR_MS, Outcome::One),
        ("in it", noon + HOUR_MS / 2, Outcome::Unknown),
        (
            "after it, on the same day",
            noon + 5 * HOUR_MS,
            Outcome::Unknown,
        ),
        (
            "on the next day, which begins with what is held",
            noon + DAY_MS,
            Outcome::One,
        ),
    ] {
        let answer = ask(root, 1024, at_ms, 0);
        assert_eq!(answer.outcome, outcome, "{sentence}: {answer:?}");
        assert_eq!(
            answer.remarks.len(),
            usize::from(outcome == Outcome::Unknown),
            "{answer:?}"
        );
        assert_eq!(insides(&answer), [1], "{sentence}");
    }
}

#[test]
fn a_copy_says_where_it_begins_and_that_its_end_is_not_known() {
    let place = written("copy", true);
    let root = &place.0;
    fs::remove_dir_all(directory::wal(root)).unwrap();
    let days = directory::days(root).unwrap();
    fs::remove_dir_all(directory::day_path(root, days[0])).unwrap();
    let answer = ask(root, 1024, START + 5, 0);
    assert_eq!(answer.outcome, Outcome::Unknown);
    assert!(
        answer.remarks[0].contains("begins with record"),
        "{answer:?}"
    );
    // Still held, but the record of its allocation went with the first day.
    let answer = ask(root, 1024, START + DAY_MS + 1, 0);
    assert_eq!((answer.outcome, insides(&answer)), (Outcome::One, vec![1]));
    assert_eq!(answer.holdings[0].since_ms, None);
    let answer = ask(root, 1024, START + 9 * DAY_MS, 0);
    assert_eq!(insides(&answer), [3]);
    assert!(answer.remarks[0].contains("copy"), "{answer:?}");
    let nothing = ask(&root.join("nothing"), 1024, START, 0);
    assert_eq!(nothing.outcome, Outcome::Unknown);
}

#[test]
fn lines_of_servers_logs_tell_who_came_when() {
    let defaults = Defaults {
        year: 2026,
        offset_ms: 3_600_000,
    };
    let visit = |time: &str| {
        Some(Visit {
            external: EXTERNAL,
            port: 40123,
            unix_ms: Utc::parse(time).unwrap().0,
        })
    };
    let noon = visit("2026-03-03T13:03:07Z");
    let cases = [
        (
            r#"203.0.113.5:40123 - - [03/Mar/2026:14:03:07 +0100] "GET / HTTP/1.1" 200 5"#,
            noon,
        ),
        (
            r#"203.0.113.5:40123 - bob [03/Mar/2026:13:03:07 +0000] "GET /[x] HTTP/1.1" 200 5"#,
            noon,
        ),
        (
            "Mar  3 14:03:07 mx postfix/smtpd[99]: connect from unknown[203.0.113.5]:40123",
            noon,
        ),
        (
            "2026-03-03T14:03:07.000+01:00 mx postfix/smtpd[9]: disconnect from a.example[203.0.113.5]:40123 ehlo=1",
            noon,
        ),
        (
            "Mar  3 14:03:07 gw sshd[812]: Accepted publickey for eve from 203.0.113.5 port 40123 ssh2: ED25519 SHA256:x",
            noon,
        ),
        (
            "Mar  3 14:03:07 gw sshd-session[8]: Connection closed by invalid user a 203.0.113.5 port 40123 [preauth]",
            noon,
        ),
        (
            "Mar  3 14:03:07 gw sshd[8]: Invalid user from 192.0.2.1 port 22 from 203.0.113.5 port 40123",
            noon,
        ),
        // What tells less than all three is not guessed.
        (
            r#"203.0.113.5 - - [03/Mar/2026:14:03:07 +0100] "GET / HTTP/1.1" 200 5"#,
            None,
        ),
        (
            r#"[2001:db8::1]:40123 - - [03/Mar/2026:14:03:07 +0100] "GET /" 200 5"#,
            None,
        ),
        ("203.0.113.5:40123 - - [33/Mar/2026:14:03:07 +0100] x", None),
        ("203.0.113.5:99999 - - [03/Mar/2026:14:03:07 +0100] x", None),
        (
            "Mar  3 14:03:07 mx postfix/smtpd[99]: connect from unknown[203.0.113.5]",
            None,
        ),
        (
            "Feb 29 14:03:07 gw sshd[812]: Accepted password for eve from 203.0.113.5 port 40123 ssh2",
            None,
        ),
        (
            "Mar  3 14:03:07 gw cron[812]: from 203.0.113.5 port 40123",
            None,
        ),
        ("", None),
    ];
    for (line, expected) in cases {
        assert_eq!(parse(line, &defaults), expected, "{line}");
    }
}

/// R7422-9: the log has no record of it, and the records of the maps say whose it was.
#[test]
fn a_static_port_is_answered_by_the_map_of_its_time() {
    let place = written("static", true);
    let map = |first: u8| {
        let inside = vec![([100, 64, 7, first].into(), [100, 64, 7, first + 9].into())];
        crate::policy::deterministic::Map::new(inside, vec![(EXTERNAL, EXTERNAL)], 2, 1024, 6)
    };
    let mut maps = crate::maplog::maps::Maps::read(&place.0).unwrap();
    let change = START + 2 * DAY_MS;
    for (from, at_ms) in [(1, START), (101, change)] {
        let pools = [("static".to_owned(), Some(map(from).unwrap()))];
        assert_eq!(maps.bring_up(&pools, at_ms).unwrap(), 1);
    }
    // Shares of 5,120 ports; 30,000 is in the sixth.
    for (at_ms, owner) in [(START + 5000, 6), (change - 5000, 6), (change + 5000, 106)] {
        let answer = ask(&place.0, 30_000, at_ms, 1000);
        assert_eq!(answer.outcome, Outcome::One, "{answer:?}");
        assert_eq!(
            answer.holdings[0].block.inside.octets(),
            [100, 64, 7, owner]
        );
        assert!(answer.remarks[0].contains("on record"), "{answer:?}");
    }
    let around = ask(&place.0, 30_000, change, 1000);
    assert_eq!(
        (around.outcome, around.holdings.len()),
        (Outcome::Several, 2)
    );
    // Ports for overflow are the log's to tell.
    assert_eq!(
        ask(&place.0, 60_000, change + 5000, 0).outcome,
        Outcome::Nobody
    );
    let owned = subscriber(&place.0, (0, [100, 64, 7, 6].into()), START, change + 1).unwrap();
    assert_eq!(owned.holdings.len(), 1, "{owned:?}");
    assert_eq!(
        owned.holdings[0].until,
        Some((change, ReleaseReason::Reconfigured))
    );
}
