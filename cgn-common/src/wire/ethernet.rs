//! Ethernet II with up to two VLAN tags (IEEE 802.1Q, 802.1ad).

use super::Be16;
use crate::frame::Frame;
use crate::verdict::Reason;

/// Bytes of the header without tags.
pub const HEADER: usize = 14;
/// Bytes of one VLAN tag.
pub const TAG: usize = 4;
/// EtherType of IPv4.
pub const IPV4: u16 = 0x0800;
/// EtherType of IPv6.
pub const IPV6: u16 = 0x86dd;
/// EtherType of a customer tag (802.1Q).
pub const CUSTOMER_TAG: u16 = 0x8100;
/// EtherType of a service tag (802.1ad), the outer of two.
pub const SERVICE_TAG: u16 = 0x88a8;

mod field {
    pub const ETHERTYPE: usize = 12;
}

/// A parsed link header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ethernet {
    /// EtherType behind the tags.
    pub ethertype: u16,
    /// Tag control information, outermost first; 0 where there is no tag.
    pub tags: [u16; 2],
    /// Number of tags.
    pub tag_count: u8,
    /// Offset of the network header.
    pub length: usize,
}

impl Ethernet {
    /// VLAN ids, outermost first; 0 where there is no tag.
    #[inline(always)]
    #[must_use]
    pub const fn vlans(&self) -> [u16; 2] {
        [self.tags[0] & 0xfff, self.tags[1] & 0xfff]
    }
}

/// True for an EtherType that announces a VLAN tag.
#[inline(always)]
#[must_use]
pub const fn is_tag(ethertype: u16) -> bool {
    ethertype == CUSTOMER_TAG || ethertype == SERVICE_TAG
}

/// Reads the link header without looking behind a tag.
///
/// # Errors
/// [`Reason::Truncated`] if the frame ends within the header.
#[inline(always)]
pub fn parse_untagged<F: Frame>(frame: &F) -> Result<Ethernet, Reason> {
    let ethertype: Be16 = frame.load(field::ETHERTYPE).ok_or(Reason::Truncated)?;
    Ok(Ethernet {
        ethertype: ethertype.get(),
        tags: [0, 0],
        tag_count: 0,
        length: HEADER,
    })
}

/// Reads the link header. A third tag is left as the EtherType.
///
/// Without a branch on the number of tags, of which the verifier would follow
/// each to the end of the packet's way.
///
/// # Errors
/// [`Reason::Truncated`] if the frame ends before the place of the second tag's
/// end; no IPv4 packet is so short.
#[inline(always)]
pub fn parse<F: Frame>(frame: &F) -> Result<Ethernet, Reason> {
    let [first, outer, second, inner, third]: [Be16; 5] =
        frame.load(field::ETHERTYPE).ok_or(Reason::Truncated)?;
    let one = tag_bit(first.get());
    let two = one & tag_bit(second.get());
    let choose = |bit: u64, yes: u16, no: u16| no ^ ((no ^ yes) & (bit as u16).wrapping_neg());
    let behind_one = choose(one, second.get(), first.get());
    Ok(Ethernet {
        ethertype: choose(two, third.get(), behind_one),
        tags: [choose(one, outer.get(), 0), choose(two, inner.get(), 0)],
        tag_count: (one + two) as u8,
        length: HEADER + TAG * (one + two) as usize,
    })
}

/// True for a frame to a group of stations, or to all; None if it has no address.
#[inline(always)]
#[must_use]
pub fn is_to_group<F: Frame>(frame: &F) -> Option<bool> {
    let first: u8 = frame.load(0)?;
    Some(first & 1 != 0)
}

/// 1 for an EtherType that announces a VLAN tag, else 0; by arithmetic.
#[inline(always)]
const fn tag_bit(ethertype: u16) -> u64 {
    let differs = (ethertype ^ CUSTOMER_TAG) as u64 * (ethertype ^ SERVICE_TAG) as u64;
    differs.wrapping_sub(1) >> 63
}
