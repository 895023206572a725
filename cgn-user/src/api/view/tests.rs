mod consistency;
mod figures;

use std::net::Ipv4Addr;

use cgn_common::limits::ticks;
use cgn_common::verdict::Protocol;

use super::{Part, Selection, View};
use crate::api::fixture::{Fixture, HOME, OFFICE, OTHER_HOME, RESIDENTIAL_PORTS, SERVER};
use crate::api::rows::RefusalRow;
use crate::api::rows::{BlockRow, MappingRow, Page, PerProtocol};
use crate::dataplane::install::refuse;
use crate::policy::groups::{Allowance, Group, Groups};
use cgn_common::layout::refusal_of;
use cgn_common::nat::quota;
use cgn_common::verdict::Reason;

const ALL: Selection = Selection {
    subscriber: None,
    realm: None,
    pool: None,
    protocol: None,
    external: None,
    external_port: None,
};
const WHOLE: Part = Part {
    limit: 10_000,
    cursor: 0,
};

/// Two homes and an office: three blocks at home, one in the office; 20 UDP
/// mappings, 3 TCP, 2 ICMP.
fn busy() -> Fixture {
    let mut cgn = Fixture::new();
    cgn.give(HOME, [203, 0, 113, 2], 5);
    cgn.give(OTHER_HOME, [203, 0, 113, 2], 3);
    cgn.give(HOME, [203, 0, 113, 2], 4);
    cgn.give(OFFICE, [198, 51, 100, 7], 125);
    for port in 0..20 {
        cgn.send(Protocol::Udp, HOME, 40_000 + port, 100);
    }
    for port in 0..3 {
        cgn.send(Protocol::Tcp, OTHER_HOME, 50_000 + port, 200);
    }
    for id in 0..2 {
        cgn.send(Protocol::Icmp, OFFICE, id, 300);
    }
    cgn
}

/// Part after part of `limit` rows.
fn in_parts<T>(limit: usize, read: impl Fn(Part) -> Page<T>) -> Vec<T> {
    let mut rows = Vec::new();
    let mut cursor = 0;
    loop {
        let page = read(Part { limit, cursor });
        assert!(page.rows.len() <= limit);
        rows.extend(page.rows);
        match page.next_cursor {
            Some(next) => {
                assert!(next > cursor, "every part goes on");
                cursor = next;
            }
            None => return rows,
        }
    }
}

fn blocks(view: View<'_>, selection: Selection) -> Vec<(Ipv4Addr, u16)> {
    let rows = view.blocks(selection, WHOLE).rows;
    rows.iter()
        .map(|row| (row.inside, row.first_port))
        .collect()
}

#[test]
fn blocks_tell_who_has_which_ports_since_when_and_how_full_they_are() {
    let cgn = busy();
    let rows = cgn.view().blocks(ALL, WHOLE).rows;
    assert_eq!(
        rows[0],
        BlockRow {
            realm: String::new(),
            external: [203, 0, 113, 2].into(),
            first_port: 1024 + 3 * RESIDENTIAL_PORTS,
            last_port: 1024 + 4 * RESIDENTIAL_PORTS - 1,
            first_system_port: 0,
            last_system_port: 0,
            key: 0,
            pool: "residential".into(),
            inside: OTHER_HOME,
            allocated: "2025-03-01T00:09:10.123Z".into(),
            log_sequence: 101,
            ports_used: PerProtocol {
                tcp: 3,
                udp: 0,
                icmp: 0
            },
        }
    );
    assert_eq!(
        rows[3].last_port, 65_535,
        "the last block of an address ends with it"
    );
    assert_eq!(rows[3].ports_used.icmp, 2);
    assert_eq!(rows[1].ports_used.udp + rows[2].ports_used.udp, 20);
}

#[test]
fn blocks_are_selected_by_subscriber_pool_address_and_port() {
    let cgn = busy();
    let (third, fourth, fifth) = ((OTHER_HOME, 1216), (HOME, 1280), (HOME, 1344));
    let office = (OFFICE, 65_024);
    let external = Some(Ipv4Addr::from([203, 0, 113, 2]));
    let at = |port| Selection {
        external,
        external_port: Some(port),
        ..ALL
    };
    let cases = [
        (
            "all, by address and port",
            ALL,
            vec![third, fourth, fifth, office],
        ),
        (
            "of a subscriber",
            Selection {
                subscriber: Some(HOME.into()),
                ..ALL
            },
            vec![fourth, fifth],
        ),
        (
            "of a pool",
            Selection {
                pool: Some(1),
                ..ALL
            },
            vec![office],
        ),
        (
            "of an address",
            Selection { external, ..ALL },
            vec![third, fourth, fifth],
        ),
        ("the first port of a block", at(1280), vec![fourth]),
        ("the last port of a block", at(1343), vec![fourth]),
        ("a port of a block that nobody has", at(1408), vec![]),
        ("a port that is in no block", at(80), vec![]),
        (
            "a subscriber and another's pool",
            Selection {
                pool: Some(1),
                subscriber: Some(HOME.into()),
                ..ALL
            },
            vec![],
        ),
        (
            "a subscriber and a port of its own",
            Selection {
                subscriber: Some(HOME.into()),
                ..at(1300)
            },
            vec![fourth],
        ),
        (
            "a subscriber without a block",
            Selection {
                subscriber: Some([100, 64, 0, 1].into()),
                ..ALL
            },
            vec![],
        ),
    ];
    for (what, selection, expected) in cases {
        assert_eq!(blocks(cgn.view(), selection), expected, "{what}");
    }
}

#[test]
fn mappings_tell_both_endpoints_the_first_remote_one_and_how_long_they_are_idle() {
    let cgn = busy();
    let now = 300 + ticks(10);
    let rows = cgn.view().mappings(ALL, WHOLE, now).rows;
    assert_eq!(rows.len(), 25);
    let tcp = rows.iter().find(|row| row.inside_port == 50_000).unwrap();
    let block = 1216..1216 + RESIDENTIAL_PORTS;
    assert!(block.contains(&tcp.external_port), "{tcp:?}");
    assert_eq!(
        *tcp,
        MappingRow {
            realm: String::new(),
            protocol: "tcp".into(),
            inside: OTHER_HOME,
            inside_port: 50_000,
            external: [203, 0, 113, 2].into(),
            external_port: tcp.external_port,
            remote: Some(SERVER),
            remote_port: Some(443),
            state: "init".into(),
            shared: false,
            // (300 + 38 - 200) ticks of 0.268 s
            idle_secs: 37,
            pool: "residential".into(),
        }
    );
    let icmp = rows.iter().find(|row| row.protocol == "icmp").unwrap();
    assert_eq!(
        (icmp.remote, icmp.remote_port, icmp.idle_secs),
        (None, None, 10),
        "nobody asked for it, and it was not stamped again"
    );
    assert_eq!(icmp.state, "open");
    let early = cgn.view().mappings(ALL, WHOLE, 99).rows;
    assert!(
        early.iter().all(|row| row.idle_secs == 0),
        "stamped after `now` was read"
    );
}

#[test]
fn mappings_are_selected_by_protocol_subscriber_and_external_endpoint() {
    let cgn = busy();
    let count = |selection| cgn.view().mappings(selection, WHOLE, 300).rows.len();
    assert_eq!(
        count(Selection {
            protocol: Some(Protocol::Udp),
            ..ALL
        }),
        20
    );
    assert_eq!(
        count(Selection {
            subscriber: Some(OTHER_HOME.into()),
            ..ALL
        }),
        3
    );
    assert_eq!(
        count(Selection {
            pool: Some(1),
            ..ALL
        }),
        2
    );
    // Who has this port? Exactly the mapping that was shown with it.
    for row in cgn.view().mappings(ALL, WHOLE, 300).rows {
        let protocol = Protocol::ALL.into_iter().find(|p| p.name() == row.protocol);
        let selection = Selection {
            protocol,
            external: Some(row.external),
            external_port: Some(row.external_port),
            ..ALL
        };
        assert_eq!(cgn.view().mappings(selection, WHOLE, 300).rows, [row]);
    }
}

#[test]
fn parts_of_any_size_add_up_to_the_whole() {
    let cgn = busy();
    let view = cgn.view();
    let mappings = view.mappings(ALL, WHOLE, 300).rows;
    let blocks = view.blocks(ALL, WHOLE).rows;
    let subscribers = view.subscribers(ALL, WHOLE, 300).rows;
    for limit in [1, 2, 3, 7, 24, 25, 26] {
        assert_eq!(
            in_parts(limit, |part| view.mappings(ALL, part, 300)),
            mappings
        );
        assert_eq!(in_parts(limit, |part| view.blocks(ALL, part)), blocks);
        assert_eq!(
            in_parts(limit, |part| view.subscribers(ALL, part, 300)),
            subscribers
        );
        let of_home = Selection {
            subscriber: Some(HOME.into()),
            ..ALL
        };
        assert_eq!(
            in_parts(limit, |part| view.mappings(of_home, part, 300)).len(),
            20
        );
    }
    // A client may send any cursor.
    for cursor in [u64::MAX, u64::from(u32::MAX), u64::from(u32::MAX) << 16] {
        let beyond = Part { limit: 5, cursor };
        assert!(view.mappings(ALL, beyond, 300).rows.is_empty());
        assert!(view.blocks(ALL, beyond).rows.is_empty());
        assert!(view.subscribers(ALL, beyond, 300).rows.is_empty());
    }
}

#[test]
fn subscribers_have_the_sum_of_their_blocks_and_say_whether_they_get_more() {
    let cgn = busy();
    let rows = cgn.view().subscribers(ALL, WHOLE, 300).rows;
    let brief: Vec<_> = rows
        .iter()
        .map(|row| {
            (
                row.inside,
                row.blocks,
                row.ports_usable,
                row.ports_used.udp,
                row.refused,
            )
        })
        .collect();
    assert_eq!(
        brief,
        [
            (OFFICE, 1, 512, 0, false),
            (HOME, 2, 128, 20, true),
            (OTHER_HOME, 1, 64, 0, false),
        ],
        "by address; a home with its two blocks can have no third"
    );
    let external = Selection {
        external: Some([198, 51, 100, 7].into()),
        ..ALL
    };
    assert_eq!(cgn.view().subscribers(external, WHOLE, 300).rows.len(), 1);
    let pool = Selection {
        pool: Some(0),
        ..ALL
    };
    assert_eq!(cgn.view().subscribers(pool, WHOLE, 300).rows.len(), 2);
    let one = Selection {
        subscriber: Some(HOME.into()),
        ..ALL
    };
    assert_eq!(
        cgn.view().subscribers(one, WHOLE, 300).rows,
        [rows[1].clone()]
    );
}

#[test]
fn a_subscriber_that_was_refused_its_first_block_is_shown_without_an_address() {
    let cgn = Fixture::new();
    assert!(cgn.view().subscribers(ALL, WHOLE, 300).rows.is_empty());
    refuse(
        &cgn.memory,
        cgn.geometry.subscriber_index(HOME).unwrap(),
        true,
    );
    let rows = cgn.view().subscribers(ALL, WHOLE, 300).rows;
    assert_eq!(
        (rows[0].inside, rows[0].external, rows[0].blocks),
        (HOME, None, 0)
    );
}

#[test]
fn a_subscriber_shows_its_group_and_what_it_was_refused() {
    let mut cgn = Fixture::new();
    let group = Group {
        name: "basic".to_owned(),
        allowance: Allowance::ALL,
    };
    cgn.geometry.groups = Groups::new(vec![(group, vec![(HOME, 32)])]);
    let index = cgn.geometry.subscriber_index(HOME).expect("a subscriber");
    let quota = cgn.memory.quotas.get(index).expect("it has one");
    let kind = refusal_of(Reason::MappingRate).expect("remembered");
    for tick in [1000, 1100, 1150] {
        quota::note(quota, kind, tick);
    }
    let one = Selection {
        subscriber: Some(HOME.into()),
        ..ALL
    };
    let rows = cgn.view().subscribers(one, WHOLE, 1200).rows;
    // 50 and 200 ticks of 0.268 s.
    let refusal = RefusalRow {
        reason: "mapping_rate".to_owned(),
        last_secs: 13,
        since_secs: 53,
    };
    assert_eq!(rows[0].refusals, [refusal]);
    assert_eq!(rows[0].group.as_deref(), Some("basic"));
    assert_eq!(rows[0].blocks, 0, "shown though it has no block");
}
