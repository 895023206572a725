//! What a pool tells of itself.

/// Gauges and counters of one pool. Gauges count what is in hold or quarantine
/// as of the last `advance`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PoolStatus {
    /// Blocks that the pool's addresses make: used + held + free.
    pub blocks_total: u64,
    pub blocks_used: u64,
    pub blocks_held: u64,
    pub blocks_free: u64,
    /// Of those, blocks for overflow, which are in no share; 0 where no block is static.
    pub overflow_total: u64,
    pub overflow_free: u64,
    /// Addresses whose blocks for overflow are all used or held; 0 where no block is static.
    pub overflow_full: u64,
    pub addresses_total: u32,
    /// Addresses of which somebody has a block.
    pub addresses_used: u32,
    /// Subscribers that have a block.
    pub subscribers: u32,
    pub slabs_total: u32,
    pub slabs_free: u32,
    pub slabs_quarantined: u32,
    pub counters: PoolCounters,
}

/// What happened in a pool since start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PoolCounters {
    pub allocated: u64,
    /// Of those, first blocks of a subscriber: pairings with an external address.
    pub paired: u64,
    /// Allocations taken back before any packet used them.
    pub withdrawn: u64,
    pub released: u64,
    pub adopted: u64,
    /// Releases without hold, because `max_held_blocks` were in hold.
    pub holds_skipped: u64,
    pub refused_subscriber_limit: u64,
    pub refused_address_exhausted: u64,
    pub refused_pool_exhausted: u64,
    pub refused_no_slab: u64,
}
