//! Configuration and state in the words of RFC 8512 (`ietf-nat`), as RFC 7951 writes them in JSON.
//! docs/operate/yang.md tells what stands for what, and what the model has no word for.

use std::net::Ipv4Addr;

use cgn_common::block::blocks_per_address;
use cgn_common::counters::Counters;
use cgn_common::limits::FIRST_PORT;
use cgn_common::nat::class;
use cgn_common::verdict::{Protocol, Reason};
use cgn_common::wire::transport;
use serde_json::{Value, json};

use crate::config::{Config, Filtering, Pool};
use crate::dataplane::geometry::{Geometry, PoolShape};
use crate::slowpath::unsolicited::PATIENCE_SECS;
use crate::state::{State, Stats};
use crate::utc::Utc;

/// The one instance, which all realms share.
#[must_use]
pub fn ietf_nat(state: &State) -> Value {
    let config = &state.config.config;
    let stats = state.stats().clone();
    let mut counters = (state.fast_path_counters)();
    counters.merge(&stats.slow_path);
    let mut pool_ids = 1..;
    let pools = config.pool.iter().zip(&state.geometry.pools);
    let policies: Vec<Value> = (1_u32..)
        .zip(pools)
        .map(|(id, (pool, shape))| {
            let served = state.config.subscribers.iter();
            let served = served.filter(|range| range.pool == id as usize - 1);
            let served = served.map(|range| (range.range.first(), range.range.last()));
            policy(id, config, pool, (shape, served), &mut pool_ids)
        })
        .collect();
    let mut instance = json!({
        "id": 1,
        "name": "cgn",
        "enable": true,
        "capabilities": capabilities(),
        "type": "ietf-nat:napt44",
        "policy": policies,
        "mapping-limits": limits(state),
        "statistics": {
            "discontinuity-time": Utc(state.started_unix_ms).to_string(),
            "traffic-statistics": traffic(&counters),
            "mappings-statistics": mappings(&stats),
            "pools-stats": pools_stats(&state.geometry, &stats),
        },
    });
    if config.log.notice_secs > 0 {
        instance["notification-limits"] = json!({"notify-interval": config.log.notice_secs});
    }
    json!({"ietf-nat:nat": {"instances": {"instance": [instance]}}})
}

/// Number of the IPv4 protocol.
const fn number_of(protocol: Protocol) -> u8 {
    match protocol {
        Protocol::Tcp => transport::TCP,
        Protocol::Udp => transport::UDP,
        Protocol::Icmp => transport::ICMP,
    }
}

fn protocols() -> Vec<Value> {
    let all = Protocol::ALL.into_iter();
    all.map(|one| json!({"protocol-id": number_of(one), "protocol-name": one.name()}))
        .collect()
}

fn capabilities() -> Value {
    json!({
        "nat-flavor": ["ietf-nat:napt44"],
        "transport-protocols": protocols(),
        "restricted-port-support": true,
        "static-mapping-support": false,
        "port-randomization-support": true,
        "port-range-allocation-support": true,
        "port-preservation-suport": false,
        "port-parity-preservation-support": true,
        "address-roundrobin-support": false,
        "paired-address-pooling-support": true,
        "endpoint-independent-mapping-support": true,
        "address-dependent-mapping-support": false,
        "address-and-port-dependent-mapping-support": false,
        "endpoint-independent-filtering-support": true,
        "address-dependent-filtering": true,
        "address-and-port-dependent-filtering": true,
        "fragment-behavior": "out-of-order",
    })
}

/// A pool with the subscribers that it serves.
fn policy(
    id: u32,
    config: &Config,
    pool: &Pool,
    (shape, served): (&PoolShape, impl Iterator<Item = (Ipv4Addr, Ipv4Addr)>),
    pool_ids: &mut impl Iterator<Item = u32>,
) -> Value {
    let ranges = shape.addresses.iter();
    let parts = ranges.flat_map(|(first, last)| prefixes(*first, *last));
    let external: Vec<Value> = pool_ids
        .zip(parts)
        .map(|(id, prefix)| json!({"pool-id": id, "external-ip-pool": prefix}))
        .collect();
    let subnets = served.flat_map(|(first, last)| prefixes(first, last));
    let subscribers: Vec<Value> = (1_u32..)
        .zip(subnets)
        .map(|(id, subnet)| json!({"match-id": id, "subnet": subnet}))
        .collect();
    let quota = u32::from(pool.block_ports) * u32::from(pool.blocks_per_subscriber);
    let quotas: Vec<Value> = Protocol::ALL
        .iter()
        .map(|one| json!({"quota-type": number_of(*one), "port-limit": quota}))
        .collect();
    let (lowest, highest) = match pool.keep_class {
        true => (class::LOWEST_PORT, class::HIGHEST_PORT),
        false => (FIRST_PORT, u16::MAX),
    };
    let mut policy = json!({
        "id": id,
        "external-ip-address-pool": external,
        "port-set-restrict": {"start-port-number": lowest, "end-port-number": highest},
        "transport-protocols": protocols(),
        "subscriber-match": subscribers,
        "address-allocation-type": "paired",
        "port-allocation-type": "port-range-allocation",
        "mapping-type": "eim",
        "fragment-behavior": "out-of-order",
        "port-quota": quotas,
        "port-set": {
            "port-set-size": pool.block_ports,
            "port-set-timeout": config.hold.block_idle_secs,
        },
        "timers": timers(config),
        "fragments-limit": config.fragments.max_held,
    });
    // The model has one word for both protocols.
    if pool.filtering == pool.tcp_filtering {
        policy["filtering-type"] = json!(match pool.filtering {
            Filtering::EndpointIndependent => "eif",
            Filtering::AddressDependent => "adf",
            Filtering::AddressAndPortDependent => "edf",
        });
    }
    if pool.high_percent > 0 {
        policy["notify-pool-usage"] =
            json!({"low-threshold": pool.low_percent, "high-threshold": pool.high_percent});
    }
    policy
}

fn timers(config: &Config) -> Value {
    let (timeouts, hold) = (&config.timeouts, &config.hold);
    let short = timeouts.short_udp_ports.iter();
    let short: Vec<Value> = short
        .map(|port| {
            let udp = number_of(Protocol::Udp);
            json!({"port-number": port, "protocol": udp, "timeout": timeouts.short_udp_secs})
        })
        .collect();
    let mut timers = json!({
        "udp-timeout": timeouts.udp_secs,
        "tcp-idle-timeout": timeouts.tcp_established_secs,
        "tcp-trans-open-timeout": timeouts.tcp_opening_secs,
        "tcp-trans-close-timeout": timeouts.tcp_closing_secs,
        "tcp-in-syn-timeout": PATIENCE_SECS,
        "fragment-min-timeout": config.fragments.timeout_secs,
        "icmp-timeout": timeouts.icmp_secs,
        "per-port-timeout": short,
        "hold-down-timeout": hold.port_secs,
    });
    if hold.max_ports > 0 {
        timers["hold-down-max"] = json!(hold.max_ports);
    }
    timers
}

/// What the tables have room for.
fn limits(state: &State) -> Value {
    let addresses: u64 = state.geometry.subscribers.iter().map(subscribers_of).sum();
    let pools = state.geometry.pools.iter();
    let ports: u64 = pools
        .map(|pool| u64::from(pool.max_blocks) << pool.block_shift)
        .sum();
    let each: Vec<Value> = Protocol::ALL
        .iter()
        .map(|one| json!({"protocol-id": number_of(*one), "limit": gauge(ports)}))
        .collect();
    json!({
        "limit-subscribers": gauge(addresses),
        "limit-address-mappings": gauge(addresses),
        "limit-port-mappings": gauge(3 * ports),
        "limit-per-protocol": each,
    })
}

fn subscribers_of(range: &crate::dataplane::geometry::SubscriberShape) -> u64 {
    u64::from(range.last.to_bits() - range.first.to_bits()) + 1
}

/// What was translated and dropped, in both paths.
fn traffic(counters: &Counters) -> Value {
    let sum = |counts: [u64; 3]| counter(counts.iter().sum());
    let dropped = |reasons: &[Reason]| {
        let counts = reasons.iter().map(|reason| counters.ended(*reason));
        counter(counts.sum())
    };
    json!({
        "sent-packets": sum(counters.packets[0]),
        "sent-bytes": sum(counters.bytes[0]),
        "rcvd-packets": sum(counters.packets[1]),
        "rcvd-bytes": sum(counters.bytes[1]),
        "dropped-packets": counter(counters.drops.as_flattened().iter().sum()),
        "dropped-fragments": dropped(&[
            Reason::Fragment,
            Reason::TinyFragment,
            Reason::BadFragment,
            Reason::FragmentOverlap,
            Reason::FragmentConflict,
            Reason::FragmentLimit,
            Reason::FragmentExpired,
        ]),
        "dropped-address-packets": dropped(&[Reason::NoBlock]),
        "dropped-port-limit-packets":
            dropped(&[Reason::MappingLimit, Reason::MappingRate, Reason::SessionLimit]),
        "dropped-port-packets": dropped(&[Reason::NoPort]),
    })
}

fn mappings(stats: &Stats) -> Value {
    let live = stats.mappings();
    let subscribers: u64 = stats
        .pools
        .iter()
        .map(|pool| u64::from(pool.status.subscribers))
        .sum();
    let each: Vec<Value> = Protocol::ALL
        .iter()
        .map(|one| json!({"protocol-id": number_of(*one), "total": gauge(live[*one as usize])}))
        .collect();
    json!({
        "total-active-subscribers": gauge(subscribers),
        "total-address-mappings": gauge(subscribers),
        "total-port-mappings": gauge(live.iter().sum()),
        "total-per-protocol": each,
    })
}

fn pools_stats(geometry: &Geometry, stats: &Stats) -> Value {
    let (mut addresses, mut ports) = ([0, 0], [0, 0]);
    for (number, shape) in geometry.pools.iter().enumerate() {
        let status = stats.pool(number).status;
        let count = u64::from(shape.address_count());
        let blocks = count * u64::from(blocks_per_address(shape.block_shift));
        addresses[0] += u64::from(status.addresses_used);
        addresses[1] += count;
        ports[0] += status.blocks_used << shape.block_shift;
        ports[1] += blocks << shape.block_shift;
    }
    json!({
        "addresses-allocated": gauge(addresses[0]),
        "addresses-free": gauge(addresses[1].saturating_sub(addresses[0])),
        "ports-stats": {
            "ports-allocated": gauge(ports[0]),
            "ports-free": gauge(ports[1].saturating_sub(ports[0])),
        },
    })
}

/// 64-bit numbers are strings (RFC 7951 section 6.1).
fn counter(count: u64) -> Value {
    json!(count.to_string())
}

/// A `gauge32` stays at its largest value (RFC 6991).
fn gauge(count: u64) -> Value {
    json!(u32::try_from(count).unwrap_or(u32::MAX))
}

/// The fewest prefixes that are together the addresses from `first` to `last`.
fn prefixes(first: Ipv4Addr, last: Ipv4Addr) -> Vec<String> {
    let (mut next, last) = (u64::from(first.to_bits()), u64::from(last.to_bits()));
    let mut all = Vec::new();
    while next <= last {
        let aligned = next.trailing_zeros().min(32);
        let fits = (last - next + 1).ilog2();
        let host_bits = aligned.min(fits);
        let address = Ipv4Addr::from_bits(next as u32);
        all.push(format!("{address}/{}", 32 - host_bits));
        next += 1 << host_bits;
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_the_fewest_prefixes() {
        let address = |last| Ipv4Addr::new(203, 0, 113, last);
        let end = |last| Ipv4Addr::new(255, 255, 255, last);
        let ragged = "203.0.113.3/32 203.0.113.4/30 203.0.113.8/31";
        let cases = [
            ("a network", address(0), address(255), "203.0.113.0/24"),
            ("one address", address(5), address(5), "203.0.113.5/32"),
            (
                "what begins and ends anywhere",
                address(3),
                address(9),
                ragged,
            ),
            (
                "to the last address",
                end(254),
                end(255),
                "255.255.255.254/31",
            ),
        ];
        for (sentence, first, last, expected) in cases {
            let all = prefixes(first, last).join(" ");
            assert_eq!(all, expected, "{sentence}");
        }
    }
}
