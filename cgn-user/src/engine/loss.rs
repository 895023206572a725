//! What goes with tables that cannot be adopted: told before anyone is asked whether it may.

use std::collections::BTreeSet;
use std::fmt;

use crate::dataplane::attach::Pins;
use crate::maplog::Recovery;

/// Who loses mappings, and how many.
pub(super) struct Loss {
    pub(super) blocks: usize,
    pub(super) subscribers: usize,
    ports: Ports,
}

/// How many mappings there may be.
enum Ports {
    /// Ports in use, of all protocols: mappings, and some in hold after theirs ended.
    InUse(u64),
    /// All that the blocks have, by the log: where tables of another layout count is not known.
    OfBlocks(u64),
    /// There, and the log lacks blocks.
    Unknown,
}

impl Loss {
    /// By the tables, and by the log: one of them may be of another format, or gone.
    pub(super) fn of(pins: &Pins, recovery: &Recovery) -> Self {
        let logged = || recovery.live.values().map(|logged| &logged.block);
        let ports = || logged().map(|block| u64::from(block.ports.count())).sum();
        let by_log = count(logged().map(|block| (block.realm, block.inside)));
        let by_tables = count(pins.block_owners().into_iter());
        let (blocks, subscribers) = by_tables.max(by_log);
        Self {
            blocks,
            subscribers,
            ports: match pins.ports_used() {
                Some(used) => Ports::InUse(used),
                None if by_log.0 == blocks => Ports::OfBlocks(ports()),
                None => Ports::Unknown,
            },
        }
    }
}

/// Blocks with these owners, and how many owners there are.
fn count<Owner: Ord>(owners: impl ExactSizeIterator<Item = Owner>) -> (usize, usize) {
    (owners.len(), owners.collect::<BTreeSet<_>>().len())
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (blocks, subscribers) = (self.blocks, self.subscribers);
        write!(
            f,
            "{blocks} blocks of {subscribers} subscribers and all their mappings"
        )?;
        match self.ports {
            Ports::InUse(ports) => write!(f, " ({ports} ports in use)"),
            Ports::OfBlocks(ports) => write!(f, " (at most {ports} of each protocol)"),
            Ports::Unknown => Ok(()),
        }
    }
}
