//! Records that XDP leaves for user space in the `EVENTS` ring.

use bytemuck::{Pod, Zeroable};

/// A subscriber's newest block has crossed its fill watermark: the next block
/// is wanted before this one is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Event {
    /// Version of this record: [`Event::VERSION`].
    pub version: u32,
    /// Index in `SUBSCRIBERS`.
    pub subscriber: u32,
    /// Slab line of the block that is nearly full.
    pub slab_line: u32,
    /// Inside address of the subscriber, host order.
    pub inside: u32,
}

impl Event {
    pub const VERSION: u32 = 1;

    /// The record in native byte order: both ends run on one machine.
    #[inline(always)]
    #[must_use]
    pub fn to_words(self) -> [u64; 2] {
        bytemuck::must_cast(self)
    }

    /// None when the record is of another length or version.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let event: Self = bytemuck::try_pod_read_unaligned(bytes).ok()?;
        (event.version == Self::VERSION).then_some(event)
    }
}

#[cfg(test)]
mod tests {
    use super::Event;

    #[test]
    fn a_record_survives_the_ring_and_foreign_records_are_refused() {
        let event = Event {
            version: Event::VERSION,
            subscriber: 7,
            slab_line: 9,
            inside: 0x6440_0001,
        };
        let words = event.to_words();
        let mut bytes = [words[0].to_ne_bytes(), words[1].to_ne_bytes()].concat();
        assert_eq!(Event::from_bytes(&bytes), Some(event));
        assert_eq!(Event::from_bytes(&bytes[..15]), None);
        bytes[0] = 2;
        assert_eq!(Event::from_bytes(&bytes), None);
    }
}
