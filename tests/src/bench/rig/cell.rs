//! One system at one size, once, on a rig of its own.

use anyhow::{Context as _, Result, bail};

use super::ends::{End, Ends};
use super::population::Population;
use super::sending::{Sending, Sent};
use super::system::System;
use crate::bench::processor;
use crate::lab::Bed;

/// Rounds over all sessions until each must be known.
const MOST_WARM_UPS: usize = 8;
/// First packets of new subscribers in a second: no slow path is to be overrun here.
const GREETINGS_PER_SECOND: f64 = 60_000.0;
/// Fewest frames of a measurement.
const FEWEST: u64 = 1 << 18;

/// What is measured.
#[derive(Clone, Debug)]
pub struct Cell {
    pub system: System,
    pub population: Population,
    /// About how long packets of known sessions are sent.
    pub secs: f64,
    pub cpu: usize,
}

/// One measurement.
#[derive(Clone, Copy, Debug)]
pub struct Measured {
    /// Packets of known sessions in a second.
    pub pps: f64,
    /// New sessions of known subscribers in a second; none of what keeps no sessions.
    pub cps: Option<f64>,
    /// Share of the frames of known sessions that were lost, and of first ones.
    pub loss: f64,
    pub new_loss: f64,
}

impl Cell {
    /// Builds the rig, sets the system up, and measures.
    ///
    /// # Errors
    /// The rig's, the system's, or frames that did not come out as they should.
    pub fn measure(&self) -> Result<Measured> {
        let bed = Bed::new()?;
        let mut ends = Ends::load(&bed, self.population, self.cpu)?;
        ends.attach(&bed)?;
        let mut running = self.system.start(&bed, &mut ends, self.population)?;
        if let Some(daemon) = running.daemon() {
            // The slow path and the control plane stay out of the way of what is measured.
            let other = (self.cpu + 1) % processor::count()?;
            processor::keep_process(daemon.process().id(), other)?;
        }
        if self.system == System::Drop {
            return self.measure_drop(&bed, &mut ends);
        }
        let new = self.open_all(&bed, &mut ends)?;
        self.warm_up(&bed, &mut ends)?;
        let steady = self.steady(&bed, &mut ends)?;
        running.check()?;
        Ok(Measured {
            pps: steady.per_second(),
            cps: self.system.is_nat().then(|| new.per_second()),
            loss: share_lost(&steady),
            new_loss: share_lost(&new),
        })
    }

    /// Every session's first packet. Each subscriber sends one before, until all come through: that
    /// a new subscriber gets its block is measured elsewhere (`bench slowpath`).
    fn open_all(&self, bed: &Bed, ends: &mut Ends) -> Result<Sent> {
        let hosts = self.population.hosts();
        let greeting = Sending {
            per_second: GREETINGS_PER_SECOND,
            ..Sending::flat_out(End::Inside, 0, hosts)
        };
        self.until_whole(bed, ends, &greeting)
            .context("the first packet of each subscriber")?;
        let rest = self.population.sessions() - hosts;
        let opening = Sending {
            timed_every: 16,
            ..Sending::flat_out(End::Inside, hosts, rest)
        };
        ends.send(bed, &opening)
    }

    /// Until no frame is lost any more.
    fn warm_up(&self, bed: &Bed, ends: &mut Ends) -> Result<()> {
        let sessions = self.population.sessions();
        let all = Sending::flat_out(End::Inside, 0, sessions);
        self.until_whole(bed, ends, &all).context("known sessions")
    }

    fn until_whole(&self, bed: &Bed, ends: &mut Ends, sending: &Sending) -> Result<()> {
        let mut last = None;
        for _ in 0..MOST_WARM_UPS {
            let sent = ends.send(bed, sending)?;
            if sent.is_whole(self.system.is_nat()) {
                return Ok(());
            }
            // What went by a slow path needs a moment.
            std::thread::sleep(std::time::Duration::from_millis(300));
            last = Some(sent);
        }
        let Some(sent) = last else {
            bail!("nothing was sent");
        };
        let tally = &sent.tally;
        bail!(
            "of {} frames {} arrived: {} translated, {} as they were sent, {} otherwise",
            sent.sent,
            tally.frames,
            tally.translated,
            tally.untouched,
            tally.wrong,
        )
    }

    /// As many frames as this system can send in the time; the first run tells how many.
    fn steady(&self, bed: &Bed, ends: &mut Ends) -> Result<Sent> {
        let sessions = self.population.sessions();
        let trial = ends.send(bed, &Sending::flat_out(End::Inside, 0, FEWEST))?;
        let frames = (trial.per_second() * self.secs) as u64;
        let frames = frames.clamp(FEWEST, 1 << 28).next_multiple_of(64);
        let sent = ends.send(bed, &Sending::flat_out(End::Inside, sessions, frames))?;
        let tally = &sent.tally;
        let right = match self.system.is_nat() {
            true => tally.translated,
            false => tally.untouched,
        };
        if right != tally.frames || share_lost(&sent) > 0.01 {
            bail!(
                "of {frames} frames of known sessions {} arrived, {right} as they should",
                tally.frames
            );
        }
        Ok(sent)
    }

    fn measure_drop(&self, bed: &Bed, ends: &mut Ends) -> Result<Measured> {
        let sent = self.steady(bed, ends)?;
        Ok(Measured {
            pps: sent.per_second(),
            cps: None,
            loss: 0.0,
            new_loss: 0.0,
        })
    }
}

fn share_lost(sent: &Sent) -> f64 {
    sent.lost() as f64 / sent.sent.max(1) as f64
}
