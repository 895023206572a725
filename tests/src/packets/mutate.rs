//! Changes to frames, the same every time.

/// A small generator of numbers (xorshift); not for secrets.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// `seed` 0 is taken for 1.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(if seed == 0 { 1 } else { seed })
    }

    /// A number below `sides`.
    pub fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % sides.max(1) as u64) as usize
    }
}

/// Values that lengths and ports like to break at.
const EDGES: [u8; 10] = [0, 1, 0x0f, 0x40, 0x45, 0x46, 0x7f, 0x80, 0x81, 0xff];

/// Changes a frame up to three times: bits, bytes, length, order.
pub fn mutate(frame: &mut Vec<u8>, dice: &mut Dice) {
    for _ in 0..dice.roll(4) {
        let length = frame.len();
        // Headers are more interesting than payloads.
        let reach = if dice.roll(4) == 0 { 2000 } else { 62 };
        let at = dice.roll(length.min(reach));
        match dice.roll(8) {
            0 | 1 if at < length => frame[at] ^= 1 << dice.roll(8),
            2 | 3 if at < length => frame[at] = EDGES[dice.roll(EDGES.len())],
            4 if at < length => frame[at] = dice.roll(256) as u8,
            5 => frame.truncate(dice.roll(length + 1)),
            6 => frame.extend(std::iter::repeat_n(0xee, dice.roll(64))),
            // A tag more, or four bytes less.
            7 if length > 14 => match dice.roll(2) {
                0 => {
                    let tag = [0x81, 0, 0, [7, 100, 200][dice.roll(3)]];
                    frame.splice(12..12, tag);
                }
                _ => drop(frame.drain(10..14)),
            },
            _ => {}
        }
    }
}
