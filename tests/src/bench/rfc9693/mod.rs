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
//! | `napi` | the device under test on a processor of its own |
//! | `report` | table and JSON |

pub mod bench;
pub mod napi;
pub mod report;
pub mod search;

use anyhow::{Result, ensure};

use self::bench::{Bench, Setup};
use super::rig::ends::End;
use super::rig::population::Population;

/// Rate of the preliminary phase of tests with known sessions, in the highest rate.
const PRELIMINARY: f64 = 0.5;
/// Rate at which latency is measured, in the throughput.
const LATENCY: f64 = 0.9;

/// How to measure.
#[derive(Clone, Debug)]
pub struct Options {
    /// Sizes of the population, each 63 times a power of two.
    pub sessions: Vec<u64>,
    /// Steps of each search: it is exact to about 2 to the minus so many of its first guess.
    pub steps: u32,
    /// Seconds of a trial with known sessions.
    pub secs: f64,
    /// Times that throughput and connections are searched for; medians, least and most are told.
    pub repeats: usize,
    /// Bytes of the frames of throughput trials, without their checksum.
    pub frame_bytes: Vec<usize>,
    /// Share of the frames that may be lost.
    pub most_loss: f64,
    /// Processors of the generator and of the device under test; equal: in lock-step.
    pub cpus: (usize, usize),
}

/// Throughput of known sessions one way, and what packets then take.
#[derive(Clone, Debug)]
pub struct Throughput {
    pub direction: &'static str,
    pub frame_bytes: usize,
    /// Frames a second, one of each repetition.
    pub pps: Vec<f64>,
    /// At nine tenths of the median: least, median and 99.9th percentile of the time from the
    /// generator to the sink, in microseconds.
    pub latency_us: Option<[f64; 3]>,
}

/// Everything for one number of sessions.
#[derive(Clone, Debug)]
pub struct Figures {
    pub sessions: u64,
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
    let mut all = Vec::new();
    for &sessions in &options.sessions {
        let setup = Setup {
            population: Population::of(sessions)?,
            cpus: options.cpus,
            most_loss: options.most_loss,
        };
        all.push(measure_size(options, setup, &mut progress)?);
    }
    Ok(all)
}

fn measure_size(
    options: &Options,
    setup: Setup,
    progress: &mut impl FnMut(&str),
) -> Result<Figures> {
    let sessions = setup.population.sessions();
    let guess = Bench::new(setup)?.flat_out()?;
    progress(&format!(
        "{sessions} sessions: {:.2} M connections/s flat out, in lock-step",
        guess / 1e6
    ));
    let mut connections = Vec::new();
    for _ in 0..options.repeats {
        let rate = search::highest(guess, options.steps, |rate| {
            let result = Bench::new(setup)?.establish(rate);
            progress(&outcome("connections", sessions, rate, &result));
            Ok(result?.is_ok())
        })?;
        connections.push(rate);
    }
    let rate = super::sample::median(&connections);
    let mut figures = Figures {
        sessions,
        connections,
        throughput: Vec::new(),
        teardown: f64::NAN,
        bytes_per_session: f64::NAN,
    };
    if rate == 0.0 {
        return Ok(figures);
    }
    let mut bench = Bench::new(setup)?;
    let prepared = bench.establish(rate * PRELIMINARY)?;
    progress(&outcome(
        "known sessions",
        sessions,
        rate * PRELIMINARY,
        &Ok(prepared.clone()),
    ));
    if prepared.is_ok() {
        for &frame_bytes in &options.frame_bytes {
            for (direction, from) in [("forward", End::Inside), ("reverse", End::Outside)] {
                let throughput = throughput(
                    options,
                    &mut bench,
                    (direction, from),
                    frame_bytes,
                    progress,
                )?;
                figures.throughput.push(throughput);
            }
        }
        figures.bytes_per_session = bench.table_bytes()? as f64 / sessions as f64;
        let secs = bench.tear_down()?;
        progress(&format!("{sessions} sessions: all ended in {secs:.2} s"));
        figures.teardown = sessions as f64 / secs;
    }
    Ok(figures)
}

fn throughput(
    options: &Options,
    bench: &mut Bench,
    (direction, from): (&'static str, End),
    frame_bytes: usize,
    progress: &mut impl FnMut(&str),
) -> Result<Throughput> {
    let mut pps = Vec::new();
    let guess = bench.flat_out_known(from, frame_bytes)?;
    for _ in 0..options.repeats {
        let rate = search::highest(guess, options.steps, |rate| {
            let result = bench.forward(from, rate, options.secs, frame_bytes);
            progress(&outcome(direction, bench.sessions(), rate, &result));
            Ok(result?.is_ok())
        })?;
        pps.push(rate);
    }
    let rate = super::sample::median(&pps) * LATENCY;
    let latency_us = match rate > 0.0 {
        true => bench.latency(from, rate, options.secs, frame_bytes)?,
        false => None,
    };
    Ok(Throughput {
        direction,
        frame_bytes,
        pps,
        latency_us,
    })
}

fn outcome(
    what: &str,
    sessions: u64,
    rate: f64,
    result: &Result<std::result::Result<(), String>>,
) -> String {
    let said = match result {
        Ok(Ok(())) => "yes".to_owned(),
        Ok(Err(why)) => format!("no: {why}"),
        Err(error) => format!("{error:#}"),
    };
    format!("{what}, {sessions} sessions, {:.3} M/s: {said}", rate / 1e6)
}
