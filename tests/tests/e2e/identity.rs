//! Names of subscribers by RADIUS accounting: FreeRADIUS's client tells them, and judges the answers.

use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use cgn_tests::lab::{
    self, Daemon, Lab, Plan, Settings, UdpEcho, address, cgn_program, wait_until,
};
use serde_json::Value;

use crate::life::fill;
use crate::{PATIENCE_SECS, SERVER, in_lab, lacks_program};

const RADCLIENT: &str = "radclient";
const LISTEN: &str = "127.0.0.1:1813";
const SECRET: &str = "testing123-testing123";

/// A file that nobody else may read.
fn secret(lab: &Lab) -> Result<PathBuf> {
    let path = lab.folder().join("radius.secret");
    let mut options = std::fs::File::options();
    let file = options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = file.open(&path)?;
    std::io::Write::write_all(&mut file, format!("{SECRET}\n").as_bytes())?;
    Ok(path)
}

fn identity(lab: &Lab) -> Result<String> {
    let secret = secret(lab)?;
    Ok(format!(
        "\n[identity]\nlisten = \"{LISTEN}\"\nattributes = [\"3GPP-IMSI\", \"User-Name\"]\n\
         [[identity.client]]\naddress = \"127.0.0.1\"\nsecret_file = \"{}\"\n",
        secret.display()
    ))
}

/// Sends one request; true if it was answered and the answer's authenticator is right.
fn tell(lab: &Lab, secret: &str, attributes: &[&str]) -> Result<bool> {
    let path = lab.folder().join("request");
    std::fs::write(&path, attributes.join("\n") + "\n")?;
    let output = lab
        .cgn
        .command(RADCLIENT)
        .args(["-x", "-r", "1", "-t", "3", "-f"])
        .arg(&path)
        .args([LISTEN, "acct", secret])
        .output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    let is_answered = said.contains("Received Accounting-Response");
    ensure!(
        output.status.success() == is_answered,
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(is_answered)
}

/// What is told of a session of `user` at the address of subscriber 2.
fn session(status: &str, user: &str) -> Vec<String> {
    vec![
        format!("Acct-Status-Type = {status}"),
        format!("Acct-Session-Id = \"of-{user}\""),
        format!("User-Name = \"{user}\""),
        format!("Framed-IP-Address = {}", address::subscriber(1, 2)),
        "NAS-Identifier = \"bras1\"".to_owned(),
    ]
}

fn tell_session(lab: &Lab, secret: &str, status: &str, user: &str) -> Result<bool> {
    let attributes = session(status, user);
    let attributes: Vec<&str> = attributes.iter().map(String::as_str).collect();
    tell(lab, secret, &attributes)
}

fn requests(daemon: &Daemon, outcome: &str) -> Result<u64> {
    let page = daemon.metrics()?;
    let name = format!("cgn_identity_requests_total{{outcome=\"{outcome}\"}} ");
    let line = page.lines().find_map(|line| line.strip_prefix(&name));
    Ok(line.context(name.clone())?.parse()?)
}

fn wait_for_request(daemon: &Daemon, outcome: &str) -> Result<()> {
    wait_until(outcome, PATIENCE_SECS, || {
        Ok((requests(daemon, outcome)? > 0).then_some(()))
    })
}

fn cgn_log(daemon: &Daemon, arguments: &[&str]) -> Result<Value> {
    let root = daemon.log().display().to_string();
    let output = Command::new(cgn_program()?)
        .arg("log")
        .args(arguments)
        .args(["--format", "json", "--dir", &root])
        .output()?;
    serde_json::from_slice(&output.stdout)
        .with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())
}

/// The names of subscriber 2, with the end of each.
fn names(daemon: &Daemon) -> Result<Vec<(String, bool)>> {
    let inside = address::subscriber(1, 2).to_string();
    let answer = cgn_log(daemon, &["subscriber", &inside])?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let names = answer["holdings"][0]["identities"].as_array();
    let names = names.into_iter().flatten();
    Ok(names
        .map(|name| (text(&name["identity"]), text(&name["until"]).is_empty()))
        .collect())
}

#[test]
fn a_name_is_answered_once_it_is_on_record_and_told_with_the_ports() {
    let name = "identity::a_name_is_answered_once_it_is_on_record_and_told_with_the_ports";
    if lacks_program(name, RADCLIENT) {
        return;
    }
    in_lab(name, &Plan::default(), |lab| {
        let collector = lab.cgn.within(|| Ok(TcpListener::bind("127.0.0.1:0")?))?;
        let plain = Settings::default().toml(lab);
        let toml = format!(
            "{plain}{}[[sink]]\nname = \"judge\"\nformat = \"jsonl\"\ntransport = \"tcp\"\naddress = \"{}\"\n",
            identity(lab)?,
            collector.local_addr()?
        );
        let start = |toml: &str| Daemon::start_with(lab, toml, &cgn_program()?, &["--test-clock"]);
        let daemon = start(&toml)?;
        ensure!(tell_session(lab, SECRET, "Start", "alice")?, "no answer");
        let echo = UdpEcho::start(&lab.internet, SERVER)?;
        let socket = lab::echo_from(&lab.subscribers[0], address::subscriber(1, 2))?;
        let seen = lab::exchange(&socket, echo.address(), b"hello", false, PATIENCE_SECS)?;
        let asked = cgn_log(&daemon, &["who", &format!("{seen}"), "--proto", "udp"])?;
        let told = &asked[0]["holdings"][0]["identities"];
        ensure!(told[0]["identity"] == "alice", "{asked}");
        ensure!(told[0]["attribute"] == "User-Name", "{asked}");
        refused(lab, &daemon)?;
        // An attribute that is preferred, and a new name for the same session.
        let mut attributes = session("Interim-Update", "alice");
        attributes.push("3GPP-IMSI = \"001010123456789\"".to_owned());
        let attributes: Vec<&str> = attributes.iter().map(String::as_str).collect();
        ensure!(tell(lab, SECRET, &attributes)?, "no answer");
        ensure!(tell_session(lab, SECRET, "Stop", "alice")?, "no answer");
        ensure!(tell_session(lab, SECRET, "Start", "bob")?, "no answer");
        let ended = |name: &str| (name.to_owned(), false);
        let expected = [
            ended("alice"),
            ended("001010123456789"),
            ("bob".to_owned(), true),
        ];
        ensure!(names(&daemon)? == expected, "{:?}", names(&daemon)?);
        ensure!(daemon.stop()?.success(), "it ended badly");
        told_to_the_collector(&collector)?;

        // The next daemon knows him, and ends him when nobody tells of him any more.
        let daemon = start(&toml)?;
        ensure!(
            tell_session(lab, SECRET, "Interim-Update", "bob")?,
            "no answer"
        );
        wait_for_request(&daemon, "known")?;
        ensure!(names(&daemon)? == expected, "{:?}", names(&daemon)?);
        ensure!(daemon.stop()?.success(), "it ended badly");
        let daemon = start(&plain)?;
        let expected = [ended("alice"), ended("001010123456789"), ended("bob")];
        ensure!(names(&daemon)? == expected, "{:?}", names(&daemon)?);
        let verdict = Command::new(cgn_program()?)
            .args(["log", "verify"])
            .arg(daemon.log())
            .output()?;
        ensure!(verdict.status.success(), "{verdict:?}");
        Ok(())
    });
}

/// Requests that are not answered, and such that change nothing.
fn refused(lab: &Lab, daemon: &Daemon) -> Result<()> {
    ensure!(
        !tell_session(lab, "another", "Start", "mallory")?,
        "a forged one"
    );
    wait_for_request(daemon, "forged")?;
    ensure!(
        !tell(lab, SECRET, &["User-Name = \"mallory\""])?,
        "one without a status"
    );
    wait_for_request(daemon, "malformed")?;
    let foreign = [
        "Acct-Status-Type = Start",
        "Acct-Session-Id = \"9\"",
        "User-Name = \"mallory\"",
        "Framed-IP-Address = 192.0.2.200",
        "NAS-Identifier = \"bras1\"",
    ];
    ensure!(tell(lab, SECRET, &foreign)?, "not a subscriber's address");
    wait_for_request(daemon, "ignored")?;
    let socket = lab
        .cgn
        .within(|| Ok(std::net::UdpSocket::bind("127.0.0.7:0")?))?;
    socket.send_to(b"from nobody", LISTEN)?;
    wait_for_request(daemon, "stranger")?;
    ensure!(
        names(daemon)? == [("alice".to_owned(), true)],
        "{:?}",
        names(daemon)?
    );
    Ok(())
}

/// Kind and name of each record of subscriber 2, as the collector was sent them.
fn told_to_the_collector(collector: &TcpListener) -> Result<()> {
    let (stream, _) = collector.accept()?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut told = Vec::new();
    for line in BufReader::new(stream).lines() {
        let line: Value = serde_json::from_str(&line?)?;
        let text = |key: &str| line[key].as_str().unwrap_or_default().to_owned();
        if text("inside") == address::subscriber(1, 2).to_string() {
            told.push((text("kind"), text("identity")));
        }
    }
    let expected = [
        ("login", "alice"),
        ("allocate", "alice"),
        ("login", "001010123456789"),
        ("logout", "001010123456789"),
        ("login", "bob"),
    ];
    let expected = expected.map(|(kind, name)| (kind.to_owned(), name.to_owned()));
    ensure!(told == expected, "{told:?}");
    Ok(())
}

#[test]
fn what_cannot_be_on_record_is_not_answered_and_traffic_goes_on() {
    let name = "identity::what_cannot_be_on_record_is_not_answered_and_traffic_goes_on";
    if lacks_program(name, RADCLIENT) {
        return;
    }
    in_lab(name, &Plan::default(), |lab| {
        let disk = lab.small_disk(512 << 10)?;
        let settings = Settings {
            log_folder: Some(disk.clone()),
            ..Settings::default()
        };
        let toml = settings.toml(lab) + &identity(lab)?;
        let daemon = Daemon::start_with(lab, &toml, &cgn_program()?, &["--test-clock"])?;
        let echo = UdpEcho::start(&lab.internet, SERVER)?;
        let socket = lab::echo_from(&lab.subscribers[0], address::subscriber(1, 2))?;
        lab::exchange(&socket, echo.address(), b"first", false, PATIENCE_SECS)?;
        fill(&disk)?;
        // Until the room ahead of the records is used up.
        let mut number = 0;
        wait_until("a name that is not answered", 20.0, || {
            number += 1;
            let user = format!("{number}-{}", "x".repeat(200));
            Ok((!tell_session(lab, SECRET, "Start", &user)?).then_some(()))
        })?;
        wait_for_request(&daemon, "unrecorded")?;
        lab::exchange(&socket, echo.address(), b"still", true, PATIENCE_SECS)?;
        std::fs::remove_file(disk.join("filler"))?;
        ensure!(tell_session(lab, SECRET, "Start", "alice")?, "no answer");
        let known = names(&daemon)?;
        ensure!(
            known.last() == Some(&("alice".to_owned(), true)),
            "{known:?}"
        );
        Ok(())
    });
}
