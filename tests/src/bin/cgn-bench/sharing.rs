//! `cgn-bench sharing`.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use cgn_tests::bench::{plot, sharing};

#[derive(clap::Args)]
pub struct Args {
    /// Households that share the addresses
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    households: u32,
    /// Print CSV
    #[arg(long)]
    csv: bool,
    /// Also draw addresses over the ports of a share or block into this file
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

pub fn run(args: &Args) -> Result<()> {
    let households = args.households as usize;
    let rows = sharing::simulate(households);
    if let Some(file) = &args.svg {
        let points = rows.iter().filter_map(|(scheme, outcome)| {
            let (name, ports) = scheme.named();
            let addresses = outcome.addresses as f64;
            Some((name.to_owned(), u64::from(ports?), addresses))
        });
        let title = format!("Addresses for {households} households");
        let svg = plot::svg(&title, ("ports", "addresses"), &plot::lines(points))?;
        fs::write(file, svg).with_context(|| format!("cannot write {}", file.display()))?;
    }
    match args.csv {
        true => print!("{}", sharing::csv(&rows)),
        false => print!("{}", sharing::table(&rows, households)),
    }
    Ok(())
}
