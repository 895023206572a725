//! `cargo xtask demo`: the CGN at work between namespaces, for somebody who sees it first.

mod facts;
mod flows;
mod story;
mod support;

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context as _, Result};
use cgn_user::config::Config;
use cgn_user::maplog::{Event, Record};

use crate::lab::{Daemon, Lab, Plan, owner_in, poll, signals};
use facts::{Facts, Flow, Throughput};
use flows::Servers;
use story::Story;

/// The configuration, with marks for folders.
const CONFIG: &str = include_str!("demo.toml");

/// Hosts, each one subscriber.
const SUBSCRIBERS: u8 = 4;

/// What the demonstration is asked for.
#[derive(Debug, clap::Parser)]
pub struct Arguments {
    /// Print one JSON object; progress goes to standard error
    #[arg(long)]
    pub json: bool,
    /// Leave everything running until Ctrl-C
    #[arg(long)]
    pub keep: bool,
    /// The `cgn` program to run
    #[arg(long, value_name = "FILE")]
    pub cgn: PathBuf,
}

/// Runs the demonstration and prints what there is to see. Returns whether all was well.
///
/// # Errors
/// What this machine lacks, or the step that failed.
pub fn run(arguments: &Arguments) -> Result<bool> {
    support::check()?;
    let mut story = Story::new(arguments.json);
    let start = Instant::now();
    story.step("Networks: 4 subscribers, their access router, the CGN, and an internet");
    let lab = Lab::beside_others(&Plan {
        prefix: "cgn-demo",
        subscribers: SUBSCRIBERS,
        ..Plan::default()
    })?;
    story.topology(&lab);
    story.step("The CGN: cgn run --config cgn.toml");
    let toml = configuration(&lab);
    story.configuration(&toml);
    let daemon = Daemon::start_with(&lab, &toml, &arguments.cgn, &[])?;
    let (facts, _open) = send_and_look(&lab, &daemon, &toml, start, &mut story)?;
    if arguments.json {
        let mut out = std::io::stdout().lock();
        serde_json::to_writer(&mut out, &facts).context("cannot print")?;
        writeln!(out).context("cannot print")?;
    } else {
        story.verdict(&facts);
    }
    if arguments.keep {
        let signals = signals::take_over();
        story.hints(&lab, &daemon, &arguments.cgn);
        // The sender lives as long as the process.
        let _ = signals.recv();
        story.step("Removing everything");
    }
    daemon.stop()?;
    drop(lab);
    Ok(facts.ok)
}

fn configuration(lab: &Lab) -> String {
    CONFIG
        .lines()
        .filter(|line| !line.starts_with("# @FOLDER@"))
        .map(|line| {
            line.replace("@FOLDER@", &lab.folder().display().to_string())
                .replace("@PINS@", &lab.pins().display().to_string())
                + "\n"
        })
        .collect()
}

/// Sends the traffic, and asks the daemon what it knows. The sockets keep their mappings in use.
fn send_and_look(
    lab: &Lab,
    daemon: &Daemon,
    toml: &str,
    start: Instant,
    story: &mut Story,
) -> Result<(Facts, impl Sized + use<>)> {
    let servers = Servers::start(lab)?;
    story.step("UDP: 8 sockets of each subscriber, but 100 of the last, to an echo server");
    let (mut list, sockets) = flows::send_udp(lab, &servers)?;
    story.flows(&list);
    story.step("ICMP: each subscriber pings a server, all with the same identifier");
    let pings = flows::send_pings(lab, &servers)?;
    story.flows(&pings);
    story.step("TCP: 64 MiB there and back for the first subscriber, 1 MiB for the others");
    let (transfers, throughput) = flows::send_tcp(lab, &servers);
    story.flows(&transfers);
    story.throughput(throughput);
    list.extend(pings);
    list.extend(transfers);
    story.step("A stranger on the internet sends to a port that nobody opened");
    let stranger_dropped = knock(daemon, &servers)?;
    story.stranger(stranger_dropped);
    let facts = look(daemon, toml, list, throughput, stranger_dropped, start)?;
    story.tables(&facts);
    Ok((facts, (sockets, servers)))
}

/// Sends a datagram to a pool address that no subscriber has: it must be dropped, and counted.
fn knock(daemon: &Daemon, servers: &Servers) -> Result<bool> {
    let before = daemon.count_of("no_mapping")?;
    let used: Vec<Ipv4Addr> = daemon.blocks()?.iter().map(|row| row.external).collect();
    let free = (0..16)
        .map(|last| Ipv4Addr::new(203, 0, 113, last))
        .find(|address| !used.contains(address))
        .context("every address of the pool is in use")?;
    servers
        .echo
        .send(SocketAddrV4::new(free, 3074), b"let me in")?;
    let counted = || {
        daemon
            .count_of("no_mapping")
            .ok()
            .filter(|now| *now > before)
    };
    Ok(poll(3.0, counted).is_some())
}

fn look(
    daemon: &Daemon,
    toml: &str,
    mut flow_list: Vec<Flow>,
    throughput: Throughput,
    stranger_dropped: bool,
    start: Instant,
) -> Result<Facts> {
    let seconds = start.elapsed().as_secs_f64();
    let records = daemon.log_records()?;
    judge(&mut flow_list, toml, &records)?;
    let block_list = daemon.blocks()?;
    let subscriber_list = daemon.subscribers()?;
    let status = daemon.status()?;
    let about_blocks = |record: &&Record| !matches!(record.entry.event, Event::Start | Event::Stop);
    let mut facts = Facts {
        ok: false,
        flows: flow_list.len(),
        subscribers: subscriber_list.len(),
        blocks: block_list.len(),
        log_records: records.iter().filter(about_blocks).count(),
        throughput_mbps: throughput.outbound_mbps.min(throughput.inbound_mbps),
        seconds,
        problems: Vec::new(),
        kernel: std::fs::read_to_string("/proc/sys/kernel/osrelease")
            .map(|release| release.trim().to_owned())
            .unwrap_or_default(),
        xdp_modes: status.interfaces.into_iter().map(|row| row.mode).collect(),
        throughput,
        stranger_dropped,
        flow_list,
        subscriber_list,
        block_list,
        mapping_list: daemon.mappings()?,
        log_record_list: records.iter().map(ToString::to_string).collect(),
        drops: daemon.drops()?,
        metrics: facts::parse_metrics(&daemon.metrics()?),
    };
    facts.problems = problems(&facts);
    facts.ok = facts.problems.is_empty();
    Ok(facts)
}

/// Looks for each flow's external address in the pool, and for its port in the mapping log.
fn judge(flows: &mut [Flow], toml: &str, records: &[Record]) -> Result<()> {
    let checked = Config::parse(toml)?;
    let pool = checked.config.pool.first().context("no pool")?;
    for flow in flows {
        let Some(seen) = flow.seen else { continue };
        flow.translated = pool
            .addresses
            .iter()
            .any(|span| span.range().contains(*seen.ip()));
        flow.logged = owner_in(records, seen) == Some(*flow.inside.ip());
    }
    Ok(())
}

fn problems(facts: &Facts) -> Vec<String> {
    let mut found: Vec<String> = facts
        .flow_list
        .iter()
        .filter(|flow| !flow.is_ok())
        .map(story::failure)
        .collect();
    if facts::with_several_blocks(&facts.block_list).is_empty() {
        found.push("no subscriber has more than one block".to_owned());
    }
    if !facts.stranger_dropped {
        found.push("the stranger's datagram was not counted as dropped".to_owned());
    }
    found
}
