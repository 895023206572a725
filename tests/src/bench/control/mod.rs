//! `bench control`: what the control plane costs and does, on the rig with a full population: first
//! packets by the slow path, the sweep, a start that takes over live tables, the log, memory.

pub mod report;

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use cgn_common::layout;

use super::maplog;
use super::rfc9693::bench::{Bench, Setup};
use super::rfc9693::traffic::Traffic;
use super::rig::population::{PORTS, Population};
use super::slowpath;

/// First packets of new subscribers in a second, while their way is timed: far from any queue.
const CALM: f64 = 2_000.0;
/// Frames of known sessions in a second, while the sweep may disturb them.
const STREAM: f64 = 200_000.0;
/// Share of the population's sessions that must be opened for a figure.
const FULL: f64 = 0.999;

/// How to measure.
#[derive(Clone, Debug)]
pub struct Options {
    /// Live mappings, 63 times a power of two.
    pub mappings: u64,
    /// Seconds of each watch of the sweep and of the stream.
    pub secs: f64,
    /// Runs of the flood of new subscribers, with the log brought to disk and without; 0: none.
    pub floods: usize,
    /// Days of the year of 50,000 subscribers whose log is written; 0: none.
    pub log_days: u32,
    pub cpus: (usize, usize),
}

/// What was measured.
#[derive(Clone, Debug)]
pub struct Figures {
    pub mappings: u64,
    /// First packet of a new subscriber, from the generator to the sink with its block given and
    /// logged: least, median, 99.9th percentile in microseconds.
    pub punt_us: Option<[f64; 3]>,
    /// Known sessions' way from end to end, likewise, while the daemon is stopped and while it sweeps.
    pub calm_us: Option<[f64; 3]>,
    pub swept_us: Option<[f64; 3]>,
    /// Seconds of work of one sweep of all mappings, as the daemon says.
    pub sweep_secs: f64,
    /// Share of one processor that the whole daemon takes with no new subscribers.
    pub daemon_share: f64,
    /// Seconds from the start of a daemon that finds all mappings to its first answer.
    pub takeover_secs: f64,
    pub floods: Vec<slowpath::Figures>,
    pub log: Option<maplog::Figures>,
}

/// Bytes of the tables for one subscriber address, one block of 64 ports with its line, one mapping.
#[must_use]
pub fn bytes() -> [(&'static str, u64); 3] {
    let subscriber = layout::SUBSCRIBERS.value_bytes
        + layout::FURTHER_BLOCKS.value_bytes
        + layout::QUOTAS.value_bytes;
    let block = layout::BLOCKS.value_bytes + layout::slab_bytes(6);
    let slots = u64::from(cgn_common::limits::SLOTS_PER_BUCKET);
    [
        ("subscriber", u64::from(subscriber)),
        ("block of 64 ports", u64::from(block)),
        ("mapping", 2 * u64::from(layout::SLABS.value_bytes) / slots),
    ]
}

/// Measures all of it.
///
/// # Errors
/// No rights, or the rig or the daemon does not work.
pub fn measure(options: &Options, progress: impl Fn(&str)) -> Result<Figures> {
    let population = Population::of(options.mappings)?;
    let setup = Setup {
        population,
        cpus: options.cpus,
        most_loss: 0.0,
    };
    let mut bench = Bench::new(setup)?;
    progress("first packets of new subscribers, one by one");
    let punt_us = bench.punts(CALM)?;
    progress(&format!("opening {} mappings", options.mappings));
    bench.flat_out()?;
    let (sweep_secs, daemon_share) = sweep(&mut bench, options, &progress)?;
    progress("a stream of known sessions, with the sweep and without");
    let swept_us = bench.latency(Traffic::SHORTEST, STREAM, options.secs)?;
    bench.daemon().process().signal(libc::SIGSTOP);
    let calm_us = bench.latency(Traffic::SHORTEST, STREAM, options.secs);
    bench.daemon().process().signal(libc::SIGCONT);
    let calm_us = calm_us?;
    progress("killing the daemon, and starting another that takes over");
    let takeover_secs = bench.take_over()?;
    ensure!(
        mappings_of_a_sweep(&mut bench)? as f64 >= FULL * options.mappings as f64,
        "the new daemon lost mappings"
    );
    // The laboratory's lock is wanted.
    drop(bench);
    let mut floods = Vec::new();
    for sync in [true, false] {
        let mut runs = Vec::new();
        for run in 1..=options.floods {
            progress(&format!("new subscribers, log.sync = {sync}, run {run}"));
            runs.push(slowpath::measure(sync)?);
        }
        if !runs.is_empty() {
            floods.push(slowpath::median_of(runs));
        }
    }
    let log = match options.log_days {
        0 => None,
        days => Some(maplog::measure(&year(days), &progress)?),
    };
    Ok(Figures {
        mappings: options.mappings,
        punt_us,
        calm_us,
        swept_us,
        sweep_secs,
        daemon_share,
        takeover_secs,
        floods,
        log,
    })
}

fn year(days: u32) -> maplog::Options {
    maplog::Options {
        subscribers: 50_000,
        days,
        most_time: Duration::from_secs(120),
        enquiries: 50,
        folder: "/var/tmp".into(),
        is_direct: false,
    }
}

/// Work of one sweep, and the daemon's share of a processor.
fn sweep(bench: &mut Bench, options: &Options, progress: &impl Fn(&str)) -> Result<(f64, f64)> {
    progress("the sweep");
    let found = mappings_of_a_sweep(bench)?;
    ensure!(
        found as f64 >= FULL * options.mappings as f64,
        "{found} of {} mappings were opened",
        options.mappings
    );
    let process = bench.daemon().process().id();
    let (begin, before) = (Instant::now(), processor_secs(process)?);
    std::thread::sleep(Duration::from_secs_f64(options.secs));
    let used = processor_secs(process)? - before;
    let share = used / begin.elapsed().as_secs_f64();
    Ok((bench.daemon().status()?.sweep_last_secs, share))
}

/// Mappings that a sweep found which began after now.
fn mappings_of_a_sweep(bench: &mut Bench) -> Result<u64> {
    let daemon = bench.daemon();
    let first = daemon.status()?.sweeps;
    let deadline = Instant::now() + Duration::from_secs(120);
    loop {
        let status = daemon.status()?;
        // The next to end may have begun before.
        if status.sweeps >= first + 2 {
            return Ok(status.mappings.udp);
        }
        ensure!(
            Instant::now() < deadline,
            "no sweep ends within two minutes"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Seconds of processors that a process has used.
fn processor_secs(process: u32) -> Result<f64> {
    let text = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    // The name, in brackets, may have blanks; user and system time are the 14th and 15th field.
    let (_, fields) = text.rsplit_once(") ").context("no process")?;
    let mut fields = fields.split(' ').skip(11);
    let mut next = || -> Result<f64> { Ok(fields.next().context("too few fields")?.parse()?) };
    let ticks = next()? + next()?;
    // SAFETY: a number in, a number out.
    let per_second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    Ok(ticks / per_second as f64)
}

/// Sessions of a host, for those who read the JSON.
pub const PORTS_PER_SUBSCRIBER: u64 = PORTS;
