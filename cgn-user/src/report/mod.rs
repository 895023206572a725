//! The plots of the dashboard as one page without a server: HTML with SVG, from what Prometheus
//! has. [`dashboard`] says what to plot, [`prometheus`] asks for it, [`chart`] draws it.

mod chart;
pub mod dashboard;
pub mod prometheus;

use std::fmt::Write as _;

use crate::utc::Utc;
use chart::Chart;
use dashboard::Panel;
use prometheus::{PrometheusError, Series};

pub use prometheus::Source;

/// Points of a line.
const POINTS: u64 = 240;

/// What to report on.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Regular expression that the label `instance` must match.
    pub instance: &'a str,
    /// End of the period, in seconds of Unix time.
    pub until_secs: u64,
    /// Length of the period in seconds.
    pub period_secs: u64,
    /// How often Prometheus scrapes, in seconds.
    pub scrape_secs: u64,
}

impl Request<'_> {
    /// Seconds between two points of a line.
    fn step_secs(&self) -> u64 {
        (self.period_secs / POINTS).max(self.scrape_secs).max(1)
    }

    /// A query of the dashboard, with its variables filled in as Grafana does.
    #[must_use]
    pub fn fill_in(&self, expression: &str) -> String {
        let rate_secs = (self.step_secs() + self.scrape_secs).max(4 * self.scrape_secs);
        let instance = self.instance.replace('\\', "\\\\").replace('"', "\\\"");
        expression
            .replace("$__rate_interval", &format!("{rate_secs}s"))
            .replace("$instance", &instance)
    }
}

/// The page.
///
/// # Errors
/// Prometheus does not answer, or refuses a query.
pub async fn page(source: &Source, request: &Request<'_>) -> Result<String, PrometheusError> {
    let from = Utc((request.until_secs - request.period_secs) * 1000);
    let until = Utc(request.until_secs * 1000);
    let mut body = String::new();
    for panel in dashboard::panels() {
        match panel {
            Panel::Row(title) => {
                // Writing to a String cannot fail.
                let _ = writeln!(body, "<h2>{}</h2>", escaped(&title));
            }
            Panel::Plot(plot) => {
                let mut all = Vec::new();
                for query in &plot.queries {
                    let expression = request.fill_in(&query.expression);
                    let found = source.range(&expression, request, request.step_secs());
                    let named = |series: Series| (query.legend_of(&series.labels), series.points);
                    all.extend(found.await?.into_iter().map(named));
                }
                let chart = Chart {
                    plot: &plot,
                    from_secs: request.until_secs - request.period_secs,
                    until_secs: request.until_secs,
                    step_secs: request.step_secs(),
                    lines: &all,
                };
                body.push_str(&chart.html());
            }
        }
    }
    Ok(format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>CGN report</title>\n\
         <style>{STYLE}</style></head><body>\n<h1>CGN report</h1>\n<p>{from} to {until}</p>\n{body}</body></html>\n"
    ))
}

const STYLE: &str = "body{font-family:sans-serif;max-width:1240px;margin:1em auto;color:#222}\
    figure{display:inline-block;width:600px;margin:4px 4px 16px;vertical-align:top}\
    figcaption{font-weight:bold}figure p{margin:2px 0;font-size:80%;color:#555}\
    figure span{margin-right:1em;font-size:80%;white-space:nowrap}";

/// Text in HTML.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_filled_in_as_grafana_does() {
        let request = |period_secs, scrape_secs, instance| Request {
            instance,
            until_secs: 1_000_000,
            period_secs,
            scrape_secs,
        };
        let cases = [
            (
                "never shorter than four scrapes",
                request(3600, 15, ".*"),
                "rate(a{i=~\".*\"}[60s])",
            ),
            (
                "a step and a scrape of a long period",
                request(86_400, 15, ".*"),
                "rate(a{i=~\".*\"}[375s])",
            ),
            (
                "what is special in a string is escaped",
                request(3600, 15, "a\"\\d"),
                "rate(a{i=~\"a\\\"\\\\d\"}[60s])",
            ),
        ];
        for (sentence, request, expected) in cases {
            let filled = request.fill_in("rate(a{i=~\"$instance\"}[$__rate_interval])");
            assert_eq!(filled, expected, "{sentence}");
        }
    }
}
