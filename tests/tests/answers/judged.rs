//! The same errors, by scapy.

use cgn_tests::packets::scapy;

use super::*;

/// A second foreign judge builds each error from its parts and the packet that it is about.
#[test]
fn scapy_builds_the_same_errors() {
    const TEST: &str = "answers::judged::scapy_builds_the_same_errors";
    let mut slow = SlowPath::new();
    let external = slow.open(&Draft::udp((subscriber::SMALL, 77), SERVER));
    let mut lines = Vec::new();
    for (entry, from, came, kind, mtu) in [
        (
            Inside,
            OWN_INSIDE,
            expired(Draft::tcp(flag::SYN, CLIENT, SERVER)),
            (11, 0),
            0,
        ),
        (
            Inside,
            OWN_INSIDE,
            expired(big(Draft::ping(CLIENT, SERVER.0))),
            (11, 0),
            0,
        ),
        (
            Outside,
            OWN_OUTSIDE,
            expired(Draft::udp(SERVER, external)),
            (11, 0),
            0,
        ),
        (
            Inside,
            OWN_INSIDE,
            big(Draft::udp(CLIENT, (remote::SMALL, 1))),
            (3, 4),
            576,
        ),
        (
            Outside,
            OWN_OUTSIDE,
            big(Draft::udp(SERVER, external)),
            (3, 4),
            576,
        ),
        (
            Inside,
            OWN_INSIDE,
            Draft::udp(CLIENT, (remote::NO_ROUTE, 1)),
            (3, 0),
            0,
        ),
        (
            Outside,
            OWN_OUTSIDE,
            Draft::udp(SERVER, (POOL[0], 9)),
            (3, 3),
            0,
        ),
    ] {
        let came = came.bytes();
        let (_, answer) = slow.run(entry, &came);
        let answer = hex(&answer.expect("an error").frame[14..]);
        let (kind, code) = kind;
        lines.push(format!(
            "{from} {kind} {code} {mtu} {} {answer}",
            hex(&came[14..])
        ));
    }
    if let Some(said) = scapy::output(TEST, BUILD, &lines) {
        assert_eq!(said, format!("{} equal", lines.len()));
    }
}

const BUILD: &str = "
import sys
from scapy.layers.inet import IP, ICMP
from scapy.packet import Raw
equal = 0
for line in sys.stdin:
    source, kind, code, mtu, came, answer = line.split()
    came, answer = bytes.fromhex(came), bytes.fromhex(answer)
    about = IP(came)
    error = IP(src=source, dst=about.src, ttl=64, tos=0xc0, id=IP(answer).id)
    error /= ICMP(type=int(kind), code=int(code), **({'nexthopmtu': int(mtu)} if mtu != '0' else {}))
    error /= Raw(came[:576 - 28])
    if bytes(error) == answer:
        equal += 1
    else:
        print(answer.hex(), 'should be', bytes(error).hex())
print(equal, 'equal')
";
