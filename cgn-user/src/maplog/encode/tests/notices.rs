//! Notices.

use super::*;

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
