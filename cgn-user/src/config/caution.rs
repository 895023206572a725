//! What is allowed but often a mistake. Looks only at configurations that passed the validation.

use std::net::Ipv4Addr;

use super::address::Ipv4Range;
use super::fault::{Fault, Findings};
use super::limit::{HOLD_RECOMMENDED_SECS, TCP_TRANSITORY_RECOMMENDED_SECS};
use super::place::KeyPath;
use super::schema::{Config, LogSync, OnFull, Pool};

pub(super) fn examine(config: &Config, cautions: &mut Findings) {
    let subscriber_counts = config.subscriber_counts();
    for (index, (pool, subscribers)) in config.pool.iter().zip(subscriber_counts).enumerate() {
        let path = KeyPath::from(format!("pool[{index}]"));
        examine_size(&path, pool, subscribers, cautions);
        examine_private(&path, pool, cautions);
    }
    let timeouts = &config.timeouts;
    for (path, secs) in [
        ("timeouts.tcp_opening_secs", timeouts.tcp_opening_secs),
        ("timeouts.tcp_closing_secs", timeouts.tcp_closing_secs),
    ] {
        if secs < TCP_TRANSITORY_RECOMMENDED_SECS {
            cautions.add(path.into(), Fault::ShortTransitory { secs });
        }
    }
    for (path, secs) in [
        ("hold.port_secs", config.hold.port_secs),
        ("hold.block_secs", config.hold.block_secs),
    ] {
        if secs < HOLD_RECOMMENDED_SECS {
            cautions.add(path.into(), Fault::ShortHold { secs });
        }
    }
    if config.log.sync == LogSync::Relaxed {
        cautions.add("log.sync".into(), Fault::LogRelaxed);
    }
    if config.log.on_full == OnFull::Continue {
        cautions.add("log.on_full".into(), Fault::LogMayLack);
    }
    if config.debug.force_slow_path {
        cautions.add("debug.force_slow_path".into(), Fault::ForcedSlowPath);
    }
}

fn examine_size(path: &KeyPath, pool: &Pool, subscribers: u64, cautions: &mut Findings) {
    let (value, total) = (pool.blocks_at_once(), pool.total_blocks());
    if u64::from(value) > total {
        cautions.add(path.key("max_blocks"), Fault::RoomToGrow { value, total });
    }
    let to_give = u32::try_from(pool.blocks_to_give()).unwrap_or(u32::MAX);
    let blocks = pool.blocks_at_once().min(to_give);
    if subscribers == 0 {
        cautions.add(path.key("name"), Fault::UnusedPool);
    } else if subscribers > u64::from(blocks) {
        let capped = blocks < to_give;
        let fault = Fault::MoreSubscribersThanBlocks {
            subscribers,
            blocks,
            capped,
        };
        cautions.add(path.key("addresses"), fault);
    }
}

fn examine_private(path: &KeyPath, pool: &Pool, cautions: &mut Findings) {
    for (index, span) in pool.addresses.iter().enumerate() {
        if has_private(&span.range()) {
            let written = span.to_string();
            let path = path.key("addresses").index(index);
            cautions.add(path, Fault::PrivatePool { written });
        }
    }
}

/// RFC 1918 section 3 and RFC 6598 section 7.
fn has_private(range: &Ipv4Range) -> bool {
    [
        ([10, 0, 0, 0], [10, 255, 255, 255]),
        ([100, 64, 0, 0], [100, 127, 255, 255]),
        ([172, 16, 0, 0], [172, 31, 255, 255]),
        ([192, 168, 0, 0], [192, 168, 255, 255]),
    ]
    .into_iter()
    .filter_map(|(first, last)| Ipv4Range::new(Ipv4Addr::from(first), Ipv4Addr::from(last)))
    .any(|private| private.overlaps(range))
}
