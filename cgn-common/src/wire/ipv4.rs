//! IPv4 (RFC 791).

use bytemuck::{Pod, Zeroable};

use super::{Be16, Be32};
use crate::csum;
use crate::frame::Frame;
use crate::verdict::Reason;

/// Bytes of the header without options.
pub const HEADER: usize = 20;
/// Most 32-bit words of options.
const MAX_OPTION_WORDS: usize = 10;

/// Bits of the 16-bit word that holds flags and fragment offset.
const DONT_FRAGMENT: u16 = 0x4000;
const MORE_FRAGMENTS: u16 = 0x2000;
const OFFSET: u16 = 0x1fff;

/// Offsets of the fields that translation writes.
pub mod field {
    pub const ID: usize = 4;
    pub const FRAGMENT: usize = 6;
    pub const TTL_PROTOCOL_CHECKSUM: usize = 8;
    pub const PROTOCOL: usize = 9;
    pub const SOURCE: usize = 12;
    pub const DESTINATION: usize = 16;
}

/// The fixed part of the header, as it lies in the packet.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct Ipv4 {
    version_ihl: u8,
    pub tos: u8,
    total_length: Be16,
    pub id: Be16,
    fragment: Be16,
    pub ttl: u8,
    pub protocol: u8,
    pub checksum: Be16,
    pub source: Be32,
    pub destination: Be32,
}

const _: () = assert!(size_of::<Ipv4>() == HEADER);

impl Ipv4 {
    /// Header length in bytes, 20 to 60 in a checked header.
    #[inline(always)]
    #[must_use]
    pub const fn header_length(&self) -> usize {
        ((self.version_ihl & 0xf) as usize) << 2
    }
    /// Length of the packet in bytes.
    #[inline(always)]
    #[must_use]
    pub const fn total_length(&self) -> u16 {
        self.total_length.get()
    }
    /// Bytes behind the header; of a checked header.
    #[inline(always)]
    #[must_use]
    pub const fn payload_length(&self) -> u16 {
        self.total_length()
            .wrapping_sub(self.header_length() as u16)
    }
    /// True for any fragment, also the first.
    #[inline(always)]
    #[must_use]
    pub const fn is_fragment(&self) -> bool {
        self.fragment.get() & (MORE_FRAGMENTS | OFFSET) != 0
    }

    /// True for a fragment that is not the first: it has no transport header.
    #[inline(always)]
    #[must_use]
    pub const fn is_later_fragment(&self) -> bool {
        self.fragment_offset() != 0
    }

    /// True for a fragment that is not the last.
    #[inline(always)]
    #[must_use]
    pub const fn has_more_fragments(&self) -> bool {
        self.fragment.get() & MORE_FRAGMENTS != 0
    }

    /// Where a fragment belongs, in units of 8 bytes.
    #[inline(always)]
    #[must_use]
    pub const fn fragment_offset(&self) -> u16 {
        self.fragment.get() & OFFSET
    }

    /// True if no router may fragment the packet.
    #[inline(always)]
    #[must_use]
    pub const fn dont_fragment(&self) -> bool {
        self.fragment.get() & DONT_FRAGMENT != 0
    }

    /// True for a packet that is whole for good (RFC 6864 section 4.1): its
    /// identification means nothing.
    #[inline(always)]
    #[must_use]
    pub const fn is_atomic(&self) -> bool {
        self.fragment.get() & (DONT_FRAGMENT | MORE_FRAGMENTS | OFFSET) == DONT_FRAGMENT
    }

    /// The header with another identification and the checksum for it.
    #[inline(always)]
    #[must_use]
    pub const fn identified(self, id: u16) -> Self {
        let id = Be16::new(id);
        let checksum = csum::Change::NONE
            .word16(self.id.raw(), id.raw())
            .apply(self.checksum.raw());
        Self {
            id,
            checksum: Be16::from_raw(checksum),
            ..self
        }
    }

    /// The 16-bit word that holds time to live and protocol, as in memory.
    #[inline(always)]
    #[must_use]
    pub const fn ttl_word(ttl: u8, protocol: u8) -> u16 {
        u16::from_ne_bytes([ttl, protocol])
    }

    #[inline(always)]
    fn sum(&self) -> u64 {
        let word = |a: u16, b: u16| a as u64 + b as u64;
        word(
            u16::from_ne_bytes([self.version_ihl, self.tos]),
            self.total_length.raw(),
        ) + word(self.id.raw(), self.fragment.raw())
            + word(Self::ttl_word(self.ttl, self.protocol), self.checksum.raw())
            + self.source.raw() as u64
            + self.destination.raw() as u64
    }
}

/// Reads and checks the header at `offset`. The header, its options and
/// `total_length` bytes then lie within the frame; bytes behind them are
/// Ethernet padding.
///
/// # Errors
/// The reason why the packet must be dropped.
#[inline(always)]
pub fn parse<F: Frame>(frame: &F, offset: usize) -> Result<Ipv4, Reason> {
    let header = load(frame, offset)?;
    let total = header.total_length() as usize;
    if total < header.header_length() || offset + total > frame.len() {
        return Err(Reason::BadIpLength);
    }
    check_sum(frame, offset, &header)?;
    Ok(header)
}

/// Reads the header of a packet that was parsed before once more: XDP has little
/// stack to keep it on.
///
/// # Errors
/// None, for such a packet.
#[inline(always)]
pub fn again<F: Frame>(frame: &F, offset: usize) -> Result<Ipv4, Reason> {
    frame.load(offset).ok_or(Reason::Truncated)
}

/// Reads and checks the header at `offset` of a packet whose end may be missing.
///
/// # Errors
/// The reason why it is none.
#[inline(always)]
pub fn parse_header<F: Frame>(frame: &F, offset: usize) -> Result<Ipv4, Reason> {
    let header = load(frame, offset)?;
    check_sum(frame, offset, &header)?;
    Ok(header)
}

#[inline(always)]
fn load<F: Frame>(frame: &F, offset: usize) -> Result<Ipv4, Reason> {
    let header: Ipv4 = frame.load(offset).ok_or(Reason::Truncated)?;
    if header.version_ihl >> 4 != 4 || header.header_length() < HEADER {
        return Err(Reason::BadIpHeader);
    }
    Ok(header)
}

#[inline(always)]
fn check_sum<F: Frame>(frame: &F, offset: usize, header: &Ipv4) -> Result<(), Reason> {
    let mut sum = header.sum();
    if header.header_length() != HEADER {
        sum += sum_options(frame, offset, header.header_length())?;
    }
    if csum::fold(sum) != 0xffff {
        return Err(Reason::BadIpChecksum);
    }
    Ok(())
}

/// Sum over the options of a header of `length` bytes. Inlined: a function of
/// its own would get the packet pointer as a number, which the verifier refuses.
#[inline(always)]
fn sum_options<F: Frame>(frame: &F, offset: usize, length: usize) -> Result<u64, Reason> {
    let mut sum = 0;
    for word in 0..MAX_OPTION_WORDS {
        let at = HEADER + 4 * word;
        if at >= length {
            break;
        }
        sum += u64::from(frame.load::<u32>(offset + at).ok_or(Reason::Truncated)?);
    }
    Ok(sum)
}
