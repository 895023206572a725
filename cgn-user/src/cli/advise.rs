//! `cgn advise limits`: which limits of mappings would touch whom, from what subscribers had in use.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde::Serialize;

use super::WhichDaemon;
use super::client::Client;
use super::show::{ShowError, json, print, socket_path};
use super::table::{Column, Table, numbers};
use crate::api::rows::PeaksRow;
use crate::policy::advice::Advice;

/// `cgn advise`.
#[derive(Clone, Debug, Subcommand)]
pub enum Advise {
    /// Limits of mappings (`tcp_mappings` and the like in a [[group]]): how many ports subscribers had
    /// in use at most since the daemon started, and whom each limit would have refused how many
    Limits(Limits),
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
    }
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
