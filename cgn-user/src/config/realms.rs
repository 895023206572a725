//! What `[[realm]]` sections must fulfil, and what cannot be had with them.

use std::collections::{BTreeSet, HashMap};

use cgn_common::layout::{KEY_NETWORKS, MOST_REALMS, SOCKET_DEVICES};

use super::fault::{Fault, Findings};
use super::groups;
use super::limit;
use super::notation::Ipv4Prefix;
use super::place::KeyPath;
use super::reader::nearest_name;
use super::rules::RuleAction;
use super::schema::{Config, PoolMode, Side};
use super::validate::{check_limit, check_name, check_side, pools_named};

pub(super) fn validate(config: &Config, findings: &mut Findings) {
    check_names_exist(config, findings);
    check_bypasses(config, findings);
    if config.realm.is_empty() {
        return;
    }
    for (number, realm) in config.realm.iter().enumerate() {
        let section = KeyPath::from(format!("realm[{number}]"));
        check_name(section.key("name"), &realm.name, findings);
        let path = section.key("inside");
        if realm.inside.is_empty() && findings.sound(&path) {
            let example = "{ interface = \"eth2\" }";
            findings.add(path, Fault::EmptyList { example });
        }
        for (index, side) in realm.inside.iter().enumerate() {
            check_side(&format!("realm[{number}].inside[{index}]"), side, findings);
        }
        check_table(section.key("table"), realm.table, findings);
    }
    check_once(config, findings);
    check_sides(config, findings);
    check_room(config, findings);
    check_company(config, findings);
}

/// Names, and tables: each realm has its own.
fn check_once(config: &Config, findings: &mut Findings) {
    let mut names = HashMap::new();
    let mut tables = HashMap::new();
    for (number, realm) in config.realm.iter().enumerate() {
        let section = KeyPath::from(format!("realm[{number}]"));
        let other = |at: usize| KeyPath::from(format!("realm[{at}]"));
        let (name, table) = (section.key("name"), section.key("table"));
        let before = *names.entry(&realm.name).or_insert(number);
        if before < number && findings.sound(&name) {
            let fault = Fault::DuplicateRealmName {
                name: realm.name.clone(),
                other: other(before),
            };
            findings.add(name, fault);
        }
        let before = *tables.entry(realm.table).or_insert(number);
        if before < number && findings.sound(&table) {
            let fault = Fault::SameTable {
                table: realm.table,
                other: other(before),
            };
            findings.add(table, fault);
        }
        let is_used = config.subscribers.iter().any(|one| one.realm == realm.name);
        let path = section.key("name");
        if !is_used && findings.sound(&path) {
            findings.add(path, Fault::EmptyRealm);
        }
    }
}

/// The kernel's own tables are not a realm's.
fn check_table(path: KeyPath, table: u32, findings: &mut Findings) {
    check_limit(path.clone(), table, &limit::TABLE, findings);
    if matches!(table, 253..=255) && findings.sound(&path) {
        findings.add(path, Fault::KernelTable { table });
    }
}

/// A packet's interface and VLANs tell its realm, so no two have the same.
fn check_sides(config: &Config, findings: &mut Findings) {
    let mut seen: Vec<(&Side, KeyPath)> = vec![
        (&config.inside, KeyPath::from("inside")),
        (&config.outside, KeyPath::from("outside")),
    ];
    for (number, realm) in config.realm.iter().enumerate() {
        for (index, side) in realm.inside.iter().enumerate() {
            let path = KeyPath::from(format!("realm[{number}].inside[{index}]"));
            let before = seen.iter().find(|(other, _)| *other == side);
            if let Some((_, other)) = before.filter(|_| findings.sound(&path)) {
                let fault = Fault::SidesTwice {
                    interface: side.interface.clone(),
                    vlan: side.vlan.clone(),
                    other: other.clone(),
                };
                findings.add(path.key("interface"), fault);
            }
            seen.push((side, path));
        }
    }
    let interfaces: BTreeSet<&str> = seen
        .iter()
        .map(|(side, _)| side.interface.as_str())
        .collect();
    let (count, most) = (interfaces.len(), SOCKET_DEVICES as usize);
    if count > most {
        findings.add("realm".into(), Fault::TooManyInterfaces { count, most });
    }
}

/// There are so many realms, and /16 networks of theirs, as there are keys.
fn check_room(config: &Config, findings: &mut Findings) {
    let (count, most) = (config.realm.len() + 1, MOST_REALMS);
    if count > most {
        findings.add("realm".into(), Fault::TooManyRealms { count, most });
    }
    let count: usize = config
        .realm_networks()
        .iter()
        .map(|(_, all)| all.len())
        .sum();
    let most = KEY_NETWORKS as usize;
    if count > most {
        findings.add("realm".into(), Fault::TooManyNetworks { count, most });
    }
}

/// What knows inside addresses only.
fn check_company(config: &Config, findings: &mut Findings) {
    let mut realm_of = HashMap::new();
    for (path, realm, name) in pools_named(config) {
        let pool = config.pool_index(name).map(|at| &config.pool[at]);
        if pool.is_none_or(|pool| pool.mode != PoolMode::Deterministic) {
            continue;
        }
        let first = *realm_of.entry(name).or_insert(realm);
        if first != realm && findings.sound(&path) {
            let other = first.to_owned();
            findings.add(path, Fault::DeterministicRealms { other });
        }
    }
    groups::check_prefixes_of_realms(config, findings);
}

/// What comes back untranslated has no realm but that of the rule whose destination it came from.
fn check_bypasses(config: &Config, findings: &mut Findings) {
    let bypasses = config.rule.iter().enumerate();
    let bypasses: Vec<_> = bypasses
        .filter(|(_, rule)| rule.action == RuleAction::Bypass)
        .collect();
    let are_of_several = bypasses
        .iter()
        .any(|(_, rule)| config.realm_of_rule(rule) != config.realm_of_rule(bypasses[0].1));
    for (at, (index, rule)) in bypasses.iter().enumerate() {
        let section = KeyPath::from(format!("rule[{index}]"));
        let path = section.key("destination_file");
        let has_file = !rule.destination_file.as_os_str().is_empty();
        if are_of_several && has_file && findings.sound(&path) {
            findings.add(path, Fault::BypassesInFile);
        }
        let earlier = bypasses[..at].iter();
        let of_others =
            earlier.filter(|(_, other)| config.realm_of_rule(other) != config.realm_of_rule(rule));
        for (number, prefix) in rule.destination.iter().enumerate() {
            let path = section.key("destination").index(number);
            let overlaps = |other: &Ipv4Prefix| other.range().overlaps(&prefix.range());
            let other = of_others
                .clone()
                .find(|(_, other)| other.destination.iter().any(overlaps));
            if let Some((other, _)) = other.filter(|_| findings.sound(&path)) {
                let (written, other) =
                    (prefix.to_string(), KeyPath::from(format!("rule[{other}]")));
                findings.add(path, Fault::BypassesOverlap { written, other });
            }
        }
    }
}

fn check_names_exist(config: &Config, findings: &mut Findings) {
    let of_subscribers = config.subscribers.iter().enumerate();
    let of_subscribers =
        of_subscribers.map(|(at, one)| (format!("subscribers[{at}].realm"), &one.realm));
    let of_groups = config.group.iter().enumerate();
    let of_groups = of_groups.map(|(at, one)| (format!("group[{at}].realm"), &one.realm));
    let of_mirrors = config.mirror.iter().enumerate();
    let of_mirrors = of_mirrors.map(|(at, one)| (format!("mirror[{at}].realm"), &one.realm));
    let sinks = config.sink.iter().enumerate();
    let of_sinks = sinks.flat_map(|(at, sink)| {
        let realms = sink.realms.iter().enumerate();
        realms.map(move |(number, name)| (format!("sink[{at}].realms[{number}]"), name))
    });
    let of_rules = config.rule.iter().enumerate();
    let of_rules = of_rules.map(|(at, rule)| (format!("rule[{at}].realm"), &rule.realm));
    let of_all = of_subscribers.chain(of_groups).chain(of_mirrors);
    let of_clients = config.identity.client.iter().enumerate();
    let of_clients =
        of_clients.map(|(at, one)| (format!("identity.client[{at}].realm"), &one.realm));
    let of_all = of_all.chain(of_sinks).chain(of_rules);
    for (path, name) in of_all.chain(of_clients) {
        let path = KeyPath::from(path);
        let is_known = name.is_empty() || config.realm.iter().any(|realm| realm.name == *name);
        if is_known || !findings.sound(&path) {
            continue;
        }
        let names = || config.realm.iter().map(|realm| realm.name.as_str());
        let fault = Fault::UnknownRealm {
            name: name.clone(),
            nearest: nearest_name(name, names()).map(str::to_owned),
            known: names().map(str::to_owned).collect(),
        };
        findings.add(path, fault);
    }
}
