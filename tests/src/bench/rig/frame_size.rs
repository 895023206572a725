//! How long the frames of a run are.

use std::fmt;
use std::str::FromStr;

use anyhow::{Context as _, Error, Result, ensure};

use crate::bench::crowd::{FRAME_BYTES, LONGEST_BYTES};

/// Name of the mix, in options, tables and JSON.
const MIX: &str = "imix";

/// Length of frames, without their checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameSize {
    /// All of so many bytes, 60 to 1514.
    Bytes(usize),
    /// The mix that the generators know: of twelve frames seven of 60 bytes, four of 566, one of 1514.
    Imix,
}

impl FrameSize {
    /// The shortest frames.
    pub const SHORTEST: Self = Self::Bytes(FRAME_BYTES);

    /// Bytes of the longest frame of a run.
    #[must_use]
    pub const fn longest(self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Imix => LONGEST_BYTES,
        }
    }
}

impl FromStr for FrameSize {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if text == MIX {
            return Ok(Self::Imix);
        }
        let bytes = text
            .parse()
            .with_context(|| format!("{text} is neither a number of bytes nor `{MIX}`"))?;
        ensure!(
            (FRAME_BYTES..=LONGEST_BYTES).contains(&bytes),
            "frames have {FRAME_BYTES} to {LONGEST_BYTES} bytes without their checksum, not {bytes}"
        );
        Ok(Self::Bytes(bytes))
    }
}

impl fmt::Display for FrameSize {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(bytes) => write!(out, "{bytes} bytes"),
            Self::Imix => out.write_str("IMIX"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::crowd::{MIDDLE_BYTES, MIX_FRAMES, mixed_bytes};

    #[test]
    fn sizes_are_read_as_they_are_meant() {
        let cases = [
            ("the shortest frame", "60", Some(FrameSize::Bytes(60))),
            ("the longest frame", "1514", Some(FrameSize::Bytes(1514))),
            ("the mix", "imix", Some(FrameSize::Imix)),
            ("no frame is that short", "59", None),
            ("nor that long", "1515", None),
            ("no number", "short", None),
        ];
        for (sentence, text, wanted) in cases {
            assert_eq!(text.parse::<FrameSize>().ok(), wanted, "{sentence}");
        }
    }

    #[test]
    fn of_any_twelve_frames_of_the_mix_seven_are_short_four_middling_and_one_long() {
        for first in [0, 1, 5, 4_000_000_007] {
            let count = |bytes| {
                let frames = first..first + MIX_FRAMES;
                frames.filter(|frame| mixed_bytes(*frame) == bytes).count()
            };
            let counts = [FRAME_BYTES, MIDDLE_BYTES, LONGEST_BYTES].map(count);
            assert_eq!(counts, [7, 4, 1], "from frame {first} on");
        }
    }

    #[test]
    fn the_mix_is_that_of_fd_io_with_checksums() {
        let bytes: usize = (0..MIX_FRAMES).map(|frame| mixed_bytes(frame) + 4).sum();
        assert_eq!(bytes, 7 * 64 + 4 * 570 + 1518);
    }
}
