//! Every constant that an RFC or the design fixes, with its source.

/// First port that a block may hold. Ports 0 to 1023 are not given out, a deviation from RFC 4787
/// REQ-3a that CGNs make, but where a pool asks for them: see [`crate::nat::class`].
pub const FIRST_PORT: u16 = 1024;
/// Ports of one external address that blocks may use: 1024 to 65535.
pub const USABLE_PORTS: u32 = 65_536 - FIRST_PORT as u32;
/// Slots in a bucket: their keys, 8 bytes each, are one cache line.
pub const SLOTS_PER_BUCKET: u32 = 8;
/// Most ports in a block: 128 buckets bound every walk through one, because
/// the verifier simulates every turn of a loop and its queue of open branches
/// ends at 8192.
pub const MAX_BLOCK_PORTS: u32 = 1024;
/// Fewest ports in a block.
pub const MIN_BLOCK_PORTS: u32 = 64;
/// Blocks that fit in a subscriber's cache line.
pub const MAX_BLOCKS_PER_SUBSCRIBER: usize = 6;
/// Nanoseconds of one coarse tick, as a shift: 2^28 ns = 0.268 s.
pub const TICK_SHIFT: u32 = 28;
/// A mapping in use is stamped anew when its stamp is so many ticks old (2.1 s),
/// and therefore ends so much later than its timer says. With a million flows
/// at a million packets a second, a stamp in every tick would write a cache
/// line back to memory for nearly every packet.
pub const STAMP_TICKS: u32 = 8;
/// VLAN tags that the data plane reads and writes.
pub const MAX_VLAN_TAGS: usize = 2;

/// Ticks in `secs` seconds, rounded up, so that no timer ends early.
#[must_use]
pub const fn ticks(secs: u64) -> u32 {
    let ns = secs as u128 * 1_000_000_000;
    let ticks = (ns + (1 << TICK_SHIFT) - 1) >> TICK_SHIFT;
    if ticks > u32::MAX as u128 {
        u32::MAX
    } else {
        ticks as u32
    }
}

#[cfg(test)]
mod tests {
    use super::ticks;

    #[test]
    fn ticks_are_rounded_up_so_that_no_timer_ends_early() {
        for secs in [0_u64, 1, 60, 119, 120, 300, 7440] {
            let ns = u128::from(ticks(secs)) << super::TICK_SHIFT;
            assert!(ns >= u128::from(secs) * 1_000_000_000, "{secs} s");
            assert!(ns < u128::from(secs) * 1_000_000_000 + (1 << super::TICK_SHIFT));
        }
        assert_eq!(ticks(u64::MAX), u32::MAX);
    }
}
