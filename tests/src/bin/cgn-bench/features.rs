//! `cgn-bench features`.

use anyhow::{Result, ensure};
use cgn_tests::bench::micro::{self, Options};
use cgn_tests::bench::report;
use cgn_tests::bench::world::FEW;
use cgn_user::dataplane::load::OBJECT;

use crate::{as_root, pin};

#[derive(clap::Args)]
pub struct Args {
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// Numbers of flows, powers of two
    #[arg(
        long,
        value_name = "N,...",
        value_delimiter = ',',
        default_value = "1024,1048576"
    )]
    flows: Vec<u64>,
    /// Rounds; in each, the programs with and without the feature have their turns
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Only features with these words in their names
    #[arg(long, value_name = "WORD,...", value_delimiter = ',')]
    only: Vec<String>,
    /// Processor to run on (default: the last)
    #[arg(long)]
    cpu: Option<usize>,
}

pub fn run(args: &Args) -> Result<()> {
    ensure!(args.rounds > 0, "--rounds must be at least 1");
    as_root("features")?;
    let cpu = pin(args.cpu)?;
    eprintln!("on processor {cpu}");
    let mut features = micro::features();
    let named = |name: &str| args.only.iter().any(|word| name.contains(word.as_str()));
    features.retain(|feature| args.only.is_empty() || named(feature.name));
    ensure!(!features.is_empty(), "no feature has such a name");
    let options = Options {
        flows: args.flows.clone(),
        burst: 0,
        rounds: args.rounds,
        objects: vec![OBJECT.into()],
    };
    let costs = micro::measure_features(&options, &features, FEW, |what| eprintln!("    {what}"))?;
    match args.json {
        true => println!("{}", report::costs_json(&costs)),
        false => print!("{}", report::costs_table(&costs)),
    }
    Ok(())
}
