//! Deterministic pools: what is refused, and the map that the file makes.

use super::super::Config;
use super::{BASE, Expected, base_with, expect};
use crate::policy::shape;

/// `BASE` with these keys in its first pool.
fn pool_with(keys: &str) -> String {
    base_with("block_ports = 512", keys)
}

#[test]
fn values_that_are_refused() {
    let cases: [(&str, String, &[Expected<'_>]); 6] = [
        (
            "A mode that there is not.",
            pool_with("mode = \"static\""),
            &[(
                10,
                "pool[0].mode",
                &["static", "\"dynamic\" or \"deterministic\""],
            )],
        ),
        (
            "More shares than ports.",
            pool_with("dynamic_factor = 64513"),
            &[(10, "pool[0].dynamic_factor", &["0 to 64512"])],
        ),
        (
            "Scattered static ports.",
            pool_with("mode = \"deterministic\"\nport_mode = \"scattered\""),
            &[(10, "pool[0].mode", &["cannot be scattered"])],
        ),
        (
            "Shares smaller than a block.",
            pool_with("mode = \"deterministic\"\nblock_ports = 1024\ndynamic_factor = 60"),
            &[(10, "pool[0].mode", &["848 ports for each", "1024"])],
        ),
        (
            "Shares larger than a subscriber's blocks.",
            pool_with("mode = \"deterministic\"\nblock_ports = 512"),
            &[(10, "pool[0].mode", &["share of 7 blocks", "the 4"])],
        ),
        (
            "Too few blocks at once.",
            pool_with("mode = \"deterministic\"\nblock_ports = 1024\nmax_blocks = 767"),
            &[(10, "pool[0].mode", &["768 static blocks", "max_blocks"])],
        ),
    ];
    for (what, text, expected) in cases {
        expect(what, &text, expected);
    }
}

/// 256 subscribers on 17 addresses are 16 for each; with one share more 64512 / 17 = 3794 ports.
#[test]
fn the_map_follows_from_the_file() {
    let text = pool_with("mode = \"deterministic\"\nblock_ports = 1024");
    let checked = Config::parse(&text).unwrap();
    let maps = shape::maps(&checked);
    let map = maps[0].1.as_ref().unwrap();
    assert_eq!(
        (map.compression, map.dynamic_factor, map.static_blocks),
        (16, 1, 3)
    );
    assert_eq!(
        (map.most_ports, map.algorithm, map.first_port),
        (4096, 0, 1024)
    );
    let share = map.forward([100, 64, 0, 17].into()).unwrap();
    // Addresses in ascending order: 198.51.100.7 comes first.
    assert_eq!(share.external, std::net::Ipv4Addr::new(203, 0, 113, 0));
    assert_eq!(
        (share.first_port, share.last_port),
        (1024 + 3072, 1024 + 6143)
    );
    assert!(maps[1].1.is_none(), "the other pool is dynamic");
    let (new, old) = (
        shape::geometry(&checked),
        shape::geometry(&Config::parse(BASE).unwrap()),
    );
    assert_ne!(new.layout_word(), old.layout_word());
    assert!(new.is_static(0, 47) && !new.is_static(0, 48) && !new.is_static(1, 0));
}
