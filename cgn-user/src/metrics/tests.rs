use std::time::Duration;

use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Command, Stdio};

use cgn_common::counters::{Carried, Counters};
use cgn_common::layout::{Action, Constants, Hits, Ports};
use cgn_common::verdict::{Direction, REASONS, Reason};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;

use super::{Behaviours, Kind, Limits, Listener, Metric, Samples, Snapshot, TABLE, Value, encode};
use crate::alloc::{PoolCounters, PoolStatus};
use crate::api::fixture::Fixture;
use crate::api::rows::MirrorRow;
use crate::dataplane::geometry::{Arrangement, PoolShape};
use crate::engine::clock::Discipline;
use crate::histogram::{self, Histogram};
use crate::maplog::notice::What;
use crate::maplog::stream::SinkStats;
use crate::policy::access::{Lists, Placed, Rule};
use crate::policy::throttle::Prefix;
use crate::radius::Outcome;
use crate::slowpath::answers::AnswerStats;
use crate::state::{
    FloodStats, FragmentStats, IdentityStats, InterfaceStats, LogStats, PoolStats, PuntStats,
    RealmStats, Reconciliation, RulePackets, SessionStats, Stats, SweepStats,
};

/// Where every figure is zero, and one pool has no name yet.
fn idle() -> Snapshot {
    let nothing = Behaviours {
        mapping: "-",
        filtering: "-",
        pooling: "-",
        fragments: "-",
        hairpinning: "-",
    };
    Snapshot {
        fast_path: Counters::ZERO,
        realm_drops: vec![("mvno".to_owned(), 0)],
        stats: Stats::default(),
        pools: vec![PoolShape {
            arrangement: Arrangement::Contiguous,
            name: "home".into(),
            addresses: Vec::new(),
            block_shift: 0,
            blocks_per_subscriber: 0,
            watermark_ports: 0,
            max_blocks: 0,
        }],
        subscriber_addresses: 0,
        limits: Limits::default(),
        started_unix_ms: 0,
        clock: None,
        version: "-",
        behaviours: nothing,
        rules: vec![(rule(), RulePackets::default())],
        mirrors: vec![mirror(|| 0)],
    }
}

fn mirror(mut next: impl FnMut() -> u64) -> MirrorRow {
    MirrorRow {
        mirror: "lab".to_owned(),
        to: "interface eth2".to_owned(),
        state: "on".to_owned(),
        matched: next(),
        missed: next(),
        sent: next(),
        lost: next(),
        bytes: next(),
    }
}

fn rule() -> Placed {
    let rule = Rule {
        name: "blocklist".to_owned(),
        direction: Direction::Inbound,
        action: Action::Deny,
        source: vec![(1, 2)],
        destination: Vec::new(),
        protocol: None,
        ports: Ports::ANY,
        most: 0,
        realm: 0,
        group: String::new(),
    };
    Lists::new(&[rule], &[]).rules()[0].clone()
}

/// Where every figure differs from zero and from every other. Written out in
/// full, so that a new figure does not compile before it stands here.
fn busy() -> Snapshot {
    let mut last = 1000;
    let mut next = || {
        last += 7;
        last
    };
    let fast_path = counters(&mut next);
    let slow_path = counters(&mut next);
    let status = PoolStatus {
        blocks_total: next(),
        blocks_used: next(),
        blocks_held: next(),
        blocks_free: next(),
        overflow_total: 1_000_000,
        overflow_free: next(),
        overflow_full: 9,
        addresses_total: 77,
        addresses_used: 3,
        subscribers: next() as u32,
        slabs_total: 100_000,
        slabs_free: next() as u32,
        slabs_quarantined: next() as u32,
        counters: PoolCounters {
            allocated: next(),
            paired: next(),
            withdrawn: next(),
            released: next(),
            adopted: next(),
            holds_skipped: next(),
            refused_subscriber_limit: next(),
            refused_address_exhausted: next(),
            refused_pool_exhausted: next(),
            refused_no_slab: next(),
        },
    };
    Snapshot {
        fast_path,
        realm_drops: vec![("mvno".to_owned(), next())],
        stats: Stats {
            slow_path,
            realm_drops: Vec::new(),
            hits: Hits::ZERO,
            pools: vec![PoolStats {
                status,
                refused_log_unavailable: next(),
                mappings: [next(), next(), next()],
                held_ports: next(),
                overflow: [next(), next(), next()],
                subscriber_ports: [(); 3].map(|()| seen(&mut next, histogram::PORTS)),
            }],
            realms: vec![(
                "mvno".to_owned(),
                RealmStats {
                    subscribers: next(),
                    mappings: [next(), next(), next()],
                },
            )],
            sweep: SweepStats {
                count: next(),
                total_secs: 1.5,
                last_secs: 0.25,
                expired: [next(), next(), next()],
                unheld_ports: next(),
            },
            sessions: SessionStats {
                live: next(),
                expired: next(),
            },
            log: LogStats {
                allocate_records: next(),
                release_records: next(),
                session_records: next(),
                identity_records: next(),
                mark_records: next(),
                append_errors: next(),
                is_refusing: true,
                lacking_since_ms: Some(1),
                lacking_records: next(),
                commits: next(),
                commit_secs: 2.5,
                segment_bytes: next(),
                spool_bytes: next(),
                sealed_bytes: next(),
                sealed_files: next(),
                seal_errors: next(),
                unsealed_records: next(),
                notices: [0; What::NAMES.len()].map(|_| next()),
            },
            identity: IdentityStats {
                names: next(),
                requests: [0; Outcome::NAMES.len()].map(|_| next()),
            },
            reconciliation: Reconciliation {
                identical: next(),
                repaired: next(),
                orphaned: next(),
                incomplete: next(),
            },
            sinks: vec![(
                "collector".to_owned(),
                SinkStats {
                    sent: next(),
                    lost: next(),
                    pending: next(),
                    interim: next(),
                    notices: next(),
                    lost_notices: next(),
                    failures: next(),
                    is_connected: true,
                },
            )],
            punts: PuntStats {
                batches: next(),
                packets: next(),
                waiting_packets: next(),
                latency: seen(&mut next, histogram::SECONDS),
                retries: [next(), next(), next()],
                grants: seen(&mut next, histogram::SECONDS),
            },
            answers: AnswerStats {
                sent: [next(), next(), next(), next(), next(), next()],
                withheld: [next(), next(), next(), next(), next(), next()],
            },
            syns_held: next(),
            fragments: FragmentStats {
                held: next(),
                held_bytes: next(),
                came_early: next(),
                released: next(),
                split: next(),
            },
            floods: FloodStats {
                busy_percent: next() as f64,
                put_off_percent: next(),
                unsolicited: vec![next()],
                attacked: vec![[203, 0, 113, 1].into()],
                throttled: [true, false]
                    .into_iter()
                    .flat_map(|is_inside| {
                        [32, 24, 20, 64, 56, 48].map(|length| (is_inside, length))
                    })
                    .map(|(is_inside, length)| Prefix {
                        is_inside,
                        realm: 0,
                        first: match length > 32 {
                            true => [0x2001, 0xdb8, 0, 0, 0, 0, 0, 0].into(),
                            false => [198, 51, 96, 0].into(),
                        },
                        length,
                    })
                    .collect(),
            },
            interfaces: vec![InterfaceStats {
                name: "eth0".into(),
                side: "inside",
                mode: "native",
            }],
            next_hops: next(),
            routes_generation: next(),
        },
        pools: vec![PoolShape {
            arrangement: Arrangement::Contiguous,
            name: "home".into(),
            addresses: vec![([203, 0, 113, 0].into(), [203, 0, 113, 7].into())],
            block_shift: 9,
            blocks_per_subscriber: 4,
            watermark_ports: 400,
            max_blocks: 1008,
        }],
        subscriber_addresses: next(),
        limits: Limits {
            sessions: next(),
            datagrams: next(),
            held_fragments: next(),
        },
        started_unix_ms: 1_740_787_750_500,
        clock: Some(Discipline {
            is_synchronised: true,
            most_off: Duration::from_millis(30),
        }),
        version: "1.2.3",
        rules: vec![(
            rule(),
            RulePackets {
                held: next(),
                over_rate: next(),
            },
        )],
        mirrors: vec![mirror(&mut next)],
        behaviours: Behaviours::of(&Constants::PLAIN, 1),
    }
}

/// A histogram with so many values as no other.
fn seen(next: &mut impl FnMut() -> u64, scale: histogram::Scale) -> Histogram {
    let mut histogram = Histogram::new(scale);
    (0..next()).for_each(|_| histogram.observe(0.5));
    histogram
}

fn counters(next: &mut impl FnMut() -> u64) -> Counters {
    let mut counters = Counters::ZERO;
    for count in counters
        .packets
        .iter_mut()
        .chain(&mut counters.bytes)
        .flatten()
    {
        *count = next();
    }
    counters.created = [next(), next(), next()];
    for number in 0..REASONS {
        counters.reasons[number] = next();
        counters.drops[number] = [next(), next(), next(), next()];
    }
    counters
}

fn value(samples: &Samples, labels: &[&str]) -> f64 {
    let mut found = samples.0.iter().filter(|(of, _)| of == labels);
    let (_, value) = found
        .next()
        .unwrap_or_else(|| panic!("no sample {labels:?}"));
    assert!(found.next().is_none(), "{labels:?} stands twice");
    match value {
        Value::Number(value) => *value,
        Value::Distribution(histogram) => histogram.count() as f64,
    }
}

#[test]
fn every_series_of_every_metric_changes_with_its_source() {
    let (idle, busy) = (idle(), busy());
    for metric in TABLE {
        let (before, after) = (metric.samples(&idle), metric.samples(&busy));
        assert!(!after.0.is_empty(), "nothing feeds {}", metric.name);
        for (labels, value) in &after.0 {
            assert!(
                !before.0.contains(&(labels.clone(), *value)),
                "{} {labels:?}",
                metric.name
            );
        }
    }
}

#[test]
fn values_are_those_of_their_sources() {
    let busy = busy();
    let (fast, slow, pool) = (&busy.fast_path, &busy.stats.slow_path, &busy.stats.pools[0]);
    let dropped = |reason: Reason, carried: Carried| {
        let of = |counters: &Counters| counters.drops[reason as usize][carried as usize];
        of(fast) + of(slow)
    };
    let sum = |reason: Reason| fast.ended(reason) + slow.ended(reason);
    let cases: &[(&str, &[&str], u64)] = &[
        (
            "cgn_translated_packets_total",
            &["outbound", "tcp"],
            fast.packets[0][0] + slow.packets[0][0],
        ),
        (
            "cgn_translated_bytes_total",
            &["inbound", "icmp"],
            fast.bytes[1][2] + slow.bytes[1][2],
        ),
        (
            "cgn_drops_total",
            &["no_port", "udp"],
            dropped(Reason::NoPort, Carried::Udp),
        ),
        (
            "cgn_drops_total",
            &["unsupported_gre", "other"],
            dropped(Reason::UnsupportedGre, Carried::Other),
        ),
        ("cgn_passes_total", &["local"], sum(Reason::Local)),
        (
            "cgn_punts_total",
            &["first_packet"],
            fast.ended(Reason::FirstPacket),
        ),
        (
            "cgn_icmp_errors_sent_total",
            &["fragmentation_needed"],
            busy.stats.answers.sent[1],
        ),
        (
            "cgn_icmp_errors_withheld_total",
            &["rate"],
            busy.stats.answers.withheld[0],
        ),
        (
            "cgn_unsolicited_packets_total",
            &["home"],
            busy.stats.floods.unsolicited[0],
        ),
        ("cgn_attacked_addresses", &["home"], 1),
        ("cgn_throttled_prefixes", &["outside", "24"], 1),
        ("cgn_throttled_prefixes", &["inside", "56"], 1),
        ("cgn_realm_drops_total", &["mvno"], busy.realm_drops[0].1),
        (
            "cgn_realm_mappings",
            &["mvno", "udp"],
            busy.stats.realms[0].1.mappings[1],
        ),
        ("cgn_mappings", &["udp"], pool.mappings[1]),
        ("cgn_blocks", &["home", "held"], pool.status.blocks_held),
        (
            "cgn_overflow_blocks",
            &["home", "taken"],
            1_000_000 - pool.status.overflow_free,
        ),
        ("cgn_overflow_full_addresses", &["home"], 9),
        ("cgn_limit", &["sessions"], busy.limits.sessions),
        ("cgn_mapping_overflow", &["tcp"], pool.overflow[0]),
        (
            "cgn_address_mappings_created_total",
            &["home"],
            pool.status.counters.paired,
        ),
        (
            "cgn_subscriber_ports_now",
            &["home", "udp"],
            pool.subscriber_ports[1].count(),
        ),
        (
            "cgn_punt_retries_total",
            &["neighbour"],
            busy.stats.punts.retries[1],
        ),
        (
            "cgn_block_refusals_total",
            &["home", "no_slab"],
            pool.status.counters.refused_no_slab,
        ),
        ("cgn_pool_ports", &["home"], 8 * 126 * 512),
        (
            "cgn_pool_allocated_ports",
            &["home"],
            pool.status.blocks_used * 512,
        ),
        ("cgn_pool_addresses", &["home", "free"], 5),
        (
            "cgn_log_records_total",
            &["release"],
            busy.stats.log.release_records,
        ),
    ];
    for (name, labels, expected) in cases {
        let metric = TABLE.iter().find(|metric| metric.name == *name).unwrap();
        assert_eq!(
            value(&metric.samples(&busy), labels),
            *expected as f64,
            "{name}"
        );
    }
    assert_eq!(TABLE.last().unwrap().samples(&busy).0[0].0[0], "eim");
}

#[test]
fn names_labels_and_help_follow_the_conventions() {
    let is_word = |text: &str| {
        text.starts_with(|c: char| c.is_ascii_lowercase())
            && text
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
    };
    let mut names = BTreeSet::new();
    for metric in TABLE {
        let name = metric.name;
        assert!(names.insert(name), "{name} stands twice");
        assert!(name.starts_with("cgn_") && is_word(name), "{name}");
        assert_eq!(
            name.ends_with("_total"),
            metric.kind == Kind::Counter,
            "{name}: only counters end in _total"
        );
        for word in name.split('_') {
            assert!(
                !["ms", "ns", "s", "secs", "sec", "kb", "mb"].contains(&word),
                "{name}: base units, in full"
            );
        }
        assert!(
            metric.help.ends_with('.') && metric.help.len() > 15,
            "{name}: {}",
            metric.help
        );
        assert!(!metric.help.contains('\n'), "{name}");
        for label in metric.labels {
            assert!(
                is_word(label) && !["instance", "job", "le", "quantile"].contains(label),
                "{name} {label}"
            );
        }
        for (values, _) in metric.samples(&busy()).0 {
            assert_eq!(values.len(), metric.labels.len(), "{name}");
        }
    }
}

#[test]
fn the_number_of_series_does_not_depend_on_traffic() {
    let count = |snapshot: &Snapshot| {
        let text = encode(snapshot).unwrap();
        text.lines().filter(|line| !line.starts_with('#')).count()
    };
    let mut quiet = busy();
    quiet.fast_path = Counters::ZERO;
    quiet.stats.pools.clear();
    quiet.stats.slow_path = Counters::ZERO;
    assert_eq!(count(&quiet), count(&busy()));
    // Reasons and kinds have a series each, whatever comes by.
    assert!(count(&busy()) < 570);
}

#[test]
fn metrics_without_a_sample_are_left_out_and_labels_are_escaped() {
    let mut snapshot = busy();
    snapshot.stats.interfaces[0].name = "a\"b\\c".into();
    assert!(
        encode(&snapshot)
            .unwrap()
            .contains(r#"cgn_interface_info{interface="a\"b\\c",side="inside",mode="native"} 1"#)
    );
    snapshot.stats.interfaces.clear();
    assert!(!encode(&snapshot).unwrap().contains("cgn_interface_info"));
}

#[test]
fn promtool_has_nothing_to_say() {
    let child = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = match child {
        Ok(child) => child,
        Err(error) => {
            return skip(
                "promtool_has_nothing_to_say",
                &format!("promtool: {error}; install Debian's prometheus"),
            );
        }
    };
    let text = encode(&busy()).unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(text.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(output.status.success() && said.trim().is_empty(), "{said}");
}

#[tokio::test]
async fn a_scrape_over_http_gives_the_text_and_the_root_points_to_it() {
    let state = Fixture::new().state(false);
    let listener = Listener::bind(([127, 0, 0, 1], 0).into()).await.unwrap();
    let address = listener.address().unwrap();
    let taken = Listener::bind(address).await.unwrap_err().to_string();
    assert!(
        taken.contains(&address.to_string()) && taken.contains("metrics.listen"),
        "{taken}"
    );
    let (stop, stopped) = oneshot::channel::<()>();
    let server = tokio::spawn(listener.serve(state, async {
        let _ = stopped.await;
    }));
    for (target, expected) in [
        ("/", "/metrics\n"),
        (
            "/metrics",
            "content-type: text/plain; version=0.0.4; charset=utf-8\r\n",
        ),
        (
            "/metrics",
            "\ncgn_drops_total{reason=\"no_port\",protocol=\"tcp\"} 9\n",
        ),
        ("/metrics", "\ncgn_subscriber_addresses 272\n"),
        ("/else", "404 Not Found"),
    ] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {target} HTTP/1.1\r\nHost: cgn\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.contains(expected), "{target}: {answer}");
    }
    stop.send(()).unwrap();
    server.await.unwrap().unwrap();
}

/// The alerts as shipped.
const ALERTS: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../deploy/prometheus/alerts.yml"
);

#[test]
fn alerts_ask_for_metrics_that_there_are() {
    asks_for_known_metrics(ALERTS);
}

#[test]
fn the_dashboard_asks_for_metrics_that_there_are() {
    asks_for_known_metrics(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../deploy/grafana/cgn.json"
    ));
}

/// The file names more than 8 metrics, and each is one that there is.
fn asks_for_known_metrics(file: &str) {
    let text = std::fs::read_to_string(file).unwrap();
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let expressions = text
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'));
    let asked: BTreeSet<&str> = expressions
        .flat_map(|line| line.split(|c| !is_name(c)))
        .filter(|word| word.starts_with("cgn_"))
        .collect();
    assert!(asked.len() > 8, "{asked:?}");
    let is_series_of = |metric: &Metric, name: &str| {
        let suffixes: &[&str] = match metric.kind {
            Kind::Histogram => &["", "_bucket", "_sum", "_count"],
            _ => &[""],
        };
        let mut suffixes = suffixes.iter();
        suffixes.any(|suffix| name.strip_suffix(suffix) == Some(metric.name))
    };
    for name in asked {
        let is_known = TABLE.iter().any(|metric| is_series_of(metric, name));
        assert!(is_known, "{file} asks for {name}, which there is not");
    }
}

#[test]
fn promtool_takes_the_alerts_and_they_fire() {
    for (command, file) in [("check", "alerts.yml"), ("test", "alerts-test.yml")] {
        let folder = std::path::Path::new(ALERTS).parent().unwrap();
        let output = Command::new("promtool")
            .args([command, "rules", file])
            .current_dir(folder)
            .output();
        let output = match output {
            Ok(output) => output,
            Err(error) => {
                return skip(
                    "promtool_takes_the_alerts_and_they_fire",
                    &format!("promtool: {error}; install Debian's prometheus"),
                );
            }
        };
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert!(output.status.success(), "promtool {command} rules: {said}");
    }
}

/// Tells the test command that a test did not run.
fn skip(test: &str, reason: &str) {
    println!("skipped {test}: {reason}");
    if let Some(path) = std::env::var_os("CGN_SKIPS") {
        let file = std::fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(path);
        writeln!(file.unwrap(), "test metrics::tests::{test}\t{reason}").unwrap();
    }
}
