//! `bench sharing`: how ports may be shared out, and what each way costs: flows that are refused, addresses,
//! bytes of the log. A model over the households of [`browsing`](super::browsing); nothing of the CGN runs.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::fmt::Write as _;

use cgn_user::config::schema::{Hold, Timeouts};
use cgn_user::maplog::RECORD_BYTES;

use super::browsing::{Connection, HOUR_SECS, HTTP_1, HTTP_2, hour};
use crate::packets::mutate::Dice;

/// Ports of an external address: those below 1024 are left out.
const PORTS_OF_AN_ADDRESS: u64 = 64_512;
/// What a household may have in all, where blocks are given on demand.
const MOST_PORTS: u32 = 4096;
/// Devices of a household that are at work at once: so many of sixteen households have so many.
const DEVICES: [usize; 16] = [0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 2, 2, 2, 3, 3, 5];

/// How ports come to households.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// So many for each household, always; nothing is logged (RFC 7422).
    Static(u32),
    /// Blocks of so many on demand, back when they were idle; a record for each.
    Blocks(u32),
    /// Any port for each connection; a record when it is taken, and one when it is free.
    Dynamic,
    /// The same, and one port serves several connections to different servers: the record needs the
    /// server, and mapping and filtering depend on it.
    Overlap,
}

/// What one scheme did in the hour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    pub connections: u64,
    pub refused: u64,
    /// External addresses that it takes at the busiest second.
    pub addresses: u64,
    pub log_bytes: u64,
}

impl Scheme {
    /// All that are looked at.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let sizes = || (6..=12).map(|shift| 1 << shift);
        let given = sizes().map(Self::Static).chain(sizes().map(Self::Blocks));
        given.chain([Self::Dynamic, Self::Overlap]).collect()
    }

    /// Its name, and the ports of its unit.
    #[must_use]
    pub fn named(self) -> (&'static str, Option<u32>) {
        match self {
            Self::Static(ports) => ("static", Some(ports)),
            Self::Blocks(ports) => ("blocks", Some(ports)),
            Self::Dynamic => ("dynamic", None),
            Self::Overlap => ("overlap", None),
        }
    }

    /// Shares out the ports of an hour.
    #[must_use]
    pub fn run(self, households: &[Vec<Connection>]) -> Outcome {
        let mut outcome = Outcome {
            connections: households.iter().map(|one| one.len() as u64).sum(),
            ..Outcome::default()
        };
        match self {
            Self::Static(ports) => {
                let sizes = households.iter().map(|one| refused_by(ports, one));
                outcome.refused = sizes.sum();
                let each = PORTS_OF_AN_ADDRESS / u64::from(ports);
                outcome.addresses = (households.len() as u64).div_ceil(each);
            }
            Self::Blocks(ports) => blocks(ports, households, &mut outcome),
            Self::Dynamic | Self::Overlap => self.by_connection(households, &mut outcome),
        }
        outcome
    }

    fn by_connection(self, households: &[Vec<Connection>], outcome: &mut Outcome) {
        // Only connections to one server need different ports, where they may overlap.
        let mut taken: BTreeMap<usize, Busy> = BTreeMap::new();
        for one in households.iter().flatten() {
            let key = if self == Self::Overlap { one.server } else { 0 };
            let busy = taken.entry(key).or_default();
            busy.add(one.opened, freed(one));
        }
        let ports = taken.values().map(Busy::most).max().unwrap_or(0);
        outcome.addresses = ports.div_ceil(PORTS_OF_AN_ADDRESS);
        outcome.log_bytes = 2 * outcome.connections * RECORD_BYTES as u64;
    }
}

/// How many are in use, over time.
#[derive(Clone, Debug, Default)]
struct Busy(BTreeMap<u32, i64>);

impl Busy {
    fn add(&mut self, from: u32, to: u32) {
        *self.0.entry(from).or_default() += 1;
        *self.0.entry(to).or_default() -= 1;
    }

    /// The most at once.
    fn most(&self) -> u64 {
        let steps = self.0.values().scan(0, |now, step| {
            *now += step;
            Some(*now)
        });
        steps.max().unwrap_or(0).max(0) as u64
    }
}

/// When a connection's port may be used again: after TIME_WAIT and hold.
fn freed(one: &Connection) -> u32 {
    let (timeouts, hold) = (Timeouts::default(), Hold::default());
    one.opened + one.open_secs + timeouts.tcp_closing_secs + hold.port_secs
}

/// Connections that a household of so many ports is refused.
fn refused_by(ports: u32, household: &[Connection]) -> u64 {
    let (mut in_use, mut refused) = (BinaryHeap::new(), 0);
    for one in household {
        while in_use.peek().is_some_and(|Reverse(end)| *end <= one.opened) {
            in_use.pop();
        }
        if in_use.len() < ports as usize {
            in_use.push(Reverse(freed(one)));
        } else {
            refused += 1;
        }
    }
    refused
}

/// A block in a household's hands: since when, and when its ports are free again.
struct Block {
    since: u32,
    in_use: BinaryHeap<Reverse<u32>>,
    last_free: u32,
}

fn blocks(ports: u32, households: &[Vec<Connection>], outcome: &mut Outcome) {
    let mut busy = Busy::default();
    for household in households {
        let mut mine: Vec<Block> = Vec::new();
        let mut gone = Vec::new();
        for one in household {
            release(&mut mine, one.opened, &mut gone);
            let room = mine
                .iter()
                .position(|block| block.in_use.len() < ports as usize);
            let at = match room {
                Some(at) => at,
                None if mine.len() < (MOST_PORTS / ports) as usize => {
                    mine.push(Block {
                        since: one.opened,
                        in_use: BinaryHeap::new(),
                        last_free: 0,
                    });
                    mine.len() - 1
                }
                None => {
                    outcome.refused += 1;
                    continue;
                }
            };
            let end = freed(one);
            mine[at].in_use.push(Reverse(end));
            mine[at].last_free = mine[at].last_free.max(end);
        }
        release(&mut mine, u32::MAX, &mut gone);
        for (since, until) in gone {
            busy.add(since, until + Hold::default().block_secs);
            // Who keeps one through the hour's end has not written its end.
            let records = if until < HOUR_SECS { 2 } else { 1 };
            outcome.log_bytes += records * RECORD_BYTES as u64;
        }
    }
    let each = PORTS_OF_AN_ADDRESS / u64::from(ports);
    outcome.addresses = busy.most().div_ceil(each);
}

/// Frees ports, and takes blocks back that were idle for long enough.
fn release(mine: &mut Vec<Block>, now: u32, gone: &mut Vec<(u32, u32)>) {
    mine.retain_mut(|block| {
        while block.in_use.peek().is_some_and(|Reverse(end)| *end <= now) {
            block.in_use.pop();
        }
        let until = block.last_free + Hold::default().block_idle_secs;
        let is_idle = block.in_use.is_empty() && until <= now;
        if is_idle {
            gone.push((block.since, until));
        }
        !is_idle
    });
}

/// Households that browse, half by HTTP/1.1; the same every time.
#[must_use]
pub fn population(households: usize) -> Vec<Vec<Connection>> {
    let mut dice = Dice::new(0x6269);
    (0..households as u64)
        .map(|number| {
            let devices = DEVICES[dice.roll(DEVICES.len())];
            let most = [HTTP_1, HTTP_2][dice.roll(2)];
            hour(devices, most, number + 1)
        })
        .collect()
}

/// Each scheme with what it did.
pub type Rows = Vec<(Scheme, Outcome)>;

/// All schemes over so many households.
#[must_use]
pub fn simulate(households: usize) -> Rows {
    let population = population(households);
    let run = |scheme: Scheme| (scheme, scheme.run(&population));
    Scheme::all().into_iter().map(run).collect()
}

/// Per cent of connections that were refused.
#[must_use]
pub fn refused_percent(outcome: &Outcome) -> f64 {
    100.0 * outcome.refused as f64 / outcome.connections.max(1) as f64
}

/// A line for each scheme, between `between`s.
fn lines(rows: &Rows, heading: &str, line: impl Fn(&str, &str, &Outcome) -> String) -> String {
    let mut text = heading.to_owned();
    for (scheme, outcome) in rows {
        let (name, ports) = scheme.named();
        let ports = ports.map_or_else(|| "-".to_owned(), |ports| ports.to_string());
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{}", line(name, &ports, outcome));
    }
    text
}

/// For people.
#[must_use]
pub fn table(rows: &Rows, households: usize) -> String {
    let heading = format!(
        "{households} households, one hour\n\n| scheme | ports | refused % | addresses | log bytes a household |\n\
         |---|---:|---:|---:|---:|\n"
    );
    lines(rows, &heading, |name, ports, outcome| {
        let log = outcome.log_bytes as f64 / households.max(1) as f64;
        let (refused, addresses) = (refused_percent(outcome), outcome.addresses);
        format!("| {name} | {ports} | {refused:.2} | {addresses} | {log:.0} |")
    })
}

/// For programs.
#[must_use]
pub fn csv(rows: &Rows) -> String {
    let heading = "scheme,ports,connections,refused,addresses,log_bytes\n";
    lines(rows, heading, |name, ports, outcome| {
        let ports = ports.trim_matches('-');
        let Outcome {
            connections,
            refused,
            addresses,
            log_bytes,
        } = outcome;
        format!("{name},{ports},{connections},{refused},{addresses},{log_bytes}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection(opened: u32, server: usize) -> Connection {
        Connection {
            opened,
            open_secs: 10,
            page: 0,
            server,
        }
    }

    /// A port is free again 370 s after its connection began, a block 60 s after that, and another's
    /// 120 s later.
    #[test]
    fn small_worlds_that_can_be_counted_by_hand() {
        let burst =
            |count| -> Vec<Connection> { (0..count).map(|server| connection(0, server)).collect() };
        let again = vec![connection(0, 0), connection(369, 0), connection(1000, 0)];
        type World = Vec<Vec<Connection>>;
        // What, scheme, households; refused, addresses, records.
        let cases: [(&str, Scheme, World, [u64; 3]); 8] = [
            (
                "a static share is all",
                Scheme::Static(64),
                vec![burst(70)],
                [6, 1, 0],
            ),
            (
                "an address has 15 shares of 4,096",
                Scheme::Static(4096),
                vec![burst(1); 16],
                [0, 2, 0],
            ),
            (
                "a port in hold is not free, one later is",
                Scheme::Static(1),
                vec![again.clone()],
                [1, 1, 0],
            ),
            (
                "70 ports are two blocks, both given back",
                Scheme::Blocks(64),
                vec![burst(70)],
                [0, 1, 4],
            ),
            (
                "no household has more than 4,096 ports",
                Scheme::Blocks(4096),
                vec![burst(4100)],
                [4, 1, 2],
            ),
            (
                "a block that was idle is given back, and another given",
                Scheme::Blocks(64),
                vec![again],
                [0, 1, 4],
            ),
            (
                "an address has 64,512 ports",
                Scheme::Dynamic,
                vec![burst(64_513)],
                [0, 2, 2 * 64_513],
            ),
            (
                "different servers share one port",
                Scheme::Overlap,
                vec![burst(64_513)],
                [0, 1, 2 * 64_513],
            ),
        ];
        for (sentence, scheme, households, [refused, addresses, records]) in cases {
            let outcome = scheme.run(&households);
            let wanted = Outcome {
                connections: outcome.connections,
                refused,
                addresses,
                log_bytes: records * RECORD_BYTES as u64,
            };
            assert_eq!(outcome, wanted, "{sentence}");
        }
    }

    #[test]
    fn every_scheme_is_in_table_and_file() {
        let rows = simulate(40);
        let (table, csv) = (table(&rows, 40), csv(&rows));
        assert_eq!(csv.lines().count(), 1 + Scheme::all().len());
        for (scheme, _) in &rows {
            let (name, _) = scheme.named();
            assert!(table.contains(&format!("| {name} |")) && csv.contains(&format!("\n{name},")));
        }
    }

    /// More ports refuse less, and take more addresses.
    #[test]
    fn the_trade_is_seen() {
        let rows = simulate(200);
        let of = |name: &str| -> Vec<Outcome> {
            let named = rows.iter().filter(|(scheme, _)| scheme.named().0 == name);
            named.map(|(_, outcome)| *outcome).collect()
        };
        for pair in of("static").windows(2) {
            assert!(pair[0].refused >= pair[1].refused && pair[0].addresses <= pair[1].addresses);
        }
        let (shares, blocks) = (of("static"), of("blocks"));
        assert!(shares[0].refused > 0 && blocks.iter().all(|one| one.refused == 0));
        assert!(blocks[0].addresses < shares[6].addresses);
        assert!(blocks[0].log_bytes < of("dynamic")[0].log_bytes);
    }
}
