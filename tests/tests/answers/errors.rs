//! What is told of which packet, and as what.

use super::*;

#[test]
fn time_exceeded() {
    let mut slow = SlowPath::new();
    let reason = Reason::TtlExpired;
    for (what, draft) in [
        ("UDP from inside", Draft::udp(CLIENT, SERVER)),
        ("TCP", Draft::tcp(flag::SYN, CLIENT, SERVER)),
        ("an echo request", Draft::ping(CLIENT, SERVER.0)),
        (
            "with IP options",
            Draft::udp(CLIENT, SERVER).with(|d| d.options = vec![1; 40]),
        ),
        (
            "a long packet is quoted in part",
            big(Draft::udp(CLIENT, SERVER)),
        ),
        (
            "padding is not quoted",
            Draft::udp(CLIENT, SERVER).with(|d| d.padding = vec![0; 9]),
        ),
        (
            "a wrong UDP checksum is quoted as it came",
            Draft::new(Transport::Other(17), CLIENT, SERVER).with(|d| {
                d.payload = vec![0x13, 0x88, 0x01, 0xbb, 0, 9, 0xba, 0xad, 7];
            }),
        ),
    ] {
        slow.told(
            what,
            Inside,
            &expired(draft),
            reason,
            &Error::inside((11, 0)),
        );
    }
    let from_outside = expired(Draft::udp(SERVER, (POOL[0], 5000)));
    slow.told(
        "from outside, whether or not it has a mapping",
        Outside,
        &from_outside,
        reason,
        &Error::outside((11, 0)),
    );
}

#[test]
fn type_of_service() {
    let mut slow = SlowPath::new();
    for (what, tos, wanted) in [
        (
            "DSCP EF: delay and throughput bits of RFC 791 stay, precedence is internetwork control",
            0xb8,
            0xd8,
        ),
        ("ECN does not speak of the error", 0x03, 0xc0),
        ("all bits", 0xff, 0xdc),
    ] {
        let draft = expired(Draft::udp(CLIENT, SERVER)).with(|d| d.tos = tos);
        let error = Error::inside((11, 0)).with(|e| e.tos = wanted);
        slow.told(what, Inside, &draft, Reason::TtlExpired, &error);
    }
}

#[test]
fn fragmentation_needed() {
    let mut slow = SlowPath::new();
    let small = (subscriber::SMALL, 77);
    let external = slow.open(&Draft::udp(small, SERVER));
    let too_big = |mut error: Error| {
        error.mtu = 576;
        error
    };
    let cases = [
        (
            "outbound: the MTU of the way to the destination",
            Inside,
            Draft::udp(CLIENT, (remote::SMALL, 443)),
            Error::inside((3, 4)),
        ),
        (
            "inbound: the MTU of the way to the subscriber, quoting the external endpoint",
            Outside,
            Draft::udp(SERVER, external),
            Error::outside((3, 4)),
        ),
        (
            "hairpinned: the MTU of the way to the other subscriber",
            Inside,
            Draft::udp((subscriber::TWO_BLOCKS, 9), external),
            Error::inside((3, 4)),
        ),
    ];
    for (what, entry, draft, error) in cases {
        slow.told(
            what,
            entry,
            &big(draft.clone()),
            Reason::TooBig,
            &too_big(error),
        );
        let may = big(draft).with(|d| d.dont_fragment = false);
        let split = (Outcome::NeedsSplitting, None);
        assert_eq!(
            slow.run(entry, &may.bytes()),
            split,
            "{what}: it is fragmented"
        );
    }
}

#[test]
fn unreachable() {
    let mut slow = SlowPath::new();
    for (what, to, code) in [
        ("no route: network unreachable", remote::NO_ROUTE, 0),
        (
            "a route of type unreachable: host unreachable",
            remote::UNREACHABLE,
            1,
        ),
    ] {
        let draft = Draft::udp(CLIENT, (to, 443));
        slow.told(
            what,
            Inside,
            &draft,
            Reason::NoRoute,
            &Error::inside((3, code)),
        );
    }
    let blackhole = Draft::udp(CLIENT, (remote::WIDE_NO_ROUTE, 443)).bytes();
    slow.silent(
        "a blackhole",
        Inside,
        &blackhole,
        Reason::NoRoute,
        Some(Withheld::Silent),
    );
    // The engine tells it when a packet waited in vain.
    let waited = Draft::udp(CLIENT, (remote::LOST, 443));
    let counted = Counted::default();
    let tables = slow.world.tables(&slow.memory, &counted);
    let reason = Reason::NeighbourUnresolved;
    let answer = slow
        .answers
        .answer(&waited.bytes(), &tables, Inside, reason);
    let answer = answer.expect("a silent neighbour");
    let expected = Error::inside((3, 1)).frame(&waited, identification(&answer.frame));
    assert_eq!(hex(&answer.frame), hex(&expected), "a silent neighbour");
}

#[test]
fn exhausted_and_unmapped() {
    let mut slow = SlowPath::new();
    let refused = Draft::tcp(flag::SYN, (subscriber::REFUSED, 1), SERVER);
    let prohibited = Error::inside((3, PROHIBITED));
    slow.told("no block", Inside, &refused, Reason::NoBlock, &prohibited);
    for port in 0..512 {
        slow.open(&Draft::udp((subscriber::LARGE, port), SERVER));
    }
    let full = Draft::udp((subscriber::LARGE, 600), SERVER);
    slow.told("no port", Inside, &full, Reason::NoPort, &prohibited);
    let stray = (POOL[0], 5000);
    let [segment, datagram] = [
        Draft::tcp(flag::ACK, SERVER, stray),
        Draft::udp(SERVER, stray),
    ];
    for draft in [segment, datagram] {
        slow.told(
            "no mapping",
            Outside,
            &draft,
            Reason::NoMapping,
            &Error::outside((3, 3)),
        );
    }
    let echo = Draft::pong(SERVER.0, stray).bytes();
    let why = Some(Withheld::Forbidden);
    slow.silent(
        "an echo has no port",
        Outside,
        &echo,
        Reason::NoMapping,
        why,
    );
}

#[test]
fn never_about_what_rfc_1812_forbids() {
    let mut slow = SlowPath::new();
    let reason = Reason::TtlExpired;
    let why = Some(Withheld::Forbidden);
    let external = slow.open(&Draft::udp(CLIENT, SERVER));
    let quoted = Draft::udp(external, SERVER).packet();
    for kind in [3, 11, 12] {
        let error = Draft::icmp_error((kind, 0), [0; 4], &quoted, remote::OTHER, external.0);
        slow.silent(
            "about an error",
            Outside,
            &expired(error).bytes(),
            reason,
            why,
        );
    }
    for group in [[0xff; 6], [0x01, 0, 0x5e, 0, 0, 1]] {
        let draft = expired(Draft::udp(CLIENT, SERVER)).with(|d| d.destination_mac = group);
        slow.silent("to all on the link", Inside, &draft.bytes(), reason, why);
    }
    // The translator stops them before; this is the last line of defence.
    let base = || expired(Draft::udp(CLIENT, SERVER));
    let cases: [(&str, Draft); 6] = [
        ("a later fragment", base().with(|d| d.fragment_offset = 1)),
        (
            "to a group",
            base().with(|d| d.destination.0 = Ipv4Addr::new(224, 0, 0, 5)),
        ),
        (
            "to all",
            base().with(|d| d.destination.0 = Ipv4Addr::BROADCAST),
        ),
        (
            "from nobody",
            base().with(|d| d.source.0 = Ipv4Addr::UNSPECIFIED),
        ),
        (
            "from loopback",
            base().with(|d| d.source.0 = Ipv4Addr::LOCALHOST),
        ),
        (
            "from a group",
            base().with(|d| d.source.0 = Ipv4Addr::new(224, 0, 0, 5)),
        ),
    ];
    let counted = Counted::default();
    let tables = slow.world.tables(&slow.memory, &counted);
    for (what, draft) in cases {
        let answer = slow.answers.answer(&draft.bytes(), &tables, Inside, reason);
        assert_eq!(answer, None, "{what}");
    }
    for type_of_error in [3, 4, 5, 11, 12] {
        let mut draft = base();
        (draft.transport, draft.payload) = (
            Transport::Other(1),
            vec![type_of_error, 0, 0, 0, 0, 0, 0, 0],
        );
        let answer = slow.answers.answer(&draft.bytes(), &tables, Inside, reason);
        assert_eq!(answer, None, "ICMP type {type_of_error}");
    }
    assert_eq!(slow.answers.stats().sent, [0; 6]);
}
