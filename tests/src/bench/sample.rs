//! From time stamps to one figure.

/// Nanoseconds per packet of each chunk of a run.
#[derive(Clone, Debug, Default)]
pub struct Chunks(pub Vec<f64>);

impl Chunks {
    /// From the time stamps at the borders of chunks of `packets` packets.
    #[must_use]
    pub fn between(stamps_ns: &[u64], packets: u64) -> Self {
        let chunk = |pair: &[u64]| pair[1].wrapping_sub(pair[0]) as f64 / packets as f64;
        Self(stamps_ns.windows(2).map(chunk).collect())
    }
}

/// The middle value; NaN of none. Whoever else used the processor spoils some
/// chunks, and the median does not care how much.
#[must_use]
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        len if len % 2 == 1 => sorted[len / 2],
        len => (sorted[len / 2 - 1] + sorted[len / 2]) / 2.0,
    }
}

/// For runs whose chunks are all alike: median over the chunks of all rounds.
#[must_use]
pub fn steady(rounds: &[Chunks]) -> f64 {
    let all: Vec<f64> = rounds.iter().flat_map(|r| r.0.iter().copied()).collect();
    median(&all)
}

/// For runs whose chunks differ (a table that fills): median of each chunk
/// over the rounds, then the mean over the chunks.
#[must_use]
pub fn growing(rounds: &[Chunks]) -> f64 {
    let chunks = rounds.iter().map(|r| r.0.len()).min().unwrap_or_default();
    let at = |chunk: usize| -> Vec<f64> { rounds.iter().map(|r| r.0[chunk]).collect() };
    let sum: f64 = (0..chunks).map(|chunk| median(&at(chunk))).sum();
    sum / chunks as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disturbed_chunk_does_not_count() {
        let chunks = Chunks::between(&[100, 1124, 2148, 9_999_999, 10_001_023], 1024);
        assert_eq!(chunks.0.len(), 4);
        assert!((steady(&[chunks]) - 1.0).abs() < 1e-9);
    }

    #[test]
    fn a_filling_table_is_averaged_chunk_by_chunk() {
        let round = |values: [f64; 2]| Chunks(values.to_vec());
        let rounds = [round([1.0, 3.0]), round([1.0, 900.0]), round([700.0, 3.0])];
        assert!((growing(&rounds) - 2.0).abs() < 1e-9);
    }

    #[test]
    fn the_median_of_an_even_number_lies_between() {
        assert!((median(&[4.0, 1.0, 3.0, 2.0]) - 2.5).abs() < 1e-9);
        assert!(median(&[]).is_nan());
    }
}
