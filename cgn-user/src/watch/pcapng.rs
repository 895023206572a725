//! Blocks of a pcapng file (draft-ietf-opsawg-pcapng), all numbers little-endian: written, and
//! told apart again. Pure.

/// Types of blocks.
const SECTION: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
const STATISTICS: u32 = 5;
const PACKET: u32 = 6;
const BYTE_ORDER: u32 = 0x1a2b_3c4d;
/// Version 1.0; the length of the section is not known.
const VERSION: [u16; 2] = [1, 0];
const UNKNOWN_LENGTH: u64 = u64::MAX;
/// Ethernet.
const LINK_TYPE: u16 = 1;

/// Codes of options.
mod option {
    pub const COMMENT: u16 = 1;
    /// Of a section: the program that wrote it.
    pub const APPLICATION: u16 = 4;
    /// Of an interface.
    pub const NAME: u16 = 2;
    pub const DESCRIPTION: u16 = 3;
    pub const TIME_RESOLUTION: u16 = 9;
    /// Of a packet.
    pub const FLAGS: u16 = 2;
    pub const PACKET_ID: u16 = 5;
    pub const QUEUE: u16 = 6;
    /// Of statistics.
    pub const DROPPED: u16 = 5;
}
/// Nanoseconds.
const RESOLUTION: u8 = 9;

/// Whether a frame came in or went out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    In = 1,
    Out = 2,
}

/// A frame with what is said of it.
#[derive(Clone, Debug)]
pub struct Packet<'a> {
    /// Number of the interface, in the order of their blocks.
    pub interface: u32,
    /// Nanoseconds of Unix time.
    pub time_ns: u64,
    /// The first bytes of the frame, and its length in bytes.
    pub frame: &'a [u8],
    pub length: u32,
    pub direction: Direction,
    /// The same for the same packet on several interfaces.
    pub id: u64,
    pub queue: Option<u32>,
    pub comment: &'a str,
}

/// The beginning of a file.
#[must_use]
pub fn section(application: &str) -> Vec<u8> {
    let mut body = Body::default();
    body.u32(BYTE_ORDER);
    for number in VERSION {
        body.0.extend(number.to_le_bytes());
    }
    body.u64(UNKNOWN_LENGTH);
    body.option(option::APPLICATION, application.as_bytes());
    body.block(SECTION)
}

/// An Ethernet interface.
#[must_use]
pub fn interface(name: &str, description: &str) -> Vec<u8> {
    let mut body = Body::default();
    body.u32(u32::from(LINK_TYPE));
    // No limit of a frame's bytes that holds for all.
    body.u32(0);
    body.option(option::NAME, name.as_bytes());
    body.option(option::DESCRIPTION, description.as_bytes());
    body.option(option::TIME_RESOLUTION, &[RESOLUTION]);
    body.block(INTERFACE)
}

impl Packet<'_> {
    #[must_use]
    pub fn block(&self) -> Vec<u8> {
        let mut body = Body::default();
        body.u32(self.interface);
        body.time(self.time_ns);
        body.u32(self.frame.len() as u32);
        body.u32(self.length);
        body.padded(self.frame);
        body.option(option::COMMENT, self.comment.as_bytes());
        body.option(option::FLAGS, &(self.direction as u32).to_le_bytes());
        body.option(option::PACKET_ID, &self.id.to_le_bytes());
        if let Some(queue) = self.queue {
            body.option(option::QUEUE, &queue.to_le_bytes());
        }
        body.block(PACKET)
    }
}

/// So many packets are missing so far, of all interfaces.
#[must_use]
pub fn statistics(time_ns: u64, missed: u64) -> Vec<u8> {
    let mut body = Body::default();
    body.u32(0);
    body.time(time_ns);
    body.option(option::DROPPED, &missed.to_le_bytes());
    body.block(STATISTICS)
}

/// What is between the two lengths of a block.
#[derive(Default)]
struct Body(Vec<u8>);

impl Body {
    fn u32(&mut self, number: u32) {
        self.0.extend(number.to_le_bytes());
    }

    fn u64(&mut self, number: u64) {
        self.0.extend(number.to_le_bytes());
    }

    /// The upper half first.
    fn time(&mut self, time_ns: u64) {
        self.u32((time_ns >> 32) as u32);
        self.u32(time_ns as u32);
    }

    /// Up to a multiple of four bytes.
    fn padded(&mut self, bytes: &[u8]) {
        self.0.extend(bytes);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }

    fn option(&mut self, code: u16, value: &[u8]) {
        let value = &value[..value.len().min(usize::from(u16::MAX))];
        self.0.extend(code.to_le_bytes());
        self.0.extend((value.len() as u16).to_le_bytes());
        self.padded(value);
    }

    /// With the end of the options, and the lengths around.
    fn block(mut self, kind: u32) -> Vec<u8> {
        self.u32(0);
        let length = self.0.len() as u32 + 12;
        let mut block = Vec::with_capacity(length as usize);
        block.extend(kind.to_le_bytes());
        block.extend(length.to_le_bytes());
        block.extend(self.0);
        block.extend(length.to_le_bytes());
        block
    }
}

/// Takes what [`Packet::block`] and the others made apart again, as it comes.
#[derive(Debug, Default)]
pub struct Blocks {
    waiting: Vec<u8>,
    /// Frames among the blocks so far.
    pub frames: u64,
    /// By the last statistics.
    pub missed: u64,
}

/// What came is no pcapng of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is no pcapng block")]
pub struct NoBlock;

impl Blocks {
    /// The blocks that are whole with these bytes.
    ///
    /// # Errors
    /// A length that no block has.
    pub fn take(&mut self, bytes: &[u8]) -> Result<Vec<u8>, NoBlock> {
        self.waiting.extend(bytes);
        let mut whole = 0;
        while let Some((kind, length)) = words(&self.waiting[whole..]) {
            if length < 12 || length % 4 != 0 {
                return Err(NoBlock);
            }
            let Some(block) = self.waiting[whole..].get(..length as usize) else {
                break;
            };
            match kind {
                PACKET => self.frames += 1,
                // Behind the head, interface, time, and the option's head.
                STATISTICS => {
                    let missed = block.get(24..).and_then(|rest| rest.first_chunk());
                    self.missed = u64::from_le_bytes(*missed.ok_or(NoBlock)?);
                }
                _ => {}
            }
            whole += length as usize;
        }
        Ok(self.waiting.drain(..whole).collect())
    }
}

/// Type and length of the next block.
fn words(bytes: &[u8]) -> Option<(u32, u32)> {
    let (kind, rest) = bytes.split_first_chunk()?;
    Some((
        u32::from_le_bytes(*kind),
        u32::from_le_bytes(*rest.first_chunk()?),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_told_apart_wherever_the_stream_is_cut() {
        let packet = Packet {
            interface: 0,
            time_ns: 1,
            frame: &[7; 61],
            length: 100,
            direction: Direction::In,
            id: 5,
            queue: Some(3),
            comment: "translate",
        };
        let file = [
            section("cgn"),
            interface("eth0", "inside"),
            packet.block(),
            statistics(2, 17),
            packet.block(),
        ]
        .concat();
        for step in [1, 3, 50, 1000] {
            let mut blocks = Blocks::default();
            let mut whole = Vec::new();
            for part in file.chunks(step) {
                whole.extend(blocks.take(part).unwrap());
            }
            assert_eq!(whole, file, "{step} bytes at a time");
            assert_eq!((blocks.frames, blocks.missed), (2, 17));
        }
        let mut blocks = Blocks::default();
        assert_eq!(blocks.take(&file[..file.len() - 1]).unwrap().len() % 4, 0);
        assert_eq!(
            Blocks::default().take(&[1, 0, 0, 0, 9, 0, 0, 0]),
            Err(NoBlock)
        );
    }
}
