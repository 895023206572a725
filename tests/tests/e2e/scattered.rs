//! Scattered blocks: through a kill of the daemon and a new key, each port leads to its subscriber.

use std::net::SocketAddrV4;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use cgn_tests::lab::{
    self, Daemon, Lab, Plan, Settings, UdpEcho, address, cgn_program, run_to_end, wait_until,
};
use cgn_user::maplog::Event;
use serde_json::Value;

use crate::{PATIENCE_SECS, SERVER, attributed, in_lab};

const BLOCK_PORTS: u16 = 512;
const KEY_DAYS: u32 = 30;

#[test]
fn ports_lie_anywhere_and_every_one_is_attributed() {
    let name = "scattered::ports_lie_anywhere_and_every_one_is_attributed";
    in_lab(name, &Plan::default(), |lab| {
        let settings = Settings {
            port_mode: "scattered",
            block_ports: BLOCK_PORTS,
            ..Settings::default()
        };
        let mut daemon = Daemon::start(lab, &settings)?;
        let echo = UdpEcho::start(&lab.internet, SERVER)?;
        let inside = address::subscriber(1, 2);
        let mut flows = Vec::new();
        for _ in 0..40 {
            let socket = lab::echo_from(&lab.subscribers[0], inside)?;
            let seen = lab::exchange(&socket, echo.address(), b"x", true, PATIENCE_SECS)?;
            attributed(&daemon, inside, seen)?;
            flows.push((socket, seen));
        }
        let ports = || flows.iter().map(|(_, seen)| seen.port());
        let (least, most) = (ports().min().context("40")?, ports().max().context("40")?);
        ensure!(most - least > 4 * BLOCK_PORTS, "all within {least}-{most}");
        let keys: Vec<u8> = daemon.blocks()?.iter().map(|row| row.key).collect();
        ensure!(keys == [1], "keys of the blocks: {keys:?}");
        let pool = daemon.pools()?.remove(0);
        ensure!(pool.entropy_bits > 15.9, "{pool:?}");
        let first = flows[0].1;
        asked(&daemon, first, inside.to_string(), None)?;
        ensure!(lookup(&daemon, first)?.contains(&inside.to_string()));
        // The tables keep the key, and the next daemon finds the same in its file.
        daemon.process().kill();
        daemon = Daemon::start(lab, &settings)?;
        for (socket, seen) in &flows {
            let again = lab::exchange(socket, echo.address(), b"y", false, PATIENCE_SECS)?;
            ensure!(again == *seen, "{seen} became {again}");
        }
        let since = daemon.blocks()?.remove(0).allocated;
        next_key(lab, &daemon, &echo, &since, (first, inside.to_string()))
    });
}

/// After a month the address is empty and takes the new key; the old one still explains the old
/// records.
fn next_key(
    lab: &Lab,
    daemon: &Daemon,
    echo: &UdpEcho,
    since: &str,
    (old, owner): (SocketAddrV4, String),
) -> Result<()> {
    daemon.advance_clock(KEY_DAYS * 86_400)?;
    // Mappings end, then the hold of their ports, and then the block is idle for long enough.
    wait_until("the idle block is released", 60.0, || {
        daemon.advance_clock(100)?;
        Ok(daemon.blocks()?.is_empty().then_some(()))
    })?;
    // Its hold ends, too.
    daemon.advance_clock(600)?;
    let inside = address::subscriber(1, 3);
    let socket = lab::echo_from(&lab.subscribers[0], inside)?;
    let seen = lab::exchange(&socket, echo.address(), b"z", true, PATIENCE_SECS)?;
    attributed(daemon, inside, seen)?;
    let records = daemon.log_records()?;
    let blocks = records
        .iter()
        .filter_map(|record| match record.entry.event {
            Event::Allocate(block) => Some(block.key),
            _ => None,
        });
    let keys: Vec<u8> = blocks.collect();
    ensure!(keys == [1, 2], "keys of the records: {keys:?}");
    asked(daemon, old, owner, Some(since))
}

/// `cgn log who` names the owner.
fn asked(daemon: &Daemon, seen: SocketAddrV4, owner: String, at: Option<&str>) -> Result<()> {
    let (asked, root) = (seen.to_string(), daemon.log().display().to_string());
    let mut command = Command::new(cgn_program()?);
    command.args(["log", "who", &asked, "--proto", "udp", "--dir", &root]);
    command.args(["--format", "json"]);
    command.args(at.into_iter().flat_map(|at| ["--at", at]));
    let answer: Value = serde_json::from_str(&run_to_end(&mut command, PATIENCE_SECS)?)?;
    let holding = &answer[0]["holdings"][0];
    ensure!(holding["subscriber"] == owner, "{seen}: {answer}");
    ensure!(holding["key"] == 1, "{answer}");
    Ok(())
}

fn lookup(daemon: &Daemon, seen: SocketAddrV4) -> Result<String> {
    let mut command = Command::new(cgn_program()?);
    command.args(["lookup", &seen.to_string(), "--socket"]);
    run_to_end(command.arg(daemon.socket()), PATIENCE_SECS)
}
