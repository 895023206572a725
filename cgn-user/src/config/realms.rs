//! What `[[realm]]` sections must fulfil, and what cannot be had with them.

use std::collections::{BTreeSet, HashMap};

use cgn_common::layout::{KEY_NETWORKS, MOST_REALMS, SOCKET_DEVICES};

use super::fault::{Fault, Findings};
use super::groups;
use super::limit;
use super::place::KeyPath;
use super::reader::nearest_name;
use super::rules::RuleAction;
use super::schema::{Config, PoolMode, Side};
use super::validate::{check_limit, check_name, check_side, pools_named};

pub(super) fn validate(config: &Config, findings: &mut Findings) {
    check_names_exist(config, findings);
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
    let throttle = &config.throttle;
    let of_throttle = [
        ("throttle.inside_host", throttle.inside_host),
        ("throttle.inside_24", throttle.inside_24),
        ("throttle.inside_20", throttle.inside_20),
    ];
    for (path, rate) in of_throttle {
        let path = KeyPath::from(path);
        if rate > 0 && findings.sound(&path) {
            findings.add(path, Fault::ThrottleOfRealms);
        }
    }
    for (index, rule) in config.rule.iter().enumerate() {
        let path = KeyPath::from(format!("rule[{index}].action"));
        if rule.action == RuleAction::Bypass && findings.sound(&path) {
            findings.add(path, Fault::BypassOfRealms);
        }
    }
    for (path, realm, pool) in pools_named(config) {
        let pool = config.pool_index(pool).map(|at| &config.pool[at]);
        let is_static = pool.is_some_and(|pool| pool.mode == PoolMode::Deterministic);
        if is_static && !realm.is_empty() && findings.sound(&path) {
            findings.add(path, Fault::DeterministicRealm);
        }
    }
    groups::check_prefixes_of_realms(config, findings);
}

fn check_names_exist(config: &Config, findings: &mut Findings) {
    let of_subscribers = config.subscribers.iter().enumerate();
    let of_subscribers =
        of_subscribers.map(|(at, one)| (format!("subscribers[{at}].realm"), &one.realm));
    let of_groups = config.group.iter().enumerate();
    let of_groups = of_groups.map(|(at, one)| (format!("group[{at}].realm"), &one.realm));
    let of_clients = config.identity.client.iter().enumerate();
    let of_clients =
        of_clients.map(|(at, one)| (format!("identity.client[{at}].realm"), &one.realm));
    for (path, name) in of_subscribers.chain(of_groups).chain(of_clients) {
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
