//! What a subscriber may do beside having ports, and what it was refused lately.
//! Packets of established flows never look here.

use crate::verdict::Reason;
use crate::word::Word;

/// Kinds of refusals that are remembered apart.
pub const REFUSALS: usize = 5;

/// One element of `QUOTAS`, by the index in `SUBSCRIBERS`: one cache line.
#[derive(Debug, Default)]
#[repr(C, align(64))]
pub struct Quota {
    /// New mappings that may be opened at once: bits 0-31 tick at which they were
    /// counted, 32-63 how many, in 2^-16.
    pub bucket: Word,
    /// Elements of `SESSIONS` that the subscriber has.
    pub sessions: Word,
    /// See [`QuotaLimits`].
    pub limits: Word,
    /// By [`refusal_of`]; see [`Refused`].
    pub refused: [Word; REFUSALS],
}

/// What the subscriber's group may: bits 0-15 new mappings a second, 16-31 how many
/// at once, 32-61 sessions; 62 and 63 whether the two hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QuotaLimits(pub u64);

impl QuotaLimits {
    /// Everything.
    pub const NONE: Self = Self(0);
    const RATED: u64 = 1 << 62;
    const COUNTED: u64 = 1 << 63;
    const SESSIONS: u64 = (1 << 30) - 1;

    /// The same with so many new mappings a second, and so many at once.
    #[must_use]
    pub const fn with_rate(self, each_second: u16, burst: u16) -> Self {
        Self(self.0 & !0xffff_ffff | Self::RATED | each_second as u64 | (burst as u64) << 16)
    }
    /// The same with so many sessions, at most 2^30 - 1.
    #[must_use]
    pub const fn with_sessions(self, most: u32) -> Self {
        let most = most as u64 & Self::SESSIONS;
        Self(self.0 & !(Self::SESSIONS << 32) | Self::COUNTED | most << 32)
    }
    /// New mappings a second, and at once.
    #[inline(always)]
    #[must_use]
    pub const fn rate(self) -> Option<(u16, u16)> {
        if self.0 & Self::RATED == 0 {
            return None;
        }
        Some((self.0 as u16, (self.0 >> 16) as u16))
    }
    /// True if one with so many sessions may have another.
    #[inline(always)]
    #[must_use]
    pub const fn admits(self, sessions: u64) -> bool {
        self.0 & Self::COUNTED == 0 || sessions < self.0 >> 32 & Self::SESSIONS
    }
}

/// When flows of a subscriber were refused for one kind of reason: bits 0-31 tick of
/// the last time, 32-63 since when it happens, with no pause of [`Refused::PAUSE`].
/// 0: never.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refused(pub u64);

impl Refused {
    /// After so many ticks without a refusal the next one begins anew (60 s).
    pub const PAUSE: u32 = crate::limits::ticks(60);

    /// One more at `now`.
    #[inline(always)]
    #[must_use]
    pub const fn again(self, now: u32) -> Self {
        let goes_on = self.0 != 0 && now.wrapping_sub(self.last()) <= Self::PAUSE;
        let since = if goes_on { self.since() } else { now };
        Self(now as u64 | (since as u64) << 32)
    }
    #[inline(always)]
    #[must_use]
    pub const fn last(self) -> u32 {
        self.0 as u32
    }
    #[inline(always)]
    #[must_use]
    pub const fn since(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

/// Where a refusal for this reason is remembered in [`Quota::refused`].
#[inline(always)]
#[must_use]
pub const fn refusal_of(reason: Reason) -> Option<usize> {
    Some(match reason {
        Reason::NoBlock => 0,
        Reason::NoPort => 1,
        Reason::MappingLimit => 2,
        Reason::MappingRate => 3,
        Reason::SessionLimit => 4,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_hold_only_where_they_are_set() {
        let none = QuotaLimits::NONE;
        assert!(none.rate().is_none() && none.admits(u64::MAX));
        let both = none.with_rate(200, 400).with_sessions(7);
        assert_eq!(both.rate(), Some((200, 400)));
        assert!(both.admits(6) && !both.admits(7));
        assert!(!none.with_sessions(0).admits(0), "none at all");
        assert_eq!(both.with_rate(1, 2).rate(), Some((1, 2)));
    }

    #[test]
    fn a_pause_of_a_minute_begins_a_new_row_of_refusals() {
        let once = Refused::default().again(1000);
        assert_eq!((once.since(), once.last()), (1000, 1000));
        let twice = once.again(1000 + Refused::PAUSE);
        assert_eq!((twice.since(), twice.last()), (1000, 1000 + Refused::PAUSE));
        let later = twice.again(twice.last() + Refused::PAUSE + 1);
        assert_eq!(later.since(), later.last());
    }

    #[test]
    fn each_kind_has_a_place_of_its_own() {
        let places: Vec<_> = Reason::ALL.iter().filter_map(|r| refusal_of(*r)).collect();
        assert_eq!(places.len(), REFUSALS);
        assert!((0..REFUSALS).all(|place| places.contains(&place)));
    }
}
