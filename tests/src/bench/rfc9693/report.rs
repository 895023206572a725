//! Table and JSON of `bench rfc9693`.

use serde_json::{Value, json};

use super::loss::{self, Point};
use super::throughput::Throughput;
use super::traffic::Direction;
use super::{Figures, Options};
use crate::bench::report::rounded;
use crate::bench::rig::frame_size::FrameSize;
use crate::bench::rig::population::PORTS;
use crate::bench::sample::median;

/// Lines for people, with what RFC 9693 section 6 wants to be told.
#[must_use]
pub fn table(options: &Options, all: &[Figures]) -> String {
    let mut text = heading(options);
    for figures in all {
        let size = format!("{} sessions, {} each", figures.sessions, figures.per_host);
        text.push_str(&format!(
            "{size}: {} M connections/s, each validated; {:.1} bytes of tables for a session\n",
            millions(&figures.connections),
            figures.bytes_per_session,
        ));
        for one in &figures.throughput {
            text.push_str(&format!("{size}: {}\n", throughput(one)));
            for point in &one.loss {
                text.push_str(&format!("{size}: {}, {}\n", one.traffic, loss::line(point)));
            }
        }
        text.push_str(&format!(
            "{size}: torn down at {:.2} M/s\n",
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

fn heading(options: &Options) -> String {
    let (generator, dut) = options.cpus;
    format!(
        "60-byte UDP frames unless said otherwise; IMIX: of 12 frames 7 of 64 bytes, 4 of 570, 1 of 1518 with checksum;\n\
         63 or more sessions of each subscriber, every one with a remote address of its own;\n\
         searches of {} steps, {} times, median (least..most); at most {:.4} % lost; trials of {} s; {}\n",
        options.steps,
        options.repeats,
        100.0 * options.most_loss,
        options.secs,
        match generator == dut {
            true => format!("all on processor {dut}, in lock-step"),
            false => format!("generator on processor {generator}, device under test on {dut}"),
        },
    )
}

/// Throughput and latency in a line.
fn throughput(one: &Throughput) -> String {
    let latency = match one.latency_us.is_empty() {
        true => "latency not measured".to_owned(),
        false => format!(
            "at 90 % of it {} us, 99.9 %: {} us, variation {} us",
            plain(&one.medians()),
            plain(&one.tails()),
            plain(&one.variations()),
        ),
    };
    let ways = match one.traffic.direction {
        Direction::Both => {
            let ways = one.arrived.iter();
            let ways: Vec<String> = ways
                .map(|(name, rates)| format!("{name} {}", millions(rates)))
                .collect();
            format!(" each way (arrived: {})", ways.join(", "))
        }
        Direction::Forward | Direction::Reverse => String::new(),
    };
    format!(
        "{}: {} Mpps{ways}; {latency}",
        one.traffic,
        millions(&one.pps)
    )
}

impl Throughput {
    /// Median time of each repetition in microseconds.
    fn medians(&self) -> Vec<f64> {
        self.latency_us
            .iter()
            .map(|[_, median, _]| *median)
            .collect()
    }

    /// The 99.9th percentile, likewise.
    fn tails(&self) -> Vec<f64> {
        self.latency_us.iter().map(|[_, _, most]| *most).collect()
    }

    /// What the slowest (but one in a thousand) take longer than the fastest: RFC 8219's packet delay
    /// variation.
    fn variations(&self) -> Vec<f64> {
        let all = self.latency_us.iter();
        all.map(|[least, _, most]| most - least).collect()
    }
}

/// Rates in millions a second, by name and number of sessions: connections, and frames of the first length.
pub fn points(all: &[Figures]) -> impl Iterator<Item = (String, u64, f64)> + '_ {
    all.iter().flat_map(|figures| {
        let named = |name: String| match figures.per_host {
            PORTS => name,
            ports => format!("{name}, {ports} each"),
        };
        let first = figures.throughput.first().map(|one| one.traffic.size);
        let frames = figures.throughput.iter();
        let frames = frames.filter(move |one| Some(one.traffic.size) == first);
        let frames = frames.map(|one| {
            let name = format!("{}, {}", one.traffic.direction.name(), one.traffic.size);
            (name, &one.pps)
        });
        std::iter::once(("connections".to_owned(), &figures.connections))
            .chain(frames)
            .map(move |(name, rates)| (named(name), figures.sessions, median(rates) / 1e6))
    })
}

/// Median, least and most; NaN of none.
fn spread(values: &[f64]) -> [f64; 3] {
    let ends = values.iter().fold([f64::NAN; 2], |[least, most], value| {
        [least.min(*value), most.max(*value)]
    });
    [median(values), ends[0], ends[1]]
}

fn millions(values: &[f64]) -> String {
    let [middle, least, most] = spread(values).map(|value| value / 1e6);
    format!("{middle:.3} ({least:.3}..{most:.3})")
}

/// One value alone, or the median with the others' ends.
fn plain(values: &[f64]) -> String {
    let [middle, least, most] = spread(values);
    match values.len() {
        1 => format!("{middle:.1}"),
        _ => format!("{middle:.1} ({least:.1}..{most:.1})"),
    }
}

fn number(value: f64, digits: i32) -> Value {
    match value.is_finite() {
        true => json!(rounded(value, digits)),
        false => Value::Null,
    }
}

/// Median, least and most by their names.
fn spread_json(values: &[f64], digits: i32) -> Value {
    let [middle, least, most] = spread(values).map(|value| number(value, digits));
    json!({ "median": middle, "least": least, "most": most })
}

fn by_direction(all: &[(&'static str, Vec<f64>)], digits: i32) -> Value {
    let all = all.iter();
    all.map(|(name, values)| ((*name).to_owned(), spread_json(values, digits)))
        .collect()
}

fn throughput_json(one: &Throughput) -> Value {
    let loss: Vec<Value> = one.loss.iter().map(point_json).collect();
    json!({
        "direction": one.traffic.direction.name(),
        "frame_bytes": match one.traffic.size {
            FrameSize::Bytes(bytes) => json!(bytes),
            FrameSize::Imix => json!("imix"),
        },
        "pps": spread_json(&one.pps, 0),
        "arrived_pps": by_direction(&one.arrived, 0),
        "latency_us": spread_json(&one.medians(), 3),
        "tail_us": spread_json(&one.tails(), 3),
        "variation_us": spread_json(&one.variations(), 3),
        "loss_curve": loss,
    })
}

fn point_json(point: &Point) -> Value {
    json!({
        "share": rounded(point.share, 2),
        "offered_pps": number(point.offered, 0),
        "lost": by_direction(&point.lost, 8),
    })
}

/// One object with everything.
#[must_use]
pub fn json(options: &Options, all: &[Figures]) -> Value {
    let sizes: Vec<Value> = all
        .iter()
        .map(|figures| {
            let throughput: Vec<Value> = figures.throughput.iter().map(throughput_json).collect();
            json!({
                "sessions": figures.sessions,
                "sessions_per_host": figures.per_host,
                "connections_per_second": spread_json(&figures.connections, 0),
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
        "repetitions": options.repeats,
    })
}
