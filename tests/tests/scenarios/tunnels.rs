//! VPNs of two households behind one address. ESP and GRE as such are refused and counted, and PPTP with them
//! (`cases::filters`); everything here goes by UDP or TCP.

mod ipsec;

use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use cgn_tests::lab::{Daemon, Lab, Namespace, Process, address, run_to_end, wait_until};
use cgn_tests::skip::lacks_program;

use crate::{
    FIRST, PATIENCE_SECS, PROGRAM_SECS, SECOND, SHARED, is_of, one_address, outlast_udp, ping,
    with_two_households,
};

const SERVER: Ipv4Addr = address::SERVERS[0];
/// Where a household goes on when its address has changed.
const MOVED: Ipv4Addr = address::subscriber(1, 9);

/// One end of WireGuard in userspace.
struct WireGuard<'a> {
    host: &'a Namespace,
    device: String,
    public_key: String,
    _process: Process,
}

impl<'a> WireGuard<'a> {
    /// Starts an end with this address in the tunnel.
    fn start(lab: &Lab, host: &'a Namespace, name: &str, address: &str) -> Result<Self> {
        // Its control socket is named so, in one folder for all.
        let device = format!("{name}{}", std::process::id());
        let mut command = host.command("wireguard-go");
        command.arg(&device).env("WG_PROCESS_FOREGROUND", "1");
        let log = lab.folder().join(&device);
        let process = Process::start("wireguard-go", &mut command, &log)?;
        wait_until("the device of WireGuard", PATIENCE_SECS, || {
            Ok(host.has_device(&device)?.then_some(()))
        })?;
        let key = log.with_extension("key");
        std::fs::write(
            &key,
            run_to_end(Command::new("wg").arg("genkey"), PROGRAM_SECS)?,
        )?;
        let end = Self {
            host,
            device,
            public_key: String::new(),
            _process: process,
        };
        end.wg(&[
            "set",
            &end.device,
            "private-key",
            &key.display().to_string(),
        ])?;
        host.ip(&format!(
            "addr add {address}/16 dev {0}\nlink set {0} up\n",
            end.device
        ))?;
        let public_key = end.wg(&["show", &end.device, "public-key"])?;
        Ok(Self {
            public_key: public_key.trim().to_owned(),
            ..end
        })
    }

    fn wg(&self, arguments: &[&str]) -> Result<String> {
        run_to_end(self.host.command("wg").args(arguments), PROGRAM_SECS)
    }

    fn peer(&self, other: &Self, arguments: &[&str]) -> Result<()> {
        let peer = ["set", &self.device, "peer", &other.public_key];
        self.wg(&[&peer, arguments].concat()).map(drop)
    }

    /// Where it sees its peer.
    fn endpoint_of(&self, peer: &Self) -> Result<std::net::SocketAddrV4> {
        let said = self.wg(&["show", &self.device, "endpoints"])?;
        let mut lines = said.lines().filter_map(|line| line.split_once('\t'));
        let found = lines.find(|(key, _)| *key == peer.public_key);
        let (_, endpoint) = found.with_context(|| format!("no endpoint of it in {said}"))?;
        endpoint.parse().with_context(|| endpoint.to_owned())
    }
}

#[test]
fn wireguard_of_two_households_lives_through_silence_and_a_new_address() {
    let name = "tunnels::wireguard_of_two_households_lives_through_silence_and_a_new_address";
    if lacks_program(name, "wireguard-go") || lacks_program(name, "wg") {
        return;
    }
    with_two_households(name, |lab| {
        let daemon = Daemon::start(lab, &one_address())?;
        let server = WireGuard::start(lab, &lab.internet, "wgs", "10.98.0.1")?;
        server.wg(&["set", &server.device, "listen-port", "51820"])?;
        let first = WireGuard::start(lab, &lab.subscribers[0], "wga", "10.98.1.1")?;
        let second = WireGuard::start(lab, &lab.subscribers[1], "wgb", "10.98.1.2")?;
        let endpoint = format!("{SERVER}:51820");
        for (client, address) in [(&first, "10.98.1.1/32"), (&second, "10.98.1.2/32")] {
            server.peer(client, &["allowed-ips", address])?;
            client.peer(
                &server,
                &["endpoint", &endpoint, "allowed-ips", "10.98.0.0/24"],
            )?;
            ping(client.host, "10.98.0.1")?;
        }
        is_of(&daemon, server.endpoint_of(&first)?, FIRST)?;
        is_of(&daemon, server.endpoint_of(&second)?, SECOND)?;
        // Silent for longer than a mapping lives: the next packet opens another.
        outlast_udp(&daemon)?;
        ping(first.host, "10.98.0.1")?;
        is_of(&daemon, server.endpoint_of(&first)?, FIRST)?;
        // Another address inside: the server follows to where authentic packets come from.
        first
            .host
            .ip(&format!("route change default via 10.64.1.1 src {MOVED}\n"))?;
        first.peer(&server, &["endpoint", &endpoint])?;
        ping(first.host, "10.98.0.1")?;
        is_of(&daemon, server.endpoint_of(&first)?, MOVED)?;
        ping(second.host, "10.98.0.1")
    });
}

#[test]
fn openvpn_by_udp_and_by_tcp() {
    let name = "tunnels::openvpn_by_udp_and_by_tcp";
    if lacks_program(name, "openvpn") {
        return;
    }
    with_two_households(name, |lab| {
        let daemon = Daemon::start(lab, &one_address())?;
        let key = lab.folder().join("openvpn.key");
        let mut genkey = Command::new("openvpn");
        genkey.args(["--genkey", "secret"]).arg(&key);
        run_to_end(&mut genkey, PROGRAM_SECS)?;
        for (number, (server, client)) in [("udp", "udp"), ("tcp-server", "tcp-client")]
            .into_iter()
            .enumerate()
        {
            openvpn(lab, &daemon, &key, number, (server, client))
                .with_context(|| format!("as {client}"))?;
        }
        Ok(())
    });
}

/// A tunnel by these protocols of server and client.
fn openvpn(
    lab: &Lab,
    daemon: &Daemon,
    key: &Path,
    number: usize,
    (server, client): (&str, &str),
) -> Result<()> {
    let [near, far] = [2, 1].map(|host| format!("10.97.{number}.{host}"));
    let start = |host: &Namespace, protocol: &str, ends: [&str; 2], arguments: &[&str]| {
        let mut command = host.command("openvpn");
        command.args(["--dev", &format!("tun{number}"), "--dev-type", "tun"]);
        command.args(["--proto", protocol, "--cipher", "AES-256-CBC", "--secret"]);
        command
            .arg(key)
            .arg("--ifconfig")
            .args(ends)
            .args(arguments);
        let log = lab.folder().join(format!("openvpn-{protocol}-{}", ends[0]));
        Process::start("openvpn", &mut command, &log)
    };
    let address = SERVER.to_string();
    let listen = ["--local", &address, "--port", "1194", "--float"];
    let mut served = start(&lab.internet, server, [&far, &near], &listen)?;
    let ready = match server {
        "udp" => "link local (bound)",
        _ => "Listening for incoming TCP",
    };
    served.wait_for_output(ready, PATIENCE_SECS)?;
    let call = ["--remote", &address, "1194", "--nobind"];
    let _called = start(&lab.subscribers[0], client, [&near, &far], &call)?;
    // Neither speaks before there is something to carry.
    wait_until("the tunnel carries", PROGRAM_SECS, || {
        ping(&lab.subscribers[0], &far).map(Some)
    })?;
    let said = served.output();
    ensure!(said.contains(&format!("[AF_INET]{SHARED}:")), "{said}");
    if client == "udp" {
        outlast_udp(daemon)?;
        ping(&lab.subscribers[0], &far)?;
    }
    Ok(())
}
