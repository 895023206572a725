//! What arrives, and what does not, where collectors come and go.

use super::*;
use crate::maplog::directory::{self, HOUR_MS};
use crate::maplog::sealer::{Retention, Sealer};

#[test]
fn a_sink_is_sent_what_it_wants_and_the_rest_counts_as_arrived() {
    use crate::maplog::{Protocol, Session};
    let session = Session {
        external: [203, 0, 113, 5].into(),
        external_port: 1030,
        protocol: Protocol::Tcp,
        realm: 0,
        inside: [100, 64, 0, 1].into(),
        inside_port: 40_000,
        remote: None,
    };
    let all = ["allocate", "open", "close", "release"];
    for (blocks, sessions) in [(true, true), (true, false), (false, true), (false, false)] {
        let mut place = Place::new();
        let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = server.local_addr().unwrap();
        let mut sink = place.sink_with(|options| {
            (options.format, options.transport) = (Format::JsonLines, Transport::Tcp);
            options.address = address;
            options.kinds = Kinds {
                blocks,
                sessions,
                notices: false,
            };
        });
        place.write(1, true);
        for event in [Event::Open(session), Event::Close(session)] {
            let unix_ms = place.unix_ms;
            place.log.append(&[Entry { unix_ms, event }]).unwrap();
        }
        place.write(1, false);
        let until = Instant::now() + PATIENCE;
        while sink.stats().pending > 0 {
            sink.turn(Instant::now(), 0).unwrap();
            assert!(Instant::now() < until, "{:?}", sink.stats());
        }
        drop(sink);
        let mut text = String::new();
        server
            .accept()
            .unwrap()
            .0
            .read_to_string(&mut text)
            .unwrap();
        let said = |kind: &str| text.contains(&format!("\"kind\":\"{kind}\""));
        let found = all.map(said);
        assert_eq!(found, [blocks, sessions, sessions, blocks], "{text}");
    }
}

#[test]
fn notices_wait_for_a_collector_and_the_oldest_go_when_there_are_too_many() {
    use crate::maplog::notice::What;
    let place = Place::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let notice = |unix_ms| Notice {
        unix_ms,
        what: What::AddressesExhausted { pool: 0 },
    };
    let mut sink = place.sink_with(|options| {
        (options.address, options.kinds.notices) = (address, true);
    });
    sink.notify(vec![notice(1), notice(2)], 3);
    assert!(sink.turn(Instant::now(), 0).is_err(), "nobody listens");
    sink.notify((3..=MOST_KEPT as u64 + 1).map(notice).collect(), 0);
    assert_eq!(sink.stats().lost_notices, 3 + 1);

    let listener = TcpListener::bind(address).unwrap();
    sink.turn(Instant::now() + RETRY, 0).unwrap();
    assert_eq!(sink.stats().notices, MOST_KEPT as u64);
    drop(sink);
    let mut text = String::new();
    listener
        .accept()
        .unwrap()
        .0
        .read_to_string(&mut text)
        .unwrap();
    let times: Vec<u64> = text
        .lines()
        .map(|line| {
            serde_json::from_str::<serde_json::Value>(line).unwrap()["unix_ms"]
                .as_u64()
                .unwrap()
        })
        .collect();
    let expected: Vec<u64> = (2..=MOST_KEPT as u64 + 1).collect();
    assert_eq!(times, expected);

    // A sink that wants none gets none.
    let mut sink = place.sink_with(|options| options.kinds.notices = false);
    sink.notify(vec![notice(1)], 3);
    assert_eq!(sink.stats().lost_notices, 0);
}

#[test]
fn a_new_sink_begins_with_the_next_record_and_an_old_one_where_it_was() {
    let mut place = Place::new();
    place.write(1, true);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut sink = place.sink(Format::JsonLines, Transport::Tcp, address);
    place.write(2, true);
    place.write(2, false);
    let collector = collect(listener, 2);
    deliver(&mut sink);
    assert_eq!(numbers(&collector.join().unwrap().0), [2, 3]);
    assert_eq!(sink.stats().sent, 2);
    sink.close(Instant::now()).unwrap();
    place.write(3, true);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut sink = place.sink(Format::JsonLines, Transport::Tcp, address);
    let collector = collect(listener, 1);
    deliver(&mut sink);
    assert_eq!(numbers(&collector.join().unwrap().0), [4]);
}

#[test]
fn what_a_dead_collector_missed_is_sent_when_it_is_back() {
    let mut place = Place::new();
    // A port that nobody listens on.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let mut sink = place.sink(Format::JsonLines, Transport::Tcp, address);
    for number in 0..50 {
        place.write(number, true);
        let before = Instant::now();
        let _ = sink.turn(Instant::now(), 0);
        assert!(
            before.elapsed() < Duration::from_secs(1),
            "a dead collector takes no time"
        );
    }
    assert_eq!((sink.stats().pending, sink.stats().sent), (50, 0));
    assert!(sink.stats().failures > 0 && !sink.stats().is_connected);
    // Sealed meanwhile: the segments are its spool.
    place.log.end_hour(START + HOUR_MS).unwrap();
    let keep = Retention {
        days: None,
        sealed_bytes: None,
        spool_bytes: u64::MAX,
    };
    Sealer::open(&place.root, keep, None)
        .unwrap()
        .turn(START)
        .unwrap();
    place.write(60, true);
    let collector = collect(TcpListener::bind(address).unwrap(), 51);
    deliver(&mut sink);
    assert_eq!(
        numbers(&collector.join().unwrap().0),
        (1..=51).collect::<Vec<_>>()
    );
    assert_eq!((sink.stats().sent, sink.stats().lost), (51, 0));
}

#[test]
fn what_a_collector_took_and_did_not_read_is_sent_again() {
    let mut place = Place::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut sink = place.sink(Format::JsonLines, Transport::Tcp, address);
    let first = collect(listener, 1);
    place.write(1, true);
    let until = Instant::now() + PATIENCE;
    while !first.is_finished() {
        let _ = sink.turn(Instant::now(), 0);
        assert!(Instant::now() < until);
    }
    first.join().unwrap();
    // The collector is gone; the sink may not know yet.
    for number in 2..20 {
        place.write(number, true);
        let _ = sink.turn(Instant::now(), 0);
    }
    let again = collect(TcpListener::bind(address).unwrap(), 18);
    deliver(&mut sink);
    let got = numbers(&again.join().unwrap().0);
    assert!(got.ends_with(&(3..=19).collect::<Vec<_>>()), "{got:?}");
    assert_eq!(sink.stats().lost, 0);
}

#[test]
fn beyond_the_spool_records_are_lost_and_counted() {
    let mut place = Place::new();
    let mut sink = place.sink_with(|_| {});
    place.write(1, true);
    place.write(2, true);
    place.log.end_hour(START + HOUR_MS).unwrap();
    let keep = Retention {
        days: None,
        sealed_bytes: None,
        spool_bytes: 0,
    };
    Sealer::open(&place.root, keep, None)
        .unwrap()
        .turn(START)
        .unwrap();
    assert_eq!(directory::segments(&place.root).unwrap().len(), 1);
    place.write(3, true);
    drop(sink);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    fs::write(place.root.join("sinks/collector.cursor"), "1\n").unwrap();
    sink = place.sink(Format::JsonLines, Transport::Tcp, address);
    let collector = collect(listener, 1);
    deliver(&mut sink);
    assert_eq!(numbers(&collector.join().unwrap().0), [3]);
    assert_eq!((sink.stats().sent, sink.stats().lost), (1, 2));
}

#[test]
fn held_blocks_are_told_again_also_after_a_start() {
    let mut place = Place::new();
    for number in 0..4 {
        place.write(number, true);
    }
    place.write(1, false);
    place.log.end_hour(START + HOUR_MS).unwrap();
    let keep = Retention {
        days: None,
        sealed_bytes: None,
        spool_bytes: 0,
    };
    Sealer::open(&place.root, keep, None)
        .unwrap()
        .turn(START)
        .unwrap();
    place.write(5, true);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut sink = place.sink_with(|options| {
        options.address = address;
        options.interim_every = Some(Duration::from_secs(3600));
    });
    let collector = collect(listener, 4);
    let until = Instant::now() + PATIENCE;
    while !collector.is_finished() {
        let _ = sink.turn(Instant::now(), 0);
        assert!(Instant::now() < until);
    }
    let (text, _) = collector.join().unwrap();
    let mut insides: Vec<String> = text
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .map(|line| {
            format!(
                "{} {}",
                line["kind"].as_str().unwrap(),
                line["inside"].as_str().unwrap()
            )
        })
        .collect();
    insides.sort();
    let expected = [0, 2, 3, 5].map(|number| format!("interim 100.64.0.{number}"));
    assert_eq!(insides, expected);
    assert_eq!(sink.stats().interim, 4);
}
