//! Groups with a pool of their own: who is served by which pool, and what is refused.

use std::net::Ipv4Addr;

use super::super::Config;
use super::{Expected, base_and, expect};
use crate::policy::shape;

/// A group, with these keys behind its name.
fn group(name: &str, keys: &str) -> String {
    format!("[[group]]\nname = \"{name}\"\n{keys}\n")
}

#[test]
fn a_group_takes_its_subscribers_into_its_pool() {
    // 100.64.0.0/24 is residential.
    type Case<'a> = (&'a str, String, &'a [(u8, &'a str)]);
    let business = "pool = \"business\"";
    let cases: &[Case<'_>] = &[
        (
            "no pool of its own",
            group("a", "prefixes = [\"100.64.0.0/25\"]"),
            &[(0, "residential"), (255, "residential")],
        ),
        (
            "all of them, by a wider prefix",
            group("a", &format!("prefixes = [\"100.64.0.0/10\"]\n{business}")),
            &[(0, "business"), (255, "business")],
        ),
        (
            "the first half",
            group("a", &format!("prefixes = [\"100.64.0.0/25\"]\n{business}")),
            &[(0, "business"), (127, "business"), (128, "residential")],
        ),
        (
            "one in the middle",
            group("a", &format!("prefixes = [\"100.64.0.9/32\"]\n{business}")),
            &[(8, "residential"), (9, "business"), (10, "residential")],
        ),
        (
            "of two that hold an address the longer one decides, also if it names none",
            group("a", &format!("prefixes = [\"100.64.0.0/24\"]\n{business}"))
                + &group("b", "prefixes = [\"100.64.0.128/25\"]")
                + &group(
                    "c",
                    &format!("prefixes = [\"100.64.0.255/32\"]\n{business}"),
                ),
            &[
                (127, "business"),
                (128, "residential"),
                (254, "residential"),
                (255, "business"),
            ],
        ),
    ];
    for (sentence, text, expected) in cases {
        let text = base_and(text);
        let checked = Config::parse(&text).unwrap_or_else(|errors| panic!("{sentence}: {errors}"));
        let geometry = shape::geometry(&checked);
        let without = shape::geometry(&Config::parse(&base_and("")).expect("valid"));
        assert_eq!(geometry.layout_word(), without.layout_word(), "{sentence}");
        for (last, pool) in *expected {
            let number = geometry.pool_of([100, 64, 0, *last]).expect("a subscriber");
            let name = &geometry.pools[usize::from(number)].name;
            assert_eq!(name, pool, "{sentence}: .{last}");
            let inside = Ipv4Addr::new(100, 64, 0, *last);
            let same = without.subscriber_index(inside);
            assert_eq!(geometry.subscriber_index(inside), same, "{sentence}");
        }
        let all: u64 = checked
            .subscribers
            .iter()
            .map(|s| s.range.address_count())
            .sum();
        let pools = checked.config.capacity().pools;
        assert_eq!(
            pools.iter().map(|pool| pool.subscribers).sum::<u64>(),
            all,
            "{sentence}"
        );
    }
}

#[test]
fn a_group_can_be_a_whole_realm() {
    let text = base_and(
        "[[realm]]\nname = \"mvno\"\ninside = [{ interface = \"eth2\" }]\ntable = 100\n\
         [[subscribers]]\nprefixes = [\"100.64.0.0/24\"]\npool = \"residential\"\nrealm = \"mvno\"\n",
    ) + &group("all", "realm = \"mvno\"\npool = \"business\"\nblocks = 1")
        + &group(
            "one",
            "realm = \"mvno\"\nprefixes = [\"100.64.0.7/32\"]\nblocks = 2",
        );
    let checked = Config::parse(&text).unwrap_or_else(|errors| panic!("{errors}"));
    let geometry = shape::geometry(&checked);
    for (realm, last, pool, blocks) in [
        (0, 7, 0, None),
        (1, 6, 1, Some(1)),
        (1, 7, 0, Some(2)),
        (1, 8, 1, Some(1)),
    ] {
        let address = Ipv4Addr::new(100, 64, 0, last);
        let key = geometry.realms.key(realm, address).expect("a subscriber");
        assert_eq!(geometry.pool_of(key), Some(pool), "realm {realm}, .{last}");
        assert_eq!(
            geometry.groups.allowance(key).blocks,
            blocks,
            "realm {realm}, .{last}"
        );
    }
}

#[test]
fn keys_that_are_refused() {
    let one = |keys: &str| {
        base_and(&group(
            "a",
            &format!("prefixes = [\"100.64.0.0/25\"]\n{keys}"),
        ))
    };
    let of_pool: &[&str] = &["is a pool's", "pool = "];
    let cases: [(&str, String, &[Expected<'_>]); 4] = [
        (
            "What all at an address have is the pool's.",
            one("filtering = \"address-dependent\"\nblock_ports = 64"),
            &[
                (23, "group[0].filtering", of_pool),
                (24, "group[0].block_ports", of_pool),
            ],
        ),
        (
            "A pool that is not there.",
            one("pool = \"busines\""),
            &[(23, "group[0].pool", &["busines", "did you mean `business`"])],
        ),
        (
            "A realm twice.",
            base_and(
                "[[realm]]\nname = \"r\"\ninside = [{ interface = \"eth2\" }]\ntable = 100\n\
                 [[subscribers]]\nprefixes = [\"100.64.0.0/24\"]\npool = \"residential\"\nrealm = \"r\"\n\
                 [[group]]\nname = \"a\"\nrealm = \"r\"\n[[group]]\nname = \"b\"\nrealm = \"r\"\n",
            ),
            &[(33, "group[1].realm", &["\"r\"", "group[0]"])],
        ),
        (
            "Neither prefixes nor a realm.",
            base_and(&group("a", "pool = \"business\"")),
            &[(20, "group[0].prefixes", &["missing"])],
        ),
    ];
    for (sentence, text, expected) in cases {
        expect(sentence, &text, expected);
    }
}
