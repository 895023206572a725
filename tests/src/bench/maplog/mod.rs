//! `cargo xtask bench log`: how small the mapping log is, how fast it is written and asked.
//!
//! | module | what |
//! |---|---|
//! | `population` | subscribers that come and go for a year, and who had what when |
//! | `report` | the table, the goals, the JSON |
//! | `volume` | the same traffic on record session by session |
//! | `year` | the year on the disk: through the log, or as sealed files alone |

mod population;
mod report;
mod volume;
mod year;

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use cgn_user::maplog::directory;
use cgn_user::maplog::query::{Enquiry, Outcome, who};
use cgn_user::maplog::{Entry, Event, Log, LogOptions};

pub use report::{json, table};

use population::{Population, Probe};
use year::write_year;

/// 2025-01-01T00:00Z.
const START_MS: u64 = 1_735_689_600_000;
const HOUR_MS: u64 = 3_600_000;
/// Records of a group when a year is written: as many as one turn of the engine gives at most.
const GROUP: usize = 2048;
/// Records that are committed with the disk, to tell how many a second it takes.
const COMMITTED: usize = 2_000_000;
/// Allocations a second while their way to the disk is timed, and for how long.
const LOAD_PER_SECOND: f64 = 20_000.0;
const LOAD: Duration = Duration::from_secs(5);
/// Bare waits for the disk that it is compared with, before and after.
const BARE_SYNCS: u64 = 500;
/// RFC 7768 section 1: 20,000 subscribers for 60 days, logged per session and per block.
const RFC_SESSION_BYTES: f64 = 42.5e12;
const RFC_BLOCK_BYTES: f64 = 40.6e9;

/// What is measured.
#[derive(Debug, Clone)]
pub struct Options {
    pub subscribers: u32,
    pub days: u32,
    /// Longest time that the year is written; then it has fewer days.
    pub most_time: Duration,
    /// Enquiries; each is asked twice, and the second one counts.
    pub enquiries: usize,
    /// Where the log is written, and removed again.
    pub folder: PathBuf,
    /// The year is written as sealed files alone, by the sealer's own writer: no write-ahead
    /// segments, which a billion events would be copied through.
    pub is_direct: bool,
}

/// Events that a subscriber of [`Population`] makes a day, about.
const EVENTS_A_DAY: f64 = 2.9;
/// Bytes of disk that an event may take while the year is written: sealed, and the hour's segment.
const MOST_EVENT_BYTES: f64 = 12.0;

/// How many subscribers make about so many events in so many days.
#[must_use]
pub fn subscribers_for(events: u64, days: u32) -> u32 {
    (events as f64 / (f64::from(days) * EVENTS_A_DAY)).ceil() as u32
}

/// What came out.
#[derive(Debug, Clone)]
pub struct Figures {
    pub subscribers: u32,
    pub days: u32,
    /// See [`Options::is_direct`].
    pub is_direct: bool,
    pub events: u64,
    pub sealed_bytes: u64,
    /// Events of the year that were written (unless it is direct) and sealed per second, on one
    /// thread.
    pub sealed_per_second: f64,
    pub committed_per_second: f64,
    pub durable_ms: Vec<f64>,
    /// Milliseconds of a bare fdatasync, measured just before and after `durable_ms`.
    pub bare_sync_ms: Vec<f64>,
    pub who_ms: Vec<f64>,
    /// Bytes of a block event as a syslog line.
    pub line_bytes: f64,
    /// The same traffic session by session.
    pub volume: volume::Volume,
}

impl Figures {
    fn bytes_per_event(&self) -> f64 {
        self.sealed_bytes as f64 / self.events as f64
    }

    /// Sealed bytes of a subscriber's day in blocks.
    fn day_bytes(&self) -> f64 {
        self.sealed_bytes as f64 / (f64::from(self.subscribers) * f64::from(self.days))
    }

    /// Session text logs against ours for the traffic of RFC 7768: its block log as many lines
    /// as ours are long, each of which is one event here.
    fn reduction(&self) -> f64 {
        let events = RFC_BLOCK_BYTES / self.line_bytes;
        RFC_SESSION_BYTES / (events * self.bytes_per_event())
    }
}

/// A folder that is removed with all that is in it.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Measures, telling its steps through `say`.
///
/// # Errors
/// The folder cannot be used, or an answer was wrong.
pub fn measure(options: &Options, say: impl Fn(&str)) -> Result<Figures> {
    let folder = Folder(
        options
            .folder
            .join(format!("cgn-bench-log-{}", std::process::id())),
    );
    fs::create_dir_all(&folder.0).with_context(|| format!("cannot make {}", folder.0.display()))?;
    say("commit: groups of 2048 records, each on the disk before the next");
    let committed_per_second = commit(&folder.0.join("commit"))?;
    say("durable: 20,000 allocations a second for 5 s, in the groups that the disk makes of them");
    let mut bare_sync_ms = bare_syncs(&folder.0.join("bare"))?;
    let durable_ms = durable(&folder.0.join("durable"))?;
    bare_sync_ms.extend(bare_syncs(&folder.0.join("bare"))?);
    say(match options.is_direct {
        true => "year: hour by hour as sealed files, without write-ahead segments",
        false => {
            "year: written, sealed hour by hour (without waiting for the disk, as no packet waits)"
        }
    });
    let root = folder.0.join("year");
    check_room(&folder.0, options)?;
    let year = write_year(&root, options, &say)?;
    say("volume: a day of households with 33,000 sessions each (RFC 7422), session by session");
    let volume = volume::measure(&folder.0.join("volume"))?;
    say("who: random holders at random times, each asked twice");
    let who_ms = ask(&root, &year.probes)?;
    Ok(Figures {
        subscribers: options.subscribers,
        days: year.days,
        is_direct: options.is_direct,
        events: year.events,
        sealed_bytes: sealed_bytes(&root)?,
        sealed_per_second: year.events as f64 / year.seconds,
        committed_per_second,
        durable_ms,
        bare_sync_ms,
        who_ms,
        line_bytes: year.line_bytes,
        volume,
    })
}

const UNSYNCED: LogOptions = LogOptions {
    sync: false,
    keep_released_ms: 0,
    may_lack: false,
};
const SYNCED: LogOptions = LogOptions {
    sync: true,
    keep_released_ms: 0,
    may_lack: false,
};

fn commit(root: &Path) -> Result<f64> {
    let (mut log, _) = Log::open(root, SYNCED)?;
    let mut population = Population::new(1_000_000, 2 * COMMITTED);
    let entries = population.allocations(COMMITTED, START_MS);
    let started = Instant::now();
    for group in entries.chunks(GROUP) {
        log.append(group)?;
    }
    Ok(entries.len() as f64 / started.elapsed().as_secs_f64())
}

/// Milliseconds from each allocation to the moment its record is on the disk, when all that
/// came meanwhile makes the next group, as in the engine.
fn durable(root: &Path) -> Result<Vec<f64>> {
    let (mut log, _) = Log::open(root, SYNCED)?;
    let count = (LOAD_PER_SECOND * LOAD.as_secs_f64()) as usize;
    let entries = Population::new(1_000_000, 2 * count).allocations(count, START_MS);
    let due = |number: usize| Duration::from_secs_f64(number as f64 / LOAD_PER_SECOND);
    let mut waits = Vec::with_capacity(count);
    let started = Instant::now();
    while waits.len() < count {
        let now = started.elapsed();
        let first = waits.len();
        let come = ((now.as_secs_f64() * LOAD_PER_SECOND) as usize + 1).min(count);
        if come == first {
            std::thread::sleep(due(first).saturating_sub(now));
            continue;
        }
        log.append(&entries[first..come])?;
        let done = started.elapsed();
        waits.extend((first..come).map(|number| (done - due(number)).as_secs_f64() * 1e3));
    }
    Ok(waits)
}

/// Milliseconds of each fdatasync after one page was written over old ones, at the pace of the
/// groups: what the disk and the scheduler cost without a log.
fn bare_syncs(path: &Path) -> Result<Vec<f64>> {
    let page = [0x55; 4096];
    let pages = 256_u64;
    let file = fs::File::create(path)?;
    file.write_all_at(&vec![0; pages as usize * page.len()], 0)?;
    file.sync_all()?;
    let mut times = Vec::new();
    for number in 0..BARE_SYNCS {
        file.write_all_at(&page, number % pages * page.len() as u64)?;
        let started = Instant::now();
        file.sync_data()?;
        times.push(started.elapsed().as_secs_f64() * 1e3);
    }
    Ok(times)
}

/// Whether the year fits on the disk: better now than in an hour.
fn check_room(folder: &Path, options: &Options) -> Result<()> {
    let events = f64::from(options.subscribers) * f64::from(options.days) * EVENTS_A_DAY;
    let needed = (events * MOST_EVENT_BYTES) as u64;
    let path = std::ffi::CString::new(folder.as_os_str().as_bytes())?;
    // SAFETY: all its fields are numbers, for which 0 is a value.
    let mut room: libc::statvfs = unsafe { std::mem::zeroed() };
    // SAFETY: a path that ends in 0 and a place for the answer, both ours.
    let outcome = unsafe { libc::statvfs(path.as_ptr(), &mut room) };
    ensure!(outcome == 0, "{}", std::io::Error::last_os_error());
    let free = room.f_bavail * room.f_frsize;
    ensure!(
        free >= needed,
        "{} has {free} bytes free, the year may take {needed}: name another --folder, or fewer --events",
        folder.display()
    );
    Ok(())
}

/// Milliseconds of each enquiry, asked for the second time. Every answer is checked.
fn ask(root: &Path, probes: &[Probe]) -> Result<Vec<f64>> {
    let mut times = Vec::new();
    for probe in probes {
        let enquiry = Enquiry {
            external: probe.block.external,
            port: probe.port,
            at_ms: probe.at_ms,
            skew_ms: 0,
        };
        let first = who(root, &enquiry)?;
        ensure!(
            first.outcome == Outcome::One && first.holdings[0].block == probe.block,
            "asked for {probe:?}, the log answered {first:?}"
        );
        ensure!(
            first.holdings[0].since_ms == Some(probe.since_ms),
            "the log says another beginning than {probe:?}: {first:?}"
        );
        let started = Instant::now();
        who(root, &enquiry)?;
        times.push(started.elapsed().as_secs_f64() * 1e3);
    }
    Ok(times)
}

/// Bytes of all sealed files and manifests.
fn sealed_bytes(root: &Path) -> Result<u64> {
    let mut bytes = 0;
    for day in directory::days(root)? {
        for file in fs::read_dir(directory::day_path(root, day))? {
            bytes += file?.metadata()?.len();
        }
    }
    Ok(bytes)
}

/// The middle of the values; they must not be empty.
fn median(values: &[f64]) -> f64 {
    quantile(values, 0.5)
}

fn quantile(values: &[f64], at: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[((sorted.len() - 1) as f64 * at) as usize]
}

/// The block of an allocation.
fn block_of(entry: &Entry) -> Option<cgn_user::maplog::Block> {
    match entry.event {
        Event::Allocate(block) => Some(block),
        _ => None,
    }
}
