//! Addresses that are refused: by their text, by what they are, and since they overlap.

use super::super::Config;
use super::{Expected, base_with, expect};

#[test]
fn addresses_that_cannot_be_read() {
    let cases: [(&str, &str, &[&str]); 16] = [
        ("Not an address.", "example.net", &["not an IPv4 address"]),
        (
            "A leading zero, which some read as octal.",
            "203.0.113.010",
            &["without leading zeros"],
        ),
        ("An octet too large.", "203.0.113.256", &["0 to 255"]),
        ("Three octets.", "203.0.113", &["not an IPv4 address"]),
        ("Nothing.", "", &["not an IPv4 address"]),
        ("Space around it.", " 203.0.113.1", &["not an IPv4 address"]),
        ("IPv6.", "2001:db8::1", &["is IPv6", "only IPv4"]),
        ("An IPv6 prefix.", "2001:db8::/32", &["is IPv6"]),
        (
            "Host bits; the right prefix is named.",
            "192.0.2.77/26",
            &["host bits", "\"192.0.2.64/26\"", "\"192.0.2.77/32\""],
        ),
        (
            "A prefix that is too wide.",
            "64.0.0.0/7",
            &["wider than a /8", "8 to 32"],
        ),
        ("Everything.", "0.0.0.0/0", &["wider than a /8"]),
        (
            "A prefix that is too long.",
            "192.0.2.0/33",
            &["no valid prefix length", "8 to 32"],
        ),
        (
            "A prefix length with a sign.",
            "192.0.2.0/+24",
            &["no valid prefix length"],
        ),
        (
            "A netmask.",
            "192.0.2.0/255.255.255.0",
            &["no valid prefix length"],
        ),
        (
            "A range the wrong way round.",
            "192.0.2.9-192.0.2.1",
            &["ends before it begins", "\"192.0.2.1-192.0.2.9\""],
        ),
        (
            "A range as wide as a /7.",
            "64.0.0.0-65.255.255.255",
            &["33554432 addresses", "at most 16777216"],
        ),
    ];
    for (sentence, address, fragments) in cases {
        let text = base_with("198.51.100.7", address);
        expect(sentence, &text, &[(9, "pool[0].addresses[1]", fragments)]);
    }
    let prefixes: [(&str, &str, &[&str]); 3] = [
        (
            "A subscriber without a length.",
            "100.64.7.1",
            &["no prefix length", "\"100.64.7.1/32\""],
        ),
        (
            "A range of subscribers.",
            "100.64.7.1-100.64.7.9",
            &["is a range", "write prefixes"],
        ),
        (
            "Host bits of subscribers.",
            "100.64.7.1/16",
            &["\"100.64.0.0/16\""],
        ),
    ];
    for (sentence, prefix, fragments) in prefixes {
        let text = base_with("100.64.0.0/24", prefix);
        expect(
            sentence,
            &text,
            &[(15, "subscribers[0].prefixes[0]", fragments)],
        );
    }
}

#[test]
fn addresses_that_cannot_be_used() {
    let cases = [
        ("\"This\" network.", "0.1.2.3", "this network"),
        ("The unspecified address.", "0.0.0.0", "this network"),
        ("Loopback.", "127.0.0.1", "loopback"),
        (
            "A range that ends in loopback.",
            "126.255.0.0-127.0.0.0",
            "loopback",
        ),
        ("Link-local.", "169.254.1.0/24", "link-local"),
        ("The first multicast address.", "224.0.0.0", "multicast"),
        (
            "The last multicast address.",
            "239.255.255.255",
            "multicast",
        ),
        ("Class E.", "240.0.0.0/8", "reserved"),
        ("Broadcast.", "255.255.255.255", "broadcast"),
    ];
    for (sentence, address, kind) in cases {
        let text = base_with("198.51.100.7", address);
        let fragments: &[&str] = &[address, kind, "remove"];
        expect(sentence, &text, &[(9, "pool[0].addresses[1]", fragments)]);
    }
    for neighbour in [
        "1.0.0.0",
        "126.255.255.255",
        "128.0.0.0",
        "169.253.255.255",
        "223.255.255.255",
    ] {
        let text = base_with("198.51.100.7", neighbour);
        assert!(Config::parse(&text).is_ok(), "{neighbour} is usable");
    }
    expect(
        "Subscribers cannot have such addresses either.",
        &base_with("100.64.0.0/24", "127.0.0.0/8"),
        &[(
            15,
            "subscribers[0].prefixes[0]",
            &["127.0.0.0/8", "loopback"],
        )],
    );
}

#[test]
fn addresses_that_overlap() {
    let cases: [(&str, String, &[Expected<'_>]); 9] = [
        (
            "One address in two pools, as a prefix and as the last of a range.",
            base_with(
                "\"198.51.100.64-",
                "\"203.0.112.255-203.0.113.0\", \"198.51.100.64-",
            ),
            &[(
                13,
                "pool[1].addresses[0]",
                &[
                    "203.0.112.255-203.0.113.0 overlaps pool[0].addresses[0] (203.0.113.0/28)",
                    "one pool once",
                ],
            )],
        ),
        (
            "The same address twice in one pool.",
            base_with("\"198.51.100.7\"", "\"198.51.100.7\", \"198.51.100.7\""),
            &[(
                9,
                "pool[0].addresses[2]",
                &["overlaps pool[0].addresses[1]"],
            )],
        ),
        (
            "An address inside a prefix that stands after it: the later entry is the one named.",
            base_with("\"203.0.113.0/28\"", "\"203.0.113.9\", \"203.0.113.0/28\""),
            &[(
                9,
                "pool[0].addresses[1]",
                &["203.0.113.0/28 overlaps pool[0].addresses[0] (203.0.113.9)"],
            )],
        ),
        (
            "A pool inside a subscriber prefix.",
            base_with("100.65.0.0/24", "198.51.0.0/16"),
            &[
                (
                    18,
                    "subscribers[1].prefixes[0]",
                    &[
                        "198.51.0.0/16 overlaps pool[0].addresses[1] (198.51.100.7)",
                        "either a pool's or a subscriber's",
                    ],
                ),
                (
                    18,
                    "subscribers[1].prefixes[0]",
                    &["overlaps pool[1].addresses[0]"],
                ),
            ],
        ),
        (
            "A subscriber prefix inside a pool.",
            base_with("100.65.0.0/24", "203.0.113.8/30"),
            &[(
                18,
                "subscribers[1].prefixes[0]",
                &["overlaps pool[0].addresses[0]"],
            )],
        ),
        (
            "A prefix within another section's prefix.",
            base_with("100.65.0.0/24", "100.64.0.128/25"),
            &[(
                18,
                "subscribers[1].prefixes[0]",
                &[
                    "overlaps subscribers[0].prefixes[0] (100.64.0.0/24)",
                    "one subscriber",
                ],
            )],
        ),
        (
            "The same prefix twice in one section.",
            base_with("\"100.64.0.0/24\"", "\"100.64.0.0/24\", \"100.64.0.0/24\""),
            &[(
                15,
                "subscribers[0].prefixes[1]",
                &["overlaps subscribers[0].prefixes[0]"],
            )],
        ),
        (
            "Two small entries in one large: both are named, though the second touches only the large.",
            base_with(
                "\"203.0.113.0/28\"",
                "\"203.0.113.0/28\", \"203.0.113.1\", \"203.0.113.14\"",
            ),
            &[
                (
                    9,
                    "pool[0].addresses[1]",
                    &["overlaps pool[0].addresses[0]"],
                ),
                (
                    9,
                    "pool[0].addresses[2]",
                    &["overlaps pool[0].addresses[0]"],
                ),
            ],
        ),
        (
            "Entries around one that cannot be read keep their numbers.",
            base_with(
                "\"203.0.113.0/28\"",
                "\"x\", \"203.0.113.0/28\", 5, \"203.0.113.0\"",
            ),
            &[
                (9, "pool[0].addresses[0]", &["not an IPv4 address"]),
                (9, "pool[0].addresses[2]", &["a whole number"]),
                (
                    9,
                    "pool[0].addresses[3]",
                    &["overlaps pool[0].addresses[1]"],
                ),
            ],
        ),
    ];
    for (sentence, text, expected) in cases {
        expect(sentence, &text, expected);
    }
}
