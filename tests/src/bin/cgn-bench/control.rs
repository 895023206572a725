//! `cgn-bench control`.

use anyhow::Result;
use cgn_tests::bench::control::{self, Options, report};
use cgn_tests::bench::processor;

#[derive(clap::Args)]
pub struct Args {
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// Live mappings, 63 (per subscriber) times a power of two
    #[arg(long, default_value_t = 1_032_192)]
    mappings: u64,
    /// Seconds of each watch of the sweep and of the stream
    #[arg(long, default_value_t = 5.0)]
    secs: f64,
    /// Runs of the flood of new subscribers, with the log brought to disk and without; 0: none
    #[arg(long, default_value_t = 3)]
    floods: usize,
    /// Days of the log of 50,000 subscribers that are written; 0: none
    #[arg(long, default_value_t = 7)]
    log_days: u32,
}

pub fn run(args: &Args) -> Result<()> {
    crate::as_root("control")?;
    let last = processor::count()? - 1;
    let options = Options {
        mappings: args.mappings,
        secs: args.secs,
        floods: args.floods,
        log_days: args.log_days,
        cpus: (last, last),
    };
    let figures = control::measure(&options, |what| eprintln!("    {what}"))?;
    match args.json {
        true => println!("{:#}", report::json(&figures)),
        false => print!("{}", report::table(&figures)),
    }
    Ok(())
}
