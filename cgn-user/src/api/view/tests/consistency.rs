//! Tables that change, or are damaged, while they are read.

use cgn_common::layout::header;
use cgn_common::verdict::Protocol;

use super::{ALL, WHOLE};
use crate::api::fixture::{ALLOCATED_MS, Fixture, HOME, OTHER_HOME};
use crate::dataplane::install::{Grant, give, take, withdraw};

#[test]
fn what_was_given_back_is_gone() {
    let mut cgn = Fixture::new();
    let grant = cgn.give(HOME, [203, 0, 113, 2], 5);
    cgn.send(Protocol::Udp, HOME, 40_000, 100);
    withdraw(&cgn.memory, &cgn.geometry, &grant);
    assert!(cgn.view().blocks(ALL, WHOLE).rows.is_empty());
    assert!(cgn.view().mappings(ALL, WHOLE, 100).rows.is_empty());
    assert!(cgn.view().subscribers(ALL, WHOLE, 300).rows.is_empty());
}

/// Between finding a block and reading its slab, anything can happen.
#[test]
fn a_row_that_changed_hands_while_it_was_read_is_left_out() {
    let mut cgn = Fixture::new();
    let first = cgn.give(HOME, [203, 0, 113, 1], 0);
    let found = cgn.view().owned(ALL, 0).next().unwrap();
    let shown = |what: &str, is_there: bool| {
        assert_eq!(cgn.view().is_still(&found), is_there, "{what}");
        let row = cgn.view().block_row(&found);
        assert_eq!(row.is_some(), is_there, "{what}: {row:?}");
    };
    shown("nothing happened", true);
    cgn.send(Protocol::Udp, HOME, 40_000, 0);
    shown("a mapping was opened", true);
    withdraw(&cgn.memory, &cgn.geometry, &first);
    shown("given back", false);
    for (inside, sequence, what) in [
        (OTHER_HOME, 7, "another has it, in the same slab"),
        (
            HOME,
            8,
            "the first owner has it again, as another allocation",
        ),
    ] {
        let grant = Grant {
            inside: inside.into(),
            ..first
        };
        give(&cgn.memory, &cgn.geometry, &grant, ALLOCATED_MS, sequence).unwrap();
        shown(what, false);
        assert!(take(&cgn.memory, &cgn.geometry, &grant));
    }
}

#[test]
fn a_damaged_header_gives_a_row_and_no_panic() {
    let mut cgn = Fixture::new();
    let grant = cgn.give(HOME, [203, 0, 113, 2], 5);
    let line = cgn.geometry.slab_line(grant.pool, grant.slab);
    let head = cgn.memory.header(line).unwrap();
    head.0[header::ALLOCATED_MS].store(u64::MAX);
    assert_eq!(cgn.view().blocks(ALL, WHOLE).rows.len(), 1);
}
