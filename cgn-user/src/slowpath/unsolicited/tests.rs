//! The store of SYNs that nobody waits for.

use super::*;

/// A SYN from a source address and port.
fn syn(source: u32, port: u16) -> Vec<u8> {
    use cgn_common::csum;
    let mut frame = vec![0; 12];
    frame.extend([0x08, 0x00, 0x45, 0, 0, 40, 0, 1, 0x40, 0, 64, 6, 0, 0]);
    frame.extend(source.to_be_bytes());
    frame.extend([203, 0, 113, 1]);
    frame.extend(port.to_be_bytes());
    frame.extend(4000_u16.to_be_bytes());
    frame.extend([0, 0, 0, 1, 0, 0, 0, 0, 0x50, 0x02, 0xff, 0xff, 0, 0, 0, 0]);
    let sum = read(&frame, |buffer| buffer.sum(14, 20)).flatten();
    let checksum = !csum::fold(sum.expect("a header"));
    frame[24..26].copy_from_slice(&checksum.to_ne_bytes());
    frame
}

#[test]
fn a_syn_waits_for_six_seconds_at_the_least() {
    let mut store = Store::default();
    assert!(store.keep(syn(1, 1), 7, 100));
    for now in 100..124 {
        assert_eq!(store.next_due(now), None, "tick {now}");
    }
    // A tick is 0.268 s: it came within tick 100, and tick 124 begins 23 of them later, or 6.17 s.
    let due = store.next_due(124).expect("it is due");
    assert_eq!((due.frame, due.port), (syn(1, 1), 7));
    assert!(store.is_empty());
}

#[test]
fn sent_again_it_waits_as_the_first() {
    let mut store = Store::default();
    assert!(store.keep(syn(1, 1), 0, 0));
    assert!(store.keep(syn(1, 1), 0, 10), "its connection waits");
    assert!(store.keep(syn(1, 2), 0, 10), "another connection");
    assert_eq!(store.len(), 2);
    assert!(store.next_due(PATIENCE).is_some());
    assert_eq!(store.next_due(PATIENCE), None);
    assert!(store.keep(syn(1, 1), 0, PATIENCE), "and then as a new one");
    assert_eq!(store.len(), 2);
}

#[test]
fn no_source_takes_the_room_of_another() {
    let mut store = Store::default();
    for port in 0..1000 {
        let is_kept = store.keep(syn(1, port), 0, 0);
        assert_eq!(is_kept, usize::from(port) < MOST_PER_SOURCE, "{port}");
    }
    assert!(store.keep(syn(2, 1), 0, 1));
    for _ in 0..MOST_PER_SOURCE {
        assert!(store.next_due(PATIENCE).is_some());
    }
    assert!(store.keep(syn(1, 1), 0, PATIENCE), "it has room again");
    assert_eq!(store.len(), 2);
}

#[test]
fn a_flood_of_many_sources_stays_within_the_bounds() {
    let mut store = Store::default();
    let kept = (0..20_000).filter(|source| store.keep(syn(*source, 1), 0, 0));
    assert_eq!(kept.count(), MOST);
    let due = std::iter::from_fn(|| store.next_due(PATIENCE)).count();
    assert_eq!(due, MOST);
    let large = |source| [syn(source, 1), vec![0; 4000]].concat();
    let kept = (0..20_000).filter(|source| store.keep(large(*source), 0, PATIENCE));
    assert_eq!(kept.count(), MOST_BYTES / 4054);
}

#[test]
fn only_what_asks_for_a_connection_is_a_syn() {
    for (flags, opens) in [
        (0x02, true),
        (0xc2, true), // with ECN (RFC 3168)
        (0x12, false),
        (0x06, false),
        (0x10, false),
        (0x04, false),
        (0x01, false),
        (0x00, false),
    ] {
        let mut frame = syn(1, 1);
        frame[14 + 20 + 13] = flags;
        assert_eq!(opens_connection(&frame), opens, "flags {flags:#x}");
    }
    for cut in 0..54 {
        assert!(!opens_connection(&syn(1, 1)[..cut]), "{cut} bytes");
    }
}
