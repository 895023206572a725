//! Sessions of one TCP mapping, each with a state of its own (RFC 7857 section 2).

use cgn_common::layout::SlotState::{
    self, TcpClosing, TcpEstablished, TcpInit, TcpInsideFin, TcpTransitory,
};
use cgn_common::verdict::Protocol;
use cgn_user::dataplane::load::Entry::{Inside, Outside};

use super::{Case, ROOM};
use crate::harness::trial::{Endpoint, Trial};
use crate::harness::world::{hop, remote, subscriber};
use crate::packets::{Draft, flag};

const CLIENT: Endpoint = (subscriber::PLAIN, 5000);
const SERVER: Endpoint = (remote::PLAIN, 443);
const OTHER: Endpoint = (remote::OTHER, 80);
const HERE: u16 = hop::OUTSIDE;
const ANSWER: u8 = flag::SYN | flag::ACK;

pub const CASES: &[Case] = &[
    ("each session goes through states of its own", |t| {
        let external = out(t, flag::SYN, SERVER);
        assert_eq!(t.sessions(), [], "the first one is in the slot");
        for (outbound, flags, state) in [
            (true, flag::SYN, TcpInit),
            (false, ANSWER, TcpEstablished),
            (true, flag::ACK, TcpEstablished),
            (true, flag::FIN | flag::ACK, TcpInsideFin),
            (false, flag::FIN | flag::ACK, TcpClosing),
            (true, flag::ACK, TcpClosing),
            (true, flag::SYN, TcpInit),
            (false, flag::SYN, TcpEstablished),
            (false, flag::RST, TcpTransitory),
            (true, flag::RST, TcpTransitory),
            (false, flag::ACK, TcpEstablished),
        ] {
            if outbound {
                out(t, flags, OTHER);
            } else {
                inward(t, flags, OTHER, external);
            }
            assert_eq!(t.sessions(), [(OTHER, state)], "{flags:#x}");
            assert_eq!(t.state(CLIENT), TcpInit, "the first one's stays");
        }
    }),
    (
        "a connection from outside is open once it is answered (RFC 5382 REQ-2)",
        |t| {
            let external = out(t, flag::SYN, SERVER);
            inward(t, flag::SYN, OTHER, external);
            assert_eq!(t.sessions(), [], "nobody outside enters one");
            out(t, ANSWER, OTHER);
            assert_eq!(t.sessions(), [(OTHER, TcpEstablished)]);
        },
    ),
    ("a stranger's segments pass and leave no trace", |t| {
        let external = out(t, flag::SYN, SERVER);
        let before = t.mapping(CLIENT, Protocol::Tcp);
        for flags in [flag::RST, flag::FIN, flag::ACK, ANSWER] {
            inward(t, flags, OTHER, external);
            assert_eq!(t.sessions(), []);
            assert_eq!(t.mapping(CLIENT, Protocol::Tcp), before);
        }
        out(t, flag::RST, OTHER);
        assert_eq!(t.sessions(), [], "the answer of a closed port");
    }),
    ("a full table ends nothing: the packet is translated", |t| {
        let external = out(t, flag::SYN, SERVER);
        for port in 0..ROOM as u16 {
            out(t, flag::SYN, (OTHER.0, port));
        }
        let full = t.sessions();
        assert_eq!(full.len(), ROOM as usize);
        out(t, flag::SYN, (OTHER.0, 99));
        inward(t, ANSWER, (OTHER.0, 99), external);
        assert_eq!(t.sessions(), full);
        assert!(
            t.mapping(CLIENT, Protocol::Tcp)
                .expect("it is there")
                .shared
        );
    }),
    ("UDP and ICMP mappings have no further sessions", |t| {
        for to in [SERVER, OTHER] {
            t.outbound(Inside, &Draft::udp(CLIENT, to), HERE);
            t.outbound(Inside, &Draft::ping(CLIENT, to.0), HERE);
        }
        assert_eq!(t.sessions(), []);
    }),
    (
        "a session of an earlier mapping of the port counts for nothing",
        |t| {
            out(t, flag::SYN, SERVER);
            out(t, flag::SYN, OTHER);
            for home in &t.homes {
                for (key, session) in home.memory().sessions.all().expect("readable") {
                    let stale = session.0 & 0xffff_ffff_ffff | 7 << 48 | 9 << 32;
                    assert!(home.memory().sessions.end(&key, session));
                    assert!(home.memory().sessions.enter(&key, stale));
                }
            }
            out(t, flag::SYN, OTHER);
            assert_eq!(t.sessions(), [(OTHER, SlotState::TcpInit)]);
        },
    ),
];

fn out(t: &mut Trial, flags: u8, to: Endpoint) -> Endpoint {
    t.outbound(Inside, &Draft::tcp(flags, CLIENT, to), HERE)
}

fn inward(t: &mut Trial, flags: u8, from: Endpoint, external: Endpoint) {
    let segment = Draft::tcp(flags, from, external);
    t.inbound(Outside, &segment, CLIENT, hop::INSIDE);
}
