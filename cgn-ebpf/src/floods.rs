//! Limits of source prefixes as global functions, which the verifier checks once.

use cgn_common::ipv6::flows::{self, Flow};
use cgn_common::ipv6::prefixes;
use cgn_common::layout::Side;
use cgn_common::nat::throttle;
use cgn_common::tables::Tables as _;

use crate::tables::DETACHED;

/// See [`throttle::count`].
#[inline(always)]
pub fn newcomer(side: Side, source: u32) -> bool {
    cgn_newcomer(side as u64, u64::from(source)) != 0
}

/// See [`throttle::may_begin`].
#[inline(always)]
pub fn may_begin(subscriber: u32, counted: bool) -> bool {
    cgn_may_begin(u64::from(subscriber), u64::from(counted)) != 0
}

/// See [`prefixes::count`].
#[inline(always)]
pub fn newcomer_ipv6(side: Side, realm: u8, source: u64) -> bool {
    cgn_newcomer_ipv6(side as u64 | u64::from(realm) << 8, source) != 0
}

/// See [`flows::is_known`].
#[inline(always)]
pub fn knows_flow(flow: Flow) -> bool {
    cgn_knows_flow(flow.0) != 0
}

/// See [`flows::mark`].
#[inline(always)]
pub fn mark_flow(flow: Flow) {
    cgn_mark_flow(flow.0);
}

/// The side with this number.
#[inline(always)]
const fn side_of(number: u64) -> Side {
    match number == Side::Inside as u64 {
        true => Side::Inside,
        false => Side::Outside,
    }
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn cgn_newcomer(side: u64, source: u64) -> u64 {
    u64::from(throttle::count(&DETACHED, side_of(side), source as u32))
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn cgn_may_begin(subscriber: u64, counted: u64) -> u64 {
    u64::from(throttle::may_begin(
        &DETACHED,
        subscriber as u32,
        counted != 0,
    ))
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn cgn_newcomer_ipv6(side_and_realm: u64, source: u64) -> u64 {
    let (side, realm) = (side_of(side_and_realm & 0xff), (side_and_realm >> 8) as u8);
    u64::from(prefixes::count(&DETACHED, side, realm, source))
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn cgn_knows_flow(flow: u64) -> u64 {
    u64::from(flows::is_known(&DETACHED, Flow(flow)))
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn cgn_mark_flow(flow: u64) -> u64 {
    flows::mark(&DETACHED, Flow(flow), DETACHED.now());
    0
}
