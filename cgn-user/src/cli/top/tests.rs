use ratatui::crossterm::event::{Event, KeyCode, KeyEvent, KeyModifiers};

use super::model::Model;
use super::screen::scaled;
use super::{drawn, is_end, text};
use crate::api::rows::{DropRow, PerProtocol, PoolRow, SubscriberRow, Top, Traffic};

/// A look at second `second`: counters grow by 1,000 packets of 125 bytes a second outbound, half
/// of that inbound, 20 drops and 2 refusals.
fn look(second: u64) -> Top {
    let traffic = |packets: u64| Traffic {
        packets: PerProtocol {
            udp: packets,
            ..PerProtocol::default()
        },
        bytes: PerProtocol {
            udp: 125 * packets,
            ..PerProtocol::default()
        },
    };
    let reason = |reason: &str, effect: &str, fast_path| DropRow {
        reason: reason.to_owned(),
        effect: effect.to_owned(),
        fast_path,
        slow_path: 1,
        help: String::new(),
    };
    let ports = |tcp| PerProtocol {
        tcp,
        ..PerProtocol::default()
    };
    Top {
        at_ms: 1000 * second,
        outbound: traffic(1000 * second),
        inbound: traffic(500 * second),
        created: ports(30 * second),
        mappings: ports(12_345),
        drops: vec![
            reason("filtered", "drop", 9_000),
            reason("no_port", "drop", 20 * second),
            reason("first_packet", "punt", 3),
        ],
        pools: vec![PoolRow {
            pool: "residential".to_owned(),
            addresses: 4,
            addresses_used: 3,
            subscriber_addresses: 256,
            subscribers: 40,
            block_ports: 64,
            port_mode: "contiguous".to_owned(),
            entropy_bits: 6.0,
            blocks_per_subscriber: 2,
            max_blocks: 100,
            blocks_used: 77,
            blocks_held: 5,
            blocks_free: 18,
            mappings: ports(12_345),
            held_ports: 0,
            refusals: crate::api::rows::Refusals {
                pool_exhausted: 2 * second,
                ..Default::default()
            },
            withheld: String::new(),
            unsolicited: 0,
            attacked: String::new(),
        }],
        subscribers: vec![SubscriberRow {
            realm: String::new(),
            inside: [100, 64, 0, 10].into(),
            external: Some([203, 0, 113, 2].into()),
            pool: "residential".to_owned(),
            next_pool: None,
            blocks: 2,
            ports_used: ports(60 + second),
            ports_usable: 128,
            refused: false,
            group: None,
            refusals: Vec::new(),
        }],
    }
}

fn after(looks: &[u64]) -> Model {
    let mut model = Model::default();
    looks.iter().for_each(|second| model.push(look(*second)));
    model
}

#[test]
fn rates_are_of_the_time_between_two_looks() {
    let mut model = after(&[10, 12]);
    let rates = model.rates();
    assert_eq!(
        (rates.packets, rates.bits),
        ([1000, 500], [1_000_000, 500_000])
    );
    assert_eq!((rates.created, rates.dropped), (30, 20));
    let (first, rate) = model.reasons()[0];
    assert_eq!(
        (first.reason.as_str(), rate),
        ("no_port", 20),
        "the most frequent now"
    );
    assert_eq!(model.pools()[0].1, 2);
    assert_eq!(model.subscribers()[0].1, Some(2));
    // The daemon began anew with its counters, or was asked twice in a moment.
    model.push(look(1));
    assert_eq!(model.rates().packets, [0, 0]);
    assert_eq!(model.history(9, |rates| rates.packets[0]), [1000, 0]);
    assert_eq!(after(&[5, 5]).rates().packets, [0, 0]);
}

#[test]
fn a_picture_has_rates_reasons_pools_and_subscribers() {
    let picture = text(&drawn(&after(&[1, 2, 3, 4]), 100, 30).unwrap());
    for words in [
        "mappings: 12.3 ktcp 0 udp 0 icmp, 30 new/s",
        " out 1.0 kpps 1.0 Mbit/s ",
        " in 500 pps 500 kbit/s ",
        " dropped 20 pps ",
        "residential",
        "3/4",
        "no_port",
        "100.64.0.10",
        "203.0.113.2",
        "+1",
        "█",
    ] {
        assert!(picture.contains(words), "{words} is not in\n{picture}");
    }
    let of = |word: &str| picture.find(word).unwrap();
    assert!(of("no_port") < of("filtered"), "by rate\n{picture}");
    assert_eq!(picture.lines().count(), 30);
}

#[test]
fn a_picture_fits_into_any_terminal() {
    let model = after(&[1, 2]);
    for (width, height) in [(1, 1), (10, 3), (40, 10), (80, 24), (300, 100)] {
        let cells = drawn(&model, width, height).unwrap();
        assert_eq!((cells.area.width, cells.area.height), (width, height));
        drawn(&Model::default(), width, height).unwrap();
    }
    let mut lost = model;
    lost.trouble = Some("nobody answers".to_owned());
    assert!(text(&drawn(&lost, 80, 24).unwrap()).contains("nobody answers; trying again"));
}

#[test]
fn numbers_are_short() {
    for (number, words) in [
        (0, "0 "),
        (999, "999 "),
        (1000, "1.0 k"),
        (99_949, "99.9 k"),
        (123_456, "123 k"),
        (5_000_000, "5.0 M"),
        (7_000_000_000_000_000, "7000 T"),
    ] {
        assert_eq!(scaled(number), words);
    }
}

#[test]
fn keys_that_end_it() {
    for (code, modifiers, ends) in [
        (KeyCode::Char('q'), KeyModifiers::NONE, true),
        (KeyCode::Esc, KeyModifiers::NONE, true),
        (KeyCode::Char('c'), KeyModifiers::CONTROL, true),
        (KeyCode::Char('c'), KeyModifiers::NONE, false),
        (KeyCode::Enter, KeyModifiers::NONE, false),
    ] {
        let event = Event::Key(KeyEvent::new(code, modifiers));
        assert_eq!(is_end(&event), ends, "{code:?}");
    }
    assert!(!is_end(&Event::Resize(1, 1)));
}
