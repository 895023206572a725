//! What the tests need of the machine: which Debian package brings it, how to see whether it is
//! there, and why the tests want it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Result;

use crate::step::{note, step};
use crate::{debian, judges, workspace};

/// How to see that a package is there.
enum Sign {
    Program(&'static str),
    File(&'static str),
    /// A module of the system's Python; another Python on `PATH` does not see Debian's packages.
    PythonModule(&'static str),
}

struct Need {
    package: &'static str,
    sign: Sign,
    why: &'static str,
}

const fn need(package: &'static str, sign: Sign, why: &'static str) -> Need {
    Need { package, sign, why }
}

/// Needed to compile the test package: libbpf-rs builds C code.
const BUILD: &[Need] = &[
    need(
        "gcc",
        Sign::Program("cc"),
        "compiles libbpf, the second loader of the object",
    ),
    need("make", Sign::Program("make"), "builds libbpf"),
    need(
        "pkg-config",
        Sign::Program("pkg-config"),
        "finds the two libraries below",
    ),
    need(
        "libelf-dev",
        Sign::File("/usr/include/gelf.h"),
        "libbpf reads the object with it",
    ),
    need(
        "zlib1g-dev",
        Sign::File("/usr/include/zlib.h"),
        "libelf's sections may be compressed",
    ),
];

/// Needed while tests run; a test whose program is missing skips itself.
const RUN: &[Need] = &[
    need(
        "libyang-tools",
        Sign::Program("yanglint"),
        "judges what is told by RFC 8512 (with the modules' texts in CGN_YANG)",
    ),
    need(
        "iproute2",
        Sign::Program("ip"),
        "makes namespaces, veth pairs and routes",
    ),
    need(
        "ethtool",
        Sign::Program("ethtool"),
        "switches checksum offload of veth ends off and on",
    ),
    need(
        "iputils-ping",
        Sign::Program("ping"),
        "ICMP echo from a kernel socket",
    ),
    need(
        "traceroute",
        Sign::Program("traceroute"),
        "must show the CGN as a hop",
    ),
    need(
        "iputils-tracepath",
        Sign::Program("tracepath"),
        "must find the MTU behind the CGN",
    ),
    need(
        "nftables",
        Sign::Program("nft"),
        "what the rig of the benches compares with",
    ),
    need("iperf3", Sign::Program("iperf3"), "TCP and UDP streams"),
    need(
        "curl",
        Sign::Program("curl"),
        "fetches pages, and the metrics",
    ),
    need(
        "python3",
        Sign::Program("python3"),
        "its http.server is the web server",
    ),
    need(
        "tcpdump",
        Sign::Program("tcpdump"),
        "sees packets on the wire, outside our own code",
    ),
    need(
        "python3-scapy",
        Sign::PythonModule("scapy"),
        "makes odd packets and judges ours",
    ),
    need(
        "coturn",
        Sign::Program("turnutils_natdiscovery"),
        "its STUN client and server find out how a NAT behaves (RFC 5780)",
    ),
    need(
        "nmap",
        Sign::Program("nmap"),
        "scans through the CGN, and towards it",
    ),
    need(
        "openssl",
        Sign::Program("openssl"),
        "makes keys, judges signatures and is the TLS server of a sink",
    ),
    need("bird2", Sign::Program("bird"), "announces the pool by BGP"),
    need("frr", Sign::File("/usr/lib/frr/bgpd"), "announces it, too"),
    need("tshark", Sign::Program("tshark"), "judges IPFIX"),
    need(
        "freeradius-utils",
        Sign::Program("radclient"),
        "its RADIUS client tells names of subscribers",
    ),
    need("nfdump", Sign::Program("nfcapd"), "judges NetFlow 9"),
    need("rsyslog", Sign::Program("rsyslogd"), "judges syslog"),
    need(
        "python3-venv",
        Sign::PythonModule("ensurepip"),
        "keeps packages of PyPI that judge Parquet files apart",
    ),
    need("pmacct", Sign::Program("nfacctd"), "judges IPFIX, too"),
    need(
        "python3-libtorrent",
        Sign::PythonModule("libtorrent"),
        "BitTorrent of two behind one address",
    ),
    need(
        "baresip-core",
        Sign::Program("baresip"),
        "SIP calls of two behind one address",
    ),
    need(
        "strongswan-charon",
        Sign::File("/usr/lib/ipsec/charon"),
        "IPsec with NAT traversal",
    ),
    need(
        "libcharon-extra-plugins",
        Sign::File("/usr/lib/ipsec/plugins/libstrongswan-kernel-libipsec.so"),
        "its ESP in userspace",
    ),
    need(
        "libstrongswan-standard-plugins",
        Sign::File("/usr/lib/ipsec/plugins/libstrongswan-openssl.so"),
        "its ciphers",
    ),
    need(
        "strongswan-swanctl",
        Sign::Program("swanctl"),
        "tells it what to do",
    ),
    need(
        "wireguard-go",
        Sign::Program("wireguard-go"),
        "WireGuard in userspace",
    ),
    need("wireguard-tools", Sign::Program("wg"), "sets it up"),
    need(
        "openvpn",
        Sign::Program("openvpn"),
        "tunnels by UDP and TCP",
    ),
    need(
        "bpftool",
        Sign::Program("bpftool"),
        "a foreign look at programs, maps and BTF",
    ),
];

/// A program in a package that starts a server on this machine when it is installed; so it is unpacked
/// beside our other tools.
struct Unpacked {
    package: &'static str,
    program: &'static str,
}

const UNPACKED: [Unpacked; 2] = [
    Unpacked {
        package: "prometheus",
        program: "promtool",
    },
    Unpacked {
        package: "caddy",
        program: "caddy",
    },
];

/// Needed by the demonstration, which brings its own hosts.
const DEMO: &[Need] = &[
    need(
        "iproute2",
        Sign::Program("ip"),
        "makes namespaces, veth pairs and routes",
    ),
    need(
        "ethtool",
        Sign::Program("ethtool"),
        "switches checksum offload of veth ends off",
    ),
];

/// Needed to boot a guest kernel.
const GUEST: &[Need] = &[
    need(
        "qemu-system-x86",
        Sign::Program("qemu-system-x86_64"),
        "emulates the guest's processor",
    ),
    need(
        "busybox-static",
        Sign::Program("busybox"),
        "the guest's first program",
    ),
    need(
        "kmod",
        Sign::Program("depmod"),
        "orders the modules, and loads them in the guest",
    ),
];

/// Needed to make a package, and to try it.
const DIST: &[Need] = &[
    need(
        "dpkg-dev",
        Sign::Program("dpkg-shlibdeps"),
        "finds the libraries that the program needs",
    ),
    need(
        "binutils",
        Sign::Program("strip"),
        "takes the debug information out",
    ),
    need("gzip", Sign::Program("gzip"), "compresses manual pages"),
    need(
        "debootstrap",
        Sign::Program("debootstrap"),
        "makes the bare Debian of --test",
    ),
    need(
        "systemd-container",
        Sign::Program("systemd-nspawn"),
        "boots it",
    ),
];

/// Whether the test package can be compiled.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum BuildSupport {
    Complete,
    WithoutTestPackage,
}

impl BuildSupport {
    /// What cargo must leave out.
    pub fn excluded(self) -> &'static [&'static str] {
        match self {
            Self::Complete => &[],
            Self::WithoutTestPackage => &["--exclude", "cgn-tests"],
        }
    }
}

/// Gets what compiling the tests needs.
pub fn ensure_build() -> Result<BuildSupport> {
    let missing = ensure("build needs of the tests", BUILD)?;
    if missing.is_empty() {
        return Ok(BuildSupport::Complete);
    }
    note("the package cgn-tests is left out: libbpf cannot be compiled");
    Ok(BuildSupport::WithoutTestPackage)
}

/// Gets what running the tests needs.
pub fn ensure_run() -> Result<()> {
    ensure("programs that the tests use", RUN)?;
    for unpacked in &UNPACKED {
        if unpacked.folder().is_none() && debian::has_apt() {
            step(
                format_args!("{}, not installed but unpacked", unpacked.program),
                || {
                    if let Err(error) = unpacked.unpack() {
                        note(format_args!("not to be had: {error:#}"));
                    }
                    Ok(())
                },
            )?;
        }
    }
    judges::ensure()
}

/// Gets what the demonstration needs; returns the packages that are still missing.
pub fn ensure_demo() -> Result<Vec<&'static str>> {
    ensure("programs that the demonstration needs", DEMO)
}

/// Gets what a package needs; returns the packages that are still missing.
pub fn ensure_dist() -> Result<Vec<&'static str>> {
    ensure("programs that make a Debian package", DIST)
}

/// Gets what booting a guest needs; returns the packages that are still missing.
pub fn ensure_guest() -> Result<Vec<&'static str>> {
    ensure("programs that the guest needs", GUEST)
}

/// Folders of the programs that are not installed but unpacked, for `PATH`.
pub fn unpacked_folders() -> impl Iterator<Item = PathBuf> {
    UNPACKED.iter().filter_map(Unpacked::folder)
}

/// Installs what is missing, as root on a machine with apt; otherwise says how to. Returns what is missing still.
fn ensure(what: &str, needs: &'static [Need]) -> Result<Vec<&'static str>> {
    let missing: Vec<&Need> = needs.iter().filter(|need| !need.sign.is_there()).collect();
    if missing.is_empty() {
        return Ok(Vec::new());
    }
    let packages: Vec<&str> = missing.iter().map(|need| need.package).collect();
    step(what, || {
        for need in &missing {
            note(format_args!("missing: {} ({})", need.package, need.why));
        }
        if workspace::is_root() && debian::has_apt() {
            // One that the distribution lacks must not keep the others away.
            if debian::install(&packages).is_err() {
                for package in &packages {
                    if let Err(error) = debian::install(&[package]) {
                        note(format_args!("{package}: {error:#}"));
                    }
                }
            }
        } else {
            note(format_args!(
                "not installed here; as root: apt-get install {}",
                packages.join(" ")
            ));
        }
        Ok(())
    })?;
    Ok(missing
        .iter()
        .filter(|need| !need.sign.is_there())
        .map(|need| need.package)
        .collect())
}

impl Sign {
    fn is_there(&self) -> bool {
        match self {
            Self::Program(name) => workspace::find_program(name).is_some(),
            Self::File(path) => Path::new(path).is_file(),
            Self::PythonModule(name) => Command::new("/usr/bin/python3")
                .args(["-c", &format!("import {name}")])
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status()
                .is_ok_and(|status| status.success()),
        }
    }
}

impl Unpacked {
    /// Where it is, if it is on this machine.
    fn folder(&self) -> Option<PathBuf> {
        let ours = self.store().join("usr/bin").join(self.program);
        workspace::find_program(self.program)
            .or_else(|| Some(ours).filter(|file| file.is_file()))
            .and_then(|program| program.parent().map(Path::to_path_buf))
    }

    fn unpack(&self) -> Result<()> {
        let os_release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
        let suite_name = os_release
            .lines()
            .find_map(|line| line.strip_prefix("VERSION_CODENAME="))
            .unwrap_or("stable");
        for archive in debian::archives()? {
            let Ok(suite) = debian::Suite::open(&archive, suite_name) else {
                continue;
            };
            if let Some(offer) = suite.offers(self.package)?.first() {
                return suite.unpack(offer, &self.store());
            }
        }
        anyhow::bail!("no suite {suite_name} with the package {}", self.package)
    }

    fn store(&self) -> PathBuf {
        workspace::store().join(self.package)
    }
}
