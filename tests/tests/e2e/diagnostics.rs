//! `cgn run --diagnose`: a line for each packet that is not translated, and no other.

use std::net::{Ipv4Addr, SocketAddrV4};

use anyhow::{Context as _, Result, ensure};
use cgn_common::diagnostics::LINES_PER_SECOND;
use cgn_tests::lab::{self, Daemon, Lab, Plan, Settings, UdpEcho, address, cgn_program};

use crate::{PATIENCE_SECS, SERVER, in_lab};

/// A port of the pool that no block has.
const UNUSED: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(203, 0, 113, 77), 53);

fn start(lab: &Lab, arguments: &[&str]) -> Result<Daemon> {
    Daemon::start_with(
        lab,
        &Settings::default().toml(lab),
        &cgn_program()?,
        arguments,
    )
}

/// Lines so far that tell of a packet.
fn lines_of_packets(daemon: &mut Daemon) -> usize {
    let output = daemon.process().output();
    output
        .lines()
        .filter(|line| line.contains(" on inside queue") || line.contains(" on outside queue"))
        .count()
}

#[test]
fn refused_packets_are_told_and_translated_ones_are_not() {
    in_lab(
        "diagnostics::refused_packets_are_told_and_translated_ones_are_not",
        &Plan::default(),
        |lab| {
            let mut daemon = start(lab, &["--diagnose"])?;
            let echo = UdpEcho::start(&lab.internet, SERVER)?;
            // The first of all packets has no neighbour yet, and is punted for that.
            let other = lab::echo_from(&lab.subscribers[0], address::subscriber(1, 3))?;
            lab::exchange(&other, echo.address(), b"route", true, PATIENCE_SECS)?;
            let inside = address::subscriber(1, 2);
            let socket = lab::echo_from(&lab.subscribers[0], inside)?;
            let port = socket.local_addr()?.port();
            lab::exchange(&socket, echo.address(), b"first", false, PATIENCE_SECS)?;
            echo.send(UNUSED, b"knock")?;
            for line in [
                "diagnostics are on".to_owned(),
                format!("punt first_packet: udp {inside}:{port} > {SERVER} on inside queue "),
                format!("drop no_mapping: udp {SERVER} > {UNUSED} on outside queue "),
            ] {
                daemon.process().wait_for_output(&line, PATIENCE_SECS)?;
            }
            let before = lines_of_packets(&mut daemon);
            for _ in 0..20 {
                lab::exchange(&socket, echo.address(), b"more", false, PATIENCE_SECS)?;
            }
            echo.send(UNUSED, b"knock")?;
            let told = "a line for the second knock";
            lab::wait_until(told, PATIENCE_SECS, || {
                Ok((lines_of_packets(&mut daemon) > before).then_some(()))
            })?;
            let after = lines_of_packets(&mut daemon);
            ensure!(
                after == before + 1,
                "{} lines for one refused packet",
                after - before
            );
            flood(&mut daemon, &echo)
        },
    );
}

/// More packets than lines; those without one are counted.
fn flood(daemon: &mut Daemon, echo: &UdpEcho) -> Result<()> {
    let (counted, before) = (daemon.count_of("no_mapping")?, lines_of_packets(daemon));
    let flood = 20 * LINES_PER_SECOND;
    let began = std::time::Instant::now();
    for _ in 0..flood {
        echo.send(UNUSED, b"flood")?;
    }
    daemon.wait_for_count("no_mapping", counted, flood)?;
    daemon
        .process()
        .wait_for_output("more packets dropped or punted", PATIENCE_SECS)?;
    let seconds = began.elapsed().as_secs() + 2;
    let processors = std::thread::available_parallelism().map_or(1, |n| n.get() as u64);
    let lines = (lines_of_packets(daemon) - before) as u64;
    ensure!(
        lines <= seconds * processors * LINES_PER_SECOND,
        "{lines} lines in {seconds} s"
    );
    Ok(())
}

#[test]
fn switched_on_and_off_without_losing_a_mapping() {
    in_lab(
        "diagnostics::switched_on_and_off_without_losing_a_mapping",
        &Plan::default(),
        |lab| {
            let echo = UdpEcho::start(&lab.internet, SERVER)?;
            let socket = lab::echo_from(&lab.subscribers[0], address::subscriber(1, 2))?;
            let mut mapped = None;
            for (is_on, arguments) in [
                (false, &[][..]),
                (true, &["--diagnose"]),
                (false, &[]),
                (true, &["--diagnose"]),
            ] {
                let mut daemon = start(lab, arguments)?;
                let seen = lab::exchange(&socket, echo.address(), b"on", true, PATIENCE_SECS)?;
                let before = *mapped.get_or_insert(seen);
                ensure!(seen == before, "{before} became {seen} with {arguments:?}");
                let (lines, counted) = (
                    lines_of_packets(&mut daemon),
                    daemon.count_of("no_mapping")?,
                );
                echo.send(UNUSED, b"knock")?;
                daemon.wait_for_count("no_mapping", counted, 1)?;
                if is_on {
                    lab::wait_until("a line", PATIENCE_SECS, || {
                        Ok((lines_of_packets(&mut daemon) > lines).then_some(()))
                    })
                    .with_context(|| format!("with {arguments:?}"))?;
                } else {
                    ensure!(
                        lines_of_packets(&mut daemon) == lines,
                        "a line without the switch"
                    );
                }
                // Its programs and tables stay; the next one takes them over.
                daemon.process().kill();
            }
            Ok(())
        },
    );
}
