//! The table, the goals and the JSON of `bench micro`.

use cgn_common::layout::{Line, slab_bytes};
use cgn_common::limits::SLOTS_PER_BUCKET;
use cgn_common::verdict::Protocol;
use serde_json::{Value, json};

use super::micro::{Case, Cost, DEFAULT_POLICY, Row};
use super::world::{Density, FEW, MANY};

/// Size at which the goals are held.
const GOAL_FLOWS: u64 = 1 << 20;
/// Size at which all tables are in the caches.
const WARM_FLOWS: u64 = 1 << 10;

/// A figure that was promised.
#[derive(Clone, Debug)]
pub struct Goal {
    pub what: &'static str,
    pub limit: f64,
    pub value: f64,
    /// The limit is the least, not the most.
    pub is_least: bool,
}

impl Goal {
    /// Whether the promise is kept.
    #[must_use]
    pub fn met(&self) -> bool {
        if self.is_least {
            return self.value >= self.limit;
        }
        self.value <= self.limit
    }

    /// The goal as a line of text.
    #[must_use]
    pub fn line(&self) -> String {
        let met = if self.met() { "met" } else { "NOT MET" };
        let side = if self.is_least { "least" } else { "most" };
        let (what, value, limit) = (self.what, self.value, self.limit);
        format!("{met:<7} {what}: {value:.2} (at {side} {limit})\n")
    }

    /// The goal as an object.
    #[must_use]
    pub fn json(&self) -> Value {
        let (what, limit, value) = (self.what, self.limit, rounded(self.value, 3));
        json!({"goal": what, "limit": limit, "value": value, "met": self.met()})
    }
}

/// Bytes of slot memory per usable port and protocol: of the slot itself, and
/// with the share of its block's header and room.
#[must_use]
pub fn bytes_per_port(density: Density) -> (f64, f64) {
    // A line of keys, and one of peers.
    let slot = 2.0 * size_of::<Line>() as f64 / f64::from(SLOTS_PER_BUCKET);
    let slab = f64::from(slab_bytes(density.block_shift));
    let ports = f64::from(1_u32 << density.block_shift) * Protocol::ALL.len() as f64;
    (slot, slab / ports)
}

/// The goals, as far as `rows` has the figures.
#[must_use]
pub fn goals(rows: &[Row]) -> Vec<Goal> {
    let at = |flows, case| {
        rows.iter()
            .find(|r| r.case == case && r.flows == flows && r.density == FEW)
    };
    let find = |case| at(GOAL_FLOWS, case);
    let warm = at(WARM_FLOWS, Case::Outbound)
        .zip(at(WARM_FLOWS, Case::Inbound))
        .map(|(out, inside)| (out.ns + inside.ns) / 2.0 - out.xdp_tx_ns);
    let goal = |what, limit, value: Option<f64>| {
        value.map(|value| Goal {
            what,
            limit,
            value,
            is_least: false,
        })
    };
    let outbound = find(Case::Outbound);
    [
        goal(
            "outbound, established, 1 M flows: in hash look-ups",
            0.7,
            outbound.map(ratio),
        ),
        goal(
            "inbound, established, 1 M flows: in hash look-ups",
            0.5,
            find(Case::Inbound).map(ratio),
        ),
        goal(
            "new mapping, 1 M flows: in established outbound packets",
            1.1,
            find(Case::New)
                .zip(outbound)
                .map(|(new, out)| new.ns / out.ns),
        ),
        goal(
            "new flow refused as all ports are in use, 1 M flows: in established outbound packets",
            1.0,
            find(Case::Refused)
                .zip(outbound)
                .map(|(refused, out)| refused.ns / out.ns),
        ),
        goal(
            "1 k flows, mean of outbound and inbound: ns above a program that only returns XDP_TX",
            20.0,
            warm,
        ),
        goal(
            "slot memory: bytes per usable port and protocol",
            16.0,
            Some(bytes_per_port(FEW).0),
        ),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn ratio(row: &Row) -> f64 {
    row.ns / row.hash_lookup_ns
}

/// The rows as a table, one line each.
#[must_use]
pub fn table(rows: &[Row]) -> String {
    let mut text = format!(
        "{:<10} {:>9} {:>11} {:>8} {:>15} {:>10} {:>6}\n",
        "case", "flows", "ports/host", "ns", "hash_lookup_ns", "xdp_tx_ns", "ratio"
    );
    for row in rows {
        text.push_str(&format!(
            "{:<10} {:>9} {:>11} {:>8.1} {:>15.1} {:>10.1} {:>6.2}\n",
            row.case.name(),
            row.flows,
            row.density.ports_per_host,
            row.ns,
            row.hash_lookup_ns,
            row.xdp_tx_ns,
            ratio(row)
        ));
    }
    text
}

/// Two objects side by side, one line for each case and size.
#[must_use]
pub fn comparison(rows: &[Row], against: &[Row]) -> String {
    let mut text = format!(
        "{:<10} {:>9} {:>11} {:>8} {:>11} {:>6}\n",
        "case", "flows", "ports/host", "ns", "against_ns", "ratio"
    );
    for (row, other) in rows.iter().zip(against) {
        text.push_str(&format!(
            "{:<10} {:>9} {:>11} {:>8.1} {:>11.1} {:>6.2}\n",
            row.case.name(),
            row.flows,
            row.density.ports_per_host,
            row.ns,
            other.ns,
            row.ns / other.ns
        ));
    }
    text
}

/// What features cost, off and on side by side, one line for each case and size.
#[must_use]
pub fn costs_table(costs: &[Cost]) -> String {
    let mut text = format!(
        "{:<16} {:<9} {:>9} {:>8} {:>8} {:>8} {:>6}\n",
        "feature", "case", "flows", "off_ns", "on_ns", "more_ns", "ratio"
    );
    for cost in costs {
        text.push_str(&format!(
            "{:<16} {:<9} {:>9} {:>8.1} {:>8.1} {:>8.1} {:>6.2}\n",
            cost.feature,
            cost.case.name(),
            cost.flows,
            cost.off_ns,
            cost.on_ns,
            cost.on_ns - cost.off_ns,
            cost.on_ns / cost.off_ns
        ));
    }
    costs_goals(costs)
        .iter()
        .for_each(|goal| text.push_str(&goal.line()));
    text
}

/// The one that was promised, as far as it was measured: a packet each way.
#[must_use]
pub fn costs_goals(costs: &[Cost]) -> Vec<Goal> {
    let ways = costs.iter().filter(|cost| {
        cost.feature == DEFAULT_POLICY
            && cost.flows == GOAL_FLOWS
            && cost.density == FEW
            && matches!(cost.case, Case::Outbound | Case::Inbound)
    });
    let sum = |read: fn(&Cost) -> f64| ways.clone().map(read).sum::<f64>();
    if ways.clone().next().is_none() {
        return Vec::new();
    }
    vec![Goal {
        what: "the whole default policy, 1 M flows, a packet each way: in the bare translator",
        limit: 1.15,
        value: sum(|cost| cost.on_ns) / sum(|cost| cost.off_ns),
        is_least: false,
    }]
}

/// One object with everything.
#[must_use]
pub fn costs_json(costs: &[Cost]) -> Value {
    let row = |cost: &Cost| {
        json!({
            "feature": cost.feature,
            "case": cost.case.name(),
            "flows": cost.flows,
            "ports_per_host": cost.density.ports_per_host,
            "off_ns": rounded(cost.off_ns, 1),
            "on_ns": rounded(cost.on_ns, 1),
            "ratio": rounded(cost.on_ns / cost.off_ns, 3),
        })
    };
    let goals: Vec<Value> = costs_goals(costs).iter().map(Goal::json).collect();
    json!({"features": costs.iter().map(row).collect::<Vec<_>>(), "goals": goals})
}

/// The goals and the memory of a port, as text.
#[must_use]
pub fn verdicts(rows: &[Row]) -> String {
    let mut text = String::new();
    for goal in goals(rows) {
        text.push_str(&goal.line());
    }
    for density in [FEW, MANY] {
        text.push_str(&format!(
            "        with the block's header and room, in a block of {} ports: {:.2} bytes\n",
            1 << density.block_shift,
            bytes_per_port(density).1
        ));
    }
    text
}

/// One object with everything.
#[must_use]
pub fn json(rows: &[Row]) -> Value {
    let of = |density: Density| -> Vec<Value> {
        rows.iter()
            .filter(|row| row.density == density)
            .map(row_json)
            .collect()
    };
    let goals: Vec<Value> = goals(rows).iter().map(Goal::json).collect();
    let (slot, with_header) = bytes_per_port(FEW);
    json!({
        "micro": of(FEW),
        "micro_1008_ports_per_host": of(MANY),
        "bytes_per_port": rounded(slot, 2),
        "bytes_per_port_with_header": rounded(with_header, 2),
        "goals": goals,
    })
}

fn row_json(row: &Row) -> Value {
    json!({
        "case": row.case.name(),
        "flows": row.flows,
        "ports_per_host": row.density.ports_per_host,
        "ns": rounded(row.ns, 1),
        "hash_lookup_ns": rounded(row.hash_lookup_ns, 1),
        "xdp_tx_ns": rounded(row.xdp_tx_ns, 1),
        "generator_ns": rounded(row.generator_ns, 1),
        "ratio": rounded(ratio(row), 3),
    })
}

/// `value` with so many digits behind the point.
#[must_use]
pub fn rounded(value: f64, digits: i32) -> f64 {
    let scale = 10_f64.powi(digits);
    (value * scale).round() / scale
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(case: Case, ns: f64) -> Row {
        Row {
            case,
            flows: GOAL_FLOWS,
            density: FEW,
            ns,
            hash_lookup_ns: 100.0,
            xdp_tx_ns: 10.0,
            generator_ns: 20.0,
        }
    }

    #[test]
    fn a_missed_goal_is_said_to_be_missed() {
        let cases = [
            ("all are met", [70.0, 50.0, 77.0, 70.0], [true; 4]),
            (
                "outbound is too slow",
                [71.0, 50.0, 70.0, 50.0],
                [false, true, true, true],
            ),
            (
                "inbound is too slow",
                [70.0, 51.0, 70.0, 50.0],
                [true, false, true, true],
            ),
            (
                "opening is too slow",
                [70.0, 50.0, 78.0, 70.0],
                [true, true, false, true],
            ),
            (
                "refusing is too slow",
                [70.0, 50.0, 70.0, 71.0],
                [true, true, true, false],
            ),
        ];
        for (sentence, [out, inside, new, refused], wanted) in cases {
            let rows = [
                row(Case::Outbound, out),
                row(Case::Inbound, inside),
                row(Case::New, new),
                row(Case::Refused, refused),
            ];
            let met: Vec<bool> = goals(&rows).iter().map(Goal::met).collect();
            assert_eq!(met[..4], wanted, "{sentence}");
        }
    }

    #[test]
    fn warm_packets_are_held_against_the_bare_program() {
        let mut rows = [row(Case::Outbound, 35.0), row(Case::Inbound, 25.0)];
        rows.iter_mut().for_each(|row| row.flows = WARM_FLOWS);
        let all = goals(&rows);
        let warm = all.iter().find(|goal| goal.limit > 19.0).expect("the goal");
        assert!((warm.value - 20.0).abs() < 1e-9 && warm.met(), "30 - 10 ns");
        rows[0].ns = 36.0;
        assert!(!goals(&rows).iter().all(Goal::met), "30.5 - 10 ns");
    }

    #[test]
    fn a_size_that_was_not_measured_has_no_goal() {
        let mut small = row(Case::Outbound, 1.0);
        small.flows = 1;
        assert_eq!(
            goals(&[small]).len(),
            1,
            "only the memory of a slot is known"
        );
    }

    #[test]
    fn json_has_the_promised_fields() {
        let value = json(&[row(Case::New, 12.34)]);
        let first = &value["micro"][0];
        for field in ["ns", "hash_lookup_ns", "xdp_tx_ns"] {
            assert!(first[field].is_number(), "{field} in {first}");
        }
        assert_eq!(first["case"], "new");
        assert_eq!(first["flows"], GOAL_FLOWS);
        assert_eq!(first["ns"], 12.3);
    }
}
