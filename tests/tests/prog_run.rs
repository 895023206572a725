//! The cases and the corpus in the kernel (`BPF_PROG_TEST_RUN`), compared with host and slow path.

use std::net::Ipv4Addr;
use std::rc::Rc;
use std::time::Instant;

use cgn_common::limits::TICK_SHIFT;
use cgn_common::punts::{MOST, MOST_PER_KEY};
use cgn_common::verdict::Reason;
use cgn_tests::harness::bpf::Bpf;
use cgn_tests::harness::cases;
use cgn_tests::harness::namespace::{self, in_namespace};
use cgn_tests::harness::trial::Trial;
use cgn_tests::harness::world::{World, remote, subscriber};
use cgn_tests::harness::{Ending, Home as _};
use cgn_tests::packets::{Draft, corpus};
use cgn_tests::skip;
use cgn_user::dataplane::load::Entry;

#[test]
fn every_case_is_the_same_on_host_slow_path_and_bpf() {
    if skip::is_root("every_case_is_the_same_on_host_slow_path_and_bpf") {
        in_namespace(|| cases::run_all(&mut Trial::everywhere()));
    }
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

/// What becomes of a packet from a subscriber.
fn run_to(bpf: &mut Bpf, to: Ipv4Addr) -> Ending {
    let frame = Draft::udp((subscriber::PLAIN, 5000), (to, 53)).bytes();
    let run = bpf.run(Entry::Inside, &frame);
    run.expect("it takes the frame").ending
}
