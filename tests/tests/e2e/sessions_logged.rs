//! `log.mode`: mappings and sessions of a running daemon on record, of each subscriber as its group
//! wants it.

use std::net::SocketAddrV4;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use cgn_tests::lab::{self, Daemon, Plan, Settings, UdpEcho, address, cgn_program, wait_until};
use cgn_user::maplog::{Event, Session};
use serde_json::Value;

use crate::{PATIENCE_SECS, SERVER, in_lab};

/// Longer than the timer of UDP, shorter than it with the hold of the port.
const OVER_SECS: u32 = 320;

/// One of several destinations on one address.
fn server(number: u16) -> SocketAddrV4 {
    SocketAddrV4::new(*SERVER.ip(), SERVER.port() + number)
}

fn sessions_in(daemon: &Daemon) -> Result<(Vec<Session>, Vec<Session>)> {
    let (mut opened, mut closed) = (Vec::new(), Vec::new());
    for record in daemon.log_records()? {
        match record.entry.event {
            Event::Open(session) => opened.push(session),
            Event::Close(session) => closed.push(session),
            _ => {}
        }
    }
    opened.sort_unstable();
    closed.sort_unstable();
    Ok((opened, closed))
}

#[test]
fn each_session_is_on_record_with_begin_and_end() {
    let name = "sessions_logged::each_session_is_on_record_with_begin_and_end";
    in_lab(name, &Plan::default(), |lab| {
        let group = address::subscriber(1, 3);
        let toml = Settings::default()
            .toml(lab)
            .replace("[log]\n", "[log]\nmode = \"session_with_destination\"\n")
            + &format!(
                "\n[[group]]\nname = \"discreet\"\nprefixes = [\"{group}/32\"]\nlog = \"session\"\n"
            );
        let daemon = Daemon::start_with(lab, &toml, &cgn_program()?, &["--test-clock"])?;
        let echoes = [
            UdpEcho::start(&lab.internet, server(0))?,
            UdpEcho::start(&lab.internet, server(1))?,
        ];
        let inside = address::subscriber(1, 2);
        let open = lab::echo_from(&lab.subscribers[0], inside)?;
        let discreet = lab::echo_from(&lab.subscribers[0], group)?;
        let mut seen = None;
        for echo in &echoes {
            let external = lab::exchange(&open, echo.address(), b"hello", false, PATIENCE_SECS)?;
            seen = Some(external);
            lab::exchange(&discreet, echo.address(), b"hello", false, PATIENCE_SECS)?;
        }
        // Two sessions of the one, a mapping of the other.
        let (opened, _) = wait_until("three that began", 10.0, || {
            let found = sessions_in(&daemon)?;
            Ok((found.0.len() >= 3).then_some(found))
        })?;
        let remotes = |of: std::net::Ipv4Addr| -> Vec<Option<u16>> {
            let of = opened.iter().filter(|session| session.inside == of);
            of.map(|session| session.remote.map(|remote| remote.port))
                .collect()
        };
        let mut wanted: Vec<_> = echoes
            .iter()
            .map(|echo| Some(echo.address().port()))
            .collect();
        wanted.sort_unstable();
        ensure!(remotes(inside) == wanted, "{opened:?}, not {wanted:?}");
        ensure!(remotes(group) == [None], "{opened:?}");
        // Asked for, with the destinations.
        let seen = seen.context("an external endpoint")?;
        let asked = cgn_log(&daemon, &format!("{seen}"))?;
        let told = asked[0]["sessions"].as_array().context("sessions")?.len();
        ensure!(asked[0]["outcome"] == "one" && told == 2, "{asked}");
        let remote = &asked[0]["sessions"][0]["remote"];
        ensure!(
            echoes
                .iter()
                .any(|echo| *remote == echo.address().to_string()),
            "{asked}"
        );
        daemon.advance_clock(OVER_SECS)?;
        let (opened, closed) = wait_until("three that ended", 10.0, || {
            let found = sessions_in(&daemon)?;
            Ok((found.1.len() >= 3).then_some(found))
        })?;
        ensure!(opened == closed, "{opened:?} and {closed:?}");
        let metrics = daemon.metrics()?;
        ensure!(
            metrics.contains("cgn_log_records_total{kind=\"session\"} 6"),
            "six records: {metrics}"
        );
        ensure!(daemon.stop()?.success(), "the daemon ended badly");
        Ok(())
    });
}

#[test]
fn a_session_that_cannot_be_on_record_is_none() {
    let name = "sessions_logged::a_session_that_cannot_be_on_record_is_none";
    in_lab(name, &Plan::default(), |lab| {
        // Room for one session beside the first of each mapping.
        let toml = Settings::default()
            .toml(lab)
            .replace("[log]\n", "[log]\nmode = \"session_with_destination\"\n")
            + "\n[sessions]\nmax = 1\n";
        let daemon = Daemon::start_with(lab, &toml, &cgn_program()?, &["--test-clock"])?;
        let socket = lab::echo_from(&lab.subscribers[0], address::subscriber(1, 2))?;
        for (number, is_answered) in [(0, true), (1, true), (2, false)] {
            let echo = UdpEcho::start(&lab.internet, server(number))?;
            let patience = if is_answered { PATIENCE_SECS } else { 0.7 };
            let met = lab::exchange(&socket, echo.address(), b"hello", false, patience);
            ensure!(met.is_ok() == is_answered, "destination {number}: {met:?}");
        }
        ensure!(
            daemon.count_of("sessions_full")? > 0,
            "a drop with its reason"
        );
        Ok(())
    });
}

fn cgn_log(daemon: &Daemon, external: &str) -> Result<Value> {
    let root = daemon.log().display().to_string();
    let output = Command::new(cgn_program()?)
        .args(["log", "who", external, "--proto", "udp", "--format", "json"])
        .args(["--skew", "5", "--dir", &root])
        .output()?;
    serde_json::from_slice(&output.stdout)
        .with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())
}
