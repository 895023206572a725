//! Limits of source prefixes as global functions, which the verifier checks once.

use cgn_common::layout::Side;
use cgn_common::nat::throttle;

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

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn cgn_newcomer(side: u64, source: u64) -> u64 {
    let side = match side == Side::Inside as u64 {
        true => Side::Inside,
        false => Side::Outside,
    };
    u64::from(throttle::count(&DETACHED, side, source as u32))
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
