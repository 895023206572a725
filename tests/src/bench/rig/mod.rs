//! `bench rig`: packets a second and new connections a second through real veth pairs, of ours and of
//! what it is compared with.
//!
//! Generator, device under test and sink run on one processor in lock-step, without loss: one
//! second divided by the packets of it is the whole price of a packet. What a device under test
//! has to be held against is a program that only sends frames on.
//!
//! | module | what |
//! |---|---|
//! | `population` | subscribers and sessions |
//! | `ends` | generators and sinks |
//! | `live` | how the kernel runs a generator |
//! | `sending`, `frame_size` | what is sent in one run, and what became of it |
//! | `system` | devices under test |
//! | `cell` | one system at one size, once |
//! | `stream` | one TCP connection by iperf3 |
//! | `report` | table, JSON, goals |

pub mod cell;
pub mod ends;
pub mod frame_size;
pub mod live;
pub mod population;
pub mod report;
pub mod sending;
pub mod stream;
pub mod system;

use anyhow::{Result, ensure};

use self::cell::{Cell, Measured};
use self::population::Population;
use self::system::System;

/// How to measure.
#[derive(Clone, Debug)]
pub struct Options {
    /// Beside the bare redirect, which is always measured.
    pub systems: Vec<System>,
    /// Sessions, each 63 times a power of two.
    pub flows: Vec<u64>,
    /// Rounds; in each, every system has its turn.
    pub rounds: usize,
    /// About how long packets of known sessions are sent in a round, in seconds.
    pub secs: f64,
    /// Seconds of iperf3; 0: none.
    pub stream_secs: u32,
    /// Processor for everything.
    pub cpu: usize,
}

/// All that was measured of one system at one size.
#[derive(Clone, Debug)]
pub struct Series {
    pub system: String,
    pub flows: u64,
    /// One of each round.
    pub rounds: Vec<Measured>,
    /// The packets of each in those of the limit.
    pub ratios: Vec<f64>,
    /// Why there is none, or no more.
    pub refused: Option<String>,
}

/// What was measured of one system with one TCP connection, in Gbit/s, one value of each round.
#[derive(Clone, Debug)]
pub struct Stream {
    pub system: String,
    pub gbits: Vec<f64>,
    pub refused: Option<String>,
}

/// The limit of one round: the bare redirect before all systems and after them.
#[derive(Clone, Copy, Debug)]
pub struct Limit {
    pub flows: u64,
    pub before: f64,
    pub after: f64,
}

impl Limit {
    /// Most that both may differ: else something else was going on.
    const TRUSTED: f64 = 0.15;

    /// What a system of this round is held against, in packets a second.
    #[must_use]
    pub fn pps(self) -> f64 {
        (self.before + self.after) / 2.0
    }

    /// Whether the machine was the same at both ends of the round.
    #[must_use]
    pub fn is_steady(self) -> bool {
        (self.before - self.after).abs() <= Self::TRUSTED * self.before.max(self.after)
    }
}

/// Everything.
#[derive(Clone, Debug)]
pub struct Figures {
    /// One of each round, size after size.
    pub limits: Vec<Limit>,
    pub series: Vec<Series>,
    pub streams: Vec<Stream>,
}

/// Measures all systems at all sizes. The bare redirect has a turn before and after the others of
/// a round: how far these differ tells whether the round can be trusted.
///
/// # Errors
/// No rights, or the rig itself does not work. What a system refuses is in its series.
pub fn measure(options: &Options, mut progress: impl FnMut(&str)) -> Result<Figures> {
    ensure!(options.rounds > 0, "--rounds must be at least 1");
    let mut figures = Figures {
        limits: Vec::new(),
        series: Vec::new(),
        streams: Vec::new(),
    };
    for &flows in &options.flows {
        let population = Population::of(flows)?;
        let (limits, series) = rounds(options, population, &mut progress)?;
        figures.limits.extend(limits);
        figures.series.extend(series);
    }
    if options.stream_secs > 0 {
        let all = std::iter::once(&System::Redirect).chain(&options.systems);
        for system in all.filter(|system| **system != System::Drop) {
            figures
                .streams
                .push(streams(options, system, &mut progress));
        }
    }
    Ok(figures)
}

/// All rounds at one size.
fn rounds(
    options: &Options,
    population: Population,
    progress: &mut impl FnMut(&str),
) -> Result<(Vec<Limit>, Vec<Series>)> {
    let flows = population.sessions();
    let series = |system: &System| Series {
        system: system.name().to_owned(),
        flows,
        rounds: Vec::new(),
        ratios: Vec::new(),
        refused: None,
    };
    let mut all: Vec<Series> = options.systems.iter().map(series).collect();
    let mut limit = series(&System::Redirect);
    let mut limits = Vec::new();
    for round in 1..=options.rounds {
        let mut measure = |system: &System| {
            let cell = Cell {
                system: system.clone(),
                population,
                secs: options.secs,
                cpu: options.cpu,
            };
            let result = cell.measure();
            progress(&line(round, options.rounds, system, flows, &result));
            result
        };
        let before = measure(&System::Redirect)?;
        for (system, series) in options.systems.iter().zip(&mut all) {
            if series.refused.is_some() {
                continue;
            }
            match measure(system) {
                Ok(measured) => series.rounds.push(measured),
                Err(error) => series.refused = Some(format!("{error:#}")),
            }
        }
        let this = Limit {
            flows,
            before: before.pps,
            after: measure(&System::Redirect)?.pps,
        };
        limits.push(this);
        limit.rounds.push(before);
        limit.ratios.push(before.pps / this.pps());
        for series in &mut all {
            if let (Some(last), None) = (series.rounds.last(), &series.refused) {
                series.ratios.push(last.pps / this.pps());
            }
        }
    }
    all.insert(0, limit);
    Ok((limits, all))
}

fn streams(options: &Options, system: &System, progress: &mut impl FnMut(&str)) -> Stream {
    let mut stream = Stream {
        system: system.name().to_owned(),
        gbits: Vec::new(),
        refused: None,
    };
    for round in 1..=options.rounds {
        match stream::measure(system, options.stream_secs, options.cpu) {
            Ok(gbits) => {
                let (name, rounds) = (system.name(), options.rounds);
                progress(&format!(
                    "{name}, iperf3, round {round} of {rounds}: {gbits:.2} Gbit/s"
                ));
                stream.gbits.push(gbits);
            }
            Err(error) => {
                progress(&format!("{}, iperf3: {error:#}", system.name()));
                stream.refused = Some(format!("{error:#}"));
                break;
            }
        }
    }
    stream
}

fn line(
    round: usize,
    rounds: usize,
    system: &System,
    flows: u64,
    result: &Result<Measured>,
) -> String {
    let name = system.name();
    match result {
        Ok(measured) => format!(
            "{name}, {flows} flows, round {round} of {rounds}: {:.2} Mpps{}",
            measured.pps / 1e6,
            measured.cps.map_or_else(String::new, |cps| format!(
                ", {:.2} M new flows/s",
                cps / 1e6
            )),
        ),
        Err(error) => format!("{name}, {flows} flows: {error:#}"),
    }
}
