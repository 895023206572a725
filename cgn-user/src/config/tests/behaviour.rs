//! How packets are treated: filtering, TCP, sessions, timers. What is refused,
//! and what the programs and the sweep are told.

use cgn_common::answers::Rates;
use cgn_common::layout::{Constants, Features, Filtering, Policy};
use cgn_common::limits::ticks;
use cgn_common::verdict::{Direction, Protocol};

use super::super::Config;
use super::{BASE, Expected, base_and, base_with, expect};
use crate::policy::shape;

#[test]
fn values_that_are_refused() {
    let cases: [(&str, String, &[Expected<'_>]); 15] = [
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
    let timers = shape::timers(&Config::parse(&text).expect("valid"));
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
