//! The frames of a packet that somebody wants: of one side or of both, before translation or after it. Pure.

use std::collections::HashMap;

use cgn_common::layout::Side;

use super::redact;
use super::seen::{Path, Seen};
use crate::wiring::{Way, Wiring};

/// When a frame was as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// As it came.
    Before,
    /// As it left.
    After,
}

/// Sides, and realms inside, by interface and VLANs, outermost first; 0 where there is none.
#[derive(Clone, Debug, Default)]
pub struct Sides(HashMap<(u32, [u16; 2]), (Side, u8)>);

impl Sides {
    #[must_use]
    pub fn new(wiring: &Wiring) -> Self {
        let side_of = |way: &Way| {
            let tag = |at| way.tags.get(at).copied().unwrap_or(0);
            ((way.ifindex, [tag(0), tag(1)]), (way.side, way.realm))
        };
        Self(wiring.ways.iter().map(side_of).collect())
    }

    /// Side of a frame at this interface; `None`: it is of none.
    #[must_use]
    pub fn of(&self, ifindex: u32, frame: &[u8]) -> Option<Side> {
        self.way(ifindex, frame).map(|(side, _)| side)
    }

    /// Number of the realm of a frame at this interface; `None`: it is not inside.
    #[must_use]
    pub fn realm(&self, ifindex: u32, frame: &[u8]) -> Option<u8> {
        let way = self.way(ifindex, frame);
        way.and_then(|(side, realm)| (side == Side::Inside).then_some(realm))
    }

    fn way(&self, ifindex: u32, frame: &[u8]) -> Option<(Side, u8)> {
        let vlans = redact::link(frame).map_or([0; 2], |link| link.vlans());
        self.0.get(&(ifindex, vlans)).copied()
    }

    /// Whether the interface, or a VLAN of it, leads to this side.
    #[must_use]
    pub fn leads(&self, ifindex: u32, to: Side) -> bool {
        let mut all = self.0.iter();
        all.any(|((on, _), (side, _))| (*on, *side) == (ifindex, to))
    }
}

/// One frame.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    pub moment: Moment,
    pub ifindex: u32,
    /// When, on the monotonic clock.
    pub at_ns: u64,
    /// Its first bytes.
    pub bytes: &'a [u8],
    /// Length of the whole.
    pub length: u32,
}

/// Which ones are wanted.
#[derive(Clone, Debug, Default)]
pub struct Frames {
    pub sides: Sides,
    /// `None`: of both.
    pub side: Option<Side>,
    /// `None`: both.
    pub moment: Option<Moment>,
}

impl Frames {
    /// The frame as the packet came, and the one as it left if it did. What the slow path sends came
    /// before: the fast path has told of that.
    pub fn of<'a>(&self, seen: &'a Seen) -> impl Iterator<Item = Frame<'a>> {
        let came = (seen.path == Path::Fast).then_some(Frame {
            moment: Moment::Before,
            ifindex: seen.ingress,
            at_ns: seen.at_ns,
            bytes: &seen.came,
            length: seen.came_bytes,
        });
        let left = seen.reason.is_none().then_some(Frame {
            moment: Moment::After,
            ifindex: seen.egress,
            at_ns: seen.at_ns + u64::from(seen.took_ns),
            bytes: &seen.left,
            length: seen.left_bytes,
        });
        let frames = [came, left].into_iter().flatten();
        frames.filter(|frame| self.wants(frame))
    }

    fn wants(&self, frame: &Frame<'_>) -> bool {
        self.moment.is_none_or(|moment| moment == frame.moment)
            && (self.side.is_none() || self.side == self.sides.of(frame.ifindex, frame.bytes))
    }
}

#[cfg(test)]
mod tests {
    use cgn_common::steps::Steps;
    use cgn_common::verdict::Reason;

    use super::*;

    const INSIDE: u32 = 3;
    const OUTSIDE: u32 = 4;

    fn seen(path: Path, reason: Option<Reason>, ways: (u32, u32)) -> Seen {
        Seen {
            path,
            at_ns: 1000,
            took_ns: 50,
            steps: Steps::default(),
            reason,
            ingress: ways.0,
            queue: 0,
            egress: ways.1,
            came_bytes: 60,
            left_bytes: 60,
            came: vec![0; 60],
            left: vec![1; 60],
        }
    }

    #[test]
    fn each_packet_has_the_frames_that_are_wanted() {
        use Moment::{After, Before};
        let out = seen(Path::Fast, None, (INSIDE, OUTSIDE));
        let back = seen(Path::Fast, None, (OUTSIDE, INSIDE));
        let dropped = seen(Path::Fast, Some(Reason::NoMapping), (OUTSIDE, 0));
        let slow = seen(Path::Slow, None, (0, OUTSIDE));
        let sides = Sides(HashMap::from([
            ((INSIDE, [0; 2]), (Side::Inside, 0)),
            ((OUTSIDE, [0; 2]), (Side::Outside, 0)),
        ]));
        let (inside, outside) = (Some(Side::Inside), Some(Side::Outside));
        type Case<'a> = (
            &'a str,
            &'a Seen,
            Option<Side>,
            Option<Moment>,
            &'a [(Moment, u32)],
        );
        let cases: &[Case<'_>] = &[
            (
                "all of one that goes out",
                &out,
                None,
                None,
                &[(Before, INSIDE), (After, OUTSIDE)],
            ),
            ("its inside", &out, inside, None, &[(Before, INSIDE)]),
            ("its outside", &out, outside, None, &[(After, OUTSIDE)]),
            (
                "one that comes in, inside",
                &back,
                inside,
                None,
                &[(After, INSIDE)],
            ),
            (
                "the same before",
                &back,
                None,
                Some(Before),
                &[(Before, OUTSIDE)],
            ),
            ("never inside before", &back, inside, Some(Before), &[]),
            (
                "what is dropped came",
                &dropped,
                None,
                None,
                &[(Before, OUTSIDE)],
            ),
            ("and did not leave", &dropped, None, Some(After), &[]),
            (
                "what the slow path sends leaves",
                &slow,
                None,
                None,
                &[(After, OUTSIDE)],
            ),
        ];
        for (what, seen, side, moment, expected) in cases {
            let frames = Frames {
                sides: sides.clone(),
                side: *side,
                moment: *moment,
            };
            let found: Vec<_> = frames
                .of(seen)
                .map(|one| (one.moment, one.ifindex))
                .collect();
            assert_eq!(&found, expected, "{what}");
        }
    }
}
