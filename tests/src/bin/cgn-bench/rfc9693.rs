//! `cgn-bench rfc9693`.

use anyhow::{Result, ensure};
use cgn_tests::bench::processor;
use cgn_tests::bench::rfc9693::{self, Options, report};

/// FD.io's ladder, without its second step.
const LADDER: [u64; 4] = [64_512, 1_032_192, 4_128_768, 16_515_072];

#[derive(clap::Args)]
pub struct Args {
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// Numbers of sessions, 63 (per subscriber) times a power of two
    #[arg(
        long,
        value_name = "N,...",
        value_delimiter = ',',
        default_value = "64512,1032192"
    )]
    sessions: Vec<u64>,
    /// All of FD.io's ladder: 64512, 1032192, 4128768 and 16515072 sessions
    #[arg(long, conflicts_with = "sessions")]
    ladder: bool,
    /// Also draw rates over sessions into this file
    #[arg(long, value_name = "FILE")]
    svg: Option<std::path::PathBuf>,
    /// Steps of each search for the highest rate
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u32).range(1..=20))]
    steps: u32,
    /// Seconds of a trial with known sessions (the RFC: 60)
    #[arg(long, default_value_t = 1.0)]
    secs: f64,
    /// Times that each search is made
    #[arg(long, default_value_t = 1)]
    repeats: usize,
    /// Bytes of frames without checksum, for throughput
    #[arg(
        long,
        value_name = "N,...",
        value_delimiter = ',',
        default_value = "60"
    )]
    frame_bytes: Vec<usize>,
    /// Share of the frames that a trial may lose (the RFC: none)
    #[arg(long, default_value_t = 0.0)]
    most_loss: f64,
    /// 1: generator and device under test share a processor, in lock-step, so that nothing else on
    /// the machine makes it lose frames; 2: each has one of its own
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=2))]
    processors: u8,
}

pub fn run(args: &Args) -> Result<()> {
    crate::as_root("rfc9693")?;
    ensure!(args.secs > 0.0, "--secs must be more than 0");
    ensure!(
        args.frame_bytes
            .iter()
            .all(|bytes| (60..=1514).contains(bytes)),
        "--frame-bytes: 60 to 1514"
    );
    let last = processor::count()? - 1;
    let options = Options {
        sessions: match args.ladder {
            true => LADDER.to_vec(),
            false => args.sessions.clone(),
        },
        steps: args.steps,
        secs: args.secs,
        repeats: args.repeats,
        frame_bytes: args.frame_bytes.clone(),
        most_loss: args.most_loss,
        cpus: match args.processors {
            1 => (last, last),
            _ => (0, last),
        },
    };
    let figures = rfc9693::measure(&options, |what| eprintln!("    {what}"))?;
    let title = "RFC 9693: connections and frames of known sessions";
    crate::draw(args.svg.as_deref(), title, "M/s", report::points(&figures))?;
    match args.json {
        true => println!("{:#}", report::json(&options, &figures)),
        false => print!("{}", report::table(&options, &figures)),
    }
    Ok(())
}
