//! Connections that are silent for long, and such that go on from elsewhere.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use cgn_tests::lab::{Daemon, Dialogue, Lab, Namespace, Plan, address, in_lab, wait_until};
use cgn_tests::skip::{lacks_program, python_with};

use crate::{
    FIRST, PATIENCE_SECS, SWEPT, TCP_ESTABLISHED_SECS, certificate, is_of, one_address,
    outlast_udp, script,
};

const SERVER: Ipv4Addr = address::SERVERS[0];
/// Longer than what a program waits for itself before it says that nothing came.
const LINE_SECS: f64 = PATIENCE_SECS * 2.0;

const PING_SECS: u32 = 60;
const DAY_SECS: u32 = 24 * 3600;
/// After so many pings the sweep is given the time to look.
const PINGS_PER_LOOK: u32 = 360;
/// A part in Python that answers line by line; its first line says that it is ready.
fn part(
    lab: &Lab,
    host: &Namespace,
    python: &Path,
    (name, text): (&str, &str),
    arguments: &[&str],
) -> Result<Dialogue> {
    let mut command = host.command(python);
    command.arg(script(lab, name, text)?).args(arguments);
    Dialogue::start(name, &mut command, LINE_SECS)
}

#[test]
fn a_websocket_with_pings_lives_for_a_day_and_a_silent_one_as_long_as_it_may() {
    let name = "idle::a_websocket_with_pings_lives_for_a_day_and_a_silent_one_as_long_as_it_may";
    let Some(python) = python_with(name, "websockets.sync") else {
        return;
    };
    in_lab(name, &Plan::default(), |lab| {
        let daemon = Daemon::start(lab, &one_address())?;
        let text = ("websocket.py", include_str!("websocket.py"));
        let address = SERVER.to_string();
        let mut server = part(lab, &lab.internet, &python, text, &["serve", &address])?;
        ensure!(server.hear()? == "listening");
        let arguments = ["connect", &address, &FIRST.to_string()];
        let mut client = part(lab, &lab.subscribers[0], &python, text, &arguments)?;
        ensure!(client.hear()? == "connected");
        for ping in 1..=DAY_SECS / PING_SECS {
            daemon.advance_clock(PING_SECS)?;
            let answer = client.ask("ping")?;
            ensure!(answer == "pong", "ping {ping}: {answer}");
            if ping % PINGS_PER_LOOK == 0 {
                std::thread::sleep(SWEPT);
            }
        }
        // RFC 5382 REQ-5: silent for as long as an established connection may be.
        daemon.advance_clock(TCP_ESTABLISHED_SECS - 20)?;
        std::thread::sleep(SWEPT);
        ensure!(server.ask("push")? == "sent" && client.ask("hear")? == "news");
        daemon.advance_clock(TCP_ESTABLISHED_SECS + 20)?;
        wait_until(
            "the silent connection's mapping ends",
            PATIENCE_SECS,
            || Ok(daemon.mappings()?.is_empty().then_some(())),
        )?;
        let before = daemon.count_of("no_mapping")?;
        ensure!(server.ask("push")? == "sent" && client.ask("hear")? == "nothing");
        daemon.wait_for_count("no_mapping", before, 1)
    });
}

#[test]
fn quic_goes_on_from_another_port_and_after_a_silence() {
    let name = "idle::quic_goes_on_from_another_port_and_after_a_silence";
    let Some(python) = python_with(name, "aioquic") else {
        return;
    };
    if lacks_program(name, "openssl") {
        return;
    }
    in_lab(name, &Plan::default(), |lab| {
        let daemon = Daemon::start(lab, &one_address())?;
        let (certificate, key) = certificate(lab)?;
        let text = ("quic.py", include_str!("quic.py"));
        let (certificate, key) = (certificate.display().to_string(), key.display().to_string());
        let arguments = ["serve", &SERVER.to_string(), &certificate, &key];
        let mut server = part(lab, &lab.internet, &python, text, &arguments)?;
        ensure!(server.hear()? == "listening");
        let arguments = ["ask", &SERVER.to_string(), &FIRST.to_string()];
        let mut client = part(lab, &lab.subscribers[0], &python, text, &arguments)?;
        let first = seen(&mut client)?;
        // RFC 9000 section 9: a new port inside is a new mapping, and the connection follows.
        ensure!(client.ask("move")? == "moved");
        let moved = seen(&mut client)?;
        ensure!(moved != first, "still seen at {first}");
        // The mapping ends while both are silent, and the next packet opens another.
        outlast_udp(&daemon)?;
        let back = seen(&mut client)?;
        for external in [first, moved, back] {
            is_of(&daemon, external, FIRST)?;
        }
        Ok(())
    });
}

/// Where the server sees the client.
fn seen(client: &mut Dialogue) -> Result<SocketAddrV4> {
    let said = client.ask("ask")?;
    said.parse().with_context(|| said.clone())
}
