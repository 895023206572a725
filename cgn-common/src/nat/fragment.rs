//! Fragmented datagrams: the first fragment, which has the ports, decides for
//! all; and identifications that hosts behind one address do not share.

use crate::layout::{Datagram, FragmentKey};
use crate::tables::Tables;
use crate::verdict::Reason;

/// Elements of `FRAGMENT_SHARES`: what is had in a tick (0.268 s) by all
/// together, by each source of punts, and by each subscriber.
pub const SHARES: u32 = 1 << 16;
/// The share of all punts together.
pub const ALL: u32 = 0;
/// Punts for fragments in a tick: half of what a socket's ring holds, so that the
/// first packets of subscribers find room in it, whoever sends fragments.
pub const MOST_PUNTS: u32 = 1024;
/// Of these, for one source address.
pub const MOST_PUNTS_PER_SOURCE: u32 = 64;
/// Datagrams that a subscriber may begin, or be sent, in a tick. `FRAGMENTS` forgets
/// the oldest when it is full: nobody shall fill it alone.
pub const MOST_DATAGRAMS: u32 = 1024;

/// log2 of the elements of `IDS`.
pub const IDS_SHIFT: u32 = 13;

/// Share of a source of punts.
#[inline(always)]
#[must_use]
pub const fn share_of_source(source: u32) -> u32 {
    // Never the common one.
    spread(source) | 1
}

/// Share of a subscriber, by its inside address.
#[inline(always)]
#[must_use]
pub const fn share_of_subscriber(inside: u32) -> u32 {
    (spread(inside) & !1) + if spread(inside) < 2 { 2 } else { 0 }
}

/// 16 bits that depend on all bits of the address.
#[inline(always)]
const fn spread(address: u32) -> u32 {
    address.wrapping_mul(0x9e37_79b9) >> 16
}

/// A first fragment, about to be translated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Beginning {
    pub key: FragmentKey,
    /// Addresses that all its fragments get.
    pub source: u32,
    pub destination: u32,
    /// Inside address of the subscriber on whose account it is.
    pub inside: u32,
}

impl Beginning {
    /// As the arguments of a function in XDP.
    #[inline(always)]
    #[must_use]
    pub const fn pack(&self) -> (u64, u64, u64) {
        let key = pair(self.key.source, self.key.destination);
        let rest = pair(self.key.rest, self.inside);
        (key, rest, pair(self.source, self.destination))
    }
    /// The reverse of [`Self::pack`].
    #[inline(always)]
    #[must_use]
    pub const fn unpack(key: u64, rest: u64, ends: u64) -> Self {
        Self {
            key: FragmentKey {
                source: key as u32,
                destination: (key >> 32) as u32,
                rest: rest as u32,
            },
            source: ends as u32,
            destination: (ends >> 32) as u32,
            inside: (rest >> 32) as u32,
        }
    }
}

#[inline(always)]
const fn pair(low: u32, high: u32) -> u64 {
    low as u64 | (high as u64) << 32
}

/// Identification for all fragments of a datagram, or why there is none: bits
/// 0-15 identification, from 16 on one of the numbers below.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Begun(pub u64);

impl Begun {
    const CONFLICT: u64 = 1 << 16;
    const TOO_MANY: u64 = 2 << 16;
    const AWAITED: u64 = 3 << 16;
    const NO_ROOM: u64 = 4 << 16;

    /// # Errors
    /// Why the fragment is not translated, or not here.
    #[inline(always)]
    pub const fn id(self) -> Result<u16, Reason> {
        match self.0 & !0xffff {
            0 => Ok(self.0 as u16),
            Self::CONFLICT => Err(Reason::FragmentConflict),
            Self::TOO_MANY => Err(Reason::FragmentLimit),
            Self::AWAITED => Err(Reason::FragmentAwaited),
            _ => Err(Reason::Internal),
        }
    }
}

/// Notes what becomes of a datagram, so that its later fragments find it. A
/// datagram that is known stays as it is: a first fragment that came twice gets
/// the same identification, one for other ends is refused.
#[inline(always)]
pub fn begin<T: Tables + ?Sized>(tables: &T, beginning: Beginning) -> Begun {
    let Beginning {
        key,
        source,
        destination,
        inside,
    } = beginning;
    let now = tables.now();
    let id = match tables.datagram(&key) {
        Some(known) if known.is_alive(now) => {
            if known.source != source || known.destination != destination {
                return Begun(Begun::CONFLICT);
            }
            known.id as u16
        }
        _ => {
            if !tables.may_begin_datagram(inside) {
                return Begun(Begun::TOO_MANY);
            }
            let id = match key.is_from_inside() {
                true => tables.fresh_id(source, destination, key.protocol()),
                // Nobody else sends from there to this subscriber.
                false => key.id(),
            };
            let datagram = Datagram {
                source,
                destination,
                until: now.wrapping_add(tables.fragment_ticks()),
                id: id as u32,
            };
            if !tables.enter_datagram(&key, &datagram) {
                return Begun(Begun::NO_ROOM);
            }
            id
        }
    };
    // Entered before it is asked, and whoever waits looks again after saying
    // so: one of the two sees the other.
    if tables.is_awaited(&key) && tables.may_punt_fragment(key.source) {
        return Begun(Begun::AWAITED);
    }
    Begun(id as u64)
}

/// An identification that is not used again by anyone between these two
/// addresses before all others of their counter were (RFC 6864 section 5.3.1).
#[inline(always)]
pub fn fresh_id<T: Tables + ?Sized>(
    tables: &T,
    source: u32,
    destination: u32,
    protocol: u8,
) -> u16 {
    let ends = pair(source, destination);
    // Keyed, so that nobody outside chooses whose counter he shares and watches.
    let mixed = (ends ^ tables.id_secret()).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ protocol as u64;
    let mixed = (mixed ^ mixed >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let count = match tables.id_counter((mixed >> (64 - IDS_SHIFT)) as u32) {
        Some(counter) => counter.add(1),
        None => 0,
    };
    (count as u16).wrapping_add((mixed >> 16) as u16)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::Side;

    #[test]
    fn a_beginning_survives_the_way_through_arguments() {
        let beginning = Beginning {
            key: FragmentKey::new(Side::Inside, 17, 1, 2, 3),
            source: 4,
            destination: 5,
            inside: 6,
        };
        let (key, rest, ends) = beginning.pack();
        assert_eq!(Beginning::unpack(key, rest, ends), beginning);
    }

    #[test]
    fn shares_are_in_range_and_none_is_the_common_one_or_of_both_kinds() {
        for address in (0..1 << 20).map(|n: u32| n.wrapping_mul(4097)) {
            let (source, subscriber) = (share_of_source(address), share_of_subscriber(address));
            assert!(source < SHARES && subscriber < SHARES);
            assert_eq!((source & 1, subscriber & 1), (1, 0));
            assert_ne!(subscriber, ALL);
        }
    }
}
