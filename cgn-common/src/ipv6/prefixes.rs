//! New sessions in IPv6 by the prefix of their source: counted and limited as those of IPv4 are, see
//! [`crate::nat::throttle`], in a table of the same kind.
//!
//! A limit of IPv4 names its prefix within its own word. 64 bits do not fit there: a limit has a *mark*
//! of its prefix, 32 bits of the hash that chose the cells, and the packet's way looks at nothing else.
//! Another prefix is taken for it if it shares cell and mark: one of 2^47. Whom user space tells of
//! stands in two words beside; they are written after the limit, and are right where their mark is the
//! limit's.

use crate::layout::{Guards, IPV6_LENGTHS, Limited, NewcomersIpv6, Side};
use crate::nat::throttle::Seen;
use crate::tables::Tables;

/// Cells of one side, length and hash, as a shift.
const CELLS_SHIFT: u32 = 15;
/// Cells in all.
pub const CELLS: u32 = (4 * IPV6_LENGTHS.len() as u32) << CELLS_SHIFT;

/// First 64 bits of the prefix of a source that begins with `source`, with the length at `at` of
/// [`IPV6_LENGTHS`].
#[inline(always)]
#[must_use]
pub const fn prefix_of(at: usize, source: u64) -> u64 {
    source & u64::MAX << (64 - IPV6_LENGTHS[at])
}

/// Side and place in [`IPV6_LENGTHS`] of what a cell is for.
#[must_use]
pub const fn kind_of(cell: u32) -> (Side, usize) {
    let kind = (cell >> (CELLS_SHIFT + 1)) as usize;
    match kind < IPV6_LENGTHS.len() {
        true => (Side::Inside, kind),
        false => (Side::Outside, kind - IPV6_LENGTHS.len()),
    }
}

/// Where a prefix is counted, and what a limit of it has in the place of its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub cells: [u32; 2],
    pub mark: u32,
}

impl Place {
    /// Of a prefix of a realm. Hashed as [`crate::nat::place::Place`] is.
    #[inline(always)]
    #[must_use]
    pub const fn of(secret: u64, (side, at): (Side, usize), realm: u8, prefix: u64) -> Self {
        const MASK: u32 = (1 << CELLS_SHIFT) - 1;
        const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
        let part = match side {
            Side::Inside => 2 * at as u32,
            Side::Outside => 2 * (IPV6_LENGTHS.len() + at) as u32,
        };
        let kind = (part as u64 + 1) << 32 | (realm as u64) << 40;
        let x = (prefix ^ secret).wrapping_mul(FACTOR);
        let x = (x ^ (x >> 32) ^ kind).wrapping_mul(secret | 1);
        let x = (x ^ (x >> 29)).wrapping_mul(FACTOR);
        let x = x ^ (x >> 32);
        Self {
            cells: [
                part << CELLS_SHIFT | x as u32 & MASK,
                (part + 1) << CELLS_SHIFT | (x >> CELLS_SHIFT) as u32 & MASK,
            ],
            mark: (x >> 32) as u32,
        }
    }
}

/// Counts a new session of a source that begins with `source`, on `side` in a realm; false if one of
/// its prefixes has too many. Narrow prefixes come first, and what they refuse is not counted for the
/// wider ones.
#[inline(always)]
#[must_use]
pub fn count<T: Tables + ?Sized>(tables: &T, side: Side, realm: u8, source: u64) -> bool {
    let ticks = tables.guard(Guards::LIMIT_TICKS);
    let now = tables.now();
    for at in 0..IPV6_LENGTHS.len() {
        let most = tables.guard(Guards::newcomers_ipv6(side, at));
        if most == 0 || ticks == 0 {
            continue;
        }
        let prefix = prefix_of(at, source);
        let Place { cells, mark } = Place::of(tables.id_secret(), (side, at), realm, prefix);
        let first = tables.newcomers_ipv6(cells[0]);
        let second = tables.newcomers_ipv6(cells[1]);
        let (Some(first), Some(second)) = (first, second) else {
            continue;
        };
        let seen = Seen {
            cells: [&first.counts, &second.counts],
            name: mark,
            most: most as u64,
            ticks: ticks as u64,
            now,
        };
        if !seen.count() {
            tell(first, mark, realm, prefix);
            tell(second, mark, realm, prefix);
            return false;
        }
    }
    true
}

/// Writes down which prefix it is that a cell limits, if it is this one.
#[inline(always)]
fn tell(cell: &NewcomersIpv6, mark: u32, realm: u8, prefix: u64) {
    if Limited(cell.counts.limited.load()).prefix() != mark {
        return;
    }
    if cell.prefix.load() != prefix {
        cell.prefix.store(prefix);
    }
    if cell.realm.load() != realm as u64 {
        cell.realm.store(realm as u64);
    }
}

/// First 64 bits and realm of the prefix that a cell limits at the tick `now`; None if there is none, or
/// its name is not written yet.
#[must_use]
pub fn limited(secret: u64, at: u32, cell: &NewcomersIpv6, now: u32) -> Option<(u64, u8)> {
    let limited = Limited(cell.counts.limited.load());
    if limited.left(now) == 0 {
        return None;
    }
    let (prefix, realm) = (cell.prefix.load(), cell.realm.load() as u8);
    let place = Place::of(secret, kind_of(at), realm, prefix);
    (place.mark == limited.prefix() && place.cells.contains(&at)).then_some((prefix, realm))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: u64 = 0x1234_5678_9abc_def1;

    #[test]
    fn prefixes_are_those_of_their_lengths() {
        let source = 0x2001_0db8_1234_56ff;
        let prefixes = [0, 1, 2].map(|at| prefix_of(at, source));
        assert_eq!(
            prefixes,
            [source, 0x2001_0db8_1234_5600, 0x2001_0db8_1234_0000]
        );
    }

    #[test]
    fn cells_are_in_range_and_each_kind_has_its_own() {
        let sides = [Side::Inside, Side::Outside];
        let kinds = sides
            .into_iter()
            .flat_map(|side| (0..3).map(move |at| (side, at)));
        for kind in kinds {
            for number in 0..10_000_u64 {
                let cells = Place::of(SECRET, kind, 0, number << 16).cells;
                assert!(cells.iter().all(|cell| *cell < CELLS));
                assert!(cells.iter().all(|cell| kind_of(*cell) == kind));
                assert_ne!(cells[0], cells[1]);
            }
        }
    }

    /// As chance has it, for prefixes side by side, which is what a provider gives its customers.
    #[test]
    fn neighbours_seldom_share_a_cell_and_never_both_or_the_mark() {
        for (at, step) in [(0, 1), (1, 1 << 8), (2, 1 << 16)] {
            let place = |number: u64| {
                let prefix = 0x2001_0db8_0000_0000 + number * step;
                Place::of(SECRET, (Side::Outside, at), 0, prefix)
            };
            let one = place(20_000);
            let others = (0..65_536).filter(|number| *number != 20_000).map(place);
            let others: Vec<_> = others.collect();
            let shared = |which: fn(Place, Place) -> bool| {
                others.iter().filter(|other| which(**other, one)).count()
            };
            assert!(shared(|a, b| a.cells[0] == b.cells[0]) <= 12, "/{at}");
            assert!(shared(|a, b| a.cells[1] == b.cells[1]) <= 12, "/{at}");
            assert_eq!(shared(|a, b| a.cells == b.cells), 0);
            assert_eq!(shared(|a, b| a.mark == b.mark), 0);
        }
    }

    #[test]
    fn each_realm_has_its_own() {
        for number in 0..1000_u64 {
            let place = |realm| Place::of(SECRET, (Side::Inside, 1), realm, number << 8);
            assert_ne!(place(0).mark, place(1).mark);
        }
    }
}
