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
/// EtherType of a customer tag (802.1Q).
pub const CUSTOMER_TAG: u16 = 0x8100;
/// EtherType of a service tag (802.1ad), the outer of two.
pub const SERVICE_TAG: u16 = 0x88a8;

mod field {
    pub const ETHERTYPE: usize = 12;
    pub const OUTER_TCI: usize = 14;
    pub const OUTER_TYPE: usize = 16;
    pub const INNER_TCI: usize = 18;
    pub const INNER_TYPE: usize = 20;
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

#[inline(always)]
fn word<F: Frame>(frame: &F, offset: usize) -> Result<u16, Reason> {
    match frame.load::<Be16>(offset) {
        Some(word) => Ok(word.get()),
        None => Err(Reason::Truncated),
    }
}

/// Reads the link header. A third tag is left as the EtherType.
///
/// # Errors
/// [`Reason::Truncated`] if the frame ends within the header.
#[inline(always)]
pub fn parse<F: Frame>(frame: &F) -> Result<Ethernet, Reason> {
    let ethertype = word(frame, field::ETHERTYPE)?;
    if !is_tag(ethertype) {
        return Ok(Ethernet {
            ethertype,
            tags: [0, 0],
            tag_count: 0,
            length: HEADER,
        });
    }
    let outer = word(frame, field::OUTER_TCI)?;
    let ethertype = word(frame, field::OUTER_TYPE)?;
    if !is_tag(ethertype) {
        return Ok(Ethernet {
            ethertype,
            tags: [outer, 0],
            tag_count: 1,
            length: HEADER + TAG,
        });
    }
    Ok(Ethernet {
        ethertype: word(frame, field::INNER_TYPE)?,
        tags: [outer, word(frame, field::INNER_TCI)?],
        tag_count: 2,
        length: HEADER + 2 * TAG,
    })
}
