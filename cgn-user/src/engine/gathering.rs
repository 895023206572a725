//! Who asks for a block, and with which packets, until the group of log records that gives it.

use std::time::{Duration, Instant};

use super::Punted;
use crate::realms::InsideKey;

/// With so many packets a group is due at once: their frames are missing in the sockets' rings.
const MOST_PACKETS: usize = 512;

/// The group that comes next.
pub(super) struct Gathering {
    /// How long the first one waits for others (`log.group_ms`).
    patience: Duration,
    since: Option<Instant>,
    /// Some may stand here more than once.
    wanted: Vec<InsideKey>,
    needy: Vec<(Punted, InsideKey)>,
}

impl Gathering {
    pub(super) fn new(patience: Duration) -> Self {
        Self {
            patience,
            since: None,
            wanted: Vec::new(),
            needy: Vec::new(),
        }
    }

    /// Subscribers who want a further block, ahead of need.
    pub(super) fn ask(&mut self, wanted: Vec<InsideKey>) {
        self.wanted.extend(wanted);
        self.begin();
    }

    /// A packet of a subscriber that cannot go on without a block.
    pub(super) fn keep(&mut self, punted: Punted, inside: InsideKey) {
        self.wanted.push(inside);
        self.needy.push((punted, inside));
        self.begin();
    }

    fn begin(&mut self) {
        if !self.wanted.is_empty() {
            self.since.get_or_insert_with(Instant::now);
        }
    }

    pub(super) fn is_due(&self) -> bool {
        self.since.is_some_and(|since| {
            self.needy.len() >= MOST_PACKETS || since.elapsed() >= self.patience
        })
    }

    /// Milliseconds until it is due, rounded up; None if there is nothing.
    pub(super) fn wait_ms(&self) -> Option<i32> {
        let left = self.patience.saturating_sub(self.since?.elapsed());
        Some(left.as_micros().div_ceil(1000) as i32)
    }

    /// The group, and an empty one begins.
    pub(super) fn take(&mut self) -> (Vec<InsideKey>, Vec<(Punted, InsideKey)>) {
        self.since = None;
        (
            std::mem::take(&mut self.wanted),
            std::mem::take(&mut self.needy),
        )
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn a_group_is_due_when_its_first_member_has_waited_long_enough() {
        let one = || vec![Ipv4Addr::new(100, 64, 0, 1).into()];
        let mut at_once = Gathering::new(Duration::ZERO);
        assert_eq!((at_once.is_due(), at_once.wait_ms()), (false, None));
        at_once.ask(Vec::new());
        assert!(!at_once.is_due(), "nobody asks");
        at_once.ask(one());
        assert_eq!((at_once.is_due(), at_once.wait_ms()), (true, Some(0)));

        let mut patient = Gathering::new(Duration::from_millis(40));
        patient.ask(one());
        assert!(!patient.is_due());
        assert!(patient.wait_ms().is_some_and(|ms| (1..=40).contains(&ms)));
        std::thread::sleep(Duration::from_millis(25));
        // Who comes later does not make the first one wait longer.
        patient.ask(vec![Ipv4Addr::new(100, 64, 0, 2).into()]);
        std::thread::sleep(Duration::from_millis(16));
        assert_eq!((patient.is_due(), patient.wait_ms()), (true, Some(0)));
        assert_eq!(patient.take().0.len(), 2);
        assert_eq!((patient.is_due(), patient.wait_ms()), (false, None));
    }
}
