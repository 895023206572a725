//! Table and JSON of `bench rfc9693`.

use serde_json::{Value, json};

use super::{Figures, Options};
use crate::bench::report::rounded;
use crate::bench::sample::median;

/// Lines for people, with what RFC 9693 section 6 wants to be told.
#[must_use]
pub fn table(options: &Options, all: &[Figures]) -> String {
    let (generator, dut) = options.cpus;
    let mut text = format!(
        "60-byte UDP frames unless said otherwise; 63 sessions of each subscriber, every one with a remote \
         address of its own;\nsearches of {} steps, {} times, median (least..most); at most {:.4} % lost; \
         trials of {} s; {}\n",
        options.steps,
        options.repeats,
        100.0 * options.most_loss,
        options.secs,
        match generator == dut {
            true => format!("all on processor {dut}, in lock-step"),
            false => format!("generator on processor {generator}, device under test on {dut}"),
        },
    );
    for figures in all {
        let sessions = figures.sessions;
        text.push_str(&format!(
            "{sessions} sessions: {} M connections/s, each validated; {:.1} bytes of tables for a session\n",
            millions(&figures.connections),
            figures.bytes_per_session,
        ));
        for one in &figures.throughput {
            let latency = one.latency_us.map_or_else(
                || "latency not measured".to_owned(),
                |[least, median, most]| {
                    format!(
                        "at 90 % of it {median:.1} us, 99.9 %: {most:.1} us, variation {:.1} us",
                        most - least
                    )
                },
            );
            text.push_str(&format!(
                "{sessions} sessions: {}, frames of {} bytes: {} Mpps; {latency}\n",
                one.direction,
                one.frame_bytes,
                millions(&one.pps),
            ));
        }
        text.push_str(&format!(
            "{sessions} sessions: torn down at {:.2} M/s\n",
            figures.teardown / 1e6
        ));
    }
    let largest = all.iter().filter(|f| median(&f.connections) > 0.0);
    if let Some(most) = largest.map(|f| f.sessions).max() {
        text.push_str(&format!(
            "capacity: {most} sessions, the largest size that was validated\n"
        ));
    }
    text
}

/// Rates in millions a second, by name and number of sessions.
pub fn points(all: &[Figures]) -> impl Iterator<Item = (String, u64, f64)> + '_ {
    all.iter().flat_map(|figures| {
        let connections = ("connections".to_owned(), &figures.connections);
        let frames = figures.throughput.iter().map(|one| {
            let name = format!("{}, {} bytes", one.direction, one.frame_bytes);
            (name, &one.pps)
        });
        std::iter::once(connections)
            .chain(frames)
            .map(|(name, rates)| (name, figures.sessions, median(rates) / 1e6))
    })
}

fn millions(values: &[f64]) -> String {
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    let most = values.iter().copied().fold(0.0, f64::max);
    let middle = median(values);
    format!(
        "{:.3} ({:.3}..{:.3})",
        middle / 1e6,
        least / 1e6,
        most / 1e6
    )
}

/// One object with everything.
#[must_use]
pub fn json(options: &Options, all: &[Figures]) -> Value {
    let number = |value: f64, digits| match value.is_finite() {
        true => json!(rounded(value, digits)),
        false => Value::Null,
    };
    let sizes: Vec<Value> = all
        .iter()
        .map(|figures| {
            let throughput: Vec<Value> = figures
                .throughput
                .iter()
                .map(|one| {
                    json!({
                        "direction": one.direction,
                        "frame_bytes": one.frame_bytes,
                        "pps": number(median(&one.pps), 0),
                        "latency_us": one.latency_us,
                    })
                })
                .collect();
            json!({
                "sessions": figures.sessions,
                "connections_per_second": number(median(&figures.connections), 0),
                "throughput": throughput,
                "teardown_per_second": number(figures.teardown, 0),
                "bytes_per_session": number(figures.bytes_per_session, 1),
            })
        })
        .collect();
    json!({
        "rfc9693": sizes,
        "processors": [options.cpus.0, options.cpus.1],
        "most_loss": options.most_loss,
        "trial_secs": options.secs,
    })
}
