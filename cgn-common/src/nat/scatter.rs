//! Scattered blocks: the ports of a block are spread over all of an address's, so that
//! one who knows some of a subscriber's ports can guess no other (RFC 6431 section 2.2).
//!
//! Tables, allocator and log speak of *places*: block b has the places from
//! 1024 + b * N on, as its ports would be without scattering. Here a place becomes the
//! port that stands in packets, and back. The permutation of the 64,512 places of an
//! address is a Feistel network over numbers: 64,512 = 252 * 256, so a place is a pair
//! (high below 252, low below 256), and each round adds a keyed function of one half to
//! the other, modulo its size. It hits each port from 1024 to 65535 exactly once with no
//! walk around a cycle, whatever the function is.
//!
//! Each address has its own four keys ([`Scattering`]), derived from the secret of an
//! epoch. Four rounds: enough for two-sided attacks if the function were random
//! (Luby and Rackoff), which a square of 64 bits is not quite; see ADR 28.

use crate::block::page_of;
use crate::layout::Scattering;
use crate::limits::FIRST_PORT;
use crate::tables::Tables;

/// Values of the upper half of a place; the lower half has 256.
const HIGHS: u32 = 252;
const _: () = assert!(HIGHS * 256 == crate::limits::USABLE_PORTS);

/// 32 bits that depend on all of the key and on `half`, which is below 256. The
/// middle of a square, after the half was brought to all bytes.
#[inline(always)]
const fn mix(key: u64, half: u32) -> u32 {
    let x = key ^ (half as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (x.wrapping_mul(x | 1) >> 32) as u32
}

/// Upper half plus `by` modulo 252.
#[inline(always)]
const fn turned(high: u32, by: u32) -> u32 {
    let sum = high + by;
    // Without a branch, which could not be predicted.
    sum - HIGHS * (sum >= HIGHS) as u32
}

/// Of 32 random bits, a number below 252 (by multiplication, not by remainder).
#[inline(always)]
const fn below_highs(bits: u32) -> u32 {
    ((bits as u64 * HIGHS as u64) >> 32) as u32
}

/// Port of a place of an address with these keys. A place below 1024 is none, and stays.
#[inline(always)]
#[must_use]
pub const fn port_of(keys: [u64; 4], place: u16) -> u16 {
    if place < FIRST_PORT {
        return place;
    }
    let place = (place - FIRST_PORT) as u32;
    let (high, low) = (place >> 8, place & 0xff);
    let high = turned(high, below_highs(mix(keys[0], low)));
    let low = (low + (mix(keys[1], high) >> 24)) & 0xff;
    let high = turned(high, below_highs(mix(keys[2], low)));
    let low = (low + (mix(keys[3], high) >> 24)) & 0xff;
    FIRST_PORT + (high << 8 | low) as u16
}

/// Place of a port: the inverse of [`port_of`].
#[inline(always)]
#[must_use]
pub const fn place_of(keys: [u64; 4], port: u16) -> u16 {
    if port < FIRST_PORT {
        return port;
    }
    let port = (port - FIRST_PORT) as u32;
    let (high, low) = (port >> 8, port & 0xff);
    let low = low.wrapping_sub(mix(keys[3], high) >> 24) & 0xff;
    let high = turned(high, HIGHS - below_highs(mix(keys[2], low)));
    let low = low.wrapping_sub(mix(keys[1], high) >> 24) & 0xff;
    let high = turned(high, HIGHS - below_highs(mix(keys[0], low)));
    FIRST_PORT + (high << 8 | low) as u16
}

/// Keys of an address; all zero for one that is in no pool, which has no block either.
#[inline(always)]
pub fn keys_of<T: Tables + ?Sized>(tables: &T, external: u32) -> [u64; 4] {
    let index = match tables.outside_page(page_of(external)) {
        Some(page) => page.index_of(external),
        None => None,
    };
    match index {
        Some(index) => tables.scattering(index).map_or([0; 4], Scattering::keys),
        None => [0; 4],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Keys without a pattern (digits of pi).
    const KEYS: [u64; 4] = [
        0x243f_6a88_85a3_08d3,
        0x1319_8a2e_0370_7344,
        0xa409_3822_299f_31d0,
        0x082e_fa98_ec4e_6c89,
    ];

    /// From a program of a few lines of Python, with numbers of any size and remainders.
    #[test]
    fn another_program_says_the_same() {
        let cases = [
            (1024, 18224),
            (1025, 29158),
            (1279, 9089),
            (1280, 32130),
            (5060, 32962),
            (32768, 32251),
            (65534, 15496),
            (65535, 49965),
        ];
        for (place, port) in cases {
            assert_eq!(port_of(KEYS, place), port);
        }
    }

    #[test]
    fn each_place_has_a_port_of_its_own_and_comes_back() {
        let odd = [[0; 4], [u64::MAX; 4], KEYS, [1, 2, 3, 4]];
        for keys in odd {
            let mut seen = vec![false; 65_536];
            for place in FIRST_PORT..=u16::MAX {
                let port = port_of(keys, place);
                assert!(port >= FIRST_PORT, "{place} -> {port}");
                assert!(
                    !std::mem::replace(&mut seen[usize::from(port)], true),
                    "{port} twice"
                );
                assert_eq!(place_of(keys, port), place);
            }
        }
    }

    #[test]
    fn ports_below_1024_are_no_place() {
        for port in 0..FIRST_PORT {
            assert_eq!((port_of(KEYS, port), place_of(KEYS, port)), (port, port));
        }
    }

    /// Chi-square of equally likely cells, in deviations from its mean.
    fn deviations(cells: &[u32]) -> f64 {
        let total: u32 = cells.iter().sum();
        let expected = f64::from(total) / cells.len() as f64;
        let square = |cell: &u32| (f64::from(*cell) - expected).powi(2) / expected;
        let chi: f64 = cells.iter().map(square).sum();
        let freedom = cells.len() as f64 - 1.0;
        (chi - freedom) / (2.0 * freedom).sqrt()
    }

    fn random_keys(seed: &mut u64) -> [u64; 4] {
        // SplitMix64, so that the test is the same every day.
        [(); 4].map(|()| {
            *seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let x = (*seed ^ (*seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            x ^ (x >> 31)
        })
    }

    #[test]
    fn over_many_keys_the_port_of_a_place_is_any_port() {
        // 252 cells of 256 ports; two neighbours, and what lies between their ports.
        let (mut one, mut between) = (vec![0; 252], vec![0; 252]);
        let mut seed = 1;
        for _ in 0..60_000 {
            let keys = random_keys(&mut seed);
            let ports = [2000, 2001].map(|place| u32::from(port_of(keys, place) - FIRST_PORT));
            one[(ports[0] / 256) as usize] += 1;
            between[((ports[1] + 64_512 - ports[0]) % 64_512 / 256) as usize] += 1;
        }
        for (what, cells) in [("port", &one), ("distance of neighbours", &between)] {
            assert!(
                deviations(cells).abs() < 5.0,
                "{what}: {}",
                deviations(cells)
            );
        }
    }

    #[test]
    fn ports_of_a_block_lie_everywhere_and_in_no_order() {
        let mut seed = 2;
        for block in [0, 17, 125] {
            let mut cells = vec![0; 63];
            let mut steps = std::collections::BTreeMap::new();
            for _ in 0..16 {
                let keys = random_keys(&mut seed);
                let places = (0..512).map(|i| FIRST_PORT + block * 512 + i);
                let ports: Vec<u16> = places.map(|place| port_of(keys, place)).collect();
                for pair in ports.windows(2) {
                    *steps.entry(pair[1].wrapping_sub(pair[0])).or_insert(0) += 1;
                }
                for port in ports {
                    cells[usize::from((port - FIRST_PORT) / 1024)] += 1;
                }
            }
            assert!(deviations(&cells).abs() < 5.0, "block {block}: {cells:?}");
            // Of 8,176 steps none is frequent: by chance the most frequent comes a few times.
            assert!(steps.values().all(|count| *count < 12), "block {block}");
        }
    }
}
