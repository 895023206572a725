//! The command line: what can be typed, and the commands that do not run the
//! daemon.

mod advise;
mod capture;
mod check;
mod client;
mod config_file;
mod csv;
mod detach;
mod documents;
mod explain;
mod listing;
mod log;
mod lookup;
mod map;
mod pool;
mod reload;
mod report;
mod show;
mod subscriber;
mod table;
#[cfg(test)]
mod tests;
mod top;
mod trace;

use std::io::{self, Write};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub use advise::{Advise, advise};
pub use capture::capture;
pub use check::check;
pub use config_file::{ConfigFileError, read_config};
pub use detach::detach;
pub use documents::{completions, manual};
pub use explain::explain;
pub use log::{Log, log};
pub use lookup::lookup;
pub use map::{Map, map};
pub use pool::pool;
pub use reload::reload;
pub use report::report;
pub use show::show;
pub use subscriber::subscriber;
pub use top::top;
pub use trace::trace;

use crate::config::Config;

/// `cgn sample-config`.
#[must_use]
pub fn sample_config() -> ExitCode {
    match io::stdout().lock().write_all(Config::SAMPLE.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => ExitCode::FAILURE,
        _ => ExitCode::SUCCESS,
    }
}

/// What was typed.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "cgn",
    version,
    about = "Carrier-grade NAT: IPv4 NAT44 with port blocks in XDP",
    after_help = "First steps: `cgn sample-config > cgn.toml`, edit it, `cgn check --config cgn.toml`, \
                  then as root `cgn run --config cgn.toml`, and `cgn show subscribers`."
)]
pub struct Arguments {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Run the daemon in the foreground; needs root. Ctrl-C or SIGTERM stops it, and known
    /// subscribers' traffic goes on: the next start takes over
    Run(Run),
    /// End what a stopped daemon left running: XDP leaves the interfaces, all mappings end, all
    /// blocks are released on record
    Detach(Detach),
    /// Have the running daemon read the configuration file that it was started with again: says what changes and what that
    /// does. Exit code 3: refused, because mappings would be lost
    Reload(Reload),
    /// Check a configuration file: names every error, or says what it provides
    Check(Check),
    /// Show what the running daemon does
    Show(Show),
    /// Take an external address out of use, or into use again; remembered until it is restored. `cgn show
    /// pools` tells which are
    #[command(subcommand)]
    Pool(Pool),
    /// Show all about one subscriber: blocks, mappings, whether it can have more
    Subscriber(OneSubscriber),
    /// Show the mappings of an inside endpoint, or of an external one and who has it
    Lookup(Lookup),
    /// Watch rates, drops, pools and the busiest subscribers in the terminal
    Top(TopArguments),
    /// Tell what would happen to a packet and why: the translator runs on a copy of the tables. For
    /// example `cgn explain 'udp 100.64.1.2:5000 > 8.8.8.8:53'`
    Explain(Explain),
    /// Print packets as the fast path sees them, with their steps and verdict, at most 100 per second and processor.
    /// Loads other programs for that time, in which each packet costs some ten nanoseconds more
    Trace(Trace),
    /// Write packets into a pcapng file, as they came and as they left, with verdict and steps as a comment.
    /// Like trace, it loads other programs for that time; it never holds up a packet
    Capture(Capture),
    /// Ask the mapping log who had which ports when, or prove that it is unchanged
    #[command(subcommand)]
    Log(Log),
    /// Compute who has which static ports of a deterministic pool (RFC 7422), without the daemon
    #[command(subcommand)]
    Map(Map),
    /// Advise on the configuration, from what subscribers did
    #[command(subcommand)]
    Advise(Advise),
    /// Make a page with the plots of the Grafana dashboard, from what a Prometheus has scraped
    Report(Report),
    /// Print a configuration file with every key explained
    SampleConfig,
    /// Print completions for a shell
    Completions {
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
    /// Write the manual pages
    #[command(hide = true)]
    Manual {
        /// Folder for them
        folder: PathBuf,
    },
}

#[derive(Clone, Debug, Args)]
pub struct Run {
    /// The configuration file
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// Look into a fault: also logs each packet that is dropped or punted, with the reason, at most
    /// 100 lines per second and processor. Translated packets are never logged
    #[arg(long)]
    pub diagnose: bool,
    /// Start with empty tables if those of the last daemon cannot be adopted (another version of
    /// their layout, other pools or prefixes): all mappings are lost
    #[arg(long)]
    pub discard_tables: bool,
    /// For tests only: lets clients of the control socket move the clock
    /// (POST /v1/clock), so that idle mappings and holds end without waiting.
    #[arg(long, hide = true)]
    pub test_clock: bool,
}

#[derive(Clone, Debug, Args)]
pub struct Detach {
    /// The configuration file of the daemon
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
}

#[derive(Clone, Debug, Args)]
pub struct Reload {
    /// Only say what would change
    #[arg(long)]
    pub dry_run: bool,
    /// Also changes that lose mappings or stop traffic
    #[arg(long)]
    pub allow_disruption: bool,
    #[command(flatten)]
    pub daemon: WhichDaemon,
}

#[derive(Clone, Debug, Subcommand)]
pub enum Pool {
    /// No new subscriber gets the address; those who have it keep it
    Quarantine(Address),
    /// No new subscriber gets the address, and those who have it open nothing new by it: what is there goes on until
    /// it ends, then they get another one
    Drain(Address),
    /// The address is in use again
    Restore(Address),
}

#[derive(Clone, Debug, Args)]
pub struct Address {
    /// The external address
    pub address: Ipv4Addr,
    #[command(flatten)]
    pub daemon: WhichDaemon,
}

/// Which daemon to ask.
#[derive(Clone, Debug, Args)]
pub struct WhichDaemon {
    /// Control socket of the daemon [default: /run/cgn/cgn.sock]
    #[arg(long, value_name = "PATH", conflicts_with = "config")]
    pub socket: Option<PathBuf>,
    /// Take the control socket from this configuration file
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

#[derive(Clone, Debug, Args)]
pub struct Check {
    /// The configuration file
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// Do not look whether the interfaces exist: the file is for another machine
    #[arg(long)]
    pub no_interfaces: bool,
}

#[derive(Clone, Debug, Args)]
pub struct Show {
    /// What to show
    #[arg(value_enum)]
    pub what: What,
    /// Print JSON, all rows unless --limit says otherwise
    #[arg(long)]
    pub json: bool,
    /// Print CSV with the fields of the JSON, all rows unless --limit says otherwise
    #[arg(long, conflicts_with = "json")]
    pub csv: bool,
    #[command(flatten)]
    pub daemon: WhichDaemon,
    #[command(flatten)]
    pub filters: Filters,
    /// Show at most so many rows, 0 for all [default: 1000]
    #[arg(long, value_name = "ROWS")]
    pub limit: Option<usize>,
}

#[derive(Clone, Debug, Args)]
pub struct OneSubscriber {
    /// Inside address of the subscriber
    #[arg(value_name = "ADDRESS")]
    pub address: Ipv4Addr,
    /// Name of the subscriber's realm [default: the first, which has none]
    #[arg(long, value_name = "NAME")]
    pub realm: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub daemon: WhichDaemon,
}

#[derive(Clone, Debug, Args)]
pub struct Lookup {
    /// Inside or external address, with or without a port (ICMP: identifier)
    #[arg(value_name = "ADDRESS[:PORT]")]
    pub endpoint: String,
    /// Name of an inside address's realm [default: the first, which has none]
    #[arg(long, value_name = "NAME")]
    pub realm: Option<String>,
    /// Only tcp, udp or icmp
    #[arg(long, value_name = "PROTOCOL")]
    pub protocol: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub daemon: WhichDaemon,
}

#[derive(Clone, Debug, Args)]
pub struct Explain {
    /// The packet: PROTOCOL ADDRESS:PORT > ADDRESS:PORT, and behind it, if need be, `syn`, `ack`, `fin`,
    /// `rst` (tcp), `reply` (icmp), `ttl N`, `bytes N`, `may-fragment`. Quote it: > is the shell's
    #[arg(value_name = "PACKET", required = true)]
    pub packet: Vec<String>,
    /// Side that it comes from [default: inside if its source is a subscriber's, else outside]
    #[arg(long, value_name = "SIDE", value_parser = ["inside", "outside"])]
    pub from: Option<String>,
    /// Name of the realm that it comes from, from inside [default: the first, which has none]
    #[arg(long, value_name = "NAME")]
    pub realm: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub daemon: WhichDaemon,
}

#[derive(Clone, Debug, Args)]
pub struct Trace {
    #[command(flatten)]
    pub which: WhichPackets,
    /// Print a JSON object for each packet
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub daemon: WhichDaemon,
}

#[derive(Clone, Debug, Args)]
pub struct Capture {
    #[command(flatten)]
    pub which: WhichPackets,
    /// The file, which must not exist; - for stdout, as in `cgn capture -w - | tshark -r -`
    #[arg(long, short, value_name = "FILE.pcapng")]
    pub write: PathBuf,
    /// Only frames of this side: inside, before translation outwards and after it inwards, or outside [default: both]
    #[arg(long, value_name = "SIDE", value_parser = ["inside", "outside"])]
    pub side: Option<String>,
    /// Keep so many bytes of payload behind the headers [default: all, with --anonymise none]
    #[arg(long, value_name = "BYTES")]
    pub snap: Option<u16>,
    /// Give addresses other names, which keep common prefixes (Crypto-PAn), by the key in this file: 64
    /// hexadecimal digits, as of `openssl rand -hex 32`, that nobody else may read
    #[arg(long, value_name = "KEYFILE")]
    pub anonymise: Option<PathBuf>,
    /// Capture at most so many packets per second and processor; the others are counted [default: 1000]
    #[arg(long, value_name = "PACKETS")]
    pub rate: Option<u32>,
    #[command(flatten)]
    pub daemon: WhichDaemon,
}

/// Which packets of the fast path, and how many.
#[derive(Clone, Debug, Args)]
pub struct WhichPackets {
    /// Only packets of this subscriber, or those of a prefix, both ways
    #[arg(long, value_name = "ADDRESS[/LENGTH]")]
    pub inside: Option<String>,
    /// Only packets of subscribers of this realm, by its name; that of the first is empty [default: all realms]
    #[arg(long, value_name = "NAME")]
    pub realm: Option<String>,
    /// Only this port of the subscriber (ICMP: identifier)
    #[arg(long, value_name = "PORT")]
    pub port: Option<u16>,
    /// Only packets to and from this remote endpoint
    #[arg(long, value_name = "ADDRESS[/LENGTH][:PORT]")]
    pub outside: Option<String>,
    /// Only tcp, udp or icmp
    #[arg(long, value_name = "PROTOCOL")]
    pub protocol: Option<String>,
    /// End after so many packets
    #[arg(long, value_name = "PACKETS")]
    pub count: Option<u64>,
    /// End after so many seconds [default: a day]
    #[arg(long, value_name = "SECONDS")]
    pub seconds: Option<u64>,
}

#[derive(Clone, Debug, Args)]
pub struct TopArguments {
    /// Print one picture as text and end
    #[arg(long)]
    pub once: bool,
    /// Seconds between two looks
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = interval)]
    pub interval: f64,
    #[command(flatten)]
    pub daemon: WhichDaemon,
}

/// Seconds between two looks.
fn interval(text: &str) -> Result<f64, String> {
    let seconds: f64 = text
        .parse()
        .map_err(|_| "no number of seconds".to_owned())?;
    match (0.1..=3600.0).contains(&seconds) {
        true => Ok(seconds),
        false => Err("it must be 0.1 to 3600 seconds".to_owned()),
    }
}

#[derive(Clone, Debug, Args)]
pub struct Report {
    /// Prometheus that scrapes the CGN
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:9090")]
    pub prometheus: String,
    /// Length of the period, which ends now
    #[arg(long, value_name = "MINUTES", default_value_t = 360, value_parser = clap::value_parser!(u32).range(1..=527_040))]
    pub minutes: u32,
    /// Only instances that match this regular expression
    #[arg(long, value_name = "REGEX", default_value = ".*")]
    pub instance: String,
    /// How often that Prometheus scrapes
    #[arg(long, value_name = "SECONDS", default_value_t = 15, value_parser = clap::value_parser!(u32).range(1..=600))]
    pub scrape_secs: u32,
    /// Write the page to this file instead of stdout
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// Which rows to show.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Filters")]
pub struct Filters {
    /// Only this subscriber (of subscribers, blocks, mappings)
    #[arg(long, value_name = "ADDRESS")]
    pub subscriber: Option<String>,
    /// Only this realm, by its name, "" for the first (of subscribers, blocks, mappings, drops); with --subscriber,
    /// the realm of that address [default: all realms; with --subscriber the first]
    #[arg(long, value_name = "NAME")]
    pub realm: Option<String>,
    /// Only this pool (of subscribers, blocks, mappings, pools)
    #[arg(long, value_name = "NAME")]
    pub pool: Option<String>,
    /// Only tcp, udp or icmp (of mappings)
    #[arg(long, value_name = "PROTOCOL")]
    pub protocol: Option<String>,
    /// Only this external address, or who has this port of it (of
    /// subscribers, blocks, mappings)
    #[arg(long, value_name = "ADDRESS[:PORT]")]
    pub external: Option<String>,
    /// Also reasons that have not happened (of drops)
    #[arg(long)]
    pub all: bool,
}

/// What `cgn show` can show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum What {
    /// Who has blocks, and how full they are
    Subscribers,
    /// Which ports of which external address belong to whom
    Blocks,
    /// Inside address and port, external address and port, state
    Mappings,
    /// How much of each pool is used
    Pools,
    /// Why packets were dropped, punted to the slow path or passed to the kernel
    Drops,
    /// Rules of the access lists, whose packets they are for, and how many each held for
    Rules,
    /// Copies of packets that the configuration asks for, what was sent and lost
    Mirrors,
    /// The daemon: interfaces, routes, sweep, log
    Status,
    /// Configuration and state by RFC 8512, as JSON for who reads YANG
    IetfNat,
}
