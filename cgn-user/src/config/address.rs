//! Ranges and sets of IPv4 addresses. Addresses count in host byte order (`Ipv4Addr::to_bits`).

use std::fmt;
use std::net::Ipv4Addr;

/// The addresses from `first` to `last`, both included; never empty.
///
/// Ordered by `first`, then by `last`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ipv4Range {
    first: Ipv4Addr,
    last: Ipv4Addr,
}

impl Ipv4Range {
    /// `None` when `last` lies before `first`.
    pub const fn new(first: Ipv4Addr, last: Ipv4Addr) -> Option<Self> {
        if first.to_bits() <= last.to_bits() {
            Some(Self { first, last })
        } else {
            None
        }
    }

    /// The range of one address.
    pub const fn single(address: Ipv4Addr) -> Self {
        Self {
            first: address,
            last: address,
        }
    }

    /// The lowest address.
    pub const fn first(&self) -> Ipv4Addr {
        self.first
    }

    /// The highest address, itself part of the range.
    pub const fn last(&self) -> Ipv4Addr {
        self.last
    }

    /// How many addresses: 1 to 2^32.
    pub fn address_count(&self) -> u64 {
        u64::from(self.last.to_bits() - self.first.to_bits()) + 1
    }

    /// Whether `address` lies in the range.
    pub fn contains(&self, address: Ipv4Addr) -> bool {
        self.first <= address && address <= self.last
    }

    /// Whether the two ranges have an address in common.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

impl fmt::Display for Ipv4Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            write!(f, "{}", self.first)
        } else {
            write!(f, "{}-{}", self.first, self.last)
        }
    }
}

/// A set of addresses, kept as the fewest ranges: sorted, neither overlapping nor adjacent.
///
/// The addresses of a set are numbered from 0 in ascending order, so that tables can be indexed by
/// them ([`Ipv4Set::position`], [`Ipv4Set::address_at`]).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ipv4Set {
    ranges: Vec<Ipv4Range>,
    /// For each range, how many addresses of the set lie below it.
    below: Vec<u64>,
}

impl Ipv4Set {
    /// The ranges, in ascending order.
    pub fn ranges(&self) -> &[Ipv4Range] {
        &self.ranges
    }

    /// How many addresses: 0 to 2^32.
    pub fn address_count(&self) -> u64 {
        match (self.ranges.last(), self.below.last()) {
            (Some(range), Some(below)) => below + range.address_count(),
            _ => 0,
        }
    }

    /// Whether the set has no address.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Whether `address` is in the set; O(log ranges).
    pub fn contains(&self, address: Ipv4Addr) -> bool {
        self.position(address).is_some()
    }

    /// The number of `address` within the set, `None` when it is not in it; O(log ranges).
    pub fn position(&self, address: Ipv4Addr) -> Option<u64> {
        let at = self.ranges.partition_point(|range| range.last() < address);
        let range = self.ranges.get(at)?;
        let offset = address.to_bits().checked_sub(range.first().to_bits())?;
        Some(self.below.get(at)? + u64::from(offset))
    }

    /// The address with the number `position`, `None` beyond the last; O(log ranges).
    pub fn address_at(&self, position: u64) -> Option<Ipv4Addr> {
        let at = self
            .below
            .partition_point(|below| *below <= position)
            .checked_sub(1)?;
        let offset = u32::try_from(position - self.below.get(at)?).ok()?;
        let bits = self.ranges.get(at)?.first().to_bits().checked_add(offset)?;
        let address = Ipv4Addr::from_bits(bits);
        self.ranges[at].contains(address).then_some(address)
    }
}

impl FromIterator<Ipv4Range> for Ipv4Set {
    /// The union of the ranges, in whatever order they come and however they overlap.
    fn from_iter<I: IntoIterator<Item = Ipv4Range>>(ranges: I) -> Self {
        let mut sorted: Vec<Ipv4Range> = ranges.into_iter().collect();
        sorted.sort_unstable();
        let mut ranges: Vec<Ipv4Range> = Vec::with_capacity(sorted.len());
        for range in sorted {
            match ranges.last_mut() {
                // Saturating, because nothing can follow 255.255.255.255 without overlapping it.
                Some(before)
                    if range.first().to_bits() <= before.last().to_bits().saturating_add(1) =>
                {
                    before.last = before.last.max(range.last());
                }
                _ => ranges.push(range),
            }
        }
        let below = ranges
            .iter()
            .scan(0, |count, range| {
                let below = *count;
                *count += range.address_count();
                Some(below)
            })
            .collect();
        Self { ranges, below }
    }
}
