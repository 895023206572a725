//! The rig of the benches: a device under test between two ends, on two veth pairs.
//!
//! ```text
//!  [client] c0 ------- rig-in [device under test] rig-out ------- s0 [server]
//!           10.64.255.2/30  .1                198.51.100.1  .2/30
//!           100.64.0.0/10 behind it           everything else behind it
//! ```
//!
//! Neighbours are fixed, so that no frame waits for ARP.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::janitor::{Janitor, Kind};
use super::lock::LabLock;
use super::namespace::Namespace;
use super::signals;
use super::topology::{link, make_folders, plain};

/// Devices of the device under test, inside and outside; also names of its threads of NAPI.
pub const DEVICES: [&str; 2] = ["rig-in", "rig-out"];
/// Devices of client and server.
pub const ENDS: [&str; 2] = ["c0", "s0"];

/// Link address of each device, by its name.
#[must_use]
pub const fn mac(of_server: bool, of_end: bool) -> [u8; 6] {
    [2, 0, 0, 0, 1 + of_server as u8, 1 + of_end as u8]
}

/// Namespaces and links; removed when this value ends, or the process does.
#[derive(Debug)]
pub struct Bed {
    pub client: Namespace,
    pub dut: Namespace,
    pub server: Namespace,
    folder: PathBuf,
    pins: PathBuf,
    // Last: what they remove and guard must not be in use any more.
    janitor: Janitor,
    _lock: LabLock,
}

impl Bed {
    /// Builds it, when no test has a laboratory.
    ///
    /// # Errors
    /// What `ip`, `ethtool` or the kernel refused; nothing is left then.
    pub fn new() -> Result<Self> {
        let lock = LabLock::take()?;
        signals::install()?;
        let janitor = Janitor::start()?;
        let stem = format!("cgn-rig-{}", std::process::id());
        let (folder, pins) = make_folders(&janitor, &stem)?;
        let make = |role: &str| {
            let name = format!("{stem}-{role}");
            janitor.will_make(Kind::Namespace, &name)?;
            Namespace::make(name)
        };
        let bed = Self {
            client: make("client")?,
            dut: make("dut")?,
            server: make("server")?,
            folder,
            pins,
            janitor,
            _lock: lock,
        };
        bed.connect().context("cannot build the rig")?;
        Ok(bed)
    }

    /// Folder for files; removed with the rig.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Folder on a BPF file system, not yet made; removed with the rig.
    #[must_use]
    pub fn pins(&self) -> &Path {
        &self.pins
    }

    /// Writes `value` into a file of /proc or /sys that is the whole machine's. What was there
    /// is written back when the rig ends.
    ///
    /// # Errors
    /// The kernel's.
    pub fn set_for_now(&self, path: &str, value: &str) -> Result<()> {
        let was = fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?;
        let restore = format!("{path} {}", was.trim());
        self.janitor.will_make(Kind::Setting, restore)?;
        fs::write(path, value).with_context(|| format!("cannot set {path} to {value}"))
    }

    fn connect(&self) -> Result<()> {
        let ends = [(&self.client, false), (&self.server, true)];
        for ((end, of_server), (device, peer)) in ends.into_iter().zip(DEVICES.iter().zip(ENDS)) {
            link(&self.dut, device, end, peer)?;
            let text = |mac: [u8; 6]| mac.map(|byte| format!("{byte:02x}")).join(":");
            let (near, far) = (text(mac(of_server, false)), text(mac(of_server, true)));
            let (network, routes) = match of_server {
                false => ("10.64.255", "route add 100.64.0.0/10 via 10.64.255.2"),
                true => ("198.51.100", "route add default via 198.51.100.2"),
            };
            self.dut.ip(&format!(
                "link set {device} address {near}\naddr add {network}.1/30 dev {device}\n\
                 neigh add {network}.2 lladdr {far} dev {device} nud permanent\n{routes}\n"
            ))?;
            end.ip(&format!(
                "link set {peer} address {far}\naddr add {network}.2/30 dev {peer}\n\
                 neigh add {network}.1 lladdr {near} dev {peer} nud permanent\n\
                 route add default via {network}.1\n"
            ))?;
            plain(&self.dut, device)?;
            plain(end, peer)?;
        }
        // For programs with real sockets.
        self.client.ip("addr add 100.64.0.1/32 dev lo\n")?;
        self.server.ip("addr add 192.0.2.10/32 dev lo\n")?;
        self.dut.set_sysctl("ipv4/ip_forward", "0")
    }
}
