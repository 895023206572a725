//! The table, the goals and the JSON of `bench rig`.

use serde_json::{Value, json};

use super::{Figures, Limit, Series};
use crate::bench::report::{Goal, rounded};
use crate::bench::sample::median;

/// Sizes at which the goals are held: about a thousand flows, and a million.
const FEW: u64 = 1_008;
const MANY: u64 = 1_032_192;

impl Series {
    /// Median packets a second; NaN of none.
    #[must_use]
    pub fn pps(&self) -> f64 {
        median(&self.of(|round| Some(round.pps)))
    }

    /// Median ratio to the limit of the same round; NaN of none.
    #[must_use]
    pub fn ratio(&self) -> f64 {
        median(&self.ratios)
    }

    /// Median new connections a second; NaN of none.
    #[must_use]
    pub fn cps(&self) -> f64 {
        median(&self.of(|round| round.cps))
    }

    /// Median of what it takes longer for a packet than the limit of the same round, in
    /// nanoseconds; NaN of none.
    #[must_use]
    pub fn added_ns(&self) -> f64 {
        let rounds = self.rounds.iter().zip(&self.ratios);
        let added = rounds.map(|(round, ratio)| (1.0 - ratio) * 1e9 / round.pps);
        median(&added.collect::<Vec<f64>>())
    }

    fn of(&self, value: impl Fn(&super::Measured) -> Option<f64>) -> Vec<f64> {
        self.rounds.iter().filter_map(value).collect()
    }
}

/// The goals, as far as there are figures for them.
#[must_use]
pub fn goals(figures: &Figures) -> Vec<Goal> {
    let find = |system: &str, flows| {
        let mut all = figures.series.iter();
        all.find(|s| s.system == system && s.flows == flows && !s.rounds.is_empty())
    };
    let least = |what, limit, value: Option<f64>| {
        value.filter(|value| value.is_finite()).map(|value| Goal {
            what,
            limit,
            value,
            is_least: true,
        })
    };
    let ours = |flows| find("cgn_native", flows);
    let times = |other: &str, flows| {
        let (ours, other) = (ours(flows)?, find(other, flows)?);
        Some(ours.ratio() / other.ratio())
    };
    let mirrored = |flows| Some(find("cgn_mirror", flows)?.ratio() / ours(flows)?.ratio());
    let cps = |flows| Some(ours(flows)?.cps() / find("nftables_masquerade", flows)?.cps());
    [
        least(
            "1 k flows: in bare redirects",
            0.8,
            ours(FEW).map(Series::ratio),
        ),
        least(
            "1 M flows: in bare redirects",
            0.55,
            ours(MANY).map(Series::ratio),
        ),
        least(
            "1 k flows: in nftables' packets",
            5.0,
            times("nftables_masquerade", FEW),
        ),
        least(
            "1 M flows: in nftables' packets",
            5.0,
            times("nftables_masquerade", MANY),
        ),
        least("1 k flows: in einat's packets", 6.0, times("einat", FEW)),
        least(
            "1 k flows: a tenth mirrored, in packets without",
            0.9,
            mirrored(FEW),
        ),
        least(
            "1 M flows: a tenth mirrored, in packets without",
            0.9,
            mirrored(MANY),
        ),
        least("1 M flows: new connections, in nftables'", 10.0, cps(MANY)),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// One line for each system and size, then the control and the goals.
#[must_use]
pub fn table(figures: &Figures) -> String {
    let mut text = format!(
        "{:<20} {:>8} {:>6} {:>14} {:>8} {:>8} {:>6} {:>8} {:>9}\n",
        "system", "flows", "Mpps", "(least..most)", "ns", "added", "ratio", "new M/s", "new lost"
    );
    for series in &figures.series {
        if let Some(why) = &series.refused {
            let first = why.lines().next().unwrap_or_default();
            let (system, flows) = (&series.system, series.flows);
            text.push_str(&format!("{system:<20} {flows:>8} not measured: {first}\n"));
            continue;
        }
        let all = series.of(|round| Some(round.pps));
        let least = all.iter().copied().fold(f64::INFINITY, f64::min);
        let most = all.iter().copied().fold(0.0, f64::max);
        let is_nat = series.cps().is_finite();
        let nat = |text: String| if is_nat { text } else { "-".to_owned() };
        text.push_str(&format!(
            "{:<20} {:>8} {:>6.2} {:>14} {:>8.1} {:>8.1} {:>6.3} {:>8} {:>9}\n",
            series.system,
            series.flows,
            series.pps() / 1e6,
            format!("({:.2}..{:.2})", least / 1e6, most / 1e6),
            1e9 / series.pps(),
            series.added_ns(),
            series.ratio(),
            nat(format!("{:.2}", series.cps() / 1e6)),
            nat(format!(
                "{:.2} %",
                100.0 * median(&series.of(|round| Some(round.new_loss)))
            )),
        ));
    }
    text.push_str(&control(&figures.limits));
    for stream in &figures.streams {
        let said = match &stream.refused {
            Some(why) => format!("not measured: {}", why.lines().next().unwrap_or_default()),
            None => format!("{:.2} Gbit/s", median(&stream.gbits)),
        };
        text.push_str(&format!(
            "iperf3, one connection: {:<20} {said}\n",
            stream.system
        ));
    }
    for goal in goals(figures) {
        text.push_str(&goal.line());
    }
    text
}

/// What the bare redirect says of the rounds.
fn control(limits: &[Limit]) -> String {
    let steady = limits.iter().filter(|limit| limit.is_steady()).count();
    format!(
        "control: in {steady} of {} rounds the bare redirect before and after differed by at most 15 %{}\n",
        limits.len(),
        if steady * 2 > limits.len() {
            ""
        } else {
            ": NOT TO BE TRUSTED"
        },
    )
}

/// One object with everything.
#[must_use]
pub fn json(figures: &Figures) -> Value {
    let number = |value: f64, digits| match value.is_finite() {
        true => json!(rounded(value, digits)),
        false => Value::Null,
    };
    let rows: Vec<Value> = figures
        .series
        .iter()
        .map(|series| {
            json!({
                "system": series.system,
                "flows": series.flows,
                "pps": number(series.pps(), 0),
                "ratio_to_limit": number(series.ratio(), 3),
                "cps": number(series.cps(), 0),
                "added_ns": number(series.added_ns(), 1),
                "rounds": series.rounds.len(),
                "refused": series.refused,
            })
        })
        .collect();
    let streams: Vec<Value> = figures
        .streams
        .iter()
        .map(|stream| {
            json!({
                "system": stream.system,
                "gbits": number(median(&stream.gbits), 2),
                "refused": stream.refused,
            })
        })
        .collect();
    let steady = figures
        .limits
        .iter()
        .filter(|limit| limit.is_steady())
        .count();
    json!({
        "rig": rows,
        "streams": streams,
        "rounds": figures.limits.len(),
        "steady_rounds": steady,
        "goals": goals(figures).iter().map(Goal::json).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::cell::Measured;
    use super::*;

    fn series(system: &str, flows: u64, ratio: f64, cps: f64) -> Series {
        let round = Measured {
            pps: ratio * 8e6,
            cps: Some(cps),
            loss: 0.0,
            new_loss: 0.0,
        };
        Series {
            system: system.to_owned(),
            flows,
            rounds: vec![round; 3],
            ratios: vec![ratio; 3],
            refused: None,
        }
    }

    #[test]
    fn a_system_that_was_not_measured_is_no_goal() {
        let mut figures = Figures {
            limits: vec![],
            series: vec![series("cgn_native", FEW, 0.79, 5e6)],
            streams: vec![],
        };
        let met: Vec<bool> = goals(&figures).iter().map(Goal::met).collect();
        assert_eq!(
            met,
            [false],
            "0.79 is less than 0.8, and nothing else was measured"
        );
        figures
            .series
            .push(series("nftables_masquerade", FEW, 0.15, 4e5));
        let met: Vec<bool> = goals(&figures).iter().map(Goal::met).collect();
        assert_eq!(met, [false, true], "0.79 is more than five times 0.15");
    }

    #[test]
    fn a_round_whose_limit_moved_is_not_steady() {
        let limit = |before, after| Limit {
            flows: FEW,
            before,
            after,
        };
        assert!(limit(8e6, 7e6).is_steady());
        assert!(!limit(8e6, 6e6).is_steady());
        assert!(control(&[limit(8e6, 6e6)]).contains("NOT TO BE TRUSTED"));
    }

    #[test]
    fn json_has_the_promised_fields() {
        let figures = Figures {
            limits: vec![],
            series: vec![series("cgn_native", MANY, 0.61234, 5e6)],
            streams: vec![],
        };
        let row = &json(&figures)["rig"][0];
        assert_eq!(row["system"], "cgn_native");
        assert_eq!(row["flows"], MANY);
        assert_eq!(row["ratio_to_limit"], 0.612);
        assert_eq!(row["cps"], 5_000_000.0);
        assert!(row["pps"].is_number());
    }
}
