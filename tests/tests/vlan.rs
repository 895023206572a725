//! One interface for both sides: frames with VLAN tags of the kernel's own making.
//!
//! Needs VLAN devices, which Debian's kernel has: `cargo xtask test --kernel 6.1` runs this in a
//! guest.

use std::net::SocketAddrV4;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use cgn_tests::lab::{
    self, Daemon, Lab, PingWatch, Plan, Settings, TcpServer, Trunk, UdpEcho, address, owner_in,
    run_to_end, wait_until,
};
use cgn_tests::skip;

const SERVER: SocketAddrV4 = SocketAddrV4::new(address::SERVERS[0], 7000);

/// A guest is emulated: everything takes its time.
const PATIENCE_SECS: f64 = 20.0;

#[test]
fn one_tag_on_each_side() {
    both_sides_on_one_interface("one_tag_on_each_side", &[10], &[20], "auto");
}

#[test]
fn two_tags_inside() {
    both_sides_on_one_interface("two_tags_inside", &[100, 10], &[20], "auto");
}

#[test]
fn two_tags_on_each_side_in_generic_mode() {
    both_sides_on_one_interface(
        "two_tags_on_each_side_in_generic_mode",
        &[100, 10],
        &[100, 11],
        "generic",
    );
}

/// Two tags do not fit beside a packet of 1,500 bytes into the frames of a device with that MTU.
#[test]
fn what_does_not_fit_with_its_tags_is_counted() {
    let test = "what_does_not_fit_with_its_tags_is_counted";
    if lacks_vlan_devices(test) {
        return;
    }
    with_trunk(&[100], &[300, 301], |lab| {
        lab.cgn.ip("link set trunk mtu 1500\n")?;
        let mut daemon = Daemon::start(lab, &Settings::default())?;
        daemon
            .process()
            .wait_for_output("raise that device's MTU by 4 bytes", PATIENCE_SECS)?;
        let echo = UdpEcho::start(&lab.internet, SERVER)?;
        let socket = lab::echo_from(&lab.subscribers[0], address::subscriber(1, 2))?;
        lab::exchange(&socket, SERVER, b"small", false, PATIENCE_SECS)?;
        // 28 bytes of headers.
        socket.send_to(&[7; 1496 - 28], SERVER)?;
        wait_until("the largest that fits", PATIENCE_SECS, || {
            Ok((echo.answered() == 2).then_some(()))
        })?;
        let before = daemon.count_of("too_big")?;
        ensure!(before == 0, "{before} too big");
        socket.send_to(&[7; 1497 - 28], SERVER)?;
        daemon.wait_for_count("too_big", before, 1)
    });
}

fn both_sides_on_one_interface(
    test: &str,
    inside: &[u16],
    outside: &[u16],
    xdp_mode: &'static str,
) {
    if !lacks_vlan_devices(test) {
        with_trunk(inside, outside, |lab| send_all_sorts(lab, xdp_mode));
    }
}

/// True, and recorded, without rights or VLAN devices.
fn lacks_vlan_devices(test: &str) -> bool {
    if !skip::is_root(test) {
        return true;
    }
    let Err(error) = try_vlan_device() else {
        return false;
    };
    // The guest's kernel has them: there it is a fault.
    assert!(!is_guest(), "{error:#}");
    let reason = "no VLAN devices (8021q) in this kernel; `cargo xtask test --kernel 6.1` has them";
    skip::skip(test, reason);
    true
}

fn with_trunk(inside: &[u16], outside: &[u16], body: impl FnOnce(&Lab) -> Result<()>) {
    let plan = Plan {
        trunk: Trunk::One { inside, outside },
        ..Plan::default()
    };
    let lab = Lab::new(&plan).unwrap_or_else(|error| panic!("{error:#}"));
    if let Err(error) = body(&lab) {
        let log = std::fs::read_to_string(lab.folder().join("daemon.log")).unwrap_or_default();
        panic!("{error:#}\n--- the daemon printed:\n{log}");
    }
}

fn is_guest() -> bool {
    std::env::var_os("CGN_VM").is_some()
}

/// Makes a VLAN device in a namespace that ends at once.
fn try_vlan_device() -> Result<()> {
    if is_guest() {
        // Its kernel looks for modprobe in the initial file system, where there is none.
        let mut modprobe = Command::new("modprobe");
        run_to_end(
            modprobe.args(["-a", "veth", "8021q", "bridge"]),
            PATIENCE_SECS,
        )?;
    }
    let mut command = Command::new("unshare");
    command.args(["--net", "sh", "-c"]);
    command
        .arg("ip link add v0 type veth peer name v1 && ip link add link v0 name v2 type vlan id 1");
    run_to_end(&mut command, PATIENCE_SECS).map(drop)
}

fn send_all_sorts(lab: &Lab, xdp_mode: &'static str) -> Result<()> {
    let settings = Settings {
        xdp_mode,
        ..Settings::default()
    };
    let daemon = Daemon::start(lab, &settings)?;
    let echo = UdpEcho::start(&lab.internet, SERVER)?;
    let tcp = TcpServer::start(&lab.internet, SERVER, PATIENCE_SECS)?;
    let watch = PingWatch::start(&lab.internet)?;
    let host = &lab.subscribers[0];
    let inside = address::subscriber(1, 2);
    let mut seen = Vec::new();
    for _ in 0..3 {
        let socket = lab::echo_from(host, inside)?;
        seen.push(lab::exchange(
            &socket,
            echo.address(),
            b"tagged",
            false,
            PATIENCE_SECS,
        )?);
    }
    let bytes = 300_000;
    seen.push(lab::transfer(host, None, tcp.address(), (bytes, bytes), PATIENCE_SECS)?.seen);
    let outcome = lab::ping(host, inside, address::SERVERS[1], 11, 3)?;
    ensure!(outcome.received == 3, "{} of 3 pings", outcome.received);
    seen.push(watch.seen(&outcome.tag).context("no request was seen")?);
    let records = daemon.log_records()?;
    for seen in seen {
        let owner = owner_in(&records, seen);
        ensure!(
            owner == Some(inside),
            "{seen} belongs to {owner:?} by the log"
        );
    }
    for (from, source, to) in [
        (&lab.access, address::ACCESS, address::CGN_INSIDE),
        (&lab.internet, address::PEER, address::CGN_OUTSIDE),
    ] {
        let outcome = lab::ping(from, source, to, 12, 2)?;
        ensure!(
            outcome.received == 2,
            "{to}, the router's own: {} of 2 pings",
            outcome.received
        );
    }
    let modes = daemon.status()?.interfaces;
    ensure!(
        modes.iter().all(|row| row.interface == "trunk"),
        "{modes:?}"
    );
    Ok(())
}
