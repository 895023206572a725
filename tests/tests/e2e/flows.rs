//! Kernel sockets through the CGN.

use std::collections::HashSet;
use std::net::SocketAddrV4;

use anyhow::{Context as _, Result, ensure};
use cgn_tests::lab::{
    self, Daemon, Lab, PingWatch, Plan, Settings, TcpServer, UdpEcho, address, wait_until,
};

use crate::{PATIENCE_SECS, SERVER, attributed, in_lab};

#[test]
fn several_subscribers_at_once() {
    let plan = Plan {
        subscribers: 3,
        ..Plan::default()
    };
    in_lab("flows::several_subscribers_at_once", &plan, |lab| {
        let daemon = Daemon::start(lab, &Settings::default())?;
        let tcp = TcpServer::start(&lab.internet, SERVER, PATIENCE_SECS)?;
        let echo = UdpEcho::start(&lab.internet, SERVER)?;
        let watch = PingWatch::start(&lab.internet)?;
        let seen: Vec<SocketAddrV4> = std::thread::scope(|scope| {
            let hosts: Vec<_> = (1..=3)
                .map(|number| {
                    let (tcp, echo, watch) = (&tcp, &echo, &watch);
                    scope.spawn(move || one_subscriber(lab, number, tcp, echo, watch))
                })
                .collect();
            hosts
                .into_iter()
                .map(|host| host.join().expect("no panic"))
                .collect::<Result<Vec<_>>>()
        })?
        .concat();
        let records = daemon.log_records()?;
        ensure!(!records.is_empty(), "no log records");
        for (at, seen) in seen.iter().enumerate() {
            attributed(&daemon, address::subscriber(at as u8 / 7 + 1, 2), *seen)?;
        }
        Ok(())
    });
}

/// Seven flows of one subscriber: what the servers saw. All must be on one address.
fn one_subscriber(
    lab: &Lab,
    number: u8,
    tcp: &TcpServer,
    echo: &UdpEcho,
    watch: &PingWatch,
) -> Result<Vec<SocketAddrV4>> {
    let host = &lab.subscribers[usize::from(number) - 1];
    let inside = address::subscriber(number, 2);
    let mut seen = Vec::new();
    for _ in 0..3 {
        let socket = lab::echo_from(host, inside)?;
        let text = format!("from {inside}");
        seen.push(lab::exchange(
            &socket,
            echo.address(),
            text.as_bytes(),
            false,
            PATIENCE_SECS,
        )?);
    }
    for bytes in [0, 1 << 20, 4 << 20] {
        let transfer = lab::transfer(host, None, tcp.address(), (bytes, bytes), PATIENCE_SECS)?;
        ensure!(
            *transfer.local.ip() == inside,
            "sent from {}",
            transfer.local
        );
        seen.push(transfer.seen);
    }
    let outcome = lab::ping(host, inside, address::SERVERS[1], 7, 3)?;
    ensure!(outcome.received == 3, "{} of 3 pings", outcome.received);
    seen.push(watch.seen(&outcome.tag).context("no request was seen")?);
    let addresses: HashSet<_> = seen.iter().map(|seen| seen.ip()).collect();
    ensure!(
        addresses.len() == 1,
        "{inside} was seen from {addresses:?}: pooling is not paired"
    );
    Ok(seen)
}

#[test]
fn mapping_and_filtering_do_not_depend_on_the_endpoint() {
    in_lab(
        "flows::mapping_and_filtering_do_not_depend_on_the_endpoint",
        &Plan::default(),
        |lab| {
            let daemon = Daemon::start(lab, &Settings::default())?;
            let servers = address::SERVERS.map(|server| SocketAddrV4::new(server, 7000));
            let [first, second, stranger] =
                servers.map(|address| UdpEcho::start(&lab.internet, address));
            let (first, second, stranger) = (first?, second?, stranger?);
            let inside = address::subscriber(1, 9);
            let socket = lab::echo_from(&lab.subscribers[0], inside)?;
            let seen = lab::exchange(&socket, first.address(), b"one", false, PATIENCE_SECS)?;
            let again = lab::exchange(&socket, second.address(), b"two", false, PATIENCE_SECS)?;
            ensure!(
                seen == again,
                "seen as {seen}, and by another server as {again}"
            );
            attributed(&daemon, inside, seen)?;
            stranger.send(seen, b"hello")?;
            let mut buffer = [0; 64];
            let (length, peer) = socket
                .recv_from(&mut buffer)
                .context("a server that was never spoken to did not get through")?;
            ensure!(&buffer[..length] == b"hello" && peer == stranger.address().into());
            let rows = daemon.mappings()?;
            let local = socket.local_addr()?;
            let row = rows
                .iter()
                .find(|row| row.inside == inside && row.inside_port == local.port())
                .context("`cgn show mappings` does not have it")?;
            ensure!(
                rows.len() == 1 && row.protocol == "udp" && row.state == "open",
                "{rows:?}"
            );
            let external = SocketAddrV4::new(row.external, row.external_port);
            ensure!(
                external == seen,
                "`cgn show mappings` has {external} for {seen}"
            );
            Ok(())
        },
    );
}

#[test]
fn the_routers_own_addresses_are_the_kernels() {
    let plan = Plan {
        direct: true,
        ..Plan::default()
    };
    in_lab(
        "flows::the_routers_own_addresses_are_the_kernels",
        &plan,
        |lab| {
            let daemon = Daemon::start(lab, &Settings::default())?;
            let host = &lab.subscribers[0];
            let own = address::subscriber(1, 2);
            let direct = lab.direct.as_ref().context("no direct host")?;
            for (what, from, source, to) in [
                (
                    "access router to inside",
                    &lab.access,
                    address::ACCESS,
                    address::CGN_INSIDE,
                ),
                ("subscriber to inside", host, own, address::CGN_INSIDE),
                ("subscriber to outside", host, own, address::CGN_OUTSIDE),
                (
                    "neighbour to inside",
                    direct,
                    address::DIRECT,
                    address::CGN_DIRECT,
                ),
                (
                    "internet to outside",
                    &lab.internet,
                    address::PEER,
                    address::CGN_OUTSIDE,
                ),
                (
                    "CGN to the internet",
                    &lab.cgn,
                    address::CGN_OUTSIDE,
                    address::SERVERS[0],
                ),
                (
                    "CGN to the access router",
                    &lab.cgn,
                    address::CGN_INSIDE,
                    address::ACCESS,
                ),
            ] {
                let outcome = lab::ping(from, source, to, 99, 2)?;
                ensure!(
                    outcome.received == 2,
                    "{what}: {} of 2 pings",
                    outcome.received
                );
            }
            ensure!(
                daemon.mappings()?.is_empty(),
                "the router's own traffic opened mappings"
            );
            Ok(())
        },
    );
}

#[test]
fn a_subscriber_on_the_cgns_own_link() {
    let plan = Plan {
        direct: true,
        ..Plan::default()
    };
    in_lab("flows::a_subscriber_on_the_cgns_own_link", &plan, |lab| {
        let daemon = Daemon::start(lab, &Settings::default())?;
        let echo = UdpEcho::start(&lab.internet, SERVER)?;
        let tcp = TcpServer::start(&lab.internet, SERVER, PATIENCE_SECS)?;
        let host = lab.direct.as_ref().context("no direct host")?;
        let socket = lab::echo_from(host, address::DIRECT)?;
        // The answer to the first datagram has to wait for the CGN's ARP: it may not be lost.
        let seen = lab::exchange(&socket, echo.address(), b"near", false, PATIENCE_SECS)?;
        attributed(&daemon, address::DIRECT, seen)?;
        let transfer = lab::transfer(host, None, tcp.address(), (1 << 20, 1 << 20), PATIENCE_SECS)?;
        attributed(&daemon, address::DIRECT, transfer.seen)
    });
}

#[test]
fn generic_mode_translates_too() {
    in_lab(
        "flows::generic_mode_translates_too",
        &Plan::default(),
        |lab| {
            let settings = Settings {
                xdp_mode: "generic",
                ..Settings::default()
            };
            let daemon = Daemon::start(lab, &settings)?;
            let modes: Vec<String> = daemon
                .status()?
                .interfaces
                .into_iter()
                .map(|row| row.mode)
                .collect();
            ensure!(modes == ["generic", "generic"], "{modes:?}");
            let echo = UdpEcho::start(&lab.internet, SERVER)?;
            let tcp = TcpServer::start(&lab.internet, SERVER, PATIENCE_SECS)?;
            let host = &lab.subscribers[0];
            let inside = address::subscriber(1, 2);
            let socket = lab::echo_from(host, inside)?;
            let seen = lab::exchange(&socket, echo.address(), b"slowly", false, PATIENCE_SECS)?;
            attributed(&daemon, inside, seen)?;
            let transfer =
                lab::transfer(host, None, tcp.address(), (1 << 20, 1 << 20), PATIENCE_SECS)?;
            attributed(&daemon, inside, transfer.seen)?;
            let outcome = lab::ping(host, inside, address::SERVERS[2], 5, 3)?;
            ensure!(outcome.received == 3, "{} of 3 pings", outcome.received);
            wait_until("metrics tell of generic mode", PATIENCE_SECS, || {
                Ok(daemon.metrics()?.contains("mode=\"generic\"").then_some(()))
            })
        },
    );
}
