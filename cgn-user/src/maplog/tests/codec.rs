//! Bytes, text and JSON of single records.

use super::super::record::{HeaderError, Place};
use super::*;

proptest! {
    #[test]
    fn what_was_encoded_is_decoded(record in any_record()) {
        prop_assert_eq!(Record::decode(&record.encode()), Ok(record));
    }

    #[test]
    fn every_flipped_bit_is_detected(record in any_record()) {
        let bytes = record.encode();
        for bit in 0..RECORD_BYTES * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            let outcome = Record::decode(&flipped);
            prop_assert!(matches!(outcome, Err(DecodeError::Checksum { .. })), "bit {}", bit);
        }
    }

    #[test]
    fn up_to_four_flipped_bits_are_detected(record in any_record(), bits in prop::collection::btree_set(0..RECORD_BYTES * 8, 2..=4)) {
        let mut flipped = record.encode();
        for bit in bits {
            flipped[bit / 8] ^= 1 << (bit % 8);
        }
        let outcome = Record::decode(&flipped);
        prop_assert!(matches!(outcome, Err(DecodeError::Checksum { .. })), "{:?}", outcome);
    }

    #[test]
    fn whatever_decodes_encodes_to_the_same_bytes(mut bytes in any::<[u8; RECORD_BYTES]>(), kind in prop_oneof![0_u8..12, 30_u8..46], marks in 0_u8..4, reason in 0_u8..7) {
        bytes[..4].copy_from_slice(&[40, 0, 2, kind | marks << 6]);
        bytes[34..36].copy_from_slice(&[0, reason]);
        seal(&mut bytes);
        if let Ok(record) = Record::decode(&bytes) {
            prop_assert_eq!(record.encode_at(Place::of(&bytes)), bytes);
        }
    }

    #[test]
    fn headers_come_back_and_flipped_bits_are_detected(created_unix_ms in any::<u64>(), first_sequence in 1..=LAST_SEQUENCE / 2 + 1) {
        let header = Header { created_unix_ms, first_sequence };
        let bytes = header.encode();
        prop_assert_eq!(Header::decode(&bytes), Ok(header));
        for bit in 0..HEADER_BYTES * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(Header::decode(&flipped).is_err(), "bit {}", bit);
        }
    }
}

/// Makes the checksum right again.
fn seal(bytes: &mut [u8; RECORD_BYTES]) {
    let checksum = crc32fast::hash(&bytes[..36]);
    bytes[36..].copy_from_slice(&checksum.to_le_bytes());
}

fn example() -> Record {
    let block = Block {
        realm: 0,
        inside: [100, 64, 0, 5].into(),
        external: [203, 0, 113, 7].into(),
        ports: PortRange::new(1536, 512).unwrap(),
        pool: 3,
        scope: ProtocolScope::All,
        key: 0,
    };
    let reason = ReleaseReason::Idle;
    Record {
        sequence: 0x0102_0304_0506_0708,
        entry: Entry {
            unix_ms: 1_740_787_750_123,
            event: Event::Release { block, reason },
        },
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn the_bytes_are_those_of_the_table() {
    // Packed from the table with struct and zlib of Python.
    let record = "280002c20807060504030201eb14094f9501000005004064077100cb0006000203000001";
    let header = "43474e4d4c4f4702eb14094f950100000100000000000000280000000000000000000000";
    let created = Header {
        created_unix_ms: 1_740_787_750_123,
        first_sequence: 1,
    };
    assert_eq!(hex(&example().encode()[..36]), record);
    assert_eq!(hex(&example().encode()[36..]), "fefdcd7a");
    assert_eq!(hex(&created.encode()[..36]), header);
    assert_eq!(hex(&created.encode()[36..]), "3dc2a284");
}

const SESSION_OPENS: &str =
    "280002e70900000000000000eb14094f9501350005004064077100cb4006419c0404080839e6bda1";
const SESSION_CLOSES: &str =
    "280002ea0900000000000000eb14094f9501350005004064077100cb4006419c04040808dfb46020";
const MAPPING_OPENS: &str =
    "280002e20900000000000000eb14094f9501000005004064077100cb4006419c00000000788df395";
const MAPPING_CLOSES: &str =
    "280002e50900000000000000eb14094f9501000005004064077100cb4006419c00000000a17f2e15";

#[test]
fn the_bytes_of_sessions_are_those_of_their_table() {
    // Packed from the table with struct and zlib of Python.
    let session = Session {
        external: [203, 0, 113, 7].into(),
        external_port: 1600,
        protocol: Protocol::Udp,
        realm: 0,
        inside: [100, 64, 0, 5].into(),
        inside_port: 40_001,
        remote: Some(Remote {
            address: [8, 8, 4, 4].into(),
            port: 53,
        }),
    };
    let mapping = Session {
        remote: None,
        protocol: Protocol::Icmp,
        ..session
    };
    let cases = [
        (Event::Open(session), SESSION_OPENS),
        (Event::Close(session), SESSION_CLOSES),
        (Event::Open(mapping), MAPPING_OPENS),
        (Event::Close(mapping), MAPPING_CLOSES),
    ];
    for (event, expected) in cases {
        let entry = Entry {
            unix_ms: 1_740_787_750_123,
            event,
        };
        let record = Record { sequence: 9, entry };
        assert_eq!(hex(&record.encode()), expected, "{record}");
    }
}

const NAME: &str =
    "280002cb0900000000000000eb14094f9501616c696365406578616d706c652e6e6574002bab7f2a";
const LOGIN: &str =
    "280002c90a00000000000000eb14094f950103000500406407000111040302010807060556514601";
const LOGOUT: &str =
    "280002ca0b00000000000000eb14094f95010300050040640000000004030201080706056a316a8b";

#[test]
fn the_bytes_of_names_are_those_of_their_table() {
    // Packed from the table with struct and zlib of Python.
    let stay = Login {
        inside: [100, 64, 0, 5].into(),
        realm: 3,
        early_secs: 7,
        nas: 0x0102_0304,
        session: 0x0506_0708,
    };
    let mut events = login(stay, Attribute::UserName, b"alice@example.net");
    events.push(Event::Logout(Login {
        early_secs: 0,
        ..stay
    }));
    for ((sequence, event), expected) in (9..).zip(events).zip([NAME, LOGIN, LOGOUT]) {
        let entry = Entry {
            unix_ms: 1_740_787_750_123,
            event,
        };
        let record = Record { sequence, entry };
        assert_eq!(hex(&record.encode()), expected, "{record}");
    }
    let mut bytes = Record::encode(&Record {
        sequence: 1,
        entry: Entry {
            unix_ms: 1,
            event: login(stay, Attribute::UserName, b"")[0],
        },
    });
    bytes[26] = 7;
    seal(&mut bytes);
    let expected = Err(DecodeError::Attribute { found: 7 });
    assert_eq!(Record::decode(&bytes), expected);
}

#[test]
fn whole_records_of_unknown_meaning_have_errors_of_their_own() {
    type Case = (&'static str, usize, u8, DecodeError);
    let cases: [Case; 6] = [
        ("longer record", 0, 48, DecodeError::Length { found: 48 }),
        ("next version", 2, 3, DecodeError::Version { found: 3 }),
        ("unknown kind", 3, 12, DecodeError::Kind { found: 12 }),
        ("unknown reason", 35, 6, DecodeError::Reason { found: 6 }),
        (
            "release without reason",
            35,
            0,
            DecodeError::Reason { found: 0 },
        ),
        ("allocation with reason", 3, 0xc1, DecodeError::Unused),
    ];
    for (sentence, at, value, expected) in cases {
        let mut bytes = example().encode();
        bytes[at] = value;
        seal(&mut bytes);
        assert_eq!(Record::decode(&bytes), Err(expected), "{sentence}");
    }
    for (first, count) in [(1024_u16, 0_u16), (65_535, 2)] {
        let mut bytes = example().encode();
        bytes[28..30].copy_from_slice(&first.to_le_bytes());
        bytes[30..32].copy_from_slice(&count.to_le_bytes());
        seal(&mut bytes);
        let expected = DecodeError::Ports { first, count };
        assert_eq!(Record::decode(&bytes), Err(expected));
    }
}

#[test]
fn headers_that_are_not_ours_are_told_apart() {
    let header = Header {
        created_unix_ms: 1,
        first_sequence: 1,
    };
    let mut newer = header.encode();
    newer[7] = 3;
    assert_eq!(
        Header::decode(&newer),
        Err(HeaderError::Version { found: 3 })
    );
    assert_eq!(Header::decode(&[b'#'; 40]), Err(HeaderError::Magic));
    let endless = Header {
        first_sequence: u64::MAX,
        ..header
    };
    assert_eq!(Header::decode(&endless.encode()), Err(HeaderError::Damaged));
}

#[test]
fn port_ranges_end_at_65535() {
    let cases = [
        (0, 1, Some(0)),
        (1024, 512, Some(1535)),
        (65_535, 1, Some(65_535)),
        (1, 65_535, Some(65_535)),
        (2, 65_535, None),
        (7, 0, None),
    ];
    for (first, count, last) in cases {
        let range = PortRange::new(first, count);
        assert_eq!(range.map(PortRange::last), last, "{count} from {first}");
    }
}

#[test]
fn a_record_is_one_line_of_text_and_one_flat_object() {
    let release = example();
    assert_eq!(
        release.to_string(),
        "2025-03-01T00:09:10.123Z #72623859790382856 release \
         100.64.0.5 -> 203.0.113.7:1536-2047 pool 3 idle"
    );
    assert_eq!(
        serde_json::to_string(&release).unwrap(),
        r#"{"sequence":72623859790382856,"unix_ms":1740787750123,"kind":"release","inside":"100.64.0.5","external":"203.0.113.7","first_port":1536,"port_count":512,"pool":3,"scope":"all","reason":"idle"}"#
    );
    let start = Record {
        sequence: 1,
        entry: Entry {
            unix_ms: 0,
            event: Event::Start,
        },
    };
    assert_eq!(start.to_string(), "1970-01-01T00:00:00.000Z #1 start");
    assert_eq!(
        serde_json::to_string(&start).unwrap(),
        r#"{"sequence":1,"unix_ms":0,"kind":"start"}"#
    );
    let allocate = Record {
        sequence: 2,
        entry: allocate(3),
    };
    assert_eq!(
        allocate.to_string(),
        "1970-01-01T00:00:01.003Z #2 allocate 100.64.0.3 -> 198.51.100.7:2560-3071 pool 0"
    );
    let json = serde_json::to_value(allocate).unwrap();
    assert_eq!(
        (&json["kind"], &json["first_port"]),
        (&"allocate".into(), &2560.into())
    );
}
