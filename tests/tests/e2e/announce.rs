//! The pool announced to the internet by BGP, as docs/operate/deploy.md says, and withdrawn.

use std::fs;
use std::net::Ipv4Addr;

use anyhow::{Result, ensure};
use cgn_tests::lab::{
    self, Daemon, Lab, Namespace, Plan, Process, Settings, UdpEcho, address, run_to_end, wait_until,
};

use crate::{PATIENCE_SECS, SERVER, in_lab, lacks_program};

/// BGP comes up within it.
const BGP_SECS: f64 = 30.0;
/// The pool of the default settings, in one prefix.
const POOL: &str = "203.0.113.0/29";

#[test]
fn the_pool_is_announced_while_its_route_is_there() {
    let name = "announce::the_pool_is_announced_while_its_route_is_there";
    if lacks_program(name, "bird") {
        return;
    }
    in_lab(name, &Plan::default(), |lab| {
        // Only BGP tells the two routers of each other's networks.
        lab.internet.ip(&format!("route del {}\n", address::POOL))?;
        lab.cgn.ip("route del default\n")?;
        let settings = Settings {
            addresses: format!("\"{POOL}\""),
            ..Settings::default()
        };
        let daemon = Daemon::start(lab, &settings)?;
        let echo = UdpEcho::start(&lab.internet, SERVER)?;
        let _ours = bird(lab, &lab.cgn, "ours", &ours())?;
        let _theirs = bird(lab, &lab.internet, "theirs", &theirs())?;
        let socket = lab::echo_from(&lab.subscribers[0], address::subscriber(1, 2))?;
        wait_until("the default route comes by BGP", BGP_SECS, || {
            Ok(has_route(&lab.cgn, "default")?.then_some(()))
        })?;
        ensure!(
            !has_route(&lab.internet, POOL)?,
            "announced without a route"
        );

        // What cgn-announce.service does.
        lab.cgn
            .ip(&format!("route replace blackhole {POOL} proto 200\n"))?;
        wait_until("the pool is announced", BGP_SECS, || {
            Ok(has_route(&lab.internet, POOL)?.then_some(()))
        })?;
        let seen = lab::exchange(&socket, echo.address(), b"one", true, 10.0)?;
        ensure!(
            seen.ip().octets()[..3] == [203, 0, 113],
            "the server saw {seen}"
        );
        // To an external port without a mapping: dropped, and never sent back to the upstream.
        let before = daemon.count_of("no_mapping")?;
        let stranger = SocketIn(&lab.internet);
        stranger.send_to(Ipv4Addr::new(203, 0, 113, 6), 4444)?;
        daemon.wait_for_count("no_mapping", before, 1)?;

        lab.cgn
            .ip(&format!("route del blackhole {POOL} proto 200\n"))?;
        wait_until("the pool is withdrawn", BGP_SECS, || {
            Ok((!has_route(&lab.internet, POOL)?).then_some(()))
        })?;
        Ok(())
    });
}

/// Sends from a host of the internet.
struct SocketIn<'a>(&'a Namespace);

impl SocketIn<'_> {
    fn send_to(&self, address: Ipv4Addr, port: u16) -> Result<()> {
        let socket = lab::echo_from(self.0, *SERVER.ip())?;
        socket.send_to(b"stranger", (address, port))?;
        Ok(())
    }
}

/// The router with the CGN: the text of docs/operate/deploy.md, with this laboratory's pool.
fn ours() -> String {
    let text = include_str!("../../../docs/operate/deploy.md");
    let begin = text.find("   protocol kernel pool").unwrap_or_default();
    let end = text[begin..].find("   ```").unwrap_or_default();
    text[begin..begin + end].replace("203.0.113.0/28", POOL)
}

/// The upstream: announces a default route, and puts what it hears into its kernel.
fn theirs() -> String {
    format!(
        "protocol kernel {{ ipv4 {{ export where source = RTS_BGP; }}; }}\n\
         protocol static {{ ipv4; route 0.0.0.0/0 unreachable; }}\n\
         protocol bgp customer {{\n\
           local {} as 64500;\n  neighbor {} as 64512;\n  connect delay time 1;\n\
           ipv4 {{ import all; export where source = RTS_STATIC; next hop self; }};\n}}\n",
        address::PEER,
        address::CGN_OUTSIDE
    )
}

/// BIRD in a namespace, with its files in the laboratory's folder.
fn bird(lab: &Lab, namespace: &Namespace, name: &str, protocols: &str) -> Result<Process> {
    let file = |end: &str| lab.folder().join(format!("bird-{name}.{end}"));
    let text = format!("router id 10.0.0.1;\nprotocol device {{ scan time 1; }}\n{protocols}");
    let router = match name {
        "ours" => "10.0.0.1",
        _ => "10.0.0.2",
    };
    fs::write(file("conf"), text.replace("10.0.0.1", router))?;
    let mut command = namespace.command("bird");
    command
        .args(["-f", "-c"])
        .arg(file("conf"))
        .arg("-s")
        .arg(file("ctl"))
        .arg("-P")
        .arg(file("pid"));
    Process::start("bird", &mut command, &file("log"))
}

fn has_route(namespace: &Namespace, network: &str) -> Result<bool> {
    let mut command = namespace.command("ip");
    let said = run_to_end(command.args(["route", "show", network]), PATIENCE_SECS)?;
    Ok(!said.trim().is_empty())
}
