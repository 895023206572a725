//! The session's agenda. Pure.

use tokio::time::Instant;

/// When to do what; `None`: nothing to do.
#[derive(Debug, Default)]
pub(super) struct Due {
    pub(super) everything: Option<Instant>,
    pub(super) rules: Option<Instant>,
    pub(super) routes: Option<Instant>,
    pub(super) second_look: Option<Instant>,
    pub(super) publish: Option<Instant>,
    pub(super) probe: Option<Instant>,
    /// No dump of routes before.
    pub(super) dump_rest: Option<Instant>,
    /// No snapshot before.
    pub(super) publish_rest: Option<Instant>,
}

impl Due {
    /// When the next thing is to be done.
    pub(super) fn earliest(&self) -> Option<Instant> {
        let all = [
            self.everything,
            self.rules,
            self.routes,
            self.second_look,
            self.publish,
            self.probe,
        ];
        all.into_iter().flatten().min()
    }
}

/// Takes `due` if its time has come.
pub(super) fn take_due(due: &mut Option<Instant>, now: Instant) -> bool {
    due.take_if(|at| *at <= now).is_some()
}

/// Makes `due` happen at `at`, or earlier if it does so already, but not before `rest`.
pub(super) fn schedule(due: &mut Option<Instant>, at: Instant, rest: Option<Instant>) {
    let at = rest.map_or(at, |rest| at.max(rest));
    *due = Some(due.map_or(at, |earlier| earlier.min(at)));
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_earlier_of_two_but_not_before_the_rest() {
        let now = Instant::now();
        let at = |ms| now + Duration::from_millis(ms);
        let cases = [
            ("nothing planned", None, 20, None, 20),
            ("planned later", Some(30), 20, None, 20),
            ("planned earlier", Some(10), 20, None, 10),
            ("rest needed", None, 20, Some(50), 50),
            (
                "rest needed, planned before it was",
                Some(10),
                20,
                Some(50),
                10,
            ),
            ("rest over", None, 20, Some(5), 20),
        ];
        for (what, planned, wanted, rest, expected) in cases {
            let mut due = planned.map(at);
            schedule(&mut due, at(wanted), rest.map(at));
            assert_eq!(due, Some(at(expected)), "{what}");
            assert!(!take_due(&mut due, at(expected - 1)), "{what}: too early");
            assert!(take_due(&mut due, at(expected)), "{what}: now");
            assert!(!take_due(&mut due, at(1000)), "{what}: only once");
        }
    }
}
