//! How much the diagnostics object may say. It is built from the same source
//! as the released one and writes a line for each packet that is not
//! translated; this bounds the lines, so that a flood cannot load the machine.

use bytemuck::{Pod, Zeroable};

use crate::layout::{MapKind, MapSpec};

/// Lines that one processor may write in one second.
pub const LINES_PER_SECOND: u64 = 100;

/// The one map that only the diagnostics object has, beside the ring of its
/// lines. It is not pinned and not part of the layout.
pub const TALLIES: MapSpec = MapSpec {
    name: "TALLIES",
    kind: MapKind::PerCpuArray,
    key_bytes: 4,
    value_bytes: size_of::<Tally>() as u32,
    entries: 1,
    flags: 0,
};

/// What one processor has said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Tally {
    /// The second that `lines` counts, of the monotonic clock.
    second: u64,
    /// Lines in that second.
    lines: u64,
    /// Lines written since the object was loaded.
    pub written: u64,
    /// Packets since the object was loaded that got no line, because the
    /// second's lines were used up.
    pub suppressed: u64,
}

impl Tally {
    /// True if there may be one more line at `now_ns`; counts it either way.
    #[inline(always)]
    #[must_use]
    pub fn admit(&mut self, now_ns: u64) -> bool {
        self.admit_most(now_ns, LINES_PER_SECOND)
    }

    /// The same with another limit for each second.
    #[inline(always)]
    #[must_use]
    pub fn admit_most(&mut self, now_ns: u64, most: u64) -> bool {
        let second = now_ns / 1_000_000_000;
        if self.second != second {
            self.second = second;
            self.lines = 0;
        }
        if self.lines >= most {
            self.suppressed += 1;
            return false;
        }
        self.lines += 1;
        self.written += 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::{LINES_PER_SECOND, Tally};

    #[test]
    fn a_flood_gets_so_many_lines_a_second_and_the_rest_is_counted() {
        const PER_SECOND: u64 = 10 * LINES_PER_SECOND;
        let mut tally = Tally::default();
        for second in [0, 1, 2, 1_000_000] {
            let before = tally;
            let admitted = (0..PER_SECOND)
                .filter(|n| tally.admit(second * 1_000_000_000 + n * 999_999))
                .count() as u64;
            assert_eq!(admitted, LINES_PER_SECOND, "in second {second}");
            assert_eq!(tally.written - before.written, admitted);
            assert_eq!(tally.suppressed - before.suppressed, PER_SECOND - admitted);
        }
    }

    #[test]
    fn a_trickle_is_told_whole() {
        let mut tally = Tally::default();
        assert!((0..1000).all(|n| tally.admit(n * 1_000_000_000 / LINES_PER_SECOND)));
        assert_eq!(tally.suppressed, 0);
    }
}
