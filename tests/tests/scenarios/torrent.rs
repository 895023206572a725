//! BitTorrent with libtorrent: peers find each other by DHT, whose announcements carry the port that
//! others see (`implied_port`, BEP 5), and speak uTP from that very port.

use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use cgn_tests::lab::{Daemon, Lab, Namespace, Process, XdpPass, address, run_to_end};
use cgn_tests::skip::python_with;

use crate::{
    FIRST, PROGRAM_SECS, SECOND, SHARED, is_of, keep_apart, one_address, script,
    with_two_households,
};

/// The node of the DHT that all know, and a peer outside.
const NODE: Ipv4Addr = address::SERVERS[0];
const STRANGER: Ipv4Addr = address::SERVERS[2];

#[test]
fn a_seed_behind_the_cgn_serves_its_neighbour_and_a_stranger() {
    let name = "torrent::a_seed_behind_the_cgn_serves_its_neighbour_and_a_stranger";
    let Some(python) = python_with(name, "libtorrent") else {
        return;
    };
    with_two_households(name, |lab| {
        keep_apart(lab)?;
        let _pass = XdpPass::attach(&lab.access, "uplink")?;
        let daemon = Daemon::start(lab, &one_address())?;
        for (number, address) in [FIRST, SECOND].into_iter().enumerate() {
            on_the_link(&lab.subscribers[number], "eth0", address)?;
        }
        lab.internet
            .ip(&format!("route add default via {}\n", address::CGN_OUTSIDE))?;
        for server in [NODE, STRANGER] {
            on_the_link(&lab.internet, "uplink", server)?;
        }
        serve_both(lab, &daemon, &python)
    });
}

/// libtorrent speaks to the world from an address on a device with a default route only.
fn on_the_link(host: &Namespace, device: &str, address: Ipv4Addr) -> Result<()> {
    host.ip(&format!(
        "addr del {address}/32 dev lo\naddr add {address}/32 dev {device}\n"
    ))
}

fn serve_both(lab: &Lab, daemon: &Daemon, python: &Path) -> Result<()> {
    let script = script(lab, "torrent.py", include_str!("torrent.py"))?;
    let [seed, near, far] = ["seed", "near", "far"].map(|name| lab.folder().join(name));
    for folder in [&seed, &near, &far] {
        fs::create_dir(folder)?;
    }
    let mut make = Command::new(python);
    make.arg(&script).arg("make").arg(&seed);
    run_to_end(&mut make, PROGRAM_SECS)?;

    let mut node = lab.internet.command(python);
    node.arg(&script).args(["node", &NODE.to_string()]);
    let mut node = Process::start("DHT node", &mut node, &lab.folder().join("node.log"))?;
    node.wait_for_output("node", PROGRAM_SECS)?;
    let start = |host: &Namespace, address: Ipv4Addr, folder: &PathBuf| {
        let mut command = host.command(python);
        command.arg(&script).arg("peer").arg(address.to_string());
        command.arg(format!("{NODE}:6881"));
        command.arg(seed.join("content.torrent")).arg(folder);
        Process::start("peer", &mut command, &folder.with_extension("log"))
    };
    let _seed = start(&lab.subscribers[0], FIRST, &seed)?;
    node.wait_for_output(&format!("announced {SHARED}"), PROGRAM_SECS)?;
    let announced = endpoints(&node.output(), "announced")?;
    let offered = announced.first().context("the seed's announcement")?;
    is_of(daemon, *offered, FIRST)?;

    let mut near_peer = start(&lab.subscribers[1], SECOND, &near)?;
    let mut far_peer = start(&lab.internet, STRANGER, &far)?;
    for (what, peer) in [("neighbour", &mut near_peer), ("stranger", &mut far_peer)] {
        peer.wait_for_output("done", PROGRAM_SECS)?;
        let met = endpoints(&peer.output(), "peer")?;
        ensure!(met.contains(offered), "the {what} met {met:?} only");
    }
    let content = fs::read(seed.join("content"))?;
    for folder in [&near, &far] {
        ensure!(fs::read(folder.join("content"))? == content, "{folder:?}");
    }
    Ok(())
}

/// The endpoints in lines that begin with this word.
fn endpoints(said: &str, word: &str) -> Result<Vec<SocketAddrV4>> {
    let lines = said.lines().filter_map(|line| line.strip_prefix(word));
    lines
        .map(|line| line.trim().parse().with_context(|| line.to_owned()))
        .collect()
}
