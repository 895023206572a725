//! What stands in front of a mirrored frame on the way to a collector: GRE (RFC 2784, RFC 2890), with the frame
//! in it as it is or behind an ERSPAN header (draft-foschiano-erspan). All in network byte order. Pure.

use crate::config::MirrorTo;

/// GRE flags (RFC 2890): a key, a sequence number.
const KEY: u16 = 0x2000;
const SEQUENCE: u16 = 0x1000;
/// Protocol types.
const TEB: u16 = 0x6558;
const ERSPAN_2: u16 = 0x88be;
const ERSPAN_3: u16 = 0x22eb;
/// Greatest number of a session: 10 bits.
pub const MOST_SESSION: u16 = 0x3ff;

/// What is told of a frame beside its bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct About {
    /// The tag in front, if it has one: priority (3 bits), DEI, VLAN id (12).
    pub tag: Option<u16>,
    /// It left; else it came.
    pub is_egress: bool,
    /// Its end is missing.
    pub is_cut: bool,
    pub ifindex: u32,
    /// When, in nanoseconds of Unix time.
    pub unix_ns: u64,
}

/// The headers of one session. Sequence numbers count its frames, sent or lost here, so that the collector knows
/// how many are missing.
#[derive(Clone, Copy, Debug)]
pub struct Encapsulation {
    pub to: MirrorTo,
    /// At most [`MOST_SESSION`]; with GRE alone, the key.
    pub session: u16,
}

impl Encapsulation {
    /// Appends the headers of a frame to `packet`.
    pub fn begin(&self, packet: &mut Vec<u8>, sequence: u32, about: &About) {
        let (flags, protocol) = match self.to {
            MirrorTo::Interface => return,
            MirrorTo::Gre => (KEY | SEQUENCE, TEB),
            MirrorTo::Erspan2 => (SEQUENCE, ERSPAN_2),
            MirrorTo::Erspan3 => (SEQUENCE, ERSPAN_3),
        };
        packet.extend(flags.to_be_bytes());
        packet.extend(protocol.to_be_bytes());
        if self.to == MirrorTo::Gre {
            packet.extend(u32::from(self.session).to_be_bytes());
        }
        packet.extend(sequence.to_be_bytes());
        match self.to {
            MirrorTo::Erspan2 => self.erspan_2(packet, about),
            MirrorTo::Erspan3 => self.erspan_3(packet, about),
            MirrorTo::Interface | MirrorTo::Gre => {}
        }
    }

    /// Version 1 in the header: Type II, section 4.2.
    fn erspan_2(&self, packet: &mut Vec<u8>, about: &About) {
        // A tag is still in the frame, or there was none.
        let tagging = if about.tag.is_some() { 3 } else { 0 };
        packet.extend(self.first_word(1, tagging, about).to_be_bytes());
        let index = about.ifindex & 0xf_ffff;
        packet.extend(index.to_be_bytes());
    }

    /// Version 2: Type III, section 4.3, without the platform's own part.
    fn erspan_3(&self, packet: &mut Vec<u8>, about: &About) {
        // BSO: nothing is known to be bad.
        packet.extend(self.first_word(2, 0, about).to_be_bytes());
        let timestamp = (about.unix_ns / 100) as u32;
        packet.extend(timestamp.to_be_bytes());
        // No security group; an Ethernet frame follows (P), its type 0.
        const ETHERNET: u16 = 1 << 15;
        // Hardware 6 bits below P and the frame type; direction; granularity 1: 100 ns.
        let direction = u16::from(about.is_egress) << 3;
        packet.extend([0; 2]);
        packet.extend((ETHERNET | direction | 1 << 1).to_be_bytes());
    }

    /// Version, VLAN id; class of service, two bits, truncated, session.
    fn first_word(&self, version: u32, two: u32, about: &About) -> u32 {
        let tag = u32::from(about.tag.unwrap_or(0));
        let (class, vlan) = (tag >> 13, tag & 0xfff);
        let session = u32::from(self.session.min(MOST_SESSION));
        let cut = u32::from(about.is_cut);
        version << 28 | vlan << 16 | class << 13 | two << 11 | cut << 10 | session
    }
}
