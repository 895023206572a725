//! No address may be in two pools, twice in one pool, in two subscriber prefixes of one realm, or
//! both a pool's and a subscriber's.

use super::address::Ipv4Range;
use super::fault::{Fault, Findings};
use super::place::KeyPath;
use super::schema::Config;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Use {
    Pool,
    Subscriber,
}

/// One entry of an address list.
struct Claim {
    range: Ipv4Range,
    path: KeyPath,
    written: String,
    of: Use,
}

/// Names every entry that overlaps another one, with one pool entry and one subscriber prefix that
/// it overlaps.
///
/// In ascending order of first addresses, an entry overlaps an earlier one exactly when it overlaps
/// the one of them that reaches furthest; so one pass over the sorted entries is enough.
pub(super) fn check_overlaps(config: &Config, findings: &mut Findings) {
    let mut realms: Vec<&str> = vec![""];
    realms.extend(config.realm.iter().map(|realm| realm.name.as_str()));
    for realm in realms {
        check_realm(config, realm, findings);
    }
}

fn check_realm(config: &Config, realm: &str, findings: &mut Findings) {
    let claims = claims(config, realm, findings);
    let mut order: Vec<usize> = (0..claims.len()).collect();
    order.sort_by_key(|at| (claims[*at].range, *at));
    let mut furthest: [(Use, Option<usize>); 2] = [(Use::Pool, None), (Use::Subscriber, None)];
    for at in order {
        for (kind, reach) in &mut furthest {
            if let Some(before) = *reach
                && claims[before].range.overlaps(&claims[at].range)
            {
                // The entry that stands later in the file is the one to point at.
                report(&claims[before.max(at)], &claims[before.min(at)], findings);
            }
            let reaches = reach.map(|before| claims[before].range.last());
            if *kind == claims[at].of && reaches < Some(claims[at].range.last()) {
                *reach = Some(at);
            }
        }
    }
}

/// The entries that could be read and are usable, in the order of the file's sections.
fn claims(config: &Config, realm: &str, findings: &Findings) -> Vec<Claim> {
    let mut claims = Vec::new();
    for (pool_index, pool) in config.pool.iter().enumerate() {
        for (index, span) in pool.addresses.iter().enumerate() {
            claims.push(Claim {
                range: span.range(),
                path: format!("pool[{pool_index}].addresses[{index}]").into(),
                written: span.to_string(),
                of: Use::Pool,
            });
        }
    }
    let subscribers = config.subscribers.iter().enumerate();
    for (list_index, subscribers) in subscribers.filter(|(_, one)| one.realm == realm) {
        for (index, prefix) in subscribers.prefixes.iter().enumerate() {
            claims.push(Claim {
                range: prefix.range(),
                path: format!("subscribers[{list_index}].prefixes[{index}]").into(),
                written: prefix.to_string(),
                of: Use::Subscriber,
            });
        }
    }
    claims.retain(|claim| findings.sound(&claim.path));
    claims
}

fn report(claim: &Claim, other: &Claim, findings: &mut Findings) {
    let remedy = match (claim.of, other.of) {
        (Use::Pool, Use::Pool) => "an address can be in one pool once; shorten or delete one entry",
        (Use::Subscriber, Use::Subscriber) => {
            "an address can be one subscriber of a realm; shorten or delete one prefix"
        }
        _ => "an address is either a pool's or a subscriber's; take it out of one of the two",
    };
    let fault = Fault::Overlap {
        written: claim.written.clone(),
        other: other.path.clone(),
        other_written: other.written.clone(),
        remedy,
    };
    findings.add(claim.path.clone(), fault);
}
