//! Access lists: which rules hold for an address, and what a rule says.
//!
//! Every address has a *class*, the set of rules whose prefixes hold it. Two tries, one for
//! addresses outside and one for ours, lead from address to class in at most three steps of 16, 8
//! and 8 bits, each one or two cache lines. Most addresses are in a /16 that no prefix touches: 65,536 bits in front
//! of each trie tell those apart, in 8 KiB that stay in the first-level cache. They lie in `PREFIXES`; what else rules say lies in
//! `ACCESS`. Both are written before a program sees them, and never changed: other rules get
//! tables of their own, with programs of their own (ADR 27).

use crate::realm::NOBODY;
use crate::verdict::Direction;
use crate::word::Word;

/// Rules of one direction.
pub const RULES: usize = 64;

/// What the rules of one direction are, besides their prefixes. Sets of rules have bit `n` for
/// rule `n`.
#[repr(C)]
pub struct Rules {
    /// Rules that hold for TCP, for UDP, for ICMP, and for other protocols.
    pub protocols: [Word; 4],
    pub rules: [Rule; RULES],
}

/// The element of `ACCESS`.
#[repr(C, align(64))]
pub struct Access {
    /// See [`Tries`].
    pub tries: Word,
    /// The class of addresses in a /16 that no prefix touches: by [`End`], the rules for packets from
    /// inside, and from outside.
    pub elsewhere: [[Word; 2]; 2],
    /// Rules for packets from inside, and from outside.
    pub directions: [Rules; 2],
}

/// What a rule asks of a packet beside its addresses.
#[repr(C)]
pub struct Rule {
    /// See [`Ports`].
    pub ports: Word,
    /// See [`Action`]; bits 8-15 number of the protocol, where bit 16 is set; 24-31 realm, or
    /// [`Rule::EVERY_REALM`]; 32-63 most packets of one inside address in a window of 2^30 ns, 0 where there
    /// is no rate.
    pub action: Word,
}

impl Rule {
    /// Bit of `action`: it holds for one protocol other than TCP, UDP and ICMP.
    pub const ONE_PROTOCOL: u64 = 1 << 16;
    /// In the place of the realm's number: it is for packets of all. A bypass never has it.
    pub const EVERY_REALM: u8 = NOBODY;

    /// True if it is for packets of this realm; [`NOBODY`]: if for any, since of what comes from outside
    /// it is a bypass that tells the realm, and other rules are for all.
    #[inline(always)]
    #[must_use]
    pub fn is_of(&self, realm: u8) -> bool {
        let own = (self.action.load() >> 24) as u8;
        own == realm || own == Self::EVERY_REALM || realm == NOBODY
    }

    /// True if it holds for a packet of this protocol with these ports, of those protocols that
    /// [`Rules::protocols`] let through.
    #[inline(always)]
    #[must_use]
    pub fn holds(&self, protocol: u8, ports: Option<(u16, u16)>) -> bool {
        let action = self.action.load();
        if action & Self::ONE_PROTOCOL != 0 && (action >> 8) as u8 != protocol {
            return false;
        }
        Ports(self.ports.load()).hold(ports)
    }
}

/// The rule that holds for a packet: bits 0-7 its number, 8-15 its [`Action`], 16-23 realm as in [`Rule`], 32-63
/// most packets of one inside address in a window, 0 where there is no rate. A word, not an option: of what
/// may not be there the compiler keeps a part that the verifier takes for unwritten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held(pub u64);

impl Held {
    /// No rule holds.
    pub const NONE: Self = Self(u64::MAX);

    #[inline(always)]
    #[must_use]
    pub const fn new(rule: u32, action: Action, realm: u8, most: u32) -> Self {
        let (action, realm) = ((action as u64) << 8, (realm as u64) << 16);
        Self(rule as u64 | action | realm | (most as u64) << 32)
    }
    #[inline(always)]
    #[must_use]
    pub const fn rule(self) -> u32 {
        self.0 as u32 & 0xff
    }
    #[inline(always)]
    #[must_use]
    pub const fn action(self) -> Action {
        Action::from_number((self.0 >> 8) as u8)
    }
    #[inline(always)]
    #[must_use]
    pub const fn realm(self) -> u8 {
        (self.0 >> 16) as u8
    }
    #[inline(always)]
    #[must_use]
    pub const fn most(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

/// Ranges of ports, both ends included: bits 0-15 first and 16-31 last of the source, 32-47 and
/// 48-63 of the destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports(pub u64);

impl Ports {
    /// Also those of packets that have none.
    pub const ANY: Self = Self::new((0, u16::MAX), (0, u16::MAX));

    #[must_use]
    pub const fn new(source: (u16, u16), destination: (u16, u16)) -> Self {
        Self(
            source.0 as u64
                | (source.1 as u64) << 16
                | (destination.0 as u64) << 32
                | (destination.1 as u64) << 48,
        )
    }

    /// True for these ports of source and destination; who asks for some never holds for a packet
    /// without.
    #[inline(always)]
    #[must_use]
    pub const fn hold(self, ports: Option<(u16, u16)>) -> bool {
        if self.0 == Self::ANY.0 {
            return true;
        }
        let Some((source, destination)) = ports else {
            return false;
        };
        self.0 as u16 <= source
            && source <= (self.0 >> 16) as u16
            && (self.0 >> 32) as u16 <= destination
            && destination <= (self.0 >> 48) as u16
    }
}

/// What a rule does with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Action {
    /// It is translated.
    Permit = 0,
    /// It is dropped.
    Deny = 1,
    /// It goes through untranslated (RFC 6888 REQ-6).
    Bypass = 2,
    /// It is translated, unless it is of Teredo with forged addresses: see [`crate::tunnels`].
    Inspect = 3,
}

impl Action {
    /// The inverse of `as`; other numbers deny.
    #[inline(always)]
    #[must_use]
    pub const fn from_number(number: u8) -> Self {
        match number {
            0 => Self::Permit,
            2 => Self::Bypass,
            3 => Self::Inspect,
            _ => Self::Deny,
        }
    }
}

/// Where the tries begin in `PREFIXES`: bits 0-20 first line of that for addresses outside, 21-41 of
/// that for ours, 42-62 first line of the classes. A trie begins with a bit for each /16 that a prefix touches
/// ([`touched`]), then comes its root. 0: no rule asks for such an address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tries(pub u64);

impl Tries {
    const BITS: u32 = 21;
    /// Lines that can be named.
    pub const MOST_LINES: u32 = 1 << Self::BITS;

    #[must_use]
    pub const fn new(outside: u32, ours: u32, classes: u32) -> Self {
        Self(outside as u64 | (ours as u64) << Self::BITS | (classes as u64) << (2 * Self::BITS))
    }
    /// First line of the trie for the addresses of this [`End`].
    #[inline(always)]
    #[must_use]
    pub const fn first(self, end: End) -> u32 {
        (self.0 >> (Self::BITS * end as u32)) as u32 & (Self::MOST_LINES - 1)
    }
    #[inline(always)]
    #[must_use]
    pub const fn classes(self) -> u32 {
        (self.0 >> (2 * Self::BITS)) as u32 & (Self::MOST_LINES - 1)
    }
}

/// The bits in front of a trie: of the /16 with number `n`, bit `n % 64` of word `n / 64 % 8` of line
/// `n / 512`.
pub mod touched {
    /// Bits in a line.
    pub const PER_LINE: u32 = 512;
    /// Lines of all /16.
    pub const LINES: u32 = 65_536 / PER_LINE;
}

/// One of the two addresses of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum End {
    /// The remote host's.
    Outside = 0,
    /// The subscriber's, or the pool's.
    Ours = 1,
}

/// What stands for a range of addresses in a trie: bit 31 clear, the number of their class; set,
/// bits 0-30 are the line of a [`node`] for the next 8 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry(pub u32);

impl Entry {
    pub const NODE: u32 = 1 << 31;
    /// Entries in a line: two in a word.
    pub const PER_LINE: u32 = 16;
    /// Lines of a root: an entry for each value of the first 16 bits.
    pub const ROOT_LINES: u32 = 65_536 / Self::PER_LINE;

    /// The line of the node; None for a class.
    #[inline(always)]
    #[must_use]
    pub const fn node(self) -> Option<u32> {
        if self.0 & Self::NODE == 0 {
            return None;
        }
        Some(self.0 & !Self::NODE)
    }
}

/// A line of a trie that tells an entry for each of 256 values. Neighbours with the same entry are
/// one *run*; only runs have entries.
///
/// Words 0-3 have a bit for each value that begins a run. Word 4: bits 0-23 first line of the
/// entries, 32-55 runs that begin before word 1, 2, 3, 8 bits each. With no line, the up to 6
/// entries are in words 5-7.
pub mod node {
    pub const ENTRIES: usize = 4;
    /// First word of entries that fit.
    pub const OWN: usize = 5;
    pub const MOST_OWN: usize = 6;
    /// Bits of a line's number.
    pub const LINE: u64 = (1 << 24) - 1;
}

/// Classes in a line: two words each, the rules for packets from inside and from outside.
pub const CLASSES_PER_LINE: u32 = 4;

/// How often each rule held, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct Hits {
    /// For packets from inside, and from outside; those over the rate, too.
    pub held: [[u64; RULES]; 2],
    /// For packets from inside that were over its rate.
    pub over_rate: [u64; RULES],
}

impl Default for Hits {
    fn default() -> Self {
        Self::ZERO
    }
}

impl Hits {
    pub const ZERO: Self = Self {
        held: [[0; RULES]; 2],
        over_rate: [0; RULES],
    };

    /// One more.
    #[inline(always)]
    pub fn count(&mut self, direction: Direction, rule: u32) {
        let rule = rule as usize % RULES;
        match direction {
            Direction::Outbound => self.held[0][rule] += 1,
            Direction::Inbound => self.held[1][rule] += 1,
        }
    }

    /// One more that was over the rate.
    #[inline(always)]
    pub fn count_over(&mut self, rule: u32) {
        self.over_rate[rule as usize % RULES] += 1;
    }

    /// Those of another processor, too.
    pub fn merge(&mut self, other: &Self) {
        let all = self.held.iter_mut().flatten().chain(&mut self.over_rate);
        let others = other.held.iter().flatten().chain(&other.over_rate);
        for (sum, one) in all.zip(others) {
            *sum += one;
        }
    }
}
