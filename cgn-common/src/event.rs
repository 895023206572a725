//! Records that XDP leaves for user space in the `EVENTS` ring.

/// A subscriber's newest block has crossed its fill watermark: the next block
/// is wanted before this one is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    /// Bytes of a record.
    pub const BYTES: usize = 16;

    /// The record in native byte order: both ends run on one machine.
    #[inline(always)]
    #[must_use]
    pub fn to_words(self) -> [u64; 2] {
        [
            u64::from(self.version) | u64::from(self.subscriber) << 32,
            u64::from(self.slab_line) | u64::from(self.inside) << 32,
        ]
    }

    /// None when the record is of another length or version.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let field = |at: usize| {
            let bytes = bytes.get(at..at + 4)?;
            Some(u32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
        };
        let event = Self {
            version: field(0)?,
            subscriber: field(4)?,
            slab_line: field(8)?,
            inside: field(12)?,
        };
        (bytes.len() == Self::BYTES && event.version == Self::VERSION).then_some(event)
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
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&words[0].to_ne_bytes());
        bytes[8..].copy_from_slice(&words[1].to_ne_bytes());
        assert_eq!(Event::from_bytes(&bytes), Some(event));
        assert_eq!(Event::from_bytes(&bytes[..15]), None);
        bytes[0] = 2;
        assert_eq!(Event::from_bytes(&bytes), None);
    }
}
