//! Packets byte by byte, and what requests change.

use std::fs::Permissions;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::PermissionsExt as _;

use super::meaning::{Request, Status};
use super::{Desk, Listener, Outcome, packet};
use crate::config::{Config, IdentityClient};
use crate::maplog::identity::{Attribute, Book, Who};
use crate::maplog::{Entry, Event};

const SECRET: &[u8] = b"xyzzy5461";
const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 30));
const INSIDE: Ipv4Addr = Ipv4Addr::new(100, 64, 0, 5);

/// Made with hashlib and struct of Python: Proxy-State "proxy", Acct-Status-Type Start, Acct-Session-Id
/// "00000017", NAS-IP-Address 192.0.2.30, Framed-IP-Address 100.64.0.5, User-Name "alice@example.net",
/// Acct-Delay-Time 7, and of vendor 10415 attributes 2 "x" and 1 "001010123456789".
const REQUEST: &str = "042a006aef559fda6d3bcd57a19b70ba63cbc6bc210770726f78792806000000012c0a30303030303031370406c000021e0806644000050113616c696365406578616d706c652e6e65742906000000071a1a000028af0203780111303031303130313233343536373839";
const RESPONSE: &str = "052a001b8c4dc58ede6bfc5b0be3b751864e4e7d210770726f7879";

fn bytes(hex: &str) -> Vec<u8> {
    let pairs = (0..hex.len()).step_by(2);
    let bytes = pairs.map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap());
    bytes.collect()
}

#[test]
fn requests_are_believed_and_answered_as_the_standard_says() {
    let request = bytes(REQUEST);
    let packet = packet::Request::parse(&request).unwrap();
    assert!(packet.is_authentic(SECRET));
    assert!(!packet.is_authentic(b"xyzzy5462"));
    assert_eq!(packet.response(SECRET), bytes(RESPONSE));
    // What follows the length does not count.
    let padded = [request.clone(), vec![0; 9]].concat();
    assert_eq!(packet::Request::parse(&padded), Some(packet));
    // The secret vouches for each bit.
    for bit in 0..request.len() * 8 {
        let mut changed = request.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        let packet = packet::Request::parse(&changed);
        let is_believed = packet.is_some_and(|packet| packet.is_authentic(SECRET));
        assert!(!is_believed, "bit {bit}");
    }
}

#[test]
fn what_is_no_request_is_told_apart() {
    let with = |at: usize, value: u8| {
        let mut changed = bytes(REQUEST);
        changed[at] = value;
        changed
    };
    let cases = [
        ("nothing", Vec::new()),
        ("half a header", bytes(REQUEST)[..19].to_vec()),
        ("shorter than it says", bytes(REQUEST)[..105].to_vec()),
        ("an Access-Request", with(0, 1)),
        ("a length less than the header", with(3, 19)),
        ("a length beyond 4096", with(2, 17)),
        ("an attribute of one byte", with(21, 1)),
        ("an attribute without bytes", with(21, 0)),
        ("an attribute beyond the end", with(81, 200)),
    ];
    for (sentence, datagram) in cases {
        assert_eq!(packet::Request::parse(&datagram), None, "{sentence}");
    }
}

fn of(attributes: &[(u8, &[u8])], names: &[Attribute]) -> Option<Request> {
    let mut bytes = vec![4, 1, 0, 0];
    bytes.extend([0; 16]);
    for (kind, value) in attributes {
        bytes.extend([*kind, value.len() as u8 + 2]);
        bytes.extend_from_slice(value);
    }
    let length = (bytes.len() as u16).to_be_bytes();
    bytes[2..4].copy_from_slice(&length);
    Request::of(&packet::Request::parse(&bytes)?, CLIENT, names)
}

#[test]
fn a_request_says_who_has_which_address_since_when() {
    let request = bytes(REQUEST);
    let packet = packet::Request::parse(&request).unwrap();
    let expected = Request {
        status: Status::Start,
        inside: Some(INSIDE),
        early_secs: 7,
        // The first bytes of SHA-256, by Python's hashlib.
        nas: 0x2022_0eb8,
        session: 0xf341_0c75,
        name: Some((Attribute::UserName, b"alice@example.net".to_vec())),
    };
    let read = |names: &[Attribute]| Request::of(&packet, CLIENT, names);
    assert_eq!(read(&[Attribute::UserName]), Some(expected.clone()));
    let imsi = Some((Attribute::Imsi, b"001010123456789".to_vec()));
    // The first that it has.
    let preferred = [Attribute::NasPortId, Attribute::Imsi, Attribute::UserName];
    assert_eq!(read(&preferred).unwrap().name, imsi);
    assert_eq!(read(&[Attribute::AgentCircuitId]).unwrap().name, None);
}

#[test]
fn each_attribute_is_found_at_its_place() {
    let vendor = |number: u32, value: &[u8]| {
        let head = [&number.to_be_bytes()[..], &[1, value.len() as u8 + 2]].concat();
        [head, value.to_vec()].concat()
    };
    let imsi = vendor(10415, b"imsi");
    let circuit = vendor(3561, b"circuit");
    let all: [(u8, &[u8]); 9] = [
        (40, &[0, 0, 0, 3]),
        (44, b"7"),
        (32, b"bras1"),
        (1, b"user"),
        (31, b"calling"),
        (87, b"port"),
        (89, b"cui"),
        (26, &circuit),
        (26, &imsi),
    ];
    for (attribute, value) in [
        (Attribute::UserName, "user"),
        (Attribute::CallingStationId, "calling"),
        (Attribute::NasPortId, "port"),
        (Attribute::ChargeableUserIdentity, "cui"),
        (Attribute::Imsi, "imsi"),
        (Attribute::AgentCircuitId, "circuit"),
    ] {
        let expected = Some((attribute, value.as_bytes().to_vec()));
        assert_eq!(of(&all, &[attribute]).unwrap().name, expected, "{value}");
    }
}

#[test]
fn a_request_has_status_server_and_session() {
    let status: (u8, &[u8]) = (40, &[0, 0, 0, 1]);
    let on: (u8, &[u8]) = (40, &[0, 0, 0, 7]);
    let server: (u8, &[u8]) = (32, b"bras1");
    let session: (u8, &[u8]) = (44, b"7");
    type Case<'a> = (&'a str, Vec<(u8, &'a [u8])>, bool);
    let cases: [Case<'_>; 6] = [
        ("all", vec![status, server, session], true),
        ("no status", vec![server, session], false),
        (
            "a status of one byte",
            vec![(40, &[1]), server, session],
            false,
        ),
        ("no server", vec![status, session], false),
        ("no session", vec![status, server], false),
        ("a server that starts has none", vec![on, server], true),
    ];
    for (sentence, attributes, is_one) in cases {
        assert_eq!(of(&attributes, &[]).is_some(), is_one, "{sentence}");
    }
    let late = of(&[status, server, session, (41, &[0, 1, 0, 0])], &[]).unwrap();
    assert_eq!(late.early_secs, 3600, "no more than an hour counts");
}

const NOW: u64 = 1_772_496_000_000;

fn request(status: Status, session: u32, name: &str) -> Request {
    Request {
        status,
        inside: Some(INSIDE),
        early_secs: 0,
        nas: 1,
        session,
        name: (!name.is_empty()).then(|| (Attribute::UserName, name.as_bytes().to_vec())),
    }
}

/// What is heard, seconds after [`NOW`] at which, outcome, and who has the address then.
type Step<'a> = (&'a str, Request, u64, Outcome, &'a str);

fn ours((_, inside): Who) -> bool {
    inside.octets()[0] == 100
}

/// Plays the steps, each written before the next; the log must know the same at each.
fn play(steps: &[Step<'_>]) {
    let (mut desk, mut log) = (Desk::default(), Book::default());
    for (sentence, request, after_secs, outcome, name) in steps {
        let now_ms = NOW + after_secs * 1000;
        assert_eq!(desk.hear(request, 0, ours, now_ms), *outcome, "{sentence}");
        let is_written = *outcome == Outcome::Recorded;
        assert_eq!(!desk.events().is_empty(), is_written, "{sentence}");
        for event in desk.events() {
            let unix_ms = now_ms;
            log.follow(&Entry {
                unix_ms,
                event: *event,
            });
        }
        desk.settle(true);
        let known = log.of((0, INSIDE)).map_or("", |named| &*named.name);
        assert_eq!(known, *name, "{sentence}");
        assert_eq!(desk.count(), log.len(), "{sentence}");
    }
}

#[test]
fn sessions_begin_and_end_in_whatever_order_they_are_told() {
    use Outcome::{Ignored, Known, Recorded};
    use Status::{Interim, Other, Restart, Start, Stop};
    let early = |early_secs, request| Request {
        early_secs,
        ..request
    };
    let elsewhere = |request| Request {
        inside: Some([192, 0, 2, 1].into()),
        ..request
    };
    let nowhere = |request| Request {
        inside: None,
        ..request
    };
    play(&[
        ("nothing to end", request(Stop, 1, "alice"), 0, Known, ""),
        (
            "a start",
            request(Start, 2, "alice"),
            100,
            Recorded,
            "alice",
        ),
        ("its copy", request(Start, 2, "alice"), 101, Known, "alice"),
        (
            "an update",
            request(Interim, 2, "alice"),
            102,
            Known,
            "alice",
        ),
        (
            "a new name",
            request(Interim, 2, "alice2"),
            103,
            Recorded,
            "alice2",
        ),
        (
            "another's end",
            request(Stop, 9, "bob"),
            104,
            Known,
            "alice2",
        ),
        (
            "without a name",
            request(Start, 3, ""),
            105,
            Ignored,
            "alice2",
        ),
        (
            "no subscriber",
            elsewhere(request(Start, 3, "eve")),
            106,
            Ignored,
            "alice2",
        ),
        (
            "no address yet",
            nowhere(request(Start, 3, "eve")),
            107,
            Ignored,
            "alice2",
        ),
        (
            "of something else",
            request(Other, 3, "eve"),
            108,
            Ignored,
            "alice2",
        ),
        ("the end", request(Stop, 2, "alice"), 110, Recorded, ""),
        (
            "a late copy of the start",
            request(Start, 2, "alice"),
            111,
            Known,
            "",
        ),
        (
            "the next one",
            request(Start, 4, "bob"),
            112,
            Recorded,
            "bob",
        ),
        (
            "an older one, told late",
            early(50, request(Start, 5, "eve")),
            120,
            Known,
            "bob",
        ),
        (
            "a younger one",
            request(Start, 6, "carol"),
            130,
            Recorded,
            "carol",
        ),
        (
            "the end of the one before",
            request(Stop, 4, "bob"),
            131,
            Known,
            "carol",
        ),
        (
            "an update finds it first",
            request(Interim, 7, "dave"),
            140,
            Recorded,
            "dave",
        ),
        (
            "the server restarts",
            nowhere(request(Restart, 0, "")),
            150,
            Recorded,
            "",
        ),
        (
            "and again",
            nowhere(request(Restart, 0, "")),
            151,
            Known,
            "",
        ),
        (
            "it counts sessions anew",
            request(Start, 7, "erin"),
            152,
            Recorded,
            "erin",
        ),
    ]);
}

#[test]
fn a_server_ends_its_own_sessions_and_no_others() {
    let mut desk = Desk::default();
    let at = |nas, last| Request {
        nas,
        inside: Some([100, 64, 0, last].into()),
        ..request(Status::Start, u32::from(last), "somebody")
    };
    for (nas, realm, last) in [(1, 0, 1), (1, 0, 2), (2, 0, 3), (1, 1, 4)] {
        desk.hear(&at(nas, last), realm, ours, NOW);
    }
    desk.settle(true);
    let restart = request(Status::Restart, 0, "");
    assert_eq!(desk.hear(&restart, 0, ours, NOW), Outcome::Recorded);
    let ended = desk.events().iter().filter_map(Event::login);
    let mut ended: Vec<u8> = ended.map(|login| login.inside.octets()[3]).collect();
    ended.sort_unstable();
    assert_eq!(ended, [1, 2]);
    assert_eq!(desk.count(), 2);
}

#[test]
fn what_could_not_be_written_was_never_heard() {
    let mut desk = Desk::default();
    desk.hear(&request(Status::Start, 1, "alice"), 0, ours, NOW);
    desk.settle(true);
    desk.hear(&request(Status::Stop, 1, "alice"), 0, ours, NOW);
    desk.hear(&request(Status::Start, 2, "bob"), 0, ours, NOW);
    assert_eq!(desk.events().len(), 3);
    desk.settle(false);
    // Both come again.
    let stop = desk.hear(&request(Status::Stop, 1, "alice"), 0, ours, NOW);
    let start = desk.hear(&request(Status::Start, 2, "bob"), 0, ours, NOW);
    assert_eq!([stop, start], [Outcome::Recorded; 2]);
    assert_eq!(desk.events().len(), 3);
}

#[test]
fn a_secret_is_read_only_if_nobody_else_can() {
    let path = std::env::temp_dir().join(format!("cgn-radius-{}", std::process::id()));
    let mut config = Config::parse(Config::SAMPLE).unwrap().config;
    config.identity.listen = Some(([127, 0, 0, 1], 0).into());
    config.identity.client = vec![IdentityClient {
        address: CLIENT,
        secret_file: path.clone(),
        realm: String::new(),
    }];
    let checked = config.check().unwrap();
    let opened = |content: &str, mode: u32| {
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        let opened = Listener::open(&checked, Book::default());
        opened.map_or_else(|error| format!("{error:#}"), |_| String::new())
    };
    assert_eq!(opened("secret\n", 0o600), "");
    let readable = opened("secret\n", 0o640);
    assert!(readable.contains("can be read by others"), "{readable}");
    let empty = opened(" \n", 0o600);
    assert!(empty.contains("is empty"), "{empty}");
    std::fs::remove_file(&path).unwrap();
    let missing = Listener::open(&checked, Book::default());
    assert!(missing.is_err());
}

proptest::proptest! {
    #[test]
    fn whatever_comes_harms_nothing(mut bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 20..200)) {
        bytes[0] = 4;
        let length = (bytes.len() as u16).to_be_bytes();
        bytes[2..4].copy_from_slice(&length);
        let all = ["User-Name", "3GPP-IMSI", "ADSL-Agent-Circuit-Id"];
        let all = all.map(|name| Attribute::named(name).unwrap());
        if let Some(packet) = packet::Request::parse(&bytes) {
            proptest::prop_assert!(!packet.is_authentic(SECRET));
            proptest::prop_assert!(packet.response(SECRET).len() <= bytes.len());
            let _ = Request::of(&packet, CLIENT, &all);
        }
        // Attributes that fit: a vendor's with anything in it.
        let mut fitting = bytes[..20].to_vec();
        for value in bytes[20..].chunks(60) {
            fitting.extend([26, value.len() as u8 + 2]);
            fitting.extend_from_slice(value);
        }
        let length = (fitting.len() as u16).to_be_bytes();
        fitting[2..4].copy_from_slice(&length);
        let packet = packet::Request::parse(&fitting).unwrap();
        let _ = Request::of(&packet, CLIENT, &all);
    }
}
