//! The threads that send the mapping log to collectors. None of them ever holds up the engine.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use super::clock;
use crate::config::{self, Checked, Config, LogMode, SinkFormat, SinkSasl, SinkTransport};
use crate::maplog::Committed;
use crate::maplog::realms::Register;
use crate::maplog::stream::{
    Format, Kinds, Mechanism, Options, Sasl, Scope, Sink, Transport, Trust,
};
use crate::policy::shape;
use crate::privileges::{self, Work};
use crate::state::State;

/// Between two looks for new records.
const TURN: Duration = Duration::from_millis(200);
/// How long the last records are sent when the daemon ends; what is left goes after a start.
const FAREWELL: Duration = Duration::from_millis(1500);

/// Sinks that are ready to start.
pub struct Streaming(Vec<Sink>);

impl Streaming {
    /// Reads cursors and certificates, before a packet is touched.
    ///
    /// # Errors
    /// One of them is unusable.
    pub fn open(checked: &Checked, committed: &Committed, realms: &Register) -> Result<Self> {
        let (config, host) = (&checked.config, host_name());
        let sinks = config.sink.iter().map(|sink| {
            let scope = scope(sink, checked, realms);
            let options = Options {
                scope,
                ..options(sink, config, &host)
            };
            Sink::open(&config.log.directory, options, committed.clone())
        });
        Ok(Self(sinks.collect::<Result<_, _>>()?))
    }

    /// Sends until `stop`, each sink in a thread of its own.
    ///
    /// # Errors
    /// There is no thread for one.
    pub fn spawn(self, state: &Arc<State>, stop: &Arc<AtomicBool>) -> Result<Vec<JoinHandle<()>>> {
        let names = self
            .0
            .iter()
            .map(|sink| (sink.name().to_owned(), sink.stats()));
        state.stats().sinks = names.collect();
        let threads = self.0.into_iter().enumerate().map(|(number, sink)| {
            let (state, stop) = (Arc::clone(state), Arc::clone(stop));
            std::thread::Builder::new()
                .name(format!("cgn-sink-{number}"))
                .spawn(move || {
                    privileges::narrow(Work::Log);
                    run(sink, number, &state, &stop);
                })
                .context("no thread for a sink")
        });
        threads.collect()
    }
}

fn run(mut sink: Sink, number: usize, state: &State, stop: &AtomicBool) {
    let mut was_told = false;
    let mut place = 0;
    while !stop.load(Ordering::Relaxed) {
        let (notices, lost) = state.notices.read(&mut place, usize::MAX);
        sink.notify(notices, lost);
        if !turn(&mut sink, number, state, &mut was_told) {
            std::thread::park_timeout(TURN);
        }
    }
    let until = Instant::now() + FAREWELL;
    while sink.stats().pending > 0 && Instant::now() < until {
        if !turn(&mut sink, number, state, &mut was_told) {
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    if let Err(error) = sink.close(Instant::now()) {
        tracing::warn!(error = &error as &dyn std::error::Error, "the mapping log");
    }
}

/// True if there is more to send.
fn turn(sink: &mut Sink, number: usize, state: &State, was_told: &mut bool) -> bool {
    let unix_secs = (clock::unix_ms(state) / 1000) as u32;
    let outcome = sink.turn(Instant::now(), unix_secs);
    let stats = sink.stats();
    if let Some((_, known)) = state.stats().sinks.get_mut(number) {
        known.clone_from(&stats);
    }
    match outcome {
        Ok(is_more) => {
            if stats.is_connected && std::mem::take(was_told) {
                tracing::info!(sink = sink.name(), "is sent the mapping log again");
            }
            is_more
        }
        Err(error) => {
            // Once for each time that it is away.
            if !std::mem::replace(was_told, true) {
                tracing::warn!(error = &error as &dyn std::error::Error, "the mapping log");
            }
            false
        }
    }
}

fn options(sink: &config::Sink, config: &Config, host: &str) -> Options {
    let seconds = |secs: u32| Duration::from_secs(u64::from(secs));
    Options {
        name: sink.name.clone(),
        format: match sink.format {
            SinkFormat::Ipfix => Format::Ipfix,
            SinkFormat::Netflow9 => Format::Netflow9,
            SinkFormat::Syslog => Format::Syslog,
            SinkFormat::Jsonl => Format::JsonLines,
        },
        transport: match sink.transport {
            SinkTransport::Udp => Transport::Udp,
            SinkTransport::Tcp => Transport::Tcp,
            SinkTransport::Tls => Transport::Tls(trust(sink)),
            SinkTransport::Kafka | SinkTransport::KafkaTls => Transport::Kafka {
                topic: sink.topic.clone(),
                partition: sink.partition as i32,
                trust: sink.transport.is_tls().then(|| trust(sink)),
                sasl: sasl(sink),
            },
        },
        address: sink.address,
        domain: sink.domain,
        template_every: seconds(sink.template_secs),
        datagram_bytes: sink.datagram_bytes as usize,
        interim_every: match (sink.interim_secs, config.log.mode) {
            (0, LogMode::Interim) => Some(seconds(config.log.interim_secs)),
            (0, _) => None,
            (secs, _) => Some(seconds(secs)),
        },
        kinds: Kinds {
            blocks: sink.blocks,
            // Nobody needs their templates where there are none.
            sessions: sink.sessions && shape::logs_sessions(config),
            notices: sink.notices,
        },
        scope: None,
        host: host.to_owned(),
        identities: config.identity.listen.is_some(),
    }
}

/// The realms that a sink is told of, with the pools that serve them.
fn scope(sink: &config::Sink, checked: &Checked, realms: &Register) -> Option<Scope> {
    let names = || sink.realms.iter();
    let numbers: Vec<u8> = names()
        .filter_map(|name| checked.config.realm_number(name))
        .collect();
    let ranges = checked.subscribers.iter();
    let own = ranges.filter(|range| numbers.contains(&range.realm));
    (!sink.realms.is_empty()).then(|| Scope {
        realms: names().filter_map(|name| realms.number(name)).collect(),
        pools: own.map(|range| range.pool as u16).collect(),
    })
}

fn sasl(sink: &config::Sink) -> Option<Sasl> {
    let mechanism = match sink.sasl? {
        SinkSasl::Plain => Mechanism::Plain,
        SinkSasl::ScramSha256 => Mechanism::ScramSha256,
        SinkSasl::ScramSha512 => Mechanism::ScramSha512,
    };
    Some(Sasl {
        mechanism,
        user: sink.user.clone(),
        password_file: sink.password_file.clone(),
    })
}

fn trust(sink: &config::Sink) -> Trust {
    Trust {
        ca_file: sink.ca_file.clone(),
        server_name: sink.server_name.clone(),
    }
}

/// Empty if the kernel does not tell.
fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname");
    name.unwrap_or_default().trim().to_owned()
}
