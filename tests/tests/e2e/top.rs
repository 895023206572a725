//! `cgn top`: one picture for scripts, and a live one in a terminal, which q ends.

use std::io::{Read as _, Write as _};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use cgn_tests::lab::{self, Daemon, Plan, Settings, UdpEcho, address, cgn_program};

use crate::{PATIENCE_SECS, SERVER, in_lab, lacks_program};

#[test]
fn a_picture_for_scripts_and_a_live_one() {
    const TEST: &str = "top::a_picture_for_scripts_and_a_live_one";
    if lacks_program(TEST, "script") {
        return;
    }
    in_lab(TEST, &Plan::default(), |lab| {
        let daemon = Daemon::start(lab, &Settings::default())?;
        let echo = UdpEcho::start(&lab.internet, SERVER)?;
        let inside = address::subscriber(1, 2);
        let socket = lab::echo_from(&lab.subscribers[0], inside)?;
        lab::exchange(&socket, echo.address(), b"first", true, PATIENCE_SECS)?;
        let once = once(&daemon)?;
        for words in ["mappings:", " out ", "lab", "punt", &inside.to_string()] {
            ensure!(once.contains(words), "{words} is not in\n{once}");
        }
        let live = live(&daemon)?;
        let frame = inside.to_string();
        ensure!(live.contains("\u{1b}["), "no terminal's words in {live:?}");
        ensure!(live.contains(&frame), "{frame} is not in {live:?}");
        Ok(())
    });
}

fn once(daemon: &Daemon) -> Result<String> {
    let mut command = Command::new(cgn_program()?);
    command
        .args(["top", "--once", "--interval", "0.2", "--socket"])
        .arg(daemon.socket());
    let output = command.output().context("cgn top --once")?;
    ensure!(output.status.success(), "{output:?}");
    Ok(String::from_utf8(output.stdout)?)
}

/// What it writes to a terminal of `script`'s until q is typed; it must then end well.
fn live(daemon: &Daemon) -> Result<String> {
    let program = cgn_program()?;
    let (program, socket) = (program.display(), daemon.socket().display());
    let line = format!("stty rows 44 columns 110; {program} top --interval 0.2 --socket {socket}");
    let mut command = Command::new("script");
    command.args(["--quiet", "--return", "--command", &line, "/dev/null"]);
    command.env("TERM", "xterm");
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("script")?;
    std::thread::sleep(Duration::from_secs(2));
    let mut keys = child.stdin.take().context("no stdin")?;
    keys.write_all(b"q")?;
    let mut written = Vec::new();
    let mut out = child.stdout.take().context("no stdout")?;
    out.read_to_end(&mut written)?;
    let status = child.wait()?;
    ensure!(status.success(), "{status}");
    Ok(String::from_utf8_lossy(&written).into_owned())
}
