//! `cgn explain` says beforehand what then happens, and changes nothing.

use anyhow::{Context as _, Result, ensure};
use cgn_tests::lab::{self, Daemon, Plan, Settings, UdpEcho, address};
use cgn_user::api::rows::Explanation;

use crate::{PATIENCE_SECS, SERVER, in_lab};

/// The verdict, with its reason.
fn verdict(told: &Explanation) -> String {
    let reason = told.reason.clone().unwrap_or_default();
    format!("{} {reason}", told.verdict).trim_end().to_owned()
}

#[test]
fn what_is_explained_happens_and_explaining_changes_nothing() {
    in_lab(
        "explain::what_is_explained_happens_and_explaining_changes_nothing",
        &Plan::default(),
        |lab| {
            let daemon = Daemon::start(lab, &Settings::default())?;
            let echo = UdpEcho::start(&lab.internet, SERVER)?;
            let inside = address::subscriber(1, 2);
            let socket = lab::echo_from(&lab.subscribers[0], inside)?;
            let port = socket.local_addr()?.port();
            let seen = lab::exchange(&socket, echo.address(), b"known", true, PATIENCE_SECS)?;
            let before = (daemon.mappings()?.len(), daemon.blocks()?.len());

            let known = daemon.explain(&format!("udp {inside}:{port} > {SERVER}"))?;
            ensure!(
                verdict(&known) == "translate" && !known.mapping_is_new,
                "{known:?}"
            );
            let sent = known.sent.as_ref().and_then(|sent| sent.packet.as_deref());
            let sent = sent.context("nothing is sent")?;
            ensure!(
                sent.starts_with(&format!("udp {seen} > {SERVER} ")),
                "the server saw {seen}; explained was {sent}"
            );
            let answer = known.answer.as_ref().context("no answer")?;
            let back = answer.sent.as_ref().and_then(|sent| sent.packet.as_deref());
            ensure!(
                back.is_some_and(
                    |back| back.starts_with(&format!("udp {SERVER} > {inside}:{port} "))
                ),
                "the answer: {answer:?}"
            );
            refusals(&daemon)?;
            let after = (daemon.mappings()?.len(), daemon.blocks()?.len());
            ensure!(
                before == after,
                "{before:?} mappings and blocks became {after:?}"
            );

            // What it said of a new flow comes true.
            let other = lab::echo_from(&lab.subscribers[0], inside)?;
            let other_port = other.local_addr()?.port();
            let new = daemon.explain(&format!("udp {inside}:{other_port} > {SERVER}"))?;
            ensure!(
                verdict(&new) == "translate" && new.mapping_is_new,
                "{new:?}"
            );
            lab::exchange(&other, echo.address(), b"new", false, PATIENCE_SECS)?;
            let again = daemon.explain(&format!("udp {inside}:{other_port} > {SERVER}"))?;
            ensure!(!again.mapping_is_new, "{again:?}");
            Ok(())
        },
    );
}

/// Packets that end, and what happens to those who are no subscriber yet.
fn refusals(daemon: &Daemon) -> Result<()> {
    let inside = address::subscriber(1, 2);
    let stranger = address::subscriber(2, 99);
    for (sentence, packet, wanted, then) in [
        (
            "a first packet",
            format!("udp {stranger}:5000 > {SERVER}"),
            "punt first_packet",
            Some("a block of 64 ports of pool lab"),
        ),
        (
            "an unsolicited one",
            format!("udp {SERVER} > 203.0.113.77:4444"),
            "drop no_mapping",
            None,
        ),
        (
            "one that expires here, of which the sender is told",
            format!("udp {inside}:5000 > {SERVER} ttl 1"),
            "punt answered",
            Some("ICMP error"),
        ),
        (
            "to the router itself",
            format!("udp {inside}:5000 > {}:53", address::CGN_OUTSIDE),
            "pass local",
            Some("kernel"),
        ),
    ] {
        let told = daemon.explain(&packet)?;
        ensure!(verdict(&told) == wanted, "{sentence}, {packet}: {told:?}");
        let says = told.then.as_deref().unwrap_or_default();
        ensure!(
            then.is_none_or(|words| says.contains(words)),
            "{sentence}, {packet}: {says:?}"
        );
    }
    Ok(())
}
