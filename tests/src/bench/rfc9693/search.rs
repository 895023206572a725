//! The highest rate at which a trial succeeds (RFC 9693 section 4.5.1, by bisection).

use anyhow::Result;

/// Bisects between 0 and twice `guess`: the highest rate that succeeded, 0 if none did. The guess
/// itself is tried first.
///
/// # Errors
/// The trial's, which ends the search.
pub fn highest(
    guess: f64,
    steps: u32,
    mut succeeds: impl FnMut(f64) -> Result<bool>,
) -> Result<f64> {
    let (mut yes, mut no) = (0.0, 2.0 * guess);
    for _ in 0..steps {
        let rate = (yes + no) / 2.0;
        match succeeds(rate)? {
            true => yes = rate,
            false => no = rate,
        }
    }
    Ok(yes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_rate_is_found_to_the_last_step() {
        let cases = [
            ("below the guess", 700.0),
            ("at the guess", 1000.0),
            ("beyond the guess", 1_450.0),
        ];
        for (sentence, limit) in cases {
            let found = highest(1000.0, 10, |rate| Ok(rate <= limit)).expect("no trial fails");
            assert!(found <= limit && limit - found < 2.0, "{sentence}: {found}");
        }
        let none = highest(1000.0, 10, |_| Ok(false)).expect("no trial fails");
        assert!(none == 0.0, "where nothing succeeds there is no rate");
    }
}
