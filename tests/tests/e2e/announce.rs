//! The pool announced to the internet by BGP, as docs/operate/deploy.md says, and withdrawn.

use std::fs;
use std::net::Ipv4Addr;

use anyhow::{Context as _, Result, ensure};
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
    if !lacks_program(name, "bird") {
        in_lab(name, &Plan::default(), |lab| announced(lab, bird));
    }
}

#[test]
fn frr_announces_it_likewise() {
    let name = "announce::frr_announces_it_likewise";
    if !lacks_program(name, &format!("{FRR}/bgpd")) {
        in_lab(name, &Plan::default(), |lab| announced(lab, frr));
    }
}

/// One of the two routers.
#[derive(Clone, Copy, PartialEq)]
enum Router {
    /// With the CGN; its configuration is that of docs/operate/deploy.md.
    Ours,
    /// Announces a default route, and puts what it hears into its kernel.
    Upstream,
}

/// Runs the routing daemon of a router, as processes.
type Routing = fn(&Lab, Router) -> Result<Vec<Process>>;

fn announced(lab: &Lab, routing: Routing) -> Result<()> {
    // Only BGP tells the two routers of each other's networks.
    lab.internet.ip(&format!("route del {}\n", address::POOL))?;
    lab.cgn.ip("route del default\n")?;
    let settings = Settings {
        addresses: format!("\"{POOL}\""),
        ..Settings::default()
    };
    let daemon = Daemon::start(lab, &settings)?;
    let echo = UdpEcho::start(&lab.internet, SERVER)?;
    let _theirs = routing(lab, Router::Upstream)?;
    let _ours = routing(lab, Router::Ours)?;
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
    // Nothing else is: the upstream has no way to the subscribers.
    ensure!(
        !has_route(&lab.internet, "root 100.64.0.0/10")?,
        "the inside is announced"
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

/// What docs/operate/deploy.md has from a line that begins with `first` to the end of its block, with this
/// laboratory's pool.
fn documented(first: &str) -> Result<String> {
    let text = include_str!("../../../docs/operate/deploy.md");
    let begin = text.find(&format!("\n   {first}")).context("not there")? + 1;
    let length = text[begin..].find("   ```").context("no end")?;
    Ok(text[begin..begin + length].replace("203.0.113.0/28", POOL))
}

/// BIRD, with its files in the laboratory's folder.
fn bird(lab: &Lab, router: Router) -> Result<Vec<Process>> {
    let (namespace, name, id, protocols) = match router {
        Router::Ours => {
            let protocols = documented("protocol kernel pool")?;
            (&lab.cgn, "ours", "10.0.0.1", protocols)
        }
        Router::Upstream => (&lab.internet, "upstream", "10.0.0.2", upstream_of_bird()),
    };
    let file = |end: &str| lab.folder().join(format!("bird-{name}.{end}"));
    let text = format!("router id {id};\nprotocol device {{ scan time 1; }}\n{protocols}");
    fs::write(file("conf"), text)?;
    let mut command = namespace.command("bird");
    command.arg("-f").arg("-c").arg(file("conf"));
    command
        .arg("-s")
        .arg(file("ctl"))
        .arg("-P")
        .arg(file("pid"));
    Ok(vec![Process::start("bird", &mut command, &file("log"))?])
}

fn upstream_of_bird() -> String {
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

/// Where Debian's package `frr` has its daemons.
const FRR: &str = "/usr/lib/frr";

/// FRR: `zebra` speaks with the kernel, `bgpd` with the other router.
fn frr(lab: &Lab, router: Router) -> Result<Vec<Process>> {
    let (namespace, name, text) = match router {
        Router::Ours => (&lab.cgn, "ours", documented("ip prefix-list pool")?),
        Router::Upstream => (&lab.internet, "upstream", upstream_of_frr()),
    };
    let folder = lab.folder().join(format!("frr-{name}"));
    fs::create_dir(&folder)?;
    // Root in place of the package's user, who cannot read the laboratory's folder.
    let daemons = [("zebra", String::new()), ("bgpd", text)];
    let start = |(daemon, text): (&str, String)| {
        let file = |end: &str| folder.join(format!("{daemon}.{end}"));
        fs::write(file("conf"), text)?;
        let mut command = namespace.command(format!("{FRR}/{daemon}"));
        command.args(["-u", "root", "-g", "frrvty", "--log", "stdout"]);
        command
            .arg("-f")
            .arg(file("conf"))
            .arg("-i")
            .arg(file("pid"));
        command.arg("-z").arg(folder.join("zserv.api"));
        command.arg("--vty_socket").arg(&folder);
        Process::start(daemon, &mut command, &file("log"))
    };
    daemons.into_iter().map(start).collect()
}

fn upstream_of_frr() -> String {
    format!(
        "router bgp 64500\n no bgp ebgp-requires-policy\n neighbor {peer} remote-as 64512\n \
         neighbor {peer} timers connect 1\n address-family ipv4 unicast\n  \
         neighbor {peer} default-originate\n",
        peer = address::CGN_OUTSIDE
    )
}

fn has_route(namespace: &Namespace, selector: &str) -> Result<bool> {
    let mut command = namespace.command("ip");
    command.args(["route", "show"]).args(selector.split(' '));
    let said = run_to_end(&mut command, PATIENCE_SECS)?;
    Ok(!said.trim().is_empty())
}
