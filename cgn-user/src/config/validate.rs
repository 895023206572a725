//! What a configuration must fulfil. Every check that fails is put down; a check whose input could
//! not be read, or failed a check of its own, is left out, because its answer would mislead.

use std::fmt::Display;
use std::net::Ipv4Addr;
use std::os::unix::ffi::OsStrExt;

use cgn_common::nat::class;

use super::address::Ipv4Range;
use super::deterministic;
use super::fault::{Fault, Findings};
use super::groups;
use super::identity;
use super::limit::{self, Limit};
use super::mirrors;
use super::overlap;
use super::place::KeyPath;
use super::reader::nearest_name;
use super::realms;
use super::rules;
use super::schema::{Config, Control, LogMode, Pool, PoolMode, PortMode, Side, Subscribers};
use super::sinks;
use crate::dataplane::geometry::Arrangement;

/// IFNAMSIZ without the closing zero byte.
const LONGEST_INTERFACE_BYTES: usize = 15;
/// An outer and an inner VLAN tag.
const MOST_TAGS: usize = 2;
const LONGEST_POOL_NAME: usize = 63;
/// `sun_path` of a Unix socket address without the closing zero byte.
const LONGEST_SOCKET_PATH_BYTES: usize = 107;

pub(super) fn validate(config: &Config, findings: &mut Findings) {
    check_presence(config, findings);
    check_pools_exist(config, findings);
    check_side("inside", &config.inside, findings);
    check_side("outside", &config.outside, findings);
    check_sides_differ(config, findings);
    for (index, pool) in config.pool.iter().enumerate() {
        check_pool(&format!("pool[{index}]"), pool, findings);
    }
    check_pool_names(config, findings);
    for (index, subscribers) in config.subscribers.iter().enumerate() {
        check_prefixes(&format!("subscribers[{index}]"), subscribers, findings);
    }
    overlap::check_overlaps(config, findings);
    realms::validate(config, findings);
    check_tcp(config, findings);
    check_numbers(config, findings);
    groups::validate(config, findings);
    rules::validate(config, findings);
    identity::validate(config, findings);
    sinks::validate(config, findings);
    mirrors::validate(config, findings);
    check_daemon(config, findings);
    deterministic::validate(config, findings);
}

pub(super) fn check_side(section: &str, side: &Side, findings: &mut Findings) {
    let path = KeyPath::from(format!("{section}.interface"));
    if findings.sound(&path)
        && let Some(reason) = interface_name_fault(&side.interface)
    {
        let name = side.interface.clone();
        findings.add(path, Fault::InterfaceName { name, reason });
    }
    for (index, id) in side.vlan.iter().enumerate() {
        let path = format!("{section}.vlan[{index}]");
        check_limit(path.into(), u32::from(*id), &limit::VLAN_ID, findings);
    }
    if side.vlan.len() > MOST_TAGS {
        let (count, most) = (side.vlan.len(), MOST_TAGS);
        let path = KeyPath::from(format!("{section}.vlan"));
        findings.add(path, Fault::TooManyTags { count, most });
    }
}

/// The kernel's own rules for names (`dev_valid_name`), and no control characters.
pub(super) fn interface_name_fault(name: &str) -> Option<&'static str> {
    if name.is_empty() {
        Some("it is empty")
    } else if name.len() > LONGEST_INTERFACE_BYTES {
        Some("it has more than 15 bytes")
    } else if name == "." || name == ".." {
        Some("it is a directory's name")
    } else if name.contains(['/', ':']) {
        Some("it has a slash or a colon")
    } else if name.contains(|c: char| c.is_whitespace() || c.is_control()) {
        Some("it has a space or a control character")
    } else {
        None
    }
}

fn check_sides_differ(config: &Config, findings: &mut Findings) {
    let known = ["inside", "outside"]
        .into_iter()
        .all(|section| findings.sound(&section.into()));
    if known && config.inside == config.outside {
        let (interface, vlan) = (
            config.outside.interface.clone(),
            config.outside.vlan.clone(),
        );
        let path = KeyPath::from("outside.interface");
        findings.add(path, Fault::SameSides { interface, vlan });
    }
}

fn check_pool(section: &str, pool: &Pool, findings: &mut Findings) {
    let key = |key: &str| KeyPath::from(section).key(key);
    check_name(key("name"), &pool.name, findings);
    if findings.sound(&key("addresses")) && pool.addresses.is_empty() {
        let example = "\"203.0.113.0/28\"";
        findings.add(key("addresses"), Fault::EmptyList { example });
    }
    check_usable(
        &key("addresses"),
        pool.addresses.iter().map(|span| (span.range(), span)),
        findings,
    );
    for (name, value, limit) in [
        ("block_ports", pool.block_ports.into(), &limit::BLOCK_PORTS),
        (
            "blocks_per_subscriber",
            pool.blocks_per_subscriber.into(),
            &limit::BLOCKS_PER_SUBSCRIBER,
        ),
        (
            "watermark_percent",
            pool.watermark_percent.into(),
            &limit::WATERMARK_PERCENT,
        ),
    ] {
        check_limit(key(name), value, limit, findings);
    }
    let (high, low) = (pool.high_percent, pool.low_percent);
    for (name, value) in [("high_percent", high), ("low_percent", low)] {
        check_limit(key(name), value.into(), &limit::PERCENT, findings);
    }
    let is_sound = findings.sound(&key("low_percent")) && findings.sound(&key("high_percent"));
    if is_sound && high > 0 && low >= high {
        findings.add(key("low_percent"), Fault::LowNotBelowHigh { low, high });
    }
    for (index, port) in pool.reserved_ports.iter().enumerate() {
        let path = key("reserved_ports").index(index);
        check_limit(path, u32::from(*port), &limit::USABLE_PORT, findings);
    }
    check_block_count(section, pool, findings);
    let known = ["block_ports", "reserved_ports"];
    if known.into_iter().all(|name| findings.sound(&key(name)))
        && pool.reserved_blocks().len() >= pool.blocks_per_address() as usize
    {
        findings.add(key("reserved_ports"), Fault::AllBlocksReserved);
    }
    let is_plain = pool.mode == PoolMode::Dynamic && pool.port_mode == PortMode::Contiguous;
    if !pool.reserved_ports.is_empty() && !is_plain {
        findings.add(key("reserved_ports"), Fault::ReservedOfNoRange);
    }
    if pool.keep_parity && pool.port_mode == PortMode::Scattered {
        findings.add(key("keep_parity"), Fault::ParityScattered);
    }
    if pool.keep_class {
        check_class(section, pool, findings);
    }
}

fn check_class(section: &str, pool: &Pool, findings: &mut Findings) {
    let key = |key: &str| KeyPath::from(section).key(key);
    let least = class::MIN_BLOCK_PORTS;
    if pool.port_mode == PortMode::Scattered {
        findings.add(key("keep_class"), Fault::ClassScattered);
    }
    if pool.mode == PoolMode::Deterministic {
        findings.add(key("keep_class"), Fault::ClassDeterministic);
    }
    if findings.sound(&key("block_ports")) && u32::from(pool.block_ports) < least {
        findings.add(key("keep_class"), Fault::ClassSmall { least });
    }
}

fn check_block_count(section: &str, pool: &Pool, findings: &mut Findings) {
    let key = |key: &str| KeyPath::from(section).key(key);
    let ports = pool.block_ports;
    if findings.sound(&key("block_ports")) && !ports.is_power_of_two() {
        // Cannot overflow: the limit, itself a power of two, was checked before.
        let (value, nearest) = (ports, ports.next_power_of_two());
        findings.add(key("block_ports"), Fault::NotPowerOfTwo { value, nearest });
    }
    let Some(value) = pool.max_blocks else {
        return;
    };
    check_limit(key("max_blocks"), value, &limit::MAX_BLOCKS, findings);
}

fn check_pool_names(config: &Config, findings: &mut Findings) {
    for (index, pool) in config.pool.iter().enumerate() {
        let path = KeyPath::from(format!("pool[{index}].name"));
        let other = config.pool_index(&pool.name).filter(|at| *at < index);
        if let Some(other) = other.filter(|_| findings.sound(&path)) {
            let name = pool.name.clone();
            let other = KeyPath::from(format!("pool[{other}]"));
            findings.add(path, Fault::DuplicatePoolName { name, other });
        }
    }
}

/// Names that stand in metrics and file names.
pub(super) fn check_name(key: KeyPath, name: &str, findings: &mut Findings) {
    let letter = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let right_length = (1..=LONGEST_POOL_NAME).contains(&name.len());
    if findings.sound(&key) && !(right_length && name.chars().all(letter)) {
        let (name, most) = (name.to_owned(), LONGEST_POOL_NAME);
        findings.add(key, Fault::PoolName { name, most });
    }
}

fn check_presence(config: &Config, findings: &mut Findings) {
    if config.pool.is_empty() && findings.readable(&"pool".into()) {
        findings.add("pool".into(), Fault::NoPools);
    }
    if config.subscribers.is_empty() && findings.readable(&"subscribers".into()) {
        findings.add("subscribers".into(), Fault::NoSubscribers);
    }
}

/// Comes before the checks of the pools: a name that is refused there is still a known name.
fn check_pools_exist(config: &Config, findings: &mut Findings) {
    let name_known = |index| findings.readable(&format!("pool[{index}].name").into());
    if config.pool.is_empty() || !(0..config.pool.len()).all(name_known) {
        return;
    }
    for (path, _, name) in pools_named(config) {
        if findings.sound(&path) && config.pool_index(name).is_none() {
            let names = || unique_names(config);
            let fault = Fault::UnknownPool {
                name: name.to_owned(),
                nearest: nearest_name(name, names()).map(str::to_owned),
                known: names().map(str::to_owned).collect(),
            };
            findings.add(path, fault);
        }
    }
}

/// Every place that names a pool, with the names of realm and pool.
pub(super) fn pools_named(config: &Config) -> impl Iterator<Item = (KeyPath, &str, &str)> {
    let of_subscribers = config.subscribers.iter().enumerate();
    let of_subscribers = of_subscribers.map(|(at, one)| {
        (
            format!("subscribers[{at}].pool"),
            &one.realm,
            one.pool.as_str(),
        )
    });
    let of_groups = config.group.iter().enumerate();
    let of_groups = of_groups.filter_map(|(at, one)| {
        Some((
            format!("group[{at}].pool"),
            &one.realm,
            one.pool.as_deref()?,
        ))
    });
    let all = of_subscribers.chain(of_groups);
    all.map(|(path, realm, pool)| (KeyPath::from(path), realm.as_str(), pool))
}

fn unique_names(config: &Config) -> impl Iterator<Item = &str> {
    let names = config.pool.iter().map(|pool| pool.name.as_str());
    names
        .enumerate()
        .filter(|(at, name)| config.pool_index(name) == Some(*at))
        .map(|(_, name)| name)
}

fn check_prefixes(section: &str, subscribers: &Subscribers, findings: &mut Findings) {
    let path = KeyPath::from(section).key("prefixes");
    if findings.sound(&path) && subscribers.prefixes.is_empty() {
        let example = "\"100.64.0.0/16\"";
        findings.add(path.clone(), Fault::EmptyList { example });
    }
    let prefixes = subscribers.prefixes.iter();
    check_usable(
        &path,
        prefixes.map(|prefix| (prefix.range(), prefix)),
        findings,
    );
}

/// Addresses that a router does not forward.
const UNUSABLE: [(Ipv4Range, &str); 5] = [
    (
        span(0x0000_0000, 0x00ff_ffff),
        "in 0.0.0.0/8, \"this network\" (RFC 1122 section 3.2.1.3)",
    ),
    (
        span(0x7f00_0000, 0x7fff_ffff),
        "loopback (RFC 1122 section 3.2.1.3)",
    ),
    (
        span(0xa9fe_0000, 0xa9fe_ffff),
        "link-local (RFC 3927 section 7)",
    ),
    (span(0xe000_0000, 0xefff_ffff), "multicast (RFC 5771)"),
    (
        span(0xf000_0000, 0xffff_ffff),
        "in 240.0.0.0/4, reserved and broadcast (RFC 1112 section 4)",
    ),
];

/// Evaluated by the compiler, so a table entry the wrong way round does not build.
const fn span(first: u32, last: u32) -> Ipv4Range {
    match Ipv4Range::new(Ipv4Addr::from_bits(first), Ipv4Addr::from_bits(last)) {
        Some(range) => range,
        None => panic!("first <= last"),
    }
}

fn check_usable(
    list: &KeyPath,
    entries: impl Iterator<Item = (Ipv4Range, impl Display)>,
    findings: &mut Findings,
) {
    for (index, (range, written)) in entries.enumerate() {
        let path = list.index(index);
        let unusable = UNUSABLE.iter().find(|(bad, _)| bad.overlaps(&range));
        if let Some((_, kind)) = unusable.filter(|_| findings.sound(&path)) {
            let written = written.to_string();
            findings.add(path, Fault::Unusable { written, kind });
        }
    }
}

pub(super) fn check_limit(
    path: KeyPath,
    value: u32,
    limit: &'static Limit,
    findings: &mut Findings,
) {
    if findings.sound(&path)
        && let Some(fault) = limit.check(value)
    {
        findings.add(path, fault);
    }
}

fn check_tcp(config: &Config, findings: &mut Findings) {
    for (path, bytes) in [
        ("tcp.mss_outbound", config.tcp.mss_outbound),
        ("tcp.mss_inbound", config.tcp.mss_inbound),
    ] {
        if bytes != 0 {
            check_limit(path.into(), bytes.into(), &limit::MSS_BYTES, findings);
        }
    }
    if config.scatter.key_days != 0 {
        let days = config.scatter.key_days;
        check_limit("scatter.key_days".into(), days, &limit::KEY_DAYS, findings);
    }
    let max = config.sessions.max;
    check_limit("sessions.max".into(), max, &limit::SESSIONS, findings);
    for (index, port) in config.timeouts.short_udp_ports.iter().enumerate() {
        let path = KeyPath::from("timeouts.short_udp_ports").index(index);
        let port = u32::from(*port);
        check_limit(path, port, &limit::WELL_KNOWN_PORT, findings);
    }
}

fn check_numbers(config: &Config, findings: &mut Findings) {
    let (timeouts, hold, log) = (&config.timeouts, &config.hold, &config.log);
    let fragments = &config.fragments;
    let (guard, throttle) = (&config.guard, &config.throttle);
    for (path, value, limit) in [
        (
            "guard.unsolicited_per_second",
            guard.unsolicited_per_second,
            &limit::FLOOD_RATE,
        ),
        (
            "guard.busy_percent",
            guard.busy_percent.into(),
            &limit::PERCENT,
        ),
        ("guard.busy_secs", guard.busy_secs, &limit::BUSY_SECS),
        (
            "throttle.inside_host",
            throttle.inside_host,
            &limit::FLOOD_RATE,
        ),
        ("throttle.inside_24", throttle.inside_24, &limit::FLOOD_RATE),
        ("throttle.inside_20", throttle.inside_20, &limit::FLOOD_RATE),
        (
            "throttle.outside_host",
            throttle.outside_host,
            &limit::FLOOD_RATE,
        ),
        (
            "throttle.outside_24",
            throttle.outside_24,
            &limit::FLOOD_RATE,
        ),
        (
            "throttle.outside_20",
            throttle.outside_20,
            &limit::FLOOD_RATE,
        ),
        ("throttle.inside_64", throttle.inside_64, &limit::FLOOD_RATE),
        ("throttle.inside_56", throttle.inside_56, &limit::FLOOD_RATE),
        ("throttle.inside_48", throttle.inside_48, &limit::FLOOD_RATE),
        (
            "throttle.outside_64",
            throttle.outside_64,
            &limit::FLOOD_RATE,
        ),
        (
            "throttle.outside_56",
            throttle.outside_56,
            &limit::FLOOD_RATE,
        ),
        (
            "throttle.outside_48",
            throttle.outside_48,
            &limit::FLOOD_RATE,
        ),
        (
            "throttle.limit_secs",
            throttle.limit_secs,
            &limit::THROTTLE_SECS,
        ),
        (
            "fragments.max_datagrams",
            fragments.max_datagrams,
            &limit::DATAGRAMS,
        ),
        (
            "fragments.max_held",
            fragments.max_held,
            &limit::HELD_FRAGMENTS,
        ),
        (
            "fragments.max_held_kib",
            fragments.max_held_kib,
            &limit::HELD_KIB,
        ),
        (
            "fragments.max_held_per_source",
            fragments.max_held_per_source,
            &limit::HELD_FRAGMENTS,
        ),
        (
            "fragments.timeout_secs",
            fragments.timeout_secs,
            &limit::FRAGMENT_SECS,
        ),
        ("timeouts.udp_secs", timeouts.udp_secs, &limit::UDP_SECS),
        ("timeouts.icmp_secs", timeouts.icmp_secs, &limit::ICMP_SECS),
        (
            "timeouts.tcp_established_secs",
            timeouts.tcp_established_secs,
            &limit::TCP_ESTABLISHED_SECS,
        ),
        (
            "timeouts.tcp_opening_secs",
            timeouts.tcp_opening_secs,
            &limit::TCP_TRANSITORY_SECS,
        ),
        (
            "timeouts.tcp_closing_secs",
            timeouts.tcp_closing_secs,
            &limit::TCP_TRANSITORY_SECS,
        ),
        (
            "timeouts.short_udp_secs",
            timeouts.short_udp_secs,
            &limit::SHORT_UDP_SECS,
        ),
        ("hold.port_secs", hold.port_secs, &limit::HOLD_SECS),
        ("hold.block_secs", hold.block_secs, &limit::HOLD_SECS),
        (
            "hold.block_idle_secs",
            hold.block_idle_secs,
            &limit::BLOCK_IDLE_SECS,
        ),
        (
            "log.interim_secs",
            log.interim_secs,
            &limit::LOG_INTERIM_SECS,
        ),
        ("log.group_ms", log.group_ms, &limit::GROUP_MS),
        ("log.notice_secs", log.notice_secs, &limit::NOTICE_SECS),
        ("log.keep_days", log.keep_days, &limit::KEEP_DAYS),
        ("log.keep_gib", log.keep_gib, &limit::KEEP_GIB),
        ("log.spool_mib", log.spool_mib, &limit::SPOOL_MIB),
        (
            "icmp.each_per_second",
            config.icmp.each_per_second,
            &limit::ANSWERS_TO_ONE,
        ),
        (
            "icmp.all_per_second",
            config.icmp.all_per_second,
            &limit::ANSWERS_TO_ALL,
        ),
    ] {
        check_limit(path.into(), value, limit, findings);
    }
}

fn check_daemon(config: &Config, findings: &mut Findings) {
    let (log, control) = (&config.log, &config.control);
    for (key, path) in [
        ("log.directory", &log.directory),
        ("control.socket", &control.socket),
        ("control.pin_directory", &control.pin_directory),
    ] {
        if findings.sound(&key.into()) && !path.is_absolute() {
            let path = path.clone();
            findings.add(key.into(), Fault::NotAbsolute { path });
        }
    }
    if log.mode == LogMode::None {
        findings.add("log.mode".into(), Fault::NothingLogged);
    }
    let no_range = |pool: &&Pool| pool.arrangement() != Arrangement::Contiguous;
    if let Some(pool) = config.pool.iter().find(no_range) {
        let groups = config.group.iter().enumerate();
        let of_groups =
            groups.filter_map(|(at, group)| Some((format!("group[{at}].log"), group.log?)));
        for (key, mode) in of_groups.chain([("log.mode".to_owned(), log.mode)]) {
            if matches!(mode, LogMode::Session | LogMode::SessionWithDestination) {
                let (arrangement, pool) = (pool.arrangement(), pool.name.clone());
                let fault = match arrangement {
                    Arrangement::Classes => Fault::SessionsOfClasses { pool },
                    _ => Fault::SessionsScattered { pool },
                };
                findings.add(key.into(), fault);
            }
        }
    }
    let (bytes, most) = (
        control.socket.as_os_str().as_bytes().len(),
        LONGEST_SOCKET_PATH_BYTES,
    );
    if bytes > most {
        let fault = Fault::SocketPathTooLong { bytes, most };
        findings.add("control.socket".into(), fault);
    }
    if control.socket == log.directory {
        let other = "log.directory";
        findings.add("control.socket".into(), Fault::SamePath { other });
    }
    if findings.sound(&"log.sign_key".into())
        && !log.sign_key.as_os_str().is_empty()
        && !log.sign_key.is_absolute()
    {
        let path = log.sign_key.clone();
        findings.add("log.sign_key".into(), Fault::NotAbsolute { path });
    }
    check_remote(control, findings);
    let listen = config.metrics.listen;
    if !listen.ip().is_loopback() {
        findings.add("metrics.listen".into(), Fault::NotLoopback { listen });
    }
}

/// The API over TCP: all of it, or nothing.
fn check_remote(control: &Control, findings: &mut Findings) {
    if !findings.sound(&"control.listen".into()) {
        return;
    }
    for (key, path, what, example) in [
        (
            "control.cert_file",
            &control.cert_file,
            "the daemon's certificate",
            "cert_file = \"/etc/cgn/api.pem\"",
        ),
        (
            "control.key_file",
            &control.key_file,
            "the key of the certificate",
            "key_file = \"/etc/cgn/api.key\"",
        ),
        (
            "control.client_ca_file",
            &control.client_ca_file,
            "the certificates that clients' descend from",
            "client_ca_file = \"/etc/cgn/clients.pem\"",
        ),
    ] {
        let has = !path.as_os_str().is_empty();
        let fault = match (control.listen.is_some(), has) {
            (true, false) => Some(Fault::TlsNeeds { what, example }),
            (false, true) => Some(Fault::NotListening),
            _ if has && !path.is_absolute() => Some(Fault::NotAbsolute { path: path.clone() }),
            _ => None,
        };
        if let Some(fault) = fault.filter(|_| findings.sound(&key.into())) {
            findings.add(key.into(), fault);
        }
    }
}
