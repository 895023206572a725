//! `[[mirror]]`: whose packets are copied to whom, for good.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use cgn_common::watch::WATCHERS;
use serde::{Deserialize, Serialize};
use toml::de::DeValue;

use super::fault::{Fault, Findings};
use super::limit;
use super::notation::Ipv4Prefix;
use super::place::KeyPath;
use super::reader::TableReader;
use super::rules::RuleProtocol;
use super::schema::Config;
use super::validate::{check_limit, check_name, interface_name_fault};
use super::value::{integer, path, string};

/// Mirrors in all; a few places are left for `cgn trace` and `cgn capture`.
pub const MOST: usize = WATCHERS - 4;

/// `[[mirror]]`: copies of the packets of some subscribers, prefixes or ports, or of a sample, to an interface
/// or a collector. A key that is left out fits everything. While there is one, each packet costs some ten
/// nanoseconds more, and a mirrored one what its copy costs; no packet waits for a mirror. It is up to the operator
/// whether he may: what it copies is said in the daemon's log at each start, with who asked for a reload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mirror {
    /// *Required*: 1 to 63 letters, digits, `-`, `_` and `.`; each name once.
    pub name: String,
    /// *Required*: `"interface"`, frames as they are; or to a collector by GRE over IPv4: `"gre"` (transparent
    /// Ethernet bridging, with key and sequence number), `"erspan2"` or `"erspan3"` (ERSPAN type II or III).
    pub to: MirrorTo,
    /// With `to = "interface"`, *required*: its name; none of the CGN's own. It may come and go.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub interface: String,
    /// Else *required*: address of the collector, by the kernel's routes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub collector: Option<Ipv4Addr>,
    /// Source address towards it, one of the router's own. Default: the kernel's choice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Ipv4Addr>,
    /// Number of the session there (ERSPAN: session ID, GRE: key), 0 to 1023; each one once for a collector.
    /// Default: 1.
    #[serde(default = "Mirror::default_session")]
    pub session: u16,
    /// Subscribers whose packets, both ways, are mirrored. Default: all of the realm.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inside: Option<Ipv4Prefix>,
    /// The `name` of a `[[realm]]`: theirs. Default: the first, that of `[inside]`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub realm: String,
    /// Their port (ICMP: identifier); 0 any. Default: 0.
    #[serde(default)]
    pub inside_port: u16,
    /// Remote addresses with whom they speak. Default: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outside: Option<Ipv4Prefix>,
    /// Port there; 0 any. Default: 0.
    #[serde(default)]
    pub outside_port: u16,
    /// `"tcp"`, `"udp"`, `"icmp"` or the number of an IPv4 protocol as text. Default: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<RuleProtocol>,
    /// Frames of which side of the NAT: `"inside"`, `"outside"` or `"both"`. Default: `"both"`.
    #[serde(default)]
    pub side: MirrorSide,
    /// Frames as they came, `"before"` translation, dropped ones too; as they left, `"after"`; or `"both"`.
    /// Default: `"both"`.
    #[serde(default)]
    pub when: MirrorWhen,
    /// One packet of so many, by chance; 0 and 1: each. Default: 0.
    #[serde(default)]
    pub packets_of: u32,
    /// All packets of one flow of so many, both ways, the same ones after a restart; 0 and 1: of each. Default: 0.
    #[serde(default)]
    pub flows_of: u32,
    /// Bytes that are kept behind the headers, at most 65535. Default: all (of frames of up to 2,048 bytes),
    /// but 0 with `anonymise_key`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload_bytes: Option<u16>,
    /// File with a key of 64 hexadecimal digits, which nobody else may read: addresses get other names, which
    /// keep common prefixes (Crypto-PAn). Default: addresses as they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anonymise_key: Option<PathBuf>,
    /// Most packets that each processor mirrors in a second, 1 to 1000000; the others are counted. Default: 10000.
    /// With realms, packets of the same addresses in others count, too.
    #[serde(default = "Mirror::default_rate")]
    pub rate: u32,
}

impl Mirror {
    /// The default of `session`.
    pub const fn default_session() -> u16 {
        1
    }

    /// Where it sends, in words.
    #[must_use]
    pub fn target(&self) -> String {
        let kind = match self.to {
            MirrorTo::Interface => return format!("interface {}", self.interface),
            MirrorTo::Gre => "gre",
            MirrorTo::Erspan2 => "erspan2",
            MirrorTo::Erspan3 => "erspan3",
        };
        let collector = self.collector.unwrap_or(Ipv4Addr::UNSPECIFIED);
        format!("{kind} {collector} session {}", self.session)
    }

    /// All of it in one line, as the file has it.
    #[must_use]
    pub fn words(&self) -> String {
        // What was read from TOML can be written as TOML.
        let text = toml::to_string(self).unwrap_or_default();
        text.trim_end().replace('\n', ", ")
    }

    /// The default of `rate`.
    pub const fn default_rate() -> u32 {
        10_000
    }
}

/// The values of `to` of a mirror.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MirrorTo {
    Interface,
    Gre,
    Erspan2,
    Erspan3,
}

/// The values of `side` of a mirror.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MirrorSide {
    #[default]
    Both,
    Inside,
    Outside,
}

/// The values of `when` of a mirror.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MirrorWhen {
    #[default]
    Both,
    Before,
    After,
}

pub(super) fn read_mirror(mirror: &mut TableReader<'_>) -> Mirror {
    Mirror {
        name: mirror.required("name", "name = \"lab\"", String::new(), string),
        to: mirror.required("to", "to = \"erspan2\"", MirrorTo::Erspan2, to),
        interface: mirror.optional("interface", String::new(), string),
        collector: mirror.optional("collector", None, host),
        source: mirror.optional("source", None, host),
        session: mirror.optional(
            "session",
            Mirror::default_session(),
            integer(&limit::MIRROR_SESSION),
        ),
        inside: mirror.optional("inside", None, prefix),
        realm: mirror.optional("realm", String::new(), string),
        inside_port: mirror.optional("inside_port", 0, integer(&limit::MIRROR_PORT)),
        outside: mirror.optional("outside", None, prefix),
        outside_port: mirror.optional("outside_port", 0, integer(&limit::MIRROR_PORT)),
        protocol: mirror.optional("protocol", None, |value| string(value)?.parse().map(Some)),
        side: mirror.optional("side", MirrorSide::default(), side),
        when: mirror.optional("when", MirrorWhen::default(), when),
        packets_of: mirror.optional("packets_of", 0, integer(&limit::MIRROR_SAMPLE)),
        flows_of: mirror.optional("flows_of", 0, integer(&limit::MIRROR_SAMPLE)),
        payload_bytes: mirror.optional("payload_bytes", None, |value| {
            integer(&limit::MIRROR_PORT)(value).map(Some)
        }),
        anonymise_key: mirror.optional("anonymise_key", None, |value| path(value).map(Some)),
        rate: mirror.optional("rate", Mirror::default_rate(), integer(&limit::MIRROR_RATE)),
    }
}

fn host(value: &DeValue<'_>) -> Result<Option<Ipv4Addr>, Fault> {
    super::value::host(value).map(Some)
}

fn prefix(value: &DeValue<'_>) -> Result<Option<Ipv4Prefix>, Fault> {
    super::value::address(value).map(Some)
}

fn to(value: &DeValue<'_>) -> Result<MirrorTo, Fault> {
    let text = string(value)?;
    match text.as_str() {
        "interface" => Ok(MirrorTo::Interface),
        "gre" => Ok(MirrorTo::Gre),
        "erspan2" => Ok(MirrorTo::Erspan2),
        "erspan3" => Ok(MirrorTo::Erspan3),
        _ => Err(Fault::UnknownChoice {
            text,
            choices: "\"interface\", \"gre\", \"erspan2\" or \"erspan3\"",
        }),
    }
}

fn side(value: &DeValue<'_>) -> Result<MirrorSide, Fault> {
    let text = string(value)?;
    match text.as_str() {
        "both" => Ok(MirrorSide::Both),
        "inside" => Ok(MirrorSide::Inside),
        "outside" => Ok(MirrorSide::Outside),
        _ => Err(Fault::UnknownChoice {
            text,
            choices: "\"inside\", \"outside\" or \"both\"",
        }),
    }
}

fn when(value: &DeValue<'_>) -> Result<MirrorWhen, Fault> {
    let text = string(value)?;
    match text.as_str() {
        "both" => Ok(MirrorWhen::Both),
        "before" => Ok(MirrorWhen::Before),
        "after" => Ok(MirrorWhen::After),
        _ => Err(Fault::UnknownChoice {
            text,
            choices: "\"before\", \"after\" or \"both\"",
        }),
    }
}

pub(super) fn validate(config: &Config, findings: &mut Findings) {
    let all = &config.mirror;
    for (index, mirror) in all.iter().enumerate() {
        let section = KeyPath::from(format!("mirror[{index}]"));
        let key = |name: &str| section.key(name);
        check_name(key("name"), &mirror.name, findings);
        let earlier = |is_same: &dyn Fn(&Mirror) -> bool| {
            let other = all[..index].iter().position(is_same)?;
            Some(KeyPath::from(format!("mirror[{other}]")))
        };
        if let Some(other) = earlier(&|other| other.name == mirror.name)
            && findings.sound(&key("name"))
        {
            let name = mirror.name.clone();
            findings.add(key("name"), Fault::DuplicateMirrorName { name, other });
        }
        let is_same = |other: &Mirror| {
            mirror.collector.is_some()
                && (other.collector, other.session) == (mirror.collector, mirror.session)
        };
        if let Some(other) = earlier(&is_same)
            && findings.sound(&key("session"))
        {
            findings.add(key("session"), Fault::SameSession { other });
        }
        check_target(config, mirror, key, findings);
        for (name, value, limit) in [
            ("session", u32::from(mirror.session), &limit::MIRROR_SESSION),
            ("packets_of", mirror.packets_of, &limit::MIRROR_SAMPLE),
            ("flows_of", mirror.flows_of, &limit::MIRROR_SAMPLE),
            ("rate", mirror.rate, &limit::MIRROR_RATE),
        ] {
            check_limit(key(name), value, limit, findings);
        }
        if let Some(path) = mirror
            .anonymise_key
            .as_ref()
            .filter(|path| !path.is_absolute())
        {
            let path = path.clone();
            findings.add(key("anonymise_key"), Fault::NotAbsolute { path });
        }
    }
    if all.len() > MOST && findings.sound(&"mirror".into()) {
        let count = all.len();
        findings.add("mirror".into(), Fault::TooManyMirrors { count, most: MOST });
    }
    check_company(config, findings);
}

/// Either an interface of its own, or a collector.
fn check_target(
    config: &Config,
    mirror: &Mirror,
    key: impl Fn(&str) -> KeyPath,
    findings: &mut Findings,
) {
    if !findings.sound(&key("to")) {
        return;
    }
    let is_local = mirror.to == MirrorTo::Interface;
    for (name, has, is_needed, example) in [
        (
            "interface",
            !mirror.interface.is_empty(),
            is_local,
            "interface = \"eth2\"",
        ),
        (
            "collector",
            mirror.collector.is_some(),
            !is_local,
            "collector = \"192.0.2.20\"",
        ),
    ] {
        let key = key(name);
        match (has, is_needed) {
            _ if !findings.sound(&key) => {}
            (false, true) => findings.add(key, Fault::MirrorNeeds { example }),
            (true, false) => findings.add(key, Fault::MirrorUnused),
            _ => {}
        }
    }
    if mirror.source.is_some() && is_local {
        findings.add(key("source"), Fault::MirrorUnused);
    }
    let path = key("interface");
    if !is_local || mirror.interface.is_empty() || !findings.sound(&path) {
        return;
    }
    let name = mirror.interface.clone();
    let realms = config.realm.iter().flat_map(|realm| &realm.inside);
    let mut own = [&config.inside, &config.outside].into_iter().chain(realms);
    if let Some(reason) = interface_name_fault(&name) {
        findings.add(path, Fault::InterfaceName { name, reason });
    } else if own.any(|side| side.interface == name) {
        findings.add(path, Fault::MirrorOwnInterface { name });
    }
}

/// A mirror knows of packets as the fast path sees them come.
fn check_company(config: &Config, findings: &mut Findings) {
    let is_any = !config.mirror.is_empty() && findings.sound(&"mirror".into());
    if is_any && config.debug.force_slow_path {
        findings.add("mirror".into(), Fault::MirrorForced);
    }
}
