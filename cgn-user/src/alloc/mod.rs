//! The port-block allocator: which subscriber has which block of which
//! external address, and which slab of slot memory serves it.
//!
//! Pure: no clock (callers pass a monotonic `now_ms`), no map, no I/O. The
//! random generator must be a cryptographic one, so that blocks are hard to
//! guess (RFC 6056, RFC 6888 REQ-15).
//!
//! A block goes round: free -> used ([`Allocator::allocate`]) -> in hold
//! ([`Allocator::release`]) -> free, once its hold is over. Its slab goes round
//! on its own: free -> used -> in quarantine -> free.
//!
//! * The blocks of one subscriber are all of one external address (paired
//!   pooling, RFC 4787 REQ-2, RFC 6888 REQ-2). The pairing ends with its last block.
//! * A block in hold is given to nobody, *not even to the subscriber that had it*.
//!   RFC 6888 REQ-8 makes no exception for it, and with the slab goes the memory
//!   of which ports were freed when: a late packet of an old session must not
//!   meet a new mapping.
//! * A refusal changes nothing, and is given only if nothing that is due at
//!   `now_ms` would have prevented it.
//! * Memory: a few ranges for each pool, 8 bytes a slab, and state for addresses
//!   of which a block is used or in hold; a pool of 2^24 unused addresses costs
//!   as much as a pool of one.
//!
//! Times that go backwards count as standing still.

mod block_set;
mod error;
mod holds;
mod open_addresses;
mod pool;
mod slabs;
mod spec;
mod status;
#[cfg(test)]
mod tests;

use std::ops::RangeInclusive;

use rand::CryptoRng;

pub use error::{AdoptError, HoldError, Refusal, ReleaseError, SpecError};
pub use spec::{FIRST_PORT, HoldPolicy, MAX_SLABS, PoolSpec, USABLE_PORTS};
pub use status::{PoolCounters, PoolStatus};

use crate::withheld::Standing;
use pool::Pool;

/// A block given to a subscriber.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allocation {
    /// External address, host byte order.
    pub external: u32,
    /// Number of the block in its address; block b holds the ports from
    /// 1024 + b * `block_ports` on, or where these are scattered to.
    pub block: u16,
    /// First port of the block, or place if it is scattered, host byte order.
    pub base_port: u16,
    /// Slab that serves the block, below the pool's `max_blocks`.
    pub slab: u32,
    /// Number of the key that scatters the address's blocks; 0 in a pool with contiguous ones.
    pub key: u8,
}

/// A block that a subscriber gave back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Released {
    /// Slab that served it, now in quarantine.
    pub slab: u32,
    /// From when on the block may be given out, in the caller's milliseconds.
    pub free_at_ms: u64,
}

/// A block of a subscriber and the slab that serves it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockSlab {
    pub block: u16,
    pub slab: u32,
}

/// The blocks of one subscriber.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SubscriberBlocks<'a> {
    pub subscriber: u32,
    /// External address of all of them, host byte order.
    pub external: u32,
    /// In the order in which they were allocated.
    pub blocks: &'a [BlockSlab],
}

/// All pools. Pools are numbered in the order in which they were given.
#[derive(Debug)]
pub struct Allocator<R> {
    pools: Vec<Pool>,
    rng: R,
    /// The latest time that was seen.
    now_ms: u64,
}

impl<R: CryptoRng> Allocator<R> {
    /// # Errors
    /// The first pool that cannot be built, or two pools that share an address.
    pub fn new(specs: &[PoolSpec], policy: HoldPolicy, rng: R) -> Result<Self, SpecError> {
        if specs.len() > usize::from(u16::MAX) {
            return Err(SpecError::TooManyPools { count: specs.len() });
        }
        let mut pools: Vec<Pool> = Vec::with_capacity(specs.len());
        for spec in specs {
            let pool = Pool::new(spec, policy)?;
            for earlier in &pools {
                if let Some(address) = earlier.shared_with(&pool) {
                    return Err(SpecError::Overlap {
                        pool: earlier.spec().name.clone(),
                        other: spec.name.clone(),
                        address: address.into(),
                    });
                }
            }
            pools.push(pool);
        }
        Ok(Self {
            pools,
            rng,
            now_ms: 0,
        })
    }

    /// Gives `subscriber` its first or a further block. The slab's memory is as
    /// its last user left it.
    ///
    /// # Errors
    /// The reason why there is none; nothing was changed.
    pub fn allocate(
        &mut self,
        pool: u16,
        subscriber: u32,
        now_ms: u64,
    ) -> Result<Allocation, Refusal> {
        let now_ms = self.tick(now_ms);
        let known = self.pools.get_mut(usize::from(pool));
        let known = known.ok_or(Refusal::UnknownPool { pool })?;
        known.allocate(subscriber, now_ms, &mut self.rng)
    }

    /// Gives `subscriber` one of the blocks that are reserved in each address
    /// ([`PoolSpec::static_blocks`]): the caller knows whose it is.
    ///
    /// # Errors
    /// It has an owner or is in hold, is of another address than the subscriber's other blocks, or there is no
    /// slab; nothing was changed.
    pub fn assign(
        &mut self,
        pool: u16,
        subscriber: u32,
        external: u32,
        block: u16,
        now_ms: u64,
    ) -> Result<Allocation, Refusal> {
        let now_ms = self.tick(now_ms);
        let known = self.pools.get_mut(usize::from(pool));
        let known = known.ok_or(Refusal::UnknownPool { pool })?;
        known.assign(subscriber, external, block, now_ms)
    }

    /// Takes back an allocation that no packet could use, for want of its log
    /// record for example: block and slab are free at once, so that a full disk
    /// does not put the whole pool in hold.
    ///
    /// # Errors
    /// The block is not the subscriber's; nothing was changed.
    pub fn withdraw(
        &mut self,
        pool: u16,
        subscriber: u32,
        allocation: &Allocation,
    ) -> Result<(), ReleaseError> {
        let known = self.pools.get_mut(usize::from(pool));
        let known = known.ok_or(ReleaseError::UnknownPool { pool })?;
        known.withdraw(subscriber, allocation.external, allocation.block)
    }

    /// Takes an external address of the pool out of use, or with `None` into use again. False if it
    /// is not in the pool.
    pub fn withhold(&mut self, pool: u16, external: u32, standing: Option<Standing>) -> bool {
        let known = self.pools.get_mut(usize::from(pool));
        known.is_some_and(|pool| pool.withhold(external, standing))
    }

    /// Takes the block from the subscriber, which ends its use: the block goes
    /// in hold (RFC 6888 REQ-8), the slab in quarantine.
    ///
    /// # Errors
    /// The block is not the subscriber's; nothing was changed.
    pub fn release(
        &mut self,
        pool: u16,
        subscriber: u32,
        external: u32,
        block: u16,
        now_ms: u64,
    ) -> Result<Released, ReleaseError> {
        let now_ms = self.tick(now_ms);
        let known = self.pools.get_mut(usize::from(pool));
        let known = known.ok_or(ReleaseError::UnknownPool { pool })?;
        known.release(subscriber, external, block, now_ms)
    }

    /// Ends the holds and quarantines of all pools that are due; returns how many.
    /// Costs nothing when none is due. Allocation is right without it; gauges
    /// are as old as the last call.
    pub fn advance(&mut self, now_ms: u64) -> usize {
        let now_ms = self.tick(now_ms);
        self.pools.iter_mut().map(|pool| pool.advance(now_ms)).sum()
    }

    /// Takes over a block that the tables say the subscriber has, at start.
    /// A subscriber may so have more than `blocks_per_subscriber`, when that was
    /// lowered: its traffic lives, and it gets no more.
    ///
    /// # Errors
    /// A double owner of block or slab, a broken pairing, or a block that the
    /// configuration has no more; nothing was changed.
    pub fn adopt(
        &mut self,
        pool: u16,
        subscriber: u32,
        external: u32,
        block: u16,
        slab: u32,
    ) -> Result<(), AdoptError> {
        let known = self.pools.get_mut(usize::from(pool));
        let known = known.ok_or(AdoptError::UnknownPool { pool })?;
        known.adopt(subscriber, external, block, slab)
    }

    /// Puts a block without owner in hold until `until_ms`, or lengthens its
    /// hold to that: for blocks that the mapping log says were live or in hold
    /// before a crash. `max_held_blocks` does not apply.
    ///
    /// # Errors
    /// The block has an owner or is not in the pool; nothing was changed.
    pub fn hold_until(
        &mut self,
        pool: u16,
        external: u32,
        block: u16,
        until_ms: u64,
    ) -> Result<(), HoldError> {
        let known = self.pools.get_mut(usize::from(pool));
        let known = known.ok_or(HoldError::UnknownPool { pool })?;
        known.hold_until(external, block, until_ms)
    }

    /// The pool of `external` and its blocks that share a port with `ports`:
    /// finds the blocks of a log record also after pools were reordered or
    /// `block_ports` changed. None if no block does.
    #[must_use]
    pub fn blocks_covering(
        &self,
        external: u32,
        ports: RangeInclusive<u16>,
    ) -> Option<(u16, RangeInclusive<u16>)> {
        self.pools.iter().enumerate().find_map(|(number, pool)| {
            let blocks = pool.blocks_covering(external, &ports)?;
            Some((number as u16, blocks))
        })
    }

    /// From now on addresses of scattered pools of which no block is used or in hold take the
    /// key of this number, and new subscribers go to those that have it, of two at random.
    pub fn set_newest_key(&mut self, key: u8) {
        for pool in &mut self.pools {
            pool.set_newest_key(key);
        }
    }

    /// The blocks of `external` that are used or in hold are scattered with the key of this
    /// number: says so at start, of addresses that are taken over.
    pub fn keep_key(&mut self, pool: u16, external: u32, key: u8) {
        if let Some(pool) = self.pools.get_mut(usize::from(pool)) {
            pool.keep_key(external, key);
        }
    }

    /// First port of `block`; None if there is no such pool or block.
    #[must_use]
    pub fn base_port(&self, pool: u16, block: u16) -> Option<u16> {
        let pool = self.pools.get(usize::from(pool))?;
        (u32::from(block) < pool.spec().blocks_per_address()).then(|| pool.base_port(block))
    }

    /// What the pool was built from.
    #[must_use]
    pub fn spec(&self, pool: u16) -> Option<&PoolSpec> {
        self.pools.get(usize::from(pool)).map(Pool::spec)
    }

    /// Gauges and counters of the pool.
    #[must_use]
    pub fn status(&self, pool: u16) -> Option<PoolStatus> {
        self.pools.get(usize::from(pool)).map(Pool::status)
    }

    /// The subscriber's blocks in `pool`; None if it has none.
    #[must_use]
    pub fn blocks_of(&self, pool: u16, subscriber: u32) -> Option<SubscriberBlocks<'_>> {
        self.pools.get(usize::from(pool))?.blocks_of(subscriber)
    }

    /// Every subscriber that has a block in `pool`, in no order.
    pub fn subscribers(&self, pool: u16) -> impl Iterator<Item = SubscriberBlocks<'_>> {
        let pool = self.pools.get(usize::from(pool));
        pool.into_iter().flat_map(Pool::subscribers)
    }

    fn tick(&mut self, now_ms: u64) -> u64 {
        self.now_ms = self.now_ms.max(now_ms);
        self.now_ms
    }
}
