//! Every metric is moved by what it counts, in a running daemon; and the dashboard's queries.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::Permissions;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, UdpSocket};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use cgn_common::wire::transport::flag;
use cgn_tests::lab::{
    self, Daemon, Lab, Plan, Process, RawSocket, Settings, TcpServer, UdpEcho, address,
    cgn_program, run_to_end, wait_until,
};
use cgn_tests::packets::Draft;
use cgn_user::metrics::TABLE;
use cgn_user::report::Request;
use cgn_user::report::dashboard::{self, Panel};

use crate::life::fill;
use crate::{PATIENCE_SECS, SERVER, in_lab, lacks_program};

/// A second server, so that mappings have a second session.
const OTHER: SocketAddrV4 = SocketAddrV4::new(address::SERVERS[1], 7000);

/// Names of metrics that were not zero in at least one scrape.
#[derive(Default)]
struct Moved(BTreeSet<&'static str>);

impl Moved {
    fn scrape(&mut self, daemon: &Daemon) -> Result<()> {
        let page = daemon.metrics()?;
        for line in page.lines().filter(|line| !line.starts_with('#')) {
            let name = line.split(['{', ' ']).next().unwrap_or_default();
            let name = name.strip_suffix("_count").unwrap_or(name);
            let is_zero = line.ends_with(" 0");
            let metric = TABLE.iter().find(|metric| metric.name == name);
            self.0
                .extend(metric.filter(|_| !is_zero).map(|metric| metric.name));
        }
        Ok(())
    }

    /// Scrapes until `names` are among those that were not zero.
    fn wait_for(&mut self, daemon: &Daemon, names: &[&str]) -> Result<()> {
        let mut missing = Vec::new();
        let outcome = wait_until("metrics move", PATIENCE_SECS, || {
            self.scrape(daemon)?;
            missing = names
                .iter()
                .filter(|name| !self.0.contains(*name))
                .collect();
            Ok(missing.is_empty().then_some(()))
        });
        outcome.with_context(|| format!("nothing moved {missing:?}"))
    }
}

#[test]
fn every_metric_is_moved_by_what_it_counts() {
    let name = "metrics::every_metric_is_moved_by_what_it_counts";
    in_lab(name, &Plan::default(), |lab| {
        let disk = lab.small_disk(512 << 10)?;
        let collector = lab.cgn.within(|| Ok(TcpListener::bind("127.0.0.1:0")?))?;
        let toml = configuration(lab, &disk, &collector)?;
        let start = || Daemon::start_with(lab, &toml, &cgn_program()?, &["--test-clock"]);
        let mut moved = Moved::default();
        let daemon = start()?;
        let echo = UdpEcho::start(&lab.internet, SERVER)?;
        let _other = UdpEcho::start(&lab.internet, OTHER)?;
        flows(lab, &daemon, &echo, &mut moved)?;
        overflow(lab, &daemon, &mut moved)?;
        odd_packets(lab, &daemon, &mut moved)?;
        an_unsolicited_syn(lab, &daemon, &mut moved)?;
        a_name(lab, &daemon, &mut moved)?;
        newcomers(lab, &daemon, "cgn_block_refusals_total", &mut moved)?;
        // Mirrors see packets once the watching programs are in place, and before that nobody can stop.
        newcomers(lab, &daemon, "cgn_mirror_missed_packets_total", &mut moved)?;
        // The next one adopts what is there.
        ensure!(daemon.stop()?.success(), "it ended badly");
        let guarded = toml.clone() + GUARDS;
        let daemon = Daemon::start_with(lab, &guarded, &cgn_program()?, &["--test-clock"])?;
        moved.wait_for(&daemon, &["cgn_blocks_adopted_total", "cgn_start_blocks"])?;
        floods(lab, &daemon, &mut moved)?;
        ensure!(daemon.stop()?.success(), "it ended badly");
        let daemon = start()?;
        a_silent_gateway(lab, &daemon, &mut moved)?;
        time_passes(&daemon, &mut moved)?;
        a_full_disk(lab, &daemon, &disk, &mut moved)?;
        std::fs::remove_file(disk.join("filler"))?;
        ensure!(daemon.stop()?.success(), "it ended badly");
        let toml = toml.replace("on_full = \"refuse\"", "on_full = \"continue\"");
        let daemon = Daemon::start_with(lab, &toml, &cgn_program()?, &["--test-clock"])?;
        fill(&disk)?;
        newcomers(lab, &daemon, "cgn_log_lacking", &mut moved)?;
        moved.wait_for(&daemon, &["cgn_log_lacking_records_total"])?;
        let still: Vec<&str> = TABLE
            .iter()
            .map(|metric| metric.name)
            .filter(|name| !moved.0.contains(name))
            .collect();
        ensure!(still.is_empty(), "nothing moved {still:?}");
        Ok(())
    });
}

/// Blocks at once: more than records that the log has room for ahead.
const MOST_BLOCKS: u32 = 500;

/// Where names are told.
const RADIUS: &str = "127.0.0.1:1813";

/// Few blocks and holds, filters that note sessions, two sinks and two mirrors of which one is dead.
fn configuration(lab: &Lab, disk: &Path, collector: &TcpListener) -> Result<String> {
    let settings = Settings {
        blocks_per_subscriber: 2,
        max_blocks: Some(MOST_BLOCKS),
        log_folder: Some(disk.to_owned()),
        ..Settings::default()
    };
    let sink = |name: &str, address: String| {
        format!(
            "[[sink]]\nname = \"{name}\"\nformat = \"jsonl\"\ntransport = \"tcp\"\naddress = \"{address}\"\n"
        )
    };
    let toml = settings.toml(lab);
    let toml = toml.replace("[hold]\n", "[hold]\nmax_ports = 2\n").replace(
        "[[pool]]\n",
        "[[pool]]\nfiltering = \"address-dependent\"\n",
    );
    let secret = lab.folder().join("radius.secret");
    std::fs::write(&secret, "xyzzy5461")?;
    std::fs::set_permissions(&secret, Permissions::from_mode(0o600))?;
    Ok(toml
        + &rules_and_mirrors(lab)?
        + FIXED
        + &tenant(lab)
        + &format!(
            "[identity]\nlisten = \"{RADIUS}\"\n[[identity.client]]\naddress = \"127.0.0.1\"\nsecret_file = \"{}\"\n",
            secret.display()
        )
        + &sink("live", collector.local_addr()?.to_string())
        + &sink("dead", "127.0.0.1:9".to_owned()))
}

/// A second realm, so that drops are counted by realm; nothing comes from there.
fn tenant(lab: &Lab) -> String {
    let (inside, _) = &lab.sides()[0];
    format!(
        "[[realm]]\nname = \"tenant\"\ninside = [{{ interface = \"{inside}\", vlan = [77] }}]\ntable = 100\n\
         [[subscribers]]\nrealm = \"tenant\"\nprefixes = [\"100.64.0.0/24\"]\npool = \"lab\"\n"
    )
}

/// A rule with a rate and one for the rest, a mirror that sends and one that can neither keep up nor send.
fn rules_and_mirrors(lab: &Lab) -> Result<String> {
    // To a collector that is not there, nothing is sent.
    lab.cgn.ip("route add unreachable 192.0.2.97\n")?;
    let mirror = |name: &str, collector: &str, rate: u32| {
        format!(
            "[[mirror]]\nname = \"{name}\"\nto = \"gre\"\ncollector = \"{collector}\"\nrate = {rate}\n"
        )
    };
    Ok(format!(
        "\n[[rule]]\nname = \"few\"\naction = \"permit\"\ndirection = \"out\"\nprotocol = \"udp\"\n\
         destination_ports = \"9\"\nrate = 1\n\
         [[rule]]\nname = \"all\"\naction = \"permit\"\ndirection = \"out\"\n{}{}",
        mirror("sends", "127.0.0.1", 10_000),
        mirror("misses", "192.0.2.97", 1)
    ))
}

/// A deterministic pool of 1,000 subscribers, which leaves 8 blocks for overflow.
const FIXED: &str = "
[[pool]]
name = \"fixed\"
addresses = [\"203.0.113.210\"]
block_ports = 64
mode = \"deterministic\"
dynamic_factor = 0
[[subscribers]]
prefixes = [\"100.127.0.0/23\", \"100.127.2.0/24\", \"100.127.3.0/25\", \"100.127.3.128/26\",
    \"100.127.3.192/27\", \"100.127.3.224/29\"]
pool = \"fixed\"
";

/// Three subscribers take all of the overflow.
fn overflow(lab: &Lab, daemon: &Daemon, moved: &mut Moved) -> Result<()> {
    let raw = RawSocket::open(&lab.subscribers[0])?;
    wait_until("overflow is used up", PATIENCE_SECS, || {
        for host in 1..=3 {
            for port in 1..=260 {
                let source = ([100, 127, 0, host].into(), 5000 + port);
                let to = (*SERVER.ip(), SERVER.port());
                raw.send(&Draft::udp(source, to).packet())?;
            }
        }
        moved.scrape(daemon)?;
        let name = "cgn_overflow_full_addresses";
        Ok(moved.0.contains(name).then_some(()))
    })
}

/// Translated packets of each protocol, two sessions of a mapping, a subscriber at its limit.
fn flows(lab: &Lab, daemon: &Daemon, echo: &UdpEcho, moved: &mut Moved) -> Result<()> {
    let host = &lab.subscribers[0];
    let tcp = TcpServer::start(&lab.internet, SERVER, 60.0)?;
    let mut stream = lab::connect(host, None, tcp.address(), PATIENCE_SECS)?;
    lab::converse(&mut stream, (1000, 1000), PATIENCE_SECS)?;
    let pings = lab::ping(host, address::subscriber(1, 9), *SERVER.ip(), 77, 2)?;
    ensure!(pings.received > 0, "no ping came back");
    let first = lab::echo_from(host, address::subscriber(1, 2))?;
    lab::exchange(&first, echo.address(), b"one", true, PATIENCE_SECS)?;
    lab::exchange(&first, OTHER, b"two", true, PATIENCE_SECS)?;
    for _ in 0..10 {
        first.send_to(b"over its rate", (*SERVER.ip(), 9))?;
    }
    // Twice 64 ports, and more that are refused.
    let sockets = (0..140)
        .map(|_| lab::echo_from(host, address::subscriber(1, 3)))
        .collect::<Result<Vec<UdpSocket>>>()?;
    for socket in &sockets {
        socket.send_to(b"many", SERVER)?;
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    moved.wait_for(
        daemon,
        &[
            "cgn_further_sessions",
            "cgn_mapping_overflow",
            "cgn_subscriber_ports_now",
            "cgn_sink_failures_total",
            "cgn_sink_connected",
            "cgn_sink_pending_records",
        ],
    )
}

/// A fragment that comes first, a packet to be fragmented, two that end here.
fn odd_packets(lab: &Lab, daemon: &Daemon, moved: &mut Moved) -> Result<()> {
    let raw = RawSocket::open(&lab.subscribers[0])?;
    let draft = |id: u16, payload: usize| {
        Draft::udp(
            (address::subscriber(1, 5), 6000),
            (*SERVER.ip(), SERVER.port()),
        )
        .with(|d| {
            d.dont_fragment = false;
            d.id = id;
            d.payload = vec![7; payload];
        })
    };
    let early = draft(1, 2000).fragments(1000);
    raw.send(&early[1][14..])?;
    moved.wait_for(daemon, &["cgn_fragments_held", "cgn_fragments_held_bytes"])?;
    raw.send(&early[0][14..])?;
    moved.wait_for(daemon, &["cgn_fragments_released_total"])?;
    lab.cgn.ip("link set outside mtu 1280\n")?;
    wait_until("the packet is split", PATIENCE_SECS, || {
        raw.send(&draft(2, 1400).packet())?;
        moved.scrape(daemon)?;
        Ok(moved.0.contains("cgn_packets_split_total").then_some(()))
    })?;
    lab.cgn.ip("link set outside mtu 1500\n")?;
    let short = lab::echo_from(&lab.subscribers[0], address::subscriber(1, 2))?;
    // One hop is the access router. More than `icmp.each_per_second` end here at once.
    short.set_ttl(2)?;
    for _ in 0..60 {
        short.send_to(b"short", SERVER)?;
    }
    // To the router itself.
    lab::ping(
        &lab.subscribers[0],
        address::subscriber(1, 9),
        address::CGN_INSIDE,
        78,
        1,
    )?;
    moved.wait_for(daemon, &["cgn_icmp_errors_sent_total", "cgn_passes_total"])?;
    // What the fast path withholds by itself is not in the figure; packets that come slowly are all
    // punted, and a blackhole route asks for silence.
    lab.cgn.ip("route add blackhole 192.0.2.99/32\n")?;
    let silent = SocketAddrV4::new([192, 0, 2, 99].into(), 7000);
    short.set_ttl(64)?;
    wait_until("an error is withheld", PATIENCE_SECS, || {
        short.send_to(b"silence", silent)?;
        moved.scrape(daemon)?;
        let name = "cgn_icmp_errors_withheld_total";
        Ok(moved.0.contains(name).then_some(()))
    })
}

/// A SYN from outside that nobody waits for is held.
fn an_unsolicited_syn(lab: &Lab, daemon: &Daemon, moved: &mut Moved) -> Result<()> {
    let syn = Draft::tcp(
        flag::SYN,
        (*SERVER.ip(), 7777),
        ([203, 0, 113, 77].into(), 4444),
    );
    RawSocket::open(&lab.internet)?.send(&syn.bytes()[14..])?;
    moved.wait_for(daemon, &["cgn_syns_held"])
}

/// An Accounting-Request with the secret `xyzzy5461`, made with hashlib of Python: a start of alice@example.net
/// at 100.64.0.5.
const REQUEST: &str = "042a006aef559fda6d3bcd57a19b70ba63cbc6bc210770726f78792806000000012c0a30303030303031370406c000021e0806644000050113616c696365406578616d706c652e6e65742906000000071a1a000028af0203780111303031303130313233343536373839";

/// An access server tells the name of a subscriber.
fn a_name(lab: &Lab, daemon: &Daemon, moved: &mut Moved) -> Result<()> {
    let pairs = (0..REQUEST.len()).step_by(2);
    let request: Result<Vec<u8>, _> = pairs
        .map(|at| u8::from_str_radix(&REQUEST[at..at + 2], 16))
        .collect();
    let socket = lab.cgn.within(|| Ok(UdpSocket::bind("127.0.0.1:0")?))?;
    socket.set_read_timeout(Some(Duration::from_secs(5)))?;
    socket.send_to(&request?, RADIUS)?;
    let answered = socket.recv(&mut [0; 64]);
    ensure!(answered.context("no answer")? == 27, "its length");
    moved.wait_for(daemon, &["cgn_identities", "cgn_identity_requests_total"])
}

/// Limits that a test reaches soon.
const GUARDS: &str = "
[guard]
unsolicited_per_second = 50
busy_percent = 1
busy_secs = 1
[throttle]
outside_host = 100
";

/// One host outside, and many, send what nobody waits for, and new subscribers keep the slow path busy.
fn floods(lab: &Lab, daemon: &Daemon, moved: &mut Moved) -> Result<()> {
    let raw = RawSocket::open(&lab.internet)?;
    let stray = |source| Draft::udp((source, 7777), ([203, 0, 113, 77].into(), 1)).packet();
    let names = [
        "cgn_unsolicited_packets_total",
        "cgn_attacked_addresses",
        "cgn_throttled_prefixes",
    ];
    wait_until("floods are seen", 20.0, || {
        for number in 0..200 {
            raw.send(&stray(*SERVER.ip()))?;
            raw.send(&stray([9, 9, number, 1].into()))?;
        }
        moved.scrape(daemon)?;
        Ok(names
            .iter()
            .all(|name| moved.0.contains(name))
            .then_some(()))
    })?;
    newcomers(lab, daemon, "cgn_put_off_ratio", moved)?;
    moved.wait_for(daemon, &["cgn_slow_path_busy_ratio"])
}

/// Packets wait for a neighbour that answers in the end.
fn a_silent_gateway(lab: &Lab, daemon: &Daemon, moved: &mut Moved) -> Result<()> {
    let gateway = address::PEER;
    lab.internet
        .ip(&format!("addr del {gateway}/30 dev uplink\n"))?;
    lab.cgn.ip(&format!("neigh del {gateway} dev outside\n"))?;
    let socket = lab::echo_from(&lab.subscribers[0], address::subscriber(1, 2))?;
    wait_until("packets wait", PATIENCE_SECS, || {
        socket.send_to(b"wait", SERVER)?;
        moved.scrape(daemon)?;
        let name = "cgn_neighbour_waiting_packets";
        Ok(moved.0.contains(name).then_some(()))
    })?;
    lab.internet.ip(&format!(
        "addr add {gateway}/30 dev uplink\nroute replace {} via {}\n",
        address::POOL,
        address::CGN_OUTSIDE
    ))?;
    moved.wait_for(daemon, &["cgn_punt_retries_total"])
}

/// Mappings and sessions end, ports and blocks are held, the log is sealed.
fn time_passes(daemon: &Daemon, moved: &mut Moved) -> Result<()> {
    daemon.advance_clock(7500)?;
    moved.wait_for(
        daemon,
        &[
            "cgn_mappings_expired_total",
            "cgn_further_sessions_expired_total",
            "cgn_pool_held_ports",
            "cgn_ports_unheld_total",
        ],
    )?;
    daemon.advance_clock(200)?;
    wait_until("no port is in hold", PATIENCE_SECS, || {
        let rows = daemon.blocks()?;
        let is_empty = |row: &cgn_user::api::rows::BlockRow| {
            row.ports_used.udp + row.ports_used.tcp + row.ports_used.icmp == 0
        };
        Ok(rows.iter().all(is_empty).then_some(()))
    })?;
    daemon.advance_clock(100)?;
    moved.wait_for(
        daemon,
        &["cgn_blocks_released_total", "cgn_log_sealed_files_total"],
    )
}

/// No record can be written: no block is given, nothing is sealed.
fn a_full_disk(lab: &Lab, daemon: &Daemon, disk: &Path, moved: &mut Moved) -> Result<()> {
    fill(disk)?;
    newcomers(lab, daemon, "cgn_log_refusing", moved)?;
    daemon
        .advance_clock(7200)
        .context("to the end of the hour, which cannot be sealed")?;
    moved.wait_for(
        daemon,
        &[
            "cgn_log_errors_total",
            "cgn_blocks_withdrawn_total",
            "cgn_log_seal_errors_total",
        ],
    )
}

/// New subscribers come until the metric moves.
fn newcomers(lab: &Lab, daemon: &Daemon, name: &str, moved: &mut Moved) -> Result<()> {
    let mut index = 0;
    wait_until(name, 20.0, || {
        for _ in 0..100 {
            lab::echo_from(&lab.subscribers[0], address::crowd(index))?.send_to(b"full", SERVER)?;
            index += 1;
        }
        moved.scrape(daemon)?;
        Ok(moved.0.contains(name).then_some(()))
    })
}

/// Subscribers of the test of a large scrape: a block each, all at once.
const CROWD: u32 = 100_000;

/// Requirement M-11: with 100,000 subscribers a scrape takes less than a second and has less than 5 MB; each
/// of them is told of by `cgn show subscribers`.
#[test]
fn a_scrape_with_a_hundred_thousand_subscribers_is_small_and_quick() {
    let name = "metrics::a_scrape_with_a_hundred_thousand_subscribers_is_small_and_quick";
    in_lab(name, &Plan::default(), |lab| {
        let settings = Settings {
            // 1,008 blocks in each.
            addresses: "\"203.0.113.128/25\"".to_owned(),
            max_blocks: Some(128 * 1008),
            blocks_per_subscriber: 1,
            log_sync: false,
            block_idle_secs: 3600,
            ..Settings::default()
        };
        let toml = settings.toml(lab).replace("100.64.0.0/16", "100.64.0.0/15");
        let daemon = Daemon::start_with(lab, &toml, &cgn_program()?, &[])?;
        let raw = RawSocket::open(&lab.subscribers[0])?;
        let first = u32::from_be_bytes([100, 64, 0, 0]);
        let seen = |page: &str| {
            value_of(
                page,
                "cgn_subscriber_ports_now_count{pool=\"lab\",protocol=\"udp\"}",
            )
        };
        wait_until("each subscriber has a block", 60.0, || {
            for number in 0..CROWD {
                let source = Ipv4Addr::from_bits(first + number);
                let to = (*SERVER.ip(), SERVER.port());
                raw.send(&Draft::udp((source, 6000), to).packet())?;
                // As many as the queue of punted packets takes.
                if number % 250 == 249 {
                    std::thread::sleep(Duration::from_millis(20));
                }
            }
            let page = daemon.metrics()?;
            Ok((value_of(&page, "cgn_subscribers") >= f64::from(CROWD)).then_some(()))
        })?;
        wait_until("a sweep saw all of them", 30.0, || {
            Ok((seen(&daemon.metrics()?) >= f64::from(CROWD)).then_some(()))
        })?;
        let began = Instant::now();
        let page = daemon.metrics()?;
        let took = began.elapsed();
        ensure!(took < Duration::from_secs(1), "it took {took:?}");
        ensure!(page.len() < 5_000_000, "{} bytes", page.len());
        ensure!(
            page.len() < 100_000,
            "{} bytes: does a label name them?",
            page.len()
        );
        let last = Ipv4Addr::from_bits(first + CROWD - 1).to_string();
        let mut command = lab.cgn.command(cgn_program()?);
        command.args(["show", "subscribers", "--json", "--subscriber", &last]);
        command.arg("--socket").arg(lab.folder().join("cgn.sock"));
        let row = run_to_end(&mut command, PATIENCE_SECS)?;
        ensure!(row.contains(&last), "{row}");
        Ok(())
    });
}

/// Value of a series on a page of metrics; 0 if it is not there.
fn value_of(page: &str, series: &str) -> f64 {
    let values = page
        .lines()
        .filter_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    values.filter_map(|value| value.parse::<f64>().ok()).sum()
}

/// How often the test's Prometheus scrapes.
const SCRAPE_SECS: u64 = 1;

#[test]
fn each_query_of_the_dashboard_has_an_answer_and_the_report_draws_it() {
    let name = "metrics::each_query_of_the_dashboard_has_an_answer_and_the_report_draws_it";
    if lacks_program(name, "prometheus") {
        return;
    }
    in_lab(name, &Plan::default(), |lab| {
        let settings = Settings {
            blocks_per_subscriber: 1,
            ..Settings::default()
        };
        let toml = settings.toml(lab) + &rules_and_mirrors(lab)? + &tenant(lab);
        let daemon = Daemon::start_with(lab, &toml, &cgn_program()?, &["--test-clock"])?;
        daemon.wait_for_mirrors()?;
        let (_prometheus, address) = start_prometheus(lab, &daemon)?;
        // It begins to scrape some seconds after its start.
        wait_until("the first scrape", 30.0, || {
            Ok(answered(lab, address, "up == 1", unix_secs()).ok())
        })?;
        let echo = UdpEcho::start(&lab.internet, SERVER)?;
        let tcp = TcpServer::start(&lab.internet, SERVER, 60.0)?;
        let host = &lab.subscribers[0];
        let mut stream = lab::connect(host, None, tcp.address(), PATIENCE_SECS)?;
        // Some seconds of traffic: new subscribers, some at their limit, some over a rate, and answers.
        let mut sockets = Vec::new();
        for round in 0..12 {
            for index in 0..20 {
                let socket = lab::echo_from(host, address::crowd(round * 20 + index))?;
                socket.send_to(b"crowd", echo.address())?;
                sockets.push(socket);
            }
            for _ in 0..8 {
                let socket = lab::echo_from(host, address::subscriber(1, 2))?;
                socket.send_to(b"one", echo.address())?;
                sockets.push(socket);
            }
            for socket in sockets.iter().rev().take(3) {
                socket.send_to(b"discard", (*SERVER.ip(), 9))?;
            }
            lab::converse(&mut stream, (10_000, 100_000), PATIENCE_SECS)?;
            std::thread::sleep(Duration::from_millis(500));
        }
        let request = Request {
            instance: ".*",
            until_secs: unix_secs(),
            period_secs: 60,
            // Windows of rates that are long enough on a busy machine.
            scrape_secs: 3 * SCRAPE_SECS,
        };
        let mut unanswered = BTreeMap::new();
        for panel in dashboard::panels() {
            let Panel::Plot(plot) = panel else { continue };
            for query in &plot.queries {
                let query = request.fill_in(&query.expression);
                if let Err(error) = answered(lab, address, &query, request.until_secs) {
                    unanswered.insert(query, format!("{}: {error:#}", plot.title));
                }
            }
        }
        ensure!(unanswered.is_empty(), "{unanswered:#?}");
        let file = lab.folder().join("report.html");
        let mut command = lab.cgn.command(cgn_program()?);
        command
            .args(["report", "--minutes", "1", "--scrape-secs", "3"])
            .args(["--prometheus", &address.to_string(), "--output"])
            .arg(&file);
        run_to_end(&mut command, 60.0)?;
        let page = std::fs::read_to_string(&file)?;
        let plots = page.matches("<svg").count();
        let lines = page.matches("<polyline").count();
        ensure!(plots >= 16 && lines > 60, "{plots} plots, {lines} lines");
        ensure!(!page.contains("nothing in this period"), "{page}");
        if let Some(copy) = std::env::var_os("CGN_REPORT") {
            std::fs::copy(&file, copy)?;
        }
        Ok(())
    });
}

/// A Prometheus of the distribution, with the shipped alerts, that scrapes the daemon.
fn start_prometheus(lab: &Lab, daemon: &Daemon) -> Result<(Process, SocketAddr)> {
    let alerts = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../deploy/prometheus/alerts.yml"
    );
    let file = lab.folder().join("prometheus.yml");
    std::fs::write(
        &file,
        format!(
            "global:\n  scrape_interval: {SCRAPE_SECS}s\nrule_files: [{alerts}]\n\
             scrape_configs:\n  - job_name: cgn\n    static_configs: [{{targets: ['{}']}}]\n",
            daemon.metrics_address()
        ),
    )?;
    let address: SocketAddr = "127.0.0.1:9090".parse()?;
    let mut command = lab.cgn.command("prometheus");
    command
        .arg(format!("--config.file={}", file.display()))
        .arg(format!(
            "--storage.tsdb.path={}",
            lab.folder().join("tsdb").display()
        ))
        .arg(format!("--web.listen-address={address}"));
    let log = lab.folder().join("prometheus.log");
    let mut process = Process::start("prometheus", &mut command, &log)?;
    process.wait_for_output("Server is ready to receive web requests", 30.0)?;
    Ok((process, address))
}

/// Asks Prometheus itself, not our own client, of a moment: at least one value that is a number.
fn answered(lab: &Lab, address: SocketAddr, query: &str, at_secs: u64) -> Result<()> {
    let mut command = lab.cgn.command("curl");
    command
        .args(["--silent", "--fail-with-body", "--data-urlencode"])
        .arg(format!("query={query}"))
        .args(["--data-urlencode", &format!("time={at_secs}")])
        .arg(format!("http://{address}/api/v1/query"));
    let text = run_to_end(&mut command, 10.0)?;
    let answer: serde_json::Value = serde_json::from_str(&text)?;
    let results = answer["data"]["result"].as_array();
    let results = results.with_context(|| format!("it answered {text}"))?;
    let is_number = |result: &serde_json::Value| {
        let value = result["value"][1].as_str().unwrap_or_default();
        value.parse().is_ok_and(f64::is_finite)
    };
    ensure!(results.iter().any(is_number), "it answered {text}");
    Ok(())
}

fn unix_secs() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| now.as_secs())
}
