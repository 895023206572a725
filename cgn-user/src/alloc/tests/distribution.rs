//! Choices are uniform, independent and evenly spread, at the same effort at any fill.

use std::convert::Infallible;

use rand::rngs::StdRng;
use rand::{SeedableRng, TryCryptoRng, TryRng};

use super::super::*;
use super::{FIRST, build, spec};

/// Chi-square over the counts, as a distance from its mean in standard
/// deviations (Wilson-Hilferty).
fn uniform_z(counts: &[u64]) -> f64 {
    let total: u64 = counts.iter().sum();
    let expected = total as f64 / counts.len() as f64;
    let chi2: f64 = counts
        .iter()
        .map(|&count| (count as f64 - expected).powi(2) / expected)
        .sum();
    let k = (counts.len() - 1) as f64;
    let spread = 2.0 / (9.0 * k);
    ((chi2 / k).cbrt() - (1.0 - spread)) / spread.sqrt()
}

#[test]
fn blocks_and_addresses_are_chosen_uniformly_at_any_fill() {
    // z of 3.29 is exceeded with p = 0.0005; the seed is fixed.
    let mut skewed = [1_000_u64; 126];
    skewed[0] = 1_500;
    assert!(uniform_z(&skewed) > 3.29, "the measure sees a skew");
    for used in [0, 63, 95] {
        let mut allocator = build(spec(4, 512, 126));
        // The low blocks of each address are in hold: the rest must be equally likely.
        for address in 0..4 {
            for block in 0..used {
                allocator
                    .hold_until(0, FIRST + address, block, u64::MAX)
                    .unwrap();
            }
        }
        let mut blocks = vec![0_u64; 126];
        let mut addresses = [0_u64; 4];
        for subscriber in 0..60_000 {
            let got = allocator.allocate(0, subscriber, 0).unwrap();
            blocks[usize::from(got.block)] += 1;
            addresses[(got.external - FIRST) as usize] += 1;
            allocator.withdraw(0, subscriber, &got).unwrap();
        }
        assert!(blocks[..usize::from(used)].iter().all(|&count| count == 0));
        let z = uniform_z(&blocks[usize::from(used)..]);
        assert!(z.abs() < 3.29, "blocks with {used} in hold: z = {z}");
        let z = uniform_z(&addresses);
        assert!(z.abs() < 3.29, "addresses with {used} in hold: z = {z}");
    }
}

#[test]
fn earlier_blocks_say_nothing_of_the_next() {
    let mut allocator = build(spec(1, 512, 126));
    // Steps from one block to the next, modulo 126, while few are taken.
    let mut steps = vec![0_u64; 125];
    for subscriber in 0..60_000 {
        let one = allocator.allocate(0, subscriber, 0).unwrap();
        let two = allocator.allocate(0, subscriber, 0).unwrap();
        let step = (u32::from(two.block) + 126 - u32::from(one.block)) % 126;
        steps[step as usize - 1] += 1;
        allocator.withdraw(0, subscriber, &one).unwrap();
        allocator.withdraw(0, subscriber, &two).unwrap();
    }
    let z = uniform_z(&steps);
    assert!(z.abs() < 3.29, "z = {z}");
}

#[test]
fn subscribers_spread_evenly_over_addresses() {
    let mut allocator = build(spec(64, 512, 4));
    let mut load = [0_u32; 64];
    for subscriber in 0..64 * 60 {
        let got = allocator.allocate(0, subscriber, 0).unwrap();
        load[(got.external - FIRST) as usize] += 1;
    }
    let (least, most) = (load.iter().min().unwrap(), load.iter().max().unwrap());
    // One draw each would leave about 60 +- 20; the better of two draws, a few.
    assert!(most - least <= 12, "{least} to {most} of 60");
}

/// Counts the words that are drawn.
struct Counting(StdRng, u64);

impl TryRng for Counting {
    type Error = Infallible;
    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        self.1 += 1;
        self.0.try_next_u32()
    }
    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        self.1 += 1;
        self.0.try_next_u64()
    }
    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        self.1 += 1;
        self.0.try_fill_bytes(bytes)
    }
}
impl TryCryptoRng for Counting {}

#[test]
fn effort_does_not_grow_with_fill() {
    // A search that retries would need ever more draws towards 100 %. Two draws
    // choose an address and one a block; bias removal rarely adds one.
    let rng = Counting(StdRng::seed_from_u64(3), 0);
    let mut allocator = Allocator::new(&[spec(256, 512, 1)], HoldPolicy::default(), rng).unwrap();
    let total = 256 * 126;
    for subscriber in 0..total {
        let before = allocator.rng.1;
        allocator.allocate(0, subscriber, 0).unwrap();
        let draws = allocator.rng.1 - before;
        let fill_percent = u64::from(subscriber) * 100 / u64::from(total);
        assert!(draws <= 6, "{draws} draws at {fill_percent} %");
    }
    let before = allocator.rng.1;
    assert!(allocator.allocate(0, total, 0).is_err());
    assert_eq!(allocator.rng.1, before, "a refusal draws nothing");
}
