//! What `cgn top` looks at, all of one moment.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use cgn_common::counters::Counters;
use cgn_common::verdict::Direction;

use super::{Selection, View, drops, pools};
use crate::api::rows::{SubscriberRow, Top, Traffic};
use crate::state::State;

/// Counters, pools and reasons, with the `most` subscribers that use most ports.
#[must_use]
pub fn top(state: &State, most: usize) -> Top {
    let (fast_path, stats) = ((state.fast_path_counters)(), state.stats().clone());
    let mut all = fast_path;
    all.merge(&stats.slow_path);
    let view = View {
        memory: &state.memory,
        geometry: &state.geometry,
    };
    Top {
        at_ms: state.now_ns() / 1_000_000,
        outbound: traffic(&all, Direction::Outbound),
        inbound: traffic(&all, Direction::Inbound),
        created: all.created.into(),
        mappings: stats.mappings().into(),
        drops: drops(&fast_path, &stats.slow_path, false),
        pools: pools(&state.geometry, &stats, Selection::default()),
        subscribers: view.busiest(most, state.now_tick()),
    }
}

fn traffic(counters: &Counters, direction: Direction) -> Traffic {
    Traffic {
        packets: counters.packets[direction as usize].into(),
        bytes: counters.bytes[direction as usize].into(),
    }
}

/// Ports that a subscriber uses, of all protocols.
fn used(row: &SubscriberRow) -> u64 {
    row.ports_used.tcp + row.ports_used.udp + row.ports_used.icmp
}

impl View<'_> {
    /// The subscribers that use most ports, most first; at most `most`. `now` in ticks, of the
    /// data plane's clock.
    #[must_use]
    pub fn busiest(self, most: usize, now: u32) -> Vec<SubscriberRow> {
        // The least of the busiest on top; of two alike, the higher address.
        let mut busiest = BinaryHeap::new();
        for (_, inside) in self.keys(None, 0) {
            if let Some(row) = self.subscriber_row(inside, Selection::default(), now) {
                busiest.push((Reverse(used(&row)), inside));
                if busiest.len() > most {
                    busiest.pop();
                }
            }
        }
        let sorted = busiest.into_sorted_vec().into_iter();
        let rows =
            sorted.filter_map(|(_, inside)| self.subscriber_row(inside, Selection::default(), now));
        rows.collect()
    }
}

#[cfg(test)]
mod tests {
    use cgn_common::verdict::Protocol;

    use super::*;
    use crate::api::fixture::{Fixture, HOME, OFFICE, OTHER_HOME};

    #[test]
    fn the_busiest_come_first_and_only_so_many() {
        let mut cgn = Fixture::new();
        cgn.give(HOME, [203, 0, 113, 2], 5);
        cgn.give(OTHER_HOME, [203, 0, 113, 1], 5);
        cgn.give(OFFICE, [198, 51, 100, 7], 5);
        for port in 0..3 {
            cgn.send(Protocol::Udp, OTHER_HOME, 5000 + port, 0);
        }
        cgn.send(Protocol::Tcp, HOME, 5000, 0);
        cgn.send(Protocol::Icmp, HOME, 5000, 0);
        let order = |most| -> Vec<_> {
            let rows = cgn.view().busiest(most, 0).into_iter();
            rows.map(|row| (row.inside, used(&row))).collect()
        };
        let all = [(OTHER_HOME, 3), (HOME, 2), (OFFICE, 0)];
        for most in 0..=4 {
            assert_eq!(order(most), all[..most.min(3)], "{most}");
        }
    }

    #[test]
    fn counters_of_both_paths_are_added_up() {
        let state = Fixture::new().state(false);
        state.stats().slow_path.packets[1][0] = 3;
        let top = top(&state, 5);
        assert_eq!(top.inbound.packets.tcp, 3);
        let no_port = top
            .drops
            .iter()
            .find(|row| row.reason == "no_port")
            .unwrap();
        assert_eq!((no_port.fast_path, no_port.slow_path), (7, 2));
        assert_eq!(top.pools.len(), 2);
    }
}
