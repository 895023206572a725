//! The program behind `cargo xtask bench`.

mod control;
mod features;
mod rfc9693;
mod rig;
mod sharing;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use cgn_tests::bench::micro::{self, Options};
use cgn_tests::bench::world::{FEW, MANY};
use cgn_tests::bench::{maplog, memory, plot, processor, report, slowpath};
use cgn_user::dataplane::load::OBJECT;
use clap::Parser;

/// Measures the CGN on this machine.
#[derive(Parser)]
#[command(name = "cargo xtask bench")]
enum Part {
    /// Nanoseconds per packet of the XDP programs, beside a kernel hash map's look-up
    Micro(Micro),
    /// What a dependent read costs on this machine, by lines and pages: half a minute
    Memory(MemoryArgs),
    /// What each feature costs a packet, off and on side by side, and the whole default policy
    Features(features::Args),
    /// Packets a second through real links, beside nftables, the bare redirect and others
    Rig(rig::Args),
    /// The tests of RFC 9693: connections a second, throughput, latency, tear-down, capacity
    Rfc9693(rfc9693::Args),
    /// What the control plane costs and does: slow path, sweep, take-over, log, memory
    Control(control::Args),
    /// How ports may be shared out among households: flows refused, addresses, bytes of the log; a model
    Sharing(sharing::Args),
    /// Blocks a second for new subscribers, with known ones losing nothing
    Slowpath(Slowpath),
    /// Size and speed of the mapping log, on a year that is generated, written and asked. The year
    /// of a billion events (about a million subscribers) is `log --events 1000000000`: 9 GB of disk,
    /// and more than `--minutes` it never writes
    Log(LogArgs),
}

#[derive(clap::Args)]
struct LogArgs {
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// Subscribers of the generated year
    #[arg(long, default_value_t = 50_000, value_parser = clap::value_parser!(u32).range(1..=4_000_000))]
    subscribers: u32,
    /// Instead, as many subscribers as make about so many events
    #[arg(long, conflicts_with = "subscribers", value_parser = clap::value_parser!(u64).range(1..=10_000_000_000))]
    events: Option<u64>,
    /// The year ends early, with the days that it has by then, if writing it takes longer
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..))]
    minutes: u32,
    /// Days of it
    #[arg(long, default_value_t = 365, value_parser = clap::value_parser!(u32).range(1..=3650))]
    days: u32,
    /// A year of a million subscribers, about a billion events, as sealed files alone: 365 days in at
    /// most 45 minutes and 12 GB
    #[arg(long, conflicts_with_all = ["subscribers", "events", "minutes", "days"])]
    year: bool,
    /// Enquiries
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    enquiries: u32,
    /// Folder on the disk to measure; a new folder in it is made and removed
    #[arg(long, default_value = "/var/tmp")]
    folder: PathBuf,
}

#[derive(clap::Args)]
struct Slowpath {
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// Runs with and without bringing the log to disk; the medians are printed
    #[arg(long, default_value_t = 3)]
    runs: usize,
}

#[derive(clap::Args)]
struct MemoryArgs {
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// Rounds; medians are over all
    #[arg(long, default_value_t = 3)]
    rounds: usize,
}

#[derive(clap::Args)]
struct Micro {
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// Numbers of flows, powers of two
    #[arg(
        long,
        value_name = "N,...",
        value_delimiter = ',',
        default_value = "1,1024,131072,1048576,8388608"
    )]
    flows: Vec<u64>,
    /// All sizes of FD.io's grid, to 16.8 M: half an hour, and 5 GB
    #[arg(long, conflicts_with = "flows")]
    grid: bool,
    /// log2 of the packets of a flow that come one after the other
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=10))]
    burst: u32,
    /// Rounds; in each, every program has its turn, and medians are over all
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Processor to run on (default: the last)
    #[arg(long)]
    cpu: Option<usize>,
    /// Also draw nanoseconds over flows into this file, of 63 mappings a host
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Leave out the second set, with 1008 mappings a host in blocks of 1024 ports
    #[arg(long)]
    few: bool,
    /// Measure this BPF object, built by `cargo xtask ebpf`, in place of the embedded one
    #[arg(long, value_name = "FILE")]
    object: Option<PathBuf>,
    /// Measure this object as well, in the same rounds, and print both side by side
    #[arg(long, value_name = "FILE", conflicts_with = "json")]
    against: Option<PathBuf>,
}

/// Powers of two about the sizes of FD.io's grid.
const GRID: [u64; 7] = [1, 1 << 10, 1 << 14, 1 << 17, 1 << 20, 1 << 23, 1 << 24];

fn main() -> Result<()> {
    match Part::parse() {
        Part::Micro(args) => micro(&args),
        Part::Memory(args) => memory(&args),
        Part::Features(args) => features::run(&args),
        Part::Rig(args) => rig::run(&args),
        Part::Rfc9693(args) => rfc9693::run(&args),
        Part::Control(args) => control::run(&args),
        Part::Sharing(args) => sharing::run(&args),
        Part::Slowpath(args) => blocks(&args),
        Part::Log(args) => log(&args),
    }
}

fn micro(args: &Micro) -> Result<()> {
    ensure!(args.rounds > 0, "--rounds must be at least 1");
    as_root("micro")?;
    let cpu = pin(args.cpu)?;
    eprintln!(
        "on processor {cpu}; other load on this machine makes figures worse, not wrong ratios"
    );
    let read =
        |file: &PathBuf| fs::read(file).with_context(|| format!("cannot read {}", file.display()));
    let mut objects = vec![match &args.object {
        Some(file) => read(file)?.into(),
        None => OBJECT.into(),
    }];
    if let Some(file) = &args.against {
        objects.push(read(file)?.into());
    }
    let options = Options {
        flows: match args.grid {
            true => GRID.to_vec(),
            false => args.flows.clone(),
        },
        burst: args.burst,
        rounds: args.rounds,
        objects,
    };
    let densities = if args.few {
        &[FEW][..]
    } else {
        &[FEW, MANY][..]
    };
    let mut measured = vec![Vec::new(); options.objects.len()];
    for density in densities {
        let more = micro::measure(&options, *density, |what| eprintln!("    {what}"))?;
        for (rows, more) in measured.iter_mut().zip(more) {
            rows.extend(more);
        }
    }
    if let [rows, against] = &measured[..] {
        print!("{}", report::comparison(rows, against));
        return Ok(());
    }
    let rows = measured.concat();
    let few = rows.iter().filter(|row| row.density == FEW);
    let points = few.map(|row| (row.case.name().to_owned(), row.flows, row.ns));
    draw(
        args.svg.as_deref(),
        "One packet in the XDP program",
        "ns",
        points,
    )?;
    if args.json {
        println!("{:#}", report::json(&rows));
    } else {
        println!("{}", report::table(&rows));
        print!("{}", report::verdicts(&rows));
    }
    Ok(())
}

fn memory(args: &MemoryArgs) -> Result<()> {
    ensure!(args.rounds > 0, "--rounds must be at least 1");
    pin(None)?;
    let reads = memory::measure(args.rounds);
    match args.json {
        true => println!("{:#}", memory::json(&reads)),
        false => print!("{}", memory::table(&reads)),
    }
    Ok(())
}

fn log(args: &LogArgs) -> Result<()> {
    if args.year {
        return tell_log(
            args,
            &maplog::Options {
                subscribers: 1_000_000,
                days: 365,
                most_time: Duration::from_secs(45 * 60),
                enquiries: args.enquiries as usize,
                folder: args.folder.clone(),
                is_direct: true,
            },
        );
    }
    let options = maplog::Options {
        subscribers: args.events.map_or(args.subscribers, |events| {
            maplog::subscribers_for(events, args.days)
        }),
        days: args.days,
        most_time: Duration::from_secs(60 * u64::from(args.minutes)),
        enquiries: args.enquiries as usize,
        folder: args.folder.clone(),
        is_direct: false,
    };
    tell_log(args, &options)
}

fn tell_log(args: &LogArgs, options: &maplog::Options) -> Result<()> {
    let figures = maplog::measure(options, |what| eprintln!("    {what}"))?;
    match args.json {
        true => println!("{:#}", maplog::json(&figures)),
        false => print!("{}", maplog::table(&figures)),
    }
    Ok(())
}

fn sync_name(is_full: bool) -> &'static str {
    if is_full { "full" } else { "relaxed" }
}

fn blocks(args: &Slowpath) -> Result<()> {
    ensure!(args.runs > 0, "--runs must be at least 1");
    let mut medians = Vec::new();
    for sync in [true, false] {
        let mut figures = Vec::new();
        for run in 1..=args.runs {
            eprintln!(
                "    run {run} of {}, log.sync = {}",
                args.runs,
                sync_name(sync)
            );
            figures.push(slowpath::measure(sync)?);
        }
        medians.push(slowpath::median_of(figures));
    }
    if args.json {
        println!("{:#}", serde_json::json!({ "slowpath": medians }));
        return Ok(());
    }
    for figures in &medians {
        let met = figures.blocks_per_second >= slowpath::GOAL
            && figures.known_sent == figures.known_answered;
        println!(
            "log.sync = {:<7} {:>8.0} blocks/s on one core ({} in {:.2} s); known subscriber, all runs: {} sent, {} answered; goal {:.0}: {}",
            sync_name(figures.sync),
            figures.blocks_per_second,
            figures.blocks,
            figures.seconds,
            figures.known_sent,
            figures.known_answered,
            slowpath::GOAL,
            if met { "met" } else { "not met" },
        );
        println!(
            "                 {:.2} us of the engine's thread for each; lost on the link before the CGN: {}; first packets \
             that found the slow path's ring full: {}",
            figures.engine_us_per_block, figures.lost_before, figures.punts_undelivered,
        );
    }
    Ok(())
}

/// Draws lines over flows into a file, if one is wanted.
fn draw(
    file: Option<&Path>,
    title: &str,
    unit: &str,
    points: impl Iterator<Item = (String, u64, f64)>,
) -> Result<()> {
    let Some(file) = file else {
        return Ok(());
    };
    let svg = plot::svg(title, ("flows", unit), &plot::lines(points))?;
    fs::write(file, svg).with_context(|| format!("cannot write {}", file.display()))
}

/// An error that tells the remedy, if we are not root.
fn as_root(part: &str) -> Result<()> {
    // SAFETY: a system call without arguments.
    if unsafe { libc::geteuid() } != 0 {
        bail!(
            "bench {part} loads BPF programs, which only root may; remedy: sudo cargo xtask bench {part}"
        );
    }
    Ok(())
}

/// Stays on one processor, ahead of other work there.
fn pin(cpu: Option<usize>) -> Result<usize> {
    let cpu = match cpu {
        Some(cpu) => cpu,
        None => processor::count()? - 1,
    };
    processor::stay_on(cpu)?;
    // SAFETY: a system call without pointers. Without success the run is only noisier.
    unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, -20) };
    Ok(cpu)
}
