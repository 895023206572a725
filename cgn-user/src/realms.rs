//! Realms in user space: which inside key is whose. Pure. What a key is: [`cgn_common::realm`].

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use cgn_common::layout::{
    FIRST_KEY, HALVES_PER_LINE, KEY_NETWORKS, half_of_address, half_of_key, realm_lines,
    realm_of_key,
};
use cgn_common::realm::{FIRST, is_key};

use crate::dataplane::memory::Memory;

/// Name of the first realm, that of `[inside]`.
pub const FIRST_NAME: &str = "";

/// Name of a realm where an empty one would be taken for none; no realm can have this one.
#[must_use]
pub fn label(name: &str) -> &str {
    match name {
        FIRST_NAME => "[inside]",
        name => name,
    }
}

/// A subscriber as the tables know him. In the first realm it is his address, in others it is
/// not: so nobody can print one, but must ask [`Realms::who`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InsideKey(u32);

/// For messages about faults: a network's number in the tables is nobody's address.
impl std::fmt::Debug for InsideKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:#010x}", self.0)
    }
}

impl InsideKey {
    #[must_use]
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }
    #[must_use]
    pub const fn to_bits(self) -> u32 {
        self.0
    }
}

/// The subscriber of the first realm with this address.
impl From<Ipv4Addr> for InsideKey {
    fn from(address: Ipv4Addr) -> Self {
        Self(address.to_bits())
    }
}

impl From<[u8; 4]> for InsideKey {
    fn from(octets: [u8; 4]) -> Self {
        Ipv4Addr::from(octets).into()
    }
}

/// A subscriber as people know him.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Who<'a> {
    /// Number of the realm in the configuration.
    pub number: u8,
    /// Its name; empty for the first.
    pub realm: &'a str,
    pub address: Ipv4Addr,
}

impl std::fmt::Display for Who<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.realm {
            FIRST_NAME => write!(f, "{}", self.address),
            realm => write!(f, "{realm}/{}", self.address),
        }
    }
}

/// A /16 network of a realm but the first, and the one that its keys have. Upper halves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    pub realm: u8,
    pub address: u16,
    pub key: u16,
}

/// All realms of a configuration. Keys follow its order: a realm that is added at the end
/// changes nobody's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Realms {
    names: Vec<String>,
    networks: Vec<Network>,
    by_address: BTreeMap<(u8, u16), u16>,
}

impl Default for Realms {
    fn default() -> Self {
        Self::new(Vec::new())
    }
}

impl Realms {
    /// The realms beside the first, each with its name and the upper halves of its networks. It
    /// was checked that there are keys for all of them ([`KEY_NETWORKS`]).
    #[must_use]
    pub fn new(others: Vec<(String, BTreeSet<u16>)>) -> Self {
        let mut realms = Self {
            names: vec![FIRST_NAME.to_owned()],
            networks: Vec::new(),
            by_address: BTreeMap::new(),
        };
        let mut keys = (0..KEY_NETWORKS).map(|number| (FIRST_KEY >> 16) + number);
        for (number, (name, networks)) in (1..=u8::MAX).zip(others) {
            realms.names.push(name);
            for (address, key) in networks.into_iter().zip(&mut keys) {
                let key = key as u16;
                realms.networks.push(Network {
                    realm: number,
                    address,
                    key,
                });
                realms.by_address.insert((number, address), key);
            }
        }
        realms
    }

    /// Realms, the first one included.
    #[must_use]
    pub fn count(&self) -> usize {
        self.names.len()
    }

    /// Their names, by number.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Number of the realm with this name.
    #[must_use]
    pub fn number_of(&self, name: &str) -> Option<u8> {
        let at = self.names.iter().position(|known| known == name)?;
        u8::try_from(at).ok()
    }

    /// The networks of all realms but the first, by key.
    #[must_use]
    pub fn networks(&self) -> &[Network] {
        &self.networks
    }

    /// Key of an address; None if the realm has no subscriber in its /16.
    #[must_use]
    pub fn key(&self, realm: u8, address: Ipv4Addr) -> Option<InsideKey> {
        let bits = address.to_bits();
        if realm == FIRST {
            return (!is_key(bits)).then_some(InsideKey(bits));
        }
        let half = self.by_address.get(&(realm, (bits >> 16) as u16))?;
        Some(InsideKey(u32::from(*half) << 16 | bits & 0xffff))
    }

    /// Whose key it is.
    #[must_use]
    pub fn who(&self, key: InsideKey) -> Who<'_> {
        let at = (key.0 >> 16).wrapping_sub(FIRST_KEY >> 16) as usize;
        match self.networks.get(at) {
            Some(network) if is_key(key.0) => Who {
                number: network.realm,
                realm: &self.names[usize::from(network.realm)],
                address: Ipv4Addr::from_bits(u32::from(network.address) << 16 | key.0 & 0xffff),
            },
            _ => Who {
                number: FIRST,
                realm: FIRST_NAME,
                address: Ipv4Addr::from_bits(key.0),
            },
        }
    }

    /// Keys of the addresses from `first` to `last` of a realm, as ranges. What has no keys is
    /// left out.
    #[must_use]
    pub fn ranges(&self, realm: u8, first: Ipv4Addr, last: Ipv4Addr) -> Vec<[InsideKey; 2]> {
        let (first, last) = (first.to_bits(), last.to_bits());
        if realm == FIRST {
            return vec![[InsideKey(first), InsideKey(last)]];
        }
        let networks = self
            .by_address
            .range((realm, (first >> 16) as u16)..=(realm, (last >> 16) as u16));
        let ranges = networks.map(|((_, address), key)| {
            let network = u32::from(*address) << 16;
            let ends = [first.max(network), last.min(network | 0xffff)];
            ends.map(|end| InsideKey(u32::from(*key) << 16 | end & 0xffff))
        });
        ranges.collect()
    }

    /// Keys of a prefix of a realm, as prefixes.
    #[must_use]
    pub fn prefixes(&self, realm: u8, network: Ipv4Addr, length: u8) -> Vec<(InsideKey, u8)> {
        if realm == FIRST {
            return vec![(network.into(), length)];
        }
        let host_bits = u32::MAX.checked_shr(length.into()).unwrap_or(0);
        let last = Ipv4Addr::from_bits(network.to_bits() | host_bits);
        let ranges = self.ranges(realm, network, last).into_iter();
        ranges.map(|[first, _]| (first, length.max(16))).collect()
    }

    /// Elements of `REALMS`.
    #[must_use]
    pub fn lines(&self) -> u32 {
        realm_lines(self.names.len())
    }

    /// Writes them into empty tables.
    pub fn install(&self, memory: &Memory) {
        for network in &self.networks {
            let (address, key) = (u32::from(network.address), u32::from(network.key));
            write(memory, half_of_address(key << 16), network.address);
            write(memory, realm_of_key(key << 16), network.realm.into());
            write(
                memory,
                half_of_key(network.realm, address << 16),
                network.key,
            );
        }
    }

    /// All that keys depend on, to be hashed: nobody's key may become another's.
    pub fn parts(&self) -> impl Iterator<Item = u32> + '_ {
        let names = self.names.iter().skip(1);
        let names = names.flat_map(|name| name.bytes().map(u32::from).chain([u32::MAX]));
        let networks = self.networks.iter();
        names.chain(networks.map(|one| u32::from(one.realm) << 16 | u32::from(one.address)))
    }
}

fn write(memory: &Memory, at: u32, half: u16) {
    if let Some(mut line) = memory.realms.read(at / HALVES_PER_LINE) {
        line.0[(at % HALVES_PER_LINE) as usize] = half;
        memory.realms.write(at / HALVES_PER_LINE, line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn realms() -> Realms {
        let networks = |halves: &[u16]| halves.iter().copied().collect();
        Realms::new(vec![
            ("mvno".to_owned(), networks(&[0x6440, 0x6441, 0x0a00])),
            ("cloud".to_owned(), networks(&[0x6440])),
        ])
    }

    #[test]
    fn equal_addresses_have_different_keys_and_each_key_is_one_address() {
        let realms = realms();
        let address = Ipv4Addr::new(100, 64, 0, 10);
        let keys: BTreeSet<_> = (0..3)
            .map(|realm| realms.key(realm, address).unwrap())
            .collect();
        assert_eq!(keys.len(), 3);
        for (realm, text) in [
            (0, "100.64.0.10"),
            (1, "mvno/100.64.0.10"),
            (2, "cloud/100.64.0.10"),
        ] {
            let key = realms.key(realm, address).unwrap();
            assert_eq!(realms.who(key).to_string(), text);
            assert_eq!(is_key(key.to_bits()), realm != 0);
        }
        for (sentence, realm, address) in [
            (
                "a network that the realm has not",
                2,
                Ipv4Addr::new(100, 65, 0, 1),
            ),
            ("a realm that is not there", 3, address),
            (
                "what could be another's key",
                0,
                Ipv4Addr::new(240, 0, 0, 10),
            ),
        ] {
            assert_eq!(realms.key(realm, address), None, "{sentence}");
        }
    }

    #[test]
    fn a_realm_that_is_added_changes_nobody_s_key() {
        let mut more = vec![
            ("mvno".to_owned(), BTreeSet::from([0x6440])),
            ("new".to_owned(), BTreeSet::from([0x0001])),
        ];
        let all = Realms::new(more.clone());
        more.pop();
        let before = Realms::new(more);
        let address = Ipv4Addr::new(100, 64, 9, 9);
        assert_eq!(all.key(1, address), before.key(1, address));
        let parts = |realms: &Realms| realms.parts().collect::<Vec<_>>();
        assert_ne!(parts(&all), parts(&before));
        let renamed = Realms::new(vec![("other".to_owned(), BTreeSet::from([0x6440]))]);
        assert_ne!(parts(&renamed), parts(&before), "the same keys, of others");
        assert!(parts(&Realms::default()).is_empty(), "one realm, as ever");
    }

    #[test]
    fn ranges_and_prefixes_break_where_networks_do() {
        let realms = realms();
        let (first, last) = (
            Ipv4Addr::new(100, 64, 255, 0),
            Ipv4Addr::new(100, 65, 0, 255),
        );
        let key = |address| realms.key(1, address).unwrap();
        assert_eq!(
            realms.ranges(1, first, last),
            [
                [key(first), key(Ipv4Addr::new(100, 64, 255, 255))],
                [key(Ipv4Addr::new(100, 65, 0, 0)), key(last)],
            ]
        );
        assert_eq!(realms.ranges(0, first, last), [[first.into(), last.into()]]);
        let wide = Ipv4Addr::new(100, 64, 0, 0);
        assert_eq!(
            realms.prefixes(1, wide, 10),
            [(key(wide), 16), (key(Ipv4Addr::new(100, 65, 0, 0)), 16)]
        );
        assert_eq!(realms.prefixes(1, wide, 24), [(key(wide), 24)]);
        assert_eq!(realms.prefixes(0, wide, 10), [(wide.into(), 10)]);
    }
}
