//! Plots over numbers of flows or ports, as SVG.

use anyhow::{Result, anyhow};
use plotters::prelude::{
    BLACK, ChartBuilder, Color, IntoDrawingArea as _, IntoFont as _, LineSeries, PathElement,
    RGBColor, SVGBackend, SeriesLabelPosition, WHITE,
};

/// Width and height of a plot.
const SIZE: (u32, u32) = (720, 360);
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

/// A line: its name, and its values by number of flows, or what else is counted across.
pub type Line = (String, Vec<(u64, f64)>);

/// Groups rows of one table into lines, in the order of their first appearance; what was not measured
/// is left out.
pub fn lines(rows: impl IntoIterator<Item = (String, u64, f64)>) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    for (name, flows, value) in rows.into_iter().filter(|(.., value)| value.is_finite()) {
        match lines.iter_mut().find(|(known, _)| *known == name) {
            Some((_, points)) => points.push((flows, value)),
            None => lines.push((name, vec![(flows, value)])),
        }
    }
    lines
}

/// Draws lines over what is counted `across`, on a logarithmic axis.
///
/// # Errors
/// There is nothing to draw.
pub fn svg(title: &str, (across, unit): (&str, &str), lines: &[Line]) -> Result<String> {
    let points = || lines.iter().flat_map(|(_, points)| points);
    let least = points().map(|point| point.0).min();
    let most = points().map(|point| point.0).max();
    let (Some(least), Some(most)) = (least, most) else {
        return Err(anyhow!("nothing to draw"));
    };
    let top = points().fold(0.0, |top: f64, point| top.max(point.1)) * 1.05;
    let range = (axis(least) - 0.3, axis(most) + 0.3);
    let mut svg = String::new();
    draw(
        &mut svg,
        (title, across, unit),
        lines,
        range,
        top.max(f64::MIN_POSITIVE),
    )
    .map_err(|error| anyhow!("cannot draw: {error}"))?;
    Ok(svg)
}

fn axis(flows: u64) -> f64 {
    (flows.max(1) as f64).log2()
}

fn draw(
    svg: &mut String,
    (title, across, unit): (&str, &str, &str),
    lines: &[Line],
    (from, to): (f64, f64),
    top: f64,
) -> std::result::Result<(), Box<dyn std::error::Error>> {
    let area = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .caption(title, ("sans-serif", 16).into_font())
        .margin(10)
        .x_label_area_size(36)
        .y_label_area_size(60)
        .build_cartesian_2d(from..to, 0.0..top)?;
    chart
        .configure_mesh()
        .light_line_style(WHITE)
        .x_desc(across)
        .y_desc(unit)
        .x_label_formatter(&|at| flows_text(*at))
        .draw()?;
    for (number, (name, points)) in lines.iter().enumerate() {
        let style = COLOURS[number % COLOURS.len()].stroke_width(2);
        chart
            .draw_series(LineSeries::new(
                points.iter().map(|(flows, value)| (axis(*flows), *value)),
                style,
            ))?
            .label(name)
            .legend(move |(x, y)| PathElement::new(vec![(x, y), (x + 16, y)], style));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .background_style(WHITE)
        .border_style(BLACK)
        .draw()?;
    area.present()?;
    Ok(())
}

fn flows_text(at: f64) -> String {
    let flows = at.exp2();
    match flows {
        _ if flows >= 1e6 => format!("{:.1} M", flows / 1e6),
        _ if flows >= 1e3 => format!("{:.0} k", flows / 1e3),
        _ => format!("{flows:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plot_has_each_line_and_its_name_and_nothing_is_an_error() {
        let rows = [
            ("ours", 1_008, 0.8),
            ("theirs", 1_008, 0.1),
            ("ours", 1_032_192, 0.5),
        ];
        let rows = rows.map(|(name, flows, value)| (name.to_owned(), flows, value));
        let mut lines = lines(rows);
        assert_eq!(
            lines[0],
            ("ours".to_owned(), vec![(1_008, 0.8), (1_032_192, 0.5)])
        );
        let svg = svg("a rig", ("flows", "ratio"), &lines).expect("two lines");
        assert!(
            svg.starts_with("<svg") && svg.contains("ours") && svg.contains("theirs"),
            "{svg}"
        );
        lines.clear();
        assert!(super::svg("a rig", ("flows", "ratio"), &lines).is_err());
    }

    #[test]
    fn what_was_not_measured_is_no_point() {
        assert!(lines([("ours".to_owned(), 1, f64::NAN)]).is_empty());
    }
}
