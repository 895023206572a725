//! What a deterministic pool must fulfil.

use super::fault::{Fault, Findings};
use super::limit;
use super::place::KeyPath;
use super::schema::{Config, Pool, PoolMode, PortMode};
use super::validate::check_limit;

/// Comes last: the map needs addresses, prefixes and blocks that are sound.
pub(super) fn validate(config: &Config, findings: &mut Findings) {
    let is_sound = findings.is_empty();
    for (number, pool) in config.pool.iter().enumerate() {
        let section = KeyPath::from(format!("pool[{number}]"));
        let key = section.key("dynamic_factor");
        check_limit(key, pool.dynamic_factor, &limit::DYNAMIC_FACTOR, findings);
        if pool.mode == PoolMode::Deterministic {
            check(config, number, pool, is_sound, findings);
        }
    }
}

fn check(config: &Config, number: usize, pool: &Pool, is_sound: bool, findings: &mut Findings) {
    let key = KeyPath::from(format!("pool[{number}]")).key("mode");
    if pool.port_mode == PortMode::Scattered {
        findings.add(key, Fault::DeterministicScattered);
        return;
    }
    if !is_sound {
        return;
    }
    match config.map_of(number) {
        Err(error) => findings.add(key, Fault::Deterministic(error)),
        Ok(map) => {
            let subscribers = config.subscriber_counts()[number];
            let needed = subscribers * u64::from(map.static_blocks);
            if needed > u64::from(pool.blocks_at_once()) {
                findings.add(key, Fault::DeterministicBlocks { needed });
            }
        }
    }
}
