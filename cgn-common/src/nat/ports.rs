//! Between the places of tables, allocator and log and the ports of packets. They differ where a
//! pool's blocks are scattered ([`super::scatter`]) or have ports of both classes ([`class`]).

use super::class;
use crate::layout::{Features, Policy};
use crate::tables::Tables;

/// Port of a place of `external`, an address of pool `pool`.
#[inline(always)]
pub fn outward<T: Tables + ?Sized>(tables: &T, pool: u8, external: u32, place: u16) -> u16 {
    if is_of(tables, pool, Features::SCATTERED, Policy::SCATTERED) {
        tables.port_of(external, place)
    } else if is_of(tables, pool, Features::CLASSES, Policy::CLASSES) {
        class::port_of(place)
    } else {
        place
    }
}

/// Place of a port of `external`: the inverse of [`outward`].
#[inline(always)]
pub fn inward<T: Tables + ?Sized>(tables: &T, pool: u8, external: u32, port: u16) -> u16 {
    if is_of(tables, pool, Features::SCATTERED, Policy::SCATTERED) {
        tables.place_of(external, port)
    } else if is_of(tables, pool, Features::CLASSES, Policy::CLASSES) {
        class::place_of(port)
    } else {
        port
    }
}

#[inline(always)]
fn is_of<T: Tables + ?Sized>(tables: &T, pool: u8, feature: u64, policy: u16) -> bool {
    // The policy is not even read where no pool is.
    tables.features().has(feature) && tables.policy(pool).has(policy)
}
