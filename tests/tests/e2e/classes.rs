//! Classes of ports: a port below 1024 becomes one below 1024, and the log knows whose it is.

use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use cgn_tests::lab::{
    self, Daemon, Lab, Plan, Settings, UdpEcho, address, cgn_program, in_lab, run_to_end,
};
use serde_json::Value;

use crate::{PATIENCE_SECS, SERVER, attributed};

const BLOCK_PORTS: u16 = 512;
/// Inside ports, and whether each is below 1024.
const PORTS: [(u16, bool); 6] = [
    (123, true),
    (500, true),
    (1023, true),
    (1024, false),
    (4500, false),
    (40_000, false),
];

#[test]
fn a_port_below_1024_stays_below_and_is_attributed() {
    let name = "classes::a_port_below_1024_stays_below_and_is_attributed";
    in_lab(name, &Plan::default(), |lab| {
        let settings = Settings {
            keep_class: true,
            block_ports: BLOCK_PORTS,
            ..Settings::default()
        };
        for (host, force_slow_path) in [(2, false), (3, true)] {
            let settings = Settings {
                force_slow_path,
                ..settings.clone()
            };
            classes_are_kept(lab, &settings, address::subscriber(1, host))
                .with_context(|| format!("with force_slow_path = {force_slow_path}"))?;
        }
        // With ranges of ports again: what the log has of this address says nothing of them, so all
        // of it is in hold, and a new subscriber gets a block of another address.
        ranges_again(lab, &settings)
    });
}

fn classes_are_kept(lab: &Lab, settings: &Settings, inside: Ipv4Addr) -> Result<()> {
    let mut daemon = Daemon::start(lab, settings)?;
    let echo = UdpEcho::start(&lab.internet, SERVER)?;
    let mut flows = Vec::new();
    for (port, is_system) in PORTS {
        let socket = bound(lab, inside, port)?;
        let seen = lab::exchange(&socket, echo.address(), b"x", true, PATIENCE_SECS)?;
        ensure!((seen.port() < 1024) == is_system, "{port} became {seen}");
        attributed(&daemon, inside, seen)?;
        flows.push((socket, seen));
    }
    ensure!(daemon.pools()?.remove(0).port_mode == "classes");
    let blocks = daemon.blocks()?;
    let block = blocks.iter().find(|block| block.inside == inside);
    let block = block.context("he has a block")?;
    for (_, seen) in &flows {
        let ranges = [
            block.first_port..=block.last_port,
            block.first_system_port..=block.last_system_port,
        ];
        ensure!(
            ranges.iter().any(|range| range.contains(&seen.port())),
            "{seen} is not of {block:?}"
        );
        asked(&daemon, *seen, inside)?;
        let mut lookup = Command::new(cgn_program()?);
        lookup.args(["lookup", &seen.to_string(), "--socket"]);
        let told = run_to_end(lookup.arg(daemon.socket()), PATIENCE_SECS)?;
        ensure!(told.contains(&inside.to_string()), "{told}");
    }
    // A port of neither range is not the subscriber's.
    let other = SocketAddrV4::new(*flows[0].1.ip(), block.last_system_port + 1);
    ensure!(asked(&daemon, other, inside).is_err());
    daemon.process().kill();
    let _next = Daemon::start(lab, settings)?;
    for (socket, seen) in &flows {
        let again = lab::exchange(socket, echo.address(), b"y", false, PATIENCE_SECS)?;
        ensure!(again == *seen, "{seen} became {again}");
    }
    Ok(())
}

fn ranges_again(lab: &Lab, settings: &Settings) -> Result<()> {
    let settings = Settings {
        keep_class: false,
        ..settings.clone()
    };
    let arguments = ["--test-clock", "--discard-tables"];
    let daemon = Daemon::start_with(lab, &settings.toml(lab), &cgn_program()?, &arguments)?;
    let echo = UdpEcho::start(&lab.internet, SERVER)?;
    let inside = address::subscriber(1, 4);
    let held: Vec<Ipv4Addr> = daemon
        .log_records()?
        .iter()
        .filter_map(|record| record.entry.event.block())
        .map(|block| block.external)
        .collect();
    let socket = bound(lab, inside, 500)?;
    let seen = lab::exchange(&socket, echo.address(), b"z", true, PATIENCE_SECS)?;
    ensure!(seen.port() >= 1024 && !held.contains(seen.ip()), "{seen}");
    attributed(&daemon, inside, seen)
}

fn bound(lab: &Lab, inside: Ipv4Addr, port: u16) -> Result<UdpSocket> {
    lab.subscribers[0].within(|| {
        UdpSocket::bind(SocketAddrV4::new(inside, port))
            .with_context(|| format!("cannot bind UDP {inside}:{port}"))
    })
}

/// `cgn log who` names the owner, and true ports.
fn asked(daemon: &Daemon, seen: SocketAddrV4, owner: Ipv4Addr) -> Result<()> {
    let (asked, root) = (seen.to_string(), daemon.log().display().to_string());
    let mut command = Command::new(cgn_program()?);
    command.args(["log", "who", &asked, "--proto", "udp", "--dir", &root]);
    command.args(["--format", "json"]);
    let answer: Value = serde_json::from_str(&run_to_end(&mut command, PATIENCE_SECS)?)?;
    let holding = &answer[0]["holdings"][0];
    ensure!(
        holding["subscriber"] == owner.to_string(),
        "{seen}: {answer}"
    );
    let port = |name: &str| holding[name].as_u64().context("a port");
    let (first, last) = match seen.port() < 1024 {
        true => ("first_system_port", "last_system_port"),
        false => ("first_port", "last_port"),
    };
    let asked = u64::from(seen.port());
    ensure!(port(first)? <= asked && asked <= port(last)?, "{answer}");
    ensure!(holding["key"].is_null(), "{answer}");
    Ok(())
}
