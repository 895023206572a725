//! Which mappings and sessions lasted, from segments and sealed files alike.

use super::*;
use crate::maplog::query::{Lasted, sessions};
use crate::maplog::verify::verify;
use crate::maplog::{Protocol, Remote, Session};

/// A session of subscriber 1 at port `port`, to that port of 8.8.4.4; a mapping with 0.
fn session(port: u16, protocol: Protocol, remote_port: u16) -> Session {
    Session {
        external: EXTERNAL,
        external_port: port,
        protocol,
        realm: 0,
        inside: [100, 64, 0, 1].into(),
        inside_port: 40_000 + port,
        remote: (remote_port != 0).then_some(Remote {
            address: [8, 8, 4, 4].into(),
            port: remote_port,
        }),
    }
}

fn open(unix_ms: u64, session: Session) -> Entry {
    let event = Event::Open(session);
    Entry { unix_ms, event }
}

fn close(unix_ms: u64, session: Session) -> Entry {
    let event = Event::Close(session);
    Entry { unix_ms, event }
}

const TCP: Protocol = Protocol::Tcp;
const UDP: Protocol = Protocol::Udp;

/// Subscriber 1 has ports 1024 to 1535 for two days and a half. At port 1030 a TCP session lasts from
/// the first day to the third, another for a minute of the first; one of UDP ends with the block. At
/// port 1024, the block's own first one, a mapping comes and goes in the hour in which the block does.
fn talk() -> Vec<Entry> {
    let end = START + 2 * DAY_MS + 12 * HOUR_MS;
    let long = session(1030, TCP, 443);
    let short = session(1030, TCP, 80);
    let with_block = session(1030, UDP, 53);
    let mapping = session(1024, UDP, 0);
    let mut entries = vec![
        given(START + 10, 1, 1024),
        open(START + 5 * HOUR_MS, long),
        open(START + 6 * HOUR_MS, short),
        close(START + 6 * HOUR_MS + 60_000, short),
        open(START + DAY_MS + HOUR_MS, with_block),
        close(START + 2 * DAY_MS + 3 * HOUR_MS, long),
        open(end - 5_000, mapping),
        close(end - 1_000, mapping),
        taken(end, 1, 1024),
    ];
    for hour in 0..3 * 24 {
        entries.push(given(START + hour * HOUR_MS + 500, 9, 40_000));
        entries.push(taken(START + hour * HOUR_MS + 900, 9, 40_000));
    }
    entries.sort_by_key(|entry| entry.unix_ms);
    entries
}

fn talked(name: &str, is_sealed: bool) -> Place {
    let root = std::env::temp_dir().join(format!("cgn-query-{}-{name}", std::process::id()));
    let _ = fs::remove_dir_all(&root);
    let options = LogOptions {
        sync: false,
        keep_released_ms: 0,
        may_lack: false,
    };
    let (mut log, _) = Log::open(&root, options).unwrap();
    for (number, entry) in talk().into_iter().enumerate() {
        log.append(&[entry]).unwrap();
        // A sealer that starts anew knows what lasts.
        if is_sealed && number % 40 == 7 {
            Sealer::open(&root, KEEP, None)
                .unwrap()
                .turn(START)
                .unwrap();
        }
    }
    if is_sealed {
        Sealer::open(&root, KEEP, None)
            .unwrap()
            .turn(START)
            .unwrap();
    }
    Place(root)
}

#[test]
fn mappings_and_sessions_are_found_alike_in_segments_and_sealed_files() {
    let (day, end) = (START + DAY_MS, START + 2 * DAY_MS + 12 * HOUR_MS);
    let (long, short) = (START + 5 * HOUR_MS, START + 6 * HOUR_MS);
    let with_block = day + HOUR_MS;
    // Remote port, and since when.
    type Case = (&'static str, u16, Protocol, u64, Vec<(u16, u64)>);
    let cases: [Case; 9] = [
        ("before the first", 1030, TCP, long - 9, vec![]),
        ("one", 1030, TCP, long + 9, vec![(443, long)]),
        (
            "two at once",
            1030,
            TCP,
            short + 9,
            vec![(443, long), (80, short)],
        ),
        ("no other protocol's", 1030, UDP, short + 9, vec![]),
        ("no other port's", 1031, TCP, short + 9, vec![]),
        (
            "one that lasts for days",
            1030,
            TCP,
            day + 20 * HOUR_MS,
            vec![(443, long)],
        ),
        (
            "one of that day",
            1030,
            UDP,
            day + 20 * HOUR_MS,
            vec![(53, with_block)],
        ),
        (
            "at its block's first port",
            1024,
            UDP,
            end - 3_000,
            vec![(0, end - 5_000)],
        ),
        (
            "the block's end is that of all",
            1030,
            UDP,
            end + 10,
            vec![],
        ),
    ];
    for (is_sealed, name) in [(false, "talk-open"), (true, "talk-sealed")] {
        let place = talked(name, is_sealed);
        for (what, port, protocol, at_ms, expected) in cases.clone() {
            let enquiry = Enquiry {
                external: EXTERNAL,
                port,
                at_ms,
                skew_ms: 1,
            };
            let found = sessions(&place.0, &enquiry, protocol).unwrap();
            let port_of = |lasted: &Lasted| lasted.session.remote.map_or(0, |to| to.port);
            let seen: Vec<_> = found
                .iter()
                .map(|lasted| (port_of(lasted), lasted.since_ms))
                .collect();
            assert_eq!(seen, expected, "{what}, sealed: {is_sealed}");
            // Who had the port is as ever.
            let holders = insides(&ask(&place.0, port, at_ms, 1));
            assert_eq!(
                holders,
                if at_ms < end { vec![1] } else { vec![] },
                "{what}"
            );
        }
        let verdict = verify(&place.0, None).unwrap();
        assert_eq!(verdict.problems, Vec::<String>::new());
    }
}
