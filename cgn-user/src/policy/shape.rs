//! What the configuration means for tables, allocator and sweep.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use cgn_common::answers::Rates;
use cgn_common::layout::{self, Action, Constants, Features, POOLS, Policy, Ports, SixRd};
use cgn_common::limits::ticks;
use cgn_common::realm::NOBODY;

use cgn_common::verdict::{Direction, Protocol};
use cgn_common::wire::icmp::code;

use super::access::{Lists, Rule};
use super::deterministic::Map;
use super::groups::{Allowance, Group, Groups};
use super::throttle;
use crate::alloc::{HoldPolicy, PoolSpec};
use crate::config::prefix_list::{self, RuleLists};
use crate::config::rules::{BOGONS, PortRange};
use crate::config::{
    self, Checked, Config, Exhausted, Filtering, Icmp, Ipv4Prefix, Ipv4Range, LogMode, Midstream,
    Pool, PoolMode,
};
use crate::dataplane::geometry::{Geometry, PoolShape, SubscriberShape};
use crate::dataplane::sweep::{Logged, PortSet, Timers};
use crate::realms::{InsideKey, Realms};
use crate::routes::{Network, Networks};
use crate::slowpath::fragments;

/// Memory of a released block is not used again for so long: packets in
/// flight may still look at it.
const SLAB_QUARANTINE_MS: u64 = 1_000;

/// Layout of the tables.
#[must_use]
pub fn geometry(checked: &Checked) -> Geometry {
    let pools = checked.config.pool.iter().map(pool_shape).collect();
    let realms = Realms::new(checked.config.realm_networks());
    let ranges = checked.subscribers.iter().flat_map(|subscribers| {
        let (range, pool) = (subscribers.range, subscribers.pool as u8);
        let keys = realms.ranges(subscribers.realm, range.first(), range.last());
        keys.into_iter()
            .map(move |[first, last]| SubscriberShape { first, last, pool })
    });
    let subscribers = ranges.collect();
    let mut geometry = Geometry::of(realms, pools, subscribers);
    geometry.sizes.sessions = checked.config.sessions.max;
    geometry.sizes.datagrams = checked.config.fragments.max_datagrams;
    geometry.groups = groups(&checked.config, &geometry.realms);
    geometry.maps = maps(checked).into_iter().map(|(_, map)| map).collect();
    geometry
}

/// Static ports of the subscribers of each pool that is deterministic, by the pool's name.
#[must_use]
pub fn maps(checked: &Checked) -> Vec<(String, Option<Map>)> {
    let pools = checked.config.pool.iter().enumerate();
    pools
        .map(|(number, pool)| {
            let is_deterministic = pool.mode == PoolMode::Deterministic;
            // It was checked that there is one.
            let map = is_deterministic.then(|| checked.config.map_of(number));
            (pool.name.clone(), map.and_then(Result::ok))
        })
        .collect()
}

/// Where the routes to the subscribers of realms are.
#[must_use]
pub fn networks(config: &Config, realms: &Realms) -> Networks {
    let table = |realm: u8| {
        let at = usize::from(realm).checked_sub(1)?;
        Some(config.realm.get(at)?.table)
    };
    let all = realms.networks().iter().filter_map(|network| {
        Some(Network {
            realm: network.realm,
            table: table(network.realm)?,
            address: network.address,
            key: network.key,
        })
    });
    Networks::new(&all.collect::<Vec<_>>())
}

/// The access lists: rules of the file in their order, then those that come with the program.
#[must_use]
pub fn lists(checked: &Checked) -> Lists {
    let config = &checked.config;
    let no_files = RuleLists::default();
    let rules = config.rule.iter().enumerate().map(|(number, rule)| {
        let files = checked.lists.get(number).unwrap_or(&no_files);
        access_rule(config, rule, files)
    });
    let mut rules: Vec<Rule> = rules.collect();
    if config.access.bogons {
        rules.extend(bogons());
    }
    let subscribers = checked.subscribers.iter().map(|one| ends(one.range));
    Lists::new(&rules, &subscribers.collect::<Vec<_>>())
}

/// First and last address, in host order.
fn ends(range: Ipv4Range) -> (u32, u32) {
    (range.first().to_bits(), range.last().to_bits())
}

fn access_rule(config: &Config, rule: &config::Rule, files: &RuleLists) -> Rule {
    let realm = config.realm_of_rule(rule);
    let realm = realm.and_then(|name| config.realm_number(name));
    let ranges = |prefixes: &[Ipv4Prefix], networks: &[prefix_list::Network]| {
        let prefixes = prefixes.iter().map(|prefix| ends(prefix.range()));
        prefixes
            .chain(networks.iter().map(prefix_list::Network::range))
            .collect()
    };
    let ports = |ports: Option<PortRange>| ports.map_or((0, u16::MAX), |range| (range.0, range.1));
    Rule {
        name: rule.name.clone(),
        direction: rule.direction.into(),
        action: rule.action.into(),
        realm: realm.unwrap_or(layout::Rule::EVERY_REALM),
        group: rule.group.clone(),
        source: match config.group_index(&rule.group) {
            Some(group) => {
                let addresses = config.addresses_of_group(group);
                addresses.ranges().iter().copied().map(ends).collect()
            }
            None => ranges(&rule.source, &files.source),
        },
        destination: ranges(&rule.destination, &files.destination),
        protocol: rule.protocol.map(|protocol| protocol.0),
        ports: Ports::new(ports(rule.source_ports), ports(rule.destination_ports)),
        most: rule.rate.map_or(0, throttle::in_window),
    }
}

/// What cannot come from the internet, or be there.
fn bogons() -> [Rule; 2] {
    let all: Vec<_> = BOGONS.iter().map(prefix_list::Network::range).collect();
    [Direction::Outbound, Direction::Inbound].map(|direction| {
        let (source, destination) = match direction {
            Direction::Outbound => (Vec::new(), all.clone()),
            Direction::Inbound => (all.clone(), Vec::new()),
        };
        Rule {
            name: "bogons".to_owned(),
            direction,
            action: Action::Deny,
            source,
            destination,
            protocol: None,
            ports: Ports::ANY,
            most: 0,
            realm: layout::Rule::EVERY_REALM,
            group: String::new(),
        }
    })
}

/// Who may do what.
fn groups(config: &Config, realms: &Realms) -> Groups {
    // A prefix that is shorter than a network of its realm counts for each of them, unless
    // a longer one does, too: (key, length) to the length that was written.
    let mut longest: HashMap<(InsideKey, u8), u8> = HashMap::new();
    for group in &config.group {
        for (prefix, written) in spread(group, realms) {
            let known = longest.entry(prefix).or_default();
            *known = written.max(*known);
        }
    }
    let groups = config.group.iter().map(|group| {
        let prefixes = spread(group, realms)
            .filter(|(prefix, written)| longest.get(prefix) == Some(written))
            .map(|(prefix, _)| prefix);
        let named = Group {
            name: group.name.clone(),
            allowance: allowance(group),
        };
        (named, prefixes.collect())
    });
    Groups::new(groups.collect())
}

/// Prefixes of a group as the tables know them, each with the length that was written.
fn spread<'a>(
    group: &'a config::Group,
    realms: &'a Realms,
) -> impl Iterator<Item = ((InsideKey, u8), u8)> + 'a {
    let realm = realms.number_of(&group.realm).unwrap_or_default();
    let everyone = group.is_of_realm().then_some((Ipv4Addr::UNSPECIFIED, 0));
    let prefixes = group.prefixes.iter();
    let prefixes = prefixes.map(|prefix| (prefix.range().first(), prefix.length()));
    prefixes.chain(everyone).flat_map(move |(network, length)| {
        let keys = realms.prefixes(realm, network, length);
        keys.into_iter().map(move |key| (key, length))
    })
}

fn allowance(group: &config::Group) -> Allowance {
    Allowance {
        blocks: group.blocks.map(u32::from),
        mappings: [group.tcp_mappings, group.udp_mappings, group.icmp_mappings],
        sessions: group.sessions,
        rate: group.new_per_second.map(|each_second| {
            let twice = each_second.saturating_mul(2);
            (each_second, group.burst.unwrap_or(twice))
        }),
    }
}

/// What the programs are loaded with.
#[must_use]
pub fn constants(config: &Config) -> Constants {
    let mut constants = Constants::PLAIN;
    let (tcp, timeouts) = (&config.tcp, &config.timeouts);
    let policies = config.pool.iter().map(|pool| policy(pool, config));
    for (place, policy) in constants.pools.iter_mut().zip(policies) {
        *place = policy;
    }
    let notes = |policy: &Policy| Protocol::ALL.iter().any(|p| policy.notes_sessions(*p));
    let switches = [
        (constants.pools.iter().any(notes), Features::SESSIONS),
        (tcp.midstream == Midstream::Drop, Features::DROP_MIDSTREAM),
        (timeouts.inbound_refresh, Features::INBOUND_REFRESH),
        (!timeouts.short_udp_ports.is_empty(), Features::SHORT_TIMERS),
        (config.debug.force_slow_path, Features::FORCE_SLOW_PATH),
        (!config.group.is_empty(), Features::QUOTAS),
        (config.scatters(), Features::SCATTERED),
        (!config.realm.is_empty(), Features::REALMS),
        (config.throttle.rates() != [0; 6], Features::THROTTLE),
        (
            config.throttle.rates_ipv6() != [0; 6],
            Features::THROTTLE_IPV6,
        ),
        (
            config.rule.iter().any(|rule| rule.rate.is_some()),
            Features::RATES,
        ),
        (config.guard.unsolicited_per_second > 0, Features::ATTACKS),
        (config.guard.busy_percent > 0, Features::OVERLOAD),
        (
            config.pool.iter().any(|pool| pool.keep_parity),
            Features::PARITY,
        ),
        (
            config.pool.iter().any(|pool| pool.keep_class),
            Features::CLASSES,
        ),
        (
            config.access.bogons || !config.rule.is_empty(),
            Features::ACCESS,
        ),
    ];
    let switches = switches.into_iter().chain(told(&config.icmp));
    let on = switches.filter(|(on, _)| *on);
    let bits = on.fold(0, |bits, (_, feature)| bits | feature);
    constants.six_rd = six_rd(&config.access);
    constants.realms = realms_of_pools(config);
    constants.guards = throttle::guards(&config.throttle, &config.guard);
    constants.features = Features(bits).with_mss(tcp.mss_outbound, tcp.mss_inbound);
    constants
}

/// The realm that each pool serves, if it is one; nothing is asked where there is but one.
fn realms_of_pools(config: &Config) -> [u8; POOLS] {
    let mut realms = [NOBODY; POOLS];
    if config.realm.is_empty() {
        return realms;
    }
    let mut is_known = [false; POOLS];
    for range in config.subscriber_ranges() {
        let (realm, is_known) = (&mut realms[range.pool], &mut is_known[range.pool]);
        *realm = match *is_known && *realm != range.realm {
            true => NOBODY,
            false => range.realm,
        };
        *is_known = true;
    }
    realms
}

/// How the provider's 6rd works.
fn six_rd(access: &config::Access) -> SixRd {
    let Some(prefix) = access.six_rd_prefix else {
        return SixRd::NONE;
    };
    let (common, bits) = access.six_rd_ipv4.map_or((0, 0), |ipv4| {
        (ipv4.range().first().to_bits(), ipv4.length())
    });
    let first = (prefix.address.to_bits() >> 64) as u64;
    SixRd::new(first, prefix.length, common, bits)
}

/// The ends of packets of which senders are told.
fn told(icmp: &Icmp) -> [(bool, u64); 6] {
    [
        (icmp.time_exceeded, Features::TELL_EXPIRED),
        (icmp.fragmentation_needed, Features::TELL_TOO_BIG),
        (icmp.unreachable, Features::TELL_UNREACHABLE),
        (icmp.exhausted != Exhausted::None, Features::TELL_EXHAUSTED),
        (icmp.port_unreachable, Features::TELL_NO_MAPPING),
        (icmp.unsolicited_syn, Features::TELL_SYN),
    ]
}

/// How often they are told.
#[must_use]
pub const fn rates(icmp: &Icmp) -> Rates {
    Rates::new(icmp.each_per_second, icmp.all_per_second)
}

/// Code of the destination unreachable when ports or blocks are used up.
#[must_use]
pub const fn exhausted_code(icmp: &Icmp) -> u8 {
    match icmp.exhausted {
        Exhausted::None | Exhausted::HostUnreachable => code::HOST,
        Exhausted::Prohibited => code::PROHIBITED,
    }
}

fn policy(pool: &Pool, config: &Config) -> Policy {
    let flag = |is_on, flag| if is_on { flag } else { 0 };
    let flags = flag(config.sessions.time_tcp, Policy::TIMED_SESSIONS)
        | pool.arrangement().flag()
        | flag(logs_destinations(config), Policy::LOGGED_SESSIONS)
        | flag(pool.keep_parity, Policy::PARITY);
    Policy::new(
        filtering(pool.filtering),
        filtering(pool.tcp_filtering),
        flags,
    )
}

const fn filtering(filtering: Filtering) -> layout::Filtering {
    match filtering {
        Filtering::EndpointIndependent => layout::Filtering::EndpointIndependent,
        Filtering::AddressDependent => layout::Filtering::AddressDependent,
        Filtering::AddressAndPortDependent => layout::Filtering::AddressAndPortDependent,
    }
}

fn pool_shape(pool: &Pool) -> PoolShape {
    let ports = u32::from(pool.block_ports);
    PoolShape {
        name: pool.name.clone(),
        addresses: pool
            .address_set()
            .ranges()
            .iter()
            .map(|range| (range.first(), range.last()))
            .collect(),
        block_shift: ports.trailing_zeros(),
        blocks_per_subscriber: u32::from(pool.blocks_per_subscriber),
        watermark_ports: match pool.mode {
            PoolMode::Dynamic => (ports * u32::from(pool.watermark_percent) / 100).max(1),
            // Never ahead of need: own ports first, and no record before they are used up
            // (RFC 7422 section 2).
            PoolMode::Deterministic => ports + 1,
        },
        max_blocks: pool.blocks_at_once(),
        arrangement: pool.arrangement(),
    }
}

/// Pools as the allocator wants them.
#[must_use]
pub fn pool_specs(geometry: &Geometry, config: &Config) -> Vec<PoolSpec> {
    let groups = geometry.groups.all().iter();
    let of_groups = groups.filter_map(|group| group.allowance.blocks).max();
    let spec = |(number, (pool, config)): (usize, (&PoolShape, &Pool))| PoolSpec {
        static_blocks: geometry.map(number as u16).map_or(0, Map::reserved_blocks),
        name: pool.name.clone(),
        addresses: pool
            .addresses
            .iter()
            .map(|(first, last)| (first.to_bits(), last.to_bits()))
            .collect(),
        block_ports: 1 << pool.block_shift,
        // The keeper knows what each subscriber may have.
        blocks_per_subscriber: pool.blocks_per_subscriber.max(of_groups.unwrap_or(0)),
        reserved_blocks: config.reserved_blocks(),
        max_blocks: pool.max_blocks,
        scattered: pool.is_scattered(),
    };
    let pools = geometry.pools.iter().zip(&config.pool);
    pools.enumerate().map(spec).collect()
}

/// How long released blocks are held.
#[must_use]
pub fn hold_policy(checked: &Checked) -> HoldPolicy {
    HoldPolicy {
        block_hold_ms: u64::from(checked.config.hold.block_secs) * 1000,
        slab_quarantine_ms: SLAB_QUARANTINE_MS,
        ..HoldPolicy::default()
    }
}

/// What may wait for first fragments, and how long.
#[must_use]
pub fn fragment_limits(checked: &Checked) -> fragments::Limits {
    let config = &checked.config.fragments;
    fragments::Limits {
        fragments: config.max_held as usize,
        bytes: config.max_held_kib as usize * 1024,
        per_source: config.max_held_per_source as usize,
        ticks: ticks(u64::from(config.timeout_secs)),
    }
}

/// Idle times of mappings and hold of ports: of all, and of each group.
#[must_use]
pub fn timers(checked: &Checked) -> (Timers, Vec<Timers>) {
    let all = timers_of_all(checked);
    let secs = |own: Option<u32>, all| own.map_or(all, |secs| ticks(u64::from(secs)));
    let groups = checked.config.group.iter().map(|group| Timers {
        udp: secs(group.udp_secs, all.udp),
        icmp: secs(group.icmp_secs, all.icmp),
        tcp_established: secs(group.tcp_established_secs, all.tcp_established),
        tcp_opening: secs(group.tcp_opening_secs, all.tcp_opening),
        tcp_closing: secs(group.tcp_closing_secs, all.tcp_closing),
        logged: group.log.map_or(all.logged, logged),
        ..all
    });
    (all, groups.collect())
}

const fn logged(mode: LogMode) -> Logged {
    match mode {
        LogMode::None | LogMode::Block | LogMode::Interim => Logged::Nothing,
        LogMode::Session => Logged::Mappings,
        LogMode::SessionWithDestination => Logged::Sessions,
    }
}

/// What is logged of some subscribers or other.
fn log_modes(config: &Config) -> impl Iterator<Item = LogMode> {
    let own = config.group.iter().filter_map(|group| group.log);
    own.chain([config.log.mode])
}

/// Whether mappings or sessions of any subscriber are logged.
#[must_use]
pub fn logs_sessions(config: &Config) -> bool {
    log_modes(config).any(|mode| logged(mode) != Logged::Nothing)
}

/// Whether destinations of any subscriber are.
fn logs_destinations(config: &Config) -> bool {
    log_modes(config).any(|mode| mode == LogMode::SessionWithDestination)
}

fn timers_of_all(checked: &Checked) -> Timers {
    let timeouts = &checked.config.timeouts;
    let secs = |secs: u32| ticks(u64::from(secs));
    Timers {
        udp: secs(timeouts.udp_secs),
        icmp: secs(timeouts.icmp_secs),
        tcp_established: secs(timeouts.tcp_established_secs),
        tcp_opening: secs(timeouts.tcp_opening_secs),
        tcp_closing: secs(timeouts.tcp_closing_secs),
        short_udp: secs(timeouts.short_udp_secs),
        short_udp_ports: PortSet::new(&timeouts.short_udp_ports),
        hold: secs(checked.config.hold.port_secs),
        hold_room: u32::MAX,
        logged: logged(checked.config.log.mode),
    }
}
