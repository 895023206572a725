//! Why the allocator says no. Values are in the variant, the remedy in the text.

use std::net::Ipv4Addr;

use thiserror::Error;

/// A pool that cannot be built.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SpecError {
    #[error("pool {pool:?} has no addresses: give it at least one")]
    NoAddresses { pool: String },
    #[error("pool {pool:?}: range {first}-{last} ends before it begins: exchange the two")]
    ReversedRange {
        pool: String,
        first: Ipv4Addr,
        last: Ipv4Addr,
    },
    #[error("address {address} is in pool {pool:?} and again in pool {other:?}: name it once")]
    Overlap {
        pool: String,
        other: String,
        address: Ipv4Addr,
    },
    #[error("pool {pool:?} has 2^32 addresses or more: give it fewer")]
    TooManyAddresses { pool: String },
    #[error("pool {pool:?}: block_ports is {block_ports}: it must be 1 to 64512")]
    BlockPorts { pool: String, block_ports: u32 },
    #[error("pool {pool:?}: all its blocks are reserved: reserve fewer")]
    AllReserved { pool: String },
    #[error("pool {pool:?}: blocks_per_subscriber is 0: it must be at least 1")]
    BlocksPerSubscriber { pool: String },
    #[error("pool {pool:?}: max_blocks is {max_blocks}: it must be 1 to 16777216")]
    MaxBlocks { pool: String, max_blocks: u32 },
    #[error("{count} pools: at most 65535 can be numbered")]
    TooManyPools { count: usize },
}

/// Why a subscriber got no block. Nothing was changed, for it or for others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Error)]
#[non_exhaustive]
pub enum Refusal {
    #[error("the subscriber has its {limit} blocks: raise blocks_per_subscriber to allow more")]
    SubscriberLimit { limit: u32 },
    /// A further block must come from the same address (RFC 4787 REQ-2, RFC 6888 REQ-2).
    #[error("no free block at the subscriber's address {external}: add addresses to the pool")]
    AddressExhausted { external: Ipv4Addr },
    #[error("no free block in the pool: add addresses to it")]
    PoolExhausted,
    #[error("all {max_blocks} slabs of the pool are in use: raise max_blocks")]
    NoSlab { max_blocks: u32 },
    #[error("there is no pool number {pool}")]
    UnknownPool { pool: u16 },
}

/// A block that was not released: it was not the subscriber's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ReleaseError {
    #[error("there is no pool number {pool}")]
    UnknownPool { pool: u16 },
    #[error("subscriber {subscriber} does not have block {block} of {external}")]
    NotOwner {
        subscriber: u32,
        external: Ipv4Addr,
        block: u16,
    },
}

/// A block from the tables that was not taken over. Nothing was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum AdoptError {
    #[error("there is no pool number {pool}")]
    UnknownPool { pool: u16 },
    #[error("block {block} of {external} is not in the pool: its addresses or block_ports changed")]
    NotInPool { external: Ipv4Addr, block: u16 },
    #[error("slab {slab} is beyond the pool's {max_blocks}: max_blocks was lowered")]
    SlabOutOfRange { slab: u32, max_blocks: u32 },
    #[error("block {block} of {external} has an owner already, subscriber {owner}")]
    Owned {
        external: Ipv4Addr,
        block: u16,
        owner: u32,
    },
    #[error("block {block} of {external} is in hold")]
    Held { external: Ipv4Addr, block: u16 },
    #[error("slab {slab} serves another block or is in quarantine")]
    SlabInUse { slab: u32 },
    #[error("subscriber {subscriber} is paired with {paired}, so it cannot have {external} too")]
    Paired {
        subscriber: u32,
        paired: Ipv4Addr,
        external: Ipv4Addr,
    },
}

/// A block that was not put in hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum HoldError {
    #[error("there is no pool number {pool}")]
    UnknownPool { pool: u16 },
    #[error("block {block} of {external} is not in the pool: its addresses or block_ports changed")]
    NotInPool { external: Ipv4Addr, block: u16 },
    #[error("block {block} of {external} is in use by subscriber {owner}")]
    Owned {
        external: Ipv4Addr,
        block: u16,
        owner: u32,
    },
}
