//! The packet, as the translator sees it.

use bytemuck::Pod;

use crate::csum;
use crate::nat::mss;

/// A frame from its link header on. Bounds are checked at each access; an
/// access that does not fit returns `None` and changes nothing.
pub trait Frame {
    /// Bytes in the frame.
    fn len(&self) -> usize;

    /// True for a frame without a byte.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Reads a `T` at `offset`, in the byte order of the packet.
    fn load<T: Pod>(&self, offset: usize) -> Option<T>;

    /// Writes a `T` at `offset`.
    fn store<T: Pod>(&mut self, offset: usize, value: T) -> Option<()>;

    /// One's-complement sum of `length` bytes from `offset` on, see [`csum::sum`].
    #[inline(always)]
    fn sum(&self, offset: usize, length: usize) -> Option<u64> {
        csum::sum(self, offset, length)
    }

    /// Moves the start of the frame by `delta` bytes (negative: the frame
    /// grows at the front). `None`, without a change, if there is no room.
    fn move_start(&mut self, delta: i32) -> Option<()>;

    /// See [`mss::clamp`]. XDP overrides it to make it a function of its own.
    #[inline(always)]
    fn clamp_mss(&mut self, l4: usize, most: u16)
    where
        Self: Sized,
    {
        mss::clamp(self, l4, most);
    }
}

/// A frame in ordinary memory, with head room in front of it.
#[derive(Debug)]
pub struct Buffer<'a> {
    bytes: &'a mut [u8],
    start: usize,
    end: usize,
}

impl<'a> Buffer<'a> {
    /// The frame `bytes[start..end]`; the rest of `bytes` is head and tail
    /// room. `None` if the range is not within `bytes`.
    #[must_use]
    pub fn new(bytes: &'a mut [u8], start: usize, end: usize) -> Option<Self> {
        (start <= end && end <= bytes.len()).then_some(Self { bytes, start, end })
    }

    /// Where the frame lies in the memory now.
    #[must_use]
    pub fn range(&self) -> core::ops::Range<usize> {
        self.start..self.end
    }

    /// The frame's bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(self.start..self.end).unwrap_or_default()
    }
}

impl Frame for Buffer<'_> {
    #[inline(always)]
    fn len(&self) -> usize {
        self.end - self.start
    }

    #[inline(always)]
    fn load<T: Pod>(&self, offset: usize) -> Option<T> {
        let end = offset.checked_add(size_of::<T>())?;
        let bytes = self.bytes().get(offset..end)?;
        bytemuck::try_pod_read_unaligned(bytes).ok()
    }

    #[inline(always)]
    fn store<T: Pod>(&mut self, offset: usize, value: T) -> Option<()> {
        let end = offset.checked_add(size_of::<T>())?;
        let bytes = self
            .bytes
            .get_mut(self.start..self.end)?
            .get_mut(offset..end)?;
        bytes.copy_from_slice(bytemuck::bytes_of(&value));
        Some(())
    }

    #[inline(always)]
    fn move_start(&mut self, delta: i32) -> Option<()> {
        let start = self.start.checked_add_signed(delta as isize)?;
        (start <= self.end).then(|| self.start = start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accesses_beyond_the_frame_are_refused_even_where_memory_goes_on() {
        let mut memory = [0xa5_u8; 32];
        let mut frame = Buffer::new(&mut memory, 8, 24).unwrap();
        assert_eq!(frame.load::<u32>(12), Some(0xa5a5_a5a5));
        assert_eq!(frame.load::<u32>(13), None);
        assert_eq!(frame.load::<u32>(usize::MAX), None);
        assert_eq!(frame.store(13, 0_u32), None);
        assert_eq!(frame.store(15, 1_u8), Some(()));
        assert_eq!(frame.move_start(-9), None);
        assert_eq!(frame.move_start(-8), Some(()));
        assert_eq!(frame.len(), 24);
        assert_eq!(frame.move_start(25), None);
        assert_eq!(memory[23], 1);
        assert!(Buffer::new(&mut memory, 8, 33).is_none());
    }
}
