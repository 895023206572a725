//! Threads that open, use and sweep mappings at the same time.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use cgn_common::layout::{Constants, Features, POOLS, Policy};
use cgn_common::verdict::{Protocol, Reason, Verdict};
use cgn_common::{frame::Buffer, path, path::Entry};
use cgn_tests::harness::audit;
use cgn_tests::harness::world::{World, remote, subscriber};
use cgn_tests::packets::mutate::Dice;
use cgn_tests::packets::{Draft, Transport};
use cgn_user::dataplane::memory::Memory;
use cgn_user::dataplane::sweep::{Logged, PortSet, Swept, Timers, sweep_slab};
use cgn_user::dataplane::tables::Counted;
use cgn_user::realms::InsideKey;

use super::hesitant::Hesitant;

/// More than there are processors, so that threads are stopped anywhere.
fn thread_count() -> usize {
    thread::available_parallelism().map_or(4, |n| (2 * n.get()).max(4))
}

/// A datagram without a checksum: its source port can be changed in place.
pub fn template(inside: Ipv4Addr) -> Vec<u8> {
    let transport = Transport::Udp { checksum: false };
    Draft::new(transport, (inside, 0), (remote::PLAIN, 53)).bytes()
}

/// Sends a datagram from `port`; its external port, or why there is none.
fn send(tables: &Hesitant<'_>, template: &[u8], port: u16) -> Result<u16, Reason> {
    let mut bytes = template.to_vec();
    bytes[34..36].copy_from_slice(&port.to_be_bytes());
    let end = bytes.len();
    let mut frame = Buffer::new(&mut bytes, 0, end).expect("in range");
    match path::whole(&mut frame, tables, Entry::Inside) {
        Verdict::Transmit { .. } => Ok(u16::from_be_bytes([bytes[34], bytes[35]])),
        Verdict::Pass(reason) | Verdict::Punt(reason) | Verdict::Drop(reason) => Err(reason),
    }
}

fn index_of(world: &World, inside: impl Into<InsideKey>) -> u32 {
    world.geometry.subscriber_index(inside).expect("known")
}

fn assert_sound(memory: &Memory, world: &World, inside: impl Into<InsideKey>) {
    let inside = inside.into();
    let wrong = audit::contradictions(memory, index_of(world, inside));
    assert!(wrong.is_empty(), "{inside:?}: {wrong:#?}");
}

/// Sweeps every block that was given.
pub fn sweep(memory: &Memory, world: &World, now: u32, timers: &Timers) -> Swept {
    let mut total = Swept::default();
    for grant in &world.grants {
        let line = world.geometry.slab_line(grant.pool, grant.slab);
        total.merge(&sweep_slab(memory, line, now, timers));
    }
    total
}

/// Ends everything and looks whether nothing is left.
pub fn expire_all(memory: &Memory, world: &World, now: u32, timers: &Timers) {
    sweep(memory, world, now + 1000, timers);
    sweep(memory, world, now + 2000, timers);
    for grant in &world.grants {
        assert_sound(memory, world, grant.inside);
        let left = audit::in_use(memory, index_of(world, grant.inside));
        assert_eq!(left, 0, "{:?} has slots in use", grant.inside);
    }
}

pub const SHORT: Timers = Timers {
    udp: 3,
    icmp: 3,
    tcp_established: 3,
    tcp_opening: 3,
    tcp_closing: 3,
    short_udp: 1,
    short_udp_ports: PortSet::NONE,
    hold: 2,
    hold_room: u32::MAX,
    logged: Logged::Nothing,
};

/// Every thread must be told the same external port for an inside port, and
/// no external port for two.
fn race_without_sweep(inside: Ipv4Addr, ports: u16, blocks: u16) {
    race_in(World::new(), inside, ports, 64 * blocks);
}

/// The same in a world where the subscriber's blocks have so many ports together.
fn race_in(world: World, inside: Ipv4Addr, ports: u16, room: u16) {
    let mut memory = Memory::private(world.geometry.sizes).expect("memory");
    memory.constants = world.constants;
    world.install(&memory);
    let external_of: Vec<AtomicU32> = (0..ports).map(|_| AtomicU32::new(0)).collect();
    let inside_of: Vec<AtomicU32> = (0..65_536).map(|_| AtomicU32::new(0)).collect();
    let note = |table: &[AtomicU32], at: u16, value: u32| match table[usize::from(at)]
        .compare_exchange(0, value, Ordering::SeqCst, Ordering::SeqCst)
    {
        Ok(_) => {}
        Err(seen) => assert_eq!(seen, value, "{at} has two"),
    };
    thread::scope(|scope| {
        for number in 0..thread_count() {
            let (world, memory, external_of, inside_of) =
                (&world, &memory, &external_of, &inside_of);
            scope.spawn(move || {
                let counted = Counted::default();
                let tables = Hesitant::new(memory, world, &counted, number);
                let template = template(inside);
                let mut dice = Dice::new(number as u64 + 1);
                // All begin together at each port, then wander.
                let wander = (0..20_000).map(|_| dice.roll(usize::from(ports)) as u16);
                for port in (0..ports).chain(wander.collect::<Vec<_>>()) {
                    match send(&tables, &template, port) {
                        Ok(external) => {
                            note(external_of, port, u32::from(external));
                            note(inside_of, external, u32::from(port) + 1);
                        }
                        Err(Reason::NoPort | Reason::BlockFull) => {
                            // The last port is counted a moment before its slot is claimed: who
                            // asks for the same mapping in between sees a full block, and no
                            // mapping yet. Its retry must find it.
                            let found = || send(&tables, &template, port).is_ok();
                            assert!(ports > room || (0..1_000).any(|_| found()));
                        }
                        Err(Reason::Contended) => {}
                        Err(other) => panic!("{other:?}"),
                    }
                }
            });
        }
    });
    assert_sound(&memory, &world, inside);
    let used = audit::in_use(&memory, index_of(&world, inside));
    assert_eq!(used, usize::from(ports.min(room)), "every port is usable");
    expire_all(&memory, &world, 0, &SHORT);
}

#[test]
fn racing_threads_open_one_mapping_for_each_inside_port() {
    for _ in 0..3 {
        race_without_sweep(subscriber::SIX_BLOCKS, 300, 6);
    }
}

/// Of 512 inside ports below 1024, eight get an external one below 1024: they race for those first.
#[test]
fn racing_threads_fill_a_block_with_ports_of_both_classes() {
    let mut constants = Constants::PLAIN;
    constants.features = Features(Features::CLASSES);
    constants.pools = [Policy(Policy::CLASSES); POOLS];
    race_in(World::with(constants, 1), subscriber::LARGE, 520, 512);
}

#[test]
fn racing_threads_fill_one_two_and_six_blocks_to_the_last_port() {
    race_without_sweep(subscriber::PLAIN, 70, 1);
    race_without_sweep(subscriber::TWO_BLOCKS, 128, 2);
    race_without_sweep(subscriber::SIX_BLOCKS, 384, 6);
    race_without_sweep(subscriber::SIX_BLOCKS, 400, 6);
}

#[test]
fn a_sweep_between_racing_threads_leaves_everything_sound() {
    let world = World::new();
    let memory = Memory::private(world.geometry.sizes).expect("memory");
    world.install(&memory);
    let (clock, stop, sent, ended) = (
        AtomicU32::new(100),
        AtomicBool::new(false),
        AtomicU64::new(0),
        AtomicU64::new(0),
    );
    thread::scope(|scope| {
        for number in 0..thread_count() {
            let (world, memory, clock, stop, sent) = (&world, &memory, &clock, &stop, &sent);
            scope.spawn(move || {
                let counted = Counted::default();
                let tables = Hesitant::new(memory, world, &counted, number);
                let inside = [subscriber::SIX_BLOCKS, subscriber::TWO_BLOCKS][number % 2];
                let template = template(inside);
                let mut dice = Dice::new(number as u64 + 1);
                while !stop.load(Ordering::Relaxed) {
                    tables.tables.now.set(clock.load(Ordering::Relaxed));
                    // A few ports are very busy, the others come and go.
                    let range = if dice.roll(2) == 0 { 4 } else { 420 };
                    match send(&tables, &template, dice.roll(range) as u16) {
                        Ok(_) => sent.fetch_add(1, Ordering::Relaxed),
                        Err(Reason::NoPort | Reason::BlockFull | Reason::Contended) => 0,
                        Err(other) => panic!("{other:?}"),
                    };
                }
            });
        }
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let now = clock.fetch_add(1, Ordering::Relaxed);
                let swept = sweep(&memory, &world, now, &SHORT);
                ended.fetch_add(u64::from(swept.expired[1]), Ordering::Relaxed);
                thread::sleep(Duration::from_micros(200));
            }
        });
        let began = Instant::now();
        // Longer on a busy machine, until the threads had something to race for.
        let enough =
            || sent.load(Ordering::Relaxed) > 20_000 && ended.load(Ordering::Relaxed) > 2_000;
        while began.elapsed() < Duration::from_secs(4)
            || (!enough() && began.elapsed() < Duration::from_secs(40))
        {
            thread::sleep(Duration::from_micros(100));
            for inside in [subscriber::SIX_BLOCKS, subscriber::TWO_BLOCKS] {
                let twice = audit::doubled(&memory, index_of(&world, inside), Protocol::Udp);
                if !twice.is_empty() {
                    stop.store(true, Ordering::Relaxed);
                    panic!("{inside}: two mappings of {twice:?} at once");
                }
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    let (sent, ended) = (sent.into_inner(), ended.into_inner());
    println!("{sent} packets, {ended} mappings ended");
    assert!(
        sent > 10_000 && ended > 1_000,
        "{sent} packets, {ended} ended"
    );
    for inside in [subscriber::SIX_BLOCKS, subscriber::TWO_BLOCKS] {
        assert_sound(&memory, &world, inside);
    }
    expire_all(&memory, &world, clock.into_inner(), &SHORT);
}
