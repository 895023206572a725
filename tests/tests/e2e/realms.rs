//! Realms: three hosts with one address, on three interfaces, with routes in tables of their own.

use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, UdpSocket};
use std::process::Command;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use cgn_common::wire::transport::flag;
use cgn_tests::lab::{
    self, Daemon, Lab, Namespace, PingWatch, Plan, Settings, TcpServer, UdpEcho, address,
    cgn_program, run_to_end, wait_until,
};
use cgn_tests::packets::Draft;
use cgn_user::maplog::Event;
use serde_json::Value;

use crate::floods::send;
use crate::{PATIENCE_SECS, SERVER, in_lab};

/// The address that all of them have.
pub(crate) const HOME: Ipv4Addr = address::subscriber(1, 2);
/// The CGN for the host that is on its own link.
const CGN_CLOUD: Ipv4Addr = address::subscriber(1, 1);

/// Longer than the timer of UDP.
const OVER_SECS: u32 = 320;

/// Name of each realm, and the addresses of its pool, by the last byte.
const REALMS: [(&str, &[u8]); 3] = [
    ("", &[0, 1, 2, 3, 4, 5, 6, 7, 77]),
    ("mvno", &[100, 101]),
    ("cloud", &[100, 101]),
];

/// One host behind a router of its realm, one on the CGN's own link. Neither knows of the other, nor
/// of the host behind `inside`.
pub(crate) fn connect(lab: &Lab) -> Result<()> {
    for (host, name) in lab.subscribers[1..].iter().zip(["mvno", "cloud"]) {
        lab.cgn.ip(&format!(
            "link add name {name} type veth peer name {name} netns {}\nlink set {name} up\n",
            host.name()
        ))?;
        host.ip(&format!("link set {name} up\n"))?;
        for namespace in [&lab.cgn, host] {
            let features = ["tx", "off", "tso", "off", "gso", "off", "gro", "on"];
            namespace.set_features(name, &features)?;
        }
    }
    let (mvno, cloud) = (&lab.subscribers[1], &lab.subscribers[2]);
    lab.cgn.ip(&format!(
        "addr add 10.99.0.1/30 dev mvno\nroute add 100.64.0.0/16 via 10.99.0.2 dev mvno table 100\n\
         addr add {CGN_CLOUD}/32 dev cloud\nroute add 100.64.1.0/24 dev cloud table 200\n"
    ))?;
    mvno.ip(&format!(
        "addr add 10.99.0.2/30 dev mvno\naddr add {HOME}/32 dev lo\n\
         route replace default via 10.99.0.1 dev mvno src {HOME}\n"
    ))?;
    cloud.ip(&format!(
        "addr add {HOME}/24 dev cloud\nroute replace default via {CGN_CLOUD} dev cloud\n"
    ))
}

pub(crate) fn configuration(lab: &Lab, settings: &Settings) -> String {
    settings.toml(lab)
        + "[[realm]]\nname = \"mvno\"\ninside = [{ interface = \"mvno\" }]\ntable = 100\n\
           [[realm]]\nname = \"cloud\"\ninside = [{ interface = \"cloud\" }]\ntable = 200\n\
           [[pool]]\nname = \"other\"\naddresses = [\"203.0.113.100/31\"]\nblock_ports = 64\n\
           [[subscribers]]\nrealm = \"mvno\"\nprefixes = [\"100.64.0.0/16\"]\npool = \"other\"\n\
           [[subscribers]]\nrealm = \"cloud\"\nprefixes = [\"100.64.1.0/24\"]\npool = \"other\"\n\
           [[group]]\nname = \"small\"\nrealm = \"cloud\"\nprefixes = [\"100.64.0.0/16\"]\nudp_mappings = 40\n"
}

#[test]
fn three_hosts_with_one_address_are_three_subscribers() {
    let name = "realms::three_hosts_with_one_address_are_three_subscribers";
    in_lab(name, &plan(), |lab| converse(lab, &Settings::default()));
}

#[test]
fn also_where_everything_goes_by_the_slow_path() {
    let settings = Settings {
        force_slow_path: true,
        ..Settings::default()
    };
    let name = "realms::also_where_everything_goes_by_the_slow_path";
    in_lab(name, &plan(), |lab| converse(lab, &settings));
}

pub(crate) fn plan() -> Plan<'static> {
    Plan {
        subscribers: 3,
        ..Plan::default()
    }
}

fn converse(lab: &Lab, settings: &Settings) -> Result<()> {
    connect(lab)?;
    let toml = configuration(lab, settings);
    let program = cgn_program()?;
    let mut daemon = Daemon::start_with(lab, &toml, &program, &["--test-clock"])?;
    let echo = UdpEcho::start(&lab.internet, SERVER)?;
    let tcp = TcpServer::start(&lab.internet, SERVER, PATIENCE_SECS)?;
    let watch = PingWatch::start(&lab.internet)?;
    let mut flows = Vec::new();
    for (host, (realm, pool)) in lab.subscribers.iter().zip(REALMS) {
        let socket = lab::echo_from(host, HOME)?;
        let seen = lab::exchange(
            &socket,
            echo.address(),
            realm.as_bytes(),
            true,
            PATIENCE_SECS,
        )
        .with_context(|| format!("the first packet of realm {realm:?}"))?;
        ensure!(pool.contains(&seen.ip().octets()[3]), "{realm:?}: {seen}");
        flows.push((socket, seen, host));
    }
    for ((socket, seen, host), (realm, _)) in flows.iter().zip(REALMS) {
        let again = lab::exchange(socket, echo.address(), b"again", false, PATIENCE_SECS)?;
        ensure!(again == *seen, "{realm:?}: {seen} became {again}");
        let bytes = 100_000;
        let moved = lab::transfer(host, None, tcp.address(), (bytes, bytes), PATIENCE_SECS)?;
        ensure!(moved.seen.ip() == seen.ip(), "{realm:?}: {:?}", moved.seen);
        let outcome = lab::ping(host, HOME, address::SERVERS[1], 11, 2)?;
        ensure!(
            outcome.received == 2,
            "{realm:?}: {} of 2 pings",
            outcome.received
        );
        let pinged = watch.seen(&outcome.tag).context("no request was seen")?;
        ensure!(pinged.ip() == seen.ip(), "{realm:?}: pinged from {pinged}");
    }
    between(&flows)?;
    for ((_, seen, _), (realm, _)) in flows.iter().zip(REALMS) {
        told_apart(&daemon, *seen, realm)?;
    }
    lists_and_explains(&daemon)?;
    // Another daemon takes all over, and repairs nothing.
    daemon.process().kill();
    daemon = Daemon::start_with(lab, &toml, &program, &["--test-clock"])?;
    for (socket, seen, _) in &flows {
        let again = lab::exchange(socket, echo.address(), b"later", false, PATIENCE_SECS)?;
        ensure!(again == *seen, "{seen} became {again}");
    }
    let found = daemon.status()?.reconciliation;
    ensure!(
        (found.repaired, found.orphaned, found.incomplete) == (0, 0, 0),
        "{found:?}"
    );
    Ok(())
}

/// `throttle.inside_host`: a worm in one realm is limited there and named with it; who has his address
/// elsewhere opens as before.
#[test]
fn a_worm_is_limited_in_its_realm_and_named_with_it() {
    let name = "realms::a_worm_is_limited_in_its_realm_and_named_with_it";
    in_lab(name, &plan(), |lab| {
        connect(lab)?;
        let (collector, of_cloud) = (Collector::start(lab)?, Collector::start(lab)?);
        let ipfix = lab.cgn.within(|| Ok(UdpSocket::bind("127.0.0.1:0")?))?;
        ipfix.set_read_timeout(Some(Duration::from_secs_f64(PATIENCE_SECS)))?;
        // So long that within the test the limit does not give way.
        let toml = configuration(lab, &Settings::default())
            + "[throttle]\ninside_host = 40\nlimit_secs = 3600\n"
            + &collector.sink("all", "")?
            + &of_cloud.sink("cloud", "realms = [\"cloud\"]\n")?
            + &format!(
                "[[sink]]\nname = \"ipfix\"\nformat = \"ipfix\"\ntransport = \"udp\"\naddress = \"{}\"\nrealms = [\"cloud\"]\n",
                ipfix.local_addr()?
            );
        let daemon = Daemon::start_with(lab, &toml, &cgn_program()?, &["--test-clock"])?;
        let echo = UdpEcho::start(&lab.internet, SERVER)?;
        for host in &lab.subscribers {
            let socket = lab::echo_from(host, HOME)?;
            lab::exchange(&socket, echo.address(), b"before", true, PATIENCE_SECS)?;
        }
        // It is told what its number stands for, the first time that there is a realm; of others nothing.
        let named = |name: &str, bytes: &[u8]| {
            bytes
                .windows(name.len())
                .any(|part| part == name.as_bytes())
        };
        loop {
            let mut buffer = [0; 2048];
            let length = ipfix.recv(&mut buffer).context("no name of the realm")?;
            let bytes = &buffer[..length];
            ensure!(!named("mvno", bytes), "{bytes:?}");
            if named("cloud", bytes) {
                break;
            }
        }
        let never = AtomicBool::new(false);
        let victim = |number: u64| {
            let to = (address::SERVERS[2], 445);
            Draft::tcp(flag::SYN, (HOME, 2000 + number as u16), to).packet()
        };
        let mvno = &lab.subscribers[1];
        let sent = send(mvno, 2000, Duration::from_secs(2), &never, victim)?;
        let limited = daemon.count_of("throttled")?;
        ensure!(limited > sent / 2, "{limited} of {sent} were refused");
        wait_until("the host is named", PATIENCE_SECS, || {
            let told = daemon.status()?.throttled;
            Ok((told == [format!("inside mvno/{HOME}/32")]).then_some(()))
        })?;
        let socket = daemon.socket().display().to_string();
        for (realm, verdict) in [("mvno", "drop"), ("cloud", "translate")] {
            let packet = format!("udp {HOME}:9 > {}:53", address::SERVERS[0]);
            let mut command = Command::new(cgn_program()?);
            command.args([
                "explain", &packet, "--realm", realm, "--json", "--socket", &socket,
            ]);
            let said = command.output()?.stdout;
            let explained: Value = serde_json::from_slice(&said)?;
            ensure!(explained["verdict"] == verdict, "{realm}: {explained}");
        }
        for (host, (realm, _)) in lab.subscribers.iter().zip(REALMS) {
            if realm == "mvno" {
                continue;
            }
            for number in 0..10 {
                let socket = lab::echo_from(host, HOME)?;
                lab::exchange(&socket, echo.address(), b"other", false, PATIENCE_SECS)
                    .with_context(|| format!("flow {number} of realm {realm:?}"))?;
            }
        }
        let told = collector.lines_to("notice", |line| line["kind"] == "prefix_throttled")?;
        let notice = &told[told.len() - 1];
        ensure!(
            notice["realm"] == "mvno" && notice["prefix"] == HOME.to_string(),
            "{notice}"
        );
        // The tenant's collector got his records, and where they end, and nothing of others.
        ensure!(daemon.stop()?.success(), "the daemon ended badly");
        let told = of_cloud.lines_to("the stop", |line| line["kind"] == "stop")?;
        let allocations = told.iter().filter(|line| line["kind"] == "allocate");
        ensure!(allocations.count() >= 1, "{told:?}");
        let whole_log = |line: &Value| line["inside"].is_null() && line["prefix"].is_null();
        ensure!(
            told.iter()
                .all(|line| whole_log(line) || line["realm"] == "cloud"),
            "{told:?}"
        );
        Ok(())
    });
}

/// Deterministic pools, one for each realm: static ports without a record, which `cgn map` and `cgn log`
/// compute for the realm that is named.
#[test]
fn static_ports_are_those_of_the_realm() {
    let name = "realms::static_ports_are_those_of_the_realm";
    in_lab(name, &plan(), |lab| {
        connect(lab)?;
        // 256 subscribers on one address, and a share for overflow: 64512 / 257 are 3 blocks of 64 each.
        let pool = |name: &str, external: &str| {
            format!(
                "[[pool]]\nname = \"{name}\"\naddresses = [\"{external}\"]\nblock_ports = 64\nmode = \"deterministic\"\n"
            )
        };
        let toml = configuration(lab, &Settings::default())
            .replace(
                "mvno\"\nprefixes = [\"100.64.0.0/16\"]",
                "mvno\"\nprefixes = [\"100.64.1.0/24\"]",
            )
            .replacen("pool = \"other\"", "pool = \"of-mvno\"", 1)
            .replacen("pool = \"other\"", "pool = \"of-cloud\"", 1)
            + &pool("of-mvno", "203.0.113.110")
            + &pool("of-cloud", "203.0.113.111");
        let program = cgn_program()?;
        let mut daemon = Daemon::start_with(lab, &toml, &program, &["--test-clock"])?;
        let echo = UdpEcho::start(&lab.internet, SERVER)?;
        let first_port = 1024 + u16::from(HOME.octets()[3]) * 3 * 64;
        let mut flows = Vec::new();
        for (number, realm) in [(1, "mvno"), (2, "cloud")] {
            let socket = lab::echo_from(&lab.subscribers[number], HOME)?;
            let hello = realm.as_bytes();
            let seen = lab::exchange(&socket, echo.address(), hello, true, PATIENCE_SECS)?;
            let external = Ipv4Addr::new(203, 0, 113, 109 + number as u8);
            ensure!(*seen.ip() == external, "{realm}: {seen}");
            let share = first_port..first_port + 3 * 64;
            ensure!(
                share.contains(&seen.port()),
                "{realm}: {seen}, not of {share:?}"
            );
            told_apart(&daemon, seen, realm)?;
            mapped(lab, &daemon, seen, (realm, first_port))?;
            flows.push((socket, seen));
        }
        let records = daemon.log_records()?.into_iter();
        let given = records.filter(|record| matches!(record.entry.event, Event::Allocate(_)));
        ensure!(given.count() == 0, "static ports are on record");
        daemon.process().kill();
        daemon = Daemon::start_with(lab, &toml, &program, &["--test-clock"])?;
        for (socket, seen) in &flows {
            let again = lab::exchange(socket, echo.address(), b"later", false, PATIENCE_SECS)?;
            ensure!(again == *seen, "{seen} became {again}");
        }
        let found = daemon.status()?.reconciliation;
        ensure!(
            (found.identical, found.repaired, found.incomplete) == (2, 0, 0),
            "{found:?}"
        );
        Ok(())
    });
}

/// A second server.
const OTHER: SocketAddrV4 = SocketAddrV4::new(address::SERVERS[1], 7000);

/// Two tenants have a server each that sees their own address, which is the same; answers reach the right one.
#[test]
fn what_bypasses_in_a_realm_comes_back_to_it() {
    let name = "realms::what_bypasses_in_a_realm_comes_back_to_it";
    in_lab(name, &plan(), |lab| {
        connect(lab)?;
        let back = address::CGN_OUTSIDE;
        lab.internet
            .ip(&format!("route add 100.64.0.0/16 via {back}\n"))?;
        let rule = |realm: &str, server: SocketAddrV4| {
            format!(
                "[[rule]]\nname = \"of-{realm}\"\naction = \"bypass\"\ndirection = \"out\"\nrealm = \"{realm}\"\n\
                 destination = [\"{}/32\"]\nprotocol = \"udp\"\n",
                server.ip()
            )
        };
        let echoes = [SERVER, OTHER].map(|server| UdpEcho::start(&lab.internet, server));
        let [first, second] = echoes;
        let (first, second) = (first?, second?);
        for force_slow_path in [false, true] {
            let settings = Settings {
                force_slow_path,
                ..Settings::default()
            };
            let rules = rule("mvno", SERVER) + &rule("cloud", OTHER);
            let toml = configuration(lab, &settings) + &rules;
            let daemon = Daemon::start_with(lab, &toml, &cgn_program()?, &["--test-clock"])?;
            for (host, (realm, _)) in lab.subscribers.iter().zip(REALMS) {
                for (server, own) in [(&first, "mvno"), (&second, "cloud")] {
                    let socket = lab::echo_from(host, HOME)?;
                    let seen = lab::exchange(
                        &socket,
                        server.address(),
                        realm.as_bytes(),
                        true,
                        PATIENCE_SECS,
                    )
                    .with_context(|| format!("{realm:?} to {own}'s server"))?;
                    ensure!(
                        (*seen.ip() == HOME) == (realm == own),
                        "forced {force_slow_path}: {realm:?} was seen as {seen} by {own}'s server"
                    );
                }
            }
            let (packet, socket) = (format!("udp {HOME}:9 > {SERVER}"), daemon.socket());
            let mut command = Command::new(cgn_program()?);
            command.args(["explain", &packet, "--realm", "mvno", "--json", "--socket"]);
            let explained = run_to_end(command.arg(socket), PATIENCE_SECS)?;
            let explained: Value = serde_json::from_str(&explained)?;
            ensure!(
                explained["verdict"] == "bypass"
                    && explained["answer"]["verdict"] == "bypass"
                    && explained["answer"]["sent"]["interface"] == "mvno",
                "{explained}"
            );
            ensure!(daemon.stop()?.success(), "it ended badly");
            let mut detach = Command::new(cgn_program()?);
            let file = lab.folder().join("cgn.toml");
            run_to_end(detach.args(["detach", "--config"]).arg(file), PATIENCE_SECS)?;
        }
        Ok(())
    });
}

/// `cgn map` says so both ways, from the configuration and from the log's records; of the first realm,
/// whose pool is dynamic, nothing.
fn mapped(
    lab: &Lab,
    daemon: &Daemon,
    seen: SocketAddrV4,
    (realm, first_port): (&str, u16),
) -> Result<()> {
    let file = lab.folder().join("cgn.toml").display().to_string();
    let root = daemon.log().display().to_string();
    let (home, asked) = (HOME.to_string(), seen.to_string());
    for source in [["--config", &file], ["--dir", &root]] {
        let ask = |arguments: &[&str]| -> Result<Value> {
            let mut command = Command::new(cgn_program()?);
            command.arg("map").args(arguments).args(source);
            Ok(serde_json::from_slice(
                &command.arg("--json").output()?.stdout,
            )?)
        };
        let forward = ask(&["forward", &home, "--realm", realm])?;
        ensure!(
            forward["external"] == seen.ip().to_string()
                && forward["first_port"] == first_port
                && forward["realm"] == realm,
            "{forward}"
        );
        let reverse = ask(&["reverse", &asked])?;
        ensure!(
            reverse["inside"] == home && reverse["realm"] == realm,
            "{reverse}"
        );
        let first = ask(&["forward", &home])?;
        ensure!(first.is_null(), "of the first realm: {first}");
    }
    Ok(())
}

/// `log.mode`: three flows of equal endpoints to one destination are three sessions, each of its realm.
#[test]
fn sessions_on_record_are_those_of_their_realm() {
    let name = "realms::sessions_on_record_are_those_of_their_realm";
    in_lab(name, &plan(), |lab| {
        connect(lab)?;
        let toml = configuration(lab, &Settings::default())
            .replace("[log]\n", "[log]\nmode = \"session_with_destination\"\n")
            .replace(
                "udp_mappings = 40\n",
                "udp_mappings = 40\nlog = \"session\"\n",
            );
        let daemon = Daemon::start_with(lab, &toml, &cgn_program()?, &["--test-clock"])?;
        let echo = UdpEcho::start(&lab.internet, SERVER)?;
        for (host, (realm, _)) in lab.subscribers.iter().zip(REALMS) {
            let socket = lab::echo_from(host, HOME)?;
            let hello = realm.as_bytes();
            let seen = lab::exchange(&socket, echo.address(), hello, true, PATIENCE_SECS)
                .with_context(|| format!("the first packet of realm {realm:?}"))?;
            let (asked, root) = (seen.to_string(), daemon.log().display().to_string());
            let who = [
                "log", "who", &asked, "--proto", "udp", "--skew", "5", "--dir", &root,
            ];
            // Of the group in "cloud" mappings are logged, without the destination.
            let remote = match realm {
                "cloud" => String::new(),
                _ => echo.address().to_string(),
            };
            wait_until("its session on record", 10.0, || {
                let answer = said(&who)?;
                let Some(session) = answer[0]["sessions"].get(0) else {
                    return Ok(None);
                };
                ensure!(
                    session["realm"].as_str().unwrap_or("") == realm
                        && session["subscriber"] == HOME.to_string()
                        && session["remote"] == remote,
                    "{realm:?}: {answer}"
                );
                Ok(Some(()))
            })?;
        }
        daemon.advance_clock(OVER_SECS)?;
        let closed =
            wait_until("three that ended", 10.0, || {
                let closed = daemon.log_records()?.into_iter().filter_map(|record| {
                    match record.entry.event {
                        Event::Close(session) => Some((session.realm, session.inside)),
                        _ => None,
                    }
                });
                let mut closed: Vec<_> = closed.collect();
                closed.sort_unstable();
                Ok((closed.len() >= 3).then_some(closed))
            })?;
        ensure!(closed == [0, 1, 2].map(|realm| (realm, HOME)), "{closed:?}");
        Ok(())
    });
}

/// A datagram to the external endpoint of each reaches him, from both others, by its hairpin. (What
/// XDP sends back on a veth wakes only a peer with a program.)
fn between(flows: &[(UdpSocket, SocketAddrV4, &Namespace)]) -> Result<()> {
    for (from, sender, _) in flows {
        for (to, receiver, _) in flows.iter().filter(|(_, other, _)| other != sender) {
            let text = format!("{sender} to {receiver}");
            from.send_to(text.as_bytes(), receiver)?;
            let mut buffer = [0; 64];
            to.set_read_timeout(Some(Duration::from_secs_f64(PATIENCE_SECS)))?;
            let (length, seen) = to.recv_from(&mut buffer).context(text.clone())?;
            ensure!(buffer[..length] == *text.as_bytes(), "{text}");
            ensure!(seen == (*sender).into(), "{text}: seen as {seen}");
        }
    }
    Ok(())
}

/// Packets of a realm that were dropped for a reason, by `cgn show drops`.
pub(crate) fn dropped(daemon: &Daemon, realm: &str, reason: &str) -> Result<u64> {
    let socket = daemon.socket().display().to_string();
    let mut command = Command::new(cgn_program()?);
    command.args([
        "show", "drops", "--realm", realm, "--json", "--socket", &socket,
    ]);
    let said: Value = serde_json::from_str(&run_to_end(&mut command, PATIENCE_SECS)?)?;
    let rows = said["rows"].as_array().context("no rows")?;
    let mut fitting = rows.iter().filter(|row| row["reason"] == reason);
    let count = |row: &Value| row["fast_path"].as_u64().zip(row["slow_path"].as_u64());
    match fitting.next() {
        Some(row) => Ok(count(row)
            .map(|(fast, slow)| fast + slow)
            .context("no count")?),
        None => Ok(0),
    }
}

/// What a rule of a tenant's group denies, and what comes for a tenant's port and finds no mapping, is
/// counted for the tenant, and for nobody who has the same address.
#[test]
fn drops_are_counted_for_the_tenant() {
    let name = "realms::drops_are_counted_for_the_tenant";
    in_lab(name, &plan(), |lab| {
        connect(lab)?;
        for force_slow_path in [false, true] {
            let settings = Settings {
                force_slow_path,
                ..Settings::default()
            };
            let toml = configuration(lab, &settings)
                + &format!(
                    "[[rule]]\nname = \"small\"\naction = \"deny\"\ndirection = \"out\"\ngroup = \"small\"\n\
                     destination = [\"{}/32\"]\n",
                    OTHER.ip()
                );
            let daemon = Daemon::start_with(lab, &toml, &cgn_program()?, &["--test-clock"])?;
            let echo = UdpEcho::start(&lab.internet, SERVER)?;
            let denied = UdpEcho::start(&lab.internet, OTHER)?;
            for (host, (realm, _)) in lab.subscribers.iter().zip(REALMS) {
                let what = || format!("forced {force_slow_path}, realm {realm:?}");
                let socket = lab::echo_from(host, HOME)?;
                let hello = realm.as_bytes();
                let seen = lab::exchange(&socket, echo.address(), hello, true, PATIENCE_SECS)
                    .with_context(what)?;
                match realm {
                    "cloud" => {
                        for _ in 0..3 {
                            socket.send_to(b"denied", OTHER)?;
                        }
                    }
                    _ => {
                        let to = denied.address();
                        lab::exchange(&socket, to, hello, true, PATIENCE_SECS)
                            .with_context(what)?;
                    }
                }
                // Another port of his block, without a mapping.
                let beside = SocketAddrV4::new(*seen.ip(), seen.port() ^ 1);
                echo.send(beside, b"for nobody")?;
                wait_until("the drops of the realm", PATIENCE_SECS, || {
                    let unasked = dropped(&daemon, realm, "no_mapping")?;
                    let denied = dropped(&daemon, realm, "access_denied")?;
                    Ok(
                        (unasked >= 1 && denied == [0, 3][usize::from(realm == "cloud")])
                            .then_some(()),
                    )
                })
                .with_context(what)?;
            }
            let page = daemon.metrics()?;
            for (realm, least) in [("[inside]", 1), ("mvno", 1), ("cloud", 4)] {
                let series = format!("cgn_realm_drops_total{{realm=\"{realm}\"}} ");
                let mut lines = page.lines().filter_map(|line| line.strip_prefix(&series));
                let count: u64 = lines.next().with_context(|| series.clone())?.parse()?;
                ensure!(count >= least, "{realm}: {count} packets");
            }
            names_whose_rule_it_is(&daemon)?;
            ensure!(daemon.stop()?.success(), "it ended badly");
            crate::restart::detach(lab)?;
        }
        Ok(())
    });
}

/// Realm and group of the rule that denies, in `cgn show rules` and in `cgn explain`.
fn names_whose_rule_it_is(daemon: &Daemon) -> Result<()> {
    let rows = daemon.rules()?;
    let [row] = &rows[..] else {
        anyhow::bail!("{rows:?}");
    };
    ensure!(
        row.realm.as_deref() == Some("cloud") && row.group.as_deref() == Some("small"),
        "{row:?}"
    );
    ensure!(row.packets == 3, "{row:?}");
    let (packet, socket) = (format!("udp {HOME}:9 > {OTHER}"), daemon.socket());
    let mut command = Command::new(cgn_program()?);
    command.args(["explain", &packet, "--realm", "cloud", "--socket"]);
    let told = run_to_end(command.arg(socket), PATIENCE_SECS)?;
    let rule = "rule small (out, deny, realm cloud, group small) is the first";
    ensure!(told.contains(rule), "{told}");
    Ok(())
}

/// The log names realm and address, both ways.
fn told_apart(daemon: &Daemon, seen: SocketAddrV4, realm: &str) -> Result<()> {
    let (asked, root) = (seen.to_string(), daemon.log().display().to_string());
    let who = ["log", "who", &asked, "--proto", "udp", "--dir", &root];
    let answer = said(&who)?;
    let [holding] = &answer[0]["holdings"].as_array().context("no holdings")?[..] else {
        anyhow::bail!("{seen}: {answer}");
    };
    let named = holding["realm"].as_str().unwrap_or("");
    ensure!(
        answer[0]["outcome"] == "one" && named == realm,
        "{seen}: {answer}"
    );
    ensure!(
        holding["subscriber"] == HOME.to_string(),
        "{seen}: {answer}"
    );
    let home = HOME.to_string();
    let had = ["log", "subscriber", &home, "--realm", realm, "--dir", &root];
    let answer = said(&had)?;
    let holdings = answer["holdings"].as_array().context("no holdings")?;
    let external = seen.ip().to_string();
    ensure!(
        !holdings.is_empty() && holdings.iter().all(|one| one["external"] == external),
        "{realm:?}: {answer}"
    );
    Ok(())
}

/// Takes the log as lines of JSON.
struct Collector(TcpListener);

impl Collector {
    fn start(lab: &Lab) -> Result<Self> {
        let bind = || Ok(TcpListener::bind("127.0.0.1:0")?);
        Ok(Self(lab.cgn.within(bind)?))
    }

    /// The section that has it sent here, with `more` keys.
    fn sink(&self, name: &str, more: &str) -> Result<String> {
        let address = self.0.local_addr()?;
        Ok(format!(
            "[[sink]]\nname = \"{name}\"\nformat = \"jsonl\"\ntransport = \"tcp\"\naddress = \"{address}\"\n{more}"
        ))
    }

    /// The lines of the first connection, up to the one that is looked for.
    fn lines_to(&self, what: &str, is_it: impl Fn(&Value) -> bool) -> Result<Vec<Value>> {
        let (stream, _) = self.0.accept()?;
        stream.set_read_timeout(Some(Duration::from_secs_f64(PATIENCE_SECS)))?;
        let mut lines = Vec::new();
        for line in BufReader::new(stream).lines() {
            let line = line.with_context(|| format!("{what} is not among {lines:?}"))?;
            let line: Value = serde_json::from_str(&line)?;
            let is_last = is_it(&line);
            lines.push(line);
            if is_last {
                return Ok(lines);
            }
        }
        anyhow::bail!("{what} is not among {lines:?}")
    }
}

fn said(arguments: &[&str]) -> Result<Value> {
    let mut command = Command::new(cgn_program()?);
    command.args(arguments).args(["--format", "json"]);
    Ok(serde_json::from_str(&run_to_end(
        &mut command,
        PATIENCE_SECS,
    )?)?)
}

fn lists_and_explains(daemon: &Daemon) -> Result<()> {
    let mut realms: Vec<String> = daemon
        .subscribers()?
        .into_iter()
        .filter(|row| row.inside == HOME)
        .map(|row| row.realm)
        .collect();
    realms.sort();
    ensure!(realms == ["", "cloud", "mvno"], "{realms:?}");
    let socket = daemon.socket().display().to_string();
    let shown = |arguments: &[&str]| -> Result<Value> {
        let mut command = Command::new(cgn_program()?);
        command
            .args(arguments)
            .args(["--json", "--socket", &socket]);
        Ok(serde_json::from_str(&run_to_end(
            &mut command,
            PATIENCE_SECS,
        )?)?)
    };
    let home = HOME.to_string();
    for (realm, interface) in [("mvno", "mvno"), ("cloud", "cloud")] {
        let one = shown(&["subscriber", &home, "--realm", realm])?;
        ensure!(one["subscriber"]["realm"] == realm, "{one}");
        ensure!(one["subscriber"]["pool"] == "other", "{one}");
        let group = if realm == "cloud" {
            "small".into()
        } else {
            Value::Null
        };
        ensure!(one["subscriber"]["group"] == group, "{one}");
        let mappings = shown(&["lookup", &home, "--realm", realm])?;
        let rows = mappings["rows"].as_array().context("no rows")?;
        ensure!(
            !rows.is_empty() && rows.iter().all(|row| row["realm"] == realm),
            "{mappings}"
        );
        let packet = format!("udp {home}:9 > {}:53", address::SERVERS[0]);
        let explained = shown(&["explain", &packet, "--realm", realm])?;
        ensure!(explained["verdict"] == "translate", "{explained}");
        ensure!(explained["interface"] == interface, "{explained}");
        ensure!(
            explained["answer"]["sent"]["interface"] == interface,
            "{explained}"
        );
    }
    Ok(())
}
