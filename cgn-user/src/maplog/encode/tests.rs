//! Golden bytes, put together by hand from the RFCs' tables; foreign programs judge the same
//! encoders in `tests/tests/maplog_streams.rs`.

use super::super::{Block, Entry, Event, PortRange, ProtocolScope, Record, ReleaseReason};
use super::*;

const BLOCK: Block = Block {
    inside: std::net::Ipv4Addr::new(100, 64, 0, 1),
    external: std::net::Ipv4Addr::new(203, 0, 113, 5),
    ports: PortRange::new(1024, 512).unwrap(),
    pool: 3,
    scope: ProtocolScope::All,
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
        assert_eq!(syslog::message(item, "edge1"), expected);
    }
    for (host, written) in [
        ("", "-"),
        ("two words", "-"),
        ("käse", "-"),
        ("a.example", "a.example"),
    ] {
        let message = syslog::message(&items()[0], host);
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
    jsonl::line(item)
}
