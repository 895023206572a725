//! Where a destination leads, from our own small tables first.

use crate::block::page_of;
use crate::layout::{EXACT_LOCAL, Rows};
use crate::tables::{Route, Tables};

/// Route to `destination`. Most /16 networks have one next hop; the others
/// hold pool addresses, addresses of the router, or more specific routes.
#[inline(always)]
pub fn route<T: Tables>(tables: &T, source: u32, destination: u32) -> Route<'_> {
    match tables.route_summary(destination) {
        0 => route_exactly(tables, source, destination),
        number => match tables.next_hop(u32::from(number)) {
            Some(hop) => Route::Via(hop),
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
    match tables.exact_route(destination) {
        Some(EXACT_LOCAL) => return Route::Local,
        Some(number) => {
            if let Some(hop) = tables.next_hop(number) {
                return Route::Via(hop);
            }
        }
        None => {}
    }
    tables.kernel_route(source, destination)
}

/// Rows in `BLOCKS` of an external address; none of a pool if it has none.
#[inline(always)]
pub fn rows_of<T: Tables>(tables: &T, address: u32) -> Rows {
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
