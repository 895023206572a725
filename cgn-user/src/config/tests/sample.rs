//! The sample file, the defaults, and what a configuration provides.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use super::super::capacity::{DEFAULT_MAX_BLOCKS, PORTS_PER_ADDRESS};
use super::super::{
    Config, Control, Debug, Fragments, Guard, Hold, Icmp, Identity, Log, Metrics, Pool, Sessions,
    Sink, Tcp, Throttle, Timeouts, Xdp,
};
use super::{BASE, base_with};

#[test]
fn the_sample_is_valid_without_warnings() {
    let checked = Config::parse(Config::SAMPLE).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(checked.warnings, []);
}

/// The dotted keys of a table; elements of lists of tables share one path.
fn keys(prefix: &str, table: &toml::Table, found: &mut BTreeSet<String>) {
    for (key, value) in table {
        let path = format!("{prefix}.{key}");
        match value {
            toml::Value::Table(inner) => keys(&path, inner, found),
            toml::Value::Array(elements) => {
                for element in elements {
                    if let toml::Value::Table(inner) = element {
                        keys(&path, inner, found);
                    }
                }
            }
            _ => {}
        }
        found.insert(path);
    }
}

/// The sample with the sections that are commented out.
fn whole_sample() -> String {
    let lines = Config::SAMPLE
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(rest) if rest.starts_with(|c: char| c == '[' || c.is_ascii_lowercase()) => rest,
            _ => line,
        });
    lines.map(|line| format!("{line}\n")).collect()
}

#[test]
fn what_is_commented_out_is_valid_and_shows_the_defaults() {
    let checked = Config::parse(&whole_sample()).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(checked.warnings, []);
    let sink = &checked.config.sink[0];
    assert_eq!(sink.domain, Sink::default_domain());
    assert_eq!(sink.template_secs, Sink::default_template_secs());
    assert_eq!(sink.datagram_bytes, Sink::default_datagram_bytes());
    assert_eq!(sink.interim_secs, 0);
    assert_eq!(
        Config::parse(Config::SAMPLE).expect("valid").config.sink,
        []
    );
}

fn keys_of(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    keys("", &text.parse().expect("TOML"), &mut found);
    found
}

#[test]
fn every_key_of_the_structs_stands_in_the_sample() {
    let mut config = Config::parse(BASE).expect("valid").config;
    config.pool[0].max_blocks = Some(1);
    config.pool[0].reserved_ports = vec![5060];
    let whole = Config::parse(&whole_sample()).expect("valid").config;
    (config.sink, config.group, config.rule) = (whole.sink, whole.group, whole.rule);
    (config.control, config.access) = (whole.control, whole.access);
    (config.mirror, config.identity) = (whole.mirror, whole.identity);
    let written = toml::to_string(&config).expect("serializes");
    assert_eq!(keys_of(&written), keys_of(&whole_sample()));
}

#[test]
fn the_sample_shows_the_defaults() {
    let config = Config::parse(Config::SAMPLE).expect("valid").config;
    assert_eq!(config.xdp, Xdp::default());
    assert_eq!(config.guard, Guard::default());
    assert_eq!(config.throttle, Throttle::default());
    assert_eq!(config.tcp, Tcp::default());
    assert_eq!(config.icmp, Icmp::default());
    assert_eq!(config.sessions, Sessions::default());
    assert_eq!(config.fragments, Fragments::default());
    assert_eq!(config.timeouts, Timeouts::default());
    assert_eq!(config.hold, Hold::default());
    assert_eq!(config.log, Log::default());
    assert_eq!(config.identity, Identity::default());
    assert_eq!(config.metrics, Metrics::default());
    assert_eq!(config.control, Control::default());
    assert_eq!(config.debug, Debug::default());
    let shown = config.pool[0].clone();
    let without = Pool {
        block_ports: Pool::default_block_ports(),
        blocks_per_subscriber: Pool::default_blocks_per_subscriber(),
        watermark_percent: Pool::default_watermark_percent(),
        high_percent: Pool::default_high_percent(),
        low_percent: Pool::default_low_percent(),
        max_blocks: None,
        reserved_ports: Vec::new(),
        keep_parity: false,
        keep_class: false,
        ..shown.clone()
    };
    assert_eq!(shown.max_blocks, Some(without.blocks_at_once()));
    assert_eq!(
        Pool {
            max_blocks: None,
            ..shown
        },
        without
    );
}

#[test]
fn what_is_left_out_has_its_default() {
    let config = Config::parse(BASE).expect("valid").config;
    assert_eq!(config.timeouts, Timeouts::default());
    assert_eq!(config.hold, Hold::default());
    assert_eq!(config.pool[1].block_ports, 512);
    assert_eq!(config.pool[1].blocks_per_subscriber, 4);
    assert_eq!(config.pool[1].watermark_percent, 80);
    assert_eq!(config.pool[1].max_blocks, None);
}

#[test]
fn the_reader_and_serde_agree() {
    for text in [BASE, Config::SAMPLE] {
        let read = Config::parse(text).expect("valid").config;
        let deserialized: Config = toml::from_str(text).expect("deserializes");
        assert_eq!(read, deserialized);
        let written = toml::to_string(&read).expect("serializes");
        assert_eq!(Config::parse(&written).expect("valid").config, read);
    }
    let unknown = base_with("vlan", "vlam");
    assert!(toml::from_str::<Config>(&unknown).is_err());
}

#[test]
fn blocks_and_memory() {
    // Block size, blocks per address, bytes per block.
    let cases = [
        (64, 1008, 3152),
        (128, 504, 6304),
        (256, 252, 12608),
        (512, 126, 25216),
        (1024, 63, 50432),
    ];
    for (block_ports, blocks, bytes) in cases {
        let text = base_with("block_ports = 512", &format!("block_ports = {block_ports}"));
        let pool = &Config::parse(&text).expect("valid").config.pool[0];
        assert_eq!(pool.blocks_per_address(), blocks, "{block_ports} ports");
        assert!(blocks * u32::from(pool.block_ports) <= PORTS_PER_ADDRESS);
        assert!((blocks + 1) * u32::from(pool.block_ports) > PORTS_PER_ADDRESS);
        assert_eq!(pool.block_bytes(), bytes, "{block_ports} ports");
        assert_eq!(pool.total_blocks(), 17 * u64::from(blocks));
        let at_once = (17 * blocks).min(16384);
        assert_eq!(pool.blocks_at_once(), at_once, "{block_ports} ports");
        assert_eq!(pool.slot_bytes(), u64::from(at_once) * bytes);
    }
}

#[test]
fn a_large_pool_is_capped_unless_it_asks_for_more() {
    let large = base_with("203.0.113.0/28", "8.0.0.0/8");
    let pool = &Config::parse(&large).expect("valid").config.pool[0];
    assert_eq!(pool.address_count(), 16_777_217);
    assert_eq!(pool.total_blocks(), 16_777_217 * 126);
    assert_eq!(pool.blocks_at_once(), DEFAULT_MAX_BLOCKS);
    let asked = large.replace("512", "512\nmax_blocks = 20000");
    let pool = &Config::parse(&asked).expect("valid").config.pool[0];
    assert_eq!(pool.blocks_at_once(), 20000);
}

#[test]
fn the_capacity_prints_what_each_pool_has() {
    let capacity = Config::parse(BASE).expect("valid").config.capacity();
    assert_eq!(
        capacity.to_string(),
        "pool residential: 17 addresses for 256 subscribers, 2142 blocks of 512 ports, 2142 at once, 51.5 MiB of slots\n\
         pool business: 7 addresses for 256 subscribers, 882 blocks of 512 ports, 882 at once, 21.2 MiB of slots\n\
         slot memory of all pools: 72.7 MiB"
    );
    assert_eq!(capacity.slot_bytes(), (2142 + 882) * 25216);
}

#[test]
fn subscribers_are_sorted_and_know_their_pool() {
    let text = base_with("\"100.64.0.0/24\"", "\"100.66.0.0/30\", \"10.0.0.0/8\"");
    let subscribers = Config::parse(&text).expect("valid").subscribers;
    let listed: Vec<(Ipv4Addr, Ipv4Addr, usize)> = subscribers
        .iter()
        .map(|entry| (entry.range.first(), entry.range.last(), entry.pool))
        .collect();
    assert_eq!(
        listed,
        [
            ([10, 0, 0, 0].into(), [10, 255, 255, 255].into(), 0),
            ([100, 65, 0, 0].into(), [100, 65, 0, 255].into(), 1),
            ([100, 66, 0, 0].into(), [100, 66, 0, 3].into(), 0),
        ]
    );
}
