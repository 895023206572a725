//! How many new subscribers are put off while the slow path is overloaded: a tenth more for each
//! while that it stays so, a tenth less for each while that it is well below.

use cgn_common::guards::PARTS;

/// It recovers below so many percent of the limit.
const WELL_BELOW_PERCENT: u64 = 75;

/// What changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Some are put off, and nobody was before.
    Began,
    /// Nobody is any more.
    Ended,
    /// More or fewer are.
    Step,
}

/// Who watches the load of the slow path.
#[derive(Debug)]
pub struct Overload {
    busy_percent: u64,
    while_ms: u64,
    /// Parts of [`PARTS`] that are put off.
    parts: u64,
    /// Since when it is above the limit (true) or well below, without a pause.
    since: Option<(bool, u64)>,
}

impl Overload {
    /// Above `busy_percent` for `while_secs` it is overloaded.
    #[must_use]
    pub fn new(busy_percent: u8, while_secs: u32) -> Self {
        Self {
            busy_percent: busy_percent.into(),
            while_ms: u64::from(while_secs) * 1000,
            parts: 0,
            since: None,
        }
    }

    /// Parts of [`PARTS`] of new subscribers that are put off.
    #[must_use]
    pub const fn parts(&self) -> u64 {
        self.parts
    }

    /// It was busy for so many percent of the time lately; `overflowed`: packets found its rings
    /// full, however busy it was.
    pub fn look(&mut self, now_ms: u64, busy_percent: u64, overflowed: bool) -> Option<Change> {
        let is_above = overflowed || busy_percent >= self.busy_percent;
        let is_below = busy_percent * 100 < self.busy_percent * WELL_BELOW_PERCENT;
        if !is_above && !is_below {
            self.since = None;
            return None;
        }
        let (was_above, since_ms) = self.since.unwrap_or((is_above, now_ms));
        if was_above != is_above {
            self.since = Some((is_above, now_ms));
            return None;
        }
        self.since = Some((is_above, since_ms));
        if now_ms.saturating_sub(since_ms) < self.while_ms {
            return None;
        }
        // The next step takes as long again.
        self.since = Some((is_above, now_ms));
        let before = self.parts;
        self.parts = match is_above {
            true => (before + 1).min(PARTS - 1),
            false => before.saturating_sub(1),
        };
        match (before, self.parts) {
            (before, now) if before == now => None,
            (0, _) => Some(Change::Began),
            (_, 0) => Some(Change::Ended),
            _ => Some(Change::Step),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks every second at what the slow path is said to be busy with: parts and changes.
    fn watch(
        overload: &mut Overload,
        seconds: std::ops::Range<u64>,
        busy: u64,
    ) -> Vec<(u64, Change)> {
        let looks = seconds.map(|second| (second, overload.look(second * 1000, busy, false)));
        looks
            .filter_map(|(second, change)| Some((second, change?)))
            .collect()
    }

    #[test]
    fn it_falls_in_steps_and_recovers_in_steps() {
        let mut overload = Overload::new(80, 5);
        assert_eq!(watch(&mut overload, 0..5, 90), [], "not long enough");
        let fell = watch(&mut overload, 5..16, 90);
        let steps = [(5, Change::Began), (10, Change::Step), (15, Change::Step)];
        assert_eq!(fell, steps, "a tenth every five seconds");
        assert_eq!(overload.parts(), 3);
        assert_eq!(
            watch(&mut overload, 16..40, 70),
            [],
            "neither above nor well below"
        );
        let rose = watch(&mut overload, 40..60, 59);
        let steps = [(45, Change::Step), (50, Change::Step), (55, Change::Ended)];
        assert_eq!(rose, steps);
        assert_eq!(watch(&mut overload, 60..90, 0), [], "nobody is put off");
    }

    #[test]
    fn a_peak_is_no_overload_and_a_pause_begins_anew() {
        let mut overload = Overload::new(80, 5);
        for second in 0..60 {
            let busy = if second % 4 == 3 { 10 } else { 100 };
            assert_eq!(overload.look(second * 1000, busy, false), None);
        }
    }

    #[test]
    fn one_part_is_always_let_in() {
        let mut overload = Overload::new(80, 1);
        let _ = watch(&mut overload, 0..100, 100);
        assert_eq!(overload.parts(), PARTS - 1);
    }

    #[test]
    fn full_rings_are_overload_however_little_it_does() {
        let mut overload = Overload::new(80, 1);
        assert_eq!(overload.look(0, 5, true), None);
        assert_eq!(overload.look(1000, 5, true), Some(Change::Began));
    }
}
