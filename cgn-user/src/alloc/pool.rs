//! One pool: who has which block, and what is free.

mod recovery;

use std::collections::BTreeSet;

use foldhash::{HashMap, HashMapExt as _};
use rand::Rng;

use super::block_set::BlockSet;
use super::error::{Refusal, ReleaseError, SpecError};
use super::holds::{BlockKey, Holds};
use super::open_addresses::OpenAddresses;
use super::slabs::Slabs;
use super::spec::{AddressRanges, FIRST_PORT, HoldPolicy, PoolSpec};
use super::status::{PoolCounters, PoolStatus};
use crate::withheld::Standing;

use super::{Allocation, BlockSlab, Released, SubscriberBlocks};

/// State of an address of which a block is used or in hold. An address without
/// such a block has none.
#[derive(Debug)]
struct Address {
    taken: BlockSet,
    used_blocks: u32,
    /// Number of the key that scatters its blocks; 0: none.
    key: u8,
}

/// A subscriber that has a block.
#[derive(Debug)]
struct Subscriber {
    /// Number of the address that all its blocks are of.
    address: u32,
    blocks: Vec<BlockSlab>,
}

#[derive(Debug)]
pub(super) struct Pool {
    spec: PoolSpec,
    policy: HoldPolicy,
    ranges: AddressRanges,
    open: OpenAddresses,
    /// Addresses, closed, that no new subscriber gets; true: nor do others get further blocks of them.
    withheld: HashMap<u32, bool>,
    addresses: HashMap<u32, Address>,
    /// Blocks of each address that are reserved or static: nobody is given one by chance.
    closed: BTreeSet<u16>,
    subscribers: HashMap<u32, Subscriber>,
    holds: Holds,
    slabs: Slabs,
    used_blocks: u64,
    free_blocks: u64,
    /// Of those, blocks that anyone can get.
    free_open_blocks: u64,
    /// Addresses of which nobody can get one.
    full_addresses: u32,
    used_addresses: u32,
    /// Number of the key that addresses get; 0 where blocks are contiguous.
    newest_key: u8,
    counters: PoolCounters,
}

impl Pool {
    pub(super) fn new(spec: &PoolSpec, policy: HoldPolicy) -> Result<Self, SpecError> {
        spec.check()?;
        let ranges = AddressRanges::new(spec)?;
        let closed = spec.closed_blocks();
        let open_blocks = spec.blocks_per_address() - closed.len() as u32;
        Ok(Self {
            policy,
            open: OpenAddresses::new(ranges.count()),
            withheld: HashMap::new(),
            addresses: HashMap::new(),
            closed,
            subscribers: HashMap::new(),
            holds: Holds::default(),
            slabs: Slabs::new(spec.max_blocks),
            used_blocks: 0,
            free_blocks: u64::from(ranges.count()) * u64::from(spec.usable_blocks()),
            free_open_blocks: u64::from(ranges.count()) * u64::from(open_blocks),
            full_addresses: match open_blocks {
                0 => ranges.count(),
                _ => 0,
            },
            used_addresses: 0,
            newest_key: 0,
            counters: PoolCounters::default(),
            ranges,
            spec: spec.clone(),
        })
    }

    pub(super) fn spec(&self) -> &PoolSpec {
        &self.spec
    }

    pub(super) fn shared_with(&self, other: &Self) -> Option<u32> {
        self.ranges.shared_with(&other.ranges)
    }

    pub(super) fn base_port(&self, block: u16) -> u16 {
        // A block number is below 64512 / block_ports, so the port fits.
        (FIRST_PORT + u32::from(block) * self.spec.block_ports) as u16
    }

    pub(super) fn allocate(
        &mut self,
        subscriber: u32,
        now_ms: u64,
        rng: &mut impl Rng,
    ) -> Result<Allocation, Refusal> {
        let is_first = !self.subscribers.contains_key(&subscriber);
        let mut outcome = self.try_allocate(subscriber, rng);
        // What is due is brought back only when it is missed: this keeps the
        // usual allocation short and a refusal exact.
        if outcome.is_err() && self.advance(now_ms) > 0 {
            outcome = self.try_allocate(subscriber, rng);
        }
        match outcome {
            Ok(_) => {
                self.counters.allocated += 1;
                self.counters.paired += u64::from(is_first);
            }
            Err(Refusal::SubscriberLimit { .. }) => self.counters.refused_subscriber_limit += 1,
            Err(Refusal::AddressExhausted { .. }) => self.counters.refused_address_exhausted += 1,
            Err(Refusal::PoolExhausted) => self.counters.refused_pool_exhausted += 1,
            Err(Refusal::NoSlab { .. }) => self.counters.refused_no_slab += 1,
            Err(Refusal::UnknownPool { .. }) => {}
        }
        outcome
    }

    fn try_allocate(&mut self, subscriber: u32, rng: &mut impl Rng) -> Result<Allocation, Refusal> {
        let (address, block) = match self.subscribers.get(&subscriber) {
            Some(known) => self.choose_further(known, rng)?,
            None => self.choose_first(rng).ok_or(Refusal::PoolExhausted)?,
        };
        let slab = self.slabs.take().ok_or(Refusal::NoSlab {
            max_blocks: self.spec.max_blocks,
        })?;
        self.take((address, block));
        self.give(subscriber, (address, block), slab);
        Ok(Allocation {
            external: self.ranges.address(address),
            block,
            base_port: self.base_port(block),
            slab,
            key: self.key_of(address),
        })
    }

    /// Gives a static block to the subscriber that it is for.
    pub(super) fn assign(
        &mut self,
        subscriber: u32,
        external: u32,
        block: u16,
        now_ms: u64,
    ) -> Result<Allocation, Refusal> {
        self.advance(now_ms);
        let unusable = Refusal::AddressExhausted {
            external: external.into(),
        };
        let key = self.key(external, block).ok_or(unusable)?;
        let known = self.subscribers.get(&subscriber);
        let is_paired = known.is_none_or(|known| known.address == key.0);
        let is_free = self.owner(key).is_none() && !self.holds.contains(key);
        if !is_paired || u32::from(block) >= self.spec.static_blocks || !is_free {
            return Err(unusable);
        }
        let is_first = known.is_none();
        let slab = self.slabs.take().ok_or(Refusal::NoSlab {
            max_blocks: self.spec.max_blocks,
        })?;
        self.take(key);
        self.give(subscriber, key, slab);
        self.counters.allocated += 1;
        self.counters.paired += u64::from(is_first);
        Ok(Allocation {
            external,
            block,
            base_port: self.base_port(block),
            slab,
            key: self.key_of(key.0),
        })
    }

    /// A further block comes from the subscriber's address (RFC 4787 REQ-2, RFC 6888 REQ-2).
    fn choose_further(&self, known: &Subscriber, rng: &mut impl Rng) -> Result<BlockKey, Refusal> {
        let limit = self.spec.blocks_per_subscriber;
        if known.blocks.len() >= limit as usize {
            return Err(Refusal::SubscriberLimit { limit });
        }
        let is_drained = self.withheld.get(&known.address) == Some(&true);
        let state = self.addresses.get(&known.address).filter(|_| !is_drained);
        let block = state.and_then(|state| state.taken.choose(rng));
        match block {
            Some(block) => Ok((known.address, block)),
            None => Err(Refusal::AddressExhausted {
                external: self.ranges.address(known.address).into(),
            }),
        }
    }

    /// Of two addresses drawn at random, one with the newest key, else the one with more
    /// free blocks: this
    /// keeps addresses evenly filled, so that subscribers find room for further
    /// blocks at theirs, and stays hard to guess.
    fn choose_first(&self, rng: &mut impl Rng) -> Option<BlockKey> {
        let (one, other) = (self.open.choose(rng)?, self.open.choose(rng)?);
        let rank = |address| (self.has_newest_key(address), self.free_blocks_of(address));
        let address = if rank(other) > rank(one) { other } else { one };
        let block = match self.addresses.get(&address) {
            Some(state) => state.taken.choose(rng)?,
            None => BlockSet::new(self.spec.blocks_per_address(), &self.closed).choose(rng)?,
        };
        Some((address, block))
    }

    pub(super) fn set_newest_key(&mut self, key: u8) {
        if self.spec.scattered {
            self.newest_key = key;
        }
    }

    pub(super) fn keep_key(&mut self, external: u32, key: u8) {
        let address = self.ranges.ordinal(external);
        if let Some(state) = address.and_then(|address| self.addresses.get_mut(&address)) {
            state.key = key;
        }
    }

    fn key_of(&self, address: u32) -> u8 {
        let state = self.addresses.get(&address);
        state.map_or(self.newest_key, |state| state.key)
    }

    fn has_newest_key(&self, address: u32) -> bool {
        self.key_of(address) == self.newest_key
    }

    fn free_blocks_of(&self, address: u32) -> u32 {
        match self.addresses.get(&address) {
            Some(state) => state.taken.free(),
            None => self.open_blocks(),
        }
    }

    /// Takes back what `allocate` gave and nothing used: no hold, no quarantine.
    pub(super) fn withdraw(
        &mut self,
        subscriber: u32,
        external: u32,
        block: u16,
    ) -> Result<(), ReleaseError> {
        let (key, slab) = self.take_from(subscriber, external, block)?;
        self.slabs.give_back(slab);
        self.give_back(key);
        self.counters.withdrawn += 1;
        Ok(())
    }

    /// See [`super::Allocator::withhold`].
    pub(super) fn withhold(&mut self, external: u32, standing: Option<Standing>) -> bool {
        let Some(address) = self.ranges.ordinal(external) else {
            return false;
        };
        let has_free = self.free_blocks_of(address) > 0;
        let was = match standing {
            Some(standing) => {
                let is_drained = standing == Standing::Drained;
                self.withheld.insert(address, is_drained)
            }
            None => self.withheld.remove(&address),
        };
        match (was.is_some(), standing.is_some()) {
            (false, true) if has_free => self.open.close(address),
            (true, false) if has_free => self.open.reopen(address),
            _ => {}
        }
        true
    }

    pub(super) fn release(
        &mut self,
        subscriber: u32,
        external: u32,
        block: u16,
        now_ms: u64,
    ) -> Result<Released, ReleaseError> {
        let (key, slab) = self.take_from(subscriber, external, block)?;
        let slab_until_ms = now_ms.saturating_add(self.policy.slab_quarantine_ms);
        self.slabs.quarantine(slab, slab_until_ms);
        self.counters.released += 1;
        let free_at_ms = if self.holds.count() >= self.policy.max_held_blocks {
            self.counters.holds_skipped += 1;
            self.give_back(key);
            now_ms
        } else {
            let until_ms = now_ms.saturating_add(self.policy.block_hold_ms);
            self.holds.hold(key, until_ms);
            until_ms
        };
        Ok(Released { slab, free_at_ms })
    }

    /// Ends the holds and quarantines that are due; returns how many.
    pub(super) fn advance(&mut self, now_ms: u64) -> usize {
        let mut ended = self.slabs.advance(now_ms);
        while let Some(key) = self.holds.end_one(now_ms) {
            self.give_back(key);
            ended += 1;
        }
        ended
    }

    pub(super) fn blocks_of(&self, subscriber: u32) -> Option<SubscriberBlocks<'_>> {
        let known = self.subscribers.get(&subscriber)?;
        Some(self.listing(subscriber, known))
    }

    pub(super) fn subscribers(&self) -> impl Iterator<Item = SubscriberBlocks<'_>> {
        self.subscribers
            .iter()
            .map(|(&subscriber, known)| self.listing(subscriber, known))
    }

    fn listing<'a>(&self, subscriber: u32, known: &'a Subscriber) -> SubscriberBlocks<'a> {
        SubscriberBlocks {
            subscriber,
            external: self.ranges.address(known.address),
            blocks: &known.blocks,
        }
    }

    pub(super) fn status(&self) -> PoolStatus {
        let usable = u64::from(self.spec.usable_blocks());
        let open = u64::from(self.ranges.count()) * u64::from(self.open_blocks());
        let of_overflow = |count: u64| match self.spec.static_blocks {
            0 => 0,
            _ => count,
        };
        PoolStatus {
            overflow_total: of_overflow(open),
            overflow_free: of_overflow(self.free_open_blocks),
            overflow_full: of_overflow(self.full_addresses.into()),
            blocks_total: u64::from(self.ranges.count()) * usable,
            blocks_used: self.used_blocks,
            blocks_held: u64::from(self.holds.count()),
            blocks_free: self.free_blocks,
            addresses_total: self.ranges.count(),
            addresses_used: self.used_addresses,
            subscribers: self.subscribers.len() as u32,
            slabs_total: self.slabs.count(),
            slabs_free: self.slabs.free(),
            slabs_quarantined: self.slabs.quarantined(),
            counters: self.counters,
        }
    }

    /// State of an address of which a block is about to be used.
    fn address(&mut self, address: u32) -> &mut Address {
        let (closed, key) = (&self.closed, self.newest_key);
        let blocks = self.spec.blocks_per_address();
        self.addresses.entry(address).or_insert_with(|| Address {
            taken: BlockSet::new(blocks, closed),
            used_blocks: 0,
            key,
        })
    }

    /// Marks a free block as taken; a closed one is never seen as free.
    fn take(&mut self, (address, block): BlockKey) {
        self.free_blocks -= u64::from(!self.spec.reserved_blocks.contains(&block));
        let is_closed = self.closed.contains(&block);
        let state = self.address(address);
        if is_closed {
            return;
        }
        state.taken.take(block);
        let is_full = state.taken.free() == 0;
        self.free_open_blocks -= 1;
        self.full_addresses += u32::from(is_full);
        if is_full && !self.withheld.contains_key(&address) {
            self.open.close(address);
        }
    }

    /// Blocks of one address that anyone can get.
    fn open_blocks(&self) -> u32 {
        self.spec.blocks_per_address() - self.closed.len() as u32
    }

    /// Marks a taken block, which nobody has any more, as free; a closed one stays taken.
    fn give_back(&mut self, (address, block): BlockKey) {
        let open_blocks = self.open_blocks();
        let Some(state) = self.addresses.get_mut(&address) else {
            return;
        };
        if !self.closed.contains(&block) {
            let was_full = state.taken.free() == 0;
            if was_full && !self.withheld.contains_key(&address) {
                self.open.reopen(address);
            }
            self.free_open_blocks += 1;
            self.full_addresses -= u32::from(was_full);
            state.taken.give_back(block);
        }
        self.free_blocks += u64::from(!self.spec.reserved_blocks.contains(&block));
        if state.used_blocks == 0 && state.taken.free() == open_blocks {
            self.addresses.remove(&address);
        }
    }

    /// Makes `subscriber` the owner of a block that was just taken.
    fn give(&mut self, subscriber: u32, (address, block): BlockKey, slab: u32) {
        let known = self.subscribers.entry(subscriber);
        let known = known.or_insert_with(|| Subscriber {
            address,
            blocks: Vec::with_capacity(1),
        });
        known.blocks.push(BlockSlab { block, slab });
        self.used_blocks += 1;
        if let Some(state) = self.addresses.get_mut(&address) {
            state.used_blocks += 1;
            self.used_addresses += u32::from(state.used_blocks == 1);
        }
    }

    /// Ends the ownership of a block, which stays taken; returns its slab.
    fn take_from(
        &mut self,
        subscriber: u32,
        external: u32,
        block: u16,
    ) -> Result<(BlockKey, u32), ReleaseError> {
        let not_owner = ReleaseError::NotOwner {
            subscriber,
            external: external.into(),
            block,
        };
        let address = self.ranges.ordinal(external).ok_or(not_owner)?;
        let known = self.subscribers.get_mut(&subscriber);
        let known = known.filter(|known| known.address == address);
        let known = known.ok_or(not_owner)?;
        let at = known.blocks.iter().position(|one| one.block == block);
        let slab = known.blocks.remove(at.ok_or(not_owner)?).slab;
        if known.blocks.is_empty() {
            self.subscribers.remove(&subscriber);
        }
        self.used_blocks -= 1;
        if let Some(state) = self.addresses.get_mut(&address) {
            state.used_blocks -= 1;
            self.used_addresses -= u32::from(state.used_blocks == 0);
        }
        Ok(((address, block), slab))
    }

    /// Entries of state kept for addresses, to show that they follow use.
    #[cfg(test)]
    pub(super) fn address_entries(&self) -> usize {
        self.addresses.len() + self.open.entries()
    }
}
