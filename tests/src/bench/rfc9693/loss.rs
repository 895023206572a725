//! The share of frames that is lost, over the rate that is offered (RFC 2544 section 26.3).

use anyhow::Result;

use super::Options;
use super::bench::Bench;
use super::traffic::Traffic;
use crate::bench::sample::median;

/// Steps between nothing and the highest rate, as coarse as the RFC allows.
const STEPS: u32 = 10;
/// So many rates without loss, one after the other, end the curve.
pub const WHOLE: usize = 2;

/// What was lost at one rate.
#[derive(Clone, Debug)]
pub struct Point {
    /// Of the highest rate.
    pub share: f64,
    /// Frames a second that were offered in each direction, the median over the repetitions.
    pub offered: f64,
    /// For each single direction its name and the share of the frames that was lost, one of each
    /// repetition.
    pub lost: Vec<(&'static str, Vec<f64>)>,
}

impl Point {
    /// Nothing was lost, either way, in any repetition.
    fn is_whole(&self) -> bool {
        let mut all = self.lost.iter().flat_map(|(_, lost)| lost);
        all.all(|lost| *lost == 0.0)
    }
}

/// One point after the other, from the whole of the highest rate down in steps of a tenth of it, until two
/// in sequence have no loss.
///
/// # Errors
/// The trial's, which ends the curve.
pub fn curve(mut trial: impl FnMut(f64) -> Result<Point>) -> Result<Vec<Point>> {
    let mut points: Vec<Point> = Vec::new();
    for step in (1..=STEPS).rev() {
        points.push(trial(f64::from(step) / f64::from(STEPS))?);
        let whole = points.iter().rev().take_while(|point| point.is_whole());
        if whole.count() >= WHOLE {
            break;
        }
    }
    Ok(points)
}

/// The curve of known sessions: the highest rate is the one at which the generator sends without a pause.
///
/// # Errors
/// The rig's.
pub fn measure(
    options: &Options,
    bench: &mut Bench,
    traffic: Traffic,
    progress: &mut impl FnMut(&str),
) -> Result<Vec<Point>> {
    let most = bench.most_offered(traffic)?;
    curve(|share| {
        let mut offered = Vec::new();
        let directions = traffic.direction.singles().iter();
        let mut lost: Vec<_> = directions.map(|way| (way.name(), Vec::new())).collect();
        for _ in 0..options.repeats {
            let trial = bench.offer(traffic, share * most, options.secs)?;
            offered.push(trial.per_second);
            for ((_, all), one) in lost.iter_mut().zip(trial.lost) {
                all.push(one);
            }
        }
        let offered = median(&offered);
        let point = Point {
            share,
            offered,
            lost,
        };
        progress(&format!("{traffic}: {}", line(&point)));
        Ok(point)
    })
}

/// One point in words.
#[must_use]
pub fn line(point: &Point) -> String {
    let lost: Vec<String> = point
        .lost
        .iter()
        .map(|(name, lost)| {
            let per_cent: Vec<f64> = lost.iter().map(|share| 100.0 * share).collect();
            let least = per_cent.iter().copied().fold(f64::INFINITY, f64::min);
            let most = per_cent.iter().copied().fold(0.0, f64::max);
            format!("{name} {:.4} % ({least:.4}..{most:.4})", median(&per_cent))
        })
        .collect();
    format!(
        "{:3.0} % of the highest rate, {:.3} Mpps: lost {}",
        100.0 * point.share,
        point.offered / 1e6,
        lost.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A point of both directions with these shares lost.
    fn point(share: f64, forward: &[f64], reverse: &[f64]) -> Point {
        Point {
            share,
            offered: share * 1e6,
            lost: vec![("forward", forward.to_vec()), ("reverse", reverse.to_vec())],
        }
    }

    #[test]
    fn rates_go_down_in_tenths_until_two_lose_nothing() {
        let cases = [
            ("nothing is ever lost", 1.0, 2),
            ("what is beyond 7 tenths is lost", 0.7, 5),
            ("only the lowest rates are whole", 0.2, 10),
            ("even the lowest loses", 0.0, 10),
        ];
        for (sentence, limit, trials) in cases {
            let points = curve(|share| {
                let lost = (1.0 - limit / share).max(0.0);
                Ok(point(share, &[0.0, lost], &[0.0, 0.0]))
            });
            let shares: Vec<f64> = points
                .expect("no trial fails")
                .iter()
                .map(|p| p.share)
                .collect();
            let wanted: Vec<f64> = (0..trials)
                .map(|step| f64::from(10 - step) / 10.0)
                .collect();
            assert_eq!(shares, wanted, "{sentence}");
        }
    }

    #[test]
    fn one_rate_without_loss_between_others_ends_nothing() {
        let points = curve(|share| {
            let lost = if share == 0.9 { 0.0 } else { 0.5 };
            Ok(point(share, &[lost], &[0.0]))
        });
        assert_eq!(points.expect("no trial fails").len(), 10);
    }

    #[test]
    fn a_loss_in_either_direction_counts() {
        let points = curve(|share| Ok(point(share, &[0.0], &[0.001])));
        assert_eq!(points.expect("no trial fails").len(), 10);
    }

    #[test]
    fn a_point_in_words_has_the_median_and_both_ends() {
        let said = line(&point(0.9, &[0.0, 0.02, 0.01], &[0.0]));
        let wanted = " 90 % of the highest rate, 0.900 Mpps: lost forward 1.0000 % (0.0000..2.0000), \
                      reverse 0.0000 % (0.0000..0.0000)";
        assert_eq!(said, wanted);
    }
}
