//! The search of the access lists, most of it as global functions, which the verifier checks once.

use cgn_common::access;
use cgn_common::layout::{End, Held};
use cgn_common::nat::throttle;
use cgn_common::verdict::Direction;

use crate::tables::DETACHED;

/// See [`access::rules_of`]. The remote address, which every packet is asked of, without a call: its return is dear
/// where the kernel guards against speculation (11 ns).
#[inline(always)]
pub fn rules_of(end: End, direction: Direction, address: u32) -> u64 {
    match end {
        End::Outside => access::rules_of(&DETACHED, end, direction, address),
        End::Ours => cgn_rules_of_ours(direction as u64, u64::from(address)),
    }
}

/// See [`access::first_match`].
#[inline(always)]
pub fn first_match(
    candidates: u64,
    (direction, realm): (Direction, u8),
    protocol: u8,
    ports: Option<(u16, u16)>,
) -> Held {
    let which = direction as u64
        | u64::from(ports.is_some()) << 1
        | u64::from(protocol) << 8
        | u64::from(realm) << 16;
    let (source, destination) = ports.unwrap_or_default();
    let ports = u64::from(source) | u64::from(destination) << 16;
    Held(cgn_first_match(candidates, which, ports))
}

/// See [`throttle::is_within_rate`].
#[inline(always)]
pub fn is_within_rate(held: Held, realm: u8, inside: u32) -> bool {
    cgn_within_rate(held.0, u64::from(realm) << 32 | u64::from(inside)) != 0
}

#[inline(always)]
const fn direction_of(number: u64) -> Direction {
    match number & 1 {
        0 => Direction::Outbound,
        _ => Direction::Inbound,
    }
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn cgn_rules_of_ours(direction: u64, address: u64) -> u64 {
    access::rules_of(
        &DETACHED,
        End::Ours,
        direction_of(direction),
        address as u32,
    )
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn cgn_first_match(candidates: u64, which: u64, ports: u64) -> u64 {
    let (protocol, realm) = ((which >> 8) as u8, (which >> 16) as u8);
    let from = (direction_of(which), realm);
    let ports = (which & 2 != 0).then_some((ports as u16, (ports >> 16) as u16));
    access::first_match(&DETACHED, candidates, from, protocol, ports).0
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn cgn_within_rate(held: u64, realm_and_inside: u64) -> u64 {
    let sender = ((realm_and_inside >> 32) as u8, realm_and_inside as u32);
    u64::from(throttle::is_within_rate(&DETACHED, Held(held), sender))
}
