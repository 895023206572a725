//! Frames of known sessions: which way they go, and how long they are.

use std::fmt;
use std::str::FromStr;

use anyhow::{Context as _, Error, Result};

use crate::bench::rig::ends::End;
use crate::bench::rig::frame_size::FrameSize;

/// Directions of a trial, in the words of RFC 9693 section 4.7.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the initiator, who is inside.
    Forward,
    /// From the responder.
    Reverse,
    /// Both at once, with the same rate each.
    Both,
}

impl Direction {
    const ALL: [Self; 3] = [Self::Forward, Self::Reverse, Self::Both];

    /// Name in options, tables and JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::Reverse => "reverse",
            Self::Both => "both",
        }
    }

    /// The single directions of it.
    #[must_use]
    pub const fn singles(self) -> &'static [Self] {
        match self {
            Self::Forward => &[Self::Forward],
            Self::Reverse => &[Self::Reverse],
            Self::Both => &[Self::Forward, Self::Reverse],
        }
    }

    /// Where frames of a single direction come from; of both, those that are sent first.
    #[must_use]
    pub const fn from(self) -> End {
        match self {
            Self::Forward | Self::Both => End::Inside,
            Self::Reverse => End::Outside,
        }
    }
}

impl FromStr for Direction {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut all = Self::ALL.into_iter();
        all.find(|direction| direction.name() == text)
            .with_context(|| format!("{text} is none of forward, reverse and both"))
    }
}

/// What known sessions send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Traffic {
    pub direction: Direction,
    pub size: FrameSize,
}

impl Traffic {
    /// The shortest frames of the subscribers.
    pub const SHORTEST: Self = Self {
        direction: Direction::Forward,
        size: FrameSize::SHORTEST,
    };
}

impl fmt::Display for Traffic {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}, frames of {}", self.direction.name(), self.size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_direction_is_read_by_its_name() {
        for direction in Direction::ALL {
            assert_eq!(direction.name().parse::<Direction>().ok(), Some(direction));
        }
        let names = "forward,reverse".parse::<Direction>();
        assert!(names.is_err(), "no list: {names:?}");
    }

    #[test]
    fn both_directions_are_from_either_end() {
        let ends = Direction::Both.singles().iter().map(|way| way.from());
        assert_eq!(ends.collect::<Vec<End>>(), [End::Inside, End::Outside]);
    }
}
