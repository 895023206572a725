//! `[access]` and `[[rule]]`: who may send what through the NAT, and what goes past it.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use cgn_common::layout::{self, RULES};
use cgn_common::verdict::Direction;
use serde::{Deserialize, Serialize};
use toml::de::DeValue;

use super::fault::{Fault, Findings};
use super::limit;
use super::notation::Ipv4Prefix;
use super::place::KeyPath;
use super::prefix_list::Network;
use super::reader::{TableReader, nearest_name};
use super::schema::Config;
use super::validate::{check_limit, check_name};
use super::value::{address, boolean, integer, path, string};
use crate::realms::FIRST_NAME;

/// `[access]`: rules that come with the program, behind those of the file.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Access {
    /// Drop packets from outside whose source, and packets from inside whose destination, cannot be on
    /// the internet: private, shared, loopback, link-local, documentation, benchmarking and reserved
    /// addresses (RFC 6890 and its registry). Default: false.
    pub bogons: bool,
    /// The prefix from which the provider's 6rd makes its customers' addresses (RFC 5969), 1 to 63 bits
    /// long. IPv6 in IPv4 with other addresses in it than its own then is `tunnel_forged`, also where a
    /// rule bypasses it. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub six_rd_prefix: Option<Ipv6Prefix>,
    /// With `six_rd_prefix`: the prefix of all customers' IPv4 addresses, which is left out in 6rd
    /// addresses. Default: none, all 32 bits are in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub six_rd_ipv4: Option<Ipv4Prefix>,
}

/// `[[rule]]`: what becomes of packets that fit. A packet meets the rules of its direction in the order
/// of the file, and the first that fits decides; what fits none is translated. At most 64 in a
/// direction, where `bogons` counts as one in each, and a bypass too. The router's own traffic
/// never meets them. A key that is left out fits everything.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// *Required*: 1 to 63 letters, digits, `-`, `_` and `.`; each name once.
    pub name: String,
    /// *Required*: `"permit"`, `"deny"`, `"bypass"`: the packets go untranslated, and so do those that
    /// come back; or `"inspect"`: UDP is permitted, unless it is IPv6 of Teredo with forged addresses.
    pub action: RuleAction,
    /// *Required*: `"out"` for packets from inside, `"in"` for packets from outside. A bypass is `"out"`.
    pub direction: RuleDirection,
    /// Prefixes of the source.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub source: Vec<Ipv4Prefix>,
    /// File with more of them: one prefix or address in a line, behind `#` and `;` a remark.
    #[serde(default, skip_serializing_if = "is_empty")]
    pub source_file: PathBuf,
    /// With direction `"out"`, and in the place of `source`: the `name` of a `[[group]]` whose subscribers it is
    /// for, as they are when the configuration is loaded.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub group: String,
    /// Prefixes of the destination; of packets from outside that is a pool address.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub destination: Vec<Ipv4Prefix>,
    /// File with more of them.
    #[serde(default, skip_serializing_if = "is_empty")]
    pub destination_file: PathBuf,
    /// `"tcp"`, `"udp"`, `"icmp"` or the number of an IPv4 protocol as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<RuleProtocol>,
    /// A port or a range of ports of the source as text, `"80"` or `"6881-6889"`; with `protocol` `"tcp"`
    /// or `"udp"`. Fits no fragment but the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_ports: Option<PortRange>,
    /// The same of the destination.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination_ports: Option<PortRange>,
    /// Of what a `"permit"` from inside fits, how much each inside address may send a second: new TCP
    /// connections, and packets of other protocols, 1 to 1000000. The rest is dropped and counted;
    /// connections that are there go on. Default: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<u32>,
    /// With direction `"out"`: the `name` of the `[[realm]]` whose packets it is for, and of a `"bypass"` what
    /// comes back, too; so no destination is of bypasses of two realms. Default: all realms; of a `"bypass"` the
    /// first; with `group` that of the group.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub realm: String,
}

impl Config {
    /// Name of the realm that a rule is for; None: for all.
    #[must_use]
    pub fn realm_of_rule<'a>(&'a self, rule: &'a Rule) -> Option<&'a str> {
        let group = self.group_index(&rule.group).map(|at| &self.group[at]);
        match (group, rule.realm.as_str()) {
            (Some(group), _) => Some(&group.realm),
            (None, FIRST_NAME) => (rule.action == RuleAction::Bypass).then_some(FIRST_NAME),
            (None, realm) => Some(realm),
        }
    }
}

fn is_empty(path: &Path) -> bool {
    path.as_os_str().is_empty()
}

/// The values of `action`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RuleAction {
    Permit,
    Deny,
    Bypass,
    Inspect,
}

impl From<RuleAction> for layout::Action {
    fn from(action: RuleAction) -> Self {
        match action {
            RuleAction::Permit => Self::Permit,
            RuleAction::Deny => Self::Deny,
            RuleAction::Bypass => Self::Bypass,
            RuleAction::Inspect => Self::Inspect,
        }
    }
}

/// The values of `direction`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RuleDirection {
    Out,
    In,
}

impl From<RuleDirection> for Direction {
    fn from(direction: RuleDirection) -> Self {
        match direction {
            RuleDirection::Out => Self::Outbound,
            RuleDirection::In => Self::Inbound,
        }
    }
}

/// An IPv4 protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RuleProtocol(pub u8);

const NAMED: [(&str, u8); 3] = [("tcp", 6), ("udp", 17), ("icmp", 1)];

impl FromStr for RuleProtocol {
    type Err = Fault;

    fn from_str(text: &str) -> Result<Self, Fault> {
        let named = NAMED.iter().find(|(name, _)| *name == text);
        let number = named
            .map(|(_, number)| *number)
            .or_else(|| text.parse().ok());
        number.map(Self).ok_or_else(|| Fault::UnknownChoice {
            text: text.to_owned(),
            choices: "\"tcp\", \"udp\", \"icmp\" or the number of a protocol from \"0\" to \"255\"",
        })
    }
}

impl fmt::Display for RuleProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match NAMED.iter().find(|(_, number)| *number == self.0) {
            Some((name, _)) => f.write_str(name),
            None => self.0.fmt(f),
        }
    }
}

/// Ports from first to last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PortRange(pub u16, pub u16);

impl FromStr for PortRange {
    type Err = Fault;

    fn from_str(text: &str) -> Result<Self, Fault> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        match (first.trim().parse(), last.trim().parse()) {
            (Ok(first), Ok(last)) if first <= last => Ok(Self(first, last)),
            _ => Err(Fault::UnknownChoice {
                text: text.to_owned(),
                choices: "a port or a range of ports, for example \"80\" or \"6881-6889\"",
            }),
        }
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 == self.1 {
            true => self.0.fmt(f),
            false => write!(f, "{}-{}", self.0, self.1),
        }
    }
}

/// An IPv6 network of at most 63 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Ipv6Prefix {
    pub address: Ipv6Addr,
    pub length: u8,
}

impl FromStr for Ipv6Prefix {
    type Err = Fault;

    fn from_str(text: &str) -> Result<Self, Fault> {
        let parts = text.split_once('/');
        let read = parts.and_then(|(address, length)| {
            let (address, length) = (address.parse::<Ipv6Addr>().ok()?, length.parse().ok()?);
            let is_network = (1..=63).contains(&length) && address.to_bits() << length == 0;
            is_network.then_some(Self { address, length })
        });
        read.ok_or_else(|| Fault::UnknownChoice {
            text: text.to_owned(),
            choices: "an IPv6 prefix of 1 to 63 bits without host bits, for example \"2001:db8::/32\"",
        })
    }
}

impl fmt::Display for Ipv6Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

macro_rules! as_text {
    ($($type:ty),*) => { $(
        impl TryFrom<String> for $type {
            type Error = Fault;
            fn try_from(text: String) -> Result<Self, Fault> {
                text.parse()
            }
        }
        impl From<$type> for String {
            fn from(value: $type) -> Self {
                value.to_string()
            }
        }
    )* };
}
as_text!(RuleProtocol, PortRange, Ipv6Prefix);

pub(super) fn read_access(access: &mut TableReader<'_>) -> Access {
    Access {
        bogons: access.optional("bogons", false, boolean),
        six_rd_prefix: access.optional("six_rd_prefix", None, text),
        six_rd_ipv4: access.optional("six_rd_ipv4", None, |value| address(value).map(Some)),
    }
}

pub(super) fn read_rule(rule: &mut TableReader<'_>) -> Rule {
    Rule {
        name: rule.required("name", "name = \"blocklist\"", String::new(), string),
        action: rule.required("action", "action = \"deny\"", RuleAction::Deny, action),
        direction: rule.required(
            "direction",
            "direction = \"in\"",
            RuleDirection::In,
            direction,
        ),
        source: rule.list("source", Ipv4Prefix::PLACEHOLDER, address),
        source_file: rule.optional("source_file", PathBuf::new(), path),
        group: rule.optional("group", String::new(), string),
        destination: rule.list("destination", Ipv4Prefix::PLACEHOLDER, address),
        destination_file: rule.optional("destination_file", PathBuf::new(), path),
        protocol: rule.optional("protocol", None, text),
        source_ports: rule.optional("source_ports", None, text),
        destination_ports: rule.optional("destination_ports", None, text),
        rate: rule.optional("rate", None, |value| {
            integer(&limit::RULE_RATE)(value).map(Some)
        }),
        realm: rule.optional("realm", String::new(), string),
    }
}

fn text<T: FromStr<Err = Fault>>(value: &DeValue<'_>) -> Result<Option<T>, Fault> {
    string(value)?.parse().map(Some)
}

fn action(value: &DeValue<'_>) -> Result<RuleAction, Fault> {
    let text = string(value)?;
    match text.as_str() {
        "permit" => Ok(RuleAction::Permit),
        "deny" => Ok(RuleAction::Deny),
        "bypass" => Ok(RuleAction::Bypass),
        "inspect" => Ok(RuleAction::Inspect),
        _ => Err(Fault::UnknownChoice {
            text,
            choices: "\"permit\", \"deny\", \"bypass\" or \"inspect\"",
        }),
    }
}

fn direction(value: &DeValue<'_>) -> Result<RuleDirection, Fault> {
    let text = string(value)?;
    match text.as_str() {
        "out" => Ok(RuleDirection::Out),
        "in" => Ok(RuleDirection::In),
        _ => Err(Fault::UnknownChoice {
            text,
            choices: "\"out\" or \"in\"",
        }),
    }
}

pub(super) fn validate(config: &Config, findings: &mut Findings) {
    check_six_rd(&config.access, findings);
    for (index, rule) in config.rule.iter().enumerate() {
        let key = |name: &str| KeyPath::from(format!("rule[{index}].{name}"));
        check_name(key("name"), &rule.name, findings);
        check_rule(rule, key, findings);
        if !rule.group.is_empty() {
            check_group(config, rule, key, findings);
        }
        let other = config.rule[..index]
            .iter()
            .position(|o| o.name == rule.name);
        if let Some(other) = other.filter(|_| findings.sound(&key("name"))) {
            let name = rule.name.clone();
            let other = KeyPath::from(format!("rule[{other}]"));
            findings.add(key("name"), Fault::DuplicateRuleName { name, other });
        }
    }
    for direction in [RuleDirection::Out, RuleDirection::In] {
        let own = config
            .rule
            .iter()
            .filter(|rule| rule.direction == direction || rule.action == RuleAction::Bypass);
        let count = own.count() + usize::from(config.access.bogons);
        if count > RULES && findings.sound(&"rule".into()) {
            findings.add("rule".into(), Fault::TooManyRules { count, most: RULES });
        }
    }
}

/// What differs in the customers' IPv4 addresses must fit behind the prefix.
fn check_six_rd(access: &Access, findings: &mut Findings) {
    let path = KeyPath::from("access.six_rd_ipv4");
    let common = access.six_rd_ipv4.map_or(0, |prefix| prefix.length());
    match access.six_rd_prefix {
        None if access.six_rd_ipv4.is_some() && findings.sound(&"access.six_rd_prefix".into()) => {
            findings.add(path, Fault::SixRdWithoutPrefix);
        }
        Some(_) if common > 31 => findings.add(path, Fault::SixRdOfOne),
        Some(prefix) if prefix.length + (32 - common) > 64 => {
            let most = 32 + common;
            let path = KeyPath::from("access.six_rd_prefix");
            findings.add(path, Fault::SixRdTooLong { most });
        }
        _ => {}
    }
}

fn check_rule(rule: &Rule, key: impl Fn(&str) -> KeyPath, findings: &mut Findings) {
    for (name, file) in [
        ("source_file", &rule.source_file),
        ("destination_file", &rule.destination_file),
    ] {
        if !is_empty(file) && !file.is_absolute() {
            findings.add(key(name), Fault::NotAbsolute { path: file.clone() });
        }
    }
    if rule.action == RuleAction::Bypass && findings.sound(&key("direction")) {
        if rule.direction == RuleDirection::In {
            findings.add(key("direction"), Fault::BypassFromOutside);
        }
        if rule.destination.is_empty() && is_empty(&rule.destination_file) {
            findings.add(key("destination"), Fault::BypassToAll);
        }
    }
    if rule.action != RuleAction::Bypass
        && rule.direction == RuleDirection::In
        && !rule.realm.is_empty()
        && ["action", "direction", "realm"]
            .into_iter()
            .all(|name| findings.sound(&key(name)))
    {
        findings.add(key("realm"), Fault::RealmFromOutside);
    }
    if let Some(rate) = rule.rate {
        check_limit(key("rate"), rate, &limit::RULE_RATE, findings);
        let is_permit = rule.action == RuleAction::Permit && rule.direction == RuleDirection::Out;
        let known = findings.sound(&key("action")) && findings.sound(&key("direction"));
        if known && !is_permit {
            findings.add(key("rate"), Fault::RateOfOther);
        }
    }
    let is_udp = rule.protocol == Some(RuleProtocol(17));
    let known = findings.sound(&key("action")) && findings.sound(&key("protocol"));
    if known && rule.action == RuleAction::Inspect && !is_udp {
        findings.add(key("action"), Fault::InspectsUdp);
    }
    let has_ports = matches!(rule.protocol, Some(RuleProtocol(6 | 17)));
    for (name, ports) in [
        ("source_ports", rule.source_ports),
        ("destination_ports", rule.destination_ports),
    ] {
        if ports.is_some() && !has_ports && findings.sound(&key("protocol")) {
            findings.add(key(name), Fault::PortsWithoutProtocol);
        }
    }
}

/// Its subscribers are known by their addresses, so only what comes from inside is known to be theirs.
fn check_group(
    config: &Config,
    rule: &Rule,
    key: impl Fn(&str) -> KeyPath,
    findings: &mut Findings,
) {
    let path = key("group");
    let name = |index| KeyPath::from(format!("group[{index}].name"));
    if !(0..config.group.len()).all(|index| findings.readable(&name(index))) {
        return;
    }
    let Some(at) = config.group_index(&rule.group) else {
        let names = || config.group.iter().map(|group| group.name.as_str());
        let fault = Fault::UnknownGroup {
            name: rule.group.clone(),
            nearest: nearest_name(&rule.group, names()).map(str::to_owned),
            known: names().map(str::to_owned).collect(),
        };
        findings.add(path, fault);
        return;
    };
    let group = rule.group.clone();
    let is_from_outside = rule.direction == RuleDirection::In && rule.action != RuleAction::Bypass;
    if is_from_outside && findings.sound(&key("direction")) && findings.sound(&key("action")) {
        findings.add(path.clone(), Fault::GroupFromOutside);
    }
    for (name, is_there) in [
        ("source", !rule.source.is_empty()),
        ("source_file", !is_empty(&rule.source_file)),
    ] {
        if is_there {
            let group = group.clone();
            findings.add(key(name), Fault::GroupAndSource { group });
        }
    }
    let of = &config.group[at].realm;
    if !rule.realm.is_empty() && rule.realm != *of && findings.sound(&key("realm")) {
        let (group, of) = (group.clone(), of.clone());
        findings.add(key("realm"), Fault::GroupOfOtherRealm { group, of });
    }
    // A rule without addresses would be for everyone.
    if findings.sound(&path) && config.addresses_of_group(at).is_empty() {
        findings.add(path, Fault::NobodyInGroupOfRule { group });
    }
}

/// Addresses that cannot be on the internet (RFC 6890, and the registry of special-purpose addresses
/// that it made): network and length.
pub const BOGONS: [Network; 14] = [
    network([0, 0, 0, 0], 8),
    network([10, 0, 0, 0], 8),
    network([100, 64, 0, 0], 10),
    network([127, 0, 0, 0], 8),
    network([169, 254, 0, 0], 16),
    network([172, 16, 0, 0], 12),
    network([192, 0, 0, 0], 24),
    network([192, 0, 2, 0], 24),
    network([192, 168, 0, 0], 16),
    network([198, 18, 0, 0], 15),
    network([198, 51, 100, 0], 24),
    network([203, 0, 113, 0], 24),
    network([224, 0, 0, 0], 4),
    network([240, 0, 0, 0], 4),
];

const fn network([a, b, c, d]: [u8; 4], length: u8) -> Network {
    Network {
        address: Ipv4Addr::new(a, b, c, d),
        length,
    }
}
