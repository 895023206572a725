//! Deterministic NAT (RFC 7422): static ports without records, overflow with them, and who had which,
//! computed from the configuration.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::process::Command;

use anyhow::{Result, ensure};
use cgn_tests::lab::{
    self, Daemon, Lab, Plan, Settings, UdpEcho, address, cgn_program, run_to_end, wait_until,
};
use cgn_user::maplog::{Event, Record};
use serde_json::Value;

use crate::{PATIENCE_SECS, SERVER, in_lab};

/// 256 subscribers on one address, and 80 shares more: 192 ports each, which are 3 blocks of 64.
const BLOCK_PORTS: u16 = 64;
const SHARE: u16 = 3 * BLOCK_PORTS;
const FACTOR: u32 = 80;

fn configuration(lab: &Lab) -> String {
    let settings = Settings {
        addresses: "\"203.0.113.5\"".to_owned(),
        block_ports: BLOCK_PORTS,
        blocks_per_subscriber: 4,
        ..Settings::default()
    };
    let mode = format!("name = \"lab\"\nmode = \"deterministic\"\ndynamic_factor = {FACTOR}\n");
    let text = settings.toml(lab).replace("name = \"lab\"\n", &mode);
    text.replace("100.64.0.0/16", "100.64.1.0/24")
}

/// Static ports of 100.64.1.`host`: by the arithmetic of RFC 7422 section 2, not by our code.
fn share(host: u16) -> std::ops::RangeInclusive<u16> {
    let first = 1024 + host * SHARE;
    first..=first + SHARE - 1
}

fn first_overflow() -> u16 {
    1024 + 256 * SHARE
}

#[test]
fn static_ports_need_no_record_and_overflow_has_one() {
    let name = "deterministic::static_ports_need_no_record_and_overflow_has_one";
    in_lab(name, &Plan::default(), |lab| {
        let toml = configuration(lab);
        let program = cgn_program()?;
        let mut daemon = Daemon::start_with(lab, &toml, &program, &["--test-clock"])?;
        let echo = UdpEcho::start(&lab.internet, SERVER)?;
        let inside = address::subscriber(1, 2);
        let host = u16::from(inside.octets()[3]);
        ensure!(inside.octets()[..3] == [100, 64, 1], "{inside}");
        let mut flows = Vec::new();
        for number in 1..=SHARE {
            let socket = lab::echo_from(&lab.subscribers[0], inside)?;
            let seen = lab::exchange(&socket, echo.address(), b"x", true, PATIENCE_SECS)?;
            ensure!(share(host).contains(&seen.port()), "flow {number}: {seen}");
            flows.push((socket, seen));
        }
        let records = allocations(&daemon.log_records()?);
        ensure!(
            records.is_empty(),
            "static ports are on record: {records:?}"
        );
        // The next one does not fit.
        let socket = lab::echo_from(&lab.subscribers[0], inside)?;
        let over = lab::exchange(&socket, echo.address(), b"x", true, PATIENCE_SECS)?;
        ensure!(over.port() >= first_overflow(), "{over}");
        let records = allocations(&daemon.log_records()?);
        ensure!(records == [inside], "records of {records:?}");
        for seen in [flows[0].1, over] {
            who(&daemon, seen, inside)?;
        }
        map(lab, &daemon, flows[0].1, inside)?;
        advice(&daemon)?;
        // Another daemon takes both over, and repairs nothing.
        daemon.process().kill();
        daemon = Daemon::start_with(lab, &toml, &program, &["--test-clock"])?;
        for (socket, seen) in &flows {
            let again = lab::exchange(socket, echo.address(), b"y", false, PATIENCE_SECS)?;
            ensure!(again == *seen, "{seen} became {again}");
        }
        let found = daemon.status()?.reconciliation;
        ensure!(
            (found.identical, found.repaired, found.incomplete) == (4, 0, 0),
            "{found:?}"
        );
        Ok(())
    });
}

/// 1,000 subscribers of one address have a block of 64 ports each, which leaves 8 of 1,008 for overflow: of
/// these 3 are over 30 percent, and of all blocks next to nothing.
const CROWDED: &str = "\"100.64.0.0/23\", \"100.64.2.0/24\", \"100.64.3.0/25\", \"100.64.3.128/26\", \
                       \"100.64.3.192/27\", \"100.64.3.224/29\"";

#[test]
fn who_watches_is_told_when_overflow_runs_short_and_when_it_does_not_any_more() {
    let name =
        "deterministic::who_watches_is_told_when_overflow_runs_short_and_when_it_does_not_any_more";
    in_lab(name, &Plan::default(), |lab| {
        let toml = configuration(lab)
            .replace("\"100.64.1.0/24\"", CROWDED)
            .replace(
                &format!("dynamic_factor = {FACTOR}\n"),
                "dynamic_factor = 0\nhigh_percent = 30\nlow_percent = 10\n",
            );
        let daemon = Daemon::start_with(lab, &toml, &cgn_program()?, &["--test-clock"])?;
        let echo = UdpEcho::start(&lab.internet, SERVER)?;
        let inside = address::subscriber(1, 2);
        let taken = |blocks: u32, told: [u32; 2]| -> Result<bool> {
            let page = daemon.metrics()?;
            let has = |line: String| page.lines().any(|found| found == line);
            Ok(has(format!(
                "cgn_overflow_blocks{{pool=\"lab\",state=\"taken\"}} {blocks}"
            )) && has(format!(
                "cgn_notices_total{{kind=\"overflow_high\"}} {}",
                told[0]
            )) && has(format!(
                "cgn_notices_total{{kind=\"overflow_low\"}} {}",
                told[1]
            )) && has("cgn_notices_total{kind=\"pool_high\"} 0".to_owned()))
        };
        let mut flows = Vec::new();
        for (ports, blocks, told) in [(64, 0, [0, 0]), (128, 1, [0, 0]), (193, 3, [1, 0])] {
            while flows.len() < ports {
                let socket = lab::echo_from(&lab.subscribers[0], inside)?;
                lab::exchange(&socket, echo.address(), b"x", true, PATIENCE_SECS)?;
                flows.push(socket);
            }
            wait_until(&format!("{blocks} blocks"), PATIENCE_SECS, || {
                Ok(taken(blocks, told)?.then_some(()))
            })?;
        }
        // Mappings end, ports and blocks are held, and then there is room again.
        daemon.advance_clock(301)?;
        wait_until("idle mappings end", PATIENCE_SECS, || {
            Ok(daemon.mappings()?.is_empty().then_some(()))
        })?;
        daemon.advance_clock(121)?;
        wait_until("no port is in hold", PATIENCE_SECS, || {
            let rows = daemon.blocks()?;
            Ok(rows.iter().all(|row| row.ports_used.udp == 0).then_some(()))
        })?;
        daemon.advance_clock(61)?;
        wait_until("the static block alone is left", PATIENCE_SECS, || {
            Ok((daemon.blocks()?.len() == 1).then_some(()))
        })?;
        daemon.advance_clock(121)?;
        wait_until("the end of it", PATIENCE_SECS, || {
            Ok(taken(0, [1, 1])?.then_some(()))
        })
    });
}

/// `cgn advise limits` has seen the subscriber's 193 ports.
fn advice(daemon: &Daemon) -> Result<()> {
    wait_until("a sweep that saw all ports", PATIENCE_SECS, || {
        let mut command = Command::new(cgn_program()?);
        command
            .args(["advise", "limits", "--json", "--socket"])
            .arg(daemon.socket());
        let said: Value = serde_json::from_str(&run_to_end(&mut command, PATIENCE_SECS)?)?;
        let udp = &said["protocols"][1];
        let is_seen = udp["protocol"] == "udp" && udp["most"] == SHARE + 1;
        Ok((is_seen && udp["subscribers"] == 1 && udp["advised"] == 256).then_some(()))
    })
}

fn allocations(records: &[Record]) -> Vec<Ipv4Addr> {
    let inside = records
        .iter()
        .filter_map(|record| match record.entry.event {
            Event::Allocate(block) => Some(block.inside),
            _ => None,
        });
    inside.collect()
}

/// `cgn log who` names the owner, whether by a record or by the map.
fn who(daemon: &Daemon, seen: SocketAddrV4, owner: Ipv4Addr) -> Result<()> {
    let (asked, root) = (seen.to_string(), daemon.log().display().to_string());
    let mut command = Command::new(cgn_program()?);
    command.args(["log", "who", &asked, "--proto", "udp", "--dir", &root]);
    let text = run_to_end(command.args(["--format", "json"]), PATIENCE_SECS)?;
    let answer: Value = serde_json::from_str(&text)?;
    let subscriber = &answer[0]["holdings"][0]["subscriber"];
    ensure!(*subscriber == owner.to_string(), "{seen}: {answer}");
    Ok(())
}

/// `cgn map` says the same both ways, from the configuration and from the log's records.
fn map(lab: &Lab, daemon: &Daemon, seen: SocketAddrV4, inside: Ipv4Addr) -> Result<()> {
    let file = lab.folder().join("cgn.toml").display().to_string();
    let root = daemon.log().display().to_string();
    for source in [["--config", &file], ["--dir", &root]] {
        let ask = |arguments: [&str; 2]| -> Result<Value> {
            let mut command = Command::new(cgn_program()?);
            command
                .arg("map")
                .args(arguments)
                .args(source)
                .arg("--json");
            Ok(serde_json::from_str(&run_to_end(
                &mut command,
                PATIENCE_SECS,
            )?)?)
        };
        let forward = ask(["forward", &inside.to_string()])?;
        let ports = share(u16::from(inside.octets()[3]));
        ensure!(forward["external"] == seen.ip().to_string(), "{forward}");
        ensure!(forward["first_port"] == *ports.start(), "{forward}");
        ensure!(forward["last_port"] == *ports.end(), "{forward}");
        ensure!(
            forward["first_overflow_port"] == first_overflow(),
            "{forward}"
        );
        let reverse = ask(["reverse", &seen.to_string()])?;
        ensure!(reverse["inside"] == inside.to_string(), "{reverse}");
    }
    Ok(())
}
