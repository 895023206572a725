//! Rebuilding a pool's state at start, from the tables and the mapping log.

use std::ops::RangeInclusive;

use super::super::error::{AdoptError, HoldError};
use super::super::holds::BlockKey;
use super::super::spec::FIRST_PORT;
use super::Pool;

impl Pool {
    pub(in super::super) fn adopt(
        &mut self,
        subscriber: u32,
        external: u32,
        block: u16,
        slab: u32,
    ) -> Result<(), AdoptError> {
        let address = external.into();
        let key = self.key(external, block).ok_or(AdoptError::NotInPool {
            external: address,
            block,
        })?;
        let max_blocks = self.slabs.count();
        if slab >= max_blocks {
            return Err(AdoptError::SlabOutOfRange { slab, max_blocks });
        }
        if let Some(owner) = self.owner(key) {
            return Err(AdoptError::Owned {
                external: address,
                block,
                owner,
            });
        }
        if self.holds.contains(key) {
            return Err(AdoptError::Held {
                external: address,
                block,
            });
        }
        if !self.slabs.is_free(slab) {
            return Err(AdoptError::SlabInUse { slab });
        }
        let known = self.subscribers.get(&subscriber);
        if let Some(known) = known.filter(|known| known.address != key.0) {
            return Err(AdoptError::Paired {
                subscriber,
                paired: self.ranges.address(known.address).into(),
                external: address,
            });
        }
        self.slabs.take_this(slab);
        self.take(key);
        self.give(subscriber, key, slab);
        self.counters.adopted += 1;
        Ok(())
    }

    pub(in super::super) fn hold_until(
        &mut self,
        external: u32,
        block: u16,
        until_ms: u64,
    ) -> Result<(), HoldError> {
        let address = external.into();
        let key = self.key(external, block).ok_or(HoldError::NotInPool {
            external: address,
            block,
        })?;
        if let Some(owner) = self.owner(key) {
            return Err(HoldError::Owned {
                external: address,
                block,
                owner,
            });
        }
        if !self.holds.contains(key) {
            self.take(key);
        }
        self.holds.hold(key, until_ms);
        Ok(())
    }

    pub(in super::super) fn blocks_covering(
        &self,
        external: u32,
        ports: &RangeInclusive<u16>,
    ) -> Option<RangeInclusive<u16>> {
        self.ranges.ordinal(external)?;
        let last = self.spec.blocks_per_address() - 1;
        let above = u32::from(*ports.end()).checked_sub(FIRST_PORT)?;
        let below = u32::from(*ports.start()).saturating_sub(FIRST_PORT);
        let (begin, end) = (below / self.spec.block_ports, above / self.spec.block_ports);
        (begin <= last && begin <= end).then(|| begin as u16..=end.min(last) as u16)
    }

    pub(super) fn key(&self, external: u32, block: u16) -> Option<BlockKey> {
        let address = self.ranges.ordinal(external)?;
        (u32::from(block) < self.spec.blocks_per_address()).then_some((address, block))
    }

    /// Who has the block: a search through all subscribers, but only of blocks
    /// that are taken and not in hold, that is when something is wrong.
    pub(super) fn owner(&self, key: BlockKey) -> Option<u32> {
        let state = self.addresses.get(&key.0)?;
        if !state.taken.is_taken(key.1) || self.holds.contains(key) {
            return None;
        }
        self.subscribers
            .iter()
            .find(|(_, known)| {
                known.address == key.0 && known.blocks.iter().any(|one| one.block == key.1)
            })
            .map(|(&subscriber, _)| subscriber)
    }
}
