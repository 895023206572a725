//! The routes of one /16, flattened: which action each of its 65,536 addresses gets.

use std::sync::Arc;

use super::action::{ActionId, KERNEL_ONLY, NO_ROUTE};
use super::prefix::Prefix;

/// From `start` (the low 16 bits of the address) up to the next segment, the action is `action`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) start: u16,
    pub(super) action: ActionId,
}

/// The actions of one /16.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Span {
    /// One action for all addresses.
    One(ActionId),
    /// At least two segments; the first one starts at 0, neighbouring ones differ.
    Many(Arc<[Segment]>),
}

impl Span {
    pub(super) fn from_segments(segments: Vec<Segment>) -> Self {
        match segments.as_slice() {
            [] => Span::One(NO_ROUTE),
            [only] => Span::One(only.action),
            _ => Span::Many(segments.into()),
        }
    }

    /// The action for the address whose low 16 bits are `low`.
    pub(super) fn lookup(&self, low: u16) -> ActionId {
        match self {
            Span::One(action) => *action,
            Span::Many(segments) => {
                let after = segments.partition_point(|segment| segment.start <= low);
                // The first segment starts at 0, so at least one lies before.
                segments[after - 1].action
            }
        }
    }
}

/// The best route of one prefix.
#[derive(Debug, Clone, Copy)]
pub(super) struct Best {
    pub(super) prefix: Prefix,
    pub(super) action: ActionId,
    /// It is in the local table.
    pub(super) local: bool,
}

/// What applies to addresses that no longer prefix covers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cover {
    pub(super) action: ActionId,
    /// A prefix around them is in the local table.
    pub(super) in_local: bool,
}

impl Cover {
    pub(super) const NOTHING: Cover = Cover {
        action: NO_ROUTE,
        in_local: false,
    };

    /// What applies inside `best`, which lies inside `self`.
    ///
    /// A main route inside a wider local one: the kernel forwards as long as it keeps both
    /// tables in one trie, and delivers locally once it has had a rule of the operator's (since
    /// when it asks the local table first). Only the kernel knows which it is.
    pub(super) fn inside(self, best: Best) -> Cover {
        let hidden = self.in_local && !best.local;
        Cover {
            action: if hidden { KERNEL_ONLY } else { best.action },
            in_local: self.in_local || best.local,
        }
    }
}

/// Flattens the prefixes longer than /16 of one /16. They must be in [`Prefix`] order.
pub(super) fn flatten(cover: Cover, routes: impl Iterator<Item = Best>) -> Vec<Segment> {
    let mut flat = Flat {
        segments: Vec::new(),
    };
    flat.put(0, cover.action);
    // The prefixes around the current one: the low 16 bits of their last address, and what
    // applies inside.
    let mut around: Vec<(u16, Cover)> = vec![(u16::MAX, cover)];
    for best in routes {
        let start = low(best.prefix.first());
        flat.close(&mut around, Some(start));
        let outer = around.last().map_or(Cover::NOTHING, |&(_, cover)| cover);
        let inner = outer.inside(best);
        flat.put(start, inner.action);
        around.push((low(best.prefix.last()), inner));
    }
    flat.close(&mut around, None);
    flat.segments
}

struct Flat {
    segments: Vec<Segment>,
}

impl Flat {
    /// From `start` on the action is `action`. `start` never decreases.
    fn put(&mut self, start: u16, action: ActionId) {
        if self.segments.last().is_some_and(|last| last.start == start) {
            self.segments.pop();
        }
        if self
            .segments
            .last()
            .is_none_or(|last| last.action != action)
        {
            self.segments.push(Segment { start, action });
        }
    }

    /// Ends the prefixes that end before `start` (`None`: all): what is around them applies again.
    fn close(&mut self, around: &mut Vec<(u16, Cover)>, start: Option<u16>) {
        while let Some(&(last, _)) = around.last() {
            if start.is_some_and(|start| last >= start) {
                break;
            }
            around.pop();
            if let (Some(next), Some(&(_, outer))) = (last.checked_add(1), around.last()) {
                self.put(next, outer.action);
            }
        }
    }
}

/// The low 16 bits.
pub(super) fn low(address: u32) -> u16 {
    (address & 0xffff) as u16
}

/// Joins two flattened /16s into one with `choose`.
pub(super) fn overlay(
    first: &[Segment],
    second: &[Segment],
    choose: impl Fn(ActionId, ActionId) -> ActionId,
) -> Vec<Segment> {
    let mut flat = Flat {
        segments: Vec::new(),
    };
    let (mut a, mut b) = (0, 0);
    while let (Some(left), Some(right)) = (first.get(a), second.get(b)) {
        flat.put(
            left.start.max(right.start),
            choose(left.action, right.action),
        );
        // Step past whichever segment ends first; both at the end of the /16: done.
        let ends = |segments: &[Segment], at: usize| segments.get(at + 1).map(|next| next.start);
        match (ends(first, a), ends(second, b)) {
            (None, None) => break,
            (Some(x), Some(y)) if x == y => (a, b) = (a + 1, b + 1),
            (Some(x), Some(y)) if x < y => a += 1,
            (Some(_), None) => a += 1,
            (Some(_), Some(_)) | (None, Some(_)) => b += 1,
        }
    }
    flat.segments
}
