//! What must not go through, and how it is counted.

use std::net::{Ipv4Addr, SocketAddrV4};

use anyhow::{Context as _, Result, ensure};
use cgn_tests::lab::{self, Daemon, Lab, Plan, Settings, TcpServer, UdpEcho, address};

use crate::{PATIENCE_SECS, SERVER, attributed, in_lab, is_of_pool};

#[test]
fn sources_that_no_subscriber_has() {
    in_lab(
        "refusals::sources_that_no_subscriber_has",
        &Plan::default(),
        |lab| {
            let daemon = Daemon::start(lab, &Settings::default())?;
            let echo = UdpEcho::start(&lab.internet, SERVER)?;
            let host = &lab.subscribers[0];
            for (source, reason) in [
                (Ipv4Addr::new(192, 168, 7, 7), "spoofed_source"),
                (Ipv4Addr::new(8, 8, 8, 8), "spoofed_source"),
                (address::SERVERS[2], "spoofed_source"),
            ] {
                host.ip(&format!("addr add {source}/32 dev lo\n"))?;
                let before = daemon.count_of(reason)?;
                let socket = lab::echo_from(host, source)?;
                socket.send_to(b"spoofed", SERVER)?;
                daemon
                    .wait_for_count(reason, before, 1)
                    .with_context(|| format!("from {source}"))?;
            }
            ensure!(
                echo.answered() == 0,
                "a spoofed datagram reached the server"
            );
            ensure!(daemon.mappings()?.is_empty() && daemon.blocks()?.is_empty());
            Ok(())
        },
    );
}

#[test]
fn strangers_are_kept_outside() {
    in_lab(
        "refusals::strangers_are_kept_outside",
        &Plan::default(),
        |lab| {
            let daemon = Daemon::start(lab, &Settings::default())?;
            let echo = UdpEcho::start(&lab.internet, SERVER)?;
            let inside = address::subscriber(1, 2);
            let socket = lab::echo_from(&lab.subscribers[0], inside)?;
            let seen = lab::exchange(&socket, echo.address(), b"mine", false, PATIENCE_SECS)?;
            let unused = if seen.port() % 64 == 0 {
                seen.port() + 1
            } else {
                seen.port() - 1
            };
            for (what, to, reason) in [
                (
                    "another port of the block",
                    SocketAddrV4::new(*seen.ip(), unused),
                    "no_mapping",
                ),
                (
                    "a port below all blocks",
                    SocketAddrV4::new(*seen.ip(), 53),
                    "no_mapping",
                ),
                (
                    "an address of the pool without blocks",
                    SocketAddrV4::new(other_than(*seen.ip()), seen.port()),
                    "no_mapping",
                ),
                (
                    "an address that is routed here and in no pool",
                    SocketAddrV4::new(Ipv4Addr::new(203, 0, 113, 200), 4000),
                    "not_for_us",
                ),
                (
                    "a subscriber's own address",
                    SocketAddrV4::new(inside, 4000),
                    "not_for_us",
                ),
            ] {
                if *to.ip() == inside {
                    let route = format!("route add {inside}/32 via {}\n", address::CGN_OUTSIDE);
                    lab.internet.ip(&route)?;
                }
                let before = daemon.count_of(reason)?;
                echo.send(to, b"knock")?;
                daemon
                    .wait_for_count(reason, before, 1)
                    .with_context(|| what.to_owned())?;
            }
            tcp_to_a_udp_mapping(lab, &daemon, seen)?;
            // The mapping still works, and got nothing but its own answer.
            let again = lab::exchange(&socket, echo.address(), b"still", false, PATIENCE_SECS)?;
            ensure!(again == seen, "{seen} became {again}");
            attributed(&daemon, inside, seen)
        },
    );
}

/// Ports of TCP and UDP are two things (RFC 7857 section 6).
fn tcp_to_a_udp_mapping(lab: &Lab, daemon: &Daemon, seen: SocketAddrV4) -> Result<()> {
    let before = daemon.count_of("no_mapping")?;
    let connected = lab::connect(&lab.internet, None, seen, 0.5);
    ensure!(connected.is_err(), "TCP to a UDP mapping got through");
    daemon.wait_for_count("no_mapping", before, 1)
}

fn other_than(address: Ipv4Addr) -> Ipv4Addr {
    (0..8)
        .map(|last| Ipv4Addr::new(203, 0, 113, last))
        .find(|other| *other != address && is_of_pool(*other))
        .expect("the pool has eight and one")
}

#[test]
fn time_to_live_ends_here() {
    in_lab(
        "refusals::time_to_live_ends_here",
        &Plan::default(),
        |lab| {
            let daemon = Daemon::start(lab, &Settings::default())?;
            let echo = UdpEcho::start(&lab.internet, SERVER)?;
            let socket = lab::echo_from(&lab.subscribers[0], address::subscriber(1, 2))?;
            // One hop is the access router, the next the CGN; the server is behind it.
            socket.set_ttl(2)?;
            let before = daemon.count_of("ttl_expired")?;
            socket.send_to(b"short", SERVER)?;
            daemon.wait_for_count("ttl_expired", before, 1)?;
            ensure!(
                echo.answered() == 0,
                "an expired datagram reached the server"
            );
            socket.set_ttl(3)?;
            lab::exchange(
                &socket,
                echo.address(),
                b"long enough",
                false,
                PATIENCE_SECS,
            )?;
            Ok(())
        },
    );
}

#[test]
fn a_subscriber_at_its_limit() {
    in_lab(
        "refusals::a_subscriber_at_its_limit",
        &Plan::default(),
        |lab| {
            let settings = Settings {
                blocks_per_subscriber: 1,
                ..Settings::default()
            };
            let daemon = Daemon::start(lab, &settings)?;
            let echo = UdpEcho::start(&lab.internet, SERVER)?;
            let tcp = TcpServer::start(&lab.internet, SERVER, PATIENCE_SECS)?;
            let inside = address::subscriber(1, 2);
            let host = &lab.subscribers[0];
            let mut open = Vec::new();
            let mut ports = std::collections::HashSet::new();
            for number in 0..settings.block_ports {
                let socket = lab::echo_from(host, inside)?;
                let seen = lab::exchange(&socket, echo.address(), b"in", false, PATIENCE_SECS)
                    .with_context(|| format!("socket {number} of {}", settings.block_ports))?;
                ports.insert(seen.port());
                open.push((socket, seen));
            }
            ensure!(
                ports.len() == usize::from(settings.block_ports),
                "{ports:?}"
            );
            let before = daemon.count_of("no_port")?;
            let refused = lab::echo_from(host, inside)?;
            refused.send_to(b"one too many", SERVER)?;
            daemon.wait_for_count("no_port", before, 1)?;
            for (socket, seen) in &open {
                let again = lab::exchange(socket, echo.address(), b"on", false, PATIENCE_SECS)?;
                ensure!(again == *seen, "{seen} became {again}");
            }
            // UDP is full; TCP has its own ports, and another subscriber a block of its own.
            lab::transfer(
                host,
                Some(inside),
                tcp.address(),
                (1000, 1000),
                PATIENCE_SECS,
            )?;
            let other = lab::echo_from(host, address::subscriber(1, 3))?;
            lab::exchange(&other, echo.address(), b"me too", false, PATIENCE_SECS)?;
            let row = daemon
                .subscribers()?
                .into_iter()
                .find(|row| row.inside == inside);
            ensure!(
                row.as_ref()
                    .is_some_and(|row| row.refused && row.blocks == 1 && row.ports_used.udp == 64),
                "{row:?}"
            );
            Ok(())
        },
    );
}
