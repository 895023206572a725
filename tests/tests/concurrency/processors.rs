//! XDP on every processor at once, with flows that collide, while the sweep ends mappings: what the
//! packets themselves say, besides the tables. Two subscribers, with one inside address in two
//! realms, share the external one; they send to the outside and to each other.

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
    INSIDE_VLAN, OUTSIDE_VLAN, POOL, REALM_VLAN, SMALL_SHIFT, World, remote, subscriber,
};
use cgn_tests::packets::check::judge;
use cgn_tests::packets::mutate::Dice;
use cgn_tests::packets::{CUSTOMER_TAG, Draft, flag};
use cgn_tests::skip;
use cgn_user::dataplane::install::Grant;
use cgn_user::dataplane::load::Entry;
use cgn_user::dataplane::memory::Memory;

use super::threads::{SHORT, expire_all, sweep};

const INSIDE: Ipv4Addr = subscriber::SIX_BLOCKS;
/// VLANs of the two realms.
const VLANS: [u16; 2] = [INSIDE_VLAN, REALM_VLAN];
/// `XDP_TX` and `XDP_REDIRECT`.
const SENT: [u32; 2] = [3, 4];
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

/// Realm and port; the external ones are of no realm.
type Port = (u8, u16);
/// By number of the protocol and port.
type Ports = HashMap<(usize, Port), Use>;

/// When a port was seen to belong to another: at some tick in between.
#[derive(Clone, Copy, Debug)]
struct Use {
    other: Port,
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
    fn note(&mut self, protocol: usize, inside: Port, external: Port, seen: Use) {
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
    /// Sends one packet, from inside or outside or to the other subscriber; whether it was
    /// translated.
    fn send(&mut self) -> bool {
        let protocol = self.dice.roll(3);
        let server = (remote::PLAIN, 443);
        let first = self.blocks[self.dice.roll(self.blocks.len())];
        let external = (POOL[1], first + self.dice.roll(64) as u16);
        let realm = self.dice.roll(2) as u8;
        let inside = (INSIDE, self.inside_port());
        let draft = match self.dice.roll(8) {
            0 | 1 => draft(protocol, server, external, OUTSIDE_VLAN),
            // The identifier of an echo is the receiver's port.
            2 if Protocol::ALL[protocol] != Protocol::Icmp => {
                draft(protocol, inside, external, VLANS[usize::from(realm)])
            }
            _ => draft(protocol, inside, server, VLANS[usize::from(realm)]),
        };
        let frame = draft.bytes();
        let from = tick();
        let (action, bytes) = test_run(self.program, &frame);
        let to = tick();
        if !SENT.contains(&action) {
            return false;
        }
        let judged = judge(&bytes).expect("a packet");
        let seen = |is_from_inside| Use {
            other: (0, 0),
            is_from_inside,
            from,
            to,
        };
        let mut book = self.book.lock().expect("nobody panicked");
        if judged.source == POOL[1] {
            let (inside, external) = ((realm, draft.source.1), (0, judged.ports.0));
            book.note(protocol, inside, external, seen(true));
        }
        if judged.destination == INSIDE {
            let (inside, external) = ((realm_of(&bytes), judged.ports.1), (0, draft.destination.1));
            book.note(protocol, inside, external, seen(false));
        }
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
        Protocol::Icmp if vlan == OUTSIDE_VLAN => Draft::pong(from.0, to),
        Protocol::Icmp => Draft::ping(from, to.0),
    };
    draft.with(|d| d.tags = vec![(CUSTOMER_TAG, vlan)])
}

/// Realm of a frame that goes in: the first one's has no tag.
fn realm_of(frame: &[u8]) -> u8 {
    u8::from(frame[12..14] == CUSTOMER_TAG.to_be_bytes())
}

/// The second subscriber has two blocks at the same external address.
fn two_realms() -> World {
    let mut world = World::new().with_realms();
    let realms = &world.geometry.realms;
    let inside = realms.key(1, INSIDE).expect("a subscriber");
    world.grants.extend([42, 43].map(|slab| Grant {
        inside,
        external: POOL[1],
        pool: 0,
        block: 460 + slab as u16,
        slab,
    }));
    world
}

fn race() {
    let world = std::rc::Rc::new(two_realms());
    let mut bpf = Bpf::new(&world);
    let memory = bpf.dataplane().memory().clone();
    let program: &Xdp = bpf.dataplane().program(Entry::Vlan).expect("loaded");
    let other = world.geometry.realms.key(1, INSIDE).expect("a subscriber");
    let both = [INSIDE.into(), other];
    let mine = world
        .grants
        .iter()
        .filter(|grant| both.contains(&grant.inside));
    let blocks: Vec<u16> = mine
        .map(|grant| 1024 + (grant.block << SMALL_SHIFT))
        .collect();
    let (memory, world): (&Memory, &World) = (&memory, &world);
    let indices = both.map(|inside| world.geometry.subscriber_index(inside).expect("known"));
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
        watch(memory, indices, &stop, &ended);
    });
    let (sent, ended) = (sent.into_inner(), ended.into_inner());
    println!("{sent} packets on {processors} processors, {ended} mappings ended");
    assert!(sent > 1000 && ended > 50, "{sent} packets, {ended} ended");
    for index in indices {
        let wrong = audit::contradictions(memory, index);
        assert!(wrong.is_empty(), "{wrong:#?}");
    }
    expire_all(memory, world, tick(), &SHORT);
}

/// Looks at the tables all the time, for a while; longer on a busy machine.
fn watch(memory: &Memory, indices: [u32; 2], stop: &AtomicBool, ended: &AtomicU64) {
    let began = Instant::now();
    let is_over = || {
        let elapsed = began.elapsed();
        elapsed > Duration::from_secs(30)
            || elapsed > Duration::from_secs(6) && ended.load(Ordering::Relaxed) > 200
    };
    while !is_over() && !stop.load(Ordering::Relaxed) {
        for (index, protocol) in indices
            .into_iter()
            .flat_map(|at| Protocol::ALL.map(|p| (at, p)))
        {
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
