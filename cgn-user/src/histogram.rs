//! Distributions that an operator sees: counts of values by upper bounds.

/// Most bounds that a scale has.
const MOST_BOUNDS: usize = 16;

/// Upper bounds, inclusive and ascending, at most 16.
pub type Scale = &'static [f64];

/// Ports of one protocol that a subscriber uses: up to 6 blocks of 1,024.
pub const PORTS: Scale = &[
    0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0, 4096.0,
];
/// Seconds of something that should take microseconds, or a disk's time.
pub const SECONDS: Scale = &[
    10e-6, 25e-6, 50e-6, 100e-6, 250e-6, 500e-6, 1e-3, 2.5e-3, 5e-3, 10e-3, 25e-3, 50e-3, 0.1,
    0.25, 1.0,
];

/// How often which values were seen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Histogram {
    scale: Scale,
    /// By number of the first bound that the value does not exceed; the last: above all.
    counts: [u64; MOST_BOUNDS + 1],
    sum: f64,
}

impl Histogram {
    /// Nothing was seen yet.
    #[must_use]
    pub const fn new(scale: Scale) -> Self {
        assert!(scale.len() <= MOST_BOUNDS);
        Self {
            scale,
            counts: [0; MOST_BOUNDS + 1],
            sum: 0.0,
        }
    }

    /// Counts one value.
    pub fn observe(&mut self, value: f64) {
        let place = self.scale.partition_point(|bound| *bound < value);
        self.counts[place] += 1;
        self.sum += value;
    }

    /// Sum of the values.
    #[must_use]
    pub fn sum(&self) -> f64 {
        self.sum
    }

    /// Values seen.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Each bound, with the count of values that do not exceed it.
    pub fn cumulative(&self) -> impl Iterator<Item = (f64, u64)> {
        let counts = self.counts.iter().scan(0, |sum, count| {
            *sum += count;
            Some(*sum)
        });
        self.scale.iter().copied().zip(counts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_counted_at_the_first_bound_that_holds_them() {
        const SCALE: Scale = &[0.0, 1.0, 2.0];
        let cases: &[(&str, &[f64], [u64; 3], u64)] = &[
            ("nothing was seen", &[], [0, 0, 0], 0),
            (
                "a bound holds its own value",
                &[0.0, 1.0, 2.0],
                [1, 2, 3],
                3,
            ),
            (
                "between two bounds it is the upper one's",
                &[0.5, 1.5],
                [0, 1, 2],
                2,
            ),
            (
                "above all bounds it is in the count only",
                &[9.0],
                [0, 0, 0],
                1,
            ),
        ];
        for (sentence, values, cumulative, count) in cases {
            let mut histogram = Histogram::new(SCALE);
            values.iter().for_each(|value| histogram.observe(*value));
            let seen: Vec<u64> = histogram.cumulative().map(|(_, count)| count).collect();
            assert_eq!(seen, cumulative, "{sentence}");
            assert_eq!(histogram.count(), *count, "{sentence}");
            assert_eq!(histogram.sum(), values.iter().sum::<f64>(), "{sentence}");
        }
    }

    #[test]
    fn the_scales_ascend() {
        for scale in [PORTS, SECONDS] {
            assert!(scale.is_sorted_by(|one, next| one < next), "{scale:?}");
        }
    }
}
