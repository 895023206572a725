//! Routes as the kernel has them, and as they change.

use std::net::{Ipv4Addr, SocketAddrV4};

use anyhow::{Context as _, Result, ensure};
use cgn_tests::lab::{self, Daemon, Plan, Settings, UdpEcho, address, wait_until};

use crate::{PATIENCE_SECS, SERVER, in_lab};

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
            lab::exchange(&socket, SERVER, b"again", true, PATIENCE_SECS).map(drop)
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
