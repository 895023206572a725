//! Networks of realms: their routes are in tables of their own, and their addresses have keys.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

/// A /16 network of a realm but the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    /// Number of the realm.
    pub realm: u8,
    /// Number of the kernel's routing table that its routes are in.
    pub table: u32,
    /// The high 16 bits of its addresses.
    pub address: u16,
    /// The high 16 bits of their keys: what the /16 table and exact entries know them by.
    pub key: u16,
}

/// All of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Networks {
    by_key: BTreeMap<u16, Network>,
    by_address: Arc<BTreeMap<(u8, u16), u16>>,
}

impl Networks {
    /// No key stands twice.
    pub fn new(networks: &[Network]) -> Self {
        let by_key = networks.iter().map(|one| (one.key, *one)).collect();
        let by_address = networks
            .iter()
            .map(|one| ((one.realm, one.address), one.key));
        Networks {
            by_key,
            by_address: Arc::new(by_address.collect()),
        }
    }

    /// Whether there is but the first realm.
    pub fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }

    /// The network whose keys are in the /16 `span`.
    pub fn of_key(&self, span: u16) -> Option<&Network> {
        self.by_key.get(&span)
    }

    /// Realm of the addresses, or keys, of the /16 `span`.
    pub fn realm_of(&self, span: u16) -> u8 {
        self.of_key(span).map_or(0, |network| network.realm)
    }

    /// All networks, by key.
    pub fn all(&self) -> impl Iterator<Item = &Network> {
        self.by_key.values()
    }

    /// Number of the routing table that routes to a realm's subscribers are in; `None` for the first.
    pub fn table(&self, realm: u8) -> Option<u32> {
        let mut own = self.all().filter(|network| network.realm == realm);
        own.next().map(|network| network.table)
    }

    /// What tables know an address of a realm by; `None` if the realm has no network with it.
    pub fn key(&self, realm: u8, address: Ipv4Addr) -> Option<Ipv4Addr> {
        if realm == 0 {
            return Some(address);
        }
        let bits = address.to_bits();
        let key = self.by_address.get(&(realm, (bits >> 16) as u16))?;
        Some(Ipv4Addr::from_bits(u32::from(*key) << 16 | bits & 0xffff))
    }

    /// The address that tables know as `key`.
    pub fn address(&self, key: Ipv4Addr) -> Ipv4Addr {
        let bits = key.to_bits();
        match self.of_key((bits >> 16) as u16) {
            Some(network) => Ipv4Addr::from_bits(u32::from(network.address) << 16 | bits & 0xffff),
            None => key,
        }
    }
}
