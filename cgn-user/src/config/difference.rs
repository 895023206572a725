//! What a new configuration changes, key by key, and what each change does to the running NAT.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};
use toml::Value;

use super::Config;

/// What it takes to bring a change about, from harmless to harmful.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// Nothing happens before a `cgn detach` and a new start.
    None,
    /// A new daemon takes over tables and programs: established flows lose nothing, first packets
    /// of new subscribers are lost for some seconds.
    InPlace,
    /// Mappings end, or traffic stops.
    Disruptive,
    /// Cannot be had without `cgn detach`.
    NeedsDetach,
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "no effect",
            Self::InPlace => "in place",
            Self::Disruptive => "disruptive",
            Self::NeedsDetach => "needs detach",
        })
    }
}

/// A key that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// As in the file; tables of an array have their name or number in brackets.
    pub key: String,
    /// As TOML; `None`: the key was not there.
    pub from: Option<String>,
    /// As TOML; `None`: the key is not there any more.
    pub to: Option<String>,
    pub effect: Effect,
    pub concerns: Concerned,
}

/// Whose blocks or mappings a change is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Concerned {
    /// Everybody's.
    All,
    /// Those of the pool with this name.
    Pool(String),
    /// Those in the group with this name.
    Group(String),
    /// Those whose pool becomes another.
    Moved,
}

/// Every key that differs, in the order of their names. Defaults that were written out, comments
/// and the order of keys make no difference; the order of pools does.
#[must_use]
pub fn differences(old: &Config, new: &Config) -> Vec<Difference> {
    let (was, is) = (flat(old), flat(new));
    let keys: BTreeSet<&String> = was.keys().chain(is.keys()).collect();
    let moves = Moves {
        anyone: !old.keeps_subscribers(new),
        static_ports: old.of_static_pools() != new.of_static_pools(),
    };
    let changed = keys
        .into_iter()
        .filter(|key| was.get(*key) != is.get(*key))
        .map(|key| Difference {
            effect: match named_in(key, "pool").is_some_and(|pool| grows(old, new, &pool)) {
                true if is_of_size(key) => Effect::InPlace,
                _ => effect(key, &moves),
            },
            concerns: concerned(key),
            from: was.get(key).cloned(),
            to: is.get(key).cloned(),
            key: key.clone(),
        });
    let mut all: Vec<Difference> = changed.collect();
    let pools = |config: &Config| config.pool.iter().map(|pool| pool.name.clone()).collect();
    let rules = |config: &Config| config.rule.iter().map(|rule| rule.name.clone()).collect();
    type Names<'a> = &'a dyn Fn(&Config) -> Vec<String>;
    let realms = |config: &Config| {
        config
            .realm
            .iter()
            .map(|realm| realm.name.clone())
            .collect()
    };
    let ordered: [(&str, Names<'_>, Effect); 3] = [
        ("order of realms", &realms, Effect::Disruptive),
        ("order of pools", &pools, Effect::Disruptive),
        ("order of rules", &rules, Effect::InPlace),
    ];
    for (key, names, effect) in ordered {
        let (from, to) = (names(old), names(new));
        if from != to {
            all.push(Difference {
                key: key.to_owned(),
                from: Some(from.join(", ")),
                to: Some(to.join(", ")),
                effect,
                concerns: Concerned::All,
            });
        }
    }
    all
}

/// What becomes of subscribers that are named elsewhere.
struct Moves {
    /// Somebody becomes or ceases to be one, or has other static ports.
    anyone: bool,
    /// The latter.
    static_ports: bool,
}

/// Keys whose change is not in place, by their last parts.
fn effect(key: &str, moves: &Moves) -> Effect {
    let last = key.rsplit('.').next().unwrap_or_default();
    let is_in = |table: &str| key.starts_with(table);
    match key {
        "control.pin_directory" => Effect::NeedsDetach,
        "xdp.mode" => Effect::None,
        // The new log would not know the releases of the old one's blocks.
        "log.directory" | "sessions.max" | "fragments.max_datagrams" => Effect::Disruptive,
        _ if is_in("inside.") || is_in("outside.") => Effect::Disruptive,
        _ if is_in("subscribers[") && moves.anyone => Effect::Disruptive,
        _ if is_in("group[") && moves.static_ports && GROUP_KEYS.contains(&last) => {
            Effect::Disruptive
        }
        _ if is_in("realm[") => Effect::Disruptive,
        _ if is_in("pool[")
            && [
                "addresses",
                "block_ports",
                "max_blocks",
                "name",
                "port_mode",
                "keep_class",
                "mode",
                "dynamic_factor",
            ]
            .contains(&last) =>
        {
            Effect::Disruptive
        }
        _ => Effect::InPlace,
    }
}

/// Keys of a group that decide who is served by which pool.
const GROUP_KEYS: [&str; 4] = ["name", "prefixes", "realm", "pool"];

/// Keys that may change in place while a pool grows.
fn is_of_size(key: &str) -> bool {
    let last = key.rsplit('.').next().unwrap_or_default();
    ["addresses", "max_blocks"].contains(&last) || key.contains(".addresses[")
}

/// True if the pool of this name keeps all its addresses and its slot memory (RFC 6888 REQ-3).
fn grows(old: &Config, new: &Config, pool: &str) -> bool {
    let of = |config: &Config| {
        let found = config.pool.iter().find(|one| one.name == pool)?;
        Some((found.address_set(), found.blocks_at_once()))
    };
    let (Some((was, blocks)), Some((is, blocks_now))) = (of(old), of(new)) else {
        return false;
    };
    let mut ranges = was.ranges().iter();
    blocks == blocks_now
        && ranges.all(|range| {
            let mut wider = is.ranges().iter();
            wider.any(|all| all.contains(range.first()) && all.contains(range.last()))
        })
}

fn concerned(key: &str) -> Concerned {
    if key.starts_with("subscribers[") {
        return Concerned::Moved;
    }
    let pool = || named_in(key, "pool").map(Concerned::Pool);
    let group = || named_in(key, "group").map(Concerned::Group);
    pool().or_else(group).unwrap_or(Concerned::All)
}

/// Name of the element of an array of tables that a key is in.
fn named_in(key: &str, array: &str) -> Option<String> {
    let (name, _) = key
        .strip_prefix(array)?
        .strip_prefix('[')?
        .split_once(']')?;
    Some(name.to_owned())
}

/// Every key with its value as TOML.
fn flat(config: &Config) -> BTreeMap<String, String> {
    let mut keys = BTreeMap::new();
    // Every value of a configuration can be written as TOML: it was read from there.
    if let Ok(value) = Value::try_from(config) {
        walk(String::new(), &value, &mut keys);
    }
    keys
}

fn walk(path: String, value: &Value, keys: &mut BTreeMap<String, String>) {
    match value {
        Value::Table(table) => {
            for (key, value) in table {
                let path = match path.is_empty() {
                    true => key.clone(),
                    false => format!("{path}.{key}"),
                };
                walk(path, value, keys);
            }
        }
        Value::Array(items) if items.iter().all(Value::is_table) && !items.is_empty() => {
            for (number, item) in items.iter().enumerate() {
                let name = item.get("name").and_then(Value::as_str);
                let name = name.map_or_else(|| number.to_string(), str::to_owned);
                walk(format!("{path}[{name}]"), item, keys);
            }
        }
        value => {
            keys.insert(path, value.to_string());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: &str = r#"
        [inside]
        interface = "eth0"
        [outside]
        interface = "eth1"
        [[pool]]
        name = "a"
        addresses = ["203.0.113.0/28"]
        [[pool]]
        name = "b"
        addresses = ["203.0.113.16/28"]
        [[subscribers]]
        prefixes = ["100.64.0.0/24"]
        pool = "a"
        [timeouts]
        udp_secs = 300
    "#;

    fn config(text: &str) -> Config {
        Config::parse(text).expect("a configuration").config
    }

    #[test]
    fn each_change_has_its_key_and_effect() {
        use Effect::{Disruptive, InPlace, NeedsDetach, None as Nothing};
        type Case<'a> = (
            &'a str,
            &'a str,
            &'a str,
            &'a [(&'a str, Effect, Concerned)],
        );
        let of_g = || Concerned::Group("g".to_owned());
        let of_b = || Concerned::Pool("b".to_owned());
        let cases: &[Case<'_>] = &[
            ("nothing", "", "", &[]),
            (
                "a default written out",
                "udp_secs = 300",
                "udp_secs = 300\nicmp_secs = 60",
                &[],
            ),
            (
                "a timer",
                "udp_secs = 300",
                "udp_secs = 400",
                &[("timeouts.udp_secs", InPlace, Concerned::All)],
            ),
            (
                "a limit of floods",
                "[timeouts]",
                "[guard]\nunsolicited_per_second = 5000\n[throttle]\noutside_24 = 100\noutside_64 = 100\n[timeouts]",
                &[
                    ("guard.unsolicited_per_second", InPlace, Concerned::All),
                    ("throttle.outside_24", InPlace, Concerned::All),
                    ("throttle.outside_64", InPlace, Concerned::All),
                ],
            ),
            (
                "a filter of one pool",
                "addresses = [\"203.0.113.16/28\"]",
                "addresses = [\"203.0.113.16/28\"]\nfiltering = \"address-dependent\"",
                &[("pool[b].filtering", InPlace, of_b())],
            ),
            (
                "other ports in every block",
                "addresses = [\"203.0.113.16/28\"]",
                "addresses = [\"203.0.113.16/28\"]\nkeep_class = true",
                &[("pool[b].keep_class", Disruptive, of_b())],
            ),
            (
                "more addresses",
                "203.0.113.16/28",
                "203.0.113.16/27",
                &[("pool[b].addresses", Disruptive, of_b())],
            ),
            (
                "more addresses, and room for their blocks as before (a /28 has 2016)",
                "addresses = [\"203.0.113.16/28\"]",
                "addresses = [\"203.0.113.16/27\"]\nmax_blocks = 2016",
                &[
                    ("pool[b].addresses", InPlace, of_b()),
                    ("pool[b].max_blocks", InPlace, of_b()),
                ],
            ),
            (
                "other addresses, and room as before",
                "addresses = [\"203.0.113.16/28\"]",
                "addresses = [\"203.0.113.64/28\"]",
                &[("pool[b].addresses", Disruptive, of_b())],
            ),
            (
                "other subscribers",
                "100.64.0.0/24",
                "100.64.0.0/23",
                &[("subscribers[0].prefixes", Disruptive, Concerned::Moved)],
            ),
            (
                "another pool for the same subscribers",
                "pool = \"a\"",
                "pool = \"b\"",
                &[("subscribers[0].pool", InPlace, Concerned::Moved)],
            ),
            (
                "the same subscribers in two prefixes",
                "[\"100.64.0.0/24\"]",
                "[\"100.64.0.0/25\", \"100.64.0.128/25\"]",
                &[("subscribers[0].prefixes", InPlace, Concerned::Moved)],
            ),
            (
                "a pool for a group",
                "[timeouts]",
                "[[group]]\nname = \"g\"\nprefixes = [\"100.64.0.7/32\"]\npool = \"b\"\n[timeouts]",
                &[
                    ("group[g].name", InPlace, of_g()),
                    ("group[g].pool", InPlace, of_g()),
                    ("group[g].prefixes", InPlace, of_g()),
                ],
            ),
            (
                "another interface",
                "eth1",
                "eth2",
                &[("outside.interface", Disruptive, Concerned::All)],
            ),
            (
                "the mode of XDP",
                "[timeouts]",
                "[xdp]\nmode = \"generic\"\n[timeouts]",
                &[("xdp.mode", Nothing, Concerned::All)],
            ),
            (
                "the place of the pins",
                "[timeouts]",
                "[control]\npin_directory = \"/sys/fs/bpf/other\"\n[timeouts]",
                &[("control.pin_directory", NeedsDetach, Concerned::All)],
            ),
        ];
        for (what, from, to, expected) in cases {
            // One prefix more would overlap the other pool's: they begin above it.
            let old = SMALL.replace("203.0.113.16/28", "203.0.113.32/28");
            let (from, to) = (
                from.replace("113.16", "113.32"),
                to.replace("113.16", "113.32"),
            );
            assert!(old.contains(&from), "{what}");
            let new = old.replacen(&from, &to, 1);
            let found = differences(&config(&old), &config(&new));
            let found: Vec<_> = found
                .iter()
                .map(|one| (one.key.as_str(), one.effect, one.concerns.clone()))
                .collect();
            assert_eq!(&found, expected, "{what}");
        }
    }

    #[test]
    fn a_group_that_moves_static_ports_needs_leave() {
        let fixed = SMALL.replace(
            "addresses = [\"203.0.113.0/28\"]",
            "addresses = [\"203.0.113.0/28\"]\nmode = \"deterministic\"\nblock_ports = 1024",
        );
        let group =
            "[[group]]\nname = \"g\"\nprefixes = [\"100.64.0.7/32\"]\npool = \"b\"\nblocks = 2\n";
        let found = differences(&config(&fixed), &config(&(fixed.clone() + group)));
        let effects = found.iter().map(|one| (one.key.as_str(), one.effect));
        let expected = [
            ("group[g].blocks", Effect::InPlace),
            ("group[g].name", Effect::Disruptive),
            ("group[g].pool", Effect::Disruptive),
            ("group[g].prefixes", Effect::Disruptive),
        ];
        assert_eq!(effects.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn pools_in_another_order_are_told() {
        let mut new = config(SMALL);
        new.pool.reverse();
        let found = differences(&config(SMALL), &new);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].to.as_deref(), Some("b, a"));
        assert_eq!(found[0].effect, Effect::Disruptive);
    }
}
