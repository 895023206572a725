//! The keys of the configuration file. The comments here are their reference documentation.
//!
//! Each key can be left out unless it is marked *required*.

mod behaviour;
mod log;
mod pool;
mod subscribers;

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::mirrors::Mirror;
use super::rules::{Access, Rule};

pub use behaviour::{
    Exhausted, Fragments, Guard, Hold, Icmp, Midstream, Sessions, Tcp, Throttle, Timeouts,
};
pub use log::{
    Identity, IdentityClient, Log, LogMode, LogSync, OnFull, Sink, SinkFormat, SinkSasl,
    SinkTransport,
};
pub use pool::{Filtering, Pool, PoolMode, PortMode, Scatter};
pub use subscribers::{Group, Subscribers};

/// The whole file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// `[inside]`, *required*: the side towards the subscribers.
    pub inside: Side,
    /// `[outside]`, *required*: the side towards the internet. May be on the same interface as
    /// `inside` when the VLAN lists differ (one-armed set-up).
    pub outside: Side,
    /// `[[realm]]`, any number: further inside networks, whose addresses may be the same.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub realm: Vec<Realm>,
    /// `[xdp]`
    #[serde(default)]
    pub xdp: Xdp,
    /// `[[pool]]`, *required*, once or more: the external addresses.
    pub pool: Vec<Pool>,
    /// `[[subscribers]]`, *required*, once or more: who is translated, from which pool.
    pub subscribers: Vec<Subscribers>,
    /// `[[group]]`, any number: what some subscribers may do.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub group: Vec<Group>,
    /// `[access]`
    #[serde(default)]
    pub access: Access,
    /// `[[rule]]`, any number: access lists.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rule: Vec<Rule>,
    /// `[guard]`
    #[serde(default)]
    pub guard: Guard,
    /// `[throttle]`
    #[serde(default)]
    pub throttle: Throttle,
    /// `[tcp]`
    #[serde(default)]
    pub tcp: Tcp,
    /// `[icmp]`
    #[serde(default)]
    pub icmp: Icmp,
    /// `[sessions]`
    #[serde(default)]
    pub sessions: Sessions,
    /// `[fragments]`
    #[serde(default)]
    pub fragments: Fragments,
    /// `[timeouts]`
    #[serde(default)]
    pub timeouts: Timeouts,
    /// `[hold]`
    #[serde(default)]
    pub hold: Hold,
    /// `[scatter]`
    #[serde(default)]
    pub scatter: Scatter,
    /// `[log]`
    #[serde(default)]
    pub log: Log,
    /// `[identity]`
    #[serde(default)]
    pub identity: Identity,
    /// `[[sink]]`, any number: collectors that are sent the mapping log.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sink: Vec<Sink>,
    /// `[[mirror]]`, any number: copies of packets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mirror: Vec<Mirror>,
    /// `[metrics]`
    #[serde(default)]
    pub metrics: Metrics,
    /// `[control]`
    #[serde(default)]
    pub control: Control,
    /// `[debug]`
    #[serde(default)]
    pub debug: Debug,
}

/// `[inside]` and `[outside]`: where packets of one side come from and go to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Side {
    /// *Required*: name of a network interface, 1 to 15 bytes.
    pub interface: String,
    /// VLAN IDs of the frames, outermost first: none, one, or two (802.1ad), each 1 to 4094.
    /// Default: none, untagged frames.
    #[serde(default)]
    pub vlan: Vec<u16>,
}

/// `[[realm]]`: an inside network beside `[inside]`, whose subscribers may have the same addresses as
/// those of others (RFC 6598 section 4). `[inside]` is the first realm, which has no name. The interface
/// or VLAN by which a packet comes tells its realm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Realm {
    /// *Required*: by this name `[[subscribers]]`, `[[group]]`, log and commands refer to the realm. 1 to 63
    /// letters, digits, `-`, `_` and `.`; each name once. A realm with another name is another one.
    pub name: String,
    /// *Required*: interfaces and VLANs towards its subscribers, as in `[inside]`, once or more. None may
    /// be another side's, too.
    pub inside: Vec<Side>,
    /// *Required*: number of the kernel's routing table with the routes to its subscribers, 1 to 4294967295
    /// but 253, 254 and 255; each table once. Its routes must lead out of the realm's own interfaces. If these are in a VRF, its table.
    pub table: u32,
}

/// `[xdp]`: how the program is attached to the interfaces.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Xdp {
    /// `"auto"`, `"native"` or `"generic"`. Default: `"auto"`.
    pub mode: XdpMode,
}

/// The values of `xdp.mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum XdpMode {
    /// Native where the driver can, else generic, with a warning at start.
    #[default]
    Auto,
    /// In the driver, before the kernel makes a packet buffer; refuses to start where the driver cannot.
    Native,
    /// In the kernel's receive path: works on every interface, but slower.
    Generic,
}

/// `[metrics]`: where Prometheus scrapes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Metrics {
    /// Address and port to listen on; must be a loopback address, for there is no access control.
    /// Default: `127.0.0.1:9464`.
    pub listen: SocketAddr,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 9464)),
        }
    }
}

/// `[control]`: where the daemon can be reached and keeps its tables.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Control {
    /// Unix socket for `cgn show`, an absolute path of at most 107 bytes.
    /// Default: `/run/cgn/cgn.sock`.
    pub socket: PathBuf,
    /// Directory on a BPF file system that holds maps and links while the daemon is away, an
    /// absolute path. Default: `/sys/fs/bpf/cgn`.
    pub pin_directory: PathBuf,
    /// Address and port where the API can be read over TCP with TLS, by clients whose certificate is of
    /// `client_ca_file`. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listen: Option<SocketAddr>,
    /// With `listen`, *required*: the daemon's certificate, those between it and its root behind it (PEM).
    pub cert_file: PathBuf,
    /// With `listen`, *required*: the key of the certificate (PEM), which nobody else may read.
    pub key_file: PathBuf,
    /// With `listen`, *required*: the certificates (PEM) that clients' must descend from.
    pub client_ca_file: PathBuf,
}

impl Default for Control {
    fn default() -> Self {
        Self {
            socket: PathBuf::from("/run/cgn/cgn.sock"),
            pin_directory: PathBuf::from("/sys/fs/bpf/cgn"),
            listen: None,
            cert_file: PathBuf::new(),
            key_file: PathBuf::new(),
            client_ca_file: PathBuf::new(),
        }
    }
}

/// `[debug]`: for tests and for the search of faults, not for traffic.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Debug {
    /// XDP hands every packet that is not the kernel's to the slow path, which translates it by the
    /// same rules, many times slower, and not while the daemon is away. `true` warns. Default: false.
    pub force_slow_path: bool,
}
