//! Mappings and sessions.

use super::*;

/// A mapping and a session of it, each with begin and end.
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
