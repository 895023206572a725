//! One picture of `cgn top`. Pure: a model in, cells out.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Paragraph, Row, Sparkline, Table};

use super::model::{Model, Rates, total};
use crate::api::rows::Top;
use crate::cli::listing::named;

const HEAD: Style = Style::new().add_modifier(Modifier::BOLD);
/// Lines of a sparkline.
const SPARK: u16 = 4;

/// Draws everything that fits.
pub fn draw(frame: &mut Frame<'_>, model: &Model) {
    let pools = model.now().map_or(0, |top| top.pools.len()) as u16;
    let [title, traffic, pool, reasons, subscribers] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(SPARK + 2),
        Constraint::Length((pools + 3).min(10)),
        Constraint::Fill(1),
        Constraint::Fill(1),
    ])
    .areas(frame.area());
    frame.render_widget(headline(model), title);
    let [outbound, inbound, dropped] = Layout::horizontal([Constraint::Fill(1); 3]).areas(traffic);
    let rates = model.rates();
    let speed = |name: &str, at: usize| {
        let (packets, bits) = (scaled(rates.packets[at]), scaled(rates.bits[at]));
        format!(" {name} {packets}pps {bits}bit/s ")
    };
    let green = Style::new().fg(Color::Green);
    spark(frame, outbound, model, (speed("out", 0), green), |rates| {
        rates.packets[0]
    });
    spark(frame, inbound, model, (speed("in", 1), green), |rates| {
        rates.packets[1]
    });
    let text = format!(" dropped {}pps ", scaled(rates.dropped));
    let red = Style::new().fg(Color::Red);
    spark(frame, dropped, model, (text, red), |rates| rates.dropped);
    draw_pools(frame, pool, model);
    draw_reasons(frame, reasons, model);
    draw_subscribers(frame, subscribers, model);
}

fn headline(model: &Model) -> Paragraph<'_> {
    if let Some(trouble) = &model.trouble {
        let text = format!("cgn top: {trouble}; trying again");
        return Paragraph::new(text).style(Style::new().fg(Color::Red));
    }
    let Some(Top { mappings, .. }) = model.now() else {
        return Paragraph::new("cgn top: waiting for the daemon");
    };
    let created = scaled(model.rates().created);
    let (tcp, udp, icmp) = (
        scaled(mappings.tcp),
        scaled(mappings.udp),
        scaled(mappings.icmp),
    );
    Paragraph::new(Line::from(vec![
        Span::styled("cgn top", HEAD),
        Span::raw(format!(
            "  mappings: {tcp}tcp {udp}udp {icmp}icmp, {created}new/s  (q: quit)"
        )),
    ]))
}

fn spark(
    frame: &mut Frame<'_>,
    area: Rect,
    model: &Model,
    (title, style): (String, Style),
    of: impl Fn(&Rates) -> u64,
) {
    let block = Block::bordered().title(title);
    let values = model.history(block.inner(area).width.into(), of);
    let sparkline = Sparkline::default().block(block).data(values).style(style);
    frame.render_widget(sparkline, area);
}

fn draw_pools(frame: &mut Frame<'_>, area: Rect, model: &Model) {
    let head = [
        "POOL",
        "SUBSCRIBERS",
        "ADDRESSES",
        "BLOCKS USED",
        "HELD",
        "FREE",
        "MAPPINGS",
        "REFUSED/s",
    ];
    let rows = model.pools().into_iter().map(|(row, refused)| {
        let addresses = format!("{}/{}", row.addresses_used, row.addresses);
        Row::new([
            row.pool.clone(),
            row.subscribers.to_string(),
            addresses,
            row.blocks_used.to_string(),
            row.blocks_held.to_string(),
            row.blocks_free.to_string(),
            row.mappings.sum().to_string(),
            refused.to_string(),
        ])
        .style(warned(refused > 0 || row.blocks_free == 0))
    });
    table(frame, area, " pools ", head, rows);
}

fn draw_reasons(frame: &mut Frame<'_>, area: Rect, model: &Model) {
    let head = ["REASON", "EFFECT", "PACKETS/s", "PACKETS"];
    let rows = model.reasons().into_iter().map(|(row, rate)| {
        let cells = [
            row.reason.clone(),
            row.effect.clone(),
            rate.to_string(),
            total(row).to_string(),
        ];
        Row::new(cells).style(warned(rate > 0 && row.effect == "drop"))
    });
    table(frame, area, " not translated ", head, rows);
}

fn draw_subscribers(frame: &mut Frame<'_>, area: Rect, model: &Model) {
    let head = [
        "SUBSCRIBER",
        "EXTERNAL",
        "POOL",
        "BLOCKS",
        "TCP",
        "UDP",
        "ICMP",
        "OF",
        "CHANGE",
    ];
    let rows = model.subscribers().into_iter().map(|(row, change)| {
        let external = row
            .external
            .map_or_else(String::new, |address| address.to_string());
        let change = change.map_or_else(String::new, |change| format!("{change:+}"));
        Row::new([
            named(&row.realm, row.inside),
            external,
            row.pool.clone(),
            row.blocks.to_string(),
            row.ports_used.tcp.to_string(),
            row.ports_used.udp.to_string(),
            row.ports_used.icmp.to_string(),
            row.ports_usable.to_string(),
            change,
        ])
        .style(warned(row.refused))
    });
    table(frame, area, " subscribers by ports in use ", head, rows);
}

fn table<'a, const N: usize>(
    frame: &mut Frame<'_>,
    area: Rect,
    title: &'a str,
    head: [&'a str; N],
    rows: impl Iterator<Item = Row<'a>>,
) {
    // The first column has the names, which are long.
    let widths = (0..N).map(|at| match at {
        0 => Constraint::Min(22),
        // And the second may have an address.
        1 => Constraint::Min(15),
        _ => Constraint::Fill(1),
    });
    let table = Table::new(rows, widths)
        .header(Row::new(head).style(HEAD))
        .block(Block::bordered().title(title));
    frame.render_widget(table, area);
}

fn warned(is_bad: bool) -> Style {
    match is_bad {
        true => Style::new().fg(Color::Yellow),
        false => Style::new(),
    }
}

/// A number with three digits or four and a space, or the letter for its size: `950 `, `12.3 k`.
#[must_use]
pub fn scaled(number: u64) -> String {
    let mut value = number as f64;
    for unit in ["", "k", "M", "G", "T"] {
        if value < 1000.0 || unit == "T" {
            return match unit {
                "" => format!("{number} "),
                _ if value < 100.0 => format!("{value:.1} {unit}"),
                _ => format!("{value:.0} {unit}"),
            };
        }
        value /= 1000.0;
    }
    unreachable!("T is the last unit")
}
