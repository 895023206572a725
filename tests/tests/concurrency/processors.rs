//! XDP on every processor at once, with flows that collide, while the sweep ends mappings: what the
//! packets themselves say, besides the tables.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use aya::programs::Xdp;
use cgn_common::limits::TICK_SHIFT;
use cgn_common::verdict::Protocol;
use cgn_tests::harness::audit;
use cgn_tests::harness::bpf::{Bpf, coarse_ns, test_run};
use cgn_tests::harness::namespace::in_namespace;
use cgn_tests::harness::trial::Endpoint;
use cgn_tests::harness::world::{
    INSIDE_VLAN, OUTSIDE_VLAN, POOL, SMALL_SHIFT, World, remote, subscriber,
};
use cgn_tests::packets::check::judge;
use cgn_tests::packets::mutate::Dice;
use cgn_tests::packets::{CUSTOMER_TAG, Draft, flag};
use cgn_tests::skip;
use cgn_user::dataplane::load::Entry;
use cgn_user::dataplane::memory::Memory;

use super::threads::{SHORT, expire_all, sweep};

const INSIDE: Ipv4Addr = subscriber::SIX_BLOCKS;
/// `XDP_REDIRECT`.
const SENT: u32 = 4;
/// A port that one mapping has used cannot be another's sooner, in ticks: after a packet from inside
/// the mapping must be idle for a while; packets from outside do not refresh; then the port is held.
const REST: [u32; 2] = [SHORT.hold, SHORT.udp + SHORT.hold];

#[test]
fn no_port_has_two_owners_and_no_owner_two_ports_on_all_processors() {
    let name = "processors::no_port_has_two_owners_and_no_owner_two_ports_on_all_processors";
    if skip::is_root(name) {
        in_namespace(race);
    }
}

/// By number of the protocol and port.
type Ports = HashMap<(usize, u16), Use>;

/// When a port was seen to belong to another: at some tick in between.
#[derive(Clone, Copy, Debug)]
struct Use {
    other: u16,
    is_from_inside: bool,
    from: u32,
    to: u32,
}

/// Who had which port last.
#[derive(Default)]
struct Book {
    owners: Ports,
    ports: Ports,
}

impl Book {
    /// Notes that an inside and an external port belonged together, as `seen` from either.
    fn note(&mut self, protocol: usize, inside: u16, external: u16, seen: Use) {
        let of = |other| Use { other, ..seen };
        assert_rested(
            self.owners.insert((protocol, external), of(inside)),
            of(inside),
        );
        assert_rested(
            self.ports.insert((protocol, inside), of(external)),
            of(external),
        );
    }
}

/// Two uses by different owners were certainly too near to each other.
fn assert_rested(before: Option<Use>, now: Use) {
    if let Some(before) = before
        && before.other != now.other
    {
        let farthest = (now.to as i32 - before.from as i32).max(before.to as i32 - now.from as i32);
        let rest = REST[usize::from(before.is_from_inside)] as i32;
        assert!(
            farthest >= rest,
            "{before:?} and {now:?} within {farthest} ticks"
        );
    }
}

fn tick() -> u32 {
    (coarse_ns() >> TICK_SHIFT) as u32
}

/// One processor's share. The program for VLANs has both sides.
struct Worker<'a> {
    program: &'a Xdp,
    blocks: Vec<u16>,
    book: &'a Mutex<Book>,
    dice: Dice,
}

impl Worker<'_> {
    /// Sends one packet from inside or outside; whether it was translated.
    fn send(&mut self) -> bool {
        let protocol = self.dice.roll(3);
        let server = (remote::PLAIN, 443);
        let draft = if self.dice.roll(4) == 0 {
            let first = self.blocks[self.dice.roll(self.blocks.len())];
            let external = (POOL[1], first + self.dice.roll(64) as u16);
            draft(protocol, server, external, OUTSIDE_VLAN)
        } else {
            draft(protocol, (INSIDE, self.inside_port()), server, INSIDE_VLAN)
        };
        let frame = draft.bytes();
        let from = tick();
        let (action, bytes) = test_run(self.program, &frame);
        let to = tick();
        if action != SENT {
            return false;
        }
        let judged = judge(&bytes).expect("a packet");
        let is_from_inside = judged.source == POOL[1];
        let (inside, external) = match is_from_inside {
            true => (draft.source.1, judged.ports.0),
            false => (judged.ports.1, draft.destination.1),
        };
        let seen = Use {
            other: 0,
            is_from_inside,
            from,
            to,
        };
        let mut book = self.book.lock().expect("nobody panicked");
        book.note(protocol, inside, external, seen);
        true
    }

    /// A few ports are very busy; the others are used for a while, then new ones.
    fn inside_port(&mut self) -> u16 {
        if self.dice.roll(2) == 0 {
            return self.dice.roll(4) as u16;
        }
        let window = (tick() / 4) as u16;
        window
            .wrapping_mul(100)
            .wrapping_add(self.dice.roll(150) as u16)
    }
}

fn draft(protocol: usize, from: Endpoint, to: Endpoint, vlan: u16) -> Draft {
    let draft = match Protocol::ALL[protocol] {
        Protocol::Tcp => Draft::tcp(flag::ACK, from, to),
        Protocol::Udp => Draft::udp(from, to),
        Protocol::Icmp if vlan == INSIDE_VLAN => Draft::ping(from, to.0),
        Protocol::Icmp => Draft::pong(from.0, to),
    };
    draft.with(|d| d.tags = vec![(CUSTOMER_TAG, vlan)])
}

fn race() {
    let world = std::rc::Rc::new(World::new());
    let mut bpf = Bpf::new(&world);
    let memory = bpf.dataplane().memory().clone();
    let program: &Xdp = bpf.dataplane().program(Entry::Vlan).expect("loaded");
    let mine = world
        .grants
        .iter()
        .filter(|grant| grant.inside == INSIDE.into());
    let blocks: Vec<u16> = mine
        .map(|grant| 1024 + (grant.block << SMALL_SHIFT))
        .collect();
    let (memory, world): (&Memory, &World) = (&memory, &world);
    let index = world.geometry.subscriber_index(INSIDE).expect("known");
    let (stop, book) = (AtomicBool::new(false), Mutex::new(Book::default()));
    let (sent, ended) = (AtomicU64::new(0), AtomicU64::new(0));
    let processors = thread::available_parallelism().map_or(2, |n| n.get());
    thread::scope(|scope| {
        for number in 0..2 * processors {
            let (stop, sent) = (&stop, &sent);
            let mut worker = Worker {
                program,
                blocks: blocks.clone(),
                book: &book,
                dice: Dice::new(number as u64 + 1),
            };
            scope.spawn(move || {
                stay_on(number % processors);
                while !stop.load(Ordering::Relaxed) {
                    sent.fetch_add(u64::from(worker.send()), Ordering::Relaxed);
                }
            });
        }
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let swept = sweep(memory, world, tick(), &SHORT);
                let count: u32 = swept.expired.iter().sum();
                ended.fetch_add(u64::from(count), Ordering::Relaxed);
                thread::sleep(Duration::from_millis(1));
            }
        });
        watch(memory, index, &stop, &ended);
    });
    let (sent, ended) = (sent.into_inner(), ended.into_inner());
    println!("{sent} packets on {processors} processors, {ended} mappings ended");
    assert!(sent > 1000 && ended > 50, "{sent} packets, {ended} ended");
    let wrong = audit::contradictions(memory, index);
    assert!(wrong.is_empty(), "{wrong:#?}");
    expire_all(memory, world, tick(), &SHORT);
}

/// Looks at the tables all the time, for a while; longer on a busy machine.
fn watch(memory: &Memory, index: u32, stop: &AtomicBool, ended: &AtomicU64) {
    let began = Instant::now();
    let is_over = || {
        let elapsed = began.elapsed();
        elapsed > Duration::from_secs(30)
            || elapsed > Duration::from_secs(6) && ended.load(Ordering::Relaxed) > 200
    };
    while !is_over() && !stop.load(Ordering::Relaxed) {
        for protocol in Protocol::ALL {
            let twice = audit::doubled(memory, index, protocol);
            if !twice.is_empty() {
                stop.store(true, Ordering::Relaxed);
                panic!("{protocol:?}: two mappings of {twice:?} at once");
            }
        }
    }
    stop.store(true, Ordering::Relaxed);
}

/// Keeps this thread on one processor.
fn stay_on(processor: usize) {
    // SAFETY: a set of processors is plain bits, and all zero is the empty set.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the processor exists, so that it is within the set.
    unsafe { libc::CPU_SET(processor, &mut set) };
    // SAFETY: the set is valid for the call and of the length given. Where it is
    // refused the threads are less spread, and the race is the same.
    unsafe { libc::sched_setaffinity(0, size_of_val(&set), &raw const set) };
}
