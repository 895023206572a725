//! Records of realms.

use super::*;

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
