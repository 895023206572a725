//! Builds the laboratory, and removes it.

use std::fmt::Write as _;
use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context as _, Result, bail};

use super::janitor::{Janitor, Kind};
use super::lock::LabLock;
use super::namespace::Namespace;
use super::process::run_to_end;
use super::signals;
use super::xdp_pass::XdpPass;

/// Addresses of the laboratory; `mod.rs` draws them.
pub mod address {
    use std::net::Ipv4Addr;

    /// The CGN on the inside link.
    pub const CGN_INSIDE: Ipv4Addr = Ipv4Addr::new(10, 64, 255, 1);
    /// The access router on the inside link.
    pub const ACCESS: Ipv4Addr = Ipv4Addr::new(10, 64, 255, 2);
    /// The CGN on the outside link.
    pub const CGN_OUTSIDE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
    /// The internet's router on the outside link.
    pub const PEER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 2);
    /// Servers in the internet.
    pub const SERVERS: [Ipv4Addr; 3] = [
        Ipv4Addr::new(192, 0, 2, 10),
        Ipv4Addr::new(192, 0, 2, 11),
        Ipv4Addr::new(192, 0, 2, 12),
    ];
    /// Network that the internet routes to the CGN; pools take their addresses from it.
    pub const POOL: &str = "203.0.113.0/24";
    /// The subscriber on the CGN's own link, and the CGN's address in its network.
    pub const DIRECT: Ipv4Addr = Ipv4Addr::new(100, 64, 0, 2);
    pub const CGN_DIRECT: Ipv4Addr = Ipv4Addr::new(100, 64, 0, 1);
    /// Many more subscribers, all in the first `sub` namespace.
    pub const CROWD: &str = "100.64.128.0/17";

    /// Subscriber `host` of `sub` namespace `number` (from 1). Sockets that are not bound to an
    /// address are subscriber 2.
    #[must_use]
    pub const fn subscriber(number: u8, host: u8) -> Ipv4Addr {
        Ipv4Addr::new(100, 64, number, host)
    }

    /// Subscriber number `index` (below 32768) of the crowd.
    #[must_use]
    pub const fn crowd(index: u16) -> Ipv4Addr {
        let [high, low] = (0x8000 | index).to_be_bytes();
        Ipv4Addr::new(100, 64, high, low)
    }
}

/// Largest IPv4 packet, and the same with room for two VLAN tags: a device takes frames with one
/// tag more than its MTU says, not with two.
const MTU: u32 = 1500;
const TRUNK_MTU: u32 = MTU + 8;

/// How the CGN is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trunk<'a> {
    /// Devices `inside` and `outside`, untagged.
    Two,
    /// One device `trunk`; the kernel's VLAN devices `inside` and `outside` on it have these IDs,
    /// outermost first: one (802.1Q), or two (802.1ad, then 802.1Q).
    One {
        inside: &'a [u16],
        outside: &'a [u16],
    },
}

/// What to build.
#[derive(Debug, Clone, Copy)]
pub struct Plan<'a> {
    /// First part of all names: `cgn-t` for tests.
    pub prefix: &'a str,
    /// Namespaces with subscribers, 1 to 100.
    pub subscribers: u8,
    /// One more namespace, whose subscriber is on the CGN's own link.
    pub direct: bool,
    pub trunk: Trunk<'a>,
}

impl Default for Plan<'_> {
    fn default() -> Self {
        Self {
            prefix: "cgn-t",
            subscribers: 1,
            direct: false,
            trunk: Trunk::Two,
        }
    }
}

/// Namespaces, links, addresses and routes; removed when this value ends, or the process does.
#[derive(Debug)]
pub struct Lab {
    /// Hosts of subscribers, one network each.
    pub subscribers: Vec<Namespace>,
    /// The host on the CGN's own link, if the plan has one.
    pub direct: Option<Namespace>,
    /// The router between subscribers and CGN.
    pub access: Namespace,
    /// Where the CGN runs.
    pub cgn: Namespace,
    /// Servers.
    pub internet: Namespace,
    folder: PathBuf,
    pins: PathBuf,
    sides: [(&'static str, Vec<u16>); 2],
    _passing: Vec<XdpPass>,
    // Last: what they remove and guard must not be in use any more.
    janitor: Janitor,
    _lock: Option<LabLock>,
}

impl Lab {
    /// Builds a laboratory for a test, when no other test has one.
    ///
    /// # Errors
    /// What `ip`, `ethtool` or the kernel refused; nothing is left then.
    pub fn new(plan: &Plan<'_>) -> Result<Self> {
        let lock = LabLock::take()?;
        let mut lab = Self::beside_others(plan)?;
        lab._lock = Some(lock);
        Ok(lab)
    }

    /// Builds a laboratory whether or not there are others.
    ///
    /// # Errors
    /// As of [`Lab::new`].
    pub fn beside_others(plan: &Plan<'_>) -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        signals::install()?;
        let janitor = Janitor::start()?;
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let stem = format!("{}-{}-{count}", plan.prefix, std::process::id());
        let (folder, pins) = make_folders(&janitor, &stem)?;
        let make = |role: &str| {
            let name = format!("{stem}-{role}");
            janitor.will_make(Kind::Namespace, &name)?;
            Namespace::make(name)
        };
        let mut lab = Self {
            subscribers: (1..=plan.subscribers)
                .map(|number| make(&format!("sub{number}")))
                .collect::<Result<_>>()?,
            direct: plan.direct.then(|| make("direct")).transpose()?,
            access: make("access")?,
            cgn: make("cgn")?,
            internet: make("internet")?,
            folder,
            pins,
            sides: sides(plan.trunk),
            _passing: Vec::new(),
            janitor,
            _lock: None,
        };
        lab.connect(plan.trunk)
            .context("cannot build the laboratory")?;
        Ok(lab)
    }

    /// Folder for the files of this laboratory; removed with it.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Folder on a BPF file system, not yet made, for the daemon; removed with the laboratory.
    #[must_use]
    pub fn pins(&self) -> &Path {
        &self.pins
    }

    /// Device of the CGN's namespace and VLAN IDs of the inside, then of the outside.
    #[must_use]
    pub fn sides(&self) -> &[(&'static str, Vec<u16>); 2] {
        &self.sides
    }

    /// A folder on a small disk of its own; removed with the laboratory.
    ///
    /// # Errors
    /// It cannot be mounted.
    pub fn small_disk(&self, bytes: u64) -> Result<PathBuf> {
        let path = self.folder.join("disk");
        fs::create_dir(&path).with_context(|| format!("cannot make {}", path.display()))?;
        self.janitor.will_make(Kind::Mount, path.display())?;
        let size = format!("size={bytes}");
        run_to_end(
            Command::new("mount")
                .args(["-t", "tmpfs", "-o", &size, "tmpfs"])
                .arg(&path),
            10.0,
        )?;
        Ok(path)
    }

    fn connect(&mut self, trunk: Trunk<'_>) -> Result<()> {
        match trunk {
            Trunk::Two => self.connect_two()?,
            Trunk::One { inside, outside } => self.connect_trunk(inside, outside)?,
        }
        self.cgn.set_sysctl("ipv4/ip_forward", "0")?;
        self.cgn.ip(&format!(
            "addr add {}/30 dev inside\naddr add {}/30 dev outside\n\
             route add 100.64.0.0/16 via {}\nroute add default via {}\n",
            address::CGN_INSIDE,
            address::CGN_OUTSIDE,
            address::ACCESS,
            address::PEER
        ))?;
        self.access.set_sysctl("ipv4/ip_forward", "1")?;
        self.access.ip(&format!(
            "addr add {}/30 dev uplink\nroute add default via {}\n",
            address::ACCESS,
            address::CGN_INSIDE
        ))?;
        let mut lines = format!(
            "addr add {}/30 dev uplink\nroute add {} via {}\n",
            address::PEER,
            address::POOL,
            address::CGN_OUTSIDE
        );
        for server in address::SERVERS {
            // Writing to a String cannot fail.
            let _ = writeln!(lines, "addr add {server}/32 dev lo");
        }
        self.internet.ip(&lines)?;
        for number in 1..=self.subscribers.len() {
            self.connect_subscriber(number)?;
        }
        self.connect_direct()
    }

    fn connect_two(&self) -> Result<()> {
        for (device, peer) in [("inside", &self.access), ("outside", &self.internet)] {
            link(&self.cgn, device, peer, "uplink")?;
            plain(&self.cgn, device)?;
            plain(peer, "uplink")?;
        }
        Ok(())
    }

    /// One device for both sides. A bridge that knows no VLANs is the switch: each neighbour sees
    /// all frames and takes those with its own tags.
    fn connect_trunk(&mut self, inside: &[u16], outside: &[u16]) -> Result<()> {
        link(&self.cgn, "trunk", &self.access, "trunk")?;
        link(&self.access, "wire", &self.internet, "trunk")?;
        self.access.ip(
            "link add switch type bridge\nlink set trunk master switch\nlink set wire master switch\n\
             link set switch up\n",
        )?;
        for (namespace, device) in [
            (&self.cgn, "trunk"),
            (&self.access, "trunk"),
            (&self.access, "wire"),
            (&self.access, "switch"),
            (&self.internet, "trunk"),
        ] {
            namespace.ip(&format!("link set {device} mtu {TRUNK_MTU}\n"))?;
            plain(namespace, device)?;
            // A tag that is left to the device is not in the frame that XDP sees.
            let tags = ["txvlan", "off", "tx-vlan-stag-hw-insert", "off"];
            namespace.set_features(device, &tags)?;
        }
        // A frame that XDP sends back where it came from wakes only a peer with a program.
        self._passing.push(XdpPass::attach(&self.access, "trunk")?);
        for (namespace, below, name, ids) in [
            (&self.cgn, "trunk", "inside", inside),
            (&self.cgn, "trunk", "outside", outside),
            (&self.access, "switch", "uplink", inside),
            (&self.internet, "trunk", "uplink", outside),
        ] {
            vlan(namespace, below, name, ids)?;
        }
        Ok(())
    }

    /// The host has every address of its network: a route of type local says so.
    fn connect_subscriber(&self, number: usize) -> Result<()> {
        let host = &self.subscribers[number - 1];
        let number = u8::try_from(number).context("too many subscribers")?;
        let device = format!("sub{number}");
        link(&self.access, &device, host, "eth0")?;
        let own = address::subscriber(number, 2);
        let network = address::subscriber(number, 0);
        let (router, near) = (
            Ipv4Addr::new(10, 64, number, 1),
            Ipv4Addr::new(10, 64, number, 2),
        );
        self.access.ip(&format!(
            "addr add {router}/30 dev {device}\nroute add {network}/24 via {near}\n"
        ))?;
        host.ip(&format!(
            "addr add {near}/30 dev eth0\naddr add {own}/32 dev lo\n\
             route add local {network}/24 dev lo\nroute add default via {router} src {own}\n"
        ))?;
        if number == 1 {
            self.access
                .ip(&format!("route add {} via {near}\n", address::CROWD))?;
            host.ip(&format!("route add local {} dev lo\n", address::CROWD))?;
        }
        Ok(())
    }

    fn connect_direct(&self) -> Result<()> {
        let Some(host) = &self.direct else {
            return Ok(());
        };
        self.access.ip(&format!(
            "link add name eth0 link uplink netns {} type macvlan mode private\n",
            host.name()
        ))?;
        host.ip(&format!(
            "link set eth0 up\naddr add {}/24 dev eth0\nroute add default via {}\n",
            address::DIRECT,
            address::CGN_DIRECT
        ))?;
        self.cgn
            .ip(&format!("addr add {}/24 dev inside\n", address::CGN_DIRECT))
    }
}

/// Makes a veth pair, both ends up.
pub(super) fn link(one: &Namespace, device: &str, other: &Namespace, peer: &str) -> Result<()> {
    one.ip(&format!(
        "link add name {device} type veth peer name {peer} netns {}\nlink set {device} up\n",
        other.name()
    ))?;
    other.ip(&format!("link set {peer} up\n"))
}

fn sides(trunk: Trunk<'_>) -> [(&'static str, Vec<u16>); 2] {
    match trunk {
        Trunk::Two => [("inside", vec![]), ("outside", vec![])],
        Trunk::One { inside, outside } => [("trunk", inside.to_vec()), ("trunk", outside.to_vec())],
    }
}

/// Makes the kernel's VLAN device `name` on `below`, for one or two tags.
fn vlan(namespace: &Namespace, below: &str, name: &str, ids: &[u16]) -> Result<()> {
    let (below, id) = match *ids {
        [id] => (below.to_owned(), id),
        [outer, id] => {
            let middle = format!("{below}-{outer}");
            // Both sides may have the same outer tag.
            if !namespace.has_device(&middle)? {
                namespace.ip(&format!(
                    "link add link {below} name {middle} type vlan proto 802.1ad id {outer}\n\
                     link set {middle} up\n"
                ))?;
                plain(namespace, &middle)?;
            }
            (middle, id)
        }
        _ => bail!("{ids:?}: a frame has one or two VLAN tags"),
    };
    namespace.ip(&format!(
        "link add link {below} name {name} mtu {MTU} type vlan id {id}\nlink set {name} up\n"
    ))?;
    plain(namespace, name)
}

/// Makes a device fit for packets that XDP redirects: a checksum that is left to the device is lost
/// on the way, and a veth end takes redirected frames only with GRO (or a program of its own).
pub(super) fn plain(namespace: &Namespace, device: &str) -> Result<()> {
    namespace.set_features(
        device,
        &["tx", "off", "tso", "off", "gso", "off", "gro", "on"],
    )
}

pub(super) fn make_folders(janitor: &Janitor, stem: &str) -> Result<(PathBuf, PathBuf)> {
    let folder = std::env::temp_dir().join(stem);
    janitor.will_make(Kind::Folder, folder.display())?;
    fs::create_dir(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    // The daemon mounts the file system there if nobody has.
    let pins = Path::new("/sys/fs/bpf").join(stem);
    janitor.will_make(Kind::Folder, pins.display())?;
    Ok((folder, pins))
}
