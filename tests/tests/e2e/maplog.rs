//! The mapping log of a running daemon: sent to a collector, sealed, signed, asked and proved.

use std::collections::HashSet;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use cgn_tests::lab::{self, Daemon, Plan, Settings, UdpEcho, address, cgn_program, wait_until};
use cgn_user::engine::clock::Discipline;
use serde_json::Value;

use crate::{PATIENCE_SECS, SERVER, in_lab, lacks_program};

/// Two days: a first day is over then, and has a manifest.
const DAY_SECS: u32 = 86_400;

#[test]
fn what_happens_is_sent_sealed_signed_and_found_again() {
    let name = "maplog::what_happens_is_sent_sealed_signed_and_found_again";
    if lacks_program(name, "openssl") {
        return;
    }
    in_lab(name, &Plan::default(), |lab| {
        let key = lab.folder().join("log.key");
        let public = lab.folder().join("log.pub");
        openssl(&[
            "genpkey",
            "-algorithm",
            "ed25519",
            "-out",
            &key.display().to_string(),
        ])?;
        let pair = [key.display().to_string(), public.display().to_string()];
        openssl(&["pkey", "-in", &pair[0], "-pubout", "-out", &pair[1]])?;
        let listener = lab.cgn.within(|| Ok(TcpListener::bind("127.0.0.1:0")?))?;
        let collector = listener.local_addr()?;
        let settings = Settings::default();
        let toml = settings.toml(lab).replace(
            "[log]\n",
            &format!("[log]\nsign_key = \"{}\"\n", key.display()),
        ) + &format!(
            "\n[[sink]]\nname = \"judge\"\nformat = \"jsonl\"\ntransport = \"tcp\"\naddress = \"{collector}\"\n"
        );
        let daemon = Daemon::start_with(lab, &toml, &cgn_program()?, &["--test-clock"])?;
        let printed = std::fs::read_to_string(lab.folder().join("daemon.log"))?;
        ensure!(
            printed.contains("the system's clock is not synchronised")
                != Discipline::read()?.is_good(),
            "not told whether times are right: {printed}"
        );
        let echo = UdpEcho::start(&lab.internet, SERVER)?;
        let inside = address::subscriber(1, 2);
        let socket = lab::echo_from(&lab.subscribers[0], inside)?;
        let seen = lab::exchange(&socket, echo.address(), b"hello", false, PATIENCE_SECS)?;
        // Asked while it runs, of a record that is not sealed.
        let asked = format!("{seen}");
        let root = daemon.log().display().to_string();
        let who = [
            "who", &asked, "--proto", "udp", "--format", "json", "--dir", &root,
        ];
        let answer = cgn_log(&who)?;
        ensure!(answer[0]["outcome"] == "one", "{answer}");
        ensure!(
            answer[0]["holdings"][0]["subscriber"] == inside.to_string(),
            "{answer}"
        );
        let since = answer[0]["holdings"][0]["since"]
            .as_str()
            .context("a time")?
            .to_owned();
        // The first day ends, and the second; a block is given on each, so each has a file.
        for number in [3, 4] {
            daemon.advance_clock(DAY_SECS)?;
            let other = lab::echo_from(&lab.subscribers[0], address::subscriber(1, number))?;
            lab::exchange(&other, echo.address(), b"later", true, PATIENCE_SECS)?;
        }
        wait_until("a signed manifest of the first day", 10.0, || {
            let days = std::fs::read_dir(daemon.log())?.flatten();
            let signed = days
                .filter(|day| day.path().join("manifest.sig").exists())
                .count();
            Ok((signed > 0).then_some(()))
        })?;
        let at = [&who[..], &["--at", &since]].concat();
        let sealed = cgn_log(&at)?;
        ensure!(
            sealed[0]["holdings"][0]["subscriber"] == inside.to_string(),
            "{sealed}"
        );
        let log = daemon.log().to_owned();
        ensure!(daemon.stop()?.success(), "the daemon ended badly");
        let proof = Command::new(cgn_program()?)
            .args(["log", "verify", &root, "--public-key", &pair[1]])
            .output()?;
        let said = String::from_utf8_lossy(&proof.stdout);
        ensure!(
            proof.status.success() && said.contains("as it was written"),
            "{said}"
        );
        // All that is in the log was sent, also the stop.
        let written: HashSet<u64> = cgn_user::maplog::read(&log)?
            .map(|record| record.map(|record| record.sequence))
            .collect::<Result<_, _>>()?;
        let (stream, _) = listener.accept()?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        let mut sent = HashSet::new();
        for line in BufReader::new(stream).lines() {
            let line: Value = serde_json::from_str(&line?)?;
            sent.extend(line["sequence"].as_u64());
        }
        ensure!(sent == written, "sent {sent:?}, written {written:?}");
        Ok(())
    });
}

#[test]
fn a_collector_is_told_once_that_a_pool_is_used_up() {
    let name = "maplog::a_collector_is_told_once_that_a_pool_is_used_up";
    in_lab(name, &Plan::default(), |lab| {
        let listener = lab.cgn.within(|| Ok(TcpListener::bind("127.0.0.1:0")?))?;
        let collector = listener.local_addr()?;
        let settings = Settings {
            // 567 blocks, of which six can be had.
            block_ports: 1024,
            max_blocks: Some(6),
            ..Settings::default()
        };
        let toml = settings.toml(lab).replace(
            "[[pool]]\n",
            "[[pool]]\nhigh_percent = 1\nlow_percent = 0\n",
        ) + &format!(
            "\n[[sink]]\nname = \"judge\"\nformat = \"jsonl\"\ntransport = \"tcp\"\naddress = \"{collector}\"\n"
        );
        let daemon = Daemon::start_with(lab, &toml, &cgn_program()?, &["--test-clock"])?;
        let echo = UdpEcho::start(&lab.internet, SERVER)?;
        let host = &lab.subscribers[0];
        for index in 0..10 {
            let socket = lab::echo_from(host, address::crowd(index))?;
            let met = lab::exchange(&socket, echo.address(), b"hello", false, 0.7);
            ensure!(met.is_ok() == (index < 6), "subscriber {index}: {met:?}");
        }
        let (stream, _) = listener.accept()?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        wait_until("a second turn of the housekeeping", 10.0, || {
            let metrics = daemon.metrics()?;
            let high = "cgn_notices_total{kind=\"pool_high\"} 1";
            Ok(metrics.contains(high).then_some(()))
        })?;
        ensure!(daemon.stop()?.success(), "the daemon ended badly");
        let mut notices = Vec::new();
        for line in BufReader::new(stream).lines() {
            let line: Value = serde_json::from_str(&line?)?;
            if line.get("sequence").is_none() {
                notices.push(format!(
                    "{} {} {}",
                    line["kind"], line["most"], line["addresses"]
                ));
            }
        }
        notices.sort();
        // Four were refused, within a minute; of nine addresses one is a hundredth, rounded up.
        let expected = ["\"mappings_exceeded\" 6144 null", "\"pool_high\" null 1"];
        ensure!(notices == expected, "{notices:?}");
        Ok(())
    });
}

fn openssl(arguments: &[&str]) -> Result<()> {
    // Nobody else may read a key, or the daemon refuses it.
    let line = format!("umask 077; exec openssl {}", arguments.join(" "));
    let output = Command::new("sh").args(["-c", &line]).output()?;
    ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

fn cgn_log(arguments: &[&str]) -> Result<Value> {
    let output = Command::new(cgn_program()?)
        .arg("log")
        .args(arguments)
        .output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    serde_json::from_slice(&output.stdout).with_context(|| format!("cgn log {arguments:?}: {said}"))
}
