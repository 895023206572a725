//! A year of the log on the disk: through the log as the daemon writes it, or as sealed files alone.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Result;
use cgn_user::maplog::directory::{Content, Hour, SealedName};
use cgn_user::maplog::encode::{Item, syslog};
use cgn_user::maplog::realms::Register;
use cgn_user::maplog::sealed::{Chained, Hash, Row, seal};
use cgn_user::maplog::sealer::{Retention, Sealer};
use cgn_user::maplog::{Entry, Log, Record};

use super::population::{Population, Probe};
use super::{GROUP, HOUR_MS, Options, START_MS, UNSYNCED};

pub(super) struct Year {
    pub events: u64,
    /// That were written in the time.
    pub days: u32,
    pub seconds: f64,
    pub probes: Vec<Probe>,
    pub line_bytes: f64,
}

pub(super) fn write_year(root: &Path, options: &Options, say: &impl Fn(&str)) -> Result<Year> {
    let mut writer = match options.is_direct {
        true => Writer::Sealed(Chain::new(root)),
        false => Writer::whole(root)?,
    };
    let hours = u64::from(options.days) * 24;
    let mut population = Population::new(options.subscribers, options.subscribers as usize * 2);
    let mut year = Year {
        events: 0,
        days: options.days,
        seconds: 0.0,
        probes: Vec::new(),
        line_bytes: 0.0,
    };
    let mut sample = Vec::new();
    let begun = Instant::now();
    for hour in 0..hours {
        if begun.elapsed() > options.most_time {
            year.days = (hour / 24) as u32;
            say(&format!(
                "    the time is up: a year of {} days and {} events",
                year.days, year.events
            ));
            break;
        }
        let wanted = options.enquiries as u64;
        let probes = (wanted * (hour + 1) / hours - wanted * hour / hours) as usize;
        let held = writer.wants_held(hour).then(|| population.held());
        let (entries, asked) = population.hour(START_MS, hour, probes);
        year.probes.extend(asked);
        year.events += entries.len() as u64;
        let started = Instant::now();
        writer.write(hour, &entries, held)?;
        year.seconds += started.elapsed().as_secs_f64();
        sample.extend(entries.iter().step_by(997));
        if hour % (24 * 30) == 0 {
            say(&format!(
                "    day {}: {} events so far, {:.0} s",
                hour / 24,
                year.events,
                begun.elapsed().as_secs_f64()
            ));
        }
    }
    year.line_bytes = line_bytes(&sample);
    Ok(year)
}

/// Mean bytes of the events as syslog lines.
fn line_bytes(sample: &[Entry]) -> f64 {
    let lines = sample.iter().enumerate().map(|(number, entry)| {
        let record = Record {
            sequence: number as u64 + 1,
            entry: *entry,
        };
        syslog::message(
            &Item::Record(record),
            "edge1.example.net",
            &Register::default(),
            None,
        )
        .len()
            + 1
    });
    lines.sum::<usize>() as f64 / sample.len().max(1) as f64
}

/// How an hour comes to the disk.
enum Writer {
    /// As in the daemon.
    Whole(Box<(Log, Sealer)>),
    Sealed(Chain),
}

impl Writer {
    fn whole(root: &Path) -> Result<Self> {
        let keep = Retention {
            days: None,
            sealed_bytes: None,
            spool_bytes: 0,
        };
        let (log, _) = Log::open(root, UNSYNCED)?;
        let sealer = Sealer::open(root, keep, None)?;
        Ok(Self::Whole(Box::new((log, sealer))))
    }

    /// Whether it must be told what is held when `hour` begins.
    fn wants_held(&self, hour: u64) -> bool {
        matches!(self, Self::Sealed(_)) && hour.is_multiple_of(24)
    }

    fn write(&mut self, hour: u64, entries: &[Entry], held: Option<Vec<Row>>) -> Result<()> {
        match self {
            Self::Whole(pair) => {
                let (log, sealer) = &mut **pair;
                for group in entries.chunks(GROUP) {
                    log.append(group)?;
                }
                log.end_hour(START_MS + (hour + 1) * HOUR_MS)?;
                sealer.turn(START_MS + hour * HOUR_MS)?;
                Ok(())
            }
            Self::Sealed(chain) => {
                let hour = Hour::of(START_MS + hour * HOUR_MS);
                if let Some(held) = held {
                    chain.seal(Content::Held, hour, held, 0)?;
                }
                let rows = entries.iter().map(|entry| Row::from(*entry)).collect();
                chain.seal(Content::Records, hour, rows, entries.len() as u64)
            }
        }
    }
}

/// Sealed files, each with the hash of the one before it.
struct Chain {
    root: PathBuf,
    next_sequence: u64,
    previous: Option<Hash>,
}

impl Chain {
    fn new(root: &Path) -> Self {
        Self {
            root: root.into(),
            next_sequence: 1,
            previous: None,
        }
    }

    fn seal(
        &mut self,
        content: Content,
        hour: Hour,
        mut rows: Vec<Row>,
        records: u64,
    ) -> Result<()> {
        let name = SealedName {
            first_sequence: self.next_sequence,
            content,
            hour,
        };
        let chained = Chained {
            first_sequence: self.next_sequence,
            next_sequence: self.next_sequence + records,
            previous: self.previous,
        };
        self.previous = Some(seal(
            &name.path(&self.root),
            &mut rows,
            &chained,
            &Register::default(),
        )?);
        self.next_sequence = chained.next_sequence;
        Ok(())
    }
}
