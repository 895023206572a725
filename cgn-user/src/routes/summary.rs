//! The tables that the fast path reads: one next hop per /16 where that is the whole truth, and
//! single addresses.

use std::net::Ipv4Addr;

use super::MIXED;
use super::fib::{Fib, Resolution, Target, is_own_business};
use super::prefix::Prefix;
use super::span::Span;

/// Local segments larger than this (`local` routes wider than a /24) are not listed one by one;
/// their /16s are MIXED, and the kernel answers for them.
const MAX_LOCAL_RUN: u32 = 256;

/// What the fast path does with one address of a MIXED /16.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exact {
    /// Gives packets to the kernel: an own address or a broadcast address.
    Local,
    /// Sends packets to the next hop with this id: a neighbour on the link.
    Hop(u16),
}

/// The exact entries.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ExactTable {
    /// Own addresses first, then neighbours; each by address.
    pub entries: Vec<(Ipv4Addr, Exact)>,
    /// How many did not fit, or belong to local prefixes too wide to list.
    pub omitted: usize,
}

/// The next hop of each /16, by the high 16 bits of the address.
///
/// An id only if every address of the /16 resolves to [`Resolution::Hop`] with that id and no
/// prefix of `special` touches the /16; else [`MIXED`].
pub fn summarise(fib: &Fib, special: &[Prefix]) -> Box<[u16; 65_536]> {
    let mut table = Box::new([MIXED; 65_536]);
    if fib.kernel_decides {
        return table;
    }
    for (id, (span, routes)) in table.iter_mut().zip((0..=u16::MAX).zip(fib.spans.iter())) {
        *id = if touches_own_business(span) {
            MIXED
        } else {
            only_hop(fib, routes)
        };
    }
    for prefix in special {
        for span in prefix.first() >> 16..=prefix.last() >> 16 {
            table[span as usize] = MIXED;
        }
    }
    table
}

fn touches_own_business(span: u16) -> bool {
    let first = u32::from(span) << 16;
    is_own_business(Ipv4Addr::from(first)) || is_own_business(Ipv4Addr::from(first | 0xffff))
}

fn only_hop(fib: &Fib, routes: &Span) -> u16 {
    let hop = |action: u32| match fib.targets[action as usize] {
        Target::Fixed(Resolution::Hop(id)) => id,
        _ => MIXED,
    };
    match routes {
        Span::One(action) => hop(*action),
        Span::Many(segments) => {
            let first = segments
                .first()
                .map_or(MIXED, |segment| hop(segment.action));
            let same = segments.iter().all(|segment| hop(segment.action) == first);
            if same { first } else { MIXED }
        }
    }
}

/// The single addresses that the fast path may look up, at most `limit` of them: own addresses
/// and broadcast addresses, and neighbours on our ports whose Ethernet address is known. What is
/// left out costs only time: the fast path asks the kernel for it.
pub fn exact(fib: &Fib, limit: usize) -> ExactTable {
    let mut table = ExactTable::default();
    let put = |table: &mut ExactTable, ip, exact| {
        if table.entries.len() < limit {
            table.entries.push((ip, exact));
        } else {
            table.omitted += 1;
        }
    };
    for (first, last) in local_runs(fib) {
        if last - first >= MAX_LOCAL_RUN {
            table.omitted += (last - first) as usize + 1;
            continue;
        }
        for address in first..=last {
            put(&mut table, Ipv4Addr::from(address), Exact::Local);
        }
    }
    if fib.kernel_decides {
        return table;
    }
    let mut neighbours: Vec<_> = fib
        .on_link
        .iter()
        .filter_map(|key| Some((key.ip, *fib.ids.get(key)?)))
        .filter(|&(_, id)| id != MIXED)
        .collect();
    neighbours.sort_unstable();
    for (ip, id) in neighbours {
        put(&mut table, ip, Exact::Hop(id));
    }
    table
}

/// The first and last addresses of each run of local addresses, but for loopback and the like.
fn local_runs(fib: &Fib) -> impl Iterator<Item = (u32, u32)> {
    let is_local = |action: u32| fib.targets[action as usize] == Target::Fixed(Resolution::Local);
    let spans = (0..=u16::MAX).zip(fib.spans.iter());
    spans.flat_map(move |(span, routes)| {
        let base = u32::from(span) << 16;
        let mut runs = Vec::new();
        match routes {
            Span::One(action) if is_local(*action) => runs.push((base, base | 0xffff)),
            Span::One(_) => {}
            Span::Many(segments) => {
                let ends = segments
                    .iter()
                    .skip(1)
                    .map(|next| u32::from(next.start) - 1);
                for (segment, end) in segments.iter().zip(ends.chain([0xffff])) {
                    if is_local(segment.action) {
                        runs.push((base | u32::from(segment.start), base | end));
                    }
                }
            }
        }
        runs.retain(|&(first, _)| !is_own_business(Ipv4Addr::from(first)));
        runs
    })
}
