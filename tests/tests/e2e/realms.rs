//! Realms: three hosts with one address, on three interfaces, with routes in tables of their own.

mod floods;
mod records;
mod rules;

use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use cgn_tests::lab::{
    self, Daemon, Lab, Namespace, PingWatch, Plan, Settings, TcpServer, UdpEcho, address,
    cgn_program, run_to_end, wait_until,
};
use serde_json::Value;

use crate::{PATIENCE_SECS, SERVER, in_lab};

/// The address that all of them have.
pub(crate) const HOME: Ipv4Addr = address::subscriber(1, 2);
/// The CGN for the host that is on its own link.
const CGN_CLOUD: Ipv4Addr = address::subscriber(1, 1);

/// Name of each realm, and the addresses of its pool, by the last byte.
const REALMS: [(&str, &[u8]); 3] = [
    ("", &[0, 1, 2, 3, 4, 5, 6, 7, 77]),
    ("mvno", &[100, 101]),
    ("cloud", &[100, 101]),
];

/// One host behind a router of its realm, one on the CGN's own link. Neither knows of the other, nor
/// of the host behind `inside`.
pub(crate) fn connect(lab: &Lab) -> Result<()> {
    for (host, name) in lab.subscribers[1..].iter().zip(["mvno", "cloud"]) {
        lab.cgn.ip(&format!(
            "link add name {name} type veth peer name {name} netns {}\nlink set {name} up\n",
            host.name()
        ))?;
        host.ip(&format!("link set {name} up\n"))?;
        for namespace in [&lab.cgn, host] {
            let features = ["tx", "off", "tso", "off", "gso", "off", "gro", "on"];
            namespace.set_features(name, &features)?;
        }
    }
    let (mvno, cloud) = (&lab.subscribers[1], &lab.subscribers[2]);
    lab.cgn.ip(&format!(
        "addr add 10.99.0.1/30 dev mvno\nroute add 100.64.0.0/16 via 10.99.0.2 dev mvno table 100\n\
         addr add {CGN_CLOUD}/32 dev cloud\nroute add 100.64.1.0/24 dev cloud table 200\n"
    ))?;
    mvno.ip(&format!(
        "addr add 10.99.0.2/30 dev mvno\naddr add {HOME}/32 dev lo\n\
         route replace default via 10.99.0.1 dev mvno src {HOME}\n"
    ))?;
    cloud.ip(&format!(
        "addr add {HOME}/24 dev cloud\nroute replace default via {CGN_CLOUD} dev cloud\n"
    ))
}

pub(crate) fn configuration(lab: &Lab, settings: &Settings) -> String {
    settings.toml(lab)
        + "[[realm]]\nname = \"mvno\"\ninside = [{ interface = \"mvno\" }]\ntable = 100\n\
           [[realm]]\nname = \"cloud\"\ninside = [{ interface = \"cloud\" }]\ntable = 200\n\
           [[pool]]\nname = \"other\"\naddresses = [\"203.0.113.100/31\"]\nblock_ports = 64\n\
           [[subscribers]]\nrealm = \"mvno\"\nprefixes = [\"100.64.0.0/16\"]\npool = \"other\"\n\
           [[subscribers]]\nrealm = \"cloud\"\nprefixes = [\"100.64.1.0/24\"]\npool = \"other\"\n\
           [[group]]\nname = \"small\"\nrealm = \"cloud\"\nprefixes = [\"100.64.0.0/16\"]\nudp_mappings = 40\n"
}

#[test]
fn three_hosts_with_one_address_are_three_subscribers() {
    let name = "realms::three_hosts_with_one_address_are_three_subscribers";
    in_lab(name, &plan(), |lab| converse(lab, &Settings::default()));
}

#[test]
fn also_where_everything_goes_by_the_slow_path() {
    let settings = Settings {
        force_slow_path: true,
        ..Settings::default()
    };
    let name = "realms::also_where_everything_goes_by_the_slow_path";
    in_lab(name, &plan(), |lab| converse(lab, &settings));
}

pub(crate) fn plan() -> Plan<'static> {
    Plan {
        subscribers: 3,
        ..Plan::default()
    }
}

fn converse(lab: &Lab, settings: &Settings) -> Result<()> {
    connect(lab)?;
    let toml = configuration(lab, settings);
    let program = cgn_program()?;
    let mut daemon = Daemon::start_with(lab, &toml, &program, &["--test-clock"])?;
    let echo = UdpEcho::start(&lab.internet, SERVER)?;
    let tcp = TcpServer::start(&lab.internet, SERVER, PATIENCE_SECS)?;
    let watch = PingWatch::start(&lab.internet)?;
    let mut flows = Vec::new();
    for (host, (realm, pool)) in lab.subscribers.iter().zip(REALMS) {
        let socket = lab::echo_from(host, HOME)?;
        let seen = lab::exchange(
            &socket,
            echo.address(),
            realm.as_bytes(),
            true,
            PATIENCE_SECS,
        )
        .with_context(|| format!("the first packet of realm {realm:?}"))?;
        ensure!(pool.contains(&seen.ip().octets()[3]), "{realm:?}: {seen}");
        flows.push((socket, seen, host));
    }
    for ((socket, seen, host), (realm, _)) in flows.iter().zip(REALMS) {
        let again = lab::exchange(socket, echo.address(), b"again", false, PATIENCE_SECS)?;
        ensure!(again == *seen, "{realm:?}: {seen} became {again}");
        let bytes = 100_000;
        let moved = lab::transfer(host, None, tcp.address(), (bytes, bytes), PATIENCE_SECS)?;
        ensure!(moved.seen.ip() == seen.ip(), "{realm:?}: {:?}", moved.seen);
        let outcome = lab::ping(host, HOME, address::SERVERS[1], 11, 2)?;
        ensure!(
            outcome.received == 2,
            "{realm:?}: {} of 2 pings",
            outcome.received
        );
        let pinged = watch.seen(&outcome.tag).context("no request was seen")?;
        ensure!(pinged.ip() == seen.ip(), "{realm:?}: pinged from {pinged}");
    }
    between(&flows)?;
    for ((_, seen, _), (realm, _)) in flows.iter().zip(REALMS) {
        told_apart(&daemon, *seen, realm)?;
    }
    lists_and_explains(&daemon)?;
    // Another daemon takes all over, and repairs nothing.
    daemon.process().kill();
    daemon = Daemon::start_with(lab, &toml, &program, &["--test-clock"])?;
    for (socket, seen, _) in &flows {
        let again = lab::exchange(socket, echo.address(), b"later", false, PATIENCE_SECS)?;
        ensure!(again == *seen, "{seen} became {again}");
    }
    let found = daemon.status()?.reconciliation;
    ensure!(
        (found.repaired, found.orphaned, found.incomplete) == (0, 0, 0),
        "{found:?}"
    );
    Ok(())
}

/// A datagram to the external endpoint of each reaches him, from both others, by its hairpin. (What
/// XDP sends back on a veth wakes only a peer with a program.)
fn between(flows: &[(UdpSocket, SocketAddrV4, &Namespace)]) -> Result<()> {
    for (from, sender, _) in flows {
        for (to, receiver, _) in flows.iter().filter(|(_, other, _)| other != sender) {
            let text = format!("{sender} to {receiver}");
            from.send_to(text.as_bytes(), receiver)?;
            let mut buffer = [0; 64];
            to.set_read_timeout(Some(Duration::from_secs_f64(PATIENCE_SECS)))?;
            let (length, seen) = to.recv_from(&mut buffer).context(text.clone())?;
            ensure!(buffer[..length] == *text.as_bytes(), "{text}");
            ensure!(seen == (*sender).into(), "{text}: seen as {seen}");
        }
    }
    Ok(())
}

/// Packets of a realm that were dropped for a reason, by `cgn show drops`.
pub(crate) fn dropped(daemon: &Daemon, realm: &str, reason: &str) -> Result<u64> {
    let socket = daemon.socket().display().to_string();
    let mut command = Command::new(cgn_program()?);
    command.args([
        "show", "drops", "--realm", realm, "--json", "--socket", &socket,
    ]);
    let said: Value = serde_json::from_str(&run_to_end(&mut command, PATIENCE_SECS)?)?;
    let rows = said["rows"].as_array().context("no rows")?;
    let mut fitting = rows.iter().filter(|row| row["reason"] == reason);
    let count = |row: &Value| row["fast_path"].as_u64().zip(row["slow_path"].as_u64());
    match fitting.next() {
        Some(row) => Ok(count(row)
            .map(|(fast, slow)| fast + slow)
            .context("no count")?),
        None => Ok(0),
    }
}

/// The log names realm and address, both ways.
fn told_apart(daemon: &Daemon, seen: SocketAddrV4, realm: &str) -> Result<()> {
    let (asked, root) = (seen.to_string(), daemon.log().display().to_string());
    let who = ["log", "who", &asked, "--proto", "udp", "--dir", &root];
    let answer = said(&who)?;
    let [holding] = &answer[0]["holdings"].as_array().context("no holdings")?[..] else {
        anyhow::bail!("{seen}: {answer}");
    };
    let named = holding["realm"].as_str().unwrap_or("");
    ensure!(
        answer[0]["outcome"] == "one" && named == realm,
        "{seen}: {answer}"
    );
    ensure!(
        holding["subscriber"] == HOME.to_string(),
        "{seen}: {answer}"
    );
    let home = HOME.to_string();
    let had = ["log", "subscriber", &home, "--realm", realm, "--dir", &root];
    let answer = said(&had)?;
    let holdings = answer["holdings"].as_array().context("no holdings")?;
    let external = seen.ip().to_string();
    ensure!(
        !holdings.is_empty() && holdings.iter().all(|one| one["external"] == external),
        "{realm:?}: {answer}"
    );
    Ok(())
}

fn said(arguments: &[&str]) -> Result<Value> {
    let mut command = Command::new(cgn_program()?);
    command.args(arguments).args(["--format", "json"]);
    Ok(serde_json::from_str(&run_to_end(
        &mut command,
        PATIENCE_SECS,
    )?)?)
}

fn lists_and_explains(daemon: &Daemon) -> Result<()> {
    let mut realms: Vec<String> = daemon
        .subscribers()?
        .into_iter()
        .filter(|row| row.inside == HOME)
        .map(|row| row.realm)
        .collect();
    realms.sort();
    ensure!(realms == ["", "cloud", "mvno"], "{realms:?}");
    let socket = daemon.socket().display().to_string();
    let shown = |arguments: &[&str]| -> Result<Value> {
        let mut command = Command::new(cgn_program()?);
        command
            .args(arguments)
            .args(["--json", "--socket", &socket]);
        Ok(serde_json::from_str(&run_to_end(
            &mut command,
            PATIENCE_SECS,
        )?)?)
    };
    let home = HOME.to_string();
    for (realm, interface) in [("mvno", "mvno"), ("cloud", "cloud")] {
        let one = shown(&["subscriber", &home, "--realm", realm])?;
        ensure!(one["subscriber"]["realm"] == realm, "{one}");
        ensure!(one["subscriber"]["pool"] == "other", "{one}");
        let group = if realm == "cloud" {
            "small".into()
        } else {
            Value::Null
        };
        ensure!(one["subscriber"]["group"] == group, "{one}");
        let mappings = shown(&["lookup", &home, "--realm", realm])?;
        let rows = mappings["rows"].as_array().context("no rows")?;
        ensure!(
            !rows.is_empty() && rows.iter().all(|row| row["realm"] == realm),
            "{mappings}"
        );
        let packet = format!("udp {home}:9 > {}:53", address::SERVERS[0]);
        let explained = shown(&["explain", &packet, "--realm", realm])?;
        ensure!(explained["verdict"] == "translate", "{explained}");
        ensure!(explained["interface"] == interface, "{explained}");
        ensure!(
            explained["answer"]["sent"]["interface"] == interface,
            "{explained}"
        );
    }
    Ok(())
}
