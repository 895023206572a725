//! Packets that end here while somebody floods. They have left the common packet's way, so looking
//! at them again costs no other packet anything.
//!
//! * From outside, to a mapping that is not there or does not wait for them: the source may be
//!   throttled ([`crate::nat::throttle`]), the address attacked. Beyond a limit nobody is told of
//!   their end, and nothing of them reaches the slow path.
//! * IPv6 in IPv4, which is no flood: what it is is told apart here ([`crate::tunnels`]).
//! * The first packet of a subscriber without a block: while the slow path is overloaded, a share of
//!   new subscribers is put off. Whoever has a block goes on.

use crate::block::page_of;
use crate::frame::Frame;
use crate::layout::{Features, Guards, Side, Window};
use crate::punts;
use crate::tables::Tables;
use crate::tunnels;
use crate::verdict::Reason;
use crate::wire::{ethernet, ipv4};

/// The share of new subscribers that is put off is one of so many parts, all but one of which can be.
pub const PARTS: u64 = 10;
/// For so many ticks (2^35 ns, 34 s), as a shift, the same subscribers are put off; then others.
const TURN_SHIFT: u32 = 7;

/// The guards, as bits of [`Features`], that a packet from `side` with this end meets.
#[inline(always)]
#[must_use]
pub const fn kinds(side: Side, reason: Reason) -> u64 {
    match (side, reason) {
        (Side::Outside, Reason::NoMapping | Reason::Filtered | Reason::NoQuotedMapping) => {
            Features::THROTTLE | Features::ATTACKS
        }
        (Side::Inside, Reason::FirstPacket) => Features::OVERLOAD,
        _ => 0,
    }
}

/// True if a packet from `side` with this end is looked at again, here. Where nothing is guarded, which
/// is known when XDP's programs are loaded, that costs one comparison.
#[inline(always)]
#[must_use]
pub const fn concern(features: Features, side: Side, reason: Reason) -> bool {
    const ALL: u64 = Features::THROTTLE | Features::ATTACKS | Features::OVERLOAD;
    matches!(reason, Reason::UnsupportedIpv6)
        || features.has(ALL) && features.has(kinds(side, reason))
}

/// Why a packet from `side` ends that would end for `reason`. Only who sees it first asks: what the
/// slow path sees was let through.
#[inline(always)]
#[must_use]
pub fn reconsider<F: Frame, T: Tables>(
    frame: &F,
    tables: &T,
    side: Side,
    reason: Reason,
) -> Reason {
    if matches!(reason, Reason::UnsupportedIpv6) {
        return tunnels::kind(frame, tables);
    }
    if !tables.features().has(kinds(side, reason)) || !tables.sees_first() {
        return reason;
    }
    let ip = ethernet::parse(frame).and_then(|link| ipv4::parse(frame, link.length));
    let Ok(ip) = ip else {
        return reason;
    };
    let (source, destination) = (ip.source.get(), ip.destination.get());
    match side {
        Side::Outside => unsolicited(tables, source, destination, reason),
        Side::Inside if puts_off(tables.put_off(), tables.id_secret(), source, tables.now()) => {
            Reason::Overload
        }
        Side::Inside => reason,
    }
}

/// The same of a packet that nobody waits for.
#[inline(always)]
fn unsolicited<T: Tables>(tables: &T, source: u32, destination: u32, reason: Reason) -> Reason {
    let features = tables.features();
    // Counted whatever becomes of it: the address is attacked by throttled sources, too.
    let takes = !features.has(Features::ATTACKS) || takes_unsolicited(tables, destination);
    if features.has(Features::THROTTLE) && !tables.newcomer(Side::Outside, source) {
        return Reason::Throttled;
    }
    match takes {
        true => reason,
        false => Reason::AttackedAddress,
    }
}

/// Counts a packet to an external address that nobody waits for; false if there were too many in
/// this window.
#[inline(always)]
fn takes_unsolicited<T: Tables>(tables: &T, external: u32) -> bool {
    let index = tables
        .outside_page(page_of(external))
        .and_then(|page| page.index_of(external));
    let Some(address) = index.and_then(|index| tables.unsolicited(index)) else {
        return true;
    };
    address.ever.add(1);
    let most = tables.guard(Guards::UNSOLICITED);
    punts::take(&address.lately, tables.now() >> Window::SHIFT, most)
}

/// True if the subscriber with this inside address is one of the `parts` of [`PARTS`] who have to
/// wait now. `secret` decides who, and every half a minute others.
#[inline(always)]
#[must_use]
pub const fn puts_off(parts: u64, secret: u64, inside: u32, now: u32) -> bool {
    let turn = (now >> TURN_SHIFT) as u64;
    let x = (inside as u64 | turn << 32) ^ secret;
    let x = x.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 32)).wrapping_mul(secret | 1);
    ((x >> 32) * PARTS) >> 32 < parts
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: u64 = 0x0123_4567_89ab_cdef;

    #[test]
    fn the_share_is_kept_and_takes_turns() {
        let subscribers = 0x6440_0000..0x6440_4000_u32;
        let all = subscribers.len() as f64;
        for parts in 0..PARTS {
            let share = |now| {
                let put_off = subscribers
                    .clone()
                    .filter(|s| puts_off(parts, SECRET, *s, now));
                put_off.collect::<Vec<_>>()
            };
            let (first, next) = (share(5), share(5 + (1 << TURN_SHIFT)));
            let found = first.len() as f64 / all;
            assert!(
                (found - parts as f64 / 10.0).abs() < 0.02,
                "{parts}: {found}"
            );
            assert_eq!(first, share(6), "the same for a while");
            assert!(parts == 0 || first != next, "then others");
        }
    }

    #[test]
    fn each_guard_is_for_its_ends_only() {
        assert_eq!(kinds(Side::Inside, Reason::NoMapping), 0, "a hairpin");
        assert_eq!(kinds(Side::Outside, Reason::FirstPacket), 0);
        assert_eq!(
            kinds(Side::Inside, Reason::BlockFull),
            0,
            "a known subscriber"
        );
    }
}
