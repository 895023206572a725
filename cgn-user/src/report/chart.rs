//! Draws one plot.

use std::fmt::Write as _;

use plotters::prelude::{
    ChartBuilder, Circle, Color, IntoDrawingArea as _, LineSeries, RGBColor, SVGBackend, WHITE,
};

use super::dashboard::Plot;
use super::escaped;
use crate::utc::Utc;

/// Width and height of a plot.
const SIZE: (u32, u32) = (600, 220);
/// Colours of lines, far apart also for those who see few.
const COLOURS: [RGBColor; 8] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(90, 90, 90),
    RGBColor(160, 140, 0),
];

/// A plot with its data.
pub struct Chart<'a> {
    pub plot: &'a Plot,
    pub from_secs: u64,
    pub until_secs: u64,
    /// Between two points; a longer gap is one.
    pub step_secs: u64,
    pub lines: &'a [(String, Vec<(f64, f64)>)],
}

impl Chart<'_> {
    /// Title, description, picture and legend.
    pub fn html(&self) -> String {
        let mut legend = String::new();
        for (number, (name, points)) in self.lines.iter().enumerate() {
            let RGBColor(red, green, blue) = colour(number);
            let last = points.last().map_or(0.0, |(_, value)| *value);
            // Writing to a String cannot fail.
            let _ = write!(
                legend,
                "<span><b style=\"color:rgb({red},{green},{blue})\">&#9632;</b> {} {}</span> ",
                escaped(name),
                quantity(last, &self.plot.unit)
            );
        }
        if self.lines.is_empty() {
            legend.push_str("<span>nothing in this period</span>");
        }
        format!(
            "<figure><figcaption>{}</figcaption><p>{}</p>{}<div>{legend}</div></figure>\n",
            escaped(&self.plot.title),
            escaped(&self.plot.description),
            self.svg()
        )
    }

    fn svg(&self) -> String {
        let mut svg = String::new();
        if let Err(error) = self.draw(&mut svg) {
            // Only a backend that writes to files or screens fails.
            tracing::error!(%error, "a plot");
        }
        svg
    }

    fn draw(&self, svg: &mut String) -> Result<(), Box<dyn std::error::Error>> {
        let values = self.lines.iter().flat_map(|(_, points)| points);
        let highest = values.fold(0.0, |most: f64, (_, value)| most.max(*value));
        let top = if highest > 0.0 { highest * 1.05 } else { 1.0 };
        let area = SVGBackend::with_string(svg, SIZE).into_drawing_area();
        area.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&area)
            .margin(8)
            .margin_right(28)
            .x_label_area_size(24)
            .y_label_area_size(64)
            .build_cartesian_2d(self.from_secs as f64..self.until_secs as f64, 0.0..top)?;
        let period_secs = self.until_secs - self.from_secs;
        chart
            .configure_mesh()
            .light_line_style(WHITE)
            .x_labels(6)
            .y_labels(5)
            .x_label_formatter(&|at| time(*at, period_secs))
            .y_label_formatter(&|value| quantity(*value, &self.plot.unit))
            .draw()?;
        for (number, (_, points)) in self.lines.iter().enumerate() {
            let colour = colour(number);
            let gap = 1.5 * self.step_secs as f64;
            for part in points.chunk_by(|one, next| next.0 - one.0 <= gap) {
                let points = part.iter().copied();
                if part.len() == 1 {
                    // A line of one point would not be seen.
                    chart.draw_series(points.map(|at| Circle::new(at, 2, colour.filled())))?;
                } else {
                    chart.draw_series(LineSeries::new(points, colour.stroke_width(2)))?;
                }
            }
        }
        area.present()?;
        Ok(())
    }
}

fn colour(number: usize) -> RGBColor {
    COLOURS[number % COLOURS.len()]
}

/// Hour and minute in UTC; over more than two days the day; over minutes the second.
fn time(at_secs: f64, period_secs: u64) -> String {
    let text = Utc(at_secs as u64 * 1000).to_string();
    let part = match period_secs {
        0..1800 => 11..19,
        1800..172_800 => 11..16,
        _ => 5..10,
    };
    text.get(part).unwrap_or(&text).to_owned()
}

/// A value in Grafana's unit `unit`, with three digits.
fn quantity(value: f64, unit: &str) -> String {
    let (value, suffix) = match unit {
        "percentunit" => (value * 100.0, "%"),
        "s" if value != 0.0 && value < 1e-3 => (value * 1e6, "µs"),
        "s" if value != 0.0 && value < 1.0 => (value * 1e3, "ms"),
        "s" => (value, "s"),
        "bps" => (value, "bit/s"),
        "pps" => (value, "/s"),
        "bytes" => (value, "B"),
        _ => (value, ""),
    };
    let (value, prefix) = match value {
        _ if value >= 1e9 => (value / 1e9, "G"),
        _ if value >= 1e6 => (value / 1e6, "M"),
        _ if value >= 1e3 => (value / 1e3, "k"),
        _ => (value, ""),
    };
    let digits = match value {
        _ if value == 0.0 || value >= 100.0 => 0,
        _ if value >= 10.0 => 1,
        _ => 2,
    };
    let space = if prefix.is_empty() && suffix.is_empty() {
        ""
    } else {
        " "
    };
    format!("{value:.digits$}{space}{prefix}{suffix}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_have_three_digits_and_their_unit() {
        for (value, unit, text) in [
            (0.0, "pps", "0 /s"),
            (0.000_042, "s", "42.0 µs"),
            (0.25, "s", "250 ms"),
            (0.5, "percentunit", "50.0 %"),
            (1_234_567.0, "bps", "1.23 Mbit/s"),
            (7.0, "short", "7.00"),
            (65_536.0, "bytes", "65.5 kB"),
        ] {
            assert_eq!(quantity(value, unit), text, "{value} {unit}");
        }
    }

    #[test]
    fn times_are_as_fine_as_the_period() {
        for (period_secs, text) in [(600, "08:09:10"), (21_600, "08:09"), (604_800, "03-01")] {
            assert_eq!(time(1_740_816_550.0, period_secs), text, "{period_secs} s");
        }
    }

    #[test]
    fn a_gap_breaks_the_line_and_names_are_text() {
        let plot = Plot {
            title: "a < b".into(),
            description: String::new(),
            unit: "short".into(),
            queries: Vec::new(),
        };
        let draw = |points: &[(f64, f64)]| {
            let chart = Chart {
                plot: &plot,
                from_secs: 0,
                until_secs: 100,
                step_secs: 10,
                lines: &[("<b>".to_owned(), points.to_vec())],
            };
            chart.html()
        };
        let whole = draw(&[(0.0, 1.0), (10.0, 2.0), (20.0, 2.0), (30.0, 1.0)]);
        let broken = draw(&[(0.0, 1.0), (10.0, 2.0), (50.0, 2.0), (60.0, 1.0)]);
        let lines = |html: &str| html.matches("stroke=\"#0072B2\"").count();
        assert_eq!((lines(&whole), lines(&broken)), (1, 2), "{broken}");
        let lone = draw(&[(0.0, 1.0), (50.0, 2.0), (60.0, 2.0)]);
        let dots = |html: &str| html.matches("<circle").count();
        assert_eq!((dots(&whole), dots(&lone)), (0, 1), "{lone}");
        assert!(
            whole.contains("a &lt; b") && whole.contains("&lt;b&gt;") && !whole.contains("<b>")
        );
    }
}
