//! Routes as the kernel has them, and as they change.

use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use cgn_tests::lab::{self, Daemon, Lab, Plan, Settings, UdpEcho, address, wait_until};

use crate::{PATIENCE_SECS, SERVER, attributed, in_lab};

/// Forwarding is on: what XDP passed would go out as it came.
#[test]
fn what_has_no_route_is_not_passed_to_the_kernel() {
    in_lab(
        "routes::what_has_no_route_is_not_passed_to_the_kernel",
        &Plan::default(),
        |lab| {
            lab.cgn.set_sysctl("ipv4/ip_forward", "1")?;
            let daemon = Daemon::start(lab, &Settings::default())?;
            let echo = UdpEcho::start(&lab.internet, SERVER)?;
            let socket = lab::echo_from(&lab.subscribers[0], address::subscriber(1, 2))?;
            lab::exchange(&socket, SERVER, b"routed", false, PATIENCE_SECS)?;
            let answered = echo.answered();
            lab.cgn.ip("route del default\n")?;
            let passed = daemon.count_of("local")?;
            for (what, to) in [
                ("in a /16 of its own", SERVER),
                (
                    "in the /16 of a pool, so that the kernel is asked",
                    SocketAddrV4::new(Ipv4Addr::new(203, 0, 200, 1), 7000),
                ),
            ] {
                counted_in_the_end(&daemon, "no_route", || {
                    socket.send_to(b"nowhere", to).map(drop)
                })
                .context(what)?;
            }
            ensure!(daemon.count_of("local")? == passed, "passed to the kernel");
            // The packet at the moment of the change may have gone through.
            ensure!(echo.answered() <= answered + 1, "{}", echo.answered());
            lab.cgn
                .ip(&format!("route add default via {}\n", address::PEER))?;
            // Answers to what was sent at the moment of the change may be in the first socket.
            let late = lab::echo_from(&lab.subscribers[0], address::subscriber(1, 2))?;
            lab::exchange(&late, SERVER, b"again", true, PATIENCE_SECS).map(drop)
        },
    );
}

#[test]
fn what_no_router_forwards_is_dropped() {
    in_lab(
        "routes::what_no_router_forwards_is_dropped",
        &Plan::default(),
        |lab| {
            lab.cgn.set_sysctl("ipv4/ip_forward", "1")?;
            let daemon = Daemon::start(lab, &Settings::default())?;
            let host = &lab.subscribers[0];
            let socket = lab::echo_from(host, address::subscriber(1, 2))?;
            // What the host's and the access router's kernels send at all.
            for to in [[240, 0, 0, 1], [169, 254, 1, 1]] {
                let to = SocketAddrV4::new(to.into(), 7000);
                let before = daemon.count_of("martian")?;
                socket.send_to(b"martian", to)?;
                daemon
                    .wait_for_count("martian", before, 1)
                    .with_context(|| to.to_string())?;
            }
            Ok(())
        },
    );
}

/// `ip route add local 10.1.0.0/16 dev lo`: the router answers for all of it.
#[test]
fn wide_local_networks_are_the_kernels() {
    in_lab(
        "routes::wide_local_networks_are_the_kernels",
        &Plan::default(),
        |lab| {
            lab.cgn
                .ip("route add local 10.1.0.0/16 dev lo\nroute add local 10.2.128.0/20 dev lo\n")?;
            let daemon = Daemon::start(lab, &Settings::default())?;
            let inside = address::subscriber(1, 2);
            let socket = lab::echo_from(&lab.subscribers[0], inside)?;
            for own in [Ipv4Addr::new(10, 1, 2, 3), Ipv4Addr::new(10, 2, 130, 3)] {
                let echo = UdpEcho::start(&lab.cgn, SocketAddrV4::new(own, 7000))?;
                let seen = lab::exchange(&socket, echo.address(), b"own", true, PATIENCE_SECS)?;
                ensure!(*seen.ip() == inside, "translated: {seen}");
            }
            ensure!(daemon.count_of("local")? >= 2);
            let before = daemon.count_of("no_route")?;
            ensure!(before == 0, "{before} without a route");
            Ok(())
        },
    );
}

/// An address that went while no daemon ran is not passed to the kernel for ever, which would
/// forward what it gets.
#[test]
fn an_address_that_went_after_a_crash_is_nobodys() {
    in_lab(
        "routes::an_address_that_went_after_a_crash_is_nobodys",
        &Plan::default(),
        |lab| {
            lab.cgn.set_sysctl("ipv4/ip_forward", "1")?;
            lab.cgn.ip("addr add 10.9.9.9/32 dev lo\n")?;
            let mut daemon = Daemon::start(lab, &Settings::default())?;
            let own = SocketAddrV4::new(Ipv4Addr::new(10, 9, 9, 9), 7000);
            let socket = lab::echo_from(&lab.subscribers[0], address::subscriber(1, 2))?;
            counted_in_the_end(&daemon, "local", || socket.send_to(b"own", own).map(drop))?;
            daemon.process().kill();
            drop(daemon);
            lab.cgn.ip("addr del 10.9.9.9/32 dev lo\n")?;
            let daemon = Daemon::start(lab, &Settings::default())?;
            let passed = daemon.count_of("local")?;
            for _ in 0..5 {
                socket.send_to(b"not own", own)?;
            }
            wait_until("a mapping by the default route", PATIENCE_SECS, || {
                Ok((!daemon.mappings()?.is_empty()).then_some(()))
            })?;
            ensure!(daemon.count_of("local")? == passed, "passed to the kernel");
            Ok(())
        },
    );
}

/// A second router on the outside link, in the internet: own address and the CGN's.
const OTHER_PEER: Ipv4Addr = Ipv4Addr::new(198, 51, 101, 2);
const OTHER_OUTSIDE: Ipv4Addr = Ipv4Addr::new(198, 51, 101, 1);
/// A server by the default route, in a /16 of its own.
const FAR: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(8, 8, 8, 8), 7000);
/// A server that is routed by the second router.
const BESIDE: SocketAddrV4 = SocketAddrV4::new(address::SERVERS[1], 7000);

/// Answers come back by the second router, whatever becomes of the first.
fn two_routers(lab: &Lab) -> Result<()> {
    lab.cgn.ip(&format!(
        "addr add {OTHER_OUTSIDE}/30 dev outside\nroute add {}/32 via {OTHER_PEER}\n",
        BESIDE.ip()
    ))?;
    lab.internet.ip(&format!(
        "addr add {OTHER_PEER}/30 dev uplink\naddr add {}/32 dev lo\n\
         route replace {} via {OTHER_OUTSIDE}\n",
        FAR.ip(),
        address::POOL
    ))
}

#[test]
fn a_silent_gateway_costs_little_and_comes_back() {
    in_lab(
        "routes::a_silent_gateway_costs_little_and_comes_back",
        &Plan::default(),
        |lab| {
            two_routers(lab)?;
            let daemon = Daemon::start(lab, &Settings::default())?;
            let far = UdpEcho::start(&lab.internet, FAR)?;
            let beside = UdpEcho::start(&lab.internet, BESIDE)?;
            let socket = lab::echo_from(&lab.subscribers[0], address::subscriber(1, 2))?;
            for server in [&far, &beside] {
                lab::exchange(&socket, server.address(), b"first", false, PATIENCE_SECS)?;
            }
            silence_gateway(lab)?;
            counted_in_the_end(&daemon, "no_neighbour", || {
                socket.send_to(b"lost", FAR).map(drop)
            })?;
            flood_silent(&daemon, lab, &socket, beside.address())?;
            let begun = Instant::now();
            revive_gateway(lab)?;
            wait_until("the gateway is back", PATIENCE_SECS, || {
                Ok(lab::exchange(&socket, FAR, b"back", false, 0.05).ok())
            })?;
            let secs = begun.elapsed().as_secs_f64();
            println!("recovered after {secs:.2} s");
            ensure!(secs < 2.5, "recovered after {secs} s");
            Ok(())
        },
    );
}

/// The default gateway answers no more, and the kernel of the CGN forgets its link address.
fn silence_gateway(lab: &Lab) -> Result<()> {
    let gateway = address::PEER;
    lab.internet
        .ip(&format!("addr del {gateway}/30 dev uplink\n"))?;
    lab.cgn.ip(&format!("neigh del {gateway} dev outside\n"))
}

fn revive_gateway(lab: &Lab) -> Result<()> {
    lab.internet
        .ip(&format!("addr add {}/30 dev uplink\n", address::PEER))
}

/// Thousands of packets to a gateway that does not answer: few reach the slow path, and another
/// gateway's packets go on.
fn flood_silent(
    daemon: &Daemon,
    lab: &Lab,
    socket: &UdpSocket,
    beside: SocketAddrV4,
) -> Result<()> {
    let other = lab::echo_from(&lab.subscribers[0], address::subscriber(1, 3))?;
    lab::exchange(&other, beside, b"new", false, PATIENCE_SECS)?;
    let punted = daemon.count_of("no_neighbour")?;
    let dropped = daemon.count_of("neighbour_unresolved")?;
    let begun = Instant::now();
    let mut sent = 0;
    while begun.elapsed().as_secs_f64() < 3.0 {
        for _ in 0..500 {
            socket.send_to(b"flood", FAR)?;
            sent += 1;
        }
        lab::exchange(&other, beside, b"beside", false, PATIENCE_SECS)
            .context("beside the flood")?;
    }
    let punted = daemon.count_of("no_neighbour")? - punted;
    let dropped = daemon.count_of("neighbour_unresolved")? - dropped;
    let secs = begun.elapsed().as_secs_f64();
    println!("{sent} sent, {punted} punted, {dropped} dropped in {secs:.1} s");
    // 32 in a tick of 0.268 s.
    let most = 32.0 * (secs / 0.268 + 2.0);
    ensure!(sent > 5000, "only {sent} sent");
    ensure!(
        (punted as f64) < most,
        "{punted} punted of {sent} in {secs} s"
    );
    ensure!(dropped > sent / 2, "only {dropped} dropped of {sent}");
    Ok(())
}

/// The first packets are not lost: they wait until the gateway has answered.
#[test]
fn packets_wait_for_a_gateway() {
    in_lab(
        "routes::packets_wait_for_a_gateway",
        &Plan::default(),
        |lab| {
            two_routers(lab)?;
            let daemon = Daemon::start(lab, &Settings::default())?;
            let _far = UdpEcho::start(&lab.internet, FAR)?;
            let known = lab::echo_from(&lab.subscribers[0], address::subscriber(1, 2))?;
            lab::exchange(&known, FAR, b"known", false, PATIENCE_SECS)?;
            silence_gateway(lab)?;
            counted_in_the_end(&daemon, "no_neighbour", || {
                known.send_to(b"lost", FAR).map(drop)
            })?;
            let sockets = (2..12)
                .map(|host| lab::echo_from(&lab.subscribers[0], address::subscriber(1, host)))
                .collect::<Result<Vec<_>>>()?;
            for socket in &sockets {
                socket.send_to(b"wait", FAR)?;
            }
            revive_gateway(lab)?;
            let mut buffer = [0; 64];
            for (host, socket) in (2..).zip(&sockets) {
                socket.set_read_timeout(Some(Duration::from_secs(3)))?;
                let (length, peer) = socket
                    .recv_from(&mut buffer)
                    .with_context(|| format!("the packet of subscriber {host} was lost"))?;
                ensure!(peer == FAR.into() && buffer[..length].starts_with(b"wait"));
            }
            Ok(())
        },
    );
}

/// Forwarding is off, so that XDP is told no route of a /16 with several.
#[test]
fn what_the_slow_path_looked_up_xdp_knows() {
    in_lab(
        "routes::what_the_slow_path_looked_up_xdp_knows",
        &Plan::default(),
        |lab| {
            two_routers(lab)?;
            let daemon = Daemon::start(lab, &Settings::default())?;
            let beside = UdpEcho::start(&lab.internet, BESIDE)?;
            let socket = lab::echo_from(&lab.subscribers[0], address::subscriber(1, 2))?;
            for _ in 0..300 {
                lab::exchange(&socket, beside.address(), b"many", false, PATIENCE_SECS)?;
            }
            let asked = daemon.count_of("route_unknown")?;
            ensure!((1..10).contains(&asked), "asked {asked} times");
            lab.cgn
                .ip(&format!("route replace blackhole {}/32\n", BESIDE.ip()))?;
            counted_in_the_end(&daemon, "no_route", || {
                socket.send_to(b"gone", BESIDE).map(drop)
            })?;
            let answered = beside.answered();
            for _ in 0..10 {
                socket.send_to(b"gone", BESIDE)?;
            }
            // Answers to what was sent before may be in the first socket.
            let late = lab::echo_from(&lab.subscribers[0], address::subscriber(1, 2))?;
            let answer = lab::exchange(&late, BESIDE, b"late", false, 0.3);
            ensure!(answer.is_err(), "an answer: {answer:?}");
            ensure!(beside.answered() == answered, "the old route was used");
            Ok(())
        },
    );
}

/// Rules of the operator's leave the routes to the kernel, which tells XDP only. Not even the first
/// packet of a subscriber, which the slow path sees, is lost.
#[test]
fn with_policy_routing_the_first_packet_gets_through() {
    in_lab(
        "routes::with_policy_routing_the_first_packet_gets_through",
        &Plan::default(),
        |lab| {
            lab.cgn.set_sysctl("ipv4/ip_forward", "1")?;
            lab.cgn.ip(&format!(
                "route del default\nroute add default via {} table 100\n\
                 rule add from 100.64.0.0/16 lookup 100\n",
                address::PEER
            ))?;
            let daemon = Daemon::start(lab, &Settings::default())?;
            let echo = UdpEcho::start(&lab.internet, SERVER)?;
            for host in 2..6 {
                let inside = address::subscriber(1, host);
                let socket = lab::echo_from(&lab.subscribers[0], inside)?;
                // The gateway must be found by the very first packet of all: it is in no table
                // that is followed.
                let again = host == 2;
                let seen = lab::exchange(&socket, echo.address(), b"one", again, PATIENCE_SECS)
                    .with_context(|| format!("{inside}: {}", counted(&daemon)))?;
                attributed(&daemon, inside, seen)?;
            }
            Ok(())
        },
    );
}

/// What was counted so far, for errors.
fn counted(daemon: &Daemon) -> String {
    let rows = daemon.drops().unwrap_or_default();
    let counted = rows
        .iter()
        .filter(|row| row.fast_path + row.slow_path > 0)
        .map(|row| format!("{} {}+{}", row.reason, row.fast_path, row.slow_path));
    counted.collect::<Vec<_>>().join(", ")
}

/// Repeats `send` until it is counted as `reason`.
fn counted_in_the_end(
    daemon: &Daemon,
    reason: &str,
    send: impl Fn() -> std::io::Result<()>,
) -> Result<()> {
    let before = daemon.count_of(reason)?;
    wait_until(reason, PATIENCE_SECS, || {
        send()?;
        Ok((daemon.count_of(reason)? > before).then_some(()))
    })
}
