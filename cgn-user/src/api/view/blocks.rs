//! Blocks that subscribers have.

use cgn_common::layout::{Used, header};
use cgn_common::verdict::Protocol;

use super::{Owned, Part, Selection, View};
use crate::api::rows::{BlockRow, Page};
use crate::dataplane::geometry::Arrangement;
use crate::maplog::{PortRange, Ranges};
use crate::utc::Utc;

impl View<'_> {
    /// The selected blocks. The cursor is the row in `BLOCKS`.
    #[must_use]
    pub fn blocks(self, selection: Selection, part: Part) -> Page<BlockRow> {
        let first = u32::try_from(part.cursor).unwrap_or(u32::MAX);
        let mut rows = Vec::new();
        for block in self.owned(selection, first) {
            if rows.len() == part.limit {
                return Page {
                    rows,
                    next_cursor: Some(block.row.into()),
                };
            }
            rows.extend(self.block_row(&block));
        }
        Page {
            rows,
            next_cursor: None,
        }
    }

    /// None if it changed hands while it was read.
    pub(super) fn block_row(self, block: &Owned) -> Option<BlockRow> {
        let head = self.memory.header(block.slab_line)?;
        let used = self.memory.room(block.slab_line)?.used();
        let who = self.geometry.realms.who(block.inside);
        let Ranges { ports, system } = block.ranges()?;
        let row = BlockRow {
            external: block.external,
            first_port: ports.first(),
            last_port: ports.last(),
            first_system_port: system.map_or(0, PortRange::first),
            last_system_port: system.map_or(0, PortRange::last),
            key: match Arrangement::of_key(block.key) {
                Arrangement::Scattered => block.key,
                Arrangement::Contiguous | Arrangement::Classes => 0,
            },
            pool: self.pool_name(block.pool),
            inside: who.address,
            realm: who.realm.to_owned(),
            allocated: Utc(head.0[header::ALLOCATED_MS].load()).to_string(),
            log_sequence: block.log_sequence,
            ports_used: ports_used(used).into(),
        };
        self.is_still(block).then_some(row)
    }
}

/// Ports in use, by protocol.
pub(super) fn ports_used(used: Used) -> [u64; 3] {
    Protocol::ALL.map(|protocol| u64::from(used.of(protocol)))
}
