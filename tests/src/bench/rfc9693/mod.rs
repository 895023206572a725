//! `bench rfc9693`: the tests of RFC 9693 for stateful NATs, on the rig, with its own generator.
//!
//! Each test has the two phases of section 4: a preliminary one, in which the initiator opens all
//! sessions at a rate and the responder notes what they became, and a real one. A rate counts if
//! the generator kept it, nothing was lost, every session came out once, with right checksums, and
//! an answer to each of them arrived at the right subscriber.
//!
//! | module | what |
//! |---|---|
//! | `bench` | a fresh device under test for a trial |
//! | `search` | the highest rate at which a trial succeeds |
//! | `traffic` | which way frames of known sessions go, and how long they are |
//! | `throughput` | the highest rate of known sessions, and latency below it |
//! | `loss` | the share that is lost, over the rate that is offered |
//! | `napi` | the device under test on a processor of its own |
//! | `report` | table and JSON |

pub mod bench;
pub mod loss;
pub mod napi;
pub mod report;
pub mod search;
pub mod throughput;
pub mod traffic;

use anyhow::{Result, ensure};

use self::bench::{Bench, Setup};
use self::throughput::Throughput;
use self::traffic::{Direction, Traffic};
use super::rig::frame_size::FrameSize;
use super::rig::population::Population;

/// Sessions of FD.io's ladder.
pub const LADDER: [u64; 5] = [64_512, 258_048, 1_032_192, 4_128_768, 16_515_072];
/// Seconds of a trial (RFC 2544 section 24), and repetitions (section 26.2: at least so many).
pub const FULL: (f64, usize) = (60.0, 20);

/// Rate of the preliminary phase of tests with known sessions, in the highest rate.
const PRELIMINARY: f64 = 0.5;
/// Times that it is tried: a disturbance of the machine is not to cost a night's measurement.
const PRELIMINARIES: usize = 5;

/// How to measure.
#[derive(Clone, Debug)]
pub struct Options {
    /// Sizes of the population.
    pub sessions: Vec<u64>,
    /// Sessions of each subscriber, each 63 times a power of two; every size is measured with each.
    pub per_host: Vec<u64>,
    /// Steps of each search: it is exact to about 2 to the minus so many of its first guess.
    pub steps: u32,
    /// Seconds of a trial with known sessions.
    pub secs: f64,
    /// Times that throughput and connections are searched for; medians, least and most are told.
    pub repeats: usize,
    /// Directions and lengths of the frames of throughput trials; each with each.
    pub directions: Vec<Direction>,
    pub frames: Vec<FrameSize>,
    /// Measure the loss over the offered rate, too.
    pub loss_curve: bool,
    /// Share of the frames that may be lost.
    pub most_loss: f64,
    /// Processors of the generator and of the device under test; equal: in lock-step.
    pub cpus: (usize, usize),
}

impl Options {
    /// What known sessions send in throughput trials.
    fn traffic(&self) -> impl Iterator<Item = Traffic> + '_ {
        self.frames.iter().flat_map(|&size| {
            let directions = self.directions.iter();
            directions.map(move |&direction| Traffic { direction, size })
        })
    }

    /// Seconds that the trials of known sessions take at least, without what is around them: a search, a
    /// latency and the shortest loss curve of each repetition, at each size.
    #[must_use]
    pub fn trial_seconds(&self) -> f64 {
        let sizes = self.sessions.len() * self.per_host.len();
        let searches = sizes * self.traffic().count() * self.repeats;
        let curve = if self.loss_curve { loss::WHOLE } else { 0 };
        searches as f64 * (f64::from(self.steps) + 1.0 + curve as f64) * self.secs
    }
}

/// Everything for one number of sessions.
#[derive(Clone, Debug)]
pub struct Figures {
    pub sessions: u64,
    /// Sessions of each subscriber.
    pub per_host: u64,
    /// Validated connections a second, one of each repetition; 0: none was found.
    pub connections: Vec<f64>,
    pub throughput: Vec<Throughput>,
    /// Sessions a second that end when all time out at once.
    pub teardown: f64,
    /// Bytes of the tables of the device under test for a session.
    pub bytes_per_session: f64,
}

/// Runs all tests at all sizes.
///
/// # Errors
/// No rights, or the rig or the daemon does not work.
pub fn measure(options: &Options, mut progress: impl FnMut(&str)) -> Result<Vec<Figures>> {
    ensure!(options.repeats > 0, "--repeats must be at least 1");
    progress(&format!(
        "trials of known sessions: {:.1} minutes at least",
        options.trial_seconds() / 60.0
    ));
    let mut all = Vec::new();
    for &per_host in &options.per_host {
        for &sessions in &options.sessions {
            let setup = Setup {
                population: Population::dense(sessions, per_host)?,
                cpus: options.cpus,
                most_loss: options.most_loss,
            };
            all.push(measure_size(options, setup, &mut progress)?);
        }
    }
    Ok(all)
}

fn measure_size(
    options: &Options,
    setup: Setup,
    progress: &mut impl FnMut(&str),
) -> Result<Figures> {
    let population = setup.population;
    let mut figures = Figures {
        sessions: population.sessions(),
        per_host: population.per_host(),
        connections: connections(options, setup, progress)?,
        throughput: Vec::new(),
        teardown: f64::NAN,
        bytes_per_session: f64::NAN,
    };
    let rate = PRELIMINARY * super::sample::median(&figures.connections);
    if rate > 0.0 {
        known_sessions(options, setup, rate, &mut figures, progress)?;
    }
    Ok(figures)
}

/// Validated connections a second, one of each repetition.
fn connections(
    options: &Options,
    setup: Setup,
    progress: &mut impl FnMut(&str),
) -> Result<Vec<f64>> {
    let (sessions, per_host) = (setup.population.sessions(), setup.population.per_host());
    let guess = Bench::new(setup)?.flat_out()?;
    progress(&format!(
        "{sessions} sessions, {per_host} of each subscriber: {:.2} M connections/s flat out, in lock-step",
        guess / 1e6
    ));
    let mut all = Vec::new();
    for _ in 0..options.repeats {
        all.push(search::highest(guess, options.steps, |rate| {
            let result = Bench::new(setup)?.establish(rate);
            progress(&outcome("connections", sessions, rate, &result));
            Ok(result?.is_ok())
        })?);
    }
    Ok(all)
}

/// Opens all sessions at `rate` a second; then throughput, loss, latency, memory and tear-down.
fn known_sessions(
    options: &Options,
    setup: Setup,
    rate: f64,
    figures: &mut Figures,
    progress: &mut impl FnMut(&str),
) -> Result<()> {
    let sessions = setup.population.sessions();
    let Some(mut bench) = prepared(setup, rate, progress)? else {
        return Ok(());
    };
    for traffic in options.traffic() {
        let throughput = throughput::measure(options, &mut bench, traffic, progress)?;
        figures.throughput.push(throughput);
    }
    figures.bytes_per_session = bench.table_bytes()? as f64 / sessions as f64;
    let secs = bench.tear_down()?;
    progress(&format!("{sessions} sessions: all ended in {secs:.2} s"));
    figures.teardown = sessions as f64 / secs;
    Ok(())
}

/// A rig on which all sessions are known, opened at `rate` a second; None: they never were.
fn prepared(setup: Setup, rate: f64, progress: &mut impl FnMut(&str)) -> Result<Option<Bench>> {
    let sessions = setup.population.sessions();
    for _ in 0..PRELIMINARIES {
        let mut bench = Bench::new(setup)?;
        let result = bench.establish(rate);
        progress(&outcome("known sessions", sessions, rate, &result));
        if result?.is_ok() {
            return Ok(Some(bench));
        }
    }
    Ok(None)
}

fn outcome<T>(
    what: &str,
    sessions: u64,
    rate: f64,
    result: &Result<std::result::Result<T, String>>,
) -> String {
    let said = match result {
        Ok(Ok(_)) => "yes".to_owned(),
        Ok(Err(why)) => format!("no: {why}"),
        Err(error) => format!("{error:#}"),
    };
    format!("{what}, {sessions} sessions, {:.3} M/s: {said}", rate / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_direction_is_tried_with_every_length_and_the_time_is_told() {
        let options = Options {
            sessions: LADDER.to_vec(),
            per_host: vec![63, 1008],
            steps: 6,
            secs: FULL.0,
            repeats: FULL.1,
            directions: vec![Direction::Forward, Direction::Both],
            frames: vec![FrameSize::SHORTEST, FrameSize::Imix],
            loss_curve: true,
            most_loss: 0.0,
            cpus: (0, 0),
        };
        let said: Vec<String> = options
            .traffic()
            .map(|traffic| traffic.to_string())
            .collect();
        let wanted = [
            "forward, frames of 60 bytes",
            "both, frames of 60 bytes",
            "forward, frames of IMIX",
            "both, frames of IMIX",
        ];
        assert_eq!(said, wanted);
        let hours = options.trial_seconds() / 3600.0;
        let trials = 5.0 * 2.0 * 4.0 * 20.0 * (6.0 + 1.0 + 2.0);
        assert!((hours - trials / 60.0).abs() < 1e-6, "{hours} hours");
    }
}
