//! What people do behind a shared address, by the programs that they do it with. The trials of
//! address sharing (RFC 7021 and others) found that much of this fails behind NATs.
//!
//! | file | what | foreign programs |
//! |---|---|---|
//! | `players` | a game of two behind one address; a mapping kept by keep-alives | coturn |
//! | `torrent` | BitTorrent by DHT and uTP, seeding from behind the CGN | libtorrent |
//! | `calls` | SIP calls with STUN | baresip, coturn |
//! | `tunnels` | IPsec with NAT traversal, WireGuard, OpenVPN | strongSwan, wireguard-go, openvpn |
//! | `pages` | how many ports a page takes by HTTP/1.1, /2 and /3 | caddy, curl, aioquic |
//! | `idle` | idle WebSockets; QUIC that moves, and that was silent too long | websockets, aioquic |
//! | `multipath` | MPTCP | the kernel |
//! | `household` | blocks on demand (RFC 6346 section 5.2) | |
//! | `limits` | what a limit of ports refuses those who browse; in memory | |
//!
//! Time is moved, not waited for. Python's parts are beside these files.

mod calls;
mod household;
mod idle;
mod limits;
mod multipath;
mod pages;
mod players;
mod torrent;
mod tunnels;

use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use cgn_tests::lab::{
    Daemon, Lab, Namespace, Plan, STUN_PORT, Settings, address, in_lab, owner_in, run_to_end,
    wait_until,
};

/// Longest wait for one answer.
const PATIENCE_SECS: f64 = 5.0;
/// How long a program may take.
const PROGRAM_SECS: f64 = 30.0;

/// The external address that all share.
const SHARED: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 7);
/// Two households, in networks of their own.
const FIRST: Ipv4Addr = address::subscriber(1, 2);
const SECOND: Ipv4Addr = address::subscriber(2, 2);

const STUN_SERVER: SocketAddrV4 = SocketAddrV4::new(address::SERVERS[1], STUN_PORT);

/// The sweep has looked at all mappings by then: it comes every half second.
const SWEPT: Duration = Duration::from_millis(700);

/// Defaults of `[timeouts]`.
const UDP_SECS: u32 = 300;
const TCP_ESTABLISHED_SECS: u32 = 7440;

/// A laboratory with two households.
fn with_two_households(test: &str, body: impl FnOnce(&Lab) -> Result<()>) {
    let plan = Plan {
        subscribers: 2,
        ..Plan::default()
    };
    in_lab(test, &plan, body);
}

/// A pool of one address.
fn one_address() -> Settings {
    Settings {
        addresses: format!("\"{SHARED}\""),
        ..Settings::default()
    }
}

/// Lets households reach each other through the CGN alone, as access networks do that keep their
/// customers apart.
fn keep_apart(lab: &Lab) -> Result<()> {
    let mut rules = String::new();
    for from in 1..=lab.subscribers.len() {
        rules += &format!(
            "rule add iif sub{from} to 100.64.0.0/16 prohibit\nrule add iif sub{from} to 10.64.0.0/16 prohibit\n"
        );
    }
    lab.access.ip(&rules)
}

/// A part in Python as a file that a command can name.
fn script(lab: &Lab, name: &str, text: &str) -> Result<PathBuf> {
    let path = lab.folder().join(name);
    std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

/// A certificate for the servers' addresses, and its key.
fn certificate(lab: &Lab) -> Result<(PathBuf, PathBuf)> {
    let (certificate, key) = (lab.folder().join("cert.pem"), lab.folder().join("key.pem"));
    let names = address::SERVERS.map(|server| format!("IP:{server}"));
    let mut command = Command::new("openssl");
    command.args(["req", "-x509", "-newkey", "ec", "-nodes", "-days", "30"]);
    command.args(["-pkeyopt", "ec_paramgen_curve:prime256v1"]);
    command.args(["-subj", "/CN=server", "-addext"]);
    command.arg(format!("subjectAltName={}", names.join(",")));
    command
        .arg("-keyout")
        .arg(&key)
        .arg("-out")
        .arg(&certificate);
    run_to_end(&mut command, PROGRAM_SECS)?;
    Ok((certificate, key))
}

/// Pings through a tunnel.
fn ping(namespace: &Namespace, to: &str) -> Result<()> {
    let mut command = namespace.command("ping");
    command.args(["-n", "-c", "3", "-i", "0.2", "-W", "2", to]);
    let said = run_to_end(&mut command, PROGRAM_SECS)?;
    ensure!(said.contains("3 received, 0% packet loss"), "{said}");
    Ok(())
}

/// Moves the clock so far that all mappings of UDP end that nobody refreshes, and sees them end. What was
/// on its way, or is said to end a conversation, may refresh one more time.
fn outlast_udp(daemon: &Daemon) -> Result<()> {
    wait_until("idle mappings end", PATIENCE_SECS, || {
        daemon.advance_clock(UDP_SECS + 10)?;
        std::thread::sleep(SWEPT);
        let rows = daemon.mappings()?;
        Ok((!rows.iter().any(|row| row.protocol == "udp")).then_some(()))
    })
}

/// Checks that an endpoint is a port of the shared address that the log attributes to this subscriber.
fn is_of(daemon: &Daemon, external: SocketAddrV4, inside: Ipv4Addr) -> Result<()> {
    let owner = owner_in(&daemon.log_records()?, external);
    ensure!(
        *external.ip() == SHARED && owner == Some(inside),
        "by the mapping log, {external} belongs to {owner:?}; it was to be {inside}"
    );
    Ok(())
}
