//! What groups must fulfil, and whose addresses are in which.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::net::Ipv4Addr;

use super::address::{Ipv4Range, Ipv4Set};
use super::fault::{Fault, Findings};
use super::limit;
use super::place::KeyPath;
use super::schema::{Config, Group, LogMode};
use super::validate::{check_limit, check_name};

impl Config {
    /// The inside addresses of the group with this index: those of its prefixes that are in no longer
    /// prefix of another group of its realm.
    #[must_use]
    pub fn addresses_of_group(&self, index: usize) -> Ipv4Set {
        let parts = self.parts(&self.group[index].realm).into_iter();
        let own = parts.filter(|(group, _)| *group == index);
        own.map(|(_, range)| range).collect()
    }

    /// Index and addresses of the groups of a realm, in ascending order of addresses. Prefixes lie within
    /// each other or apart: so the longest is the one that began last and has not ended.
    fn parts(&self, realm: &str) -> Vec<(usize, Ipv4Range)> {
        let everyone = Ipv4Range::new(Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST);
        let groups = self.group.iter().enumerate();
        let mut prefixes: Vec<(usize, Ipv4Range)> = groups
            .filter(|(_, group)| group.realm == realm)
            .flat_map(|(index, group)| {
                let own = group.prefixes.iter().map(|prefix| prefix.range());
                let all = own.chain(everyone.filter(|_| group.is_of_realm()));
                all.map(move |range| (index, range))
            })
            .collect();
        prefixes.sort_unstable_by_key(|(_, range)| (range.first(), Reverse(range.last())));
        let mut parts = Parts::default();
        for (index, range) in prefixes {
            parts.tell_before(range.first().to_bits().into());
            parts.open.push((index, range));
        }
        parts.tell_before(1 << 32);
        parts.told
    }
}

/// Goes over the prefixes of a realm's groups by their first addresses.
#[derive(Default)]
struct Parts {
    /// Those that hold the address `next`, each within the one before.
    open: Vec<(usize, Ipv4Range)>,
    /// All addresses below are told.
    next: u64,
    told: Vec<(usize, Ipv4Range)>,
}

impl Parts {
    /// Tells the parts below an address.
    fn tell_before(&mut self, end: u64) {
        while let Some((index, range)) = self.open.last().copied() {
            let behind = u64::from(range.last().to_bits()) + 1;
            self.tell(index, behind.min(end));
            if behind > end {
                break;
            }
            self.open.pop();
        }
        self.next = end;
    }

    /// Tells the part from `next` on, without `end`.
    fn tell(&mut self, index: usize, end: u64) {
        if self.next < end {
            let [first, last] = [self.next, end - 1].map(|at| Ipv4Addr::from_bits(at as u32));
            let part = Ipv4Range::new(first, last);
            self.told.extend(part.map(|range| (index, range)));
            self.next = end;
        }
    }
}

pub(super) fn validate(config: &Config, findings: &mut Findings) {
    for (index, group) in config.group.iter().enumerate() {
        check_group(&format!("group[{index}]"), group, findings);
    }
    check_names(config, findings);
    check_prefixes(config, findings);
    check_realms(config, findings);
}

fn check_group(section: &str, group: &Group, findings: &mut Findings) {
    let key = |key: &str| KeyPath::from(section).key(key);
    check_name(key("name"), &group.name, findings);
    if findings.sound(&key("prefixes")) && group.prefixes.is_empty() && !group.is_of_realm() {
        let example = "\"100.64.0.0/24\"";
        findings.add(key("prefixes"), Fault::EmptyList { example });
    }
    if group.burst.is_some()
        && group.new_per_second.is_none()
        && findings.sound(&key("new_per_second"))
    {
        findings.add(key("burst"), Fault::BurstWithoutRate);
    }
    if group.log == Some(LogMode::None) {
        findings.add(key("log"), Fault::NothingLogged);
    }
    if group.log == Some(LogMode::Interim) {
        findings.add(key("log"), Fault::InterimOfGroup);
    }
    let wide = |value: Option<u16>| value.map(u32::from);
    let transitory = &limit::TCP_TRANSITORY_SECS;
    for (name, value, limit) in [
        (
            "blocks",
            group.blocks.map(u32::from),
            &limit::BLOCKS_PER_SUBSCRIBER,
        ),
        ("tcp_mappings", group.tcp_mappings, &limit::MAPPINGS),
        ("udp_mappings", group.udp_mappings, &limit::MAPPINGS),
        ("icmp_mappings", group.icmp_mappings, &limit::MAPPINGS),
        ("sessions", group.sessions, &limit::OWN_SESSIONS),
        (
            "new_per_second",
            wide(group.new_per_second),
            &limit::NEW_PER_SECOND,
        ),
        ("burst", wide(group.burst), &limit::NEW_PER_SECOND),
        ("udp_secs", group.udp_secs, &limit::UDP_SECS),
        ("icmp_secs", group.icmp_secs, &limit::ICMP_SECS),
        (
            "tcp_established_secs",
            group.tcp_established_secs,
            &limit::TCP_ESTABLISHED_SECS,
        ),
        ("tcp_opening_secs", group.tcp_opening_secs, transitory),
        ("tcp_closing_secs", group.tcp_closing_secs, transitory),
    ] {
        if let Some(value) = value {
            check_limit(key(name), value, limit, findings);
        }
    }
}

fn check_names(config: &Config, findings: &mut Findings) {
    let mut seen = HashMap::new();
    for (index, group) in config.group.iter().enumerate() {
        let path = KeyPath::from(format!("group[{index}].name"));
        let other = *seen.entry(group.name.as_str()).or_insert(index);
        if other < index && findings.sound(&path) {
            let name = group.name.clone();
            let other = KeyPath::from(format!("group[{other}]"));
            findings.add(path, Fault::DuplicateGroupName { name, other });
        }
    }
}

/// One prefix may lie within another, but not be the same.
fn check_prefixes(config: &Config, findings: &mut Findings) {
    let mut seen = HashMap::new();
    for (number, group) in config.group.iter().enumerate() {
        for (index, prefix) in group.prefixes.iter().enumerate() {
            let path = KeyPath::from(format!("group[{number}].prefixes[{index}]"));
            if !findings.sound(&path) {
                continue;
            }
            let key = (group.realm.as_str(), prefix.range());
            if let Some(other) = seen.insert(key, path.clone()) {
                let written = prefix.to_string();
                findings.add(path, Fault::PrefixTwice { written, other });
            }
        }
    }
}

/// Of those without prefixes.
fn check_realms(config: &Config, findings: &mut Findings) {
    let mut seen = HashMap::new();
    let groups = config.group.iter().enumerate();
    for (index, group) in groups.filter(|(_, group)| group.is_of_realm()) {
        let path = KeyPath::from(format!("group[{index}].realm"));
        let other = *seen.entry(group.realm.as_str()).or_insert(index);
        if other < index && findings.sound(&path) {
            let name = group.realm.clone();
            let other = KeyPath::from(format!("group[{other}]"));
            findings.add(path, Fault::RealmTwice { name, other });
        }
    }
}

/// Of a realm's keys all are known by its subscribers: a group's prefix that holds none of them
/// would be of no use.
pub(super) fn check_prefixes_of_realms(config: &Config, findings: &mut Findings) {
    for (number, group) in config.group.iter().enumerate() {
        if group.realm.is_empty() {
            continue;
        }
        for (index, prefix) in group.prefixes.iter().enumerate() {
            let path = KeyPath::from(format!("group[{number}].prefixes[{index}]"));
            let of_realm = config.subscribers.iter();
            let mut prefixes = of_realm
                .filter(|one| one.realm == group.realm)
                .flat_map(|one| &one.prefixes);
            let holds_any = prefixes.any(|one| one.range().overlaps(&prefix.range()));
            if !holds_any && findings.sound(&path) {
                let written = prefix.to_string();
                findings.add(path, Fault::NobodyInGroup { written });
            }
        }
    }
}
