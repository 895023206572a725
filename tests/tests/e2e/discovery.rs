//! What programs find out that were written to judge NATs: coturn's STUN client, and nmap.

use std::process::Command;

use anyhow::{Result, ensure};
use cgn_tests::lab::{
    Daemon, Lab, Plan, Process, STUN_PORT, Settings, TcpServer, UdpEcho, XdpPass, address,
    cgn_program, echo_from, exchange, run_to_end, stun_server,
};

use crate::{PATIENCE_SECS, SERVER, in_lab, lacks_program};

/// How long a program may take.
const PROGRAM_SECS: f64 = 60.0;

/// The STUN client of subscriber 2, and what it asks.
fn stun_client(lab: &Lab, asks: &[&str]) -> Command {
    let mut command = lab.subscribers[0].command("turnutils_natdiscovery");
    command
        .args(asks)
        .args(["-L", &address::subscriber(1, 2).to_string()]);
    command.args([
        "-p",
        &STUN_PORT.to_string(),
        &address::SERVERS[0].to_string(),
    ]);
    command
}

fn lacks_coturn(test: &str) -> bool {
    lacks_program(test, "turnserver") || lacks_program(test, "turnutils_natdiscovery")
}

/// What a client with these options says of mapping and filtering.
fn finds_independence(lab: &Lab, options: &[&str]) -> Result<()> {
    for (ask, finding) in [
        ("-m", "NAT with Endpoint Independent Mapping!"),
        ("-f", "NAT with Endpoint Independent Filtering!"),
    ] {
        let asks = [&[ask], options].concat();
        let said = run_to_end(&mut stun_client(lab, &asks), PROGRAM_SECS)?;
        ensure!(said.contains(finding), "no {finding:?} in:\n{said}");
    }
    Ok(())
}

#[test]
fn coturn_finds_mapping_and_filtering_independent_of_the_endpoint() {
    let name = "discovery::coturn_finds_mapping_and_filtering_independent_of_the_endpoint";
    if lacks_coturn(name) {
        return;
    }
    in_lab(name, &Plan::default(), |lab| {
        let _daemon = Daemon::start(lab, &Settings::default())?;
        let _server = stun_server(lab, &address::SERVERS[..2])?;
        finds_independence(lab, &[])
    });
}

/// RFC 5780 section 3.5 and 7.6: requests and responses are padded beyond the MTU.
#[test]
fn coturn_finds_that_fragments_pass() {
    let name = "discovery::coturn_finds_that_fragments_pass";
    if lacks_coturn(name) {
        return;
    }
    in_lab(name, &Plan::default(), |lab| {
        let _daemon = Daemon::start(lab, &Settings::default())?;
        let _server = stun_server(lab, &address::SERVERS[..2])?;
        finds_independence(lab, &["-P"])?;
        for (host, what) in [
            (&lab.internet, "requests"),
            (&lab.subscribers[0], "responses"),
        ] {
            let whole = host.counter("Ip", "ReasmOKs")?;
            ensure!(whole > 0, "no {what} came in fragments");
        }
        Ok(())
    });
}

#[test]
fn coturn_finds_the_filters_of_a_pool() {
    let name = "discovery::coturn_finds_the_filters_of_a_pool";
    if lacks_coturn(name) {
        return;
    }
    in_lab(name, &Plan::default(), |lab| {
        let program = cgn_program()?;
        let _server = stun_server(lab, &address::SERVERS[..2])?;
        for (filtering, finding) in [
            ("address-dependent", "NAT with Address Dependent Filtering!"),
            (
                "address-and-port-dependent",
                "NAT with Address and Port Dependent Filtering!",
            ),
        ] {
            let pool = format!("filtering = \"{filtering}\"\n[[subscribers]]");
            let toml = Settings::default()
                .toml(lab)
                .replace("[[subscribers]]", &pool);
            let _daemon = Daemon::start_with(lab, &toml, &program, &["--test-clock"])?;
            let said = run_to_end(&mut stun_client(lab, &["-f"]), PROGRAM_SECS)?;
            ensure!(said.contains(finding), "no {finding:?} in:\n{said}");
        }
        Ok(())
    });
}

#[test]
fn coturn_finds_that_a_host_reaches_its_own_external_endpoint() {
    let name = "discovery::coturn_finds_that_a_host_reaches_its_own_external_endpoint";
    if lacks_coturn(name) {
        return;
    }
    in_lab(name, &Plan::default(), |lab| {
        let _daemon = Daemon::start(lab, &Settings::default())?;
        // A frame that XDP sends back where it came from wakes only a peer with a program.
        let _pass = XdpPass::attach(&lab.access, "uplink")?;
        let _server = stun_server(lab, &address::SERVERS[..2])?;
        let said = run_to_end(&mut stun_client(lab, &["-H"]), PROGRAM_SECS)?;
        ensure!(said.contains("a successful hairpinning"), "{said}");
        Ok(())
    });
}

/// Two hosts with the same port behind one external address (RFC 5780 has no name for it).
#[test]
fn coturn_finds_no_collision_of_two_hosts_with_one_port() {
    let name = "discovery::coturn_finds_no_collision_of_two_hosts_with_one_port";
    if lacks_coturn(name) {
        return;
    }
    in_lab(name, &Plan::default(), |lab| {
        let settings = Settings {
            addresses: "\"203.0.113.7\"".to_owned(),
            ..Settings::default()
        };
        let _daemon = Daemon::start(lab, &settings)?;
        let _server = stun_server(lab, &address::SERVERS[..2])?;
        let other = address::subscriber(1, 3).to_string();
        let said = run_to_end(&mut stun_client(lab, &["-c", "-A", &other]), PROGRAM_SECS)?;
        let external = said.lines().filter(|line| line.contains("reflexive addr"));
        let external: std::collections::BTreeSet<&str> = external.collect();
        ensure!(external.len() > 1 && !said.contains("timeout"), "{said}");
        Ok(())
    });
}

/// The client asks, is silent while the clock is moved, and then lets the server answer to the first
/// request's port (RFC 5780 section 4.6).
#[test]
fn coturn_finds_that_a_mapping_lives_five_minutes() {
    let name = "discovery::coturn_finds_that_a_mapping_lives_five_minutes";
    if lacks_coturn(name) {
        return;
    }
    in_lab(name, &Plan::default(), |lab| {
        let daemon = Daemon::start(lab, &Settings::default())?;
        let _server = stun_server(lab, &address::SERVERS[..2])?;
        for (secs, is_alive) in [(290, true), (310, false)] {
            let log = lab.folder().join(format!("lifetime-{secs}"));
            let mut command = stun_client(lab, &["-t", "-T", "2"]);
            let mut client = Process::start("turnutils_natdiscovery", &mut command, &log)?;
            client.wait_for_output("UDP reflexive addr", PATIENCE_SECS)?;
            daemon.advance_clock(secs)?;
            client.wait(PROGRAM_SECS)?;
            let said = client.output();
            let answered = !said.contains("STUN receive timeout");
            ensure!(answered == is_alive, "after {secs} s:\n{said}");
        }
        Ok(())
    });
}

#[test]
fn nmap_sees_open_and_closed_ports_and_nothing_from_outside() {
    let name = "discovery::nmap_sees_open_and_closed_ports_and_nothing_from_outside";
    if lacks_program(name, "nmap") {
        return;
    }
    in_lab(name, &Plan::default(), |lab| {
        let daemon = Daemon::start(lab, &Settings::default())?;
        // A UDP mapping beside which a stranger tries 50 TCP ports: nobody answers for the CGN.
        let echo = UdpEcho::start(&lab.internet, SERVER)?;
        let socket = echo_from(&lab.subscribers[0], address::subscriber(1, 2))?;
        let seen = exchange(&socket, echo.address(), b"x", false, PATIENCE_SECS)?;
        let (first, last) = (seen.port() & !63, (seen.port() & !63) + 49);
        let before = daemon.count_of("no_mapping")?;
        let mut inward = lab.internet.command("nmap");
        inward.args(["-n", "-Pn", "-sS", "--max-retries", "0", "-oG", "-"]);
        inward.args(["-S", &address::SERVERS[2].to_string(), "-e", "uplink"]);
        inward.args(["-p", &format!("{first}-{last}"), &seen.ip().to_string()]);
        let said = run_to_end(&mut inward, PROGRAM_SECS)?;
        ensure!(said.contains("Ignored State: filtered (50)"), "{said}");
        daemon.wait_for_count("no_mapping", before, 40)?;

        let _server = TcpServer::start(&lab.internet, SERVER, PATIENCE_SECS)?;
        let source = address::subscriber(1, 2).to_string();
        // Raw SYNs; the answers are SYN and ACK, or RST.
        let mut outward = lab.subscribers[0].command("nmap");
        outward.args([
            "-n",
            "-Pn",
            "-sS",
            "-S",
            &source,
            "-e",
            "eth0",
            "-p",
            "7000,7001",
        ]);
        outward.args(["-oG", "-", &SERVER.ip().to_string()]);
        let said = run_to_end(&mut outward, PROGRAM_SECS)?;
        ensure!(
            said.contains("7000/open/tcp") && said.contains("7001/closed/tcp"),
            "{said}"
        );
        Ok(())
    });
}
