//! SYNs from outside that no mapping lets in (RFC 5382 REQ-4). Both ends of a
//! connection may open it at once, and the other SYN may be on its way: so such
//! a SYN is kept, and only when nobody has sent one after six seconds its sender
//! is told that nobody is there. Pure.

use std::collections::HashMap;

use cgn_common::limits::ticks;

/// SYNs in all.
const MOST: usize = 1024;
/// Ticks that one is kept: six seconds, and what is left of the tick in which it came.
const PATIENCE: u32 = ticks(6) + 1;

/// Source and destination, each address and port.
pub type Connection = [(u32, u16); 2];

/// A SYN as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Syn {
    pub frame: Vec<u8>,
    /// Number of the port that received it.
    pub port: usize,
    since: u32,
}

/// The SYNs that are kept.
#[derive(Debug, Default)]
pub struct Unsolicited {
    kept: HashMap<Connection, Syn>,
    /// When the due ones were taken last.
    looked: u32,
}

impl Unsolicited {
    /// Keeps a SYN, instead of an earlier one of its connection; false if there
    /// are too many.
    pub fn keep(&mut self, connection: Connection, frame: &[u8], port: usize, now: u32) -> bool {
        if self.kept.len() >= MOST && !self.kept.contains_key(&connection) {
            return false;
        }
        let frame = frame.to_vec();
        let since = now;
        self.kept.insert(connection, Syn { frame, port, since });
        true
    }

    /// SYNs that were kept long enough; they are kept no longer.
    pub fn take_due(&mut self, now: u32) -> Vec<Syn> {
        if self.looked == now {
            return Vec::new();
        }
        self.looked = now;
        let is_due = |_: &Connection, syn: &mut Syn| now.wrapping_sub(syn.since) >= PATIENCE;
        self.kept.extract_if(is_due).map(|(_, syn)| syn).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Connection = [(1, 2), (3, 4)];

    #[test]
    fn six_seconds_after_the_last_syn_of_a_connection() {
        let mut unsolicited = Unsolicited::default();
        assert!(unsolicited.keep(ONE, &[1], 0, 100));
        assert!(unsolicited.keep([(9, 2), (3, 4)], &[9], 1, 100));
        assert!(unsolicited.keep(ONE, &[2], 0, 110), "it is sent again");
        assert_eq!(unsolicited.take_due(100 + PATIENCE - 1), []);
        let due = |unsolicited: &mut Unsolicited, now| {
            let due = unsolicited.take_due(now).into_iter();
            due.map(|syn| (syn.frame, syn.port)).collect::<Vec<_>>()
        };
        assert_eq!(due(&mut unsolicited, 100 + PATIENCE), [(vec![9], 1)]);
        assert_eq!(due(&mut unsolicited, 110 + PATIENCE), [(vec![2], 0)]);
        assert_eq!(due(&mut unsolicited, 500), []);
        let ns = u64::from(PATIENCE - 1) << cgn_common::limits::TICK_SHIFT;
        assert!(ns >= 6_000_000_000, "whole ticks only");
    }

    #[test]
    fn there_are_never_more_than_the_store_holds() {
        let mut unsolicited = Unsolicited::default();
        for source in 0..MOST as u32 {
            assert!(unsolicited.keep([(source, 2), (3, 4)], &[1], 0, 5));
        }
        assert!(!unsolicited.keep([(u32::MAX, 2), (3, 4)], &[1], 0, 5));
        assert!(unsolicited.keep([(7, 2), (3, 4)], &[1], 0, 6), "one of them");
        assert_eq!(unsolicited.take_due(5 + PATIENCE).len(), MOST - 1);
        assert!(unsolicited.keep([(u32::MAX, 2), (3, 4)], &[1], 0, 40));
    }
}
