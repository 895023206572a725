//! Where a destination leads, from our own small tables first.

use crate::block::page_of;
use crate::layout::{
    EXACT_LOCAL, NextHopEntry, ROUTE_ELSEWHERE, ROUTE_LOCAL, ROUTE_NONE, Rows, Side,
};
use crate::realm::is_key_here;
use crate::steps::Step;
use crate::tables::{Route, Tables};
use crate::verdict::Reason;

/// Route to `destination`, the address of a packet. Most /16 networks have one next hop; the
/// others hold pool addresses, addresses of the router, or more specific routes.
#[inline(always)]
pub fn route<T: Tables>(tables: &T, source: u32, destination: u32) -> Route<'_> {
    if is_key_here(tables, destination) {
        return Route::Martian;
    }
    route_inside(tables, source, destination)
}

/// The same to the subscriber with the inside key `destination`.
#[inline(always)]
pub fn route_inside<T: Tables>(tables: &T, source: u32, destination: u32) -> Route<'_> {
    match tables.route_summary(destination) {
        0 => route_exactly(tables, source, destination),
        ROUTE_LOCAL => Route::Local,
        ROUTE_NONE => Route::None,
        ROUTE_ELSEWHERE => Route::Elsewhere,
        number => match tables.next_hop(u32::from(number)) {
            Some(hop) => {
                tables.note(Step::RouteNetwork);
                Route::Via(hop)
            }
            None => Route::None,
        },
    }
}

#[inline(always)]
fn route_exactly<T: Tables>(tables: &T, source: u32, destination: u32) -> Route<'_> {
    // A pool address stays one even where the operator also gave it to the
    // router, as is done to announce it.
    if rows_of(tables, destination).is_pool_address() {
        return Route::Pool;
    }
    let exact = tables.exact_route(destination);
    if exact == Some(EXACT_LOCAL) {
        return Route::Local;
    }
    if is_martian(destination) && !is_key_here(tables, destination) {
        return Route::Martian;
    }
    if let Some(number) = exact
        && let Some(hop) = tables.next_hop(number)
    {
        tables.note(Step::RouteExact);
        return Route::Via(hop);
    }
    tables.note(Step::RouteKernel);
    tables.kernel_route(source, destination)
}

/// The next hop, if it lies on the other side.
///
/// # Errors
/// Why the packet does not leave, or not now.
#[inline(always)]
pub fn leave<'t, T: Tables>(
    tables: &T,
    route: Route<'t>,
    side: Side,
    destination: u32,
) -> Result<&'t NextHopEntry, Reason> {
    let is_border = matches!(side, Side::Outside);
    let side = side as u8;
    match route {
        Route::Via(hop) if hop.side() == side && is_border && is_shared(destination) => {
            Err(Reason::Martian)
        }
        Route::Via(hop) if hop.side() == side => Ok(hop),
        Route::Via(hop) if hop.side() == side | NextHopEntry::UNRESOLVED => {
            Err(wait_for(tables, hop.waits_for()))
        }
        Route::Unresolved { neighbour, side: s } if s == side => Err(wait_for(tables, neighbour)),
        Route::Via(_) | Route::Unresolved { .. } | Route::Elsewhere | Route::Local => {
            Err(Reason::WrongSide)
        }
        Route::Pool => Err(Reason::Hairpin),
        Route::Martian => Err(Reason::Martian),
        Route::Unknown if tables.may_punt(destination) => Err(Reason::RouteUnknown),
        Route::Unknown => Err(Reason::RouteUnresolved),
        Route::None => Err(Reason::NoRoute),
    }
}

/// A few packets wait for a neighbour in the slow path, the rest end here.
#[inline(always)]
fn wait_for<T: Tables>(tables: &T, neighbour: u32) -> Reason {
    if tables.may_punt(neighbour) {
        Reason::NoNeighbour
    } else {
        Reason::NeighbourUnresolved
    }
}

/// Multicast (224/4) and limited broadcast: never forwarded as unicast.
#[inline(always)]
#[must_use]
pub const fn is_multicast(address: u32) -> bool {
    address >= 0xe000_0000 && (address < 0xf000_0000 || address == u32::MAX)
}

/// A source address that a single host can have (RFC 1812 section 5.3.7).
#[inline(always)]
#[must_use]
pub const fn is_host(address: u32) -> bool {
    let first = address >> 24;
    first != 0 && first != 127 && first < 224 && !is_link_local(address)
}

/// The same of a host beyond the border.
#[inline(always)]
#[must_use]
pub const fn is_host_outside(address: u32) -> bool {
    is_host(address) && !is_shared(address)
}

/// 100.64.0.0/10 (RFC 6598 section 4): it does not cross the border of a
/// provider, neither as source nor as destination.
#[inline(always)]
const fn is_shared(address: u32) -> bool {
    address >> 22 == 0x6440_0000 >> 22
}

/// Addresses that are on no wire, or only on one: "this" network, loopback (RFC
/// 1122 section 3.2.1.3), link-local (RFC 3927 section 7), reserved (RFC 1112
/// section 4). Linux would forward some of them by a default route. They have
/// no next hop in `ROUTES`, so that only [`route_exactly`] must tell them.
#[inline(always)]
#[must_use]
pub const fn is_martian(address: u32) -> bool {
    matches!(address >> 24, 0 | 127 | 240..=255) || is_link_local(address)
}

/// 169.254.0.0/16 (RFC 3927).
#[inline(always)]
#[must_use]
pub const fn is_link_local(address: u32) -> bool {
    address >> 16 == 0xa9fe
}

/// Rows in `BLOCKS` of an external address; none of a pool if it has none.
#[inline(always)]
pub fn rows_of<T: Tables + ?Sized>(tables: &T, address: u32) -> Rows {
    let index = match tables.outside_page(page_of(address)) {
        Some(page) => page.index_of(address),
        None => None,
    };
    match index {
        Some(index) => match tables.external(index) {
            Some(external) => Rows(external.0.load()),
            None => Rows(0),
        },
        None => Rows(0),
    }
}
