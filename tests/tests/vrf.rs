//! A realm whose inside interface is in a VRF, with the VRF's routing table as its `table`.
//!
//! Needs VRF devices, which Debian's kernel has: `cargo xtask test --kernel 6.1` runs this in a
//! guest.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::process::Command;

use anyhow::{Result, ensure};
use cgn_tests::lab::{
    self, Daemon, Lab, Plan, Settings, TcpServer, UdpEcho, address, cgn_program, in_lab, run_to_end,
};
use cgn_tests::skip;

const SERVER: SocketAddrV4 = SocketAddrV4::new(address::SERVERS[0], 7000);
/// The address that both subscribers have.
const HOME: Ipv4Addr = address::subscriber(1, 2);
/// The router in the VRF: an address among those of the realm's subscribers, and one that is not.
const ROUTER: Ipv4Addr = Ipv4Addr::new(100, 64, 255, 1);
const LINK: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 1);

/// A guest is emulated: everything takes its time.
const PATIENCE_SECS: f64 = 20.0;

/// The realm's packets leave by the main table, though its VRF has no way out; answers come back by the VRF's
/// table; the router answers in the VRF. What would not work is told.
#[test]
fn a_realm_in_a_vrf() {
    let test = "a_realm_in_a_vrf";
    if lacks_vrf_devices(test) {
        return;
    }
    let plan = Plan {
        subscribers: 2,
        ..Plan::default()
    };
    in_lab(test, &plan, |lab| {
        connect(lab)?;
        let toml = configuration(lab);
        let mut daemon = Daemon::start_with(lab, &toml, &cgn_program()?, &["--test-clock"])?;
        for told in [
            format!("the router's address {LINK} in this VRF"),
            "set `net.ipv4.conf.mvno.forwarding` to 0".to_owned(),
        ] {
            daemon.process().wait_for_output(&told, PATIENCE_SECS)?;
        }
        let echo = UdpEcho::start(&lab.internet, SERVER)?;
        let tcp = TcpServer::start(&lab.internet, SERVER, PATIENCE_SECS)?;
        for (host, pool, realm) in [
            (&lab.subscribers[0], 0..=77, "the first"),
            (&lab.subscribers[1], 100..=101, "mvno"),
        ] {
            let socket = lab::echo_from(host, HOME)?;
            let hello = realm.as_bytes();
            let seen = lab::exchange(&socket, echo.address(), hello, true, PATIENCE_SECS)?;
            ensure!(pool.contains(&seen.ip().octets()[3]), "{realm}: {seen}");
            let again = lab::exchange(&socket, echo.address(), hello, false, PATIENCE_SECS)?;
            ensure!(again == seen, "{realm}: {seen} became {again}");
            let bytes = 100_000;
            let moved = lab::transfer(host, None, tcp.address(), (bytes, bytes), PATIENCE_SECS)?;
            ensure!(moved.seen.ip() == seen.ip(), "{realm}: {:?}", moved.seen);
            let outcome = lab::ping(host, HOME, address::SERVERS[1], 11, 2)?;
            ensure!(
                outcome.received == 2,
                "{realm}: {} of 2 pings",
                outcome.received
            );
        }
        let outcome = lab::ping(&lab.subscribers[1], HOME, ROUTER, 12, 2)?;
        ensure!(
            outcome.received == 2,
            "the router: {} of 2 pings",
            outcome.received
        );
        // The kernel does not forward here, so it tells no route: the slow path looked up the way to the one
        // subscriber, whose /16 has several, and XDP has it since.
        let asked = daemon.count_of("route_unknown")?;
        ensure!(asked < 5, "{asked} routes were looked up by the slow path");
        lab.cgn.ip(
            "link add vrf-other type vrf table 7\nlink set vrf-other up\n\
             link set inside master vrf-other\n",
        )?;
        let told = "make it a [[realm]] with `table = 7`";
        daemon.process().wait_for_output(told, PATIENCE_SECS)
    });
}

/// One more link from the second subscriber's host to the CGN, whose end is in a VRF.
fn connect(lab: &Lab) -> Result<()> {
    let host = &lab.subscribers[1];
    lab.cgn.ip(&format!(
        "link add name mvno type veth peer name mvno netns {}\n\
         link add vrf-mvno type vrf table 100\nlink set vrf-mvno up\n\
         link set mvno master vrf-mvno\nlink set mvno up\n\
         addr add {ROUTER}/30 dev mvno\naddr add {LINK}/30 dev mvno\n\
         route add 100.64.1.0/24 via 100.64.255.2 dev mvno table 100\n\
         route add unreachable default metric 4278198272 table 100\n",
        host.name()
    ))?;
    host.ip(&format!(
        "link set mvno up\naddr add 100.64.255.2/30 dev mvno\naddr add {HOME}/32 dev lo\n\
         route replace default via {ROUTER} dev mvno src {HOME}\n"
    ))?;
    for namespace in [&lab.cgn, host] {
        let features = ["tx", "off", "tso", "off", "gso", "off", "gro", "on"];
        namespace.set_features("mvno", &features)?;
    }
    Ok(())
}

fn configuration(lab: &Lab) -> String {
    Settings::default().toml(lab)
        + "[[realm]]\nname = \"mvno\"\ninside = [{ interface = \"mvno\" }]\ntable = 100\n\
           [[pool]]\nname = \"other\"\naddresses = [\"203.0.113.100/31\"]\nblock_ports = 64\n\
           [[subscribers]]\nrealm = \"mvno\"\nprefixes = [\"100.64.0.0/16\"]\npool = \"other\"\n"
}

/// True, and recorded, without rights or VRF devices.
fn lacks_vrf_devices(test: &str) -> bool {
    if !skip::is_root(test) {
        return true;
    }
    let Err(error) = try_vrf_device() else {
        return false;
    };
    // The guest's kernel has them: there it is a fault.
    assert!(!is_guest(), "{error:#}");
    let reason = "no VRF devices in this kernel; `cargo xtask test --kernel 6.1` has them";
    skip::skip(test, reason);
    true
}

fn is_guest() -> bool {
    std::env::var_os("CGN_VM").is_some()
}

/// Makes a VRF in a namespace that ends at once.
fn try_vrf_device() -> Result<()> {
    if is_guest() {
        // Its kernel looks for modprobe in the initial file system, where there is none.
        let mut modprobe = Command::new("modprobe");
        run_to_end(modprobe.args(["-a", "veth", "vrf"]), PATIENCE_SECS)?;
    }
    let mut command = Command::new("unshare");
    command.args([
        "--net", "ip", "link", "add", "v0", "type", "vrf", "table", "100",
    ]);
    run_to_end(&mut command, PATIENCE_SECS).map(drop)
}
