//! What is accepted with a warning.

use super::super::Config;
use super::{base_and, base_with};

/// Line, path of a key, part of the message.
type Expected<'a> = (usize, &'a str, &'a str);

#[test]
fn warnings() {
    let cases: [(&str, String, &[Expected<'_>]); 11] = [
        (
            "Short transitory timers are allowed (RFC 7857 section 2.1).",
            base_and("[timeouts]\ntcp_opening_secs = 239\ntcp_closing_secs = 1\n"),
            &[
                (21, "timeouts.tcp_opening_secs", "240 or more"),
                (22, "timeouts.tcp_closing_secs", "240 or more"),
            ],
        ),
        (
            "The recommended values do not warn.",
            base_and("[timeouts]\ntcp_opening_secs = 240\n[hold]\nport_secs = 120\nblock_secs = 120\n"),
            &[],
        ),
        (
            "Short holds.",
            base_and("[hold]\nport_secs = 119\nblock_secs = 0\n"),
            &[
                (21, "hold.port_secs", "120 or more"),
                (22, "hold.block_secs", "120 or more"),
            ],
        ),
        (
            "A pool that nobody uses.",
            base_with("pool = \"business\"", "pool = \"residential\""),
            &[(12, "pool[1].name", "no subscribers use this pool")],
        ),
        (
            "As many subscribers as blocks.",
            base_with("512", "512\nmax_blocks = 256"),
            &[],
        ),
        (
            "More subscribers than max_blocks, which can then be raised.",
            base_with("512", "512\nmax_blocks = 255"),
            &[(9, "pool[0].addresses", "add addresses, raise max_blocks, or make")],
        ),
        (
            "One block more than 17 addresses of 126 blocks have: room to grow.",
            base_with("512", "512\nmax_blocks = 2143"),
            &[(11, "pool[0].max_blocks", "addresses to come")],
        ),
        (
            "As many blocks as the addresses have.",
            base_with("512", "512\nmax_blocks = 2142"),
            &[],
        ),
        (
            "Private and shared addresses in a pool.",
            base_with("\"198.51.100.7\"", "\"10.1.1.1\", \"10.255.255.255-11.0.0.1\", \"100.100.0.0/16\", \"172.32.0.0/16\", \"192.168.0.0/24\"")
                .replace("\"10.1.1.1\", ", ""),
            &[
                (9, "pool[0].addresses[1]", "10.255.255.255-11.0.0.1 has private"),
                (9, "pool[0].addresses[2]", "100.100.0.0/16 has private"),
                (9, "pool[0].addresses[4]", "192.168.0.0/24 has private"),
            ],
        ),
        (
            "A log that does not wait for the disk.",
            base_and("[log]\nsync = \"relaxed\"\n"),
            &[(21, "log.sync", "power failure")],
        ),
        (
            "A switch for tests.",
            base_and("[debug]\nforce_slow_path = true\n"),
            &[(21, "debug.force_slow_path", "many times slower")],
        ),
    ];
    for (sentence, text, expected) in cases {
        let checked = Config::parse(&text).unwrap_or_else(|errors| panic!("{sentence}\n{errors}"));
        let warned: Vec<_> = checked
            .warnings
            .iter()
            .map(|problem| (problem.line.unwrap_or(0), problem.path.as_str()))
            .collect();
        let places: Vec<_> = expected
            .iter()
            .map(|(line, path, _)| (*line, *path))
            .collect();
        assert_eq!(warned, places, "{sentence}");
        for (problem, (_, _, fragment)) in checked.warnings.iter().zip(expected) {
            let said = problem.in_file("f").to_string();
            assert!(
                said.contains(fragment),
                "{sentence}: no {fragment:?} in {said}"
            );
        }
    }
}
