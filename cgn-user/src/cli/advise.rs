//! `cgn advise`: which limits of mappings would touch whom, from what subscribers had in use, and
//! what a number of subscribers needs.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde::Serialize;

use super::WhichDaemon;
use super::client::Client;
use super::show::{ShowError, json, print, socket_path};
use super::table::{Column, Table, numbers};
use crate::api::rows::PeaksRow;
use crate::policy::advice::Advice;
use crate::policy::sizing::{Load, Need};

/// `cgn advise`.
#[derive(Clone, Debug, Subcommand)]
pub enum Advise {
    /// Limits of mappings (`tcp_mappings` and the like in a [[group]]): how many ports subscribers had
    /// in use at most since the daemon started, and whom each limit would have refused how many
    Limits(Limits),
    /// What so many subscribers need: addresses, memory, processors, rates and room for the log
    Sizing(Sizing),
}

#[derive(Clone, Debug, Args)]
pub struct Sizing {
    /// How many subscribers, several numbers with commas between
    #[arg(
        long,
        value_name = "N",
        value_delimiter = ',',
        default_values_t = [1_000, 10_000, 100_000, 1_000_000],
        value_parser = clap::value_parser!(u64).range(1..=1_000_000_000)
    )]
    subscribers: Vec<u64>,
    /// Places that share them alike; the needs of one are told
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    sites: u64,
    /// Ports of a block, as `block_ports` of a pool
    #[arg(long, default_value_t = 512, value_parser = block_ports)]
    block_ports: u32,
    /// Blocks of a subscriber at the busiest hour, the mean of all
    #[arg(long, default_value_t = 1.2, value_parser = positive)]
    blocks: f64,
    /// Mappings of a subscriber at the busiest hour, the mean of all
    #[arg(long, default_value_t = 100.0, value_parser = positive)]
    mappings: f64,
    /// Connections of a subscriber in a day
    #[arg(long, default_value_t = 33_000.0, value_parser = positive)]
    connections: f64,
    /// Traffic of a subscriber at the busiest hour in kbit/s, both directions together, the mean of all
    #[arg(long, default_value_t = 2_500.0, value_parser = positive)]
    kbit: f64,
    /// Mean bytes of a packet
    #[arg(long, default_value_t = 800.0, value_parser = positive)]
    packet_bytes: f64,
    /// Nanoseconds that a packet takes, driver and all
    #[arg(long, default_value_t = 250.0, value_parser = positive)]
    packet_ns: f64,
    /// Records of blocks, taken or given back, of a subscriber in a day
    #[arg(long, default_value_t = 10.0, value_parser = positive)]
    events: f64,
    /// Days that the mapping log is kept
    #[arg(long, default_value_t = 365)]
    days: u32,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Sizing {
    const fn load(&self) -> Load {
        Load {
            sites: self.sites,
            block_ports: self.block_ports,
            blocks: self.blocks,
            mappings: self.mappings,
            connections: self.connections,
            kbit: self.kbit,
            packet_bytes: self.packet_bytes,
            packet_ns: self.packet_ns,
            events: self.events,
            days: self.days,
        }
    }
}

fn positive(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(number) if number > 0.0 && f64::is_finite(number) => Ok(number),
        _ => Err("it must be a number above 0".to_owned()),
    }
}

fn block_ports(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(64 | 128 | 256 | 512 | 1024) => Ok(text.parse().expect("it was just read")),
        _ => Err("a block has 64, 128, 256, 512 or 1024 ports".to_owned()),
    }
}

#[derive(Clone, Debug, Args)]
pub struct Limits {
    /// How many subscribers in a hundred may be refused a port by the limit that is advised
    #[arg(long, value_name = "PERCENT", default_value_t = 0.1, value_parser = percent)]
    share: f64,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    daemon: WhichDaemon,
}

fn percent(text: &str) -> Result<f64, String> {
    let percent = text
        .parse()
        .map_err(|_| "no number of percent".to_owned())?;
    match (0.0..=100.0).contains(&percent) {
        true => Ok(percent),
        false => Err("it must be 0 to 100 percent".to_owned()),
    }
}

/// What the JSON has.
#[derive(Debug, Serialize)]
struct Report<'a> {
    since: &'a str,
    share_percent: f64,
    protocols: Vec<Advice>,
}

/// Prints advice; an error goes to stderr, with exit code 1.
#[must_use]
pub fn advise(arguments: &Advise) -> ExitCode {
    match arguments {
        Advise::Limits(limits) => print(text(limits)),
        Advise::Sizing(sizing) => print(async { sheet(sizing) }),
    }
}

fn sheet(sizing: &Sizing) -> Result<String, ShowError> {
    let load = sizing.load();
    let needs = sizing.subscribers.iter().map(|count| load.need(*count));
    if sizing.json {
        return json(&Sheet {
            load,
            needs: needs.collect(),
        });
    }
    Ok(Table::new(NEEDS, needs.map(cells).collect()).to_string())
}

/// What the JSON of `sizing` has.
#[derive(Debug, Serialize)]
struct Sheet {
    load: Load,
    needs: Vec<Need>,
}

const NEEDS: &[Column] = &[
    numbers("SUBSCRIBERS"),
    numbers("ADDRESSES"),
    numbers("MAX_BLOCKS"),
    numbers("MEMORY GB"),
    numbers("MAPPINGS"),
    numbers("NEW/S"),
    numbers("GBIT/S"),
    numbers("MPPS"),
    numbers("CORES"),
    numbers("RECORDS/DAY"),
    numbers("LOG GB"),
    numbers("IPFIX KBIT/S"),
];

fn cells(need: Need) -> Vec<String> {
    let in_units =
        |count: u64, digits: usize, unit: f64| format!("{:.digits$}", count as f64 / unit);
    vec![
        need.subscribers.to_string(),
        need.addresses.to_string(),
        need.max_blocks.to_string(),
        in_units(need.memory_bytes, 2, 1e9),
        need.mappings.to_string(),
        need.mappings_per_second.to_string(),
        format!("{:.1}", need.gbit_per_second),
        in_units(need.packets_per_second, 2, 1e6),
        need.cores.to_string(),
        need.records_per_day.to_string(),
        in_units(need.log_bytes, 2, 1e9),
        in_units(need.collector_bits_per_second, 2, 1e3),
    ]
}

async fn text(limits: &Limits) -> Result<String, ShowError> {
    let path = socket_path(&limits.daemon)?;
    let mut client = Client::connect(&path).await?;
    let peaks: PeaksRow = client.get("/v1/peaks").await?;
    let counts = [
        ("tcp", &peaks.tcp),
        ("udp", &peaks.udp),
        ("icmp", &peaks.icmp),
    ];
    let protocols = counts.map(|(protocol, counts)| Advice::of(protocol, counts, limits.share));
    if limits.json {
        return json(&Report {
            since: &peaks.since,
            share_percent: limits.share,
            protocols: protocols.to_vec(),
        });
    }
    let mut text = format!(
        "Ports that a subscriber had in use at once at most (those in hold included), since {}.\n",
        peaks.since
    );
    for advice in protocols {
        text += &section(&advice, limits.share);
    }
    Ok(text)
}

fn section(advice: &Advice, share: f64) -> String {
    const COLUMNS: &[Column] = &[
        numbers("LIMIT"),
        numbers("SUBSCRIBERS REFUSED"),
        numbers("PERCENT"),
        numbers("PORTS REFUSED"),
    ];
    let protocol = advice.protocol;
    if advice.subscribers == 0 {
        return format!("\n{protocol}: nobody had a port in use yet\n");
    }
    let cells = advice.limits.iter().map(|limit| {
        vec![
            limit.ports.to_string(),
            limit.refused_subscribers.to_string(),
            format!("{:.2}", limit.refused_percent),
            limit.refused_ports.to_string(),
        ]
    });
    let advised = match advice.advised {
        Some(ports) => format!("{protocol}_mappings = {ports} touches at most {share} %"),
        None => format!("no limit here touches at most {share} %"),
    };
    format!(
        "\n{protocol}: {} subscribers, half had at most {}, 90 % {}, 99 % {}, one {}; {advised}\n{}",
        advice.subscribers,
        advice.p50,
        advice.p90,
        advice.p99,
        advice.most,
        Table::new(COLUMNS, cells.collect())
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Command {
        #[command(subcommand)]
        advise: Advise,
    }

    fn said(arguments: &[&str]) -> Result<String, String> {
        let words = ["cgn", "sizing"].iter().chain(arguments);
        let command = Command::try_parse_from(words).map_err(|error| error.to_string())?;
        let Advise::Sizing(sizing) = command.advise else {
            panic!("{arguments:?} is about limits");
        };
        sheet(&sizing).map_err(|error| error.to_string())
    }

    #[test]
    fn the_document_has_what_the_program_prints() {
        const DOCUMENT: &str = include_str!("../../../docs/operate/sizing.md");
        for arguments in [&[][..], &["--sites", "20"]] {
            let command = ["cgn advise sizing"].iter().chain(arguments);
            let command = command.copied().collect::<Vec<_>>().join(" ");
            let block = format!("$ {command}\n{}```\n", said(arguments).unwrap());
            assert!(
                DOCUMENT.contains(&block),
                "docs/operate/sizing.md has another sheet than this:\n{block}"
            );
        }
    }

    #[test]
    fn numbers_that_make_no_sense_are_refused() {
        for arguments in [
            ["--blocks", "0"],
            ["--kbit", "NaN"],
            ["--sites", "0"],
            ["--block-ports", "500"],
            ["--subscribers", "0"],
        ] {
            assert!(said(&arguments).is_err(), "{arguments:?}");
        }
    }

    #[test]
    fn json_has_what_was_assumed_and_a_need_for_each_number() {
        let text = said(&["--subscribers", "10,20", "--json"]).unwrap();
        let sheet: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(sheet["load"]["block_ports"], 512);
        assert_eq!(sheet["needs"][1]["subscribers"], 20);
    }
}
