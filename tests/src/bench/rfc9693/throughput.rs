//! Throughput of known sessions, and how long their frames take.

use anyhow::Result;

use super::bench::Bench;
use super::loss::{self, Point};
use super::traffic::Traffic;
use super::{Options, outcome, search};
use crate::bench::sample::median;

/// Rate at which latency is measured, in the throughput.
const LATENCY: f64 = 0.9;

/// What known sessions can send, and what their frames then take.
#[derive(Clone, Debug)]
pub struct Throughput {
    pub traffic: Traffic,
    /// Frames a second in each direction, one of each repetition; 0: no rate was found.
    pub pps: Vec<f64>,
    /// For each single direction its name and the frames a second that the far end counted in those trials.
    pub arrived: Vec<(&'static str, Vec<f64>)>,
    /// At nine tenths of the median: least, median and 99.9th percentile of the time from the generator
    /// to the sink in microseconds, one of each repetition.
    pub latency_us: Vec<[f64; 3]>,
    /// Empty if it was not asked for.
    pub loss: Vec<Point>,
}

/// Searches for the highest rate, times frames below it, and draws the loss over the rate if asked.
///
/// # Errors
/// The rig's.
pub fn measure(
    options: &Options,
    bench: &mut Bench,
    traffic: Traffic,
    progress: &mut impl FnMut(&str),
) -> Result<Throughput> {
    let mut pps = Vec::new();
    let singles = traffic.direction.singles().iter();
    let mut arrived: Vec<_> = singles.map(|way| (way.name(), Vec::new())).collect();
    let guess = bench.flat_out_known(traffic)?;
    for _ in 0..options.repeats {
        let mut best = Vec::new();
        let rate = search::highest(guess, options.steps, |rate| {
            let result = bench.forward(traffic, rate, options.secs);
            progress(&outcome(
                &traffic.to_string(),
                bench.sessions(),
                rate,
                &result,
            ));
            let result = result?;
            let is_ok = result.is_ok();
            if let Ok(rates) = result {
                best = rates;
            }
            Ok(is_ok)
        })?;
        pps.push(rate);
        for ((_, all), rate) in arrived.iter_mut().zip(best) {
            all.push(rate);
        }
    }
    Ok(Throughput {
        traffic,
        arrived,
        latency_us: latency(options, bench, traffic, median(&pps) * LATENCY)?,
        pps,
        loss: match options.loss_curve {
            true => loss::measure(options, bench, traffic, progress)?,
            false => Vec::new(),
        },
    })
}

fn latency(
    options: &Options,
    bench: &mut Bench,
    traffic: Traffic,
    rate: f64,
) -> Result<Vec<[f64; 3]>> {
    let mut all = Vec::new();
    if rate > 0.0 {
        for _ in 0..options.repeats {
            all.extend(bench.latency(traffic, rate, options.secs)?);
        }
    }
    Ok(all)
}
