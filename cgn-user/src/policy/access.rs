//! Access lists: from rules with prefixes to the tables that packets meet ([`layout::Access`]).
//!
//! | file | what |
//! |---|---|
//! | this | rules, their numbers and what they ask beside addresses |
//! | [`trie`] | addresses to classes |

mod trie;

#[cfg(test)]
mod tests;

use std::hash::{Hash as _, Hasher as _};

use cgn_common::layout::{Access, Action, Ports, RULES, Rule as RuleWords};
use cgn_common::realm::FIRST;
use cgn_common::verdict::Direction;
use cgn_common::wire::transport;

use crate::dataplane::memory::Memory;

/// Inclusive range of addresses, in host order.
pub type Range = (u32, u32);

/// A rule, as an operator writes it. Its direction is that of the packets that it is written for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    pub name: String,
    pub direction: Direction,
    pub action: Action,
    /// Number of the realm that it is for, or [`RuleWords::EVERY_REALM`]: so is each rule for packets from
    /// outside, and no bypass.
    pub realm: u8,
    /// Name of the group whose addresses those of the source are; empty: none.
    pub group: String,
    /// Addresses of the source; empty: all.
    pub source: Vec<Range>,
    pub destination: Vec<Range>,
    /// Number of the IPv4 protocol; `None`: all.
    pub protocol: Option<u8>,
    /// Ports of the source and of the destination.
    pub ports: Ports,
    /// How much each inside address may send in a window (2^30 ns); 0: no rate.
    pub most: u32,
}

/// A rule in its place: packets of one direction meet the rules in the order of their numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    pub name: String,
    pub direction: Direction,
    pub number: usize,
    pub action: Action,
    /// How many ranges of addresses it has, both ends together.
    pub ranges: usize,
    /// What each inside address may send in a window; 0: no rate.
    pub most: u32,
    /// Number of the realm of a bypass, or of the packets from inside that it is for.
    pub realm: u8,
    /// Name of the group that it is for; empty: none.
    pub group: String,
    protocol: Option<u8>,
    ports: Ports,
    /// Addresses of the remote host, and ours; empty: all.
    ends: [Vec<Range>; 2],
}

impl Placed {
    /// `out` or `in`.
    #[must_use]
    pub const fn direction_name(&self) -> &'static str {
        match self.direction {
            Direction::Outbound => "out",
            Direction::Inbound => "in",
        }
    }

    /// `permit`, `deny`, `bypass` or `inspect`.
    #[must_use]
    pub const fn action_name(&self) -> &'static str {
        match self.action {
            Action::Permit => "permit",
            Action::Deny => "deny",
            Action::Bypass => "bypass",
            Action::Inspect => "inspect",
        }
    }

    /// Number of the realm whose packets it is for; `None`: of all. What comes from outside is of all, but for
    /// what bypasses.
    #[must_use]
    pub const fn only_realm(&self) -> Option<u8> {
        match (self.action, self.direction, self.realm) {
            (Action::Bypass, _, realm) => Some(realm),
            (_, Direction::Inbound, _) | (_, _, RuleWords::EVERY_REALM) => None,
            (_, Direction::Outbound, realm) => Some(realm),
        }
    }
}

/// All rules, ready for the tables.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lists {
    rules: Vec<Placed>,
    trie: trie::Built,
}

impl Lists {
    /// Tables for these rules. What bypasses goes back untranslated, too: to `subscribers`, for what
    /// is sent to a pool address is an answer to translated packets.
    ///
    /// At most [`RULES`] rules in a direction, those that bypass counting in both; more are left out,
    /// and so the configuration refuses them.
    #[must_use]
    pub fn new(rules: &[Rule], subscribers: &[Range]) -> Self {
        let mut placed: Vec<Placed> = Vec::new();
        for direction in [Direction::Outbound, Direction::Inbound] {
            let fitting = rules
                .iter()
                .filter_map(|rule| place(rule, direction, subscribers));
            let numbered = fitting.take(RULES).enumerate();
            placed.extend(numbered.map(|(number, rule)| Placed { number, ..rule }));
        }
        if placed.is_empty() {
            return Self::default();
        }
        Self {
            trie: trie::build(&placed),
            rules: placed,
        }
    }

    /// Rules by direction and number.
    #[must_use]
    pub fn rules(&self) -> &[Placed] {
        &self.rules
    }

    /// Elements of `PREFIXES`.
    #[must_use]
    pub fn lines(&self) -> u32 {
        (self.trie.lines.len() as u32).max(1)
    }

    /// Bytes of both tables.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        (self.trie.lines.len() * size_of::<[u64; 8]>() + size_of::<Access>()) as u64
    }

    /// Which rules have which number: other rules, another number.
    #[must_use]
    pub fn digest(&self) -> u64 {
        // The same in every run of one build; another build may count anew.
        let mut hasher = std::hash::DefaultHasher::new();
        for rule in &self.rules {
            (&rule.name, rule.direction as u8, rule.number).hash(&mut hasher);
        }
        hasher.finish()
    }

    /// Writes the tables, which no packet sees yet.
    pub fn install(&self, memory: &Memory) {
        for (number, words) in self.trie.lines.iter().enumerate() {
            if let Some(line) = memory.prefixes.get(number as u32) {
                for (word, value) in line.0.iter().zip(words) {
                    word.store(*value);
                }
            }
        }
        let Some(access) = memory.access.get(0) else {
            return;
        };
        access.tries.store(self.trie.tries.0);
        for (words, class) in access.elsewhere.iter().zip(self.trie.elsewhere) {
            for (word, rules) in words.iter().zip(class) {
                word.store(rules);
            }
        }
        for rule in &self.rules {
            let rules = &access.directions[rule.direction as usize];
            let bit = 1 << rule.number;
            for place in places(rule.protocol) {
                let word = &rules.protocols[place];
                word.store(word.load() | bit);
            }
            let entry = &rules.rules[rule.number];
            entry.ports.store(rule.ports.0);
            let protocol = match rule.protocol {
                Some(number) => RuleWords::ONE_PROTOCOL | u64::from(number) << 8,
                None => 0,
            };
            let (realm, most) = (u64::from(rule.realm) << 24, u64::from(rule.most) << 32);
            let action = rule.action as u64;
            entry.action.store(action | protocol | realm | most);
        }
    }
}

/// Places in [`layout::Rules::protocols`] of a protocol; all of them for `None`.
fn places(protocol: Option<u8>) -> std::ops::Range<usize> {
    match protocol {
        None => 0..4,
        Some(transport::TCP) => 0..1,
        Some(transport::UDP) => 1..2,
        Some(transport::ICMP) => 2..3,
        Some(_) => 3..4,
    }
}

/// A rule as packets of `direction` meet it; None if it is not for them. Not numbered yet.
fn place(rule: &Rule, direction: Direction, subscribers: &[Range]) -> Option<Placed> {
    let is_own = rule.direction == direction;
    if !is_own && rule.action != Action::Bypass {
        return None;
    }
    let (mut outside, mut ours) = match rule.direction {
        Direction::Outbound => (rule.destination.clone(), rule.source.clone()),
        Direction::Inbound => (rule.source.clone(), rule.destination.clone()),
    };
    let mut ports = rule.ports;
    if !is_own {
        ports = Ports(rule.ports.0.rotate_left(32));
    }
    if rule.action == Action::Bypass && direction == Direction::Inbound && ours.is_empty() {
        ours = subscribers.to_vec();
    }
    // Of what comes from outside a bypass alone tells the realm. Another rule asks for subscribers of the first,
    // whose addresses can be those of packets; what is for a pool address is of no realm yet.
    let realm = match (rule.action, direction) {
        (Action::Bypass, _) | (_, Direction::Outbound) => rule.realm,
        (_, Direction::Inbound) => FIRST,
    };
    outside.sort_unstable();
    ours.sort_unstable();
    Some(Placed {
        name: rule.name.clone(),
        direction,
        number: 0,
        action: rule.action,
        ranges: rule.source.len() + rule.destination.len(),
        most: rule.most,
        realm,
        group: rule.group.clone(),
        protocol: rule.protocol,
        ports,
        ends: [outside, ours],
    })
}
