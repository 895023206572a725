//! Sinks that are told of some realms only.

use super::*;
use crate::maplog::identity::{Attribute, Login, login};
use crate::maplog::notice::What;
use crate::maplog::realms::Register;

/// A tenant's collector: records and notices of his realm and pools, what concerns the log, and nothing else;
/// nor the names of others.
#[test]
fn a_sink_of_some_realms_is_sent_theirs_only() {
    let notices = || {
        let inside = [100, 64, 0, 1].into();
        let exceeded = |realm| What::SubscriberExceeded {
            pool: 7,
            inside,
            realm,
            most: 64,
        };
        let throttled = |side, realm| What::PrefixThrottled {
            side,
            realm,
            prefix: inside.into(),
            length: 24,
        };
        let whats = [
            exceeded(1),
            exceeded(2),
            throttled("inside", 0),
            throttled("inside", 2),
            throttled("outside", 0),
            What::PoolHigh {
                pool: 0,
                addresses: 1,
            },
            What::OverflowHigh { pool: 7, blocks: 1 },
            What::OverloadBegan { busy_percent: 90 },
        ];
        whats.map(|what| Notice { unix_ms: 1, what }).to_vec()
    };
    let open = |place: &mut Place, format, transport, address| {
        Register::with(&place.root, ["mvno", "cloud"].into_iter(), 0).unwrap();
        place.sink_with(|options| {
            (options.format, options.transport, options.address) = (format, transport, address);
            options.kinds = Kinds::ALL;
            options.interim_every = Some(Duration::from_secs(60));
            options.identities = true;
            options.scope = Some(Scope {
                realms: [2].into(),
                pools: [7].into(),
            });
        })
    };
    let write = |place: &mut Place| {
        for (number, realm) in [(1, 0), (2, 1), (3, 2)] {
            place.realm = realm;
            place.write(number, true);
        }
        let unix_ms = place.unix_ms;
        let mut events = vec![Event::Stop];
        for (realm, name) in [(1, &b"alice"[..]), (2, b"bob")] {
            let stay = Login {
                inside: [100, 64, 0, 1].into(),
                realm,
                early_secs: 0,
                nas: 1,
                session: 1,
            };
            events.extend(login(stay, Attribute::UserName, name));
        }
        let entries = events.into_iter().map(|event| Entry { unix_ms, event });
        place.log.append(&entries.collect::<Vec<_>>()).unwrap();
    };
    let mut place = Place::new();
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = server.local_addr().unwrap();
    let mut sink = open(&mut place, Format::JsonLines, Transport::Tcp, address);
    write(&mut place);
    sink.notify(notices(), 0);
    let mut now = Instant::now();
    let until = now + PATIENCE;
    while sink.stats().pending > 0 {
        sink.turn(now, 0).unwrap();
        assert!(Instant::now() < until, "{:?}", sink.stats());
    }
    assert_eq!(sink.stats().notices, 3);
    // Interim records are of the realm, too.
    now += Duration::from_secs(61);
    sink.turn(now, 0).unwrap();
    assert_eq!(sink.stats().interim, 1);
    drop(sink);
    let mut text = String::new();
    let (mut stream, _) = server.accept().unwrap();
    stream.read_to_string(&mut text).unwrap();
    let told = text.lines().map(|line| {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        let word = |key: &str| line[key].as_str().unwrap_or("-").to_owned();
        [word("kind"), word("realm")]
    });
    let told: Vec<_> = told
        .map(|[kind, realm]| format!("{kind} {realm}"))
        .collect();
    let expected = [
        "subscriber_exceeded cloud",
        "prefix_throttled cloud",
        "overflow_high -",
        "allocate cloud",
        "stop -",
        "login cloud",
        "interim cloud",
    ];
    assert_eq!(told, expected, "{text}");
    assert!(text.contains("bob") && !text.contains("alice"), "{text}");

    let mut place = Place::new();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let mut sink = open(&mut place, Format::Ipfix, Transport::Udp, address);
    write(&mut place);
    sink.turn(Instant::now(), 0).unwrap();
    socket.set_nonblocking(true).unwrap();
    let (mut all, mut buffer) = (Vec::new(), [0; 2048]);
    while let Ok(length) = socket.recv(&mut buffer) {
        all.extend_from_slice(&buffer[..length]);
    }
    let has = |name: &str| all.windows(name.len()).any(|part| part == name.as_bytes());
    assert!(has("cloud") && !has("mvno"), "{all:?}");
    assert!(!has("alice"), "{all:?}");
}
