//! RFC 6056: ports that are hard to guess. What is measured here does not depend on the home; blocks
//! with many secrets are filled on the host.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::ops::RangeInclusive;

use cgn_common::layout::{Constants, Features, POOLS, Policy};
use cgn_common::limits::{FIRST_PORT, USABLE_PORTS};
use cgn_common::nat::class;
use cgn_tests::harness::host::run_over;
use cgn_tests::harness::trial::Trial;
use cgn_tests::harness::world::{
    LARGE_POOL, LARGE_SHIFT, POOL, SMALL_SHIFT, World, hop, remote, subscriber,
};
use cgn_tests::packets::check::judge;
use cgn_tests::packets::mutate::Dice;
use cgn_tests::packets::{Draft, Transport};
use cgn_user::api::view::{self, Selection};
use cgn_user::dataplane::geometry::{Arrangement, Geometry, PoolShape, SubscriberShape};
use cgn_user::dataplane::install::{self, Grant};
use cgn_user::dataplane::load::Entry;
use cgn_user::dataplane::memory::Memory;
use cgn_user::state::Stats;

use cgn_user::alloc::{Allocator, HoldPolicy};
use cgn_user::config::Config;
use cgn_user::policy::shape;
use rand::SeedableRng as _;
use rand::rngs::StdRng;

use crate::registry::tests;

tests! {
    all_ports_from_1024_up_are_used ["R6056-1", "R4787-3"]
        "Section 3.2: external ports come from 1024 to 65535, all 64512 of them, and none has two owners";
    reserved_ports_are_never_given ["R6056-2"]
        "Section 3.3: ports that are reserved are skipped; all others are given";
    ports_are_spread_and_do_not_follow_one_another ["R6056-3", "R6056-5", "R6888-15", "R7422-5"]
        "Section 3.3: who knows a subscriber's earlier ports learns nothing of the next one";
    the_entropy_that_is_shown_is_what_one_faces ["R6056-5", "R6056-6"]
        "A block of 512 leaves 9 bits to guess, scattered ones nearly 16, and `cgn show pools` says so";
    blocks_with_both_classes_use_all_their_ports_and_each_comes_back ["R6056-1", "R4787-3a"]
        "Section 3.2: with `keep_class`, ports 16 to 64527 are used, and each serves one subscriber's flow";
    scattered_blocks_use_all_ports_and_each_comes_back ["R6431-1", "R6056-1"]
        "RFC 6431 section 2.2: a keyed permutation; all 64512 ports, none with two owners, each back to its sender";
    random_ports_of_a_resolver_stay_random ["R6056-7", "SEED-20"]
        "Section 3.3: ports that a resolver chose at random are random outside, too";
}

fn reserved_ports_are_never_given(_: &mut Trial) {
    let reserved = [5060, 8080, 1024, 65_535];
    for block_ports in [64, 512, 1024] {
        let text = format!(
            "[inside]\ninterface = \"a\"\n[outside]\ninterface = \"b\"\n\
             [[pool]]\nname = \"p\"\naddresses = [\"203.0.113.0/31\"]\n\
             block_ports = {block_ports}\nreserved_ports = {reserved:?}\n\
             [[subscribers]]\nprefixes = [\"100.64.0.0/20\"]\npool = \"p\"\n"
        );
        let checked = Config::parse(&text).expect("a good configuration");
        let specs = shape::pool_specs(&shape::geometry(&checked), &checked.config);
        let random = StdRng::seed_from_u64(1);
        let mut allocator = Allocator::new(&specs, HoldPolicy::default(), random).expect("a pool");
        let mut given = BTreeSet::new();
        for subscriber in 0.. {
            let Ok(got) = allocator.allocate(0, subscriber, 0) else {
                break;
            };
            let ports = u32::from(got.base_port)..u32::from(got.base_port) + block_ports;
            given.extend(ports.map(|port| (got.external, port)));
        }
        assert!(
            reserved
                .iter()
                .all(|port| given.iter().all(|(_, p)| p != port))
        );
        // Each of them is in a block of its own, and no other block is left out.
        let lost = 2 * reserved.len() * block_ports as usize;
        assert_eq!(given.len() + lost, 2 * USABLE_PORTS as usize);
    }
}

/// A UDP datagram without checksum, whose source is written in place.
struct Template(Vec<u8>);

impl Template {
    fn new() -> Self {
        let transport = Transport::Udp { checksum: false };
        Self(Draft::new(transport, (subscriber::PLAIN, 0), (remote::PLAIN, 53)).bytes())
    }

    fn from(&mut self, inside: Ipv4Addr, port: u16) -> &[u8] {
        self.0[26..30].copy_from_slice(&inside.octets());
        self.0[34..36].copy_from_slice(&port.to_be_bytes());
        cgn_tests::harness::sound::sum_again(&mut self.0, 14).expect("a header");
        &self.0
    }
}

fn all_ports_from_1024_up_are_used(_: &mut Trial) {
    each_port_is_used_and_comes_back(Arrangement::Contiguous, SMALL_SHIFT, FIRST_PORT..=65_535);
}

fn scattered_blocks_use_all_ports_and_each_comes_back(_: &mut Trial) {
    each_port_is_used_and_comes_back(Arrangement::Scattered, SMALL_SHIFT, FIRST_PORT..=65_535);
}

fn blocks_with_both_classes_use_all_their_ports_and_each_comes_back(_: &mut Trial) {
    each_port_is_used_and_comes_back(Arrangement::Classes, LARGE_SHIFT, 16..=64_527);
}

/// One address, with as many subscribers as it has blocks, all full: these are their ports.
fn each_port_is_used_and_comes_back(
    arrangement: Arrangement,
    block_shift: u32,
    expected: RangeInclusive<u16>,
) {
    let blocks = USABLE_PORTS >> block_shift;
    let first = Ipv4Addr::new(100, 64, 0, 0);
    let mut world = World::new();
    world.geometry = Geometry::new(
        vec![PoolShape {
            arrangement,
            name: "one address".to_owned(),
            addresses: vec![(POOL[0], POOL[0])],
            block_shift,
            blocks_per_subscriber: 1,
            watermark_ports: 48,
            max_blocks: blocks,
        }],
        vec![SubscriberShape {
            first: first.into(),
            last: Ipv4Addr::from_bits(first.to_bits() + blocks - 1).into(),
            pool: 0,
        }],
    );
    let grant = |number: u32| Grant {
        inside: Ipv4Addr::from_bits(first.to_bits() + number).into(),
        external: POOL[0],
        pool: 0,
        block: number as u16,
        slab: number,
    };
    world.grants = (0..blocks).map(grant).collect();
    let mut memory = Memory::private(world.geometry.sizes).expect("memory");
    memory.constants = constants(arrangement);
    world.geometry.install(&memory, secrets(7));
    scatter(&memory, &mut secrets(17));
    let network = |address: Ipv4Addr| (address.to_bits() >> 16) as u16;
    memory.set_route(network(remote::PLAIN), hop::OUTSIDE);
    memory.set_route(network(first), hop::INSIDE);
    for (number, hop) in cgn_tests::harness::world::hops() {
        memory
            .next_hops
            .get(u32::from(number))
            .expect("a number")
            .write(&hop);
    }
    for grant in &world.grants {
        install::give(&memory, &world.geometry, grant, 0, 0).expect("free");
    }
    let mut template = Template::new();
    let mut answer = Draft::udp((remote::PLAIN, 53), (POOL[0], 0)).bytes();
    let mut owners = BTreeSet::new();
    for port in 0..1 << block_shift {
        for grant in &world.grants {
            let run = run_over(
                &memory,
                &world,
                0,
                0,
                Entry::Inside,
                template.from(address_of(grant), port),
            );
            let judged = judge(&run.bytes).expect("a packet");
            assert_eq!(judged.source, POOL[0]);
            assert!(
                owners.insert(judged.ports.0),
                "{} has two owners",
                judged.ports.0
            );
            answer[36..38].copy_from_slice(&judged.ports.0.to_be_bytes());
            cgn_tests::harness::sound::sum_again(&mut answer, 14).expect("a header");
            let back = run_over(&memory, &world, 0, 0, Entry::Outside, &answer);
            let back = judge(&back.bytes).expect("a packet");
            assert_eq!((back.destination, back.ports.1), (address_of(grant), port));
        }
    }
    assert_eq!(owners, expected.collect());
}

/// Inside address of a grant in the first realm.
fn address_of(grant: &Grant) -> Ipv4Addr {
    Ipv4Addr::from_bits(grant.inside.to_bits())
}

fn constants(arrangement: Arrangement) -> Constants {
    let mut constants = Constants::PLAIN;
    constants.features = match arrangement {
        Arrangement::Contiguous => Features::NONE,
        Arrangement::Scattered => Features(Features::SCATTERED),
        Arrangement::Classes => Features(Features::CLASSES),
    };
    constants.pools = [Policy(arrangement.flag()); POOLS];
    constants
}

/// Gives every address new keys.
fn scatter(memory: &Memory, random: &mut impl FnMut() -> u64) {
    for at in 0..memory.scatterings.len() as u32 {
        let element = memory.scatterings.get(at).expect("one");
        element.0.iter().for_each(|key| key.store(random()));
    }
}

/// Numbers as good as random.
fn secrets(seed: u64) -> impl FnMut() -> u64 {
    let mut dice = Dice::new(seed);
    move || {
        let mut half = || dice.roll(1 << 32) as u64;
        half() << 32 | half()
    }
}

/// External ports that inside ports get in an empty block of 512.
fn outside_ports(
    memory: &Memory,
    world: &World,
    template: &mut Template,
    ports: &[u16],
) -> Vec<u16> {
    ports
        .iter()
        .map(|port| {
            let frame = template.from(subscriber::LARGE, *port);
            let run = run_over(memory, world, 0, 0, Entry::Inside, frame);
            let judged = judge(&run.bytes).expect("a packet");
            assert_eq!(judged.source, LARGE_POOL);
            judged.ports.0
        })
        .collect()
}

/// Offsets of ports in contiguous blocks, see [`filled_with`].
fn filled(blocks: u64, ports: impl FnMut(&mut Dice) -> Vec<u16>) -> Vec<Vec<u16>> {
    let first = 1024 + (125 << LARGE_SHIFT);
    let blocks = filled_with(Arrangement::Contiguous, blocks, ports).into_iter();
    blocks
        .map(|block| block.into_iter().map(|port| port - first).collect())
        .collect()
}

/// Outside ports of blocks with a secret each, all filled in the order of `ports`; if scattered,
/// with other keys each.
fn filled_with(
    arrangement: Arrangement,
    blocks: u64,
    mut ports: impl FnMut(&mut Dice) -> Vec<u16>,
) -> Vec<Vec<u16>> {
    let world = World::with(constants(arrangement), 1);
    let mut memory = Memory::private(world.geometry.sizes).expect("memory");
    memory.constants = constants(arrangement);
    world.install(&memory);
    let index = world
        .geometry
        .subscriber_index(subscriber::LARGE)
        .expect("known");
    let grant = world
        .grants
        .iter()
        .find(|g| g.inside == subscriber::LARGE.into())
        .expect("has a block");
    let (mut dice, mut secret) = (Dice::new(11), secrets(13));
    let mut template = Template::new();
    (0..blocks)
        .map(|_| {
            install::withdraw(&memory, &world.geometry, grant);
            memory
                .subscribers
                .get(index)
                .expect("known")
                .secret
                .store(secret());
            scatter(&memory, &mut secret);
            install::give(&memory, &world.geometry, grant, 0, 0).expect("free");
            outside_ports(&memory, &world, &mut template, &ports(&mut dice))
        })
        .collect()
}

fn ports_are_spread_and_do_not_follow_one_another(_: &mut Trial) {
    // A host that counts its own ports up, as many do; half a block, where every second port is free.
    let blocks = filled(400, |_| (40_000..40_256).collect());
    assert_random(&blocks);
}

fn random_ports_of_a_resolver_stay_random(_: &mut Trial) {
    let blocks = filled(400, |dice| {
        let mut ports = BTreeSet::new();
        while ports.len() < 256 {
            ports.insert(1024 + dice.roll(64_512) as u16);
        }
        // In the order in which they were rolled, not sorted.
        let mut ports: Vec<u16> = ports.into_iter().collect();
        for at in (1..ports.len()).rev() {
            ports.swap(at, dice.roll(at + 1));
        }
        ports
    });
    assert_random(&blocks);
}

/// What `cgn show pools` prints against what one finds who sees a subscriber's port and guesses the
/// next: the entropy of how many blocks further it lies, and of where it lies in its block.
fn the_entropy_that_is_shown_is_what_one_faces(_: &mut Trial) {
    for (arrangement, place_of) in [
        (Arrangement::Contiguous, (|port| port) as fn(u16) -> u16),
        (Arrangement::Scattered, |port| port),
        (Arrangement::Classes, class::place_of),
    ] {
        let blocks = filled_with(arrangement, 400, |_| (40_000..40_256).collect());
        let (mut distances, mut offsets) = (vec![0_u32; 126], vec![0_u32; 512]);
        for pair in blocks.iter().flat_map(|block| block.windows(2)) {
            let [one, next] = [pair[0], pair[1]].map(|port| place_of(port) - FIRST_PORT);
            distances[usize::from((next / 512 + 126 - one / 512) % 126)] += 1;
            offsets[usize::from(next % 512)] += 1;
        }
        let measured = entropy(&distances) + entropy(&offsets);
        let world = World::with(constants(arrangement), 1);
        let rows = view::pools(&world.geometry, &Stats::default(), Selection::default());
        let shown = rows[1].entropy_bits;
        assert_eq!(rows[1].block_ports, 512);
        // 102,000 pairs: the estimate is low by 0.004.
        assert!((measured - shown).abs() < 0.02, "{measured:.3} of {shown}");
    }
}

/// Entropy of how often each of some outcomes came, in bits.
fn entropy(counts: &[u32]) -> f64 {
    let all = f64::from(counts.iter().sum::<u32>());
    let share = counts.iter().filter(|count| **count > 0);
    share
        .map(|count| f64::from(*count) / all)
        .map(|p| -p * p.log2())
        .sum()
}

/// 102,400 choices: uniform, not correlated with the one before, without steps.
fn assert_random(blocks: &[Vec<u16>]) {
    const CHOICES: f64 = 512.0;
    let mut counts = [0_u32; 512];
    for offset in blocks.iter().flatten() {
        counts[usize::from(*offset)] += 1;
    }
    let all: u32 = counts.iter().sum();
    let expected = f64::from(all) / CHOICES;
    let chi: f64 = counts
        .iter()
        .map(|c| (f64::from(*c) - expected).powi(2) / expected)
        .sum();
    // 511 degrees of freedom: mean 511, standard deviation 32; 620 is p = 0.0006.
    assert!(chi < 620.0, "chi-square {chi:.0}");
    let pairs: Vec<(f64, f64)> = blocks
        .iter()
        .flat_map(|block| block.windows(2))
        .map(|pair| (f64::from(pair[0]), f64::from(pair[1])))
        .collect();
    let r = correlation(&pairs);
    assert!(r.abs() < 0.02, "serial correlation {r:.4}");
    let mut steps = [0_u32; 512];
    for pair in blocks.iter().flat_map(|block| block.windows(2)) {
        steps[usize::from(pair[1].wrapping_sub(pair[0]) % 512)] += 1;
    }
    let most = steps.iter().max().copied().unwrap_or_default();
    assert!(
        f64::from(most) < 1.6 * expected,
        "a step was taken {most} times of {all}"
    );
}

fn correlation(pairs: &[(f64, f64)]) -> f64 {
    let n = pairs.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| pairs.iter().map(of).sum::<f64>() / n;
    let (x, y) = (mean(|p| p.0), mean(|p| p.1));
    let sum = |of: &dyn Fn(&(f64, f64)) -> f64| pairs.iter().map(of).sum::<f64>();
    let both = sum(&|p| (p.0 - x) * (p.1 - y));
    both / (sum(&|p| (p.0 - x).powi(2)) * sum(&|p| (p.1 - y).powi(2))).sqrt()
}
