//! XDP and user space on the same memory at the same time.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use aya::programs::Xdp;
use cgn_common::limits::TICK_SHIFT;
use cgn_common::verdict::Protocol;
use cgn_tests::harness::bpf::{Bpf, coarse_ns, test_run};
use cgn_tests::harness::host::run_over;
use cgn_tests::harness::namespace::in_namespace;
use cgn_tests::harness::world::{World, subscriber};
use cgn_tests::harness::{Ending, audit};
use cgn_tests::packets::mutate::Dice;
use cgn_tests::skip;
use cgn_user::dataplane::load::Entry;
use cgn_user::dataplane::memory::Memory;

use super::threads::{SHORT, expire_all, sweep, template};

/// The kernel's coarse clock in ticks.
fn now() -> u32 {
    (coarse_ns() >> TICK_SHIFT) as u32
}

#[test]
fn xdp_and_user_space_race_for_the_same_mappings() {
    if skip::is_root("kernel::xdp_and_user_space_race_for_the_same_mappings") {
        in_namespace(race);
    }
}

fn race() {
    let world = std::rc::Rc::new(World::new());
    let mut bpf = Bpf::new(&world);
    let memory = bpf.dataplane().memory().clone();
    let program: &Xdp = bpf.dataplane().program(Entry::Inside).expect("loaded");
    let (memory, world): (&Memory, &World) = (&memory, &world);
    let inside = subscriber::SIX_BLOCKS;
    let index = world.geometry.subscriber_index(inside).expect("known");
    let (stop, in_kernel, in_user) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    // The namespace is this thread's; test runs need it only for the loopback device.
    thread::scope(|scope| {
        for number in 0..4_u64 {
            let (stop, in_kernel, in_user) = (&stop, &in_kernel, &in_user);
            scope.spawn(move || {
                let mut frame = template(inside);
                let mut dice = Dice::new(number + 1);
                while !stop.load(Ordering::Relaxed) {
                    let port = {
                        let range = if dice.roll(2) == 0 { 4 } else { 420 };
                        dice.roll(range) as u16
                    };
                    frame[34..36].copy_from_slice(&port.to_be_bytes());
                    if number % 2 == 0 {
                        let (action, _) = test_run(program, &frame);
                        in_kernel.fetch_add(u64::from(action == 4), Ordering::Relaxed);
                    } else {
                        let run = run_over(memory, world, now(), 0, Entry::Inside, &frame);
                        let sent = matches!(run.ending, Ending::Sent { .. });
                        in_user.fetch_add(u64::from(sent), Ordering::Relaxed);
                    }
                }
            });
        }
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let _ = sweep(memory, world, now(), &SHORT);
                thread::sleep(Duration::from_millis(1));
            }
        });
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(4) {
            let twice = audit::doubled(memory, index, Protocol::Udp);
            if !twice.is_empty() {
                stop.store(true, Ordering::Relaxed);
                panic!("two mappings of {twice:?} at once");
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    let (in_kernel, in_user) = (in_kernel.into_inner(), in_user.into_inner());
    println!("{in_kernel} packets in the kernel, {in_user} in user space");
    assert!(in_kernel > 1000 && in_user > 1000, "{in_kernel}, {in_user}");
    let wrong = audit::contradictions(memory, index);
    assert!(wrong.is_empty(), "{wrong:#?}");
    expire_all(memory, world, now(), &SHORT);
}
