//! `[[realm]]`: what is refused, and what tables and programs are told.

use std::net::Ipv4Addr;

use cgn_common::layout::{self, Features, Guards, Side};
use cgn_common::realm::{FIRST, NOBODY};

use super::super::Config;
use super::super::difference::{Effect, differences};
use super::{BASE, Expected, base_and, expect};
use crate::policy::shape;
use crate::realms::InsideKey;

/// Two realms, whose subscribers have addresses of the first one's.
const REALMS: &str = r#"[[realm]]
name = "mvno"
inside = [{ interface = "eth2" }, { interface = "eth0", vlan = [7, 8] }]
table = 100
[[realm]]
name = "cloud"
inside = [{ interface = "eth0", vlan = [9] }]
table = 200
[[pool]]
name = "other"
addresses = ["192.0.2.0/28"]
[[subscribers]]
prefixes = ["100.64.0.0/24", "100.65.255.0/24"]
pool = "other"
realm = "mvno"
[[subscribers]]
prefixes = ["100.64.0.0/24"]
pool = "other"
realm = "cloud"
"#;

fn with(from: &str, to: &str) -> String {
    assert!(REALMS.contains(from), "the realms have no {from:?}");
    base_and(&REALMS.replacen(from, to, 1))
}

#[test]
fn equal_addresses_in_different_realms_are_allowed() {
    let checked = Config::parse(&base_and(REALMS)).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(checked.warnings, []);
    let ranges: Vec<_> = checked
        .subscribers
        .iter()
        .map(|one| (one.realm, one.range.first()))
        .collect();
    let at = |b, c| Ipv4Addr::new(100, b, c, 0);
    let expected = [
        (0, at(64, 0)),
        (0, at(65, 0)),
        (1, at(64, 0)),
        (1, at(65, 255)),
        (2, at(64, 0)),
    ];
    assert_eq!(ranges, expected);
}

#[test]
fn whatever_the_log_and_its_sinks_tell_they_tell_with_realms() {
    let sink = |format, transport| {
        format!(
            "[[sink]]\nname = \"a\"\nformat = \"{format}\"\ntransport = \"{transport}\"\naddress = \"192.0.2.9:4739\"\n"
        )
    };
    let group = |mode| {
        format!(
            "[[group]]\nname = \"a\"\nprefixes = [\"100.64.0.0/24\"]\nrealm = \"cloud\"\nlog = \"{mode}\"\n"
        )
    };
    for more in [
        sink("ipfix", "tcp"),
        sink("netflow9", "udp"),
        "[log]\nmode = \"session\"\n".to_owned(),
        "[log]\nmode = \"session_with_destination\"\n".to_owned(),
        group("session"),
        group("session_with_destination"),
    ] {
        let text = base_and(REALMS) + &more;
        Config::parse(&text).unwrap_or_else(|errors| panic!("{more}: {errors}"));
    }
}

#[test]
fn the_longest_prefix_of_a_realm_s_groups_counts_in_any_order() {
    let group = |name: &str, prefix: &str, most: u32| {
        format!(
            "[[group]]\nname = \"{name}\"\nprefixes = [\"{prefix}\"]\nrealm = \"mvno\"\nudp_mappings = {most}\n"
        )
    };
    let gold = group("gold", "100.64.0.0/16", 7);
    let all = group("all", "100.64.0.0/10", 3);
    for text in [format!("{gold}{all}"), format!("{all}{gold}")] {
        let text = base_and(&format!("{REALMS}{text}"));
        let checked = Config::parse(&text).unwrap_or_else(|errors| panic!("{errors}"));
        let geometry = shape::geometry(&checked);
        let most = |network| {
            let inside = Ipv4Addr::new(100, network, 255, 1);
            let key = geometry.realms.key(1, inside).expect("of the realm");
            geometry.groups.allowance(key).mappings[1]
        };
        assert_eq!((most(64), most(65)), (Some(7), Some(3)), "{text}");
    }
}

/// A rule that bypasses, five lines with one key more.
fn bypass(name: &str, keys: &str) -> String {
    format!("[[rule]]\nname = \"{name}\"\naction = \"bypass\"\ndirection = \"out\"\n{keys}\n")
}

#[test]
fn a_bypass_is_of_its_realm() {
    let text = base_and(REALMS)
        + &bypass("a", "destination = [\"192.0.2.64/27\"]")
        + &bypass("b", "realm = \"cloud\"\ndestination = [\"192.0.2.99/32\"]")
        + &bypass("c", "realm = \"cloud\"\ndestination = [\"192.0.2.96/30\"]");
    let checked = Config::parse(&text).unwrap_or_else(|errors| panic!("{errors}"));
    let lists = shape::lists(&checked);
    let realms: Vec<_> = lists.rules().iter().map(|rule| rule.realm).collect();
    assert_eq!(realms, [0, 2, 2, 0, 2, 2], "out, and back in");
}

fn group_of(realm: &str) -> String {
    format!("[[group]]\nname = \"g\"\nrealm = \"{realm}\"\n")
}

/// The first realm's group has no `realm`, and its rule is for the first realm: others have its addresses, too.
#[test]
fn a_rule_of_a_group_is_of_the_group_s_realm() {
    let rule = |name: &str, key: &str| {
        format!("[[rule]]\nname = \"{name}\"\naction = \"deny\"\ndirection = \"out\"\n{key}\n")
    };
    let text = base_and(REALMS)
        + &group_of("cloud")
        + "[[group]]\nname = \"first\"\nprefixes = [\"100.64.0.0/24\"]\n"
        + &rule("a", "group = \"g\"")
        + &rule("b", "group = \"first\"")
        + &rule("c", "realm = \"mvno\"")
        + &rule("d", "source = [\"100.64.0.0/24\"]")
        + &bypass("e", "group = \"g\"\ndestination = [\"192.0.2.99/32\"]");
    let checked = Config::parse(&text).unwrap_or_else(|errors| panic!("{errors}"));
    let lists = shape::lists(&checked);
    let realms = lists
        .rules()
        .iter()
        .map(|rule| (rule.direction_name(), rule.realm));
    let all = layout::Rule::EVERY_REALM;
    let expected = [
        ("out", 2),
        ("out", 0),
        ("out", 1),
        ("out", all),
        ("out", 2),
        ("in", 2),
    ];
    assert_eq!(realms.collect::<Vec<_>>(), expected);
}

#[test]
fn what_is_refused() {
    let sixteen_of_8: Vec<_> = (16..32)
        .map(|first| format!("\"{first}.0.0.0/8\""))
        .collect();
    let cases: [(&str, String, &[Expected<'_>]); 22] = [
        (
            "The same address twice in one realm.",
            with("\"100.65.255.0/24\"", "\"100.64.0.128/25\""),
            &[(
                32,
                "subscribers[2].prefixes[1]",
                &["overlaps", "of a realm"],
            )],
        ),
        (
            "A realm's subscriber is an address of a pool.",
            with("100.65.255.0/24", "203.0.113.0/30"),
            &[(32, "subscribers[2].prefixes[1]", &["overlaps pool[0]"])],
        ),
        (
            "A realm that there is not.",
            with("realm = \"cloud\"", "realm = \"clout\""),
            &[
                (25, "realm[1].name", &["no subscribers are in this realm"]),
                (
                    38,
                    "subscribers[3].realm",
                    &["clout", "did you mean `cloud`"],
                ),
            ],
        ),
        (
            "A name that is no name.",
            with("name = \"mvno\"", "name = \"\"")
                .replace("realm = \"mvno\"\n", "realm = \"cloud\"\n"),
            &[
                (21, "realm[0].name", &["1 to 63"]),
                (36, "subscribers[3].prefixes[0]", &["overlaps"]),
            ],
        ),
        (
            "Two realms of one name.",
            with("name = \"cloud\"", "name = \"mvno\"").replace("realm = \"cloud\"\n", ""),
            &[
                (25, "realm[1].name", &["is also the name of realm[0]"]),
                (36, "subscribers[3].prefixes[0]", &["overlaps"]),
            ],
        ),
        (
            "Nowhere to come from.",
            with(
                "inside = [{ interface = \"eth0\", vlan = [9] }]",
                "inside = []",
            ),
            &[(26, "realm[1].inside", &["is empty", "eth2"])],
        ),
        (
            "A VLAN of the inside is no realm's.",
            with(", vlan = [9]", ""),
            &[(26, "realm[1].inside[0].interface", &["is inside, too"])],
        ),
        (
            "One VLAN of two realms.",
            with("vlan = [9]", "vlan = [7, 8]"),
            &[(
                26,
                "realm[1].inside[0].interface",
                &["is realm[0].inside[1], too"],
            )],
        ),
        (
            "A VLAN that there is not, and an interface.",
            with("\"eth2\"", "\"eth/2\"").replace("[9]", "[4095]"),
            &[
                (22, "realm[0].inside[0].interface", &["slash"]),
                (26, "realm[1].inside[0].vlan[0]", &["4095"]),
            ],
        ),
        (
            "No table.",
            with("table = 100\n", ""),
            &[(20, "realm[0].table", &["missing", "table = 100"])],
        ),
        (
            "A table of the kernel's.",
            with("table = 100", "table = 254"),
            &[(23, "realm[0].table", &["kernel's own"])],
        ),
        (
            "Table 0.",
            with("table = 100", "table = 0"),
            &[(23, "realm[0].table", &["is 0", "1 to 4294967295"])],
        ),
        (
            "One table of two realms.",
            with("table = 200", "table = 100"),
            &[(27, "realm[1].table", &["is also that of realm[0]"])],
        ),
        (
            "More networks than there are keys.",
            with("\"100.65.255.0/24\"", &sixteen_of_8.join(", ")),
            &[(20, "realm", &["4098 networks", "4095"])],
        ),
        (
            "What comes back untranslated would be of two realms.",
            base_and(REALMS)
                + &bypass("a", "destination = [\"192.0.2.64/26\"]")
                + &bypass("b", "realm = \"mvno\"\ndestination = [\"192.0.2.99/32\"]")
                + &bypass(
                    "c",
                    "realm = \"mvno\"\ndestination = [\"192.0.2.98/32\", \"192.0.2.1/32\"]",
                ),
            &[
                (
                    49,
                    "rule[1].destination[0]",
                    &["192.0.2.99/32", "also of rule[0]"],
                ),
                (
                    55,
                    "rule[2].destination[0]",
                    &["192.0.2.98/32", "also of rule[0]"],
                ),
            ],
        ),
        (
            "Or nobody would have looked whether it is.",
            base_and(REALMS)
                + &bypass("a", "destination = [\"192.0.2.99/32\"]")
                + &bypass(
                    "b",
                    "realm = \"cloud\"\ndestination_file = \"/etc/cgn/portals.txt\"",
                ),
            &[(
                49,
                "rule[1].destination_file",
                &["write all of them in the rules"],
            )],
        ),
        (
            "A realm of what comes from outside, and one that there is not.",
            base_and(REALMS)
                + "[[rule]]\nname = \"a\"\naction = \"deny\"\ndirection = \"in\"\nrealm = \"mvno\"\n"
                + &bypass("b", "realm = \"clout\"\ndestination = [\"192.0.2.99/32\"]"),
            &[
                (43, "rule[0].realm", &["of no realm before", "\"out\""]),
                (48, "rule[1].realm", &["clout", "did you mean `cloud`"]),
            ],
        ),
        (
            "A rule of two realms.",
            base_and(REALMS)
                + &group_of("cloud")
                + &bypass(
                    "a",
                    "realm = \"mvno\"\ngroup = \"g\"\ndestination = [\"192.0.2.99/32\"]",
                ),
            &[(46, "rule[0].realm", &["\"g\"", "of realm \"cloud\""])],
        ),
        (
            "A bypass of a group's realm, and another one of the same host.",
            base_and(REALMS)
                + &group_of("cloud")
                + &bypass("a", "group = \"g\"\ndestination = [\"192.0.2.99/32\"]")
                + &bypass("b", "realm = \"cloud\"\ndestination = [\"192.0.2.99/32\"]")
                + &bypass("c", "destination = [\"192.0.2.99/32\"]"),
            &[(58, "rule[2].destination[0]", &["also of rule[0]"])],
        ),
        (
            "Static ports of an address that is not one subscriber's.",
            with(
                "name = \"other\"\n",
                "name = \"other\"\nmode = \"deterministic\"\n",
            ),
            &[(38, "subscribers[3].pool", &["is of \"mvno\"", "dynamic"])],
        ),
        (
            "A sink of a realm that there is not.",
            base_and(REALMS)
                + "[[sink]]\nname = \"a\"\nformat = \"jsonl\"\ntransport = \"tcp\"\naddress = \"192.0.2.9:1\"\n\
                   realms = [\"\", \"mvno\", \"clout\"]\n",
            &[(44, "sink[0].realms[2]", &["clout", "did you mean `cloud`"])],
        ),
        (
            "A group of addresses that nobody in the realm has.",
            base_and(REALMS)
                + "[[group]]\nname = \"a\"\nprefixes = [\"100.64.0.0/24\", \"10.0.0.0/8\"]\nrealm = \"cloud\"\n",
            &[(
                41,
                "group[0].prefixes[1]",
                &["10.0.0.0/8", "nobody in the realm"],
            )],
        ),
    ];
    for (sentence, text, expected) in &cases {
        expect(sentence, text, expected);
    }
}

#[test]
fn tables_and_programs_are_told_of_realms() {
    let checked = Config::parse(&base_and(REALMS)).expect("good");
    assert!(
        shape::constants(&checked.config)
            .features
            .has(Features::REALMS)
    );
    // Two pools are the first realm's, and one is of two others: its drops are nobody's by the pool alone.
    let of_pools = shape::constants(&checked.config).realms;
    assert_eq!(of_pools[..4], [FIRST, FIRST, NOBODY, NOBODY]);
    let geometry = shape::geometry(&checked);
    let home = Ipv4Addr::new(100, 64, 0, 10);
    let key = |realm| geometry.realms.key(realm, home).expect("a subscriber");
    let indices: Vec<_> = (0..3)
        .map(|realm| geometry.subscriber_index(key(realm)))
        .collect();
    assert!(indices.iter().all(Option::is_some), "{indices:?}");
    assert!(
        indices[0] != indices[1] && indices[1] != indices[2],
        "{indices:?}"
    );
    assert_eq!(geometry.pool_of(key(0)), Some(0));
    assert_eq!(
        [1, 2].map(|realm| geometry.pool_of(key(realm))),
        [Some(2); 2]
    );
    let networks = shape::networks(&checked.config, &geometry.realms);
    let tables: Vec<_> = networks.all().map(|one| (one.realm, one.table)).collect();
    assert_eq!(tables, [(1, 100), (1, 100), (2, 200)]);
    let limited = base_and(REALMS) + "[throttle]\ninside_24 = 10\n";
    let limited = Config::parse(&limited).unwrap_or_else(|errors| panic!("{errors}"));
    let guards = shape::constants(&limited.config).guards.0;
    assert_eq!(guards[Guards::newcomers(Side::Inside, 1)], 11, "in 1.07 s");
    // Without realms nothing is as before.
    let plain = Config::parse(BASE).expect("good");
    assert!(
        !shape::constants(&plain.config)
            .features
            .has(Features::REALMS)
    );
    assert_eq!(shape::geometry(&plain).realms.count(), 1);
}

/// The same inside addresses in two realms, each with a deterministic pool of its own.
const DETERMINISTIC: &str = r#"[[realm]]
name = "mvno"
inside = [{ interface = "eth2" }]
table = 100
[[realm]]
name = "cloud"
inside = [{ interface = "eth3" }]
table = 200
[[pool]]
name = "a"
addresses = ["192.0.2.0/28"]
mode = "deterministic"
block_ports = 1024
[[pool]]
name = "b"
addresses = ["192.0.2.16/28"]
mode = "deterministic"
block_ports = 1024
[[subscribers]]
prefixes = ["100.64.0.0/24"]
pool = "a"
realm = "mvno"
[[subscribers]]
prefixes = ["100.64.0.0/24"]
pool = "b"
realm = "cloud"
"#;

#[test]
fn a_deterministic_pool_is_of_one_realm() {
    let text = base_and(DETERMINISTIC);
    let checked = Config::parse(&text).unwrap_or_else(|errors| panic!("{errors}"));
    let of_pools = shape::constants(&checked.config).realms;
    assert_eq!(of_pools[..4], [FIRST, FIRST, 1, 2]);
    let geometry = shape::geometry(&checked);
    let home = Ipv4Addr::new(100, 64, 0, 20);
    // 256 subscribers on 16 addresses have 64512 / 17 = 3,794 ports each, which are three blocks.
    for (pool, realm, external) in [(2, "mvno", 1), (3, "cloud", 17)] {
        let map = geometry.map(pool).expect("deterministic");
        assert_eq!(map.realm, realm);
        let share = map.forward(home).expect("a subscriber");
        let external = Ipv4Addr::new(192, 0, 2, external);
        assert_eq!(
            (share.external, share.first_port),
            (external, 1024 + 4 * 3072)
        );
    }
    let swapped = text
        .replace("pool = \"a\"", "pool = \"x\"")
        .replace("pool = \"b\"", "pool = \"a\"")
        .replace("pool = \"x\"", "pool = \"b\"");
    let fixed = |text: &str| shape::geometry(&Config::parse(text).expect("good")).fixed_word();
    assert_ne!(
        fixed(&text),
        fixed(&swapped),
        "the ports are another realm's"
    );
    let config = |text: &str| Config::parse(text).expect("good").config;
    let found = differences(&config(&text), &config(&swapped));
    assert!(!found.is_empty());
    assert!(
        found.iter().all(|one| one.effect == Effect::Disruptive),
        "{found:?}"
    );
}

#[test]
fn a_group_is_of_its_realm() {
    let text = base_and(REALMS)
        + "[[group]]\nname = \"all\"\nprefixes = [\"100.64.0.0/10\"]\n\
           [[group]]\nname = \"of cloud\"\nprefixes = [\"100.64.0.0/10\"]\nrealm = \"cloud\"\n";
    let checked = Config::parse(&text.replace("of cloud", "of-cloud")).expect("good");
    let geometry = shape::geometry(&checked);
    let home = Ipv4Addr::new(100, 64, 0, 10);
    let group = |realm| -> Option<usize> {
        let key: InsideKey = geometry.realms.key(realm, home)?;
        geometry.groups.number_of(key)
    };
    assert_eq!([0, 1, 2].map(group), [Some(0), None, Some(1)]);
}

#[test]
fn tables_of_other_realms_are_not_adopted() {
    let fixed = |text: &str| shape::geometry(&Config::parse(text).expect("good")).fixed_word();
    let all = fixed(&base_and(REALMS));
    let renamed = REALMS.replace("\"cloud\"", "\"other-cloud\"");
    assert_ne!(
        all,
        fixed(&base_and(&renamed)),
        "the same keys, of another realm"
    );
    assert_eq!(
        all,
        fixed(&with("table = 100", "table = 300")),
        "only the routes"
    );
}

#[test]
fn a_change_of_realms_is_disruptive() {
    let config = |text: &str| Config::parse(text).expect("good").config;
    let old = config(&base_and(REALMS));
    for (from, to, key) in [
        ("table = 100", "table = 300", "realm[mvno].table"),
        ("\"eth2\"", "\"eth3\"", "realm[mvno].inside[0].interface"),
    ] {
        let found = differences(&old, &config(&with(from, to)));
        let found: Vec<_> = found
            .iter()
            .map(|one| (one.key.as_str(), one.effect))
            .collect();
        assert_eq!(found, [(key, Effect::Disruptive)]);
    }
    let mut other = old.clone();
    other.realm.reverse();
    let found = differences(&old, &other);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].key, "order of realms");
}

#[test]
fn interfaces_of_realms_are_looked_for() {
    let checked = Config::parse(&base_and(REALMS)).expect("good");
    let missing = checked
        .check_interfaces(|name| name != "eth2")
        .expect_err("not there");
    let [problem] = missing.problems() else {
        panic!("{missing}");
    };
    assert_eq!(problem.path.as_str(), "realm[0].inside[0].interface");
}

#[test]
fn the_sample_shows_a_realm() {
    let lines = Config::SAMPLE
        .lines()
        .skip_while(|line| *line != "# [[realm]]");
    let block: Vec<&str> = lines.map_while(|line| line.strip_prefix("# ")).collect();
    let text = base_and(&(block.join("\n") + "\n"));
    let checked = Config::parse(&text).unwrap_or_else(|errors| panic!("{errors}\n{text}"));
    assert_eq!(checked.config.realm.len(), 1);
}
