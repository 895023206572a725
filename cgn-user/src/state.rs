//! What the daemon knows of itself: the engine writes it, metrics and the API
//! read it. Plain data; nothing here decides anything.

use std::fmt;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use cgn_common::counters::{Counters, RealmDrops};
use cgn_common::layout::Hits;
use cgn_common::limits::TICK_SHIFT;
use cgn_common::realm::NOBODY;
use cgn_common::verdict::{Direction, Reason};
use tokio::sync::watch;

use crate::alloc::PoolStatus;
use crate::config::Checked;
use crate::dataplane::geometry::Geometry;
use crate::dataplane::memory::Memory;
use crate::histogram::{self, Histogram};
use crate::maplog::inbox::Inbox;
use crate::maplog::notice::{Board, What};
use crate::maplog::stream::SinkStats;
use crate::policy::access::{Lists, Placed};
use crate::policy::advice::Peaks;
use crate::policy::throttle::Prefix;
use crate::radius::Outcome;
use crate::realms::InsideKey;
use crate::reload::Reload;
use crate::slowpath::answers::AnswerStats;
use crate::watch::desk::Desk;
use crate::watch::mirror::Figures;
use crate::wiring::Wiring;

/// Reads the counters of the fast path, summed over processors.
pub type ReadCounters = Box<dyn Fn() -> Counters + Send + Sync>;

/// Reads the drops of each realm in the fast path, by its number, summed over processors.
pub type ReadRealmDrops = Box<dyn Fn() -> Vec<RealmDrops> + Send + Sync>;

/// Packets of a rule of the access lists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RulePackets {
    /// Those that it held for.
    pub held: u64,
    /// Those of them that were over its rate, and so dropped.
    pub over_rate: u64,
}

/// Reads how often rules held in the fast path, summed over processors.
pub type ReadHits = Box<dyn Fn() -> Hits + Send + Sync>;

/// What engine and front end share, for the life of the daemon.
pub struct State {
    pub config: Checked,
    pub geometry: Geometry,
    /// Number in the mapping log of each realm, by its number in the configuration.
    pub log_realms: Vec<u16>,
    /// The tables. The front end reads them, and moves the clock for tests.
    pub memory: Arc<Memory>,
    /// Take it through [`State::stats`].
    pub stats: Mutex<Stats>,
    /// What sinks are told besides the log.
    pub notices: Board,
    /// Names of subscribers that are to be recorded.
    pub identities: Inbox,
    /// When the daemon started, in milliseconds of Unix time.
    pub started_unix_ms: u64,
    pub fast_path_counters: ReadCounters,
    pub fast_path_hits: ReadHits,
    pub fast_path_realms: ReadRealmDrops,
    /// The access lists.
    pub lists: Lists,
    /// The daemon was started with `--test-clock`, so a client may move the clock.
    pub is_test_clock: bool,
    /// The file that `config` is from.
    pub config_path: PathBuf,
    /// Where the supervisor is asked for a reload.
    pub reload: watch::Sender<Option<Reload>>,
    /// How packets come in; set once, before the first can.
    pub wiring: OnceLock<Wiring>,
    /// Where one asks to watch packets.
    pub watch: Desk,
    /// What each mirror of the configuration has done, in its order.
    pub mirrors: Vec<Arc<Figures>>,
    /// Most ports that each subscriber had in use.
    pub peaks: Mutex<Peaks>,
    /// Turns of the engine since start: it lives as long as this grows.
    pub turns: AtomicU64,
}

impl State {
    /// A subscriber as the mapping log has him: number of his realm there, and address.
    #[must_use]
    pub fn in_log(&self, inside: InsideKey) -> (u16, Ipv4Addr) {
        let who = self.geometry.realms.who(inside);
        (self.log_realm(who.number), who.address)
    }

    /// Number in the mapping log of the realm with this number in the configuration.
    #[must_use]
    pub fn log_realm(&self, number: u8) -> u16 {
        let known = self.log_realms.get(usize::from(number));
        known.copied().unwrap_or(0)
    }

    /// The figures, locked: keep them for a moment only, the engine waits.
    pub fn stats(&self) -> MutexGuard<'_, Stats> {
        // Plain numbers: a writer that panicked left none half-written that matters.
        self.stats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Most ports that each subscriber had in use, locked.
    pub fn peaks(&self) -> MutexGuard<'_, Peaks> {
        // Plain numbers, as above.
        self.peaks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Now, on the data plane's clock, in nanoseconds: the kernel's coarse
    /// monotonic clock, which XDP reads, moved by the clock offset.
    #[must_use]
    pub fn now_ns(&self) -> u64 {
        monotonic_ns().wrapping_add(self.memory.clock_offset_ns())
    }

    /// Now in coarse ticks, the unit of a slot's last-seen time.
    #[must_use]
    pub fn now_tick(&self) -> u32 {
        (self.now_ns() >> TICK_SHIFT) as u32
    }
}

impl State {
    /// Every rule of the access lists, and its packets.
    #[must_use]
    pub fn rule_hits(&self) -> Vec<(Placed, RulePackets)> {
        let mut hits = (self.fast_path_hits)();
        hits.merge(&self.stats().hits);
        let count = |rule: &Placed| RulePackets {
            held: hits.held[rule.direction as usize][rule.number],
            // Only of packets from inside.
            over_rate: match rule.direction {
                Direction::Outbound => hits.over_rate[rule.number],
                Direction::Inbound => 0,
            },
        };
        let rules = self.lists.rules().iter();
        rules.map(|rule| (rule.clone(), count(rule))).collect()
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State")
            .field("geometry", &self.geometry)
            .field("stats", &self.stats)
            .field("started_unix_ms", &self.started_unix_ms)
            .field("is_test_clock", &self.is_test_clock)
            .finish_non_exhaustive()
    }
}

/// Now in coarse ticks, whatever the clock offset: before there are tables.
#[must_use]
pub fn unmoved_tick() -> u32 {
    (monotonic_ns() >> TICK_SHIFT) as u32
}

/// `CLOCK_MONOTONIC_COARSE`, what `bpf_ktime_get_coarse_ns` reads.
fn monotonic_ns() -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is ours and lives across the call. The clock exists since
    // Linux 2.6.32, so the call cannot fail.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC_COARSE, &mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Figures of the engine. What is not known yet is zero or absent.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stats {
    /// Counters of the slow path's translator.
    pub slow_path: Counters,
    /// What the slow path dropped of each realm, by its number, up to the last of which it dropped
    /// something; of none where there is but one.
    pub realm_drops: Vec<RealmDrops>,
    /// How often rules of the access lists held in the slow path, where everything goes there.
    pub hits: Hits,
    /// By number of the pool.
    pub pools: Vec<PoolStats>,
    /// By name of the realm, in the order of the configuration; the first has none.
    pub realms: Vec<(String, RealmStats)>,
    pub sweep: SweepStats,
    pub sessions: SessionStats,
    pub log: LogStats,
    pub identity: IdentityStats,
    pub reconciliation: Reconciliation,
    /// One for each sink, in the order of the configuration.
    pub sinks: Vec<(String, SinkStats)>,
    pub punts: PuntStats,
    pub answers: AnswerStats,
    /// SYNs whose senders are not told yet.
    pub syns_held: u64,
    pub fragments: FragmentStats,
    pub floods: FloodStats,
    /// One for each interface and side.
    pub interfaces: Vec<InterfaceStats>,
    /// Next hops that packets can be sent to now.
    pub next_hops: u64,
    /// How often the next hops were worked out anew from the kernel's routes.
    pub routes_generation: u64,
}

impl Stats {
    /// One more packet that the slow path dropped of a realm, by its number.
    pub fn dropped_of_realm(&mut self, realm: u8, reason: Reason) {
        if realm == NOBODY {
            return;
        }
        let at = usize::from(realm);
        if self.realm_drops.len() <= at {
            self.realm_drops.resize(at + 1, RealmDrops::ZERO);
        }
        self.realm_drops[at].count(reason as u8);
    }

    /// Figures of a pool; all zero if the engine has not given any.
    #[must_use]
    pub fn pool(&self, number: usize) -> PoolStats {
        self.pools.get(number).copied().unwrap_or_default()
    }

    /// Live mappings of all pools by protocol, as of the last complete sweep.
    #[must_use]
    pub fn mappings(&self) -> [u64; 3] {
        self.sum(|pool| pool.mappings)
    }

    /// See [`PoolStats::overflow`]; of all pools.
    #[must_use]
    pub fn overflow(&self) -> [u64; 3] {
        self.sum(|pool| pool.overflow)
    }

    fn sum(&self, of: fn(&PoolStats) -> [u64; 3]) -> [u64; 3] {
        let counts = self.pools.iter().map(of);
        counts.fold([0; 3], |sum, counts| {
            std::array::from_fn(|at| sum[at] + counts[at])
        })
    }
}

/// Figures of one pool.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PoolStats {
    /// As the allocator tells; its counters have the refusals, too.
    pub status: PoolStatus,
    /// Blocks that were not given because their log record could not be written.
    pub refused_log_unavailable: u64,
    /// Live mappings by protocol, as of the last complete sweep.
    pub mappings: [u64; 3],
    /// Ports in hold, all protocols together, as of the last complete sweep.
    pub held_ports: u64,
    /// Buckets beyond its own at which a mapping stands, summed by protocol, as of the last
    /// complete sweep: so many more look-ups it took to open them.
    pub overflow: [u64; 3],
    /// Ports in use or in hold of each subscriber that has a block, by protocol, as of the last
    /// complete sweep.
    pub subscriber_ports: [Histogram; 3],
}

impl Default for PoolStats {
    fn default() -> Self {
        Self {
            status: PoolStatus::default(),
            refused_log_unavailable: 0,
            mappings: [0; 3],
            held_ports: 0,
            overflow: [0; 3],
            subscriber_ports: [Histogram::new(histogram::PORTS); 3],
        }
    }
}

/// Figures of one realm, as of the last complete sweep.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RealmStats {
    /// Subscribers that have a block.
    pub subscribers: u64,
    /// Live mappings by protocol.
    pub mappings: [u64; 3],
}

/// Figures of the sweep that ends idle mappings.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct SweepStats {
    /// Complete sweeps since start.
    pub count: u64,
    /// Time spent in all of them, in seconds.
    pub total_secs: f64,
    /// Time spent in the last complete one, in seconds.
    pub last_secs: f64,
    /// Mappings that a sweep ended since start, by protocol.
    pub expired: [u64; 3],
    /// Ports that were not held, because as many as may be were held already.
    pub unheld_ports: u64,
}

/// Figures of the table of sessions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SessionStats {
    /// Sessions beside the first of their mapping, as of the last look at them.
    pub live: u64,
    /// Of those, how many ended since start.
    pub expired: u64,
}

/// Figures of the mapping log.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LogStats {
    /// Records written since start, by kind.
    pub allocate_records: u64,
    pub release_records: u64,
    /// Of mappings and sessions, where they are logged.
    pub session_records: u64,
    /// Of names of subscribers.
    pub identity_records: u64,
    /// Records of the daemon's start and stop.
    pub mark_records: u64,
    /// Groups of records that could not be written.
    pub append_errors: u64,
    /// The last group could not be written: no new blocks until one can.
    pub is_refusing: bool,
    /// Blocks are given without records since this time, in milliseconds of Unix time
    /// (`log.on_full = "continue"`).
    pub lacking_since_ms: Option<u64>,
    /// Records that should have been written in such times; those of blocks that were still held
    /// at the end of it followed.
    pub lacking_records: u64,
    /// Groups that were written, and the time that it took, in seconds.
    pub commits: u64,
    pub commit_secs: f64,
    /// Length of the current write-ahead segment in bytes.
    pub segment_bytes: u64,
    /// Bytes of all write-ahead segments.
    pub spool_bytes: u64,
    /// Bytes of all sealed files.
    pub sealed_bytes: u64,
    /// Sealed files that were made since start.
    pub sealed_files: u64,
    /// Turns of the sealer that failed.
    pub seal_errors: u64,
    /// Records that are not sealed yet.
    pub unsealed_records: u64,
    /// Notices for sinks, by [`What::number`].
    pub notices: [u64; What::NAMES.len()],
}

/// Figures of names of subscribers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IdentityStats {
    /// Subscribers whose name is known.
    pub names: u64,
    /// Datagrams that came to `identity.listen`, by [`Outcome`].
    pub requests: [u64; Outcome::NAMES.len()],
}

/// Blocks that the daemon found at its start, by what tables and log said of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reconciliation {
    /// The same subscriber's in both.
    pub identical: u64,
    /// In use by the tables, but not by the log: logged again.
    pub repaired: u64,
    /// Live by the log, but not by the tables: released on record, and held.
    pub orphaned: u64,
    /// Only half given or half taken back when the last daemon died: taken out of the tables.
    pub incomplete: u64,
}

/// Figures of punted packets.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PuntStats {
    /// Wake-ups that found punted packets.
    pub batches: u64,
    /// Punted packets received.
    pub packets: u64,
    /// Packets that wait for the link address of their next hop now.
    pub waiting_packets: u64,
    /// Seconds from when a packet was there, or from the last look before that, to its end here.
    pub latency: Histogram,
    /// Packets that were processed again, by [`Retry`].
    pub retries: [u64; 3],
    /// Seconds that groups of blocks took: allocation, mapping log, tables.
    pub grants: Histogram,
}

impl Default for PuntStats {
    fn default() -> Self {
        Self {
            batches: 0,
            packets: 0,
            waiting_packets: 0,
            latency: Histogram::new(histogram::SECONDS),
            retries: [0; 3],
            grants: Histogram::new(histogram::SECONDS),
        }
    }
}

/// What a punted packet waited for before it was processed again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// A block for its subscriber.
    Block = 0,
    /// The link address of its next hop.
    Neighbour = 1,
    /// A block, and then XDP, which knows its route.
    Xdp = 2,
}

impl Retry {
    pub const ALL: [Self; 3] = [Self::Block, Self::Neighbour, Self::Xdp];

    /// Name in metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Block => "block",
            Self::Neighbour => "neighbour",
            Self::Xdp => "xdp",
        }
    }
}

/// Figures of fragments in the slow path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FragmentStats {
    /// Fragments that wait for the first of their datagram now, and bytes of their frames.
    pub held: u64,
    pub held_bytes: u64,
    /// Fragments that came before the first one.
    pub came_early: u64,
    /// Of those, how many went on when it came.
    pub released: u64,
    /// Packets that were fragmented here.
    pub split: u64,
}

/// Figures of floods, as of the last look, about a second ago.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FloodStats {
    /// Percent of the time that the engine did not wait for packets.
    pub busy_percent: f64,
    /// Percent of new subscribers that are put off.
    pub put_off_percent: u64,
    /// By number of the pool: packets that nobody waited for, since the tables were made.
    pub unsolicited: Vec<u64>,
    /// External addresses under attack.
    pub attacked: Vec<Ipv4Addr>,
    /// Prefixes that are limited.
    pub throttled: Vec<Prefix>,
}

/// How the program is attached to one interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterfaceStats {
    pub name: String,
    /// `inside` or `outside`.
    pub side: &'static str,
    /// `native` or `generic`.
    pub mode: &'static str,
}
