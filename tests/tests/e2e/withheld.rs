//! `cgn pool`: an external address goes out of use and comes back.

use std::net::Ipv4Addr;
use std::process::{Command, Output};

use anyhow::{Context as _, Result, ensure};
use cgn_tests::lab::{
    self, Daemon, Lab, Plan, Settings, UdpEcho, address, cgn_program, wait_until,
};

use crate::reload::tells;
use crate::{PATIENCE_SECS, SERVER, in_lab};

pub(crate) fn pool(lab: &Lab, what: &str, address: Ipv4Addr) -> Result<Output> {
    let mut command = Command::new(cgn_program()?);
    command.args(["pool", what, &address.to_string(), "--socket"]);
    command.arg(lab.folder().join("cgn.sock"));
    command.output().context("cgn pool")
}

/// The engine looks once a while.
fn is_told(daemon: &Daemon, words: &str) -> Result<()> {
    wait_until("cgn show pools tells it", PATIENCE_SECS, || {
        Ok((daemon.pools()?[0].withheld == words).then_some(()))
    })?;
    std::thread::sleep(std::time::Duration::from_secs(2));
    Ok(())
}

#[test]
fn an_address_is_quarantined_drained_and_restored() {
    in_lab(
        "withheld::an_address_is_quarantined_drained_and_restored",
        &Plan::default(),
        |lab| {
            let mut daemon = Daemon::start(lab, &Settings::default())?;
            let echo = UdpEcho::start(&lab.internet, SERVER)?;
            let host = &lab.subscribers[0];
            let inside = address::subscriber(1, 2);
            let socket = lab::echo_from(host, inside)?;
            let seen = lab::exchange(&socket, echo.address(), b"one", true, PATIENCE_SECS)?;
            let mine = *seen.ip();

            let output = pool(lab, "quarantine", mine)?;
            tells(&output, 0, &["goes to no new subscriber", "1 subscriber"])?;
            is_told(&daemon, &format!("{mine} quarantined"))?;
            for index in 0..40 {
                let other = lab::echo_from(host, address::crowd(index))?;
                let got = lab::exchange(&other, echo.address(), b"new", true, PATIENCE_SECS)?;
                ensure!(*got.ip() != mine, "a new subscriber got {got}");
            }
            let more = lab::echo_from(host, inside)?;
            let got = lab::exchange(&more, echo.address(), b"mine", true, PATIENCE_SECS)?;
            ensure!(*got.ip() == mine, "who has it keeps it, not {got}");

            tells(
                &pool(lab, "drain", mine)?,
                0,
                &["goes to nobody", "1 subscriber"],
            )?;
            is_told(&daemon, &format!("{mine} drained"))?;
            let again = lab::exchange(&socket, echo.address(), b"still", true, PATIENCE_SECS)?;
            ensure!(again == seen, "{seen} became {again}");
            nothing_new(lab, &daemon, inside)?;

            // The next daemon knows it, too.
            ensure!(daemon.stop()?.success(), "it ended badly");
            daemon = Daemon::start(lab, &Settings::default())?;
            is_told(&daemon, &format!("{mine} drained"))?;
            let again = lab::exchange(&socket, echo.address(), b"still", true, PATIENCE_SECS)?;
            ensure!(again == seen, "{seen} became {again}");
            nothing_new(lab, &daemon, inside)?;

            // Once all has ended, the subscriber gets another address.
            let fresh = lab::echo_from(host, inside)?;
            wait_until("its block is released", 60.0, || {
                daemon.advance_clock(100)?;
                std::thread::sleep(std::time::Duration::from_millis(1500));
                let rows = daemon.blocks()?;
                Ok(rows.iter().all(|row| row.inside != inside).then_some(()))
            })?;
            let got = lab::exchange(&fresh, echo.address(), b"fresh", true, PATIENCE_SECS)?;
            ensure!(*got.ip() != mine, "it came back to {got}");

            tells(&pool(lab, "restore", mine)?, 0, &["is in use again"])?;
            is_told(&daemon, "")?;
            let nobody = Ipv4Addr::new(203, 0, 113, 200);
            tells(&pool(lab, "drain", nobody)?, 1, &["of no pool"])
        },
    );
}

/// A new flow is refused for the address that is drained.
fn nothing_new(lab: &Lab, daemon: &Daemon, inside: Ipv4Addr) -> Result<()> {
    let before = daemon.count_of("mapping_limit")?;
    let socket = lab::echo_from(&lab.subscribers[0], inside)?;
    socket.send_to(b"refused", SERVER)?;
    daemon.wait_for_count("mapping_limit", before, 1)
}
