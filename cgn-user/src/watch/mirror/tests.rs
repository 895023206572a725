//! Headers byte by byte, and what is sent where; tshark judges them in the end-to-end tests.

use super::encapsulation::{About, Encapsulation};
use crate::config::MirrorTo;

#[test]
fn headers_are_as_their_documents_draw_them() {
    let tagged = About {
        // Priority 5, VLAN 0x123.
        tag: Some(0xa123),
        is_egress: true,
        is_cut: true,
        ifindex: 7,
        unix_ns: 0x1234_5678 * 100,
    };
    let plain = About {
        ifindex: 0xfff_ffff,
        unix_ns: 100,
        ..About::default()
    };
    let cases: &[(&str, MirrorTo, About, &[u8])] = &[
        (
            "An interface gets the frame alone.",
            MirrorTo::Interface,
            plain,
            &[],
        ),
        (
            "RFC 2890: key and sequence number, transparent Ethernet bridging.",
            MirrorTo::Gre,
            plain,
            &[0x30, 0, 0x65, 0x58, 0, 0, 0, 0x2a, 0, 0, 1, 2],
        ),
        (
            "Type II: version 1, no tag; of the interface's number 20 bits.",
            MirrorTo::Erspan2,
            plain,
            &[
                0x10, 0, 0x88, 0xbe, 0, 0, 1, 2, 0x10, 0, 0, 0x2a, 0, 0xf, 0xff, 0xff,
            ],
        ),
        (
            "Type II: VLAN and class, tag still in the frame (3), truncated.",
            MirrorTo::Erspan2,
            tagged,
            &[
                0x10, 0, 0x88, 0xbe, 0, 0, 1, 2, 0x11, 0x23, 0xbc, 0x2a, 0, 0, 0, 7,
            ],
        ),
        (
            "Type III: version 2, ticks of 100 ns, an Ethernet frame that leaves.",
            MirrorTo::Erspan3,
            tagged,
            &[
                0x10, 0, 0x22, 0xeb, 0, 0, 1, 2, 0x21, 0x23, 0xa4, 0x2a, 0x12, 0x34, 0x56, 0x78, 0,
                0, 0x80, 0x0a,
            ],
        ),
        (
            "Type III of one that comes.",
            MirrorTo::Erspan3,
            plain,
            &[
                0x10, 0, 0x22, 0xeb, 0, 0, 1, 2, 0x20, 0, 0, 0x2a, 0, 0, 0, 1, 0, 0, 0x80, 0x02,
            ],
        ),
    ];
    for (sentence, to, about, expected) in cases {
        let mut packet = Vec::new();
        let session = Encapsulation {
            to: *to,
            session: 0x2a,
        };
        session.begin(&mut packet, 0x102, about);
        assert_eq!(&packet, expected, "{sentence}");
    }
}
