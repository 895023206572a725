//! Blocks of subscribers with equal addresses in different realms.

use std::net::Ipv4Addr;

use super::super::record::LAST_SEQUENCE;
use super::Directory;

use crate::maplog::encode::{Item, jsonl, syslog};
use crate::maplog::realms::Register;
use crate::maplog::sealed::{Chained, Row, SealedFile, seal};
use crate::maplog::{
    Block, DecodeError, Entry, Event, PortRange, Protocol, ProtocolScope, Record, ReleaseReason,
    Remote, Session,
};

const UNIX_MS: u64 = 1_772_546_587_123;

fn block(realm: u16, first: u16) -> Block {
    Block {
        inside: Ipv4Addr::new(100, 64, 0, 10),
        realm,
        external: Ipv4Addr::new(203, 0, 113, 5),
        ports: PortRange::new(first, 64).unwrap(),
        pool: 1,
        scope: ProtocolScope::All,
        key: 0,
    }
}

fn record(event: Event) -> Record {
    let entry = Entry {
        unix_ms: UNIX_MS,
        event,
    };
    Record { sequence: 7, entry }
}

fn release(block: Block) -> Event {
    let reason = ReleaseReason::Idle;
    Event::Release { block, reason }
}

#[test]
fn a_record_tells_its_realm_and_an_older_program_does_not_know_its_kind() {
    for (event, kind) in [
        (Event::Allocate(block(0, 1024)), 1),
        (release(block(0, 1024)), 2),
        (Event::Allocate(block(0x0203, 1024)), 7),
        (release(block(0x0203, 1024)), 8),
        (Event::Allocate(block(u16::MAX, 1024)), 7),
    ] {
        let record = record(event);
        let bytes = record.encode();
        assert_eq!(Record::decode(&bytes), Ok(record));
        // First and last of its group.
        assert_eq!(bytes[3], kind | 0xc0, "{record}");
        let number = event.block().unwrap().realm;
        assert_eq!(bytes[18..20], number.to_le_bytes(), "{record}");
        assert_eq!(bytes[12..18], UNIX_MS.to_le_bytes()[..6], "{record}");
    }
}

fn session(realm: u16, port: u16) -> Session {
    Session {
        external: Ipv4Addr::new(203, 0, 113, 5),
        external_port: port,
        protocol: Protocol::Udp,
        realm,
        inside: Ipv4Addr::new(100, 64, 0, 10),
        inside_port: 40_000,
        remote: Some(Remote {
            address: Ipv4Addr::new(8, 8, 4, 4),
            port: 53,
        }),
    }
}

#[test]
fn a_record_of_a_session_tells_its_realm_in_the_place_of_a_number_that_nobody_reaches() {
    let mapping = |realm| Session {
        remote: None,
        ..session(realm, 1030)
    };
    for (event, kind) in [
        (Event::Open(session(0, 1030)), 39),
        (Event::Open(session(0x0203, 1030)), 51),
        (Event::Close(session(0x0203, 1030)), 54),
        (Event::Open(mapping(u16::MAX)), 45),
        (Event::Close(mapping(1)), 48),
    ] {
        for sequence in [7, LAST_SEQUENCE] {
            let record = Record {
                sequence,
                ..record(event)
            };
            let bytes = record.encode();
            assert_eq!(Record::decode(&bytes), Ok(record));
            assert_eq!(bytes[3], kind | 0xc0, "{record}");
            let number = event.session().unwrap().realm;
            assert_eq!(bytes[10..12], number.to_le_bytes(), "{record}");
            assert_eq!(bytes[4..10], sequence.to_le_bytes()[..6], "{record}");
        }
    }
    // Of the first realm it is never written so.
    let mut bytes = record(Event::Open(session(1, 1030))).encode();
    bytes[10] = 0;
    let checksum = crc32fast::hash(&bytes[..36]);
    bytes[36..].copy_from_slice(&checksum.to_le_bytes());
    assert_eq!(Record::decode(&bytes), Err(DecodeError::Unused));
}

#[test]
fn sinks_are_told_the_name() {
    let scratch = Directory::new();
    let realms = Register::with(&scratch.0, ["mvno"].into_iter(), UNIX_MS).unwrap();
    for (number, name) in [(0, None), (1, Some("mvno")), (2, Some("#2"))] {
        let items = [
            Item::Record(record(Event::Allocate(block(number, 1024)))),
            Item::Record(record(release(block(number, 1024)))),
            Item::Record(record(Event::Open(session(number, 1030)))),
            Item::Interim {
                block: block(number, 1024),
                since_ms: UNIX_MS,
            },
        ];
        for item in items {
            let line: serde_json::Value =
                serde_json::from_slice(&jsonl::line(&item, &realms, None)).unwrap();
            assert_eq!(line["realm"].as_str(), name, "{line}");
            assert_eq!(line["inside"], "100.64.0.10");
            let message = syslog::message(&item, "edge1", &realms, None);
            let told = name.map(|name| format!(" realm=\"{name}\" inside=\"100.64.0.10\""));
            assert_eq!(message.contains(" realm="), told.is_some(), "{message}");
            assert!(message.contains(&told.unwrap_or_default()), "{message}");
        }
    }
}

#[test]
fn a_sealed_file_has_realms_apart() {
    let scratch = Directory::new();
    let names = ["mvno", "cloud"].into_iter();
    let realms = Register::with(&scratch.0, names, UNIX_MS).unwrap();
    let mut rows: Vec<Row> = [0, 1, 2]
        .map(|number| {
            let block = block(number, 1024 + 64 * number);
            Row::from(record(Event::Allocate(block)).entry)
        })
        .to_vec();
    rows.push(Row::held(block(2, 4096), UNIX_MS));
    rows.push(Row::from(record(Event::Open(session(1, 5000))).entry));
    rows.push(Row::lasting(session(2, 5001), UNIX_MS));
    let chained = Chained {
        first_sequence: 1,
        next_sequence: 7,
        previous: None,
    };
    let path = scratch.0.join("2026-03-03").join("realms.parquet");
    seal(&path, &mut rows, &chained, &realms).unwrap();
    let file = SealedFile::open(&path).unwrap();
    assert_eq!(file.rows().unwrap(), rows);
    let of_inside = file.rows_of_inside(Ipv4Addr::new(100, 64, 0, 10)).unwrap();
    let numbers: Vec<_> = of_inside.iter().map(Row::realm).collect();
    assert_eq!(numbers, [0, 1, 2, 2, 1, 2]);
}
