//! A fresh device under test on a rig of its own, and the trials on it.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use super::napi;
use super::traffic::{Direction, Traffic};
use crate::bench::crowd::{BUCKETS, bucket_ns};
use crate::bench::processor;
use crate::bench::rig::ends::{End, Ends};
use crate::bench::rig::population::Population;
use crate::bench::rig::sending::{Sending, Sent};
use crate::bench::rig::system::{UDP_SECS, cgn};
use crate::lab::{Bed, Daemon};

/// First packets of new subscribers in a second, before a trial: each gets its block.
const GREETINGS_PER_SECOND: f64 = 60_000.0;
/// Answers in a second while sessions are validated, at most.
const ANSWERS_PER_SECOND: f64 = 400_000.0;
/// The generator must have kept this share of its rate.
const KEPT: f64 = 0.98;
/// Frames by which the highest rate of the generator is found.
const MOST_OFFERED_FRAMES: u64 = 1 << 19;
/// A pace that no generator keeps, in frames a second: each frame is due at once.
const NO_PAUSE: f64 = 1e12;
/// Longest that all sessions may take to end.
const TEARDOWN_SECS: f64 = 300.0;

/// What a trial begins with.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    pub population: Population,
    /// Processors of the generator and of the device under test.
    pub cpus: (usize, usize),
    pub most_loss: f64,
}

/// What a trial said: in order (of known sessions: with the frames a second at the far end of each single
/// direction), or why not.
type Outcome<T = ()> = std::result::Result<T, String>;

/// What became of frames that were offered at some rate.
#[derive(Clone, Debug)]
pub struct Offered {
    /// Frames a second that the generator really sent in each direction.
    pub per_second: f64,
    /// Share that did not arrive as it should, of each single direction.
    pub lost: Vec<f64>,
}

/// The device under test is ours, in the driver; no session is known, each subscriber has its block.
pub struct Bench {
    setup: Setup,
    ends: Ends,
    daemon: Daemon,
    // Last: the others are in it.
    bed: Bed,
}

impl Bench {
    /// Builds all of it.
    ///
    /// # Errors
    /// The rig's or the daemon's.
    pub fn new(setup: Setup) -> Result<Self> {
        let (generator, dut) = setup.cpus;
        let bed = Bed::new()?;
        let mut ends = Ends::load(&bed, setup.population, generator)?;
        ends.attach(&bed)?;
        let mut daemon = cgn(&bed, setup.population, "native", &["--test-clock"])?;
        // Off the processor of the device under test.
        let other = (dut + 1) % processor::count()?;
        processor::keep_process(daemon.process().id(), other)?;
        if generator != dut {
            napi::move_to(&bed, dut)?;
        }
        Ok(Self {
            setup,
            ends,
            daemon,
            bed,
        })
    }

    /// Sessions of the population.
    #[must_use]
    pub const fn sessions(&self) -> u64 {
        self.setup.population.sessions()
    }

    /// Connections a second, without a pace: a guess to begin a search with.
    ///
    /// # Errors
    /// The rig's.
    pub fn flat_out(&mut self) -> Result<f64> {
        self.greet()?;
        let hosts = self.setup.population.hosts();
        let sending = Sending::flat_out(End::Inside, hosts, self.sessions() - hosts);
        Ok(self.ends.send(&self.bed, &sending)?.per_second())
    }

    /// Frames a second of known sessions in each direction, likewise.
    ///
    /// # Errors
    /// The rig's.
    pub fn flat_out_known(&mut self, traffic: Traffic) -> Result<f64> {
        let sent = self.send(traffic, Sending::flat_out(End::Inside, 0, 1 << 18))?;
        let rates = sent.iter().map(Sent::per_second);
        Ok(rates.fold(f64::INFINITY, f64::min))
    }

    /// Frames a second in each direction that the generator sends without a pause, whatever becomes of them.
    ///
    /// # Errors
    /// The rig's.
    pub fn most_offered(&mut self, traffic: Traffic) -> Result<f64> {
        let sending = Sending {
            per_second: NO_PAUSE,
            ..Sending::flat_out(End::Inside, 0, MOST_OFFERED_FRAMES)
        };
        Ok(offered(&self.send(traffic, sending)?))
    }

    /// Opens every session at `rate` a second and validates each: whether all are there.
    ///
    /// # Errors
    /// The rig's.
    pub fn establish(&mut self, rate: f64) -> Result<Outcome> {
        self.greet()?;
        let (hosts, sessions) = (self.setup.population.hosts(), self.sessions());
        let opening = Sending {
            per_second: rate,
            check: true,
            ..Sending::flat_out(End::Inside, hosts, sessions - hosts)
        };
        let sent = self.ends.send(&self.bed, &opening)?;
        if let Err(why) = self.judge(&sent, true, rate) {
            return Ok(Err(why));
        }
        if sent.tally.repeated != 0 {
            return Ok(Err(format!("{} came twice", sent.tally.repeated)));
        }
        self.validate(rate.min(ANSWERS_PER_SECOND))
    }

    /// The responder answers each session once: whether all answers reach their subscribers.
    fn validate(&mut self, rate: f64) -> Result<Outcome> {
        let answers = Sending {
            per_second: rate,
            check: true,
            ..Sending::flat_out(End::Outside, 0, self.sessions())
        };
        let sent = self.ends.send(&self.bed, &answers)?;
        let (answered, tally) = (sent.tally.untouched, &sent.tally);
        // A session that the responder never saw has no answer.
        let all = self.sessions();
        let lacking = all.saturating_sub(answered);
        if lacking as f64 > self.setup.most_loss * all as f64 || tally.damaged + tally.wrong > 0 {
            return Ok(Err(format!(
                "of {all} sessions {answered} had their answer; {} damaged, {} wrong",
                tally.damaged, tally.wrong
            )));
        }
        Ok(Ok(()))
    }

    /// Frames of known sessions at `rate` in each direction for some seconds: whether they all arrive.
    ///
    /// # Errors
    /// The rig's.
    pub fn forward(&mut self, traffic: Traffic, rate: f64, secs: f64) -> Result<Outcome<Vec<f64>>> {
        let sent = self.known(traffic, rate, secs, 64)?;
        for (sent, way) in sent.iter().zip(traffic.direction.singles()) {
            if let Err(why) = self.judge(sent, way.from() == End::Inside, rate) {
                return Ok(Err(format!("{}: {why}", way.name())));
            }
        }
        Ok(Ok(sent.iter().map(Sent::per_second).collect()))
    }

    /// The same whatever becomes of them: what was offered, and what was lost.
    ///
    /// # Errors
    /// The rig's.
    pub fn offer(&mut self, traffic: Traffic, rate: f64, secs: f64) -> Result<Offered> {
        let sent = self.known(traffic, rate, secs, 64)?;
        let lost = sent.iter().zip(traffic.direction.singles());
        let lost = lost.map(|(sent, way)| {
            let arrived = right(sent, way.from() == End::Inside);
            sent.sent.saturating_sub(arrived) as f64 / sent.sent.max(1) as f64
        });
        Ok(Offered {
            per_second: offered(&sent),
            lost: lost.collect(),
        })
    }

    /// Least, median and 99.9th percentile of the time from end to end in microseconds, at `rate` in each
    /// direction; of both directions together.
    ///
    /// # Errors
    /// The rig's.
    pub fn latency(&mut self, traffic: Traffic, rate: f64, secs: f64) -> Result<Option<[f64; 3]>> {
        let sent = self.known(traffic, rate, secs, 8)?;
        let mut delays = [0; BUCKETS];
        for one in &sent {
            for (sum, count) in delays.iter_mut().zip(one.tally.delays) {
                *sum += count;
            }
        }
        Ok(quantiles(&delays, [0.0, 0.5, 0.999]))
    }

    /// First packets of new subscribers at `rate` a second: least, median and 99.9th percentile of
    /// their time from end to end in microseconds. To be asked for before anything else.
    ///
    /// # Errors
    /// The rig's, or one was lost.
    pub fn punts(&mut self, rate: f64) -> Result<Option<[f64; 3]>> {
        let sending = Sending {
            per_second: rate,
            timed_every: 1,
            ..Sending::flat_out(End::Inside, 0, self.setup.population.hosts())
        };
        let sent = self.ends.send(&self.bed, &sending)?;
        let lost = sent.lost();
        ensure!(lost == 0, "{lost} of {} first packets were lost", sent.sent);
        Ok(quantiles(&sent.tally.delays, [0.0, 0.5, 0.999]))
    }

    /// The daemon.
    pub fn daemon(&mut self) -> &mut Daemon {
        &mut self.daemon
    }

    /// Kills the daemon and starts another: seconds until that answers.
    ///
    /// # Errors
    /// It does not start.
    pub fn take_over(&mut self) -> Result<f64> {
        self.daemon.process().kill();
        let begin = Instant::now();
        self.daemon = cgn(
            &self.bed,
            self.setup.population,
            "native",
            &["--test-clock"],
        )?;
        Ok(begin.elapsed().as_secs_f64())
    }

    /// Bytes of the daemon's tables.
    ///
    /// # Errors
    /// The kernel's.
    pub fn table_bytes(&self) -> Result<u64> {
        let mut bytes = 0;
        for entry in std::fs::read_dir(self.bed.pins()).context("no pins")? {
            let Ok(map) = aya::maps::MapData::from_pin(entry?.path()) else {
                continue;
            };
            let info = std::fs::read_to_string(format!(
                "/proc/self/fdinfo/{}",
                std::os::fd::AsRawFd::as_raw_fd(&std::os::fd::AsFd::as_fd(map.fd()))
            ))?;
            let line = info.lines().find_map(|line| line.strip_prefix("memlock:"));
            bytes += line.map_or(Ok(0), |text| text.trim().parse::<u64>())?;
        }
        Ok(bytes)
    }

    /// Lets all sessions time out at once: seconds until none is left.
    ///
    /// # Errors
    /// They do not end.
    pub fn tear_down(&mut self) -> Result<f64> {
        // Its figure is of the last complete sweep.
        self.wait_for_mappings(self.sessions())?;
        let begin = Instant::now();
        self.daemon.advance_clock(UDP_SECS + 1)?;
        self.wait_for_mappings(0)?;
        Ok(begin.elapsed().as_secs_f64())
    }

    fn wait_for_mappings(&self, wanted: u64) -> Result<()> {
        let begin = Instant::now();
        while begin.elapsed().as_secs_f64() < TEARDOWN_SECS {
            if self.daemon.status()?.mappings.udp == wanted {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        bail!("there are not {wanted} mappings after {TEARDOWN_SECS} s")
    }

    /// Each subscriber's first packet, which gets it a block, and one session. That one is opened
    /// in the trial like the others, and found.
    fn greet(&mut self) -> Result<()> {
        let greeting = Sending {
            per_second: GREETINGS_PER_SECOND,
            check: true,
            ..Sending::flat_out(End::Inside, 0, self.setup.population.hosts())
        };
        for _ in 0..8 {
            if self.ends.send(&self.bed, &greeting)?.is_whole(true) {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(300));
        }
        bail!("not every subscriber got a block")
    }

    fn known(
        &mut self,
        traffic: Traffic,
        rate: f64,
        secs: f64,
        timed_every: u64,
    ) -> Result<Vec<Sent>> {
        let sending = Sending {
            per_second: rate,
            timed_every,
            ..Sending::flat_out(End::Inside, 0, (rate * secs).max(1.0) as u64)
        };
        self.send(traffic, sending)
    }

    /// One of each single direction.
    fn send(&mut self, traffic: Traffic, sending: Sending) -> Result<Vec<Sent>> {
        let sending = Sending {
            from: traffic.direction.from(),
            size: traffic.size,
            ..sending
        };
        Ok(match traffic.direction {
            Direction::Both => self.ends.send_both(&self.bed, &sending)?.into(),
            _ => vec![self.ends.send(&self.bed, &sending)?],
        })
    }

    fn judge(&self, sent: &Sent, outbound: bool, rate: f64) -> Outcome {
        let tally = &sent.tally;
        if sent.sent_per_second < KEPT * rate {
            let kept = sent.sent_per_second / 1e6;
            return Err(format!("the generator only sent {kept:.3} M/s"));
        }
        let right = right(sent, outbound);
        if sent.lost() as f64 > self.setup.most_loss * sent.sent as f64 {
            return Err(format!("{} of {} lost", sent.lost(), sent.sent));
        }
        if right != tally.frames || tally.damaged > 0 {
            let wrong = tally.frames - right;
            return Err(format!(
                "{wrong} wrongly translated, {} damaged",
                tally.damaged
            ));
        }
        if sent.lost() == 0 && tally.bytes != sent.bytes {
            let (left, arrived) = (sent.bytes, tally.bytes);
            return Err(format!("of {left} bytes {arrived} arrived"));
        }
        Ok(())
    }
}

/// Frames that arrived with the ends that they should have.
const fn right(sent: &Sent, outbound: bool) -> u64 {
    match outbound {
        true => sent.tally.translated,
        false => sent.tally.untouched,
    }
}

/// Frames a second that the generator really sent in each direction.
fn offered(sent: &[Sent]) -> f64 {
    let rates = sent.iter().map(|sent| sent.sent_per_second);
    rates.fold(f64::INFINITY, f64::min)
}

/// In microseconds, of a histogram in nanoseconds; None of an empty one.
fn quantiles(buckets: &[u64], shares: [f64; 3]) -> Option<[f64; 3]> {
    let all: u64 = buckets.iter().sum();
    let at = |share: f64| {
        let wanted = ((all as f64 * share).ceil() as u64).max(1);
        let mut sum = 0;
        let found = buckets.iter().position(|count| {
            sum += count;
            sum >= wanted
        });
        found.map(|bucket| bucket_ns(bucket) as f64 / 1e3)
    };
    Some([at(shares[0])?, at(shares[1])?, at(shares[2])?])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::crowd::bucket_of;

    #[test]
    fn quantiles_are_those_of_the_histogram() {
        let mut buckets = [0; BUCKETS];
        buckets[bucket_of(1_024)] = 900;
        buckets[bucket_of(65_536)] = 99;
        buckets[bucket_of(1_048_576)] = 1;
        let found = quantiles(&buckets, [0.0, 0.5, 0.999]);
        assert_eq!(found, Some([1.024, 1.024, 65.536]));
        assert_eq!(quantiles(&[0; BUCKETS], [0.0, 0.5, 0.999]), None);
    }
}
