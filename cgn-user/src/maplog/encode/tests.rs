//! Golden bytes, put together by hand from the RFCs' tables; foreign programs judge the same
//! encoders in `tests/tests/maplog_judges`.

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

/// Templates of notices, as RFC 8158 sections 4.6.5 to 4.6.8 draw them.
const NOTICE_TEMPLATES: &str = "
    0101 0003 0143 0008 00e6 0001 011b 0004
    0102 0004 0143 0008 00e6 0001 00e1 0004 0004 0001
    0103 0004 0143 0008 00e6 0001 01d2 0004 01d8 0004
    0104 0005 0143 0008 00e6 0001 01d2 0004 01d9 0004 0008 0004
    0105 0005 0143 0008 00e6 0001 01d3 0004 011b 0004 01dc 0004
    0106 0005 0143 0008 00e6 0001 01d3 0004 011b 0004 01dd 0004";

#[test]
fn notices_are_as_rfc_8158_draws_them() {
    let at = "0000019cb40279f3";
    let records = [
        format!("{at} 03 00000003"),
        format!("{at} 0c cb007105 06"),
        format!("{at} 0d 00000002 0000c800"),
        format!("{at} 0d 00000003 00000800 64400001"),
        format!("{at} 12 00000001 00000003 00000012"),
        format!("{at} 12 00000002 00000003 0000000a"),
    ];
    let mut exporter = ipfix::Exporter::new(7, 41);
    let head = "69a6ea1c 00000029 00000007";
    let templates = format!("000a 0094 {head} 0002 0084 {NOTICE_TEMPLATES}");
    assert_eq!(exporter.notice_templates(NOW, 484), [bytes(&templates)]);
    let [a, b, c, d, e, f] = &records;
    let expected = format!(
        "000a 0093 {head} 0101 0011 {a} 0102 0012 {b} 0103 0015 {c} 0104 0019 {d} 0105 0019 {e} 0106 0019 {f}"
    );
    assert_eq!(exporter.notices(NOW, &notices(), 484), [bytes(&expected)]);
    // Each is a data record by the sequence number.
    assert_eq!(
        exporter.notices(NOW, &notices()[..1], 484)[0][8..12],
        [0, 0, 0, 47]
    );

    let mut exporter = netflow9::Exporter::new(7, 41);
    let templates = format!("0009 0006 00001000 {head} 0000 0084 {NOTICE_TEMPLATES}");
    assert_eq!(
        exporter.notice_templates(NOW, 0x1000, 484),
        [bytes(&templates)]
    );
    let expected = format!(
        "0009 0006 00001000 69a6ea1c 0000002a 00000007 0101 0014 {a} 000000 0102 0014 {b} 0000
        0103 0018 {c} 000000 0104 001c {d} 000000 0105 001c {e} 000000 0106 001c {f} 000000"
    );
    assert_eq!(
        exporter.notices(NOW, 0x1000, &notices(), 484),
        [bytes(&expected)]
    );
}

#[test]
fn no_datagram_of_notices_is_larger_than_it_may_be() {
    let many: Vec<Notice> = (0..40).flat_map(|_| notices()).collect();
    for most in [128, 200, 484, 1400] {
        let mut ipfix = ipfix::Exporter::new(7, 0);
        let mut netflow9 = netflow9::Exporter::new(7, 0);
        let of_ipfix = [
            ipfix.notice_templates(NOW, most),
            ipfix.notices(NOW, &many, most),
        ];
        let of_netflow9 = [
            netflow9.notice_templates(NOW, 0, most),
            netflow9.notices(NOW, 0, &many, most),
        ];
        for messages in of_ipfix.iter().chain(&of_netflow9) {
            assert!(
                messages.iter().all(|message| message.len() <= most),
                "{most}"
            );
        }
        for message in of_ipfix.concat() {
            assert_eq!(
                usize::from(message[2]) << 8 | usize::from(message[3]),
                message.len()
            );
        }
    }
}

#[test]
fn notices_are_lines_too() {
    let head = "<132>1 2026-03-03T14:03:07.123Z edge1 cgn -";
    let time = r#""time":"2026-03-03T14:03:07.123Z","unix_ms":1772546587123"#;
    let expected = [
        ("addresses_exhausted", r#"pool="3""#, r#""pool":3"#),
        (
            "ports_exhausted",
            r#"pool="3" external="203.0.113.5" protocol="6""#,
            r#""pool":3,"external":"203.0.113.5","protocol":6"#,
        ),
        (
            "mappings_exceeded",
            r#"pool="3" most="51200""#,
            r#""pool":3,"most":51200"#,
        ),
        (
            "subscriber_exceeded",
            r#"pool="3" inside="100.64.0.1" most="2048""#,
            r#""pool":3,"inside":"100.64.0.1","most":2048"#,
        ),
        (
            "pool_high",
            r#"pool="3" addresses="18""#,
            r#""pool":3,"addresses":18"#,
        ),
        (
            "pool_low",
            r#"pool="3" addresses="10""#,
            r#""pool":3,"addresses":10"#,
        ),
    ];
    for (notice, (name, text, json)) in notices().into_iter().zip(expected) {
        let item = Item::Notice(notice);
        let message = syslog::message(&item, "edge1", &Register::default(), None);
        assert_eq!(message, format!("{head} {name} [cgn@32473 {text}]"));
        let line = String::from_utf8(jsonl::line(&item, &Register::default(), None)).unwrap();
        assert_eq!(line, format!("{{{time},\"kind\":\"{name}\",{json}}}\n"));
    }
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

/// A mapping and a session of it, each with begin and end.
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

#[test]
fn mappings_and_sessions_are_as_rfc_8158_draws_them() {
    let at = "0000019cb40279f3";
    let (mapping, session) = (
        "64400001 cb007105 11 9c40 0406",
        "64400001 cb007105 06 9c40 0406 08080404 01bb",
    );
    let of_mapping = "0143 0008 00e6 0001 0008 0004 00e1 0004 0004 0001 0007 0002 00e3 0002";
    let templates =
        format!("004c 0107 0007 {of_mapping} 0108 0009 {of_mapping} 000c 0004 000b 0002");
    let head = "69a6ea1c 00000029 00000007";
    let mut exporter = ipfix::Exporter::new(7, 41);
    assert_eq!(
        exporter.session_templates(NOW),
        bytes(&format!("000a 005c {head} 0002 {templates}"))
    );
    // Sections 4.6.3 and 4.6.1: 8 and 9 of a mapping, 4 and 5 of a session.
    let (message, covered) = exporter.message(NOW, &sessions(), 484);
    let expected = format!(
        "000a 007c {head} 0107 0030 {at} 08 {mapping} {at} 09 {mapping}
        0108 003c {at} 04 {session} {at} 05 {session}"
    );
    assert_eq!((message.unwrap(), covered), (bytes(&expected), 4));
    // Blocks beside them are sets of their own, and all count.
    let mixed = [items()[1], sessions()[0], items()[2]];
    let (message, covered) = exporter.message(NOW, &mixed, 484);
    let block = "64400001 cb007105 0400 05ff";
    let expected = format!(
        "000a 005c 69a6ea1c 0000002d 00000007 0100 0019 {at} 10 {block}
        0107 001a {at} 08 {mapping} 0100 0019 {at} 11 {block}"
    );
    assert_eq!((message.unwrap(), covered), (bytes(&expected), 3));

    let mut exporter = netflow9::Exporter::new(7, 41);
    assert_eq!(
        exporter.session_templates(NOW, 0x1000),
        bytes(&format!("0009 0002 00001000 {head} 0000 {templates}"))
    );
    let (message, covered) = exporter.message(NOW, 0x1000, &sessions(), 484);
    let expected = format!(
        "0009 0004 00001000 69a6ea1c 0000002a 00000007
        0107 0030 {at} 01 {mapping} {at} 02 {mapping} 0108 003c {at} 01 {session} {at} 02 {session}"
    );
    assert_eq!((message.unwrap(), covered), (bytes(&expected), 4));
}

#[test]
fn no_datagram_of_sessions_is_larger_than_it_may_be() {
    let many: Vec<Item> = (0..40)
        .flat_map(|_| [sessions()[0], items()[1], sessions()[3], sessions()[2]])
        .collect();
    for most in [128, 200, 484, 1400] {
        let mut ipfix = ipfix::Exporter::new(7, 0);
        let mut netflow9 = netflow9::Exporter::new(7, 0);
        let (mut of_ipfix, mut of_netflow9) = (&many[..], &many[..]);
        while !of_ipfix.is_empty() {
            let (message, covered) = ipfix.message(NOW, of_ipfix, most);
            let length = message.expect("each has an event").len();
            assert!(length <= most && covered > 0, "{length} of {most}");
            of_ipfix = &of_ipfix[covered..];
        }
        while !of_netflow9.is_empty() {
            let (message, covered) = netflow9.message(NOW, 0, of_netflow9, most);
            let length = message.expect("each has an event").len();
            assert!(length <= most && covered > 0, "{length} of {most}");
            of_netflow9 = &of_netflow9[covered..];
        }
    }
}

#[test]
fn mappings_and_sessions_are_lines_too() {
    let head = "<134>1 2026-03-03T14:03:07.123Z edge1 cgn -";
    let ends =
        r#"inside="100.64.0.1" inside_port="40000" external="203.0.113.5" external_port="1030""#;
    let time = r#""time":"2026-03-03T14:03:07.123Z""#;
    let at = r#""unix_ms":1772546587123"#;
    let external = r#""external":"203.0.113.5","external_port":1030"#;
    let inside = r#""inside":"100.64.0.1","inside_port":40000"#;
    let remote = r#""remote":"8.8.4.4","remote_port":443"#;
    let expected = [
        (
            format!(r#"{head} open [cgn@32473 sequence="1" {ends} protocol="udp"]"#),
            format!(
                r#"{{{time},"sequence":1,{at},"kind":"open",{external},"protocol":"udp",{inside}}}"#
            ),
        ),
        (
            format!(r#"{head} close [cgn@32473 sequence="2" {ends} protocol="udp"]"#),
            format!(
                r#"{{{time},"sequence":2,{at},"kind":"close",{external},"protocol":"udp",{inside}}}"#
            ),
        ),
        (
            format!(
                r#"{head} open [cgn@32473 sequence="3" {ends} protocol="tcp" remote="8.8.4.4" remote_port="443"]"#
            ),
            format!(
                r#"{{{time},"sequence":3,{at},"kind":"open",{external},"protocol":"tcp",{inside},{remote}}}"#
            ),
        ),
        (
            format!(
                r#"{head} close [cgn@32473 sequence="4" {ends} protocol="tcp" remote="8.8.4.4" remote_port="443"]"#
            ),
            format!(
                r#"{{{time},"sequence":4,{at},"kind":"close",{external},"protocol":"tcp",{inside},{remote}}}"#
            ),
        ),
    ];
    for (item, (text, json)) in sessions().iter().zip(expected) {
        assert_eq!(
            syslog::message(item, "edge1", &Register::default(), None),
            text
        );
        assert_eq!(
            String::from_utf8(line_of(item)).unwrap(),
            format!("{json}\n")
        );
    }
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

/// The same story of a subscriber of realm 2: a block, a mapping, a session and a notice.
fn of_realm() -> ([Item; 3], Notice) {
    let realm = 2;
    let in_realm = |item: Item| match item.session() {
        Some(session) => record(5, Event::Open(Session { realm, ..session })),
        None => record(7, Event::Allocate(Block { realm, ..BLOCK })),
    };
    let what = What::SubscriberExceeded {
        realm,
        pool: 3,
        inside: BLOCK.inside,
        most: 2048,
    };
    let items = [items()[1], sessions()[0], sessions()[2]];
    (items.map(in_realm), Notice { unix_ms: AT, what })
}

#[test]
fn a_realm_is_told_as_ingress_vrf_and_its_name_once() {
    let head = "69a6ea1c 00000029 00000007";
    let of_mapping = "0143 0008 00e6 0001 0008 0004 00e1 0004 0004 0001 0007 0002 00e3 0002";
    let of_others = format!(
        "0117 0008 {of_mapping} 00ea 0004 0118 000a {of_mapping} 000c 0004 000b 0002 00ea 0004
        0114 0006 0143 0008 00e6 0001 01d2 0004 01d9 0004 0008 0004 00ea 0004"
    );
    let of_block = "0143 0008 00e6 0001 0008 0004 00e1 0004 0169 0002 016a 0002";
    let realms = [(1, "mvno"), (2, "cloud")];
    let (items, notice) = of_realm();
    let at = "0000019cb40279f3";
    let quota = format!("{at} 0d 00000003 00000800 64400001 00000002");
    let mapping = "64400001 cb007105 11 9c40 0406 00000002";
    let session = "64400001 cb007105 06 9c40 0406 08080404 01bb 00000002";

    let mut exporter = ipfix::Exporter::new(7, 41);
    let expected = [
        format!("000a 00a0 {head} 0002 0090 0110 0007 {of_block} 00ea 0004 {of_others}"),
        // An options template (RFC 7011 section 3.4.2.2) of scope ingressVRFID, and VRFname.
        format!("000a 0022 {head} 0003 0012 0119 0002 0001 00ea 0004 00ec ffff"),
        format!("000a 0027 {head} 0119 0017 00000001 04 6d766e6f 00000002 05 636c6f7564"),
    ];
    let told = exporter.realms(NOW, &realms, 484);
    assert_eq!(told, expected.map(|text| bytes(&text)));
    // Each name was a data record.
    let head = "69a6ea1c 0000002b 00000007";
    let (message, covered) = exporter.message(NOW, &items, 484);
    let block = "64400001 cb007105 0400 05ff 00000002";
    let expected = format!(
        "000a 006f {head} 0110 001d {at} 10 {block} 0117 001e {at} 08 {mapping}
        0118 0024 {at} 04 {session}"
    );
    assert_eq!((message.unwrap(), covered), (bytes(&expected), 3));
    let expected = format!("000a 002d 69a6ea1c 0000002e 00000007 0114 001d {quota}");
    assert_eq!(exporter.notices(NOW, &[notice], 484), [bytes(&expected)]);

    let mut exporter = netflow9::Exporter::new(7, 41);
    let at_of = |number: u8| format!("00001000 69a6ea1c 000000{number:02x} 00000007");
    let zeros = |count: usize| "00".repeat(count);
    let expected = [
        format!(
            "0009 0004 {} 0000 0098 0110 0009 {of_block} 016b 0002 016c 0002 00ea 0004 {of_others}",
            at_of(41)
        ),
        // RFC 3954 section 6.1: scope system, 4 bytes of scope and 8 of options.
        format!(
            "0009 0001 {} 0001 0018 0119 0004 0008 0001 0004 00ea 0004 00ec 0040 0000",
            at_of(42)
        ),
        format!(
            "0009 0002 {} 0119 0094 00000000 00000001 6d766e6f {} 00000000 00000002 636c6f7564 {}",
            at_of(43),
            zeros(60),
            zeros(59)
        ),
    ];
    let told = exporter.realms(NOW, 0x1000, &realms, 484);
    assert_eq!(told, expected.map(|text| bytes(&text)));
    let (message, covered) = exporter.message(NOW, 0x1000, &items, 484);
    let block = "64400001 cb007105 0400 05ff 0001 0200 00000002";
    let expected = format!(
        "0009 0003 {} 0110 0024 {at} 01 {block} 000000 0117 0020 {at} 01 {mapping} 0000
        0118 0024 {at} 01 {session}",
        at_of(44)
    );
    assert_eq!((message.unwrap(), covered), (bytes(&expected), 3));
    let expected = format!("0009 0001 {} 0114 0020 {quota} 000000", at_of(45));
    assert_eq!(
        exporter.notices(NOW, 0x1000, &[notice], 484),
        [bytes(&expected)]
    );
}

#[test]
fn no_datagram_of_realms_is_larger_than_it_may_be() {
    // From three bytes to the most that a name has.
    let names: Vec<String> = (1..=61)
        .map(|number| format!("r{}{number:02}", "-".repeat(number - 1)))
        .collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let realms: Vec<(u16, &str)> = (1..).zip(names.iter().copied()).collect();
    for most in [128, 200, 484, 1400] {
        let of_ipfix = ipfix::Exporter::new(7, 0).realms(NOW, &realms, most);
        let of_netflow9 = netflow9::Exporter::new(7, 0).realms(NOW, 0, &realms, most);
        for messages in [of_ipfix, of_netflow9] {
            assert!(messages.iter().all(|one| one.len() <= most), "{most}");
            for name in &names {
                let has_it = |message: &Vec<u8>| {
                    let mut places = message.windows(name.len());
                    places.any(|place| place == name.as_bytes())
                };
                let count = messages.iter().filter(|message| has_it(message)).count();
                assert_eq!(count, 1, "{name} in {most} bytes");
            }
        }
    }
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
