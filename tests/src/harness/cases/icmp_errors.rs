//! ICMP errors of others, both ways (RFC 5508 REQ-3 to REQ-7, RFC 4787 REQ-12).
//! What must come out is built whole by a foreign implementation, quoted
//! packet, quoted checksums and all.

use std::net::Ipv4Addr;

use cgn_common::verdict::{Protocol, Reason};
use cgn_user::dataplane::load::Entry::{Inside, Outside};

use super::Case;
use crate::harness::trial::{Endpoint, Trial};
use crate::harness::world::{LARGE_POOL, POOL, hop, remote, subscriber};
use crate::packets::{Draft, Transport, flag};

const ALICE: Endpoint = (subscriber::PLAIN, 5000);
const BOB: Endpoint = (subscriber::TWO_BLOCKS, 6000);
const SERVER: Endpoint = (remote::PLAIN, 443);
/// A router on the way, that no flow of ours knows.
const ROUTER: Ipv4Addr = Ipv4Addr::new(62, 1, 2, 3);
/// A router between us and the subscribers, with an address of its own kind.
const INNER_ROUTER: Ipv4Addr = Ipv4Addr::new(10, 255, 0, 1);
const UNREACHABLE: (u8, u8) = (3, 3);
const NONE: [u8; 4] = [0; 4];
/// Bytes of an IPv4 header without options and the 8 that an error must quote.
const LEAST: usize = 28;
const HALF_A_CHECKSUM: usize = 20 + 17;

pub const CASES: &[Case] = &[
    (
        "every code of unreachable, time exceeded, parameter problem reaches the sender",
        |t| {
            let there = Journey::new(t, Draft::udp(ALICE, SERVER));
            for (kind, codes) in [(3, 0..=15), (11, 0..=1), (12, 0..=2)] {
                for code in codes {
                    // The MTU of 3/4, the pointer of 12: whatever it is, it stays.
                    there.comes(t, |quoted, to| {
                        Draft::icmp_error((kind, code), [0, 0, 5, 0x14], quoted, ROUTER, to)
                    });
                }
            }
        },
    ),
    (
        "about UDP with and without checksum, TCP, an echo request",
        |t| {
            for draft in every_protocol(ALICE, SERVER) {
                Journey::new(t, draft).comes(t, unreachable);
            }
        },
    ),
    (
        "whatever is cut off of the quoted packet, down to 8 bytes behind its header",
        |t| {
            for draft in every_protocol(ALICE, SERVER) {
                let is_tcp = matches!(draft.transport, Transport::Tcp { .. });
                let there = Journey::new(t, draft);
                for length in LEAST..there.left.packet().len() {
                    // Half of a TCP checksum is left as it is; nobody can say what it should be.
                    if length == HALF_A_CHECKSUM && is_tcp {
                        continue;
                    }
                    there.comes(t, |quoted, to| unreachable(&quoted[..length], to));
                }
            }
        },
    ),
    ("less than that is too little", |t| {
        for draft in every_protocol(ALICE, SERVER) {
            let there = Journey::new(t, draft);
            for length in 0..LEAST {
                let error = unreachable(&there.left.packet()[..length], there.external.0);
                t.stopped(Outside, &error.bytes(), Reason::BadQuote);
            }
        }
    }),
    (
        "options in the quoted header, in the outer one, in both (REQ-3b)",
        |t| {
            for words in 0..=10 {
                let options = vec![1; 4 * words];
                let draft = Draft::udp(ALICE, SERVER).with(|d| d.options = options.clone());
                let there = Journey::new(t, draft);
                there.comes(t, unreachable);
                there.comes(t, |quoted, to| {
                    unreachable(quoted, to).with(|d| d.options = options.clone())
                });
            }
        },
    ),
    (
        "extensions behind the quoted packet stay, and the length attribute (REQ-3d)",
        |t| {
            for draft in every_protocol(ALICE, SERVER) {
                let there = Journey::new(t, draft);
                for (kind, attribute) in [(3, 32), (11, 32), (12, 32), (11, 0)] {
                    there.comes(t, |quoted, to| {
                        let mut whole = quoted.to_vec();
                        whole.resize(128, 0);
                        // Version 2, a checksum, an MPLS label stack of one entry (RFC 4950).
                        whole.extend([0x20, 0, 0xde, 0xad, 0, 8, 1, 1, 0x12, 0x34, 0x51, 0xff]);
                        Draft::icmp_error((kind, 0), [0, attribute, 0, 0], &whole, ROUTER, to)
                    });
                }
            }
        },
    ),
    (
        "a quoted TCP checksum that lies in the extensions is none",
        |t| {
            let there = Journey::new(t, Draft::tcp(flag::SYN, ALICE, SERVER));
            // 36 bytes of the packet, then other things.
            there.comes(t, |quoted, to| {
                let mut whole = quoted[..36].to_vec();
                whole.extend([0x20, 0, 0xde, 0xad, 0, 8, 1, 1, 0x12, 0x34, 0x51, 0xff]);
                Draft::icmp_error((11, 0), [0, 9, 0, 0], &whole, ROUTER, to)
            });
        },
    ),
    (
        "the quoted time to live and a wrong quoted transport checksum stay as they are (REQ-3c)",
        |t| {
            let there = Journey::new(t, Draft::udp(ALICE, SERVER));
            for ttl in [0, 1, 200] {
                let there = there.clone().with(|d| d.ttl = ttl);
                there.comes(t, unreachable);
            }
        },
    ),
    (
        "the first fragment of a datagram is as good as a whole one, a later one has no ports",
        |t| {
            let there = Journey::new(t, Draft::udp(ALICE, SERVER));
            let first = there.clone().with(|d| d.more_fragments = true);
            first.comes(t, unreachable);
            for (offset, more) in [(1, true), (185, false)] {
                let later = there.left.clone().with(|d| {
                    (d.fragment_offset, d.more_fragments) = (offset, more);
                });
                let error = unreachable(&later.packet(), there.external.0);
                t.stopped(Outside, &error.bytes(), Reason::QuotedFragment);
            }
        },
    ),
    (
        "a wrong checksum of the message, or of the quoted header (REQ-3, REQ-3a)",
        |t| {
            let there = Journey::new(t, Draft::tcp(flag::SYN, ALICE, SERVER));
            let good = unreachable(&there.left.packet(), there.external.0);
            for at in [2, 3, 7, 8 + 40, good.payload.len() - 1] {
                let bad = good.clone().with(|d| d.payload[at] ^= 0x10);
                t.stopped(Outside, &bad.bytes(), Reason::BadIcmpChecksum);
            }
            for at in 0..20 {
                let mut quoted = there.left.packet();
                quoted[at] ^= 0x20;
                let bad = unreachable(&quoted, there.external.0);
                t.stopped(Outside, &bad.bytes(), Reason::BadQuote);
            }
        },
    ),
    (
        "no mapping, another protocol, a port of nobody (REQ-4)",
        |t| {
            let there = Journey::new(t, Draft::udp(ALICE, SERVER));
            let (external, port) = there.external;
            for strange in [
                Draft::tcp(flag::SYN, there.external, SERVER),
                Draft::ping(there.external, SERVER.0),
                Draft::udp((external, port ^ 1), SERVER),
                Draft::udp((external, 80), SERVER),
                Draft::pong(external, SERVER),
                Draft::new(Transport::Other(47), there.external, SERVER),
            ] {
                let error = unreachable(&strange.packet(), external);
                t.stopped(Outside, &error.bytes(), Reason::NoQuotedMapping);
            }
        },
    ),
    (
        "about another's packet than that of whom it is sent to",
        |t| {
            let there = Journey::new(t, Draft::udp(ALICE, SERVER));
            for to in [POOL[1], LARGE_POOL] {
                let error = unreachable(&there.left.packet(), to);
                t.stopped(Outside, &error.bytes(), Reason::QuoteMismatch);
            }
        },
    ),
    (
        "about an ICMP error, whatever its type: never (RFC 1122 section 3.2.2)",
        |t| {
            let there = Journey::new(t, Draft::udp(ALICE, SERVER));
            let inner = unreachable(&there.left.packet(), SERVER.0);
            for kind in [3, 4, 5, 11, 12] {
                let mut quoted = inner
                    .clone()
                    .with(|d| d.source.0 = there.external.0)
                    .packet();
                quoted[20] = kind;
                let error = unreachable(&quoted, there.external.0);
                t.stopped(Outside, &error.bytes(), Reason::QuotedError);
            }
        },
    ),
    (
        "no error ends, opens or refreshes anything (RFC 4787 REQ-12, RFC 5508 REQ-6)",
        |t| {
            for draft in every_protocol(ALICE, SERVER) {
                let there = Journey::new(t, draft.clone());
                let protocol = crate::harness::trial::protocol_of(&draft);
                let stamps = |t: &Trial| {
                    let all = t.homes.iter().map(|home| {
                        crate::harness::slots(home.memory(), &t.world, ALICE.0, protocol)
                    });
                    all.collect::<Vec<_>>()
                };
                let before = stamps(t);
                for kind in 0..=18 {
                    for code in 0..=15 {
                        let quoted = there.left.packet();
                        let error = Draft::icmp_error(
                            (kind, code),
                            NONE,
                            &quoted,
                            ROUTER,
                            there.external.0,
                        );
                        let _ = t.run(Outside, &error.bytes());
                    }
                }
                assert_eq!(stamps(t), before);
            }
        },
    ),
    (
        "a subscriber's own error leaves with his external endpoint, in both headers (REQ-5)",
        |t| {
            for draft in every_protocol(ALICE, SERVER) {
                let external = t.outbound(Inside, &draft, hop::OUTSIDE);
                let (came, went) = (draft.answer(ALICE), draft.answer(external));
                for kind in [(3, 3), (11, 0), (12, 0)] {
                    let error = |quoted: &Draft, from| {
                        Draft::icmp_error(kind, NONE, &quoted.packet(), from, SERVER.0)
                    };
                    let wanted = error(&went, external.0);
                    t.becomes(
                        Inside,
                        &error(&came, ALICE.0),
                        wanted.clone(),
                        hop::OUTSIDE,
                        &[0],
                    );
                    // A router before him has no external address of its own (REQ-5c).
                    t.becomes(
                        Inside,
                        &error(&came, INNER_ROUTER),
                        wanted,
                        hop::OUTSIDE,
                        &[0],
                    );
                }
            }
        },
    ),
    (
        "an error from inside about nobody's packet, another's, or none of his mappings",
        |t| {
            let external = t.outbound(Inside, &Draft::udp(ALICE, SERVER), hop::OUTSIDE);
            let about = |to| Draft::udp(SERVER, to).packet();
            let from = |source, quoted: &[u8], to| {
                Draft::icmp_error(UNREACHABLE, NONE, quoted, source, to).bytes()
            };
            for (source, quoted, to, reason) in [
                (
                    ALICE.0,
                    about((ALICE.0, 1)),
                    SERVER.0,
                    Reason::NoQuotedMapping,
                ),
                (BOB.0, about(ALICE), SERVER.0, Reason::QuoteMismatch),
                (ALICE.0, about(ALICE), remote::OTHER, Reason::QuoteMismatch),
                (ALICE.0, about(external), SERVER.0, Reason::QuoteMismatch),
                (
                    INNER_ROUTER,
                    about((subscriber::STRANGER, 1)),
                    SERVER.0,
                    Reason::SpoofedSource,
                ),
                (
                    Ipv4Addr::new(127, 0, 0, 1),
                    about(ALICE),
                    SERVER.0,
                    Reason::BadSource,
                ),
                (
                    Ipv4Addr::UNSPECIFIED,
                    about(ALICE),
                    SERVER.0,
                    Reason::BadSource,
                ),
                (
                    ALICE.0,
                    Draft::ping(SERVER, ALICE.0).packet(),
                    SERVER.0,
                    Reason::NoQuotedMapping,
                ),
            ] {
                t.stopped(Inside, &from(source, &quoted, to), reason);
            }
            assert_eq!(t.mapping((ALICE.0, 1), Protocol::Udp), None);
            // What is no error is none of a router's business.
            let ping = Draft::ping((INNER_ROUTER, 1), SERVER.0);
            t.stopped(Inside, &ping.bytes(), Reason::SpoofedSource);
        },
    ),
    (
        "an error about a hairpinned packet: each sees the other's external endpoint (REQ-7)",
        |t| {
            for make in [Draft::udp as fn(Endpoint, Endpoint) -> Draft, |a, b| {
                Draft::tcp(flag::SYN, a, b)
            }] {
                let bob = t.outbound(Inside, &make(BOB, SERVER), hop::OUTSIDE);
                let alice = t.hairpin(Inside, &make(ALICE, bob), BOB, hop::INSIDE);
                let error = |quoted: Draft, from, to| {
                    Draft::icmp_error(UNREACHABLE, NONE, &quoted.packet(), from, to)
                };
                let came = error(make(alice, BOB), BOB.0, alice.0);
                let wanted = error(make(ALICE, bob), bob.0, ALICE.0);
                t.becomes(Inside, &came, wanted, hop::INSIDE, &[0, 1]);
                // Nobody asked for it: alice has no such mapping.
                let stray = error(make((alice.0, 1024), BOB), BOB.0, alice.0);
                t.stopped(Inside, &stray.bytes(), Reason::NoQuotedMapping);
                let forged = error(make(SERVER, BOB), BOB.0, alice.0);
                t.stopped(Inside, &forged.bytes(), Reason::QuoteMismatch);
            }
        },
    ),
    (
        "an error about a hairpinned echo request quotes the identifier that its sender chose",
        |t| {
            let query = t.outbound(Inside, &Draft::ping(BOB, SERVER.0), hop::OUTSIDE);
            let asks = (ALICE.0, query.1);
            let alice = t.hairpin(Inside, &Draft::ping(asks, query.0), BOB, hop::INSIDE);
            let error = |quoted: Draft, from, to| {
                Draft::icmp_error(UNREACHABLE, NONE, &quoted.packet(), from, to)
            };
            let came = error(Draft::ping(alice, BOB.0), BOB.0, alice.0);
            let wanted = error(Draft::ping(asks, query.0), query.0, ALICE.0);
            t.becomes(Inside, &came, wanted, hop::INSIDE, &[0, 1]);
            // From the internet such an error would be about a packet that never was.
            let reply = Draft::pong(SERVER.0, query).packet();
            let forged = Draft::icmp_error(UNREACHABLE, NONE, &reply, SERVER.0, query.0);
            t.stopped(Outside, &forged.bytes(), Reason::NoQuotedMapping);
        },
    ),
    (
        "the error itself has a time to live, a size, a route",
        |t| {
            let there = Journey::new(t, Draft::udp(ALICE, SERVER));
            let error = unreachable(&there.left.packet(), there.external.0);
            for ttl in [0, 1] {
                let late = error.clone().with(|d| d.ttl = ttl);
                t.stopped(Outside, &late.bytes(), Reason::TtlExpired);
            }
            let piece = error.with(|d| {
                d.more_fragments = true;
                d.payload.truncate(32);
            });
            t.stopped(Outside, &piece.bytes(), Reason::UnsupportedIcmp);
            let small =
                Draft::udp((subscriber::SMALL, 1), SERVER).with(|d| d.payload = vec![1; 600]);
            let there = Journey::new(t, small);
            let large = unreachable(&there.left.packet(), there.external.0);
            t.stopped(Outside, &large.bytes(), Reason::TooBig);
            let there = Journey::new(t, Draft::udp((subscriber::MISROUTED, 1), SERVER));
            let nowhere = unreachable(&there.left.packet(), there.external.0);
            t.stopped(Outside, &nowhere.bytes(), Reason::WrongSide);
        },
    ),
];

fn unreachable(quoted: &[u8], to: Ipv4Addr) -> Draft {
    Draft::icmp_error(UNREACHABLE, NONE, quoted, ROUTER, to)
}

/// A packet of each kind between two endpoints.
fn every_protocol(from: Endpoint, to: Endpoint) -> [Draft; 4] {
    [
        Draft::udp(from, to),
        Draft::new(Transport::Udp { checksum: false }, from, to),
        Draft::tcp(flag::SYN, from, to),
        Draft::ping(from, to.0),
    ]
}

/// A packet that a subscriber has sent to the internet.
#[derive(Clone)]
struct Journey {
    /// As it came from the subscriber.
    came: Draft,
    /// As it left.
    left: Draft,
    external: Endpoint,
}

impl Journey {
    fn new(t: &mut Trial, came: Draft) -> Self {
        let external = t.outbound(Inside, &came, hop::OUTSIDE);
        let left = came.clone().with(|d| (d.source, d.ttl) = (external, 63));
        Self {
            came: came.with(|d| d.ttl = 63),
            left,
            external,
        }
    }

    fn with(mut self, change: impl Fn(&mut Draft)) -> Self {
        change(&mut self.came);
        change(&mut self.left);
        self
    }

    /// An error about the packet that left arrives as one about the packet that came.
    fn comes(&self, t: &mut Trial, error: impl Fn(&[u8], Ipv4Addr) -> Draft) {
        let came = error(&self.left.packet(), self.external.0);
        let inside = if self.came.source.0 == subscriber::SMALL {
            hop::INSIDE_SMALL
        } else {
            hop::INSIDE
        };
        let wanted = error(&self.came.packet(), self.came.source.0);
        t.becomes(Outside, &came, wanted, inside, &[1]);
    }
}
