//! Lines of servers' logs that tell a client's address, port and time (RFC 6302).
//!
//! | server | what makes it log the port |
//! |---|---|
//! | nginx | `log_format cgn '$remote_addr:$remote_port - $remote_user [$time_local] "$request" ...'` |
//! | Apache | `LogFormat "%h:%{remote}p %l %u %t \"%r\" %>s %b" cgn` |
//! | Postfix | `smtpd_client_port_logging = yes` |
//! | sshd | nothing: it always does |
//!
//! Syslog lines may begin with RFC 3339 (`2026-03-03T14:03:07+01:00`) or with `Mar  3 14:03:07`, which
//! has neither year nor zone.

use std::net::Ipv4Addr;

use crate::utc::Utc;
use crate::utc::{Day, offset_ms, time_of_day};

/// What lines without year and zone are to mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Defaults {
    pub year: u64,
    /// How far the server's clock is ahead of UTC, in milliseconds.
    pub offset_ms: i64,
}

/// Who came when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Visit {
    pub external: Ipv4Addr,
    pub port: u16,
    /// Milliseconds of Unix time.
    pub unix_ms: u64,
}

const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];
const MINUTE_MS: i64 = 60_000;

/// The visit that a line tells of; None if it tells of none, or not of all three.
#[must_use]
pub fn parse(line: &str, defaults: &Defaults) -> Option<Visit> {
    web(line).or_else(|| syslog(line, defaults))
}

/// `203.0.113.5:40123 - - [03/Mar/2026:14:03:07 +0100] "GET / HTTP/1.1" 200 5`
fn web(line: &str) -> Option<Visit> {
    let (client, _) = line.split_once(' ')?;
    let (external, port) = address_and_port(client)?;
    let (_, rest) = line.split_once('[')?;
    let (time, _) = rest.split_once(']')?;
    let (local, zone) = time.split_once(' ')?;
    let (date, clock) = local.split_once(':')?;
    let mut parts = date.split('/');
    let day: u64 = parts.next()?.parse().ok()?;
    let month = month(parts.next()?)?;
    let year: u64 = parts.next()?.parse().ok()?;
    let unix_ms = unix_ms(Day::of_date(year, month, day)?, clock, offset_ms(zone)?)?;
    Some(Visit {
        external,
        port,
        unix_ms,
    })
}

fn syslog(line: &str, defaults: &Defaults) -> Option<Visit> {
    let (unix_ms, rest) = syslog_time(line, defaults)?;
    let (external, port) = sshd(rest).or_else(|| postfix(rest))?;
    Some(Visit {
        external,
        port,
        unix_ms,
    })
}

fn syslog_time<'a>(line: &'a str, defaults: &Defaults) -> Option<(u64, &'a str)> {
    let (first, rest) = line.split_once(' ')?;
    if let Some(Utc(unix_ms)) = Utc::parse(first) {
        return Some((unix_ms, rest));
    }
    let month = month(first)?;
    let (day, rest) = rest.trim_start().split_once(' ')?;
    let (clock, rest) = rest.split_once(' ')?;
    let day = Day::of_date(defaults.year, month, day.parse().ok()?)?;
    Some((unix_ms(day, clock, defaults.offset_ms)?, rest))
}

/// `host sshd[812]: Accepted publickey for eve from 203.0.113.5 port 40123 ssh2`. The last `from`:
/// the name before it is the client's to choose.
fn sshd(rest: &str) -> Option<(Ipv4Addr, u16)> {
    let program = rest.split_ascii_whitespace().nth(1)?;
    if !program.starts_with("sshd") {
        return None;
    }
    let (before, after) = rest.rsplit_once(" port ")?;
    let port = after.split_ascii_whitespace().next()?.parse().ok()?;
    let address = before.rsplit(' ').next()?;
    Some((address.parse().ok()?, port))
}

/// `host postfix/smtpd[99]: connect from unknown[203.0.113.5]:40123`
fn postfix(rest: &str) -> Option<(Ipv4Addr, u16)> {
    let program = rest.split_ascii_whitespace().nth(1)?;
    if !program.starts_with("postfix/") {
        return None;
    }
    let (_, after) = rest.split_once('[').and_then(|_| {
        // The brackets of the program's number come first.
        rest.split_once(": ")
    })?;
    let (_, client) = after.split_once('[')?;
    let (address, port) = client.split_once("]:")?;
    let digits = port
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(port.len());
    Some((address.parse().ok()?, port[..digits].parse().ok()?))
}

fn address_and_port(text: &str) -> Option<(Ipv4Addr, u16)> {
    let (address, port) = text.rsplit_once(':')?;
    Some((address.parse().ok()?, port.parse().ok()?))
}

fn month(name: &str) -> Option<u64> {
    let at = MONTHS.iter().position(|known| *known == name)?;
    Some(at as u64 + 1)
}

fn unix_ms(day: Day, clock: &str, offset_ms: i64) -> Option<u64> {
    debug_assert_eq!(offset_ms % MINUTE_MS, 0);
    let local = (day.0 * 86_400_000 + time_of_day(clock)?) as i64;
    u64::try_from(local - offset_ms).ok()
}
