//! What is sent in one run, and what became of it.

use std::time::Duration;

use super::ends::End;
use super::frame_size::FrameSize;
use crate::bench::crowd::Tally;

/// What is sent in one run.
#[derive(Clone, Copy, Debug)]
pub struct Sending {
    /// Where from.
    pub from: End,
    /// Number of the first frame; a multiple of the subscribers to meet each session once.
    pub first: u64,
    pub frames: u64,
    /// Frames a second; 0: as fast as it goes.
    pub per_second: f64,
    /// The clock is looked at every so many frames, a power of two.
    pub timed_every: u64,
    pub size: FrameSize,
    /// Note and check each session at the far end.
    pub check: bool,
}

impl Sending {
    /// As fast as it goes, in the shortest frames.
    #[must_use]
    pub const fn flat_out(from: End, first: u64, frames: u64) -> Self {
        Self {
            from,
            first,
            frames,
            per_second: 0.0,
            timed_every: 64,
            size: FrameSize::SHORTEST,
            check: false,
        }
    }

    /// Whether frames have a time of their own.
    #[must_use]
    pub const fn is_paced(&self) -> bool {
        self.per_second > 0.0
    }

    /// From one frame to the next in 1/1024 ns; 0 without a pace.
    #[must_use]
    pub fn interval(&self) -> u64 {
        match self.is_paced() {
            true => ((1e9 * 1024.0 / self.per_second).round() as u64).max(1),
            false => 0,
        }
    }

    /// A run of so many frames that takes longer than this is not worth its wait.
    #[must_use]
    pub fn longest(&self, frames: u64) -> Duration {
        let slowest = match self.is_paced() {
            true => self.per_second / 4.0,
            false => 20_000.0,
        };
        Duration::from_secs_f64(10.0 + frames as f64 / slowest)
    }
}

/// What became of it.
#[derive(Clone, Debug)]
pub struct Sent {
    /// Frames that were really sent: sessions that the responder does not know cannot be.
    pub sent: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Frames a second in the generator; 0 without a pace.
    pub sent_per_second: f64,
    pub tally: Tally,
}

impl Sent {
    /// Frames a second at the far end, from the first look at the clock to the last.
    #[must_use]
    pub fn per_second(&self) -> f64 {
        let tally = &self.tally;
        let frames = tally.last_frames.saturating_sub(tally.first_frames);
        let ns = tally.last_ns.saturating_sub(tally.first_ns);
        frames as f64 * 1e9 / ns.max(1) as f64
    }

    /// Frames that did not arrive.
    #[must_use]
    pub const fn lost(&self) -> u64 {
        self.sent.saturating_sub(self.tally.frames)
    }

    /// Every frame arrived with the ends that a NAT (or else: a router) gives it.
    #[must_use]
    pub const fn is_whole(&self, is_nat: bool) -> bool {
        let right = if is_nat {
            self.tally.translated
        } else {
            self.tally.untouched
        };
        self.lost() == 0 && right == self.sent && self.tally.damaged == 0
    }
}
