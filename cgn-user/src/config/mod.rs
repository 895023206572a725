//! The configuration: one TOML file, read and checked as a whole before anything is changed.
//!
//! | file | what it holds |
//! |---|---|
//! | [`schema`] | the structs; their documentation is the reference of every key |
//! | [`limit`] | the least and greatest value of every number |
//! | [`address`] | ranges and sets of IPv4 addresses |
//! | [`notation`] | the ways in which addresses are written in the file |
//! | `assignment` | which pool serves whom |
//! | [`capacity`] | what a configuration provides: addresses, blocks, slot memory |
//! | [`difference`] | what a new configuration changes, and what that does |
//! | [`fault`] | everything that can be wrong, in words, with the remedy |
//! | `place` | key paths, and the lines on which keys stand |
//! | `reader`, `value`, `document` | TOML text to [`Config`]; collects every fault instead of stopping |
//! | [`rules`], [`prefix_list`] | access lists, and the files with their prefixes |
//! | [`mirrors`] | copies of packets |
//! | `validate`, `groups`, `realms`, `identity`, `sinks`, `overlap`, `caution` | what the keys must fulfil together (errors), and should (warnings) |
//!
//! The order of steps is in [`Config::parse`]. Nothing here does I/O or knows the machine: whether
//! an interface exists is asked through a closure ([`Checked::check_interfaces`]).

pub mod address;
mod assignment;
pub mod capacity;
mod caution;
mod deterministic;
pub mod difference;
mod document;
pub mod fault;
mod groups;
mod identity;
pub mod limit;
pub mod mirrors;
pub mod notation;
mod overlap;
mod place;
pub mod prefix_list;
mod reader;
mod realms;
pub mod rules;
pub mod schema;
mod sinks;
mod validate;
mod value;

#[cfg(test)]
mod tests;

pub use address::{Ipv4Range, Ipv4Set};
pub use capacity::{Capacity, PoolCapacity};
pub use fault::{ConfigErrors, Fault, Problem};
pub use mirrors::{Mirror, MirrorSide, MirrorTo, MirrorWhen};
pub use notation::{AddressError, AddressSpan, Ipv4Prefix};
pub use place::KeyPath;
pub use rules::{Access, Rule};
pub use schema::{
    Config, Control, Debug, Exhausted, Filtering, Fragments, Group, Guard, Hold, Icmp, Identity,
    IdentityClient, Log, LogMode, LogSync, Metrics, Midstream, OnFull, Pool, PoolMode, PortMode,
    Realm, Scatter, Sessions, Side, Sink, SinkFormat, SinkSasl, SinkTransport, Subscribers, Tcp,
    Throttle, Timeouts, Xdp, XdpMode,
};

use fault::Findings;
use place::Places;

/// A configuration that passed every check.
#[derive(Debug, Clone)]
pub struct Checked {
    /// What the file says, defaults filled in.
    pub config: Config,
    /// What an operator should know but may want; sorted by line.
    pub warnings: Vec<Problem>,
    /// Whose addresses are translated from which pool: sorted by realm, non-overlapping in each.
    pub subscribers: Vec<SubscriberRange>,
    /// Prefixes from files, by number of the rule; empty before [`Checked::read_lists`].
    pub lists: Vec<prefix_list::RuleLists>,
    places: Places,
}

/// Subscribers with neighbouring addresses and one pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SubscriberRange {
    /// Number of the realm: 0 the first, else one more than the index into [`Config::realm`].
    pub realm: u8,
    /// The inside addresses.
    pub range: Ipv4Range,
    /// Index into [`Config::pool`].
    pub pool: usize,
}

impl Config {
    /// The documented sample file. It is itself a valid configuration.
    pub const SAMPLE: &'static str = include_str!("sample.toml");

    /// Reads and checks the text of a configuration file.
    ///
    /// 1. TOML syntax. A file that is not TOML is not looked at further, for what it means would
    ///    be a guess; duplicate keys alone do not stop the reading.
    /// 2. Every key that is unknown, missing or of the wrong type.
    /// 3. What the values must fulfil, each and together, as far as step 2 could read them.
    ///
    /// # Errors
    /// All errors that the file has, sorted by line.
    pub fn parse(text: &str) -> Result<Checked, ConfigErrors> {
        let mut findings = Findings::default();
        let (config, places) = document::read(text, &mut findings);
        match config {
            Some(config) => conclude(config, places, findings),
            None => Err(ConfigErrors::new(findings.into_problems(&places))),
        }
    }

    /// Checks a configuration that did not come from a file, so has no lines.
    ///
    /// # Errors
    /// All errors that the configuration has, sorted by key.
    pub fn check(self) -> Result<Checked, ConfigErrors> {
        conclude(self, Places::default(), Findings::default())
    }
}

fn conclude(
    config: Config,
    places: Places,
    mut findings: Findings,
) -> Result<Checked, ConfigErrors> {
    validate::validate(&config, &mut findings);
    let errors = findings.into_problems(&places);
    if !errors.is_empty() {
        return Err(ConfigErrors::new(errors));
    }
    let mut cautions = Findings::default();
    caution::examine(&config, &mut cautions);
    Ok(Checked {
        warnings: cautions.into_problems(&places),
        subscribers: config.subscriber_ranges(),
        lists: Vec::new(),
        config,
        places,
    })
}

impl Checked {
    /// Checks that all interfaces are there; `exists` asks the machine.
    ///
    /// # Errors
    /// One for each side whose interface does not exist.
    pub fn check_interfaces(&self, exists: impl Fn(&str) -> bool) -> Result<(), ConfigErrors> {
        let mut findings = Findings::default();
        let sides = [
            ("inside".to_owned(), &self.config.inside),
            ("outside".to_owned(), &self.config.outside),
        ];
        let realms = self.config.realm.iter().enumerate();
        let of_realms = realms.flat_map(|(number, realm)| {
            let sides = realm.inside.iter().enumerate();
            sides.map(move |(at, side)| (format!("realm[{number}].inside[{at}]"), side))
        });
        for (section, side) in sides.into_iter().chain(of_realms) {
            if !exists(&side.interface) {
                let interface = side.interface.clone();
                let key = KeyPath::from(section).key("interface");
                findings.add(key, Fault::NoSuchInterface { interface });
            }
        }
        match findings.into_problems(&self.places) {
            missing if missing.is_empty() => Ok(()),
            missing => Err(ConfigErrors::new(missing)),
        }
    }
}
