//! IPv4 prefixes.

use std::fmt;
use std::net::Ipv4Addr;

use thiserror::Error;

/// Why an address and a length are not a prefix.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
pub enum PrefixError {
    /// An IPv4 prefix has 0 to 32 bits.
    #[error("{address}/{len}: the length of an IPv4 prefix is 0 to 32")]
    Length {
        /// The address as given.
        address: Ipv4Addr,
        /// The length as given, in bits.
        len: u8,
    },
    /// The address has bits to the right of the prefix.
    #[error("{address}/{len}: bits are set to the right of the prefix; {network}/{len} was meant?")]
    HostBits {
        /// The address as given.
        address: Ipv4Addr,
        /// The length as given, in bits.
        len: u8,
        /// The address with those bits cleared.
        network: Ipv4Addr,
    },
}

/// An IPv4 prefix. The order is by address, then by length, so that a prefix comes before all
/// prefixes inside it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Prefix {
    /// Host byte order; the bits right of `len` are 0.
    address: u32,
    len: u8,
}

impl Prefix {
    /// All addresses.
    pub const ALL: Prefix = Prefix { address: 0, len: 0 };

    /// A prefix of `len` bits. Refuses a length above 32 and bits right of the prefix.
    pub fn new(address: Ipv4Addr, len: u8) -> Result<Self, PrefixError> {
        let prefix = Self::containing(address, len)?;
        if prefix.network() != address {
            let network = prefix.network();
            return Err(PrefixError::HostBits {
                address,
                len,
                network,
            });
        }
        Ok(prefix)
    }

    /// The prefix of `len` bits that has `address` in it. Refuses a length above 32.
    pub fn containing(address: Ipv4Addr, len: u8) -> Result<Self, PrefixError> {
        if len > 32 {
            return Err(PrefixError::Length { address, len });
        }
        Ok(Self::masked(u32::from(address), len))
    }

    /// `len` above 32 counts as 32.
    pub(super) fn masked(address: u32, len: u8) -> Self {
        let len = len.min(32);
        Prefix {
            address: address & mask(len),
            len,
        }
    }

    /// The first address.
    pub fn network(self) -> Ipv4Addr {
        Ipv4Addr::from(self.address)
    }

    /// The length in bits, 0 to 32.
    pub fn bits(self) -> u8 {
        self.len
    }

    /// The first address, in host byte order.
    pub(super) fn first(self) -> u32 {
        self.address
    }

    /// The last address, in host byte order.
    pub(super) fn last(self) -> u32 {
        self.address | !mask(self.len)
    }

    /// Whether `address` lies in the prefix.
    pub fn contains(self, address: Ipv4Addr) -> bool {
        u32::from(address) & mask(self.len) == self.address
    }
}

fn mask(len: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(len)).unwrap_or(0)
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network(), self.len)
    }
}

impl fmt::Debug for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_is_no_prefix() {
        let address = Ipv4Addr::new(10, 0, 0, 1);
        let cases = [
            (
                "33 bits",
                33,
                "10.0.0.1/33: the length of an IPv4 prefix is 0 to 32",
            ),
            (
                "host bits",
                24,
                "10.0.0.1/24: bits are set to the right of the prefix; 10.0.0.0/24 was meant?",
            ),
        ];
        for (what, len, message) in cases {
            let error = Prefix::new(address, len).expect_err(what);
            assert_eq!(error.to_string(), message, "{what}");
        }
    }

    #[test]
    fn knows_its_ends() {
        let cases = [
            ("0.0.0.0/0", Prefix::ALL, 0, u32::MAX),
            ("a /31", Prefix::masked(7, 31), 6, 7),
            ("a /32", Prefix::masked(7, 32), 7, 7),
            (
                "a /8",
                Prefix::masked(0x0a01_0203, 8),
                0x0a00_0000,
                0x0aff_ffff,
            ),
        ];
        for (what, prefix, first, last) in cases {
            assert_eq!((prefix.first(), prefix.last()), (first, last), "{what}");
            assert!(prefix.contains(Ipv4Addr::from(first)), "{what}");
            assert!(prefix.contains(Ipv4Addr::from(last)), "{what}");
            let next = last.checked_add(1).map(Ipv4Addr::from);
            assert!(!next.is_some_and(|next| prefix.contains(next)), "{what}");
        }
    }
}
