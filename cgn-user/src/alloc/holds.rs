//! Blocks that nobody may have yet.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use foldhash::HashMap;

/// Address number and block number.
pub(super) type BlockKey = (u32, u16);

/// The blocks in hold, in the order in which their holds end.
#[derive(Debug, Default)]
pub(super) struct Holds {
    until_ms: HashMap<BlockKey, u64>,
    /// One entry for each time that a hold was set; an entry that does not
    /// agree with `until_ms` was overtaken by a longer hold.
    due: BinaryHeap<Reverse<(u64, BlockKey)>>,
}

impl Holds {
    pub(super) fn count(&self) -> u32 {
        self.until_ms.len() as u32
    }

    pub(super) fn contains(&self, key: BlockKey) -> bool {
        self.until_ms.contains_key(&key)
    }

    /// Holds `key` until `until_ms` at least: a longer hold stays as it is.
    pub(super) fn hold(&mut self, key: BlockKey, until_ms: u64) {
        let current = self.until_ms.entry(key).or_insert(until_ms);
        if *current <= until_ms {
            *current = until_ms;
            self.due.push(Reverse((until_ms, key)));
        }
    }

    /// Ends one hold that is due and returns its block.
    pub(super) fn end_one(&mut self, now_ms: u64) -> Option<BlockKey> {
        while let Some(&Reverse((until_ms, key))) = self.due.peek() {
            if until_ms > now_ms {
                return None;
            }
            self.due.pop();
            if self.until_ms.get(&key) == Some(&until_ms) {
                self.until_ms.remove(&key);
                return Some(key);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hold_ends_at_the_latest_time_that_was_asked_and_once() {
        let mut holds = Holds::default();
        let (a, b) = ((0, 1), (0, 2));
        holds.hold(a, 100);
        holds.hold(b, 150);
        holds.hold(a, 200);
        holds.hold(a, 50);
        holds.hold(b, 150);
        assert_eq!((holds.count(), holds.end_one(149)), (2, None));
        assert_eq!((holds.end_one(150), holds.end_one(199)), (Some(b), None));
        assert!(holds.contains(a) && !holds.contains(b));
        assert_eq!((holds.end_one(200), holds.end_one(999)), (Some(a), None));
        assert_eq!(holds.count(), 0);
    }
}
