//! IPsec: IKEv2 finds the NAT, and ESP goes in UDP (RFC 7296 section 2.23, RFC 3948). This is strongSwan
//! with its ESP in userspace, as not every kernel has it.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use cgn_tests::lab::{Daemon, Lab, Namespace, Process, run_to_end, wait_until};
use cgn_tests::skip;
use cgn_user::api::rows::MappingRow;

use super::SERVER;
use crate::{
    FIRST, PATIENCE_SECS, PROGRAM_SECS, SECOND, SHARED, UDP_SECS, is_of, one_address, ping,
    with_two_households,
};

const CHARON: &str = "/usr/lib/ipsec/charon";
const ESP_IN_USERSPACE: &str = "/usr/lib/ipsec/plugins/libstrongswan-kernel-libipsec.so";
/// RFC 3948 section 2.1; their keep-alives come every 20 s in the field.
const NAT_TRAVERSAL_PORT: u16 = 4500;
const KEEP_ALIVE_SECS: u32 = 1;
/// The server within the tunnels.
const PRIVATE: &str = "10.99.0.1";

/// A daemon of strongSwan, with what it is told by its control socket.
struct Charon {
    folder: PathBuf,
    _process: Process,
}

impl Charon {
    fn start(lab: &Lab, host: &Namespace, name: &str, connections: &str) -> Result<Self> {
        let folder = lab.folder().join(name);
        std::fs::create_dir(&folder)?;
        let at = folder.display();
        std::fs::write(
            folder.join("strongswan.conf"),
            format!(
                "charon {{\n keep_alive = {KEEP_ALIVE_SECS}s\n plugins {{\n  vici {{\n   socket = unix://{at}/vici\n  }}\n  \
                 kernel-libipsec {{\n   allow_peer_ts = yes\n  }}\n }}\n}}\n"
            ),
        )?;
        let secret = "secrets {\n ike {\n  secret = \"known to both\"\n }\n}\n";
        std::fs::write(
            folder.join("swanctl.conf"),
            format!("{connections}{secret}"),
        )?;
        let mut command = host.command("unshare");
        // Its file with the process id is at one place for all.
        let shell = format!("mount -t tmpfs tmpfs /run && exec {CHARON}");
        command.args(["--mount", "sh", "-c", &shell]);
        command.env("STRONGSWAN_CONF", folder.join("strongswan.conf"));
        let process = Process::start("charon", &mut command, &folder.join("log"))?;
        let charon = Self {
            folder,
            _process: process,
        };
        wait_until("strongSwan's control socket", PATIENCE_SECS, || {
            Ok(charon.folder.join("vici").exists().then_some(()))
        })?;
        charon.swanctl(&["--load-all", "--noprompt", "--file"], &["swanctl.conf"])?;
        Ok(charon)
    }

    /// Runs `swanctl` with these arguments, and files of its folder.
    fn swanctl(&self, arguments: &[&str], files: &[&str]) -> Result<String> {
        let mut command = std::process::Command::new("swanctl");
        command.args(arguments);
        command.args(files.iter().map(|file| self.folder.join(file)));
        command.arg("--uri");
        command.arg(format!("unix://{}/vici", self.folder.display()));
        command.env("STRONGSWAN_CONF", self.folder.join("strongswan.conf"));
        run_to_end(&mut command, PROGRAM_SECS)
    }
}

fn lacks_strongswan(test: &str) -> bool {
    let missing = [CHARON, ESP_IN_USERSPACE]
        .into_iter()
        .find(|file| !Path::new(file).is_file());
    if let Some(file) = missing {
        skip::skip(test, &format!("no {file}"));
    }
    missing.is_some() || skip::lacks_program(test, "swanctl")
}

#[test]
fn ipsec_of_two_households_with_nat_traversal() {
    let name = "tunnels::ipsec::ipsec_of_two_households_with_nat_traversal";
    if lacks_strongswan(name) {
        return;
    }
    with_two_households(name, |lab| {
        let daemon = Daemon::start(lab, &one_address())?;
        lab.internet
            .ip(&format!("addr add {PRIVATE}/32 dev lo\n"))?;
        let server = Charon::start(lab, &lab.internet, "server", &server_connections())?;
        let mut clients = Vec::new();
        for (host, name) in lab.subscribers.iter().zip(["first", "second"]) {
            let client = Charon::start(lab, host, name, &client_connections(name))?;
            client.swanctl(&["--initiate", "--child", "net", "--timeout", "10"], &[])?;
            ping(host, PRIVATE)?;
            clients.push(client);
        }
        let tunnels = server.swanctl(&["--list-sas"], &[])?;
        for (name, inside) in [("first", FIRST), ("second", SECOND)] {
            is_of(&daemon, seen(&tunnels, name)?, inside)?;
        }
        ensure!(tunnels.matches("TUNNEL-in-UDP").count() == 2, "{tunnels}");
        // Nothing but keep-alives for longer than a mapping lives: it is still the same.
        for _ in 0..3 {
            daemon.advance_clock(UDP_SECS - 10)?;
            wait_until("keep-alives of both", PATIENCE_SECS, || {
                let rows = daemon.mappings()?;
                let is_kept = |row: &&MappingRow| is_tunnel(row) && row.idle_secs < 5;
                Ok((rows.iter().filter(is_kept).count() == 2).then_some(()))
            })?;
        }
        for host in &lab.subscribers {
            ping(host, PRIVATE)?;
        }
        let later = server.swanctl(&["--list-sas"], &[])?;
        for name in ["first", "second"] {
            ensure!(seen(&later, name)? == seen(&tunnels, name)?, "{later}");
        }
        Ok(())
    });
}

/// A mapping of ESP in UDP.
fn is_tunnel(row: &MappingRow) -> bool {
    row.protocol == "udp" && row.inside_port == NAT_TRAVERSAL_PORT
}

/// Where the server sees a client: `remote 'first' @ 203.0.113.7[51411] [10.99.1.1]`.
fn seen(tunnels: &str, name: &str) -> Result<std::net::SocketAddrV4> {
    let place = format!("remote '{name}' @ {SHARED}[");
    let port = tunnels
        .split_once(&place)
        .and_then(|(_, rest)| rest.split_once(']'))
        .and_then(|(port, _)| port.parse().ok());
    match port {
        Some(port) => Ok(std::net::SocketAddrV4::new(SHARED, port)),
        None => anyhow::bail!("no {place:?} in:\n{tunnels}"),
    }
}

fn server_connections() -> String {
    format!(
        "connections {{\n lab {{\n  version = 2\n  local_addrs = {SERVER}\n  pools = clients\n  \
         local {{\n   auth = psk\n   id = server\n  }}\n  remote {{\n   auth = psk\n  }}\n  \
         children {{\n   net {{\n    local_ts = {PRIVATE}/32\n   }}\n  }}\n }}\n}}\n\
         pools {{\n clients {{\n  addrs = 10.99.1.0/24\n }}\n}}\n"
    )
}

fn client_connections(name: &str) -> String {
    format!(
        "connections {{\n lab {{\n  version = 2\n  remote_addrs = {SERVER}\n  vips = 0.0.0.0\n  \
         local {{\n   auth = psk\n   id = {name}\n  }}\n  remote {{\n   auth = psk\n   id = server\n  }}\n  \
         children {{\n   net {{\n    remote_ts = {PRIVATE}/32\n   }}\n  }}\n }}\n}}\n"
    )
}
