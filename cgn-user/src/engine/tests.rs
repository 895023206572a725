//! Allocator, log, tables, sweep and metrics together, in plain memory, at an ISP's size.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use cgn_common::counters::Counters;
use cgn_common::layout::Hits;
use cgn_common::verdict::{Protocol, Reason};
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use tokio::sync::watch;

use super::keeper::Keeper;
use super::start;
use crate::alloc::Allocator;
use crate::api::fixture::Scratch;
use crate::config::Config;
use crate::dataplane::memory::Memory;
use crate::maplog::maps::Maps;
use crate::maplog::{Log, LogOptions};
use crate::metrics::{Snapshot, encode};
use crate::policy::access::Lists;
use crate::policy::shape;
use crate::realms::InsideKey;
use crate::state::{State, Stats};
use crate::watch::desk::Desk;

const SUBSCRIBERS: u32 = 100_000;
const SHARED: &str = "[inside]\ninterface = \"a\"\n[outside]\ninterface = \"b\"\n\
    [[pool]]\nname = \"all\"\naddresses = [\"203.0.113.0/25\"]\nblock_ports = 64\nmax_blocks = 110000\n\
    [[subscribers]]\nprefixes = [\"100.64.0.0/15\"]\npool = \"all\"\n";

/// Three blocks for everybody.
const SCARCE: &str = "[inside]\ninterface = \"a\"\n[outside]\ninterface = \"b\"\n\
    [[pool]]\nname = \"few\"\naddresses = [\"203.0.113.1\"]\nblock_ports = 64\nmax_blocks = 3\n\
    [[subscribers]]\nprefixes = [\"100.64.0.0/24\"]\npool = \"few\"\n";

fn state(toml: &str) -> Arc<State> {
    let config = Config::parse(toml).unwrap();
    let geometry = shape::geometry(&config);
    let memory = Memory::private(geometry.sizes).unwrap();
    geometry.install(&memory, || 1);
    Arc::new(State {
        memory: Arc::new(memory),
        stats: Mutex::new(Stats::default()),
        notices: Default::default(),
        identities: Default::default(),
        started_unix_ms: 1,
        fast_path_counters: Box::new(|| Counters::ZERO),
        fast_path_hits: Box::new(|| Hits::ZERO),
        fast_path_realms: Box::new(Vec::new),
        lists: Lists::default(),
        is_test_clock: false,
        config_path: PathBuf::new(),
        reload: watch::Sender::new(None),
        wiring: OnceLock::new(),
        mirrors: Vec::new(),
        watch: Desk::default(),
        peaks: Mutex::default(),
        turns: AtomicU64::new(0),
        log_realms: Vec::new(),
        geometry,
        config,
    })
}

fn keeper(state: &Arc<State>, scratch: &Scratch) -> Keeper {
    let options = LogOptions {
        sync: false,
        keep_released_ms: 0,
        may_lack: false,
    };
    let (log, _) = Log::open(&scratch.0, options).unwrap();
    let specs = shape::pool_specs(&state.geometry, &state.config.config);
    let policy = shape::hold_policy(&state.config);
    let allocator = Allocator::new(&specs, policy, StdRng::seed_from_u64(1)).unwrap();
    let maps = Maps::read(&scratch.0).unwrap();
    Keeper::new(Arc::clone(state), allocator, log, Vec::new(), None, maps)
}

#[test]
fn in_a_group_who_asked_first_is_served_first_and_nobody_twice() {
    let scratch = Scratch::new("scarce");
    let state = state(SCARCE);
    let mut keeper = keeper(&state, &scratch);
    let host = |number| InsideKey::from(Ipv4Addr::new(100, 64, 0, number));
    let refusals = keeper.grant([9, 4, 9, 7, 4, 1].map(host).to_vec());
    assert_eq!(refusals, HashMap::from([(host(1), Reason::NoBlock)]));
    let served: Vec<InsideKey> = keeper.granted.iter().map(|one| one.grant.inside).collect();
    assert_eq!(served, [9, 4, 7].map(host));
    assert_eq!(state.stats().log.allocate_records, 3);
}

#[test]
fn a_hundred_thousand_subscribers_are_scraped_within_a_second_and_5_mb() {
    let scratch = Scratch::new("hundred-thousand");
    let state = state(SHARED);
    let mut keeper = keeper(&state, &scratch);
    let first = Ipv4Addr::new(100, 64, 0, 0).to_bits();
    let all: Vec<Ipv4Addr> = (0..SUBSCRIBERS)
        .map(|number| Ipv4Addr::from_bits(first + number))
        .collect();
    for group in all.chunks(2048) {
        let wanted = group.iter().map(|address| (*address).into()).collect();
        assert!(keeper.grant(wanted).is_empty());
    }
    keeper.advance();
    let mut sweeper = start::sweeper(&state, false);
    let deadline = Instant::now() + Duration::from_secs(60);
    while state.stats().sweep.count == 0 {
        assert!(Instant::now() < deadline, "no sweep ended");
        sweeper.slice(&state, &mut keeper, state.now_tick());
    }

    let began = Instant::now();
    let snapshot = Snapshot::take(&state);
    let text = encode(&snapshot).unwrap();
    let took = began.elapsed();

    println!(
        "{SUBSCRIBERS} subscribers: {} bytes in {took:?}",
        text.len()
    );
    assert!(took < Duration::from_secs(1), "{took:?}");
    assert!(text.len() < 5 << 20, "{} bytes", text.len());
    let ports = snapshot.stats.pools[0].subscriber_ports[Protocol::Udp as usize];
    assert_eq!(
        ports.count(),
        u64::from(SUBSCRIBERS),
        "each is counted once"
    );
    for line in [
        "cgn_subscribers 100000",
        "cgn_address_mappings_created_total{pool=\"all\"} 100000",
        "cgn_subscriber_ports_now_bucket{pool=\"all\",protocol=\"udp\",le=\"0\"} 100000",
        "cgn_block_grant_seconds_count 49",
    ] {
        assert!(
            text.lines().any(|there| there == line),
            "{line} is not in\n{text}"
        );
    }
}
