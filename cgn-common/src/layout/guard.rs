//! What guards against floods: packets that nobody waits for, by external address, and new
//! sessions, by the prefix of their source. Packets of established flows never look here.

use bytemuck::{Pod, Zeroable};

use super::{Punts, Side, is_ahead};
use crate::word::Word;

/// Lengths of the prefixes whose new sessions are counted, the narrowest first.
pub const THROTTLED_LENGTHS: [u32; 3] = [32, 24, 20];

/// The same of IPv6. A network behind a customer's router has a /64 at least.
pub const IPV6_LENGTHS: [u32; 3] = [64, 56, 48];

/// Numbers in [`Guards`]: a power of two, so that a mask bounds an index.
pub const GUARDS: usize = 16;

/// Limits of the guards, in units of the data plane; constant while programs are loaded. In this
/// order: new sessions in a window (2^30 ns) of a source inside, of its /24, of its /20; the same
/// outside; ticks that a prefix is limited; packets in a window to one external address that nobody
/// waits for; new sessions in IPv6 of a /64 inside, of its /56, of its /48; the same outside; the tick
/// until which flows of IPv6 are only learnt; nothing. 0: not limited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(transparent)]
pub struct Guards(pub [u32; GUARDS]);

impl Guards {
    pub const NONE: Self = Self([0; GUARDS]);
    /// Place of the ticks that a prefix is limited.
    pub const LIMIT_TICKS: usize = 6;
    /// Place of the packets in a window that nobody waits for.
    pub const UNSOLICITED: usize = 7;
    /// Place of the tick until which flows of IPv6 are learnt, see [`crate::ipv6`].
    pub const LEARNT: usize = 14;

    /// Place of the new sessions of prefixes of this side with the length at `at` of
    /// [`THROTTLED_LENGTHS`].
    #[inline(always)]
    #[must_use]
    pub const fn newcomers(side: Side, at: usize) -> usize {
        match side {
            Side::Inside => at,
            Side::Outside => THROTTLED_LENGTHS.len() + at,
        }
    }

    /// The same of prefixes of IPv6, at `at` of [`IPV6_LENGTHS`].
    #[inline(always)]
    #[must_use]
    pub const fn newcomers_ipv6(side: Side, at: usize) -> usize {
        const FIRST: usize = 8;
        match side {
            Side::Inside => FIRST + at,
            Side::Outside => FIRST + IPV6_LENGTHS.len() + at,
        }
    }
}

/// Element of `UNSOLICITED`, by the index in `EXTERNALS`: packets from outside to the address that
/// nobody inside waits for.
#[derive(Debug, Default)]
#[repr(C, align(16))]
pub struct Unsolicited {
    /// Those of the window that it names, up to the limit.
    pub lately: Punts,
    /// All since the tables were made.
    pub ever: Word,
}

/// Element of `NEWCOMERS`: new sessions of the prefixes that share it, and the one of them that
/// is limited.
#[derive(Debug, Default)]
#[repr(C, align(16))]
pub struct Newcomers {
    /// See [`Window`].
    pub window: Word,
    /// See [`Limited`].
    pub limited: Word,
}

/// Element of `NEWCOMERS_IPV6`: the same of prefixes of IPv6, and which prefix it is that is limited.
#[derive(Debug, Default)]
#[repr(C, align(32))]
pub struct NewcomersIpv6 {
    /// With the mark of the prefix in the place of its first address: see [`crate::ipv6::prefixes`].
    pub counts: Newcomers,
    /// First 64 bits of the prefix. Written after the limit: right only where the mark is of them.
    pub prefix: Word,
    /// Number of its realm; likewise.
    pub realm: Word,
}

/// New sessions in this window and the one before: bits 0-23 and 24-47 how many, 48-63 number of
/// the window, which is four ticks long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Window(pub u64);

impl Window {
    const MOST: u64 = (1 << 24) - 1;
    /// log2 of its ticks.
    pub const SHIFT: u32 = 2;
    const TICKS: u64 = 1 << Self::SHIFT;

    /// As it is at the tick `now`.
    #[inline(always)]
    #[must_use]
    pub const fn at(self, now: u32) -> Self {
        let number = (now >> Self::SHIFT) as u64 & 0xffff;
        let age = number.wrapping_sub(self.0 >> 48) & 0xffff;
        let counts = match age {
            0 => self.0 & ((1 << 48) - 1),
            1 => (self.0 & Self::MOST) << 24,
            _ => 0,
        };
        Self(counts | number << 48)
    }
    /// With one more.
    #[inline(always)]
    #[must_use]
    pub const fn and_one(self) -> Self {
        if self.current() == Self::MOST {
            return self;
        }
        Self(self.0 + 1)
    }
    /// New sessions since the window began.
    #[inline(always)]
    #[must_use]
    pub const fn current(self) -> u64 {
        self.0 & Self::MOST
    }
    /// New sessions in the four ticks before `now`, if those of the last window came evenly.
    #[inline(always)]
    #[must_use]
    pub const fn sliding(self, now: u32) -> u64 {
        let over = now as u64 & (Self::TICKS - 1);
        let before = self.0 >> 24 & Self::MOST;
        self.current() + ((before * (Self::TICKS - over)) >> Self::SHIFT)
    }
}

/// A prefix that is limited: bits 0-31 tick until which it is, 32-63 its first address. 0: none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limited(pub u64);

impl Limited {
    #[inline(always)]
    #[must_use]
    pub const fn new(prefix: u32, until: u32) -> Self {
        Self(until as u64 | (prefix as u64) << 32)
    }
    /// First address of the prefix; of one of IPv6 its mark.
    #[inline(always)]
    #[must_use]
    pub const fn prefix(self) -> u32 {
        (self.0 >> 32) as u32
    }
    /// Ticks that are left of the limit; 0: it is over.
    #[inline(always)]
    #[must_use]
    pub const fn left(self, now: u32) -> u32 {
        let until = self.0 as u32;
        if self.0 != 0 && is_ahead(until, now) {
            until.wrapping_sub(now)
        } else {
            0
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_slides() {
        let mut window = Window::default().at(400);
        (0..80).for_each(|_| window = window.and_one());
        let cases = [
            (400, 80, "all of this window"),
            (403, 80, "to its end"),
            (404, 80, "all of the last one"),
            (405, 60, "a quarter is out of sight"),
            (407, 20, "three quarters are"),
            (408, 0, "all is"),
            (4000, 0, "long ago"),
        ];
        for (now, expected, sentence) in cases {
            assert_eq!(window.at(now).sliding(now), expected, "{sentence}");
        }
    }

    #[test]
    fn a_full_count_stays_full() {
        let full = Window(Window::MOST).at(0);
        assert_eq!(full.and_one().current(), Window::MOST);
        assert_eq!(full.and_one().0 >> 24, 0, "the other counts are left alone");
    }

    #[test]
    fn a_limit_ends() {
        let limited = Limited::new(0xc000_0200, 105);
        assert_eq!((limited.left(100), limited.left(104)), (5, 1));
        assert_eq!((limited.left(105), limited.left(9000)), (0, 0));
        assert_eq!(Limited::default().left(0), 0);
        assert_eq!(Limited::new(7, 2).left(u32::MAX), 3, "the clock goes round");
    }
}
