//! A pool that grew: what stood at an address stands there in the new tables.

use cgn_common::layout::{PAGES, Rows};

use super::super::growth::Old;
use super::super::install;
use super::super::memory::Table;
use super::{Grant, addr, installed, pool, subscribers};

/// The tables of `memory` that a growth makes anew, as they are.
fn old(memory: &super::Memory) -> Old {
    let old = Old {
        pages: Table::zeroed(PAGES as usize).expect("memory"),
        externals: Table::zeroed(memory.externals.len()).expect("memory"),
        blocks: Table::zeroed(memory.blocks.len()).expect("memory"),
    };
    for number in 0..PAGES {
        if let Some(page) = memory.outside_pages.read(number) {
            old.pages.write(number, page);
        }
    }
    let all = 0..memory.externals.len() as u32;
    old.externals.copy_from(&memory.externals, all);
    let all = 0..memory.blocks.len() as u32;
    old.blocks.copy_from(&memory.blocks, all);
    old
}

#[test]
fn what_was_at_an_address_is_there_in_the_grown_tables() {
    let range = || vec![subscribers("100.64.0.0", "100.64.0.15", 1)];
    let first = pool(&[("203.0.113.9", "203.0.113.9")], 8);
    let small = pool(&[("198.51.100.4", "198.51.100.5")], 6);
    let (before, memory) = installed(vec![first.clone(), small.clone()], range());
    let grants = [("198.51.100.4", 7_u16), ("198.51.100.5", 1007)];
    for (number, (external, block)) in grants.into_iter().enumerate() {
        let grant = Grant {
            inside: addr(&format!("100.64.0.{number}")).into(),
            external: addr(external),
            pool: 1,
            block,
            slab: number as u32,
        };
        install::give(&memory, &before, &grant, 0, 0).expect("it is free");
    }
    let old = old(&memory);
    assert_eq!(old.used().count(), 2);

    // Another page before, one address between two, one after; and the first pool grows, too.
    let grown = pool(
        &[
            ("192.0.2.1", "192.0.2.3"),
            ("198.51.100.1", "198.51.100.5"),
            ("203.0.113.200", "203.0.113.201"),
        ],
        6,
    );
    let wider = pool(&[("203.0.113.8", "203.0.113.9")], 8);
    let (after, new) = installed(vec![wider, grown], range());
    assert_eq!(old.misfit(&after), None);
    old.carry_over(&after, &new);
    for (number, (external, block)) in grants.into_iter().enumerate() {
        let index = after.external_index(addr(external)).expect("it is there");
        let rows = Rows(new.externals.get(index).expect("one").0.load());
        let row = new.blocks.get(rows.first_row() + u32::from(block));
        let (line, inside) = row.expect("a row").read();
        assert_eq!(line, before.slab_line(1, number as u32));
        assert_eq!(inside, addr(&format!("100.64.0.{number}")).to_bits());
    }
    let rows = (0..new.blocks.len() as u32).filter_map(|row| new.blocks.get(row));
    assert_eq!(rows.filter(|row| row.read().0 != 0).count(), 2);
    assert_eq!(after.fixed_word(), before.fixed_word());
    assert_ne!(after.layout_word(), before.layout_word());

    // Without an address that is in use, or with it in another pool, it does not fit.
    let missing = pool(&[("198.51.100.4", "198.51.100.4")], 6);
    let (less, _) = installed(vec![first.clone(), missing], range());
    assert_eq!(
        old.misfit(&less).map(|used| used.external),
        Some(addr("198.51.100.5"))
    );
    let (swapped, _) = installed(vec![small, first], range());
    assert!(old.misfit(&swapped).is_some());
}
