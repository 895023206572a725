//! `cgn trace`: the fast path's own steps and verdicts; other programs are in place only while
//! somebody watches, and no packet is lost when they come and go.

use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use cgn_tests::lab::{self, Daemon, Lab, Plan, Settings, UdpEcho, address, cgn_program};
use cgn_user::api::rows::{TraceLine, TraceRow};

use crate::{PATIENCE_SECS, SERVER, in_lab, realms};

/// A running `cgn trace --json`; killed when this ends.
struct Trace(std::process::Child);

impl Trace {
    fn start(daemon: &Daemon, arguments: &[&str]) -> Result<Self> {
        let mut command = Command::new(cgn_program()?);
        command
            .args(["trace", "--json", "--socket"])
            .arg(daemon.socket())
            .args(arguments);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        Ok(Self(command.spawn().context("cgn trace")?))
    }

    /// What it printed, when it has ended by itself.
    fn lines(mut self) -> Result<Vec<TraceLine>> {
        let mut text = String::new();
        let out = self.0.stdout.as_mut().context("no stdout")?;
        std::io::Read::read_to_string(out, &mut text)?;
        let status = self.0.wait()?;
        ensure!(status.success(), "cgn trace: {status}, {text}");
        let lines = text
            .lines()
            .map(|line| serde_json::from_str(line).context(line.to_owned()));
        lines.collect()
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Number of the program on an interface.
fn program_of(lab: &Lab, interface: &str) -> Result<u64> {
    let mut command = lab.cgn.command("ip");
    command.args(["-json", "link", "show", "dev", interface]);
    let output = command.output().context("ip link")?;
    let shown: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let number = shown
        .pointer("/0/xdp/prog/id")
        .and_then(serde_json::Value::as_u64);
    number.with_context(|| format!("no program on {interface}: {shown}"))
}

/// Waits for the watching programs; the filter is opened a moment after they are in place.
fn is_watched(lab: &Lab, interface: &str, plain: u64) -> Result<()> {
    lab::wait_until("the watching programs", 60.0, || {
        Ok((program_of(lab, interface)? != plain).then_some(()))
    })?;
    std::thread::sleep(Duration::from_millis(500));
    Ok(())
}

fn packets(lines: Vec<TraceLine>) -> Result<Vec<TraceRow>> {
    let rows = lines.into_iter().map(|line| match line {
        TraceLine::Packet(row) => Ok(row),
        TraceLine::Missed { missed } => anyhow::bail!("{missed} packets are missing"),
    });
    rows.collect()
}

#[test]
fn steps_and_verdicts_of_one_subscriber_s_packets() {
    in_lab(
        "trace::steps_and_verdicts_of_one_subscriber_s_packets",
        &Plan::default(),
        |lab| {
            let daemon = Daemon::start(lab, &Settings::default())?;
            let echo = UdpEcho::start(&lab.internet, SERVER)?;
            let (inside, other) = (address::subscriber(1, 2), address::subscriber(1, 3));
            let socket = lab::echo_from(&lab.subscribers[0], inside)?;
            let port = socket.local_addr()?.port();
            let seen = lab::exchange(&socket, echo.address(), b"first", true, PATIENCE_SECS)?;
            let another = lab::echo_from(&lab.subscribers[0], other)?;
            lab::exchange(&another, echo.address(), b"first", true, PATIENCE_SECS)?;
            let plain = program_of(lab, "inside")?;

            let (address, number) = (inside.to_string(), port.to_string());
            let arguments = ["--inside", &address, "--port", &number, "--count", "4"];
            let trace = Trace::start(&daemon, &arguments)?;
            is_watched(lab, "inside", plain)?;
            for _ in 0..2 {
                lab::exchange(&another, echo.address(), b"another", false, PATIENCE_SECS)?;
                lab::exchange(&socket, echo.address(), b"traced", false, PATIENCE_SECS)?;
            }
            let rows = packets(trace.lines()?)?;
            ensure!(rows.len() == 4, "{rows:?}");
            for (row, is_outbound) in rows.iter().zip([true, false, true, false]) {
                let (packet, sent, steps) = match is_outbound {
                    true => (
                        format!("udp {inside}:{port} > {SERVER} "),
                        format!("udp {seen} > {SERVER} "),
                        "subscriber next_hop mapping translated",
                    ),
                    false => (
                        format!("udp {SERVER} > {seen} "),
                        format!("udp {SERVER} > {inside}:{port} "),
                        "translated",
                    ),
                };
                let told = row.sent.as_deref().unwrap_or_default();
                ensure!(row.packet.starts_with(&packet), "{row:?}, not {packet}");
                ensure!(told.starts_with(&sent), "{row:?}, not {sent}");
                ensure!(row.steps.join(" ").ends_with(steps), "{row:?}");
                ensure!(row.verdict == "translate" && row.took_ns > 0, "{row:?}");
            }
            lab::wait_until("the plain programs", PATIENCE_SECS, || {
                Ok((program_of(lab, "inside")? == plain).then_some(()))
            })?;
            refused(&daemon, lab, &echo)
        },
    );
}

/// A packet from outside that is refused, and a client that goes away by itself.
fn refused(daemon: &Daemon, lab: &Lab, echo: &UdpEcho) -> Result<()> {
    let plain = program_of(lab, "outside")?;
    let remote = SERVER.ip().to_string();
    let trace = Trace::start(daemon, &["--outside", &remote, "--count", "1"])?;
    is_watched(lab, "outside", plain)?;
    echo.send("203.0.113.77:4444".parse()?, b"knock")?;
    let rows = packets(trace.lines()?)?;
    let told = (rows[0].verdict.as_str(), rows[0].reason.as_deref());
    ensure!(told == ("drop", Some("no_mapping")), "{rows:?}");
    // "told": the program for refused packets, which sees that this one is no SYN.
    ensure!(rows[0].steps == ["pool_address", "told"], "{rows:?}");

    // Else those who come are not told by the programs that are in place by then.
    lab::wait_until("the plain programs", PATIENCE_SECS, || {
        Ok((program_of(lab, "outside")? == plain).then_some(()))
    })?;
    let gone = Trace::start(daemon, &[])?;
    is_watched(lab, "outside", plain)?;
    // Another one joins, and sees a new subscriber's packet punted, and sent by the slow path.
    let newcomer = address::subscriber(1, 44);
    let inside = newcomer.to_string();
    let second = Trace::start(daemon, &["--inside", &inside, "--count", "3"])?;
    std::thread::sleep(Duration::from_millis(500));
    let socket = lab::echo_from(&lab.subscribers[0], newcomer)?;
    lab::exchange(&socket, echo.address(), b"first", true, PATIENCE_SECS)?;
    let rows = packets(second.lines()?)?;
    let verdicts: Vec<&str> = rows.iter().map(|row| row.verdict.as_str()).collect();
    ensure!(verdicts == ["punt", "send", "translate"], "{rows:?}");
    drop(gone);
    lab::wait_until("the plain programs", PATIENCE_SECS, || {
        Ok((program_of(lab, "outside")? == plain).then_some(()))
    })
}

/// Three subscribers with one address (realms.rs), and a packet to each one's block that nobody waits for.
#[test]
fn a_trace_shows_packets_of_its_realm_and_of_no_other() {
    const TEST: &str = "trace::a_trace_shows_packets_of_its_realm_and_of_no_other";
    in_lab(TEST, &realms::plan(), |lab| {
        realms::connect(lab)?;
        let toml = realms::configuration(lab, &Settings::default());
        let daemon = Daemon::start_with(lab, &toml, &cgn_program()?, &[])?;
        let home = realms::HOME.to_string();
        for words in [&["trace"][..], &["capture", "--write", "-"]] {
            let mut command = Command::new(cgn_program()?);
            command.args(words);
            command
                .args(["--realm", "nobody", "--socket"])
                .arg(daemon.socket());
            let output = command.output()?;
            let said = String::from_utf8_lossy(&output.stderr);
            ensure!(
                !output.status.success() && said.contains("there is no realm \"nobody\""),
                "{said}"
            );
        }
        let echo = UdpEcho::start(&lab.internet, SERVER)?;
        let plain = program_of(lab, "inside")?;
        let start = |more: &[&str]| {
            let arguments = [&["--inside", &home, "--seconds", "20"], more].concat();
            Trace::start(&daemon, &arguments)
        };
        let all = start(&[])?;
        let own = start(&["--realm", "mvno"])?;
        let first = start(&["--realm", ""])?;
        is_watched(lab, "inside", plain)?;
        for host in &lab.subscribers {
            let socket = lab::echo_from(host, realms::HOME)?;
            let seen = lab::exchange(&socket, echo.address(), b"first", true, PATIENCE_SECS)?;
            lab::exchange(&socket, echo.address(), b"known", false, PATIENCE_SECS)?;
            let before = daemon.count_of("no_mapping")?;
            let unused = std::net::SocketAddrV4::new(*seen.ip(), seen.port() ^ 1);
            echo.send(unused, b"unasked")?;
            daemon.wait_for_count("no_mapping", before, 1)?;
        }
        // The first datagram comes, is sent by the slow path and answered; the second there and back; the last.
        let all = packets(all.lines()?)?;
        for (realm, own) in [("mvno", Some(own)), ("", Some(first)), ("cloud", None)] {
            let of_realm = |row: &&TraceRow| row.realm.as_deref() == Some(realm);
            let expected: Vec<&TraceRow> = all.iter().filter(of_realm).collect();
            let drops = expected.iter().filter(|row| row.verdict == "drop").count();
            ensure!(
                expected.len() >= 6 && drops == 1,
                "{realm:?}: {expected:?} of {all:?}"
            );
            if let Some(own) = own {
                let own = packets(own.lines()?)?;
                // Each trace has a clock of its own.
                let facts =
                    |row: &TraceRow| (row.packet.clone(), row.verdict.clone(), row.sent.clone());
                let same = own
                    .iter()
                    .map(facts)
                    .eq(expected.iter().map(|row| facts(row)));
                ensure!(same, "{realm:?}: {own:?} instead of {expected:?}");
            }
        }
        ensure!(all.iter().all(|row| row.realm.is_some()), "{all:?}");
        Ok(())
    });
}
