//! How packets are treated: filtering, TCP, sessions, timers. What is refused,
//! and what the programs and the sweep are told.

use cgn_common::answers::Rates;
use cgn_common::layout::{Constants, Features, Filtering, Policy, SixRd};
use cgn_common::limits::ticks;
use cgn_common::verdict::{Direction, Protocol};

use super::super::Config;
use super::{BASE, Expected, base_and, base_with, expect};
use crate::policy::groups::Allowance;
use crate::policy::shape;

#[test]
fn values_that_are_refused() {
    let cases: [(&str, String, &[Expected<'_>]); 22] = [
        (
            "A filtering that there is not.",
            base_with("512", "512\nfiltering = \"symmetric\""),
            &[(
                11,
                "pool[0].filtering",
                &["symmetric", "\"address-dependent\""],
            )],
        ),
        (
            "The same for TCP.",
            base_with("512", "512\ntcp_filtering = true"),
            &[(11, "pool[0].tcp_filtering", &["a boolean", "a string"])],
        ),
        (
            "A rule for mid-stream that there is not.",
            base_and("[tcp]\nmidstream = \"reset\"\n"),
            &[(21, "tcp.midstream", &["reset", "\"translate\" or \"drop\""])],
        ),
        (
            "An MSS below what every host takes.",
            base_and("[tcp]\nmss_outbound = 535\n"),
            &[(21, "tcp.mss_outbound", &["is 535", "536 to 65495", "or 0"])],
        ),
        (
            "An MSS that fits in no packet.",
            base_and("[tcp]\nmss_inbound = 65496\n"),
            &[(21, "tcp.mss_inbound", &["is 65496", "536 to 65495"])],
        ),
        (
            "No room for sessions.",
            base_and("[sessions]\nmax = 0\n"),
            &[(21, "sessions.max", &["is 0", "1 to 16777216"])],
        ),
        (
            "Too much room for sessions.",
            base_and("[sessions]\nmax = 16777217\n"),
            &[(21, "sessions.max", &["is 16777217"])],
        ),
        (
            "Fragments that wait too long, and room for too few.",
            base_and(
                "[fragments]\ntimeout_secs = 1\nmax_datagrams = 1023\nmax_held = 0\nmax_held_kib = 63\nmax_held_per_source = 0\n",
            ),
            &[
                (21, "fragments.timeout_secs", &["is 1", "2 to 120"]),
                (22, "fragments.max_datagrams", &["is 1023", "1024"]),
                (23, "fragments.max_held", &["is 0"]),
                (24, "fragments.max_held_kib", &["is 63"]),
                (25, "fragments.max_held_per_source", &["is 0"]),
            ],
        ),
        (
            "A timer of sessions in words.",
            base_and("[sessions]\ntime_tcp = \"yes\"\n"),
            &[(21, "sessions.time_tcp", &["true or false"])],
        ),
        (
            "Port 0, and one that is nobody's by agreement (RFC 4787 REQ-5a).",
            base_and("[timeouts]\nshort_udp_ports = [0, 53, 1024]\n"),
            &[
                (21, "timeouts.short_udp_ports[0]", &["is 0", "1 to 1023"]),
                (21, "timeouts.short_udp_ports[2]", &["is 1024", "RFC 4787"]),
            ],
        ),
        (
            "No short time at all.",
            base_and("[timeouts]\nshort_udp_secs = 0\n"),
            &[(21, "timeouts.short_udp_secs", &["is 0", "1 to 604800"])],
        ),
        (
            "A refresh in words.",
            base_and("[timeouts]\ninbound_refresh = 1\n"),
            &[(21, "timeouts.inbound_refresh", &["true or false"])],
        ),
        (
            "Reserved ports that are never given out anyway.",
            base_with("512", "512\nreserved_ports = [5060, 1023, 65536]"),
            &[
                (11, "pool[0].reserved_ports[1]", &["is 1023", "1024 to"]),
                (11, "pool[0].reserved_ports[2]", &["is 65536"]),
            ],
        ),
        (
            "So many reserved ports that no block is left.",
            base_with(
                "512",
                &format!(
                    "512\nreserved_ports = {:?}",
                    (0..126).map(|at| 1024 + 512 * at).collect::<Vec<_>>()
                ),
            ),
            &[(11, "pool[0].reserved_ports", &["every block"])],
        ),
        (
            "Classes of ports that are drawn from all of the address.",
            base_with("512", "512\nport_mode = \"scattered\"\nkeep_class = true"),
            &[(12, "pool[0].keep_class", &["scattered", "contiguous"])],
        ),
        (
            "Classes in blocks that have one port below 1024 at most.",
            base_with("512", "64\nkeep_class = true"),
            &[(11, "pool[0].keep_class", &["128", "both classes"])],
        ),
        (
            "Classes of static ports.",
            base_with("512", "512\nmode = \"deterministic\"\nkeep_class = true"),
            &[(12, "pool[0].keep_class", &["static", "\"dynamic\""])],
        ),
        (
            "Sessions of blocks with both classes on record.",
            base_and("[log]\ndirectory = \"/var/lib/cgn/log\"\nmode = \"session\"\n").replacen(
                "512",
                "512\nkeep_class = true",
                1,
            ),
            &[(23, "log.mode", &["both classes", "\"block\""])],
        ),
        (
            "Parity of ports that are drawn from all of the address.",
            base_with("512", "512\nport_mode = \"scattered\"\nkeep_parity = true"),
            &[(12, "pool[0].keep_parity", &["scattered", "contiguous"])],
        ),
        (
            "A word for exhaustion that there is not.",
            base_and("[icmp]\nexhausted = \"code1\"\n"),
            &[(21, "icmp.exhausted", &["code1", "\"host-unreachable\""])],
        ),
        (
            "Errors without a limit.",
            base_and("[icmp]\neach_per_second = 0\nall_per_second = 10001\n"),
            &[
                (21, "icmp.each_per_second", &["is 0", "1 to 1000"]),
                (22, "icmp.all_per_second", &["is 10001", "1 to 10000"]),
            ],
        ),
        (
            "Less than no held port.",
            base_and("[hold]\nmax_ports = -1\n"),
            &[(21, "hold.max_ports", &["-1", "0 to 4294967295"])],
        ),
    ];
    for (sentence, text, expected) in cases {
        expect(sentence, &text, expected);
    }
}

fn constants(text: &str) -> Constants {
    let checked = Config::parse(text).unwrap_or_else(|errors| panic!("{errors}"));
    shape::constants(&checked.config)
}

#[test]
fn by_default_routers_errors_are_on_and_the_rest_is_off() {
    let mut expected = Constants::PLAIN;
    expected.features = Features(
        Features::TELL_EXPIRED
            | Features::TELL_TOO_BIG
            | Features::TELL_UNREACHABLE
            | Features::TELL_SYN,
    );
    assert_eq!(constants(BASE), expected);
    assert_eq!(constants(Config::SAMPLE), expected);
}

/// `BASE` with a section, and no ICMP error.
fn silent_and(text: &str) -> String {
    let silent = "[icmp]\ntime_exceeded = false\nfragmentation_needed = false\nunreachable = false\nunsolicited_syn = false\n";
    base_and(&format!("{silent}{text}"))
}

#[test]
fn each_key_switches_on_what_it_says() {
    for (text, feature) in [
        ("[tcp]\nmidstream = \"drop\"\n", Features::DROP_MIDSTREAM),
        ("[sessions]\ntime_tcp = true\n", Features::SESSIONS),
        (
            "[timeouts]\ninbound_refresh = true\n",
            Features::INBOUND_REFRESH,
        ),
        (
            "[timeouts]\nshort_udp_ports = [53]\n",
            Features::SHORT_TIMERS,
        ),
        (
            "exhausted = \"host-unreachable\"\n",
            Features::TELL_EXHAUSTED,
        ),
        ("exhausted = \"prohibited\"\n", Features::TELL_EXHAUSTED),
        (
            "[debug]\nforce_slow_path = true\n",
            Features::FORCE_SLOW_PATH,
        ),
        ("port_unreachable = true\n", Features::TELL_NO_MAPPING),
    ] {
        assert_eq!(
            constants(&silent_and(text)).features,
            Features(feature),
            "{text}"
        );
    }
    let even = base_with("512", "512\nkeep_parity = true");
    let (even, plain) = (constants(&even), constants(BASE));
    assert_eq!(even.features.0, plain.features.0 | Features::PARITY);
    assert_eq!(even.pools[0], Policy(Policy::PARITY));
    let classes = constants(&base_with("512", "512\nkeep_class = true"));
    assert_eq!(classes.features.0, plain.features.0 | Features::CLASSES);
    assert_eq!(classes.pools[0], Policy(Policy::CLASSES));
    // 63 of 64 ports of a block are from 1024 on, so port 5060 is in a later one; 64528 is in none.
    for (keep_class, blocks) in [(true, vec![0, 8]), (false, vec![0, 7, 124])] {
        let text = format!("512\nkeep_class = {keep_class}\nreserved_ports = [1024, 5060, 64528]");
        let config = Config::parse(&base_with("512", &text)).unwrap().config;
        let reserved: Vec<u16> = config.pool[0].reserved_blocks().into_iter().collect();
        assert_eq!(reserved, blocks);
    }
    let clamped = constants(&silent_and(
        "[tcp]\nmss_outbound = 1360\nmss_inbound = 1400\n",
    ));
    assert_eq!(clamped.features.mss(Direction::Outbound), 1360);
    assert_eq!(clamped.features.mss(Direction::Inbound), 1400);
    assert_eq!(clamped.features.0 >> 32, 0);
}

#[test]
fn each_pool_filters_as_it_says_tcp_by_itself() {
    use Filtering::{
        AddressAndPortDependent as Port, AddressDependent as Address, EndpointIndependent as Anyone,
    };
    let text = base_with(
        "512",
        "512\nfiltering = \"address-dependent\"\ntcp_filtering = \"address-and-port-dependent\"",
    );
    let constants = constants(&text);
    assert!(constants.features.has(Features::SESSIONS));
    let filtering = |pool: usize| Protocol::ALL.map(|p| constants.pools[pool].filtering(p));
    assert_eq!(filtering(0), [Port, Address, Address]);
    assert_eq!(filtering(1), [Anyone; 3]);
    assert_eq!(constants.pools[2], Policy::PLAIN, "there is no third pool");
}

#[test]
fn exhaustion_is_told_by_the_code_of_rfc_6888_or_of_rfc_5508() {
    for (word, code) in [("host-unreachable", 1), ("prohibited", 13)] {
        let text = base_and(&format!(
            "[icmp]\nexhausted = \"{word}\"\nall_per_second = 7\n"
        ));
        let icmp = Config::parse(&text).expect("valid").config.icmp;
        assert_eq!(shape::exhausted_code(&icmp), code);
        assert_eq!(shape::rates(&icmp), Rates::new(20, 7));
    }
}

#[test]
fn the_sweep_is_told_the_timers() {
    let text =
        base_and("[timeouts]\nudp_secs = 120\nshort_udp_ports = [53, 123]\nshort_udp_secs = 7\n");
    let (timers, _) = shape::timers(&Config::parse(&text).expect("valid"));
    assert_eq!((timers.udp, timers.short_udp), (ticks(120), ticks(7)));
    let is_short = [53, 123, 80, 1077].map(|port| timers.short_udp_ports.has(port));
    assert_eq!(is_short, [true, true, false, false]);
}

#[test]
fn the_room_for_sessions_is_part_of_the_layout() {
    let word = |text: &str| {
        let geometry = shape::geometry(&Config::parse(text).expect("valid"));
        (geometry.sizes.sessions, geometry.layout_word())
    };
    let (default, smaller) = (word(BASE), word(&base_and("[sessions]\nmax = 5\n")));
    assert_eq!((default.0, smaller.0), (65_536, 5));
    assert_ne!(
        default.1, smaller.1,
        "pinned tables of another size are not adopted"
    );
}

#[test]
fn groups_that_are_refused() {
    let group = |more: &str| {
        let head = "[[group]]\nname = \"a\"\nprefixes = [\"100.64.0.0/25\"]\n";
        base_and(&format!("{head}{more}\n"))
    };
    let cases: [(&str, String, &[Expected<'_>]); 6] = [
        (
            "Nothing in it.",
            base_and("[[group]]\n"),
            &[
                (20, "group[0].name", &["missing", "name = "]),
                (20, "group[0].prefixes", &["missing", "prefixes = "]),
            ],
        ),
        (
            "Numbers out of range.",
            group(
                "blocks = 7\ntcp_mappings = 6145\nnew_per_second = 0\nsessions = 16777217\nudp_secs = 119\ntcp_established_secs = 7439",
            ),
            &[
                (23, "group[0].blocks", &["is 7", "1 to 6"]),
                (24, "group[0].tcp_mappings", &["is 6145", "0 to 6144"]),
                (25, "group[0].new_per_second", &["is 0", "1 to 65535"]),
                (26, "group[0].sessions", &["is 16777217"]),
                (27, "group[0].udp_secs", &["is 119", "RFC 4787"]),
                (
                    28,
                    "group[0].tcp_established_secs",
                    &["is 7439", "RFC 5382"],
                ),
            ],
        ),
        (
            "A burst of what has no rate.",
            group("burst = 10"),
            &[(23, "group[0].burst", &["new_per_second"])],
        ),
        (
            "A name twice.",
            group("[[group]]\nname = \"a\"\nprefixes = [\"100.64.0.0/24\"]"),
            &[(24, "group[1].name", &["\"a\"", "group[0]"])],
        ),
        (
            "A prefix twice.",
            group("[[group]]\nname = \"b\"\nprefixes = [\"100.64.0.9/32\", \"100.64.0.0/25\"]"),
            &[(
                25,
                "group[1].prefixes[1]",
                &["100.64.0.0/25", "group[0].prefixes[0]"],
            )],
        ),
        (
            "A group of nobody.",
            base_and("[[group]]\nname = \"a\"\nprefixes = []\n"),
            &[(22, "group[0].prefixes", &["empty"])],
        ),
    ];
    for (sentence, text, expected) in cases {
        expect(sentence, &text, expected);
    }
}

#[test]
fn rules_that_are_refused() {
    let rule = |more: &str| {
        let head = "[[rule]]\nname = \"a\"\naction = \"deny\"\ndirection = \"in\"\n";
        base_and(&format!("{head}{more}\n"))
    };
    let of_group = |group: &str, more: &str| {
        format!(
            "[[group]]\nname = \"wide\"\nprefixes = [\"100.64.0.0/24\"]\n\
             [[group]]\nname = \"low\"\nprefixes = [\"100.64.0.0/25\"]\n\
             [[group]]\nname = \"high\"\nprefixes = [\"100.64.0.128/25\"]\n\
             [[rule]]\nname = \"a\"\naction = \"deny\"\ngroup = \"{group}\"\n{more}\n"
        )
    };
    let cases: [(&str, String, &[Expected<'_>]); 15] = [
        (
            "A group that there is not.",
            base_and(&of_group("hihg", "direction = \"out\"")),
            &[(
                32,
                "rule[0].group",
                &["no group \"hihg\"", "did you mean `high`"],
            )],
        ),
        (
            "From outside nobody knows whose a packet is.",
            base_and(&of_group("low", "direction = \"in\"")),
            &[(
                32,
                "rule[0].group",
                &["pool address", "direction = \"out\""],
            )],
        ),
        (
            "A group, and addresses beside it.",
            base_and(&of_group(
                "low",
                "direction = \"out\"\nsource = [\"100.64.0.0/25\"]\nsource_file = \"/etc/more\"",
            )),
            &[
                (34, "rule[0].source", &["of group \"low\" are the source"]),
                (
                    35,
                    "rule[0].source_file",
                    &["of group \"low\" are the source"],
                ),
            ],
        ),
        (
            "A group whose addresses others have: its rule would be for everyone.",
            base_and(&of_group("wide", "direction = \"out\"")),
            &[(32, "rule[0].group", &["nobody is in group \"wide\""])],
        ),
        (
            "Nothing in it.",
            base_and("[[rule]]\n"),
            &[
                (20, "rule[0].action", &["missing", "action = "]),
                (20, "rule[0].direction", &["missing", "direction = "]),
                (20, "rule[0].name", &["missing", "name = "]),
            ],
        ),
        (
            "Words that are none.",
            base_and(
                "[[rule]]\nname = \"a\"\naction = \"drop\"\ndirection = \"both\"\nprotocol = \"gre\"\nsource = [\"10.0.0.1/8\"]\n",
            ),
            &[
                (22, "rule[0].action", &["drop", "bypass"]),
                (23, "rule[0].direction", &["both", "out"]),
                (24, "rule[0].protocol", &["gre", "number"]),
                (25, "rule[0].source[0]", &["10.0.0.1/8", "10.0.0.0/8"]),
            ],
        ),
        (
            "Ports of what has none, and ports the wrong way round.",
            rule("protocol = \"icmp\"\nsource_ports = \"1\"\ndestination_ports = \"9-8\""),
            &[
                (25, "rule[0].source_ports", &["tcp"]),
                (26, "rule[0].destination_ports", &["9-8"]),
            ],
        ),
        (
            "A bypass from outside, to nowhere.",
            base_and("[[rule]]\nname = \"a\"\naction = \"bypass\"\ndirection = \"in\"\n"),
            &[
                (20, "rule[0].destination", &["bypass", "destination = "]),
                (23, "rule[0].direction", &["bypass", "out"]),
            ],
        ),
        (
            "A file that depends on where one stands.",
            rule("source_file = \"list.txt\""),
            &[(24, "rule[0].source_file", &["absolute"])],
        ),
        (
            "A name twice.",
            rule("[[rule]]\nname = \"a\"\naction = \"deny\"\ndirection = \"in\""),
            &[(25, "rule[1].name", &["\"a\"", "rule[0]"])],
        ),
        (
            "What is looked into must be UDP.",
            base_and(
                "[[rule]]\nname = \"a\"\naction = \"inspect\"\ndirection = \"in\"\nprotocol = \"41\"\n",
            ),
            &[(22, "rule[0].action", &["protocol = \"udp\""])],
        ),
        (
            "6rd of an address that is no network.",
            base_and("[access]\nsix_rd_prefix = \"2001:db8::1/32\"\n"),
            &[(21, "access.six_rd_prefix", &["2001:db8::/32", "host bits"])],
        ),
        (
            "6rd with more than 64 bits in front.",
            base_and("[access]\nsix_rd_prefix = \"2001:db8::/48\"\nsix_rd_ipv4 = \"10.0.0.0/8\"\n"),
            &[(21, "access.six_rd_prefix", &["at most 40"])],
        ),
        (
            "6rd without a prefix.",
            base_and("[access]\nsix_rd_ipv4 = \"10.0.0.0/8\"\n"),
            &[(21, "access.six_rd_ipv4", &["six_rd_prefix"])],
        ),
        (
            "A rate of what is not permitted, and none at all.",
            rule(
                "rate = 5\n[[rule]]\nname = \"b\"\naction = \"permit\"\ndirection = \"out\"\nrate = 0",
            ),
            &[
                (24, "rule[0].rate", &["permit", "\"out\""]),
                (29, "rule[1].rate", &["is 0", "1 to 1000000"]),
            ],
        ),
    ];
    for (sentence, text, expected) in cases {
        expect(sentence, &text, expected);
    }
    let many = |count: usize| {
        let rules = (0..count)
            .map(|n| format!("[[rule]]\nname = \"r{n}\"\naction = \"deny\"\ndirection = \"in\"\n"));
        base_and(&rules.collect::<String>())
    };
    assert!(Config::parse(&many(64)).is_ok());
    let errors = Config::parse(&many(65)).expect_err("too many");
    assert!(errors.to_string().contains("65 rules"), "{errors}");
}

#[test]
fn the_programs_are_told_of_six_rd() {
    let text =
        base_and("[access]\nsix_rd_prefix = \"2001:db8::/32\"\nsix_rd_ipv4 = \"10.0.0.0/8\"\n");
    let expected = SixRd::new(0x2001_0db8_0000_0000, 32, 0x0a00_0000, 8);
    assert_eq!(constants(&text).six_rd, expected);
    assert_eq!(constants(BASE).six_rd, SixRd::NONE);
}

/// 1,000,000,000 ns are a little less than a window.
#[test]
fn a_rate_is_told_by_the_window() {
    let text = base_and(
        "[[rule]]\nname = \"mail\"\naction = \"permit\"\ndirection = \"out\"\nprotocol = \"tcp\"\ndestination_ports = \"25\"\nrate = 100\n",
    );
    let checked = Config::parse(&text).expect("valid");
    assert_eq!(shape::lists(&checked).rules()[0].most, 108);
    assert!(constants(&text).features.has(Features::RATES));
    assert!(!constants(BASE).features.has(Features::RATES));
}

#[test]
fn lists_are_read_when_the_file_was_checked() {
    let text = base_and(
        "[[rule]]\nname = \"a\"\naction = \"deny\"\ndirection = \"in\"\nsource_file = \"/l\"\n",
    );
    let read = |content: Result<&'static str, std::io::ErrorKind>| {
        let checked = Config::parse(&text).expect("valid");
        checked.read_lists(|path| {
            assert_eq!(path, std::path::Path::new("/l"));
            content.map(str::to_owned).map_err(std::io::Error::from)
        })
    };
    let lists = shape::lists(&read(Ok("192.0.2.0/24\n192.0.2.77")).expect("right"));
    assert_eq!(lists.rules().len(), 1);
    assert_eq!(lists.rules()[0].ranges, 2);
    for (content, words) in [
        (Err(std::io::ErrorKind::NotFound), "cannot be read"),
        (Ok("# nothing"), "is empty"),
        (Ok("192.0.2.0/24\n10.0.0.1/8"), "line 2"),
    ] {
        let errors = read(content).expect_err(words).to_string();
        assert!(
            errors.contains("rule[0].source_file") && errors.contains(words),
            "{errors}"
        );
    }
}

#[test]
fn the_bogons_come_behind_the_rules_of_the_file() {
    let text = base_and(
        "[access]\nbogons = true\n[[rule]]\nname = \"a\"\naction = \"permit\"\ndirection = \"in\"\n",
    );
    let lists = shape::lists(&Config::parse(&text).expect("valid"));
    let names = lists
        .rules()
        .iter()
        .map(|r| (r.name.as_str(), r.direction_name(), r.number));
    let expected = [("bogons", "out", 0), ("a", "in", 0), ("bogons", "in", 1)];
    assert!(names.eq(expected));
}

#[test]
fn tables_and_sweep_are_told_of_groups() {
    let text = base_and(
        "[[group]]\nname = \"a\"\nprefixes = [\"100.64.0.0/25\"]\nblocks = 6\nudp_mappings = 10\nnew_per_second = 30\n\
         [[group]]\nname = \"b\"\nprefixes = [\"100.64.0.1/32\"]\nsessions = 4\nnew_per_second = 5\nburst = 7\nudp_secs = 200\n",
    );
    let checked = Config::parse(&text).expect("valid");
    let geometry = shape::geometry(&checked);
    let of = |last| geometry.groups.allowance([100, 64, 0, last]);
    let a = Allowance {
        blocks: Some(6),
        mappings: [None, Some(10), None],
        sessions: None,
        rate: Some((30, 60)),
    };
    let b = Allowance {
        sessions: Some(4),
        rate: Some((5, 7)),
        ..Allowance::ALL
    };
    assert_eq!((of(0), of(1), of(200)), (a, b, Allowance::ALL));
    let (all, groups) = shape::timers(&checked);
    assert_eq!(groups[0], all);
    assert_eq!((all.udp, groups[1].udp), (ticks(300), ticks(200)));
    // The allocator must let them have what their group may.
    assert_eq!(
        shape::pool_specs(&geometry, &checked.config)[0].blocks_per_subscriber,
        6
    );
    assert!(constants(&text).features.has(Features::QUOTAS));
    assert!(!constants(BASE).features.has(Features::QUOTAS));
    // A change of groups changes no table's layout.
    let without = shape::geometry(&Config::parse(BASE).expect("valid"));
    assert_eq!(geometry.layout_word(), without.layout_word());
}

#[test]
fn limits_of_floods_that_are_refused() {
    let cases: [(&str, String, &[Expected<'_>]); 3] = [
        (
            "Guards out of range.",
            base_and(
                "[guard]\nunsolicited_per_second = 10000001\nbusy_percent = 101\nbusy_secs = 0\n",
            ),
            &[
                (21, "guard.unsolicited_per_second", &["is 10000001"]),
                (22, "guard.busy_percent", &["is 101", "0 to 100"]),
                (23, "guard.busy_secs", &["is 0", "1 to 600"]),
            ],
        ),
        (
            "Throttles out of range, and one that is none.",
            base_and(
                "[throttle]\ninside_host = -1\ninside_24 = 10000001\ninside_20 = 10000001\n\
                 outside_host = 10000001\noutside_24 = 10000001\noutside_20 = 10000001\n\
                 limit_secs = 86401\noutside_16 = 5\n\
                 inside_64 = 10000001\ninside_56 = -1\ninside_48 = 10000001\n\
                 outside_64 = 10000001\noutside_56 = 10000001\noutside_48 = 10000001\n",
            ),
            &[
                (21, "throttle.inside_host", &["is -1"]),
                (22, "throttle.inside_24", &["is 10000001"]),
                (23, "throttle.inside_20", &["is 10000001"]),
                (24, "throttle.outside_host", &["is 10000001"]),
                (25, "throttle.outside_24", &["is 10000001"]),
                (26, "throttle.outside_20", &["is 10000001"]),
                (27, "throttle.limit_secs", &["is 86401", "1 to 86400"]),
                (28, "throttle.outside_16", &["outside"]),
                (29, "throttle.inside_64", &["is 10000001"]),
                (30, "throttle.inside_56", &["is -1"]),
                (31, "throttle.inside_48", &["is 10000001"]),
                (32, "throttle.outside_64", &["is 10000001"]),
                (33, "throttle.outside_56", &["is 10000001"]),
                (34, "throttle.outside_48", &["is 10000001"]),
            ],
        ),
        (
            "Lengths of IPv6 prefixes that nothing is limited by.",
            base_and("[throttle]\ninside_128 = 10\noutside_32 = 10\n"),
            &[
                (21, "throttle.inside_128", &["IPv6", "inside_64"]),
                (22, "throttle.outside_32", &["IPv6", "of outside"]),
            ],
        ),
    ];
    for (sentence, text, expected) in cases {
        expect(sentence, &text, expected);
    }
}

#[test]
fn floods_are_watched_only_where_a_limit_is_set() {
    let features = |text: &str| {
        let config = Config::parse(&base_and(text)).expect("valid").config;
        shape::constants(&config).features
    };
    let throttles = Features::THROTTLE | Features::THROTTLE_IPV6;
    let all = Features::ATTACKS | throttles | Features::OVERLOAD;
    assert!(!features("").has(all), "by default nothing is");
    let cases = [
        ("[guard]\nunsolicited_per_second = 1\n", Features::ATTACKS),
        ("[guard]\nbusy_percent = 90\n", Features::OVERLOAD),
        ("[throttle]\ninside_host = 1\n", Features::THROTTLE),
        ("[throttle]\ninside_24 = 1\n", Features::THROTTLE),
        ("[throttle]\ninside_20 = 1\n", Features::THROTTLE),
        ("[throttle]\noutside_host = 1\n", Features::THROTTLE),
        ("[throttle]\noutside_24 = 1\n", Features::THROTTLE),
        ("[throttle]\noutside_20 = 1\n", Features::THROTTLE),
        ("[throttle]\ninside_64 = 1\n", Features::THROTTLE_IPV6),
        ("[throttle]\ninside_56 = 1\n", Features::THROTTLE_IPV6),
        ("[throttle]\ninside_48 = 1\n", Features::THROTTLE_IPV6),
        ("[throttle]\noutside_64 = 1\n", Features::THROTTLE_IPV6),
        ("[throttle]\noutside_56 = 1\n", Features::THROTTLE_IPV6),
        ("[throttle]\noutside_48 = 1\n", Features::THROTTLE_IPV6),
    ];
    for (text, feature) in cases {
        assert_eq!(features(text).0 & all, feature, "{text}");
    }
}
