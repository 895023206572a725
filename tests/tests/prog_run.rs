//! The cases and the corpus in the kernel (`BPF_PROG_TEST_RUN`), compared with host and slow path.

use std::net::Ipv4Addr;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use aya::maps::{Map, MapData, ProgramArray};
use cgn_common::diagnostics::LINES_PER_SECOND;
use cgn_common::layout::{self, Features, FragmentKey, RareProgram, Side};
use cgn_common::limits::TICK_SHIFT;
use cgn_common::nat::fragment::{MOST_DATAGRAMS, MOST_PUNTS_PER_SOURCE};
use cgn_common::punts::{MOST, MOST_PER_KEY};
use cgn_common::verdict::Reason;
use cgn_tests::harness::bpf::{Bpf, PASS, test_run};
use cgn_tests::harness::cases;
use cgn_tests::harness::namespace::{self, in_namespace};
use cgn_tests::harness::trial::Trial;
use cgn_tests::harness::world::{FRAGMENT_TICKS, POOL, World, remote, subscriber};
use cgn_tests::harness::{Ending, Home as _};
use cgn_tests::packets::{Draft, corpus};
use cgn_tests::skip;
use cgn_user::dataplane::load::{Dataplane, Entry, OBJECT};
use cgn_user::dataplane::swap::set_plain;

#[test]
fn every_case_is_the_same_on_host_slow_path_and_bpf() {
    if skip::is_root("every_case_is_the_same_on_host_slow_path_and_bpf") {
        in_namespace(|| cases::run_all(&mut Trial::everywhere()));
    }
}

#[test]
fn every_case_of_what_is_off_by_default_is_the_same_everywhere() {
    if skip::is_root("every_case_of_what_is_off_by_default_is_the_same_everywhere") {
        in_namespace(|| {
            for group in cases::groups().iter().filter(|group| !is_of_ipv6(group)) {
                cases::run_group(&mut Trial::everywhere_of((group.world)()), group);
            }
        });
    }
}

#[test]
fn every_case_of_ipv6_is_the_same_everywhere() {
    if skip::is_root("every_case_of_ipv6_is_the_same_everywhere") {
        in_namespace(|| {
            for group in cases::groups().iter().filter(|group| is_of_ipv6(group)) {
                cases::run_group(&mut Trial::everywhere_of((group.world)()), group);
            }
        });
    }
}

/// True for groups with a test of their own, which runs beside the others.
fn is_of_ipv6(group: &cases::Group) -> bool {
    group.name.contains("IPv6")
}

#[test]
fn our_own_frames_are_handled_alike_everywhere() {
    if skip::is_root("our_own_frames_are_handled_alike_everywhere") {
        let sent = in_namespace(|| corpus::run(&mut Trial::everywhere(), &corpus::own()));
        assert!(sent > 20, "only {sent} were translated");
    }
}

#[test]
fn captured_frames_are_handled_alike_everywhere() {
    const TEST: &str = "captured_frames_are_handled_alike_everywhere";
    let Some(captured) = corpus::captured() else {
        let folder = corpus::folder();
        return skip::skip(TEST, &format!("no captures in {}", folder.display()));
    };
    if !skip::is_root(TEST) {
        return;
    }
    let sent = in_namespace(|| corpus::run(&mut Trial::everywhere(), &captured.samples));
    println!(
        "{} frames, {sent} runs were translated",
        captured.samples.len()
    );
    assert!(sent > 100, "only {sent} were translated");
}

/// A neighbour that is silent, and someone who scans a network, do not keep the slow path busy.
#[test]
fn punts_for_want_of_a_route_or_a_neighbour_are_few() {
    if !skip::is_root("punts_for_want_of_a_route_or_a_neighbour_are_few") {
        return;
    }
    let silent = (Reason::NoNeighbour, Reason::NeighbourUnresolved);
    let untold = (Reason::RouteUnknown, Reason::RouteUnresolved);
    in_namespace(|| {
        for (to, reasons) in [
            (remote::LOST, silent),
            (remote::NO_NEIGHBOUR, silent),
            (remote::UNKNOWN, untold),
        ] {
            let mut bpf = Bpf::new(&Rc::new(World::new()));
            flood(&mut bpf, MOST_PER_KEY, reasons, |_| to);
            let other = Ipv4Addr::new(192, 0, 2, 77);
            let run = run_to(&mut bpf, other);
            let expected = Ending::Punted(Reason::NoNeighbour);
            assert_eq!(
                run, expected,
                "{to}: another neighbour has punts of its own"
            );
        }
        namespace::ip("route add 198.21.0.0/16 dev out");
        let mut bpf = Bpf::new(&Rc::new(World::new()));
        let scanned = |number: u32| Ipv4Addr::from_bits(0xc615_0000 | number);
        flood(&mut bpf, MOST, silent, scanned);
    });
}

/// Sends more packets than may be punted in a tick: no more are, and the rest is dropped.
fn flood(bpf: &mut Bpf, most: u32, reasons: (Reason, Reason), to: impl Fn(u32) -> Ipv4Addr) {
    let (mut punted, mut dropped) = (0, 0);
    let begun = Instant::now();
    for number in 0..4 * most {
        match run_to(bpf, to(number)) {
            Ending::Punted(reason) if reason == reasons.0 => punted += 1,
            Ending::Dropped(reason) if reason == reasons.1 => dropped += 1,
            other => panic!("packet {number} to {}: {other:?}", to(number)),
        }
    }
    let ticks = (begun.elapsed().as_nanos() >> TICK_SHIFT) as u32 + 2;
    let what = format!("{punted} punted, {dropped} dropped in at most {ticks} ticks");
    assert!((most..=most * ticks).contains(&punted), "{what}");
    assert!(dropped > 0 || ticks > 4, "{what}");
}

/// The plain programs are over tables of their own here, which are empty: what goes on in them is not translated.
#[test]
fn what_is_in_nobody_s_sample_goes_on_in_the_plain_programs() {
    const ONE_OF: u32 = 4;
    const PACKETS: usize = 4000;
    if !skip::is_root("what_is_in_nobody_s_sample_goes_on_in_the_plain_programs") {
        return;
    }
    in_namespace(|| {
        let world = Rc::new(World::new());
        let mut empty = Dataplane::load(OBJECT, world.geometry.sizes, &world.constants, None)
            .expect("the object loads");
        let plain = empty.programs([Entry::Inside].into_iter());
        let plain = plain.expect("the verifier accepts them");
        let mut bpf = Bpf::sampling(&world, ONE_OF);
        let frame = Draft::udp((subscriber::PLAIN, 5000), (remote::PLAIN, 53)).bytes();
        let translated = |bpf: &mut Bpf, packets| {
            let program = bpf.dataplane().program(Entry::Inside).expect("loaded");
            let actions = (0..packets).map(|_| test_run(program, &frame).0);
            actions.filter(|action| *action > PASS).count()
        };
        let all = translated(&mut bpf, PACKETS);
        assert_eq!(all, PACKETS, "where there are no plain programs, it stays");
        assert!(bpf.told() < PACKETS / 2, "and is told nobody all the same");
        let held = set_plain(bpf.dataplane(), &plain).expect("the watching object");
        let sampled = translated(&mut bpf, PACKETS);
        assert_eq!(bpf.told(), sampled, "what is told of is what stayed");
        let expected = PACKETS / ONE_OF as usize;
        assert!(
            (expected * 3 / 4..expected * 5 / 4).contains(&sampled),
            "{sampled} of {PACKETS}, not one of {ONE_OF}"
        );
        // As when the daemon dies: the kernel empties the map a moment later.
        drop(held);
        let begun = Instant::now();
        while translated(&mut bpf, 100) < 100 {
            assert!(begun.elapsed().as_secs() < 10, "the jumps go on");
        }
    });
}

/// What becomes of a packet from a subscriber.
fn run_to(bpf: &mut Bpf, to: Ipv4Addr) -> Ending {
    let frame = Draft::udp((subscriber::PLAIN, 5000), (to, 53)).bytes();
    let run = bpf.run(Entry::Inside, &frame);
    run.expect("it takes the frame").ending
}

/// Nothing passes for want of a program: such packets are dropped and counted.
#[test]
fn without_the_programs_for_them_rare_packets_are_dropped() {
    if !skip::is_root("without_the_programs_for_them_rare_packets_are_dropped") {
        return;
    }
    in_namespace(|| {
        let mut bpf = Bpf::new(&Rc::new(World::new()));
        let hairpin = Draft::udp((subscriber::PLAIN, 5000), (POOL[1], 5000)).bytes();
        let there = bpf
            .run(Entry::Inside, &hairpin)
            .expect("it takes the frame");
        assert_eq!(there.ending, Ending::Dropped(Reason::NoMapping));
        let mut programs = rare_programs(&mut bpf);
        for program in RareProgram::needed(Features::NONE) {
            programs.clear_index(&(program as u32)).expect("it was set");
        }
        let gone = bpf
            .run(Entry::Inside, &hairpin)
            .expect("it takes the frame");
        assert_eq!(gone.ending, Ending::Dropped(Reason::Hairpin));
        assert_eq!(gone.bytes, hairpin);
        let fragment = datagram(7).fragments(16).remove(0);
        let gone = bpf
            .run(Entry::Inside, &fragment)
            .expect("it takes the frame");
        assert_eq!(gone.ending, Ending::Dropped(Reason::Fragment));
        assert_eq!(gone.bytes, fragment);
    });
}

/// A datagram of two fragments.
fn datagram(id: u16) -> Draft {
    let draft = Draft::udp((subscriber::PLAIN, 5000), (remote::PLAIN, 53));
    draft.with(|d| (d.dont_fragment, d.id) = (false, id))
}

/// What waits in the slow path is not passed over by a first fragment that XDP could translate.
#[test]
fn a_first_fragment_that_is_awaited_goes_to_the_slow_path() {
    if !skip::is_root("a_first_fragment_that_is_awaited_goes_to_the_slow_path") {
        return;
    }
    in_namespace(|| {
        let mut bpf = Bpf::new(&Rc::new(World::new()));
        let first = |id| datagram(id).fragments(16).remove(0);
        let key = |id| {
            let (source, destination) = (subscriber::PLAIN.to_bits(), remote::PLAIN.to_bits());
            FragmentKey::new(Side::Inside, 17, source, destination, id)
        };
        let soon = bpf.tick().wrapping_add(FRAGMENT_TICKS);
        bpf.memory().await_first(&key(1), soon);
        bpf.memory().await_first(&key(2), bpf.tick());
        let run = |bpf: &mut Bpf, id| bpf.run(Entry::Inside, &first(id)).expect("it fits");
        let awaited = run(&mut bpf, 1);
        assert_eq!(awaited.ending, Ending::Punted(Reason::FragmentAwaited));
        assert_eq!(awaited.bytes, first(1), "as it came");
        let known = bpf.memory().datagrams.get(&key(1)).expect("it was entered");
        let sent = run(&mut bpf, 2);
        assert!(
            matches!(sent.ending, Ending::Sent { .. }),
            "that time is over: {sent:?}"
        );
        // Once more, as the slow path does: the same identification.
        bpf.memory().await_first(&key(1), bpf.tick());
        let sent = run(&mut bpf, 1);
        let id = u16::from_be_bytes([sent.bytes[18], sent.bytes[19]]);
        assert_eq!(u32::from(id), known.id);
    });
}

/// A flood of fragments takes so much of the slow path's time and no more, and nobody else's share.
#[test]
fn fragments_of_one_source_take_nothing_from_another() {
    if !skip::is_root("fragments_of_one_source_take_nothing_from_another") {
        return;
    }
    in_namespace(|| {
        let mut bpf = Bpf::new(&Rc::new(World::new()));
        let later = |id| datagram(id).fragments(16).remove(1);
        let most = MOST_PUNTS_PER_SOURCE;
        let (punted, ticks) = admitted(&mut bpf, 4 * most, later, Reason::FragmentUnknown);
        assert!(
            (most..=most * ticks).contains(&punted),
            "{punted} in {ticks} ticks"
        );
        let other = Draft::udp((subscriber::TWO_BLOCKS, 5000), (remote::PLAIN, 53))
            .with(|d| d.dont_fragment = false)
            .fragments(16);
        let run = bpf.run(Entry::Inside, &other[1]).expect("it fits");
        assert_eq!(run.ending, Ending::Punted(Reason::FragmentUnknown));
        let first = |id| datagram(id).fragments(16).remove(0);
        let most = MOST_DATAGRAMS;
        let (begun, ticks) = admitted(&mut bpf, 4 * most, first, Reason::FragmentLimit);
        assert!(
            (most..=most * ticks).contains(&begun),
            "{begun} in {ticks} ticks"
        );
        for fragment in &other {
            let run = bpf.run(Entry::Inside, fragment).expect("it fits");
            assert!(matches!(run.ending, Ending::Sent { .. }), "{run:?}");
        }
    });
}

/// Sends so many frames; those that were not refused for a limit, and ticks that it took at most.
fn admitted(
    bpf: &mut Bpf,
    frames: u32,
    frame: impl Fn(u16) -> Vec<u8>,
    also: Reason,
) -> (u32, u32) {
    let (mut admitted, begun) = (0, Instant::now());
    for id in 0..frames {
        match bpf
            .run(Entry::Inside, &frame(id as u16))
            .expect("it fits")
            .ending
        {
            Ending::Dropped(Reason::FragmentLimit) => {}
            Ending::Sent { .. } => admitted += 1,
            Ending::Punted(reason) if reason == also => admitted += 1,
            other => panic!("fragment {id}: {other:?}"),
        }
    }
    (
        admitted,
        (begun.elapsed().as_nanos() >> TICK_SHIFT) as u32 + 2,
    )
}

/// The map that the entry programs jump through.
fn rare_programs(bpf: &mut Bpf) -> ProgramArray<MapData> {
    let program = bpf.dataplane().program(Entry::Inside).expect("loaded");
    let info = program.info().expect("it is in the kernel");
    let ids = info.map_ids().expect("it uses maps").expect("Linux 6.1");
    let mut maps = ids
        .into_iter()
        .map(|id| MapData::from_id(id).expect("it lives"));
    let rare = maps.find(|map| {
        let info = map.info().expect("it lives");
        info.name_as_str() == Some(layout::RARE.name)
    });
    ProgramArray::try_from(Map::ProgramArray(rare.expect("it jumps"))).expect("of programs")
}

#[test]
fn the_diagnostics_object_tells_of_each_packet_that_is_not_translated() {
    if !skip::is_root("the_diagnostics_object_tells_of_each_packet_that_is_not_translated") {
        return;
    }
    let heard = Arc::new(Mutex::new(Vec::new()));
    let lines = || std::mem::take(&mut *heard.lock().expect("no panic"));
    in_namespace(|| {
        let writer = Arc::clone(&heard);
        let world = Rc::new(World::new());
        let tell = move |line: &str| writer.lock().expect("no panic").push(line.to_owned());
        let mut bpf = Bpf::diagnosing(&world, Box::new(tell));
        let client = (subscriber::PLAIN, 5000);
        let translated = Draft::udp(client, (remote::PLAIN, 53)).bytes();
        let run = bpf.run(Entry::Inside, &translated).expect("it fits");
        assert!(matches!(run.ending, Ending::Sent { .. }), "{run:?}");
        let mut arp = translated.clone();
        arp[12..14].copy_from_slice(&[8, 6]);
        bpf.run(Entry::Inside, &arp).expect("it fits");
        bpf.diagnostics().flush();
        assert_eq!(lines(), [""; 0], "translated, or the kernel's");

        let (server, pool) = (remote::PLAIN, POOL[0]);
        let unsolicited = Draft::udp((server, 53), (pool, 60_000)).bytes();
        let stranger = Draft::udp((subscriber::STRANGER, 7), (server, 53)).bytes();
        let punted = Draft::udp((subscriber::NO_BLOCK_YET, 7), (server, 53)).bytes();
        for (entry, frame, wanted) in [
            (
                Entry::Outside,
                unsolicited.as_slice(),
                format!("drop no_mapping: udp {server}:53 > {pool}:60000 on lo queue 0"),
            ),
            (
                Entry::Inside,
                &stranger,
                format!("drop spoofed_source: udp 10.0.0.1:7 > {server}:53 on lo queue 0"),
            ),
            // No socket listens in a test run.
            (
                Entry::Inside,
                &punted,
                format!(
                    "drop punt_undelivered: udp {}:7 > {server}:53 on lo queue 0",
                    subscriber::NO_BLOCK_YET
                ),
            ),
            (
                Entry::Inside,
                &translated[..20],
                "drop truncated: a frame of 20 bytes on lo queue 0".to_owned(),
            ),
        ] {
            bpf.run(entry, frame).expect("it fits");
            bpf.diagnostics().flush();
            assert_eq!(lines(), [wanted]);
        }
        assert_eq!(bpf.diagnostics().missed().expect("tallies"), 0);
        flood_of_lines(&mut bpf, &unsolicited, lines);
    });
}

/// At most so many lines a second on each processor; the rest is counted.
fn flood_of_lines(bpf: &mut Bpf, frame: &[u8], lines: impl Fn() -> Vec<String>) {
    const FRAMES: u64 = 20 * LINES_PER_SECOND;
    let began = std::time::Instant::now();
    let mut told = 0;
    for _ in 0..FRAMES {
        bpf.run(Entry::Outside, frame).expect("it fits");
        bpf.diagnostics().flush();
        told += lines().len() as u64;
    }
    let processors = std::thread::available_parallelism().map_or(1, |n| n.get() as u64);
    let seconds = began.elapsed().as_secs() + 2;
    assert!(
        told <= seconds * processors * LINES_PER_SECOND,
        "{told} lines"
    );
    let missed = bpf.diagnostics().missed().expect("tallies");
    assert_eq!(told + missed, FRAMES, "each has a line or is counted");
    assert!(missed > 0, "no flood");
    assert_eq!(
        bpf.diagnostics().missed().expect("tallies"),
        0,
        "counted once"
    );
}
