//! What `bench log` prints.

use std::fmt::Write as _;

use serde_json::{Value, json as object};

use super::{Figures, median, quantile};

/// One object with the figures by name.
#[must_use]
pub fn json(figures: &Figures) -> Value {
    object!({
        "bytes_per_event": figures.bytes_per_event(),
        "who_ms_median": median(&figures.who_ms),
        "events": figures.events,
        "events_per_second": figures.committed_per_second,
        "durable_ms_median": median(&figures.durable_ms),
        "reduction": figures.reduction(),
        "subscribers": figures.subscribers,
        "days": figures.days,
        "is_direct": figures.is_direct,
        "sealed_bytes": figures.sealed_bytes,
        "sealed_per_second": figures.sealed_per_second,
        "who_ms_99_percent": quantile(&figures.who_ms, 0.99),
        "bare_sync_ms_median": median(&figures.bare_sync_ms),
        "durable_ms_99_percent": quantile(&figures.durable_ms, 0.99),
        "syslog_line_bytes": figures.line_bytes,
        "subscriber_day_bytes": figures.day_bytes(),
        "subscriber_day_session_bytes": figures.volume.sessions,
        "subscriber_day_session_with_destination_bytes": figures.volume.with_destinations,
        "subscriber_day_session_lines_bytes": figures.volume.lines,
    })
}

/// Figures, goals and method.
#[must_use]
pub fn table(figures: &Figures) -> String {
    let met = |is_met: bool| if is_met { "met" } else { "not met" };
    let mut text = String::new();
    let mut line = |name: &str, value: String, goal: &str, is_met: bool| {
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "{name:<44} {value:>16}   goal {goal:<12} {}",
            met(is_met)
        );
    };
    let bytes = figures.bytes_per_event();
    line(
        "bytes of a block event, sealed",
        format!("{bytes:.2}"),
        "8",
        bytes <= 8.0,
    );
    let who = median(&figures.who_ms);
    line(
        "who, median of warm enquiries, ms",
        format!("{who:.2}"),
        "20",
        who <= 20.0,
    );
    let rate = figures.committed_per_second;
    line(
        "events encoded and committed per second",
        format!("{rate:.0}"),
        "500000",
        rate >= 5e5,
    );
    let durable = median(&figures.durable_ms);
    line(
        "allocation to disk under load, median ms",
        format!("{durable:.2}"),
        "5",
        durable <= 5.0,
    );
    let bare = median(&figures.bare_sync_ms);
    let reduction = figures.reduction();
    line(
        "session text logs against sealed files",
        format!("{reduction:.0}:1"),
        "1000:1",
        reduction >= 1e3,
    );
    let _ = writeln!(
        text,
        "\n{} events of {} subscribers in {} days: {} bytes sealed, {:.0} events per second {} on one thread;\n\
         who: {} enquiries, every answer right, 99 % within {:.2} ms;\n\
         to disk: 99 % within {:.2} ms; a bare fdatasync of one page, just before and after: median {bare:.2} ms, so the way\n\
         to the disk takes {:.1} of them.\n\
         Reduction: RFC 7768's 42.5 TB of session logs; its 40.6 GB of block logs as lines of {:.0} bytes (our syslog), sealed.",
        figures.events,
        figures.subscribers,
        figures.days,
        figures.sealed_bytes,
        figures.sealed_per_second,
        match figures.is_direct {
            true => "sealed (no write-ahead segments)",
            false => "written and sealed",
        },
        figures.who_ms.len(),
        quantile(&figures.who_ms, 0.99),
        quantile(&figures.durable_ms, 0.99),
        durable / bare,
        figures.line_bytes,
    );
    let (day, volume) = (figures.day_bytes(), &figures.volume);
    let _ = writeln!(
        text,
        "A subscriber's day, sealed: {day:.1} bytes in blocks; with 33,000 sessions {:.0} session by session ({:.0}:1), {:.0} with\n\
         destinations ({:.0}:1), {:.0} as lines of syslog ({:.0}:1).",
        volume.sessions,
        volume.sessions / day,
        volume.with_destinations,
        volume.with_destinations / day,
        volume.lines,
        volume.lines / day,
    );
    text
}
