//! What Prometheus scrapes. [`TABLE`] declares every metric, once: name, kind,
//! labels, help and where its samples come from. A scrape takes a [`Snapshot`]
//! and encodes it; nothing is kept between scrapes.
//!
//! No label names a subscriber: the number of series depends on the
//! configuration, never on traffic.

mod listener;
mod snapshot;
mod table;
#[cfg(test)]
mod tests;

use prometheus::TextEncoder;
use prometheus::proto;

pub use listener::{ListenError, Listener};
pub use snapshot::{Behaviours, Limits, Snapshot};
pub use table::TABLE;

use crate::histogram::Histogram;

/// Kinds of metrics used here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows, but for a restart of the daemon.
    Counter,
    /// Goes up and down.
    Gauge,
    /// How values are distributed. Those of `..._now` are as of one moment, and shrink, too.
    Histogram,
}

/// One metric.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    pub name: &'static str,
    pub kind: Kind,
    pub labels: &'static [&'static str],
    /// One sentence for an operator.
    pub help: &'static str,
    /// Adds the metric's samples.
    read: fn(&Snapshot, &mut Samples),
}

/// Values of one metric, each with the values of its labels.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Samples(Vec<(Vec<String>, Value)>);

/// One value.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Value {
    Number(f64),
    Distribution(Histogram),
}

impl Samples {
    /// A whole number; exact up to 2^53.
    fn put(&mut self, labels: &[&str], value: u64) {
        self.put_fraction(labels, value as f64);
    }

    fn put_fraction(&mut self, labels: &[&str], value: f64) {
        self.push(labels, Value::Number(value));
    }

    fn put_distribution(&mut self, labels: &[&str], histogram: Histogram) {
        self.push(labels, Value::Distribution(histogram));
    }

    fn push(&mut self, labels: &[&str], value: Value) {
        let labels = labels.iter().map(|label| (*label).to_owned()).collect();
        self.0.push((labels, value));
    }
}

impl Metric {
    /// The metric's samples in `snapshot`.
    #[must_use]
    pub fn samples(&self, snapshot: &Snapshot) -> Samples {
        let mut samples = Samples::default();
        (self.read)(snapshot, &mut samples);
        samples
    }

    fn family(&self, snapshot: &Snapshot) -> proto::MetricFamily {
        let metrics = self.samples(snapshot).0.into_iter();
        let metrics = metrics.map(|(values, value)| self.metric(values, value));
        let mut family = proto::MetricFamily::default();
        family.set_name(self.name.to_owned());
        family.set_help(self.help.to_owned());
        family.set_field_type(match self.kind {
            Kind::Counter => proto::MetricType::COUNTER,
            Kind::Gauge => proto::MetricType::GAUGE,
            Kind::Histogram => proto::MetricType::HISTOGRAM,
        });
        family.set_metric(metrics.collect());
        family
    }

    fn metric(&self, values: Vec<String>, value: Value) -> proto::Metric {
        let pairs = self.labels.iter().zip(values).map(|(name, value)| {
            let mut pair = proto::LabelPair::default();
            pair.set_name((*name).to_owned());
            pair.set_value(value);
            pair
        });
        let mut metric = proto::Metric::from_label(pairs.collect());
        match value {
            Value::Number(value) if self.kind == Kind::Counter => {
                let mut counter = proto::Counter::default();
                counter.set_value(value);
                metric.set_counter(counter);
            }
            Value::Number(value) => {
                let mut gauge = proto::Gauge::default();
                gauge.set_value(value);
                metric.set_gauge(gauge);
            }
            Value::Distribution(histogram) => metric.set_histogram(distribution(&histogram)),
        }
        metric
    }
}

fn distribution(histogram: &Histogram) -> proto::Histogram {
    let buckets = histogram.cumulative().map(|(bound, count)| {
        let mut bucket = proto::Bucket::default();
        bucket.set_upper_bound(bound);
        bucket.set_cumulative_count(count);
        bucket
    });
    let mut distribution = proto::Histogram::default();
    distribution.set_bucket(buckets.collect());
    distribution.set_sample_count(histogram.count());
    distribution.set_sample_sum(histogram.sum());
    distribution
}

/// All metrics in the text format, version 0.0.4. Metrics without a sample are
/// left out.
///
/// # Errors
/// The encoder's; none is known.
pub fn encode(snapshot: &Snapshot) -> Result<String, prometheus::Error> {
    let families = TABLE.iter().map(|metric| metric.family(snapshot));
    let families: Vec<_> = families
        .filter(|family| !family.get_metric().is_empty())
        .collect();
    TextEncoder::new().encode_to_string(&families)
}
