//! Giving blocks to subscribers and taking them back, in the tables. The
//! order of the writes is what keeps packets in flight right: a packet sees a
//! block whole or not at all.

use std::net::Ipv4Addr;

use cgn_common::block::{blocks_per_address, first_port};
use cgn_common::layout::{BlockEntry, Limits, OwnedBlock, Room, Rows, SubscriberHead, header};
use cgn_common::limits::MAX_BLOCKS_PER_SUBSCRIBER;
use cgn_common::verdict::Protocol;

use super::geometry::{Geometry, PoolShape};
use super::memory::Memory;
use crate::policy::groups::Allowance;
use crate::realms::InsideKey;
use crate::withheld::Standing;

/// A block in the hands of a subscriber.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    pub inside: InsideKey,
    pub external: Ipv4Addr,
    pub pool: u16,
    /// Number of the block in its address.
    pub block: u16,
    /// Number of the slab in its pool.
    pub slab: u32,
}

/// Why the tables could not take a block.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum InstallError {
    #[error("the key {0:?} is in no subscriber prefix")]
    NoSubscriber(InsideKey),
    #[error("{0} is in no pool")]
    NoExternal(Ipv4Addr),
    #[error("the key {0:?} has {MAX_BLOCKS_PER_SUBSCRIBER} blocks already")]
    TooManyBlocks(InsideKey),
    #[error("block {block} of {external} belongs to the key {owner:?}")]
    Owned {
        external: Ipv4Addr,
        block: u16,
        owner: InsideKey,
    },
}

/// Gives a block to its subscriber. Its log record must be written before.
///
/// # Errors
/// Nothing was changed.
pub fn give(
    memory: &Memory,
    geometry: &Geometry,
    grant: &Grant,
    now_ms: u64,
    log_sequence: u64,
) -> Result<(), InstallError> {
    let shape = &geometry.pools[usize::from(grant.pool)];
    let index = geometry
        .subscriber_index(grant.inside)
        .ok_or(InstallError::NoSubscriber(grant.inside))?;
    let subscriber = memory
        .subscribers
        .get(index)
        .ok_or(InstallError::NoSubscriber(grant.inside))?;
    let head = SubscriberHead(subscriber.head.load());
    let count = head.block_count() as usize;
    let place = memory
        .owned_blocks(index)
        .nth(count)
        .ok_or(InstallError::TooManyBlocks(grant.inside))?;
    let row = row_of(memory, geometry, grant)
        .and_then(|row| memory.blocks.get(row))
        .ok_or(InstallError::NoExternal(grant.external))?;
    if let (1.., owner) = row.read() {
        return Err(InstallError::Owned {
            external: grant.external,
            block: grant.block,
            owner: InsideKey::from_bits(owner),
        });
    }
    let line = geometry.slab_line(grant.pool, grant.slab);
    let port = first_port(u32::from(grant.block), shape.block_shift);
    // 1. An empty slab with its header: nobody knows of it yet.
    clear(memory, line, shape.block_shift);
    let word = |at: usize, value: u64| {
        if let Some(head) = memory.header(line) {
            head.0[at].store(value);
        }
    };
    word(
        header::OWNER,
        u64::from(grant.inside.to_bits()) | u64::from(grant.external.to_bits()) << 32,
    );
    word(
        header::BLOCK,
        u64::from(port)
            | u64::from(shape.block_shift) << 16
            | u64::from(grant.pool) << 24
            | u64::from(index) << 32,
    );
    word(header::ALLOCATED_MS, now_ms);
    word(header::LOG_SEQUENCE, log_sequence);
    let allowance = geometry.groups.allowance(grant.inside);
    let others = use_of_blocks(memory, index).map(|(_, used)| used);
    let used: Vec<_> = others.chain([[0; 3]]).collect();
    let limits = limits_of(
        geometry,
        &allowance,
        grant.external,
        &used,
        shape.block_shift,
    );
    // The last block that a subscriber may have requests no further one.
    let is_last = is_last(&allowance, count + 1, shape);
    if let (Some(room), Some(limits)) = (memory.room(line), limits.last()) {
        room.begin(limits.requesting_at(shape.watermark_ports, is_last));
    }
    // 2. Inbound packets find it; it has no mapping yet.
    row.0.store(BlockEntry::pack(line, grant.inside.to_bits()));
    // 3. Outbound packets find it and open mappings.
    place.store(OwnedBlock::new(line, port).0);
    let flags = if is_last {
        SubscriberHead::VALID | SubscriberHead::REFUSED
    } else {
        SubscriberHead::VALID
    };
    subscriber.head.store(
        SubscriberHead::new(
            grant.external.to_bits(),
            (count + 1) as u8,
            shape.block_shift as u8,
            grant.pool as u8,
            flags | head.next_generation(),
        )
        .0,
    );
    // 4. What the others may still give.
    if count > 0 {
        limit(memory, geometry, grant.inside, index);
    }
    Ok(())
}

/// True if a subscriber with so many blocks may have no further one, or none that
/// would bring it a port.
fn is_last(allowance: &Allowance, blocks: usize, shape: &PoolShape) -> bool {
    blocks >= allowance.most_blocks(shape.blocks_per_subscriber) as usize
        || allowance.capped(blocks, 1 << shape.block_shift) == [true; 3]
}

/// Shares out what the subscriber may have over its blocks, as they are filled now: nothing new at
/// an external address that is drained.
pub fn limit(memory: &Memory, geometry: &Geometry, inside: InsideKey, subscriber: u32) {
    let Some(entry) = memory.subscribers.get(subscriber) else {
        return;
    };
    let head = SubscriberHead(entry.head.load());
    let external = Ipv4Addr::from_bits(head.external());
    let blocks = ports_used(memory, subscriber);
    let used: Vec<_> = blocks.iter().map(|(_, used)| *used).collect();
    let allowance = geometry.groups.allowance(inside);
    let limits = limits_of(geometry, &allowance, external, &used, head.block_shift());
    for ((line, _), limits) in blocks.iter().zip(limits) {
        if let Some(room) = memory.room(*line) {
            room.set_limits(|old| limits.requesting_as(old));
        }
    }
}

/// Limits of each block of a subscriber at an external address, that are filled like this.
fn limits_of(
    geometry: &Geometry,
    allowance: &Allowance,
    external: Ipv4Addr,
    used: &[[u32; 3]],
    block_shift: u32,
) -> Vec<Limits> {
    if geometry.withheld.of(external) == Some(Standing::Drained) {
        return vec![Limits::NOTHING; used.len()];
    }
    allowance.limits(used, 1 << block_shift)
}

/// Takes an empty block from its subscriber. False if it is not empty: a
/// packet may have opened a mapping at any moment before.
pub fn take(memory: &Memory, geometry: &Geometry, grant: &Grant) -> bool {
    let line = geometry.slab_line(grant.pool, grant.slab);
    // From here on nobody can open a mapping in it.
    if !memory.room(line).is_some_and(Room::close) {
        return false;
    }
    withdraw(memory, geometry, grant);
    true
}

/// Takes a block from its subscriber whatever is in it: at shutdown, and when
/// it must not have been given.
pub fn withdraw(memory: &Memory, geometry: &Geometry, grant: &Grant) {
    let line = geometry.slab_line(grant.pool, grant.slab);
    let shape = &geometry.pools[usize::from(grant.pool)];
    let index = geometry.subscriber_index(grant.inside);
    let subscriber = index.and_then(|index| Some((index, memory.subscribers.get(index)?)));
    if let Some((index, subscriber)) = subscriber {
        let head = SubscriberHead(subscriber.head.load());
        let count = head.block_count() as usize;
        let mut blocks = memory.owned_blocks(index).take(count);
        let last = blocks.clone().last();
        let mine = blocks.find(|block| OwnedBlock(block.load()).slab_line() == line);
        if let (Some(mine), Some(last)) = (mine, last) {
            // A packet that still counts the old number sees the last block
            // twice, or a zero where it was: it searches again.
            mine.store(last.load());
            let flags = SubscriberHead::VALID | head.next_generation();
            let left = match count {
                1 => without_blocks(geometry, grant.inside, flags),
                _ => SubscriberHead::new(
                    head.external(),
                    (count - 1) as u8,
                    shape.block_shift as u8,
                    grant.pool as u8,
                    flags,
                ),
            };
            subscriber.head.store(left.0);
            last.store(0);
            // Whoever is the newest block now may ask for the next one.
            for block in memory.owned_blocks(index).take(count - 1) {
                let line = OwnedBlock(block.load()).slab_line();
                if let Some(room) = memory.room(line) {
                    room.set_limits(|limits| limits.requested(false));
                }
            }
        }
    }
    if let Some(index) = geometry.subscriber_index(grant.inside) {
        limit(memory, geometry, grant.inside, index);
    }
    if let Some(row) = row_of(memory, geometry, grant).and_then(|row| memory.blocks.get(row)) {
        row.0.store(0);
    }
}

/// Pool that the next block of a subscriber comes from: that of those that he has, since all are of one
/// external address (RFC 4787 REQ-2), else the one that the configuration has for him.
#[must_use]
pub fn pool_in_use(memory: &Memory, geometry: &Geometry, inside: InsideKey) -> Option<u16> {
    let entry = memory.subscribers.get(geometry.subscriber_index(inside)?)?;
    let head = SubscriberHead(entry.head.load());
    match head.block_count() {
        0 => geometry.pool_of(inside),
        _ => Some(u16::from(head.pool())),
    }
}

/// Head of a subscriber without a block.
fn without_blocks(geometry: &Geometry, inside: InsideKey, flags: u64) -> SubscriberHead {
    let pool = geometry.pool_of(inside).unwrap_or_default();
    let shift = geometry.pools[usize::from(pool)].block_shift;
    SubscriberHead::new(0, 0, shift as u8, pool as u8, flags)
}

/// Brings what a subscriber's line and blocks were told of the configuration up to date:
/// pool, if it has no block, watermark, limits, and whether the newest block may request a further
/// one. A refusal of the moment ends.
pub fn renew(memory: &Memory, geometry: &Geometry, inside: InsideKey, subscriber: u32) {
    let Some(entry) = memory.subscribers.get(subscriber) else {
        return;
    };
    let head = SubscriberHead(entry.head.load());
    let Some(shape) = geometry.pools.get(usize::from(head.pool())) else {
        return;
    };
    if !head.has(SubscriberHead::VALID) {
        return;
    }
    let count = head.block_count() as usize;
    if count == 0 && geometry.pool_of(inside) != Some(u16::from(head.pool())) {
        let flags = SubscriberHead::VALID | head.next_generation();
        let renewed = without_blocks(geometry, inside, flags);
        entry.head.store(renewed.0);
    }
    let allowance = geometry.groups.allowance(inside);
    let is_last = count > 0 && is_last(&allowance, count, shape);
    for block in memory.owned_blocks(subscriber).take(count) {
        if let Some(room) = memory.room(OwnedBlock(block.load()).slab_line()) {
            room.set_limits(|limits| limits.requesting_at(shape.watermark_ports, is_last));
        }
    }
    limit(memory, geometry, inside, subscriber);
    if let Some(quota) = memory.quotas.get(subscriber) {
        quota.limits.store(allowance.quota().0);
    }
    refuse(memory, subscriber, is_last);
}

/// Says that the subscriber can (or cannot) have a further block at the
/// moment, so that the fast path refuses without asking.
pub fn refuse(memory: &Memory, subscriber: u32, refused: bool) {
    if let Some(entry) = memory.subscribers.get(subscriber) {
        let head = entry.head.load();
        let new = if refused {
            head | SubscriberHead::REFUSED
        } else {
            head & !SubscriberHead::REFUSED
        };
        entry.head.store(new);
    }
}

/// Ports in use or in hold, by protocol, in each block of a subscriber.
#[must_use]
pub fn ports_used(memory: &Memory, subscriber: u32) -> Vec<(u32, [u32; 3])> {
    use_of_blocks(memory, subscriber).collect()
}

/// The same of all its blocks together, if its first block is the one at `slab_line`: so a walk
/// over all blocks meets each subscriber once.
#[must_use]
pub fn ports_of_first_block_owner(
    memory: &Memory,
    subscriber: u32,
    slab_line: u32,
) -> Option<[u32; 3]> {
    let mut blocks = use_of_blocks(memory, subscriber);
    let (_, first) = blocks.next().filter(|(line, _)| *line == slab_line)?;
    Some(blocks.fold(first, |sum, (_, used)| {
        [0, 1, 2].map(|protocol| sum[protocol] + used[protocol])
    }))
}

/// First line of the slab and ports in use, by protocol, of each block.
fn use_of_blocks(memory: &Memory, subscriber: u32) -> impl Iterator<Item = (u32, [u32; 3])> {
    let entry = memory.subscribers.get(subscriber);
    let count = entry.map_or(0, |entry| SubscriberHead(entry.head.load()).block_count());
    let blocks = memory.owned_blocks(subscriber).take(count as usize);
    blocks.filter_map(|block| {
        let line = OwnedBlock(block.load()).slab_line();
        let used = memory.room(line)?.used();
        Some((line, Protocol::ALL.map(|protocol| used.of(protocol))))
    })
}

/// Row in `BLOCKS` of a block.
fn row_of(memory: &Memory, geometry: &Geometry, grant: &Grant) -> Option<u32> {
    let rows = Rows(
        memory
            .externals
            .get(geometry.external_index(grant.external)?)?
            .0
            .load(),
    );
    let shift = geometry.pools[usize::from(grant.pool)].block_shift;
    (rows.is_pool_address() && u32::from(grant.block) < blocks_per_address(shift))
        .then(|| rows.first_row() + u32::from(grant.block))
}

fn clear(memory: &Memory, line: u32, block_shift: u32) {
    for at in memory.parts.lines_of(line, block_shift).flatten() {
        if let Some(line) = memory.slabs.get(at) {
            for word in &line.0 {
                word.store(0);
            }
        }
    }
}
