//! ICMP errors of the CGN's own, as Debian's programs and the kernels of the hosts see them.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use cgn_tests::lab::{
    self, Daemon, Lab, Namespace, Plan, Settings, TcpServer, UdpEcho, address, cgn_program,
    run_to_end, wait_until,
};

use crate::{PATIENCE_SECS, SERVER, in_lab, lacks_program};

/// How long a program may take.
const PROGRAM_SECS: f64 = 30.0;
/// The access router, as the first subscriber's network sees it.
const FIRST_HOP: Ipv4Addr = Ipv4Addr::new(10, 64, 1, 1);

/// Runs a program that may end with a failure; what it prints.
fn said(namespace: &Namespace, program: &str, arguments: &[&str]) -> Result<String> {
    let mut command = namespace.command("sh");
    let line = format!("{program} {} 2>&1; true", arguments.join(" "));
    command.args(["-c", &line]);
    run_to_end(&mut command, PROGRAM_SECS)
}

/// The configuration with a section `[icmp]`.
fn start_with(lab: &Lab, icmp: &str) -> Result<Daemon> {
    let toml = format!("{}[icmp]\n{icmp}\n", Settings::default().toml(lab));
    Daemon::start_with(lab, &toml, &cgn_program()?, &["--test-clock"])
}

const TOLD_EXPIRED: &str = "cgn_icmp_errors_sent_total{kind=\"time_exceeded\"}";

/// Value of a metric, by the beginning of its line, once it is `least`: the engine publishes its
/// figures when a turn ends.
fn metric_of(daemon: &Daemon, series: &str, least: u64) -> Result<u64> {
    wait_until(series, PATIENCE_SECS, || {
        let text = daemon.metrics()?;
        let line = text.lines().find(|line| line.starts_with(series));
        let value = line.and_then(|line| line.rsplit(' ').next()?.parse().ok());
        Ok(value.filter(|value| *value >= least))
    })
}

/// The address at each hop.
fn hops(traceroute: &str) -> Vec<String> {
    let lines = traceroute.lines().skip(1);
    let of_line = |line: &str| line.split_whitespace().nth(1).map(str::to_owned);
    lines.filter_map(of_line).collect()
}

#[test]
fn traceroute_shows_every_hop() {
    let name = "icmp::traceroute_shows_every_hop";
    if lacks_program(name, "traceroute") {
        return;
    }
    in_lab(name, &Plan::default(), |lab| {
        let daemon = Daemon::start(lab, &Settings::default())?;
        // The server's kernel tells the end of a traceroute but some times in a second.
        lab.internet.set_sysctl("ipv4/icmp_ratelimit", "0")?;
        let host = &lab.subscribers[0];
        let server = address::SERVERS[0].to_string();
        let wanted = [FIRST_HOP, address::CGN_INSIDE, address::SERVERS[0]].map(|a| a.to_string());
        for mode in ["-U -p 33434", "-I", "-T -p 7000", ""] {
            let text = said(host, "traceroute", &["-n", "-q 1", "-w 3", mode, &server])?;
            ensure!(hops(&text) == wanted, "traceroute {mode}: {text}");
        }
        // From outside the first hop is the CGN, by its address on that link.
        let echo = UdpEcho::start(&lab.internet, SERVER)?;
        let socket = lab::echo_from(host, address::subscriber(1, 2))?;
        let seen = lab::exchange(&socket, echo.address(), b"open", false, PATIENCE_SECS)?;
        // The host says nothing, and the access router's word is that of the external address.
        let port = format!("-m 2 -U -p {}", seen.port());
        let external = seen.ip().to_string();
        let text = said(
            &lab.internet,
            "traceroute",
            &["-n", "-q 1", "-w 3", &port, &external],
        )?;
        let found = hops(&text);
        ensure!(
            found.first() == Some(&address::CGN_OUTSIDE.to_string())
                && found.last() == Some(&external),
            "{text}"
        );
        metric_of(&daemon, TOLD_EXPIRED, 5)?;
        Ok(())
    });
}

#[test]
fn ping_with_a_short_life() {
    let name = "icmp::ping_with_a_short_life";
    if lacks_program(name, "ping") {
        return;
    }
    in_lab(name, &Plan::default(), |lab| {
        let _daemon = Daemon::start(lab, &Settings::default())?;
        let server = address::SERVERS[0].to_string();
        // One hop is the access router, the next the CGN.
        let text = said(&lab.subscribers[0], "ping", &["-n -c 1 -W 3 -t 2", &server])?;
        let wanted = format!(
            "From {} icmp_seq=1 Time to live exceeded",
            address::CGN_INSIDE
        );
        ensure!(text.contains(&wanted), "{text}");
        Ok(())
    });
}

#[test]
fn tracepath_finds_the_mtu_outbound() {
    let name = "icmp::tracepath_finds_the_mtu_outbound";
    if lacks_program(name, "tracepath") {
        return;
    }
    in_lab(name, &Plan::default(), |lab| {
        lab.cgn.ip("link set outside mtu 1380\n")?;
        let _daemon = Daemon::start(lab, &Settings::default())?;
        let server = address::SERVERS[0].to_string();
        let text = said(&lab.subscribers[0], "tracepath", &["-n", &server])?;
        ensure!(text.contains("pmtu 1380"), "{text}");
        ensure!(text.contains(&format!("{}", address::CGN_INSIDE)), "{text}");
        let text = said(
            &lab.subscribers[0],
            "ping",
            &["-n -c 1 -W 3 -M do -s 1372", &server],
        )?;
        ensure!(
            text.contains("mtu = 1380") || text.contains("mtu=1380"),
            "{text}"
        );
        Ok(())
    });
}

#[test]
fn the_mtu_inbound_is_found() {
    let name = "icmp::the_mtu_inbound_is_found";
    if lacks_program(name, "traceroute") {
        return;
    }
    in_lab(name, &Plan::default(), |lab| {
        lab.cgn.ip("link set inside mtu 1300\n")?;
        let daemon = Daemon::start(lab, &Settings::default())?;
        // A download: the server's kernel sends full segments until it is told.
        let tcp = TcpServer::start(&lab.internet, SERVER, PATIENCE_SECS)?;
        let host = &lab.subscribers[0];
        let inside = Some(address::subscriber(1, 2));
        lab::transfer(host, inside, tcp.address(), (1000, 300_000), PATIENCE_SECS)?;
        let sent = "cgn_icmp_errors_sent_total{kind=\"fragmentation_needed\"}";
        let told = metric_of(&daemon, sent, 1)?;
        ensure!(told < 20, "{told} told");
        let route = said(
            &lab.internet,
            "ip",
            &["route get 203.0.113.1 from 192.0.2.10"],
        )?;
        // One address of the pool, or another: whose download it was.
        let all = (0..8).map(|last| format!("route get 203.0.113.{last} from 192.0.2.10"));
        let mut known = route.contains("mtu 1300");
        for arguments in all {
            known |= said(&lab.internet, "ip", &[&arguments])?.contains("mtu 1300");
        }
        known |= said(
            &lab.internet,
            "ip",
            &["route get 203.0.113.77 from 192.0.2.10"],
        )?
        .contains("mtu 1300");
        ensure!(
            known,
            "the server's kernel knows of no smaller MTU: {route}"
        );
        Ok(())
    });
}

#[test]
fn unreachable_networks_and_hosts() {
    let name = "icmp::unreachable_networks_and_hosts";
    if lacks_program(name, "ping") {
        return;
    }
    in_lab(name, &Plan::default(), |lab| {
        lab.cgn.ip(
            "route add unreachable 198.18.0.0/16\nroute add prohibit 198.19.0.0/16\n\
                    route add blackhole 198.20.0.0/16\n",
        )?;
        let daemon = Daemon::start(lab, &Settings::default())?;
        let host = &lab.subscribers[0];
        let from = format!("From {} icmp_seq=1", address::CGN_INSIDE);
        for (to, words) in [
            ("198.18.0.1", Some("Destination Host Unreachable")),
            ("198.19.0.1", Some("Packet filtered")),
            ("198.20.0.1", None),
        ] {
            let text = said(host, "ping", &["-n -c 1 -W 2", to])?;
            match words {
                Some(words) => ensure!(text.contains(&format!("{from} {words}")), "{to}: {text}"),
                None => ensure!(!text.contains("From"), "{to}: {text}"),
            }
        }
        // The gateway does not answer: the kernel gives up after some seconds.
        lab.internet
            .ip(&format!("addr del {}/30 dev uplink\n", address::PEER))?;
        lab.cgn
            .ip(&format!("neigh del {} dev outside\n", address::PEER))?;
        let server = address::SERVERS[0].to_string();
        wait_until("host unreachable", 20.0, || {
            let text = said(host, "ping", &["-n -c 1 -W 6", &server])?;
            Ok(text
                .contains(&format!("{from} Destination Host Unreachable"))
                .then_some(()))
        })?;
        lab.cgn.ip("route del default\n")?;
        wait_until("network unreachable", PATIENCE_SECS, || {
            let text = said(host, "ping", &["-n -c 1 -W 2", &server])?;
            Ok(text
                .contains(&format!("{from} Destination Net Unreachable"))
                .then_some(()))
        })?;
        metric_of(
            &daemon,
            "cgn_icmp_errors_withheld_total{reason=\"silent\"}",
            1,
        )?;
        Ok(())
    });
}

#[test]
fn a_refused_subscriber_is_told_on_request() {
    let name = "icmp::a_refused_subscriber_is_told_on_request";
    if lacks_program(name, "traceroute") {
        return;
    }
    for (word, expected) in [
        ("host-unreachable", Some("!H")),
        ("prohibited", Some("!X")),
        ("none", None),
    ] {
        in_lab(name, &Plan::default(), |lab| {
            let icmp = format!("exhausted = \"{word}\"");
            let one_block = Settings {
                blocks_per_subscriber: 1,
                ..Settings::default()
            };
            let toml = format!("{}[icmp]\n{icmp}\n", one_block.toml(lab));
            let daemon = Daemon::start_with(lab, &toml, &cgn_program()?, &["--test-clock"])?;
            let echo = UdpEcho::start(&lab.internet, SERVER)?;
            let inside = address::subscriber(1, 2);
            let mut open = Vec::new();
            for _ in 0..64 {
                let socket = lab::echo_from(&lab.subscribers[0], inside)?;
                lab::exchange(&socket, echo.address(), b"in", false, PATIENCE_SECS)?;
                open.push(socket);
            }
            // The first is refused in the slow path, the next ones in XDP.
            let server = address::SERVERS[0].to_string();
            let told_by = format!(" 3  {} ", address::CGN_INSIDE);
            for _ in 0..3 {
                let arguments = ["-n -q 1 -w 1 -f 3 -m 3 -U -p 33434", &server];
                let text = said(&lab.subscribers[0], "traceroute", &arguments)?;
                let is_told = text.contains(&told_by);
                let sign = expected.is_some_and(|sign| text.contains(sign));
                ensure!(
                    is_told == expected.is_some() && is_told == sign,
                    "{word}: {text}"
                );
            }
            ensure!(daemon.count_of("no_port")? >= 3);
            Ok(())
        });
    }
}

#[test]
fn a_stranger_is_told_on_request() {
    in_lab(
        "icmp::a_stranger_is_told_on_request",
        &Plan::default(),
        |lab| {
            let _daemon = start_with(lab, "port_unreachable = true")?;
            let socket = lab::echo_from(&lab.internet, address::SERVERS[0])?;
            socket.connect(SocketAddrV4::new(Ipv4Addr::new(203, 0, 113, 1), 4000))?;
            socket.set_read_timeout(Some(Duration::from_secs(3)))?;
            socket.send(b"knock")?;
            let error = socket
                .recv(&mut [0; 64])
                .err()
                .and_then(|error| error.raw_os_error());
            ensure!(error == Some(libc::ECONNREFUSED), "{error:?}");
            Ok(())
        },
    );
}

/// Thousands of expired packets of one subscriber: he is told as often as is configured, few of
/// them reach the slow path, and others get their blocks meanwhile.
#[test]
fn a_flood_is_told_little_and_takes_nobodys_block() {
    let name = "icmp::a_flood_is_told_little_and_takes_nobodys_block";
    in_lab(name, &Plan::default(), |lab| {
        let daemon = start_with(lab, "each_per_second = 5")?;
        let echo = UdpEcho::start(&lab.internet, SERVER)?;
        let flood = lab::echo_from(&lab.subscribers[0], address::subscriber(1, 2))?;
        flood.set_ttl(2)?;
        let before = daemon.count_of("ttl_expired")?;
        let (begun, mut sent) = (Instant::now(), 0);
        for host in 10..50 {
            for _ in 0..250 {
                flood.send_to(b"short", SERVER)?;
                sent += 1;
            }
            let other = lab::echo_from(&lab.subscribers[0], address::subscriber(1, host))?;
            lab::exchange(&other, echo.address(), b"first", false, PATIENCE_SECS)
                .with_context(|| format!("subscriber {host} beside the flood"))?;
        }
        let windows = begun.elapsed().as_secs_f64() / 1.07 + 2.0;
        daemon.wait_for_count("ttl_expired", before, sent)?;
        let punted = daemon.count_of("answered")?;
        let told = metric_of(&daemon, TOLD_EXPIRED, 5)?;
        println!("{sent} expired, {punted} punted, {told} told");
        ensure!(
            (punted as f64) <= 5.0 * windows,
            "{punted} punted, {told} told"
        );
        ensure!(told <= punted);
        Ok(())
    });
}
