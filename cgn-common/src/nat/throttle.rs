//! New sessions, limited by the prefix of their source (ADR 33): a worm inside, a scan or a flood
//! outside. Whoever has a mapping, or a session that is known, is never asked.
//!
//! A table of fixed size counts. Each prefix has two cells of its side and length, by two keyed
//! hashes, and the lower of their counts holds (a count-min sketch, of which only the lower cell
//! counts on): a prefix is taken for a busy one only if both its cells are, whom nobody outside can
//! choose to share. A prefix over its limit writes its name into one of them. A limit so is of that
//! very prefix, and user space reads there whom it holds for.
//!
//! Rules of the access lists that have a rate count in cells of their own in the same table, by rule and
//! inside address; there nothing is limited for longer than the rate says.
//!
//! While it is limited, a prefix may open a share of its limit, which grows from nothing at first to
//! all of it at the end; being over it again begins anew. Narrow prefixes come first, and what they
//! refuse is not counted for the wider ones: one host does not have its neighbours limited.

use crate::layout::{
    Guards, Held, Limited, Newcomers, OwnedBlock, Side, THROTTLED_LENGTHS, Window, header,
};
use crate::tables::Tables;
use crate::verdict::Reason;

/// Cells of one side, length and hash, as a shift.
const CELLS_SHIFT: u32 = 15;
/// The part of the table behind those of the prefixes, for the rates of rules.
const RULES_PART: u32 = 4 * THROTTLED_LENGTHS.len() as u32;
/// Cells of prefixes, which come first.
pub const PREFIX_CELLS: u32 = RULES_PART << CELLS_SHIFT;
/// Cells in all.
pub const CELLS: u32 = (RULES_PART + 2) << CELLS_SHIFT;
/// Attempts to count in a cell that other processors count in, too.
const TRIES: u32 = 4;

/// First address of the prefix of `source` with the length at `at` of [`THROTTLED_LENGTHS`].
#[inline(always)]
#[must_use]
pub const fn prefix_of(at: usize, source: u32) -> u32 {
    source & u32::MAX << (32 - THROTTLED_LENGTHS[at])
}

/// The part of the table for one side and length.
const fn part(side: Side, at: usize) -> u32 {
    2 * Guards::newcomers(side, at) as u32
}

/// Side and place in [`THROTTLED_LENGTHS`] of what a cell below [`PREFIX_CELLS`] is for.
#[must_use]
pub const fn kind_of(cell: u32) -> (Side, usize) {
    let kind = (cell >> (CELLS_SHIFT + 1)) as usize;
    match kind < THROTTLED_LENGTHS.len() {
        true => (Side::Inside, kind),
        false => (Side::Outside, kind - THROTTLED_LENGTHS.len()),
    }
}

/// The two cells of a prefix.
#[inline(always)]
#[must_use]
pub const fn cells_of(secret: u64, side: Side, at: usize, prefix: u32) -> [u32; 2] {
    cells_in(secret, part(side, at), 0, prefix)
}

/// The two cells in which a rule counts what an inside address of a realm sends.
#[inline(always)]
#[must_use]
pub const fn cells_of_rule(secret: u64, rule: u32, realm: u8, inside: u32) -> [u32; 2] {
    cells_in(secret, RULES_PART, rule << 8 | realm as u32, inside)
}

/// Two cells of a part and the next one, by a kind (24 bits) and an address. Hashed as
/// [`super::place::Place`] is.
#[inline(always)]
const fn cells_in(secret: u64, part: u32, kind: u32, address: u32) -> [u32; 2] {
    const MASK: u32 = (1 << CELLS_SHIFT) - 1;
    let key = address as u64 | (part as u64 + 1) << 32 | (kind as u64) << 40;
    let x = (key ^ secret).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 32)).wrapping_mul(secret | 1);
    let x = x ^ (x >> 29);
    [
        part << CELLS_SHIFT | x as u32 & MASK,
        (part + 1) << CELLS_SHIFT | (x >> 32) as u32 & MASK,
    ]
}

/// A prefix in its cells, of IPv4 or of IPv6.
pub(crate) struct Seen<'t> {
    pub cells: [&'t Newcomers; 2],
    /// What a limit of it stands under: its first address, of a prefix of IPv6 its mark.
    pub name: u32,
    /// New sessions in a window that it may have.
    pub most: u64,
    /// Ticks that it is limited for.
    pub ticks: u64,
    pub now: u32,
}

impl<'t> Seen<'t> {
    /// None where prefixes of this length are not limited.
    #[inline(always)]
    fn new<T: Tables + ?Sized>(
        tables: &'t T,
        side: Side,
        at: usize,
        source: u32,
        now: u32,
    ) -> Option<Self> {
        let most = tables.guard(Guards::newcomers(side, at));
        let ticks = tables.guard(Guards::LIMIT_TICKS);
        if most == 0 || ticks == 0 {
            return None;
        }
        let prefix = prefix_of(at, source);
        let [first, second] = cells_of(tables.id_secret(), side, at, prefix);
        Some(Self {
            cells: [tables.newcomers(first)?, tables.newcomers(second)?],
            name: prefix,
            most: most as u64,
            ticks: ticks as u64,
            now,
        })
    }

    #[inline(always)]
    fn windows(&self) -> [Window; 2] {
        let window = |cell: &Newcomers| Window(cell.window.load()).at(self.now);
        [window(self.cells[0]), window(self.cells[1])]
    }

    /// New sessions of this window that it may have: all, unless it is limited.
    #[inline(always)]
    fn share(&self) -> u64 {
        let left = |cell: &Newcomers| {
            let limited = Limited(cell.limited.load());
            match limited.prefix() == self.name {
                true => limited.left(self.now) as u64,
                false => 0,
            }
        };
        let (first, second) = (left(self.cells[0]), left(self.cells[1]));
        let left = if first > second { first } else { second };
        if left == 0 || left > self.ticks {
            return u64::MAX;
        }
        self.most * (self.ticks - left) / self.ticks
    }

    /// True if it may open nothing now.
    #[inline(always)]
    fn is_closed(&self) -> bool {
        let [first, second] = self.windows();
        let lately = lower(first.sliding(self.now), second.sliding(self.now));
        lately >= self.most || lower(first.current(), second.current()) >= self.share()
    }

    /// Counts one new session; false if it is one too many.
    #[inline(always)]
    pub(crate) fn count(&self) -> bool {
        let [first, second] = self.windows();
        let (a, b) = (first.sliding(self.now), second.sliding(self.now));
        if a <= b {
            add(self.cells[0], self.now);
        }
        if b <= a {
            add(self.cells[1], self.now);
        }
        if lower(a, b) >= self.most {
            self.limit();
            return false;
        }
        lower(first.current(), second.current()) < self.share()
    }

    /// Limits the prefix from now on, in a cell that is free or its own. Without one it is not
    /// limited for longer than its count is over the limit.
    #[inline(always)]
    fn limit(&self) {
        let wanted = Limited::new(self.name, self.now.wrapping_add(self.ticks as u32));
        for cell in self.cells {
            let seen = Limited(cell.limited.load());
            if seen.prefix() == self.name || seen.left(self.now) == 0 {
                if seen != wanted {
                    // Lost to another processor: the next packet tries again.
                    let _ = cell.limited.replace(seen.0, wanted.0);
                }
                return;
            }
        }
    }
}

#[inline(always)]
const fn lower(a: u64, b: u64) -> u64 {
    if a < b { a } else { b }
}

#[inline(always)]
fn add(cell: &Newcomers, now: u32) {
    for _ in 0..TRIES {
        let seen = cell.window.load();
        if cell.window.replace(seen, Window(seen).at(now).and_one().0) {
            return;
        }
    }
}

/// Counts a new session of `source`, which is on `side`; false if one of its prefixes has too many.
#[inline(always)]
#[must_use]
pub fn count<T: Tables + ?Sized>(tables: &T, side: Side, source: u32) -> bool {
    let now = tables.now();
    for at in 0..THROTTLED_LENGTHS.len() {
        if let Some(seen) = Seen::new(tables, side, at, source, now)
            && !seen.count()
        {
            return false;
        }
    }
    true
}

/// True if an inside address of a realm may send one more packet that this rule with a rate holds for;
/// then it is counted. The same cells as for prefixes: whom nobody can choose to
/// share both of them with is never taken for a busy one.
#[inline(always)]
#[must_use]
pub fn is_within_rate<T: Tables + ?Sized>(
    tables: &T,
    held: Held,
    (realm, inside): (u8, u32),
) -> bool {
    let now = tables.now();
    let [first, second] = cells_of_rule(tables.id_secret(), held.rule(), realm, inside);
    let (Some(first), Some(second)) = (tables.newcomers(first), tables.newcomers(second)) else {
        return true;
    };
    let lately = |cell: &Newcomers| Window(cell.window.load()).at(now).sliding(now);
    let (a, b) = (lately(first), lately(second));
    if lower(a, b) >= held.most() as u64 {
        return false;
    }
    if a <= b {
        add(first, now);
    }
    if b <= a {
        add(second, now);
    }
    true
}

/// True if one of the prefixes of `source` may open nothing now; nothing is counted.
#[inline(always)]
#[must_use]
pub fn is_closed<T: Tables + ?Sized>(tables: &T, side: Side, source: u32) -> bool {
    let now = tables.now();
    for at in 0..THROTTLED_LENGTHS.len() {
        if let Some(seen) = Seen::new(tables, side, at, source, now)
            && seen.is_closed()
        {
            return true;
        }
    }
    false
}

/// The same two for a subscriber who has a block: with `counted` it opens a mapping, or would.
/// True if it may.
#[inline(always)]
#[must_use]
pub fn may_begin<T: Tables + ?Sized>(tables: &T, subscriber: u32, counted: bool) -> bool {
    let Some(inside) = inside_of(tables, subscriber) else {
        return true;
    };
    if counted {
        count(tables, Side::Inside, inside)
    } else {
        !is_closed(tables, Side::Inside, inside)
    }
}

/// Inside address of a subscriber, from its first block.
#[inline(always)]
fn inside_of<T: Tables + ?Sized>(tables: &T, subscriber: u32) -> Option<u32> {
    let entry = tables.subscriber(subscriber)?;
    let block = OwnedBlock(entry.blocks[0].load());
    let owner = tables.header(block.slab_line())?.0[header::OWNER].load() as u32;
    // 0: the block was taken back a moment ago.
    (owner != 0).then_some(owner)
}

/// Why a flow without a mapping opens none, if a packet would have: not for what `reason` says where
/// its prefix is limited.
#[inline(always)]
#[must_use]
pub fn blame<T: Tables + ?Sized>(tables: &T, subscriber: u32, reason: Reason) -> Reason {
    let opened_none = matches!(reason, Reason::MidStream | Reason::StrayReset);
    if opened_none && !tables.may_begin(subscriber, false) {
        let _ = tables.may_begin(subscriber, true);
        return Reason::Throttled;
    }
    reason
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_in_range_and_each_kind_has_its_own() {
        let sides = [Side::Inside, Side::Outside];
        let kinds = sides
            .into_iter()
            .flat_map(|side| (0..3).map(move |at| (side, at)));
        for (side, at) in kinds {
            for prefix in 0..10_000 {
                let cells = cells_of(0x1234_5678_9abc_def1, side, at, prefix << 8);
                assert!(cells.iter().all(|cell| *cell < PREFIX_CELLS));
                assert!(cells.iter().all(|cell| kind_of(*cell) == (side, at)));
                assert_ne!(cells[0], cells[1]);
            }
        }
    }

    #[test]
    fn cells_of_rules_are_their_own() {
        for (rule, realm) in [(0, 0), (63, 0), (0, 255), (63, 255)] {
            for inside in 0..1000 {
                let cells = cells_of_rule(0x1234_5678_9abc_def1, rule, realm, inside);
                assert!(
                    cells
                        .iter()
                        .all(|cell| (PREFIX_CELLS..CELLS).contains(cell))
                );
                let other = cells_of_rule(0x1234_5678_9abc_def1, rule ^ 1, realm, inside);
                assert_ne!(cells, other, "of another rule");
            }
        }
    }

    /// Two prefixes share a cell as often as chance has it, and both as seldom.
    #[test]
    fn two_prefixes_seldom_share_both_cells() {
        let cells = |prefix: u32| cells_of(0x0fed_cba9_8765_4321, Side::Outside, 1, prefix << 8);
        let one = cells(77_777);
        let others = (0..65_536_u32)
            .filter(|prefix| *prefix != 77_777)
            .map(cells);
        let shared = others.map(|other| (other[0] == one[0], other[1] == one[1]));
        let shared: Vec<_> = shared.collect();
        let count = |which: fn(&(bool, bool)) -> bool| shared.iter().filter(|s| which(s)).count();
        assert!(
            count(|s| s.0) <= 12 && count(|s| s.1) <= 12,
            "2 each are expected"
        );
        assert_eq!(count(|s| s.0 && s.1), 0);
    }

    #[test]
    fn prefixes_are_those_of_their_lengths() {
        let source = 0xcb00_71ff;
        let prefixes = [0, 1, 2].map(|at| prefix_of(at, source));
        assert_eq!(prefixes, [0xcb00_71ff, 0xcb00_7100, 0xcb00_7000]);
    }
}
