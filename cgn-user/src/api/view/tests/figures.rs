//! Pools, reasons and rules.

use std::collections::BTreeSet;

use cgn_common::counters::Counters;
use cgn_common::layout::{Action, Ports, Rule as RuleWords};
use cgn_common::realm::FIRST;
use cgn_common::verdict::{Direction, Reason};

use super::ALL;
use crate::api::fixture::Fixture;
use crate::api::view::{Selection, drops, pools, rules};
use crate::policy::access::{Lists, Rule};
use crate::realms::Realms;
use crate::state::{PoolStats, RulePackets, Stats};

#[test]
fn drops_stand_before_punts_and_passes_and_the_most_frequent_first() {
    let mut fast = Counters::ZERO;
    let mut slow = Counters::ZERO;
    fast.drops[Reason::NoMapping as usize] = [2, 2, 1, 0];
    slow.drops[Reason::NoBlock as usize] = [0, 9, 0, 0];
    fast.reasons[Reason::FirstPacket as usize] = 100;
    fast.reasons[Reason::NotIpv4 as usize] = 1000;
    let rows = drops(&fast, &slow, false);
    let brief: Vec<_> = rows
        .iter()
        .map(|row| {
            (
                row.effect.as_str(),
                row.reason.as_str(),
                row.fast_path,
                row.slow_path,
            )
        })
        .collect();
    assert_eq!(
        brief,
        [
            ("drop", "no_block", 0, 9),
            ("drop", "no_mapping", 5, 0),
            ("punt", "first_packet", 100, 0),
            ("pass", "not_ipv4", 1000, 0),
        ]
    );
    assert_eq!(rows[1].help, Reason::NoMapping.help());
    assert_eq!(drops(&fast, &slow, true).len(), Reason::ALL.len());
}

#[test]
fn pools_tell_what_the_allocator_and_the_sweep_said() {
    let cgn = Fixture::new();
    let mut stats = Stats::default();
    let mut business = PoolStats::default();
    business.status.blocks_used = 3;
    business.status.counters.refused_no_slab = 4;
    business.mappings = [1, 2, 3];
    stats.pools = vec![PoolStats::default(), business];
    let rows = pools(&cgn.geometry, &stats, ALL);
    assert_eq!((rows[0].addresses, rows[0].subscriber_addresses), (4, 256));
    assert_eq!(
        (
            rows[1].blocks_used,
            rows[1].refusals.sum(),
            rows[1].mappings.icmp
        ),
        (3, 4, 3)
    );
    let only = pools(
        &cgn.geometry,
        &stats,
        Selection {
            pool: Some(1),
            ..ALL
        },
    );
    assert_eq!(only, [rows[1].clone()]);
    assert_eq!(
        pools(&cgn.geometry, &Stats::default(), ALL).len(),
        2,
        "before the engine reports"
    );
}

/// One rule as its rows show it: direction, realm, group.
fn shown(rule: Rule, realms: &Realms) -> Vec<(String, Option<String>, Option<String>)> {
    let lists = Lists::new(&[rule], &[]);
    let placed = lists.rules().iter().cloned();
    let hits: Vec<_> = placed.map(|rule| (rule, RulePackets::default())).collect();
    let rows = rules(&hits, realms).into_iter();
    rows.map(|row| (row.direction, row.realm, row.group))
        .collect()
}

#[test]
fn a_rule_tells_the_realm_and_the_group_that_it_is_for() {
    use Direction::{Inbound, Outbound};
    let all = RuleWords::EVERY_REALM;
    let realms = Realms::new(vec![("mvno".to_owned(), BTreeSet::from([0x6440]))]);
    type Row<'a> = (&'a str, Option<&'a str>, Option<&'a str>);
    type Case<'a> = (&'a str, Action, Direction, u8, &'a str, &'a [Row<'a>]);
    let cases: [Case<'_>; 7] = [
        (
            "of all realms",
            Action::Deny,
            Outbound,
            all,
            "",
            &[("out", None, None)],
        ),
        (
            "of a named realm",
            Action::Deny,
            Outbound,
            1,
            "",
            &[("out", Some("mvno"), None)],
        ),
        (
            "of a group of it",
            Action::Deny,
            Outbound,
            1,
            "small",
            &[("out", Some("mvno"), Some("small"))],
        ),
        (
            "of a group of the first",
            Action::Permit,
            Outbound,
            FIRST,
            "small",
            &[("out", Some("[inside]"), Some("small"))],
        ),
        (
            "a bypass of the first, and what comes back",
            Action::Bypass,
            Outbound,
            FIRST,
            "",
            &[
                ("out", Some("[inside]"), None),
                ("in", Some("[inside]"), None),
            ],
        ),
        (
            "a bypass of a group of another",
            Action::Bypass,
            Outbound,
            1,
            "small",
            &[
                ("out", Some("mvno"), Some("small")),
                ("in", Some("mvno"), Some("small")),
            ],
        ),
        (
            "for what comes from outside",
            Action::Deny,
            Inbound,
            all,
            "",
            &[("in", None, None)],
        ),
    ];
    for (sentence, action, direction, realm, group, expected) in cases {
        let rule = Rule {
            name: "r".to_owned(),
            direction,
            action,
            realm,
            group: group.to_owned(),
            source: Vec::new(),
            destination: Vec::new(),
            protocol: None,
            ports: Ports::ANY,
            most: 0,
        };
        let rows = shown(rule.clone(), &realms);
        let rows: Vec<Row<'_>> = rows
            .iter()
            .map(|(direction, realm, group)| (&**direction, realm.as_deref(), group.as_deref()))
            .collect();
        assert_eq!(rows, expected, "{sentence}");
        if realm == FIRST {
            let alone = shown(rule, &Realms::default());
            assert!(
                alone.iter().all(|(_, realm, _)| realm.is_none()),
                "{sentence}, where there is one realm: {alone:?}"
            );
        }
    }
}
