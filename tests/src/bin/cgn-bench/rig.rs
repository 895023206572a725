//! `cgn-bench rig`.

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail, ensure};
use cgn_tests::bench::processor;
use cgn_tests::bench::rig::system::System;
use cgn_tests::bench::rig::{self, Options, report};

#[derive(clap::Args)]
pub struct Args {
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// Numbers of flows, 63 (per subscriber) times a power of two
    #[arg(
        long,
        value_name = "N,...",
        value_delimiter = ',',
        default_value = "1008,129024,1032192"
    )]
    flows: Vec<u64>,
    /// Rounds; in each, every system has its turn, and medians are over all
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds of packets of known flows, for each system in each round
    #[arg(long, default_value_t = 0.5)]
    secs: f64,
    /// Seconds of iperf3, for each system in each round; 0 leaves it out
    #[arg(long, default_value_t = 2)]
    stream_secs: u32,
    /// Processor for generator, system and sink (default: the last)
    #[arg(long)]
    cpu: Option<usize>,
    /// Only these of drop, forward, nftables, native, generic, mirror (native, with a tenth of all packets
    /// mirrored); none of them with an empty value
    #[arg(
        long,
        value_name = "NAME,...",
        value_delimiter = ',',
        default_value = "drop,forward,nftables,native,generic"
    )]
    systems: Vec<String>,
    /// Also draw the ratio to the limit over flows into this file
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Also another state of ours, whose daemon is here: `cargo xtask bench rig --compare REV`
    /// builds it
    #[arg(long, value_name = "NAME=FILE")]
    other_cgn: Vec<String>,
    /// Also einat, whose program is here
    #[arg(long, value_name = "FILE")]
    einat: Option<PathBuf>,
    /// Also what this script sets up; see docs/performance.md
    #[arg(long, value_name = "NAME=FILE")]
    system: Vec<String>,
}

impl Args {
    fn systems(&self) -> Result<Vec<System>> {
        let mut systems = Vec::new();
        for name in self.systems.iter().filter(|name| !name.is_empty()) {
            systems.push(match name.as_str() {
                "drop" => System::Drop,
                "forward" => System::Forward,
                "nftables" => System::Nftables,
                "native" => System::CgnNative,
                "generic" => System::CgnGeneric,
                "mirror" => System::CgnMirror,
                _ => bail!(
                    "--systems {name}: only drop, forward, nftables, native, generic and mirror"
                ),
            });
        }
        systems.extend(self.einat.clone().map(System::Einat));
        for text in &self.other_cgn {
            let (name, file) = named_file(text)?;
            systems.push(System::OtherCgn(name, file));
        }
        for text in &self.system {
            let (name, file) = named_file(text)?;
            systems.push(System::Script(name, file));
        }
        Ok(systems)
    }
}

/// Of `NAME=FILE`.
fn named_file(text: &str) -> Result<(String, PathBuf)> {
    let (name, file) = text.split_once('=').context("NAME=FILE is wanted")?;
    let file = std::fs::canonicalize(file).with_context(|| format!("no file {file}"))?;
    Ok((name.to_owned(), file))
}

pub fn run(args: &Args) -> Result<()> {
    crate::as_root("rig")?;
    ensure!(args.secs > 0.0, "--secs must be more than 0");
    let cpu = match args.cpu {
        Some(cpu) => cpu,
        None => processor::count()? - 1,
    };
    let options = Options {
        systems: args.systems()?,
        flows: args.flows.clone(),
        rounds: args.rounds,
        secs: args.secs,
        stream_secs: args.stream_secs,
        cpu,
    };
    options.systems.iter().try_for_each(System::check)?;
    let figures = rig::measure(&options, |what| eprintln!("    {what}"))?;
    let all = figures.series.iter();
    let points = all.map(|series| (series.system.clone(), series.flows, series.ratio()));
    let title = "Packets a second through the rig";
    crate::draw(args.svg.as_deref(), title, "in bare redirects", points)?;
    match args.json {
        true => println!("{:#}", report::json(&figures)),
        false => print!("{}", report::table(&figures)),
    }
    Ok(())
}
