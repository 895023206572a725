//! The cases and the corpus on the host and in the slow path: no rights needed.

use std::rc::Rc;

use cgn_common::verdict::Reason;
use cgn_tests::harness::host::Host;
use cgn_tests::harness::sound::{self, ENTRIES};
use cgn_tests::harness::trial::Trial;
use cgn_tests::harness::world::{World, remote, subscriber};
use cgn_tests::harness::{Ending, Home as _, cases, hex};
use cgn_tests::packets::mutate::{Dice, mutate};
use cgn_tests::packets::{Draft, check, corpus, scapy};
use cgn_tests::skip;
use cgn_user::dataplane::load::Entry;
use cgn_user::dataplane::memory::Memory;

#[test]
fn every_case_is_the_same_on_host_and_slow_path() {
    cases::run_all(&mut Trial::on_host());
    for group in cases::groups() {
        cases::run_group(&mut Trial::on_host_of((group.world)()), &group);
    }
}

/// Every reason is caused by a case, or it is said why it cannot be.
#[test]
fn every_reason_has_a_case() {
    let mut trial = Trial::on_host();
    cases::run_all(&mut trial);
    let mut seen_reasons = trial.seen;
    for group in cases::groups() {
        let mut trial = Trial::on_host_of((group.world)());
        cases::run_group(&mut trial, &group);
        seen_reasons.extend(trial.seen);
    }
    for reason in Reason::ALL {
        let excused = cases::filters::UNREACHABLE.iter().any(|(r, _)| r == reason);
        let seen = seen_reasons.contains(reason);
        assert!(
            seen != excused,
            "{reason:?}: seen {seen}, excused {excused}"
        );
    }
}

/// A frame that cannot grow a tag is dropped, not sent without it.
#[test]
fn a_tag_that_finds_no_head_room_ends_the_packet() {
    let world = Rc::new(World::new());
    let mut host = Host::new(&world);
    let draft = Draft::udp((subscriber::PLAIN, 1), (remote::QINQ, 1));
    for (room, enough) in [(0, false), (4, false), (7, false), (8, true)] {
        host.head_room = room;
        let run = host.run(Entry::Inside, &draft.bytes()).expect("runs");
        let dropped = run.ending == Ending::Dropped(Reason::NoHeadRoom);
        assert_eq!(dropped, !enough, "{room} bytes: {:?}", run.ending);
        assert_eq!(run.counters.packets[0][1], u64::from(enough));
    }
}

#[test]
fn captured_frames_are_handled_alike_on_host_and_slow_path() {
    let Some(captured) = corpus::captured() else {
        let folder = corpus::folder();
        let reason = format!("no captures in {}", folder.display());
        return skip::skip(
            "captured_frames_are_handled_alike_on_host_and_slow_path",
            &reason,
        );
    };
    assert!(captured.samples.len() > 100, "{captured:?}");
    let sent = corpus::run(&mut Trial::on_host(), &captured.samples);
    println!(
        "{} frames of {} files, {} not classic captures, {} not Ethernet; {sent} runs were translated",
        captured.samples.len(),
        captured.files,
        captured.not_read,
        captured.not_ethernet
    );
    assert!(sent > 100, "only {sent}");
}

/// The same function as the fuzz target, from a fixed seed.
#[test]
fn two_hundred_thousand_mutated_frames_break_nothing() {
    let world = World::new();
    let memory = Memory::private(world.geometry.sizes).expect("memory");
    let own = corpus::own();
    // Long frames are slow, and no different.
    let mut others = corpus::captured().unwrap_or_default().samples;
    others.retain(|sample| sample.bytes.len() < 400);
    others.extend(own.iter().cloned());
    let mut dice = Dice::new(0x2545_f491_4f6c_dd1d);
    let (mut sent, mut right) = ([0, 0], 0);
    for round in 0..200_000 {
        if round % 2000 == 0 {
            sound::refresh(&memory, &world);
        }
        let entry = ENTRIES[dice.roll(3)];
        let samples = if dice.roll(3) == 0 { &others } else { &own };
        let mut frame = samples[dice.roll(samples.len())].bytes.clone();
        mutate(&mut frame, &mut dice);
        match dice.roll(4) {
            0 => {
                let outward = entry == Entry::Inside || entry == Entry::Vlan && dice.roll(2) == 0;
                frame = sound::at_home_here(&frame, entry, outward).unwrap_or(frame);
            }
            1 | 2 => {
                let ip = sound::network_offset(&frame);
                // Too short for a header: nothing to sum.
                let _ = ip.and_then(|(ip, _)| sound::sum_again(&mut frame, ip));
            }
            _ => {}
        }
        let room = [256, 256, 0, 4][dice.roll(4)];
        let run = sound::try_frame(&memory, &world, round / 100, room, entry, &frame);
        if matches!(run.ending, Ending::Sent { .. }) {
            sent[usize::from(run.counters.packets[0] == [0; 3])] += 1;
            let judged = check::judge(&run.bytes);
            right += usize::from(judged.is_some_and(|j| j.transport_right));
        }
    }
    println!("{sent:?} sent out and in, {right} of them with right checksums");
    assert!(
        sent[0] > 5_000 && sent[1] > 2_000 && right > 3_000,
        "{sent:?}, {right}"
    );
}

/// A second foreign judge: scapy builds each translated frame again with its
/// own checksums.
#[test]
fn scapy_builds_the_same_checksums() {
    const TEST: &str = "scapy_builds_the_same_checksums";
    let mut trial = Trial::on_host();
    cases::run_all(&mut trial);
    let mut frames = std::mem::take(&mut trial.translated);
    frames.sort();
    frames.dedup();
    let step = (frames.len() / 400).max(1);
    let lines: Vec<String> = frames.iter().step_by(step).map(|f| hex(f)).collect();
    if let Some(said) = scapy::output(TEST, REBUILD, &lines) {
        assert_eq!(said, format!("{} equal", lines.len()));
    }
}

const REBUILD: &str = "
import sys
from scapy.layers.l2 import Ether
from scapy.layers.inet import IP, TCP, UDP, ICMP
from scapy.packet import Raw
from scapy.utils import checksum
# scapy writes the length attribute of RFC 4884 anew, and drops what it cannot read of the extensions:
# what an error has behind its checksum is taken as it is.
ERRORS = (3, 11, 12)
def with_checksum(message):
    blank = message[:2] + bytes(2) + message[4:]
    return message[:2] + checksum(blank).to_bytes(2, 'big') + message[4:]
equal = 0
for line in sys.stdin:
    frame = bytes.fromhex(line.strip())
    packet = Ether(frame)
    ip = packet[IP]
    del ip.chksum
    error = ip.payload if isinstance(ip.payload, ICMP) and ip.payload.type in ERRORS else None
    if error is not None:
        whole = with_checksum(error.original)
        ip.remove_payload()
        ip.add_payload(Raw(whole))
    for layer in (TCP, UDP, ICMP):
        if layer in ip and ip[layer].chksum != 0:
            del ip[layer].chksum
    if bytes(packet) == frame:
        equal += 1
    else:
        print(line.strip(), 'became', bytes(packet).hex())
print(equal, 'equal')
";
