//! Golden bytes, put together by hand from the RFCs' tables; foreign programs judge the same
//! encoders in `tests/tests/maplog_judges`.

mod notices;
mod of_realms;
mod sessions;

use cgn_common::nat::class;

use super::super::notice::What;
use super::super::{
    Block, Entry, Event, PortRange, Protocol, ProtocolScope, Record, ReleaseReason, Remote, Session,
};
use super::*;
use crate::maplog::realms::Register;

const BLOCK: Block = Block {
    realm: 0,
    inside: std::net::Ipv4Addr::new(100, 64, 0, 1),
    external: std::net::Ipv4Addr::new(203, 0, 113, 5),
    ports: PortRange::new(1024, 512).unwrap(),
    pool: 3,
    scope: ProtocolScope::All,
    key: 0,
};
/// 2026-03-03T14:03:07.123Z.
const AT: u64 = 1_772_546_587_123;
const NOW: u32 = 1_772_546_588;

fn record(sequence: u64, event: Event) -> Item {
    let entry = Entry { unix_ms: AT, event };
    Item::Record(Record { sequence, entry })
}

fn items() -> [Item; 4] {
    let reason = ReleaseReason::Idle;
    [
        record(6, Event::Start),
        record(7, Event::Allocate(BLOCK)),
        record(
            8,
            Event::Release {
                block: BLOCK,
                reason,
            },
        ),
        Item::Interim {
            block: BLOCK,
            since_ms: AT,
        },
    ]
}

/// One of each kind.
fn notices() -> [Notice; 6] {
    let (pool, inside, external) = (3, BLOCK.inside, BLOCK.external);
    let protocol = 6;
    [
        What::AddressesExhausted { pool },
        What::PortsExhausted {
            pool,
            external,
            protocol,
        },
        What::MappingsExceeded { pool, most: 51_200 },
        What::SubscriberExceeded {
            realm: 0,
            pool,
            inside,
            most: 2048,
        },
        What::PoolHigh {
            pool,
            addresses: 18,
        },
        What::PoolLow {
            pool,
            addresses: 10,
        },
    ]
    .map(|what| Notice { unix_ms: AT, what })
}

fn sessions() -> [Item; 4] {
    let mapping = Session {
        external: BLOCK.external,
        external_port: 1030,
        protocol: Protocol::Udp,
        realm: 0,
        inside: BLOCK.inside,
        inside_port: 40_000,
        remote: None,
    };
    let session = Session {
        protocol: Protocol::Tcp,
        remote: Some(Remote {
            address: [8, 8, 4, 4].into(),
            port: 443,
        }),
        ..mapping
    };
    [
        record(1, Event::Open(mapping)),
        record(2, Event::Close(mapping)),
        record(3, Event::Open(session)),
        record(4, Event::Close(session)),
    ]
}

fn bytes(text: &str) -> Vec<u8> {
    let digits: String = text.split_whitespace().collect();
    let pairs = digits.as_bytes().chunks(2);
    pairs
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

#[test]
fn ipfix_is_as_rfc_7011_and_8158_draw_it() {
    let mut exporter = ipfix::Exporter::new(0x0102_0304, 0xffff_fffe);
    let template = "000a 0030 69a6ea1c fffffffe 01020304
        0002 0020 0100 0006 0143 0008 00e6 0001 0008 0004 00e1 0004 0169 0002 016a 0002";
    assert_eq!(exporter.templates(NOW), bytes(template));
    let (message, covered) = exporter.message(NOW, &items(), 512);
    assert_eq!(covered, 4);
    let block = "64400001 cb007105 0400 05ff";
    let at = "0000019cb40279f3";
    let expected = format!(
        "000a 0053 69a6ea1c fffffffe 01020304
        0100 0043 {at} 10 {block} {at} 11 {block} {at} 10 {block}"
    );
    assert_eq!(message.unwrap(), bytes(&expected));
    // The sequence counts data records and goes round.
    let (message, _) = exporter.message(NOW, &items()[1..2], 512);
    assert_eq!(message.unwrap()[8..12], [0, 0, 0, 1]);
    // What does not fit waits for the next message; what has no event has no message.
    assert_eq!(exporter.message(NOW, &items(), 16 + 4 + 41).1, 2);
    assert_eq!(exporter.message(NOW, &items()[..1], 512), (None, 1));
    let many = [items()[1]; 100];
    let (message, covered) = exporter.message(NOW, &many, 484);
    assert_eq!((message.unwrap().len(), covered), (16 + 4 + 22 * 21, 22));
}

/// Floods and overflow have no event in RFC 8158: only texts tell of them.
#[test]
fn what_has_no_event_is_told_in_lines_only() {
    let (pool, external) = (3, BLOCK.external);
    let (side, prefix, length) = ("outside", [192, 0, 2, 0].into(), 24);
    let whats = [
        What::AttackBegan {
            pool,
            external,
            per_second: 9000,
        },
        What::AttackEnded { pool, external },
        What::PrefixThrottled {
            side,
            realm: 0,
            prefix,
            length,
        },
        What::PrefixReleased {
            side,
            realm: 0,
            prefix,
            length,
        },
        What::OverloadBegan { busy_percent: 97 },
        What::OverloadEnded { busy_percent: 12 },
        What::OverflowHigh { pool, blocks: 36 },
        What::OverflowLow { pool, blocks: 20 },
        What::PrefixThrottled {
            side: "inside",
            realm: 2,
            prefix: BLOCK.inside.into(),
            length: 32,
        },
        What::PrefixReleased {
            side: "outside",
            realm: 0,
            prefix: [0x2001, 0xdb8, 0, 7, 0, 0, 0, 0].into(),
            length: 64,
        },
    ];
    let notices = whats.map(|what| Notice { unix_ms: AT, what });
    let expected = [
        (
            r#"attack_began [cgn@32473 pool="3" external="203.0.113.5" per_second="9000"]"#,
            r#""kind":"attack_began","pool":3,"external":"203.0.113.5","per_second":9000}"#,
        ),
        (
            r#"attack_ended [cgn@32473 pool="3" external="203.0.113.5"]"#,
            r#""kind":"attack_ended","pool":3,"external":"203.0.113.5"}"#,
        ),
        (
            r#"prefix_throttled [cgn@32473 side="outside" prefix="192.0.2.0/24"]"#,
            r#""kind":"prefix_throttled","side":"outside","prefix":"192.0.2.0","length":24}"#,
        ),
        (
            r#"prefix_released [cgn@32473 side="outside" prefix="192.0.2.0/24"]"#,
            r#""kind":"prefix_released","side":"outside","prefix":"192.0.2.0","length":24}"#,
        ),
        (
            r#"overload_began [cgn@32473 busy_percent="97"]"#,
            r#""kind":"overload_began","busy_percent":97}"#,
        ),
        (
            r#"overload_ended [cgn@32473 busy_percent="12"]"#,
            r#""kind":"overload_ended","busy_percent":12}"#,
        ),
        (
            r#"overflow_high [cgn@32473 pool="3" blocks="36"]"#,
            r#""kind":"overflow_high","pool":3,"blocks":36}"#,
        ),
        (
            r#"overflow_low [cgn@32473 pool="3" blocks="20"]"#,
            r#""kind":"overflow_low","pool":3,"blocks":20}"#,
        ),
        (
            r#"prefix_throttled [cgn@32473 realm="cloud" side="inside" prefix="100.64.0.1/32"]"#,
            r#""realm":"cloud","unix_ms":1772546587123,"kind":"prefix_throttled","side":"inside","prefix":"100.64.0.1","length":32}"#,
        ),
        (
            r#"prefix_released [cgn@32473 side="outside" prefix="2001:db8:0:7::/64"]"#,
            r#""kind":"prefix_released","side":"outside","prefix":"2001:db8:0:7::","length":64}"#,
        ),
    ];
    let realms = Register::of(&["mvno", "cloud"]);
    for (notice, (text, json)) in notices.into_iter().zip(expected) {
        let item = Item::Notice(notice);
        let message = syslog::message(&item, "edge1", &realms, None);
        assert!(message.ends_with(text), "{message}");
        let line = String::from_utf8(jsonl::line(&item, &realms, None)).unwrap();
        assert!(line.trim_end().ends_with(json), "{line}");
    }
    let none: [Vec<u8>; 0] = [];
    assert_eq!(ipfix::Exporter::new(7, 0).notices(NOW, &notices, 484), none);
    let mut netflow9 = netflow9::Exporter::new(7, 0);
    assert_eq!(netflow9.notices(NOW, 0, &notices, 484), none);
}

#[test]
fn netflow_9_is_as_rfc_3954_draws_it() {
    let mut exporter = netflow9::Exporter::new(7, 41);
    let template = "0009 0001 00001000 69a6ea1c 00000029 00000007
        0000 0028 0100 0008 0143 0008 00e6 0001 0008 0004 00e1 0004
        0169 0002 016a 0002 016b 0002 016c 0002";
    assert_eq!(exporter.templates(NOW, 0x1000), bytes(template));
    let (message, covered) = exporter.message(NOW, 0x1000, &items()[..3], 512);
    let block = "64400001 cb007105 0400 05ff 0001 0200";
    let at = "0000019cb40279f3";
    let expected = format!(
        "0009 0002 00001000 69a6ea1c 0000002a 00000007
        0100 0038 {at} 01 {block} {at} 02 {block} 0000"
    );
    assert_eq!(message.unwrap(), bytes(&expected));
    assert_eq!(covered, 3);
    assert_eq!(exporter.message(NOW, 0, &items()[..1], 512), (None, 1));
    let many = [items()[1]; 100];
    let (message, covered) = exporter.message(NOW, 0, &many, 484);
    assert_eq!((message.unwrap().len() <= 484, covered), (true, 18));
}

#[test]
fn syslog_is_one_line_of_structured_data() {
    let head = "<134>1 2026-03-03T14:03:07.123Z edge1 cgn -";
    let block =
        r#"inside="100.64.0.1" external="203.0.113.5" first_port="1024" last_port="1535" pool="3""#;
    let expected = [
        format!(r#"{head} start [cgn@32473 sequence="6"]"#),
        format!(r#"{head} allocate [cgn@32473 sequence="7" {block}]"#),
        format!(r#"{head} release [cgn@32473 sequence="8" {block} reason="idle"]"#),
        format!(r#"{head} interim [cgn@32473 {block}]"#),
    ];
    for (item, expected) in items().iter().zip(expected) {
        assert_eq!(
            syslog::message(item, "edge1", &Register::default(), None),
            expected
        );
    }
    for (host, written) in [
        ("", "-"),
        ("two words", "-"),
        ("käse", "-"),
        ("a.example", "a.example"),
    ] {
        let message = syslog::message(&items()[0], host, &Register::default(), None);
        assert_eq!(message.split(' ').nth(2), Some(written), "{host:?}");
    }
    assert_eq!(syslog::framed("abc"), b"3 abc");
}

#[test]
fn json_lines_are_flat_objects() {
    let expected = [
        r#"{"time":"2026-03-03T14:03:07.123Z","sequence":6,"unix_ms":1772546587123,"kind":"start"}"#,
        r#"{"time":"2026-03-03T14:03:07.123Z","sequence":7,"unix_ms":1772546587123,"kind":"allocate","inside":"100.64.0.1","external":"203.0.113.5","first_port":1024,"port_count":512,"pool":3,"scope":"all"}"#,
        r#"{"time":"2026-03-03T14:03:07.123Z","sequence":8,"unix_ms":1772546587123,"kind":"release","inside":"100.64.0.1","external":"203.0.113.5","first_port":1024,"port_count":512,"pool":3,"scope":"all","reason":"idle"}"#,
        r#"{"time":"2026-03-03T14:03:07.123Z","unix_ms":1772546587123,"kind":"interim","inside":"100.64.0.1","external":"203.0.113.5","first_port":1024,"port_count":512,"pool":3,"scope":"all"}"#,
    ];
    for (item, expected) in items().iter().zip(expected) {
        assert_eq!(
            String::from_utf8(line_of(item)).unwrap(),
            format!("{expected}\n")
        );
    }
}

fn line_of(item: &Item) -> Vec<u8> {
    jsonl::line(item, &Register::default(), None)
}

/// A block of 512 ports with both classes, the third of its address.
const OF_CLASSES: Block = Block {
    ports: PortRange::new(2048, 512).unwrap(),
    key: class::KEY,
    ..BLOCK
};

#[test]
fn a_block_with_ports_below_1024_is_told_as_two_ranges() {
    let allocate = record(7, Event::Allocate(OF_CLASSES));
    let at = "0000019cb40279f3";
    let [ports, system] = ["07f0 09e7", "0020 0027"];
    let mut exporter = ipfix::Exporter::new(1, 0);
    let (message, covered) = exporter.message(NOW, &[allocate], 512);
    let expected = format!(
        "000a 003e 69a6ea1c 00000000 00000001
        0100 002e {at} 10 64400001 cb007105 {ports} {at} 10 64400001 cb007105 {system}"
    );
    assert_eq!((message.unwrap(), covered), (bytes(&expected), 1));
    // Both are counted, and neither is sent without the other.
    let (message, _) = exporter.message(NOW, &[allocate], 512);
    assert_eq!(message.unwrap()[8..12], [0, 0, 0, 2]);
    let (message, covered) = exporter.message(NOW, &[allocate; 9], 16 + 4 + 5 * 21);
    assert_eq!((message.unwrap().len(), covered), (16 + 4 + 4 * 21, 2));
    let (message, _) = netflow9::Exporter::new(1, 0).message(NOW, 0, &[allocate], 512);
    let expected = format!(
        "0009 0002 00000000 69a6ea1c 00000000 00000001
        0100 0038 {at} 01 64400001 cb007105 {ports} 0001 01f8 {at} 01 64400001 cb007105 {system} 0001 0008 0000"
    );
    assert_eq!(message.unwrap(), bytes(&expected));
    let told = syslog::message(&allocate, "edge1", &Register::default(), None);
    assert!(told.contains(
        r#" first_port="2032" last_port="2535" first_system_port="32" last_system_port="39" pool="3""#
    ));
    assert!(!told.contains("key"), "{told}");
    let told = String::from_utf8(line_of(&allocate)).unwrap();
    assert!(told.contains(
        r#""first_port":2032,"port_count":504,"first_system_port":32,"system_port_count":8,"pool":3"#
    ));
}
