//! The tables that the fast path reads: one next hop per /16 where that is the whole truth, and
//! single addresses.

use std::net::Ipv4Addr;

use cgn_common::layout::{ROUTE_ELSEWHERE, ROUTE_LOCAL, ROUTE_NONE};
use cgn_common::nat::next_hop::is_martian;

use super::MIXED;
use super::action::ActionId;
use super::fib::{Fib, Resolution, Target, is_own_business};
use super::prefix::Prefix;
use super::span::Span;

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
    /// Own addresses that did not fit.
    pub omitted_local: usize,
    /// Neighbours that did not fit.
    pub omitted_hops: usize,
}

/// The next hop of each /16, by the high 16 bits of the address.
///
/// An id only if every address of the /16 goes to the next hop with that id, be it known or
/// [lost](Fib::lost_hops); [`ROUTE_LOCAL`], [`ROUTE_NONE`] and [`ROUTE_ELSEWHERE`] in the same way. Else, and where a prefix
/// of `special` touches the /16 or no router forwards ([`is_martian`]), [`MIXED`].
pub fn summarise(fib: &Fib, special: &[Prefix]) -> Box<[u16; 65_536]> {
    let mut table = Box::new([MIXED; 65_536]);
    for (value, (span, routes)) in table.iter_mut().zip((0..=u16::MAX).zip(fib.spans.iter())) {
        if !touches_own_business(span) || fib.networks.of_key(span).is_some() {
            *value = only_value(fib, span, routes);
        }
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
    is_martian(first) || Ipv4Addr::from(first).is_multicast()
}

fn only_value(fib: &Fib, span: u16, routes: &Span) -> u16 {
    match routes {
        Span::One(action) => value_of(fib, span, *action),
        Span::Many(segments) => {
            let mut values = segments
                .iter()
                .map(|segment| value_of(fib, span, segment.action));
            let first = values.next().unwrap_or(MIXED);
            if values.all(|value| value == first) {
                first
            } else {
                MIXED
            }
        }
    }
}

fn value_of(fib: &Fib, span: u16, action: ActionId) -> u16 {
    match fib.target(span, action) {
        Target::Fixed(Resolution::Local) => ROUTE_LOCAL,
        _ if fib.asks_kernel(span) => MIXED,
        Target::Fixed(Resolution::Hop(id)) => id,
        Target::Lost { id, .. } => id,
        Target::Fixed(Resolution::OffPort { .. }) => ROUTE_ELSEWHERE,
        Target::Fixed(
            Resolution::Blackhole
            | Resolution::Unreachable
            | Resolution::Prohibited
            | Resolution::NoRoute,
        ) => ROUTE_NONE,
        Target::Fixed(Resolution::Unresolved { .. } | Resolution::KernelOnly)
        | Target::OnLink { .. } => MIXED,
    }
}

/// The single addresses that the fast path may look up, at most `limit` of them: own addresses
/// and broadcast addresses but for the /16s that `summary` says are local, and neighbours on our
/// ports whose Ethernet address is known. A neighbour that is left out costs only time, as the fast
/// path asks the kernel for it. An own address that is left out is not reached any more: the
/// kernel's answer would be the same for an address without a route.
pub fn exact(fib: &Fib, summary: &[u16; 65_536], limit: usize) -> ExactTable {
    let mut table = ExactTable::default();
    for (first, last) in local_runs(fib) {
        if summary[(first >> 16) as usize] == ROUTE_LOCAL {
            continue;
        }
        for address in first..=last {
            if table.entries.len() < limit {
                table.entries.push((Ipv4Addr::from(address), Exact::Local));
            } else {
                table.omitted_local += 1;
            }
        }
    }
    if fib.kernel_decides {
        return table;
    }
    let mut neighbours: Vec<_> = fib
        .on_link
        .iter()
        .filter_map(|key| {
            let id = *fib.ids.get(key)?;
            let realm = fib.next_hop(id).map_or(0, |hop| hop.realm);
            Some((fib.networks.key(realm, key.ip)?, id))
        })
        .filter(|&(_, id)| id != MIXED)
        .collect();
    neighbours.sort_unstable();
    for (ip, id) in neighbours {
        if table.entries.len() < limit {
            table.entries.push((ip, Exact::Hop(id)));
        } else {
            table.omitted_hops += 1;
        }
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
