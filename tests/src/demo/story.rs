//! What a newcomer reads: steps while they happen, then tables.

use std::fmt::{Display, Write as _};
use std::io::IsTerminal as _;
use std::path::Path;
use std::time::Instant;

use crate::lab::{Daemon, Lab, address};

use super::facts::{Facts, Flow, Metric, Throughput, with_several_blocks};

/// Rows of each table; a newcomer wants to see what there is, not all of it.
const ROWS: usize = 6;

/// Metrics that tell most.
const METRICS: &[&str] = &[
    "cgn_translated_packets_total",
    "cgn_translated_bytes_total",
    "cgn_subscribers",
    "cgn_blocks",
    "cgn_mappings_created_total",
    "cgn_punts_total",
    "cgn_drops_total",
    "cgn_log_records_total",
];

/// Prints to standard output, or to standard error when that belongs to the JSON object.
pub struct Story {
    to_stderr: bool,
    bold: (&'static str, &'static str),
    start: Instant,
}

impl Story {
    pub fn new(to_stderr: bool) -> Self {
        let is_terminal = if to_stderr {
            std::io::stderr().is_terminal()
        } else {
            std::io::stdout().is_terminal()
        };
        Self {
            to_stderr,
            bold: if is_terminal {
                ("\x1b[1m", "\x1b[0m")
            } else {
                ("", "")
            },
            start: Instant::now(),
        }
    }

    /// A step begins.
    pub fn step(&mut self, what: impl Display) {
        let (on, off) = self.bold;
        let secs = self.start.elapsed().as_secs_f64();
        self.line(format_args!("{on}[{secs:5.1} s] {what}{off}"));
    }

    pub fn topology(&self, lab: &Lab) {
        let last = address::subscriber(super::SUBSCRIBERS, 2);
        self.lines(&format!(
            "  subscribers 100.64.1.2 .. {last} -- access router {} -- {} [cgn] {} -- {} internet\n  \
             servers {}; the internet routes {} to the CGN, and knows no 100.64.x.x\n  \
             namespaces: {}",
            address::ACCESS,
            address::CGN_INSIDE,
            address::CGN_OUTSIDE,
            address::PEER,
            address::SERVERS.map(|server| server.to_string()).join(", "),
            address::POOL,
            namespaces(lab).join(" "),
        ));
    }

    pub fn configuration(&self, toml: &str) {
        let text: String = toml
            .lines()
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
            .fold(String::new(), |text, line| text + "  | " + line + "\n");
        self.lines(&text);
    }

    /// How a group of flows went.
    pub fn flows(&self, flows: &[Flow]) {
        let failed: Vec<&Flow> = flows.iter().filter(|flow| flow.error.is_some()).collect();
        self.line(format_args!(
            "  {} of {} answered and intact",
            flows.len() - failed.len(),
            flows.len()
        ));
        for flow in failed.iter().take(ROWS) {
            self.line(format_args!("  FAILED: {}", failure(flow)));
        }
        let good = flows.iter().find(|flow| flow.error.is_none());
        if let Some((flow, seen)) = good.and_then(|flow| Some((flow, flow.seen?))) {
            self.line(format_args!(
                "  e.g. {} sent from {}, the server saw {seen}",
                flow.protocol, flow.inside
            ));
        }
    }

    pub fn throughput(&self, throughput: Throughput) {
        self.line(format_args!(
            "  throughput {:.0} Mbit/s out, {:.0} Mbit/s in, with hosts, routers and CGN on this one \
             machine's processors",
            throughput.outbound_mbps, throughput.inbound_mbps
        ));
    }

    pub fn stranger(&self, dropped: bool) {
        self.line(if dropped {
            "  dropped, and counted as no_mapping"
        } else {
            "  FAILED: no_mapping was not counted"
        });
    }

    /// What operator's commands show.
    pub fn tables(&mut self, facts: &Facts) {
        self.step("Who has which block (cgn show blocks)");
        self.table(&facts.block_list, |row| {
            format!(
                "{:15} has {}:{}-{}, ports used: tcp {} udp {} icmp {}",
                row.inside.to_string(),
                row.external,
                row.first_port,
                row.last_port,
                row.ports_used.tcp,
                row.ports_used.udp,
                row.ports_used.icmp
            )
        });
        for (subscriber, count) in with_several_blocks(&facts.block_list) {
            self.line(format_args!(
                "  {subscriber} needed {count} blocks: all on one address (paired pooling)"
            ));
        }
        self.step("Mappings (cgn show mappings)");
        self.table(&facts.mapping_list, |row| {
            format!(
                "{:4} {:21} <-> {:21} {}",
                row.protocol,
                format!("{}:{}", row.inside, row.inside_port),
                format!("{}:{}", row.external, row.external_port),
                row.state
            )
        });
        self.step("The mapping log: one record for each block, none for each flow");
        self.table(&facts.log_record_list, Clone::clone);
        self.step("Metrics for Prometheus");
        let shown: Vec<&Metric> = facts
            .metrics
            .iter()
            .filter(|metric| metric.value > 0.0)
            .filter(|metric| METRICS.contains(&name_of(metric)))
            .collect();
        for metric in shown {
            self.line(format_args!("  {} {}", metric.name, metric.value));
        }
    }

    pub fn verdict(&mut self, facts: &Facts) {
        self.step("Verdict");
        self.line(format_args!(
            "  {} flows of {} subscribers through {} blocks, {} log records, {:.0} Mbit/s, {:.1} s; \
             kernel {}, XDP {}",
            facts.flows,
            facts.subscribers,
            facts.blocks,
            facts.log_records,
            facts.throughput_mbps,
            facts.seconds,
            facts.kernel,
            facts.xdp_modes.join(" and ")
        ));
        for problem in facts.problems.iter().take(ROWS) {
            self.line(format_args!("  {problem}"));
        }
        let (on, off) = self.bold;
        self.line(if facts.ok {
            format!("{on}OK: every flow arrived intact, translated, and with its log record{off}")
        } else {
            format!("{on}NOT OK: {} problems{off}", facts.problems.len())
        });
    }

    /// How to look around while it runs.
    pub fn hints(&mut self, lab: &Lab, daemon: &Daemon, cgn: &Path) {
        self.step("Everything stays until Ctrl-C. In another terminal, as root:");
        let (cgn, socket) = (cgn.display(), daemon.socket().display());
        let enter = |name: &str| format!("nsenter --net=/run/netns/{name}");
        let mut text = String::new();
        for what in [
            "subscribers",
            "blocks",
            "mappings",
            "pools",
            "drops",
            "status",
        ] {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "  {cgn} show {what} --socket {socket}");
        }
        let host = lab.subscribers.first().map_or("", |host| host.name());
        let subscriber = address::subscriber(1, 2);
        let packet = format!("udp {subscriber}:5000 > {}:53", address::SERVERS[0]);
        let _ = write!(
            text,
            "  {cgn} top --socket {socket}\n  {cgn} subscriber {subscriber} --socket {socket}\n  \
             {cgn} explain '{packet}' --socket {socket}\n  {cgn} trace --inside {subscriber} --socket {socket}\n  \
             {cgn} log verify {}\n",
            daemon.log().display()
        );
        let _ = write!(
            text,
            "  {} curl http://{}/metrics\n  {} ping {}\n  {} tcpdump -ni uplink\n  ls {}\n",
            enter(lab.cgn.name()),
            daemon.metrics_address(),
            enter(host),
            address::SERVERS[0],
            enter(lab.internet.name()),
            lab.pins().display()
        );
        self.lines(&text);
    }

    fn table<T>(&self, rows: &[T], row: impl Fn(&T) -> String) {
        for item in rows.iter().take(ROWS) {
            self.line(format_args!("  {}", row(item)));
        }
        if rows.len() > ROWS {
            self.line(format_args!("  ... and {} more", rows.len() - ROWS));
        }
    }

    fn lines(&self, text: &str) {
        for line in text.lines() {
            self.line(line);
        }
    }

    fn line(&self, text: impl Display) {
        if self.to_stderr {
            eprintln!("{text}");
        } else {
            println!("{text}");
        }
    }
}

/// One line about a flow that is not well.
pub fn failure(flow: &Flow) -> String {
    let what = match (&flow.error, flow.translated, flow.logged) {
        (Some(error), ..) => error.clone(),
        (None, false, _) => "the server saw an address that is not the pool's".to_owned(),
        (None, true, false) => {
            "no log record leads from what the server saw to the subscriber".to_owned()
        }
        (None, true, true) => "content changed".to_owned(),
    };
    let seen = flow
        .seen
        .map_or_else(String::new, |seen| format!(", seen as {seen}"));
    format!(
        "{} {} to {}{seen}: {what}",
        flow.protocol, flow.inside, flow.server
    )
}

fn name_of(metric: &Metric) -> &str {
    metric.name.split('{').next().unwrap_or_default()
}

fn namespaces(lab: &Lab) -> Vec<&str> {
    lab.subscribers
        .iter()
        .chain([&lab.access, &lab.cgn, &lab.internet])
        .map(|namespace| namespace.name())
        .collect()
}
