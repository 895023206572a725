//! How IPv4 addresses are written in the configuration: prefixes, single addresses and ranges.
//!
//! Each type prints as it was read, so a configuration that is written back keeps its form.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::address::Ipv4Range;

/// The shortest prefix that is taken: anything wider is a slip of the pen, not a pool or a
/// subscriber network.
pub const SHORTEST_PREFIX_BITS: u8 = 8;

/// Text that is not an address, a prefix or a range as the configuration wants them.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AddressError {
    #[error(
        "{text:?} is not an IPv4 address; write four decimal numbers from 0 to 255 without leading zeros, such as \"203.0.113.7\""
    )]
    NotAnAddress { text: String },
    #[error("{text:?} is IPv6; only IPv4 addresses can be used here")]
    Ipv6 { text: String },
    #[error("{text:?} is a range; write prefixes that cover it, such as \"100.64.0.0/16\"")]
    RangeForPrefix { text: String },
    #[error("{text:?} has no prefix length; write \"{address}/32\" for the single address")]
    NoLength { text: String, address: Ipv4Addr },
    #[error(
        "{text:?} has no valid prefix length; write a number from {SHORTEST_PREFIX_BITS} to 32 after the slash"
    )]
    Length { text: String },
    #[error(
        "{address}/{length} is wider than a /{SHORTEST_PREFIX_BITS}; write a prefix length from {SHORTEST_PREFIX_BITS} to 32"
    )]
    TooWide { address: Ipv4Addr, length: u8 },
    #[error(
        "{address}/{length} has host bits set; write \"{right}\" for the prefix or \"{address}/32\" for the single address"
    )]
    HostBits {
        address: Ipv4Addr,
        length: u8,
        right: Ipv4Prefix,
    },
    #[error("the range {first}-{last} ends before it begins; write \"{last}-{first}\"")]
    Reversed { first: Ipv4Addr, last: Ipv4Addr },
    #[error(
        "the range {first}-{last} has {count} addresses; write at most {most}, as many as a /{SHORTEST_PREFIX_BITS} has",
        most = MOST_ADDRESSES
    )]
    TooLong {
        first: Ipv4Addr,
        last: Ipv4Addr,
        count: u64,
    },
}

const MOST_ADDRESSES: u64 = 1 << (32 - SHORTEST_PREFIX_BITS);

/// A network such as 100.64.0.0/16: 8 to 32 bits long, without host bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Ipv4Prefix {
    address: Ipv4Addr,
    length: u8,
}

impl Ipv4Prefix {
    /// Stands where a prefix could not be read; never in a checked configuration.
    pub(super) const PLACEHOLDER: Self = Self {
        address: Ipv4Addr::UNSPECIFIED,
        length: 32,
    };

    /// # Errors
    /// A length outside 8 to 32, or an address with host bits; the latter names the right prefix.
    pub fn new(address: Ipv4Addr, length: u8) -> Result<Self, AddressError> {
        if !(SHORTEST_PREFIX_BITS..=32).contains(&length) {
            return Err(AddressError::TooWide { address, length });
        }
        let network = Ipv4Addr::from_bits(address.to_bits() & !host_mask(length));
        let right = Self {
            address: network,
            length,
        };
        if network == address {
            Ok(right)
        } else {
            Err(AddressError::HostBits {
                address,
                length,
                right,
            })
        }
    }

    /// Bits of the network.
    pub const fn length(&self) -> u8 {
        self.length
    }

    /// The addresses of the network, the first and the last included.
    pub fn range(&self) -> Ipv4Range {
        let last = Ipv4Addr::from_bits(self.address.to_bits() | host_mask(self.length));
        Ipv4Range::new(self.address, last).expect("setting host bits makes no address smaller")
    }
}

/// The bits after a prefix of `length` bits.
fn host_mask(length: u8) -> u32 {
    u32::MAX.checked_shr(length.into()).unwrap_or(0)
}

impl FromStr for Ipv4Prefix {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let Some((address, length)) = text.split_once('/') else {
            if text.contains('-') {
                return Err(AddressError::RangeForPrefix {
                    text: text.to_owned(),
                });
            }
            let address = read_address(text)?;
            return Err(AddressError::NoLength {
                text: text.to_owned(),
                address,
            });
        };
        let address = read_address(address)?;
        match length.parse() {
            // `parse` would take "+16".
            Ok(bits @ 0..=32) if !length.starts_with('+') => Self::new(address, bits),
            _ => Err(AddressError::Length {
                text: text.to_owned(),
            }),
        }
    }
}

/// One entry of a pool's address list: a prefix, a single address or a range, as it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum AddressSpan {
    /// `203.0.113.0/28`
    Prefix(Ipv4Prefix),
    /// `203.0.113.7`
    Single(Ipv4Addr),
    /// `203.0.113.64-203.0.113.70`, both ends included
    Range(Ipv4Range),
}

impl AddressSpan {
    /// The addresses, however they were written.
    pub fn range(&self) -> Ipv4Range {
        match self {
            Self::Prefix(prefix) => prefix.range(),
            Self::Single(address) => Ipv4Range::single(*address),
            Self::Range(range) => *range,
        }
    }
}

impl FromStr for AddressSpan {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        if text.contains('/') {
            text.parse().map(Self::Prefix)
        } else if let Some((first, last)) = text.split_once('-') {
            let (first, last) = (read_address(first.trim())?, read_address(last.trim())?);
            let range =
                Ipv4Range::new(first, last).ok_or(AddressError::Reversed { first, last })?;
            match range.address_count() {
                0..=MOST_ADDRESSES => Ok(Self::Range(range)),
                count => Err(AddressError::TooLong { first, last, count }),
            }
        } else {
            read_address(text).map(Self::Single)
        }
    }
}

fn read_address(text: &str) -> Result<Ipv4Addr, AddressError> {
    text.parse().map_err(|_| {
        let text = text.to_owned();
        match text.parse::<Ipv6Addr>() {
            Ok(_) => AddressError::Ipv6 { text },
            Err(_) => AddressError::NotAnAddress { text },
        }
    })
}

impl fmt::Display for Ipv4Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

impl fmt::Display for AddressSpan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Prefix(prefix) => prefix.fmt(f),
            Self::Single(address) => address.fmt(f),
            // A range of one address must stay a range when it is read again.
            Self::Range(range) => write!(f, "{}-{}", range.first(), range.last()),
        }
    }
}

impl TryFrom<String> for Ipv4Prefix {
    type Error = AddressError;

    fn try_from(text: String) -> Result<Self, AddressError> {
        text.parse()
    }
}

impl TryFrom<String> for AddressSpan {
    type Error = AddressError;

    fn try_from(text: String) -> Result<Self, AddressError> {
        text.parse()
    }
}

impl From<Ipv4Prefix> for String {
    fn from(prefix: Ipv4Prefix) -> Self {
        prefix.to_string()
    }
}

impl From<AddressSpan> for String {
    fn from(span: AddressSpan) -> Self {
        span.to_string()
    }
}
