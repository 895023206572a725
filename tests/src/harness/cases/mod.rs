//! The table of cases, one sentence each.

mod access;
mod answered;
mod classes;
mod filtering;
pub mod filters;
mod floods;
mod fragments;
mod hairpin;
mod icmp_errors;
mod ipv6;
mod lengths;
mod limits;
mod mappings;
mod mss;
mod realms;
mod scattered;
mod sessions;
mod teredo;
mod transports;
mod tunnels;
mod vlans;

use cgn_common::layout::{Constants, Features, Filtering, GUARDS, Guards, Policy};

use super::trial::Trial;
use super::world::World;

/// What is claimed, and how it is tried.
pub type Case = (&'static str, fn(&mut Trial));

/// Every case.
#[must_use]
pub fn all() -> Vec<Case> {
    [
        transports::CASES,
        vlans::CASES,
        filters::CASES,
        lengths::CASES,
        mappings::CASES,
        hairpin::CASES,
        icmp_errors::CASES,
        fragments::CASES,
        tunnels::CASES,
    ]
    .concat()
}

/// Runs every case.
pub fn run_all(trial: &mut Trial) {
    for (sentence, case) in all() {
        trial.begin(sentence);
        case(trial);
    }
}

/// Cases of what is off by default, with the world in which it is on.
pub struct Group {
    pub name: &'static str,
    pub world: fn() -> World,
    pub cases: Vec<Case>,
}

/// Every group. Each is one more load of the programs.
#[must_use]
pub fn groups() -> Vec<Group> {
    vec![
        Group {
            name: "everything is on",
            world: everything,
            cases: [filtering::CASES, mss::CASES].concat(),
        },
        Group {
            name: "senders are told",
            world: telling,
            cases: answered::CASES.to_vec(),
        },
        Group {
            name: "groups have limits",
            world: limits::world,
            cases: limits::CASES.to_vec(),
        },
        Group {
            name: "blocks are scattered",
            world: scattered,
            cases: [scattered::CASES, mappings::CASES, hairpin::CASES].concat(),
        },
        Group {
            name: "classes of ports are kept",
            world: classes,
            cases: [
                classes::CASES,
                mappings::CASES,
                hairpin::CASES,
                icmp_errors::CASES,
            ]
            .concat(),
        },
        Group {
            name: "floods are guarded against",
            world: floods::world,
            cases: floods::CASES.to_vec(),
        },
        Group {
            name: "prefixes of IPv6 are limited",
            world: ipv6::world,
            cases: [ipv6::CASES, filters::CASES].concat(),
        },
        Group {
            name: "prefixes of IPv6 are limited in several realms, behind access lists",
            world: ipv6::world_of_realms,
            cases: [ipv6::REALMS, ipv6::CASES].concat(),
        },
        Group {
            name: "access lists",
            world: access::world,
            cases: access::CASES.to_vec(),
        },
        Group {
            name: "tunnels are looked into",
            world: teredo::world,
            cases: teredo::CASES.to_vec(),
        },
        Group {
            name: "several realms",
            world: realms::world,
            cases: realms::CASES.to_vec(),
        },
        Group {
            name: "access lists of several realms",
            world: realms::world_of_rules,
            cases: realms::RULES.to_vec(),
        },
        Group {
            name: "drops of several realms",
            world: realms::world_of_drops,
            cases: realms::DROPS.to_vec(),
        },
        Group {
            name: "the first of several realms",
            world: realms::world_of_first,
            cases: all(),
        },
        Group {
            name: "floods of several realms",
            world: realms::world_of_floods,
            cases: [realms::FLOODS, floods::CASES].concat(),
        },
        Group {
            name: "TCP sessions are timed one by one",
            world: timed,
            cases: sessions::CASES.to_vec(),
        },
    ]
}

/// Runs the cases of one group.
pub fn run_group(trial: &mut Trial, group: &Group) {
    for (sentence, case) in &group.cases {
        trial.begin(sentence);
        case(trial);
    }
}

/// Room for sessions in both worlds.
pub const ROOM: u32 = 8;

/// One pool filters UDP by address and TCP by port, the other the reverse; both keep the
/// parity of ports.
fn everything() -> World {
    let mut constants = Constants::PLAIN;
    let (address, port) = (
        Filtering::AddressDependent,
        Filtering::AddressAndPortDependent,
    );
    constants.pools[0] = Policy::new(address, port, Policy::PARITY);
    constants.pools[1] = Policy::new(port, address, Policy::TIMED_SESSIONS | Policy::PARITY);
    let on = Features::SESSIONS
        | Features::DROP_MIDSTREAM
        | Features::INBOUND_REFRESH
        | Features::SHORT_TIMERS
        | Features::QUOTAS
        | Features::PARITY
        | Features::THROTTLE
        | Features::THROTTLE_IPV6
        | Features::ATTACKS
        | Features::OVERLOAD
        | Features::TELL_ANY; // where no rate is set, errors are never due
    // They are never reached.
    constants.guards = Guards([u32::MAX; GUARDS]);
    constants.features = Features(on).with_mss(mss::OUTBOUND, mss::INBOUND);
    World::with(constants, ROOM)
}

fn telling() -> World {
    let mut constants = Constants::PLAIN;
    constants.features = Features(Features::TELL_ANY | Features::SESSIONS);
    let (anyone, port) = (
        Filtering::EndpointIndependent,
        Filtering::AddressAndPortDependent,
    );
    constants.pools[1] = Policy::new(anyone, port, 0);
    let mut world = World::with(constants, ROOM);
    world.rates = answered::RATES;
    world
}

/// All that finds a mapping by its port, with the ports of every block anywhere.
fn scattered() -> World {
    let mut constants = Constants::PLAIN;
    let anyone = Filtering::EndpointIndependent;
    constants.pools = [Policy::new(anyone, anyone, Policy::SCATTERED); 256];
    constants.features = Features(Features::SCATTERED);
    World::with(constants, ROOM)
}

/// The same, and all that opens one, with ports below 1024; parity is kept, too.
fn classes() -> World {
    let mut constants = Constants::PLAIN;
    let anyone = Filtering::EndpointIndependent;
    let kept = Policy::CLASSES | Policy::PARITY;
    constants.pools = [Policy::new(anyone, anyone, kept); 256];
    constants.features = Features(Features::CLASSES | Features::PARITY);
    World::with(constants, ROOM)
}

fn timed() -> World {
    let mut constants = Constants::PLAIN;
    let anyone = Filtering::EndpointIndependent;
    constants.pools = [Policy::new(anyone, anyone, Policy::TIMED_SESSIONS); 256];
    constants.features = Features(Features::SESSIONS);
    World::with(constants, ROOM)
}
