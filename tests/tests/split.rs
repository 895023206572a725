//! Packets that the slow path fragments, judged by scapy and etherparse.

use std::io::Write as _;
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};

use cgn_tests::harness::hex;
use cgn_tests::packets::{CUSTOMER_TAG, Draft};
use cgn_tests::skip;
use cgn_user::slowpath::split::split;

const FROM: (Ipv4Addr, u16) = (Ipv4Addr::new(100, 64, 0, 1), 5000);
const TO: (Ipv4Addr, u16) = (Ipv4Addr::new(8, 8, 4, 4), 53);

fn datagram(payload: usize) -> Draft {
    Draft::udp(FROM, TO).with(|d| {
        d.dont_fragment = false;
        d.payload = (0..payload).map(|at| (at * 7) as u8).collect();
    })
}

/// Packets and MTUs: whole ones, fragments of them, on a VLAN, with padding.
fn samples() -> Vec<(Vec<u8>, u16)> {
    let mut samples = Vec::new();
    for payload in [1, 549, 1472, 3000] {
        for mtu in [68, 576, 1280, 1499] {
            let whole = datagram(payload);
            let tagged = whole.clone().with(|d| d.tags = vec![(CUSTOMER_TAG, 100)]);
            let padded = whole.clone().with(|d| d.padding = vec![0xee; 9]);
            samples.extend([whole, tagged, padded].map(|draft| (draft.bytes(), mtu)));
            samples.extend(
                datagram(payload)
                    .fragments(1400)
                    .into_iter()
                    .map(|one| (one, mtu)),
            );
        }
    }
    samples
}

#[test]
fn scapy_makes_the_same_fragments() {
    const TEST: &str = "scapy_makes_the_same_fragments";
    let Some(python) = ["/usr/bin/python3", "python3"].into_iter().find(|python| {
        let mut import = Command::new(python);
        let import = import.args(["-c", "import scapy"]).stderr(Stdio::null());
        import.status().is_ok_and(|status| status.success())
    }) else {
        return skip::skip(TEST, "python3-scapy is not installed");
    };
    let samples = samples();
    let lines = samples
        .iter()
        .map(|(frame, mtu)| format!("{mtu} {}", hex(frame)));
    let lines: Vec<String> = lines.collect();
    let mut child = Command::new(python)
        .args(["-c", FRAGMENT])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python runs");
    let mut stdin = child.stdin.take().expect("a pipe");
    let writer = std::thread::spawn(move || stdin.write_all(lines.join("\n").as_bytes()));
    let output = child.wait_with_output().expect("python ends");
    writer.join().expect("no panic").expect("python reads");
    let said = String::from_utf8_lossy(&output.stdout);
    let theirs: Vec<&str> = said.lines().collect();
    assert_eq!(theirs.len(), samples.len(), "{said}");
    for ((frame, mtu), theirs) in samples.iter().zip(theirs) {
        let ours = split(frame, *mtu).expect("it can be fragmented");
        let ours: Vec<String> = ours.iter().map(|fragment| hex(fragment)).collect();
        assert_eq!(ours.join(" "), theirs, "{mtu}: {}", hex(frame));
    }
}

/// scapy leaves a packet of one fragment alone; padding is nobody's data.
const FRAGMENT: &str = "
import sys
from scapy.layers.l2 import Ether
from scapy.layers.inet import IP
from scapy.packet import Padding
for line in sys.stdin:
    mtu, frame = line.split()
    packet = Ether(bytes.fromhex(frame))
    ip = packet[IP]
    if Padding in ip:
        ip[Padding].underlayer.remove_payload()
    del ip.len, ip.chksum
    room = (int(mtu) - 20) // 8 * 8
    print(' '.join(bytes(piece).hex() for piece in packet.fragment(fragsize=room)))
";

/// RFC 791 section 3.1: an option is in all fragments if its first bit says so.
#[test]
fn options_are_copied_as_they_say() {
    // No operation; record route (first fragment only); loose source route (all); end.
    let options = [
        vec![1],
        vec![7, 7, 4, 0, 0, 0, 0],
        vec![0x83, 7, 4, 9, 9, 9, 9],
        vec![0],
    ]
    .concat();
    let frame = datagram(100).with(|d| d.options = options.clone()).bytes();
    let fragments = split(&frame, 100).expect("it can be fragmented");
    assert_eq!(fragments.len(), 2);
    let header = |at: usize| {
        let slice =
            etherparse::Ipv4HeaderSlice::from_slice(&fragments[at][14..]).expect("a header");
        let header = slice.to_header();
        assert_eq!(header.header_checksum, header.calc_header_checksum());
        (
            header.options.as_slice().to_vec(),
            header.fragment_offset.value(),
            header.more_fragments,
        )
    };
    assert_eq!(header(0), (options, 0, true));
    let copied = vec![0x83, 7, 4, 9, 9, 9, 9, 0];
    assert_eq!(header(1), (copied, 64 / 8, false));
}

#[test]
fn what_cannot_be_fragmented_is_not() {
    assert_eq!(
        split(&datagram(100).bytes(), 27),
        None,
        "no room for 8 bytes"
    );
    assert_eq!(split(&datagram(100).bytes()[..60], 68), None, "cut off");
    let lies = datagram(100)
        .with(|d| d.options = vec![0x83, 200, 4, 9])
        .bytes();
    let fragments = split(&lies, 68).expect("its options end where they lie");
    assert_eq!(fragments[1][14], 0x45);
}
