//! The same day's traffic on record session by session, in the product's own encodings, to compare
//! with blocks.

use std::collections::BTreeMap;
use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;

use anyhow::Result;
use cgn_user::maplog::directory::{Content, Hour, SealedName};
use cgn_user::maplog::encode::{Item, syslog};
use cgn_user::maplog::realms::Register;
use cgn_user::maplog::sealed::{Chained, Row, seal};
use cgn_user::maplog::{Entry, Event, Protocol, Record, Remote, Session};

use super::{HOUR_MS, START_MS};

/// RFC 7422 section 1: connections of a household in a day.
const SESSIONS_A_DAY: u64 = 33_000;
/// As many subscribers are generated; the day of one is told.
const SUBSCRIBERS: u64 = 50;
const MEAN_MS: f64 = 60_000.0;
/// Servers that most sessions go to, and in how many of a hundred cases.
const POPULAR: u64 = 5_000;
const POPULAR_PERCENT: u64 = 80;
/// Every so many records is measured as a line.
const SAMPLED: usize = 101;

/// Bytes of a subscriber's day.
#[derive(Debug, Clone, Copy)]
pub struct Volume {
    /// Sealed, each mapping with begin and end.
    pub sessions: f64,
    /// The same with destinations.
    pub with_destinations: f64,
    /// With destinations as lines of syslog.
    pub lines: f64,
}

/// Generates a day and writes it into `root`, once with and once without destinations.
///
/// # Errors
/// The folder cannot be written.
pub fn measure(root: &Path) -> Result<Volume> {
    measure_of(root, SUBSCRIBERS, SESSIONS_A_DAY)
}

fn measure_of(root: &Path, subscribers: u64, sessions: u64) -> Result<Volume> {
    let mut traffic = Traffic(0x1234_5678_9abc_def0);
    let hours = traffic.day(subscribers, sessions);
    let mut bytes = [0.0; 2];
    for (number, has_destinations) in [false, true].into_iter().enumerate() {
        let root = root.join(number.to_string());
        bytes[number] = sealed_bytes(&root, &hours, has_destinations)? / subscribers as f64;
        fs::remove_dir_all(&root)?;
    }
    let all = hours.iter().flatten();
    let (mut lines, mut count) = (0, 0);
    for entry in all.clone().step_by(SAMPLED) {
        let record = Record {
            sequence: 1_000_000,
            entry: *entry,
        };
        lines += syslog::message(
            &Item::Record(record),
            "edge1.example.net",
            &Register::default(),
            None,
        )
        .len()
            + 1;
        count += 1;
    }
    Ok(Volume {
        sessions: bytes[0],
        with_destinations: bytes[1],
        lines: lines as f64 / f64::from(count) * all.count() as f64 / subscribers as f64,
    })
}

fn sealed_bytes(root: &Path, hours: &[Vec<Entry>], has_destinations: bool) -> Result<f64> {
    let mut bytes = 0;
    let mut chained = Chained {
        first_sequence: 1,
        next_sequence: 1,
        previous: None,
    };
    for (hour, entries) in hours.iter().enumerate() {
        let mut rows: Vec<Row> = entries
            .iter()
            .map(|entry| match has_destinations {
                true => Row::from(*entry),
                false => Row::from(without_destination(entry)),
            })
            .collect();
        let name = SealedName {
            first_sequence: chained.next_sequence,
            content: Content::Records,
            hour: Hour::of(START_MS + hour as u64 * HOUR_MS),
        };
        chained.first_sequence = chained.next_sequence;
        chained.next_sequence += rows.len() as u64;
        let path = name.path(root);
        chained.previous = Some(seal(&path, &mut rows, &chained, &Register::default())?);
        bytes += fs::metadata(&path)?.len();
    }
    Ok(bytes as f64)
}

fn without_destination(entry: &Entry) -> Entry {
    let bare = |session: Session| Session {
        remote: None,
        ..session
    };
    Entry {
        event: match entry.event {
            Event::Open(session) => Event::Open(bare(session)),
            Event::Close(session) => Event::Close(bare(session)),
            other => other,
        },
        ..*entry
    }
}

/// A generator of random numbers, the same at every run.
struct Traffic(u64);

impl Traffic {
    /// The events of each hour, in the order of time.
    fn day(&mut self, subscribers: u64, sessions: u64) -> Vec<Vec<Entry>> {
        let mut events: BTreeMap<(u64, u64), Event> = BTreeMap::new();
        for number in 0..subscribers * sessions {
            let session = self.session(number % subscribers);
            let begin = self.next() % (24 * HOUR_MS);
            let end = begin + self.duration_ms();
            events.insert((begin, 2 * number), Event::Open(session));
            events.insert((end, 2 * number + 1), Event::Close(session));
        }
        let mut hours = vec![Vec::new(); 24];
        for ((at_ms, _), event) in events {
            // What goes on at the end of the day ends in its last hour: as many records.
            let hour = (at_ms / HOUR_MS).min(23);
            let unix_ms = START_MS + at_ms.min(24 * HOUR_MS - 1);
            hours[hour as usize].push(Entry { unix_ms, event });
        }
        hours
    }

    fn session(&mut self, subscriber: u64) -> Session {
        let server = match self.next() % 100 < POPULAR_PERCENT {
            // The more popular, the lower: a square law.
            true => {
                0x0808_0000 + (self.next() % POPULAR * (self.next() % POPULAR) / POPULAR) as u32
            }
            false => self.next() as u32 | 1,
        };
        let (protocol, port) = match self.next() % 10 {
            0..=4 => (Protocol::Tcp, 443),
            5..=6 => (Protocol::Udp, 443),
            7 => (Protocol::Udp, 53),
            8 => (Protocol::Tcp, 80),
            _ => (Protocol::Udp, 1024 + (self.next() % 60_000) as u16),
        };
        Session {
            external: Ipv4Addr::from_bits(0xb900_0000 + subscriber as u32 / 126),
            external_port: 1024 + (subscriber % 126 * 512 + self.next() % 512) as u16,
            protocol,
            realm: 0,
            inside: Ipv4Addr::from_bits(0x6440_0000 + subscriber as u32),
            inside_port: 32_768 + (self.next() % 28_232) as u16,
            remote: Some(Remote {
                address: Ipv4Addr::from_bits(server),
                port,
            }),
        }
    }

    /// Exponential.
    fn duration_ms(&mut self) -> u64 {
        let uniform = ((self.next() >> 11) + 1) as f64 / (1_u64 << 53) as f64;
        (-uniform.ln() * MEAN_MS) as u64
    }

    /// SplitMix64.
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use cgn_user::policy::sizing::STORED_BYTES;

    use super::super::year::write_year;
    use super::super::{Folder, Options, sealed_bytes};
    use super::*;

    #[test]
    fn the_same_load_takes_a_thousandth_in_blocks() {
        let name = format!("cgn-volume-{}", std::process::id());
        let folder = Folder(std::env::temp_dir().join(name));
        let options = Options {
            subscribers: 3000,
            days: 2,
            most_time: Duration::from_secs(600),
            enquiries: 0,
            folder: folder.0.clone(),
            is_direct: true,
        };
        let root = folder.0.join("blocks");
        let days = write_year(&root, &options, &|_| ()).expect("two days");
        let stored = sealed_bytes(&root).expect("files") as f64;
        // So many subscribers fill files of an hour well enough for what `cgn advise sizing` counts with.
        let each = stored / days.events as f64;
        assert!(each < STORED_BYTES, "{each:.2} bytes an event");
        let day = stored / (3000.0 * 2.0);
        // A tenth of a day's sessions.
        let volume = measure_of(&folder.0, 5, SESSIONS_A_DAY / 10).expect("a day");
        for bytes in [volume.sessions, volume.with_destinations, volume.lines] {
            assert!(10.0 * bytes > 1000.0 * day, "{volume:?}, {day} in blocks");
        }
        assert!(volume.sessions < volume.with_destinations);
        assert!(volume.with_destinations < volume.lines / 10.0, "{volume:?}");
    }
}
