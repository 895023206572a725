//! Scattered blocks: what is refused, and what the programs are told.

use cgn_common::layout::{Features, Policy};

use super::super::Config;
use super::{BASE, Expected, base_and, base_with, expect};
use crate::policy::shape;

#[test]
fn values_that_are_refused() {
    let sink = |format: &str| {
        let sink = format!(
            "[[sink]]\nname = \"a\"\nformat = \"{format}\"\ntransport = \"udp\"\naddress = \"192.0.2.9:4739\"\n"
        );
        base_and(&sink).replacen("512", "512\nport_mode = \"scattered\"", 1)
    };
    let cases: [(&str, String, &[Expected<'_>]); 4] = [
        (
            "A mode that there is not.",
            base_with("512", "512\nport_mode = \"random\""),
            &[(
                11,
                "pool[0].port_mode",
                &["random", "\"contiguous\" or \"scattered\""],
            )],
        ),
        (
            "More keys than the log has numbers for.",
            base_and("[scatter]\nkey_days = 6\n"),
            &[(21, "scatter.key_days", &["is 6", "7 to 3650", "or 0"])],
        ),
        (
            "A collector that knows only ranges.",
            sink("ipfix"),
            &[(
                23,
                "sink[0].format",
                &["ranges", "residential", "\"jsonl\""],
            )],
        ),
        (
            "Another one.",
            sink("netflow9"),
            &[(23, "sink[0].format", &["ranges", "\"syslog\""])],
        ),
    ];
    for (what, text, expected) in cases {
        expect(what, &text, expected);
    }
}

#[test]
fn each_pool_is_scattered_as_it_says_and_nothing_of_it_is_left_where_none_is() {
    let constants = shape::constants(&Config::parse(BASE).unwrap().config);
    assert!(!constants.features.has(Features::SCATTERED));
    assert!(!constants.pools[0].has(Policy::SCATTERED));
    let text = base_with("512", "512\nport_mode = \"scattered\"");
    let checked = Config::parse(&text).unwrap();
    let constants = shape::constants(&checked.config);
    assert!(constants.features.has(Features::SCATTERED));
    assert!(constants.pools[0].has(Policy::SCATTERED));
    let geometry = [
        shape::geometry(&checked),
        shape::geometry(&Config::parse(BASE).unwrap()),
    ];
    let elements = geometry
        .each_ref()
        .map(|geometry| geometry.sizes.scatterings);
    assert_eq!(elements, [geometry[0].sizes.externals, 1]);
    assert_ne!(geometry[0].layout_word(), geometry[1].layout_word());
}
