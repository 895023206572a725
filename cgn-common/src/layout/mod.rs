//! THE tables: every map, what its keys and values are, bit by bit.
//!
//! | file | what |
//! |---|---|
//! | `maps` | every map: name, kind, sizes |
//! | `directory` | addresses to entries |
//! | `subscriber` | subscribers and their blocks |
//! | `quota` | what subscribers may do, and were refused |
//! | `block` | external addresses, their blocks, and how these are scattered |
//! | `slab`, `slot` | the memory of a block, and of a mapping |
//! | `room` | how full a block is |
//! | `next_hop` | routes and next hops |
//! | `interface` | sides, VLANs |
//! | `realm` | inside networks with equal addresses |
//! | `fragment` | fragmented datagrams on their way |
//! | `guard` | floods: what nobody waits for, new sessions by prefix |
//! | `access` | rules of access lists, and addresses that they are for |
//! | `session` | further sessions of a mapping |
//! | `constants` | what the configuration decides when programs are loaded |
//!
//! User space and XDP share this memory, so each struct has its size and
//! alignment asserted here, and a test compares this folder with the BTF of the
//! built object. Change anything, and [`LAYOUT_VERSION`] must change, too.
//!
//! Addresses and ports are in host order in every table unless said otherwise.

mod access;
mod block;
mod constants;
mod directory;
mod fragment;
mod guard;
mod interface;
mod maps;
mod next_hop;
mod quota;
mod realm;
mod room;
mod session;
mod slab;
mod slot;
mod subscriber;

pub use access::*;
pub use block::*;
pub use constants::*;
pub use directory::*;
pub use fragment::*;
pub use guard::*;
pub use interface::*;
pub use maps::*;
pub use next_hop::*;
pub use quota::*;
pub use realm::*;
pub use room::*;
pub use session::*;
pub use slab::*;
pub use slot::*;
pub use subscriber::*;

use crate::word::Word;

/// Version of this folder. Pinned tables of another version are not adopted.
pub const LAYOUT_VERSION: u32 = 17;

/// One element of `SETTINGS`: what user space tells every packet.
#[repr(C, align(64))]
pub struct Settings {
    /// [`LAYOUT_VERSION`] in the low half, a hash of the table sizes in the high half.
    pub layout: Word,
    /// Nanoseconds added to the monotonic clock; tests move time with it.
    pub clock_offset_ns: Word,
    /// How often senders are told of the end of their packets, see
    /// [`crate::answers::Rates`].
    pub answers: Word,
    /// Ticks that a fragmented datagram is known after its first fragment.
    pub fragment_ticks: Word,
    /// Random; decides who shares a counter in `IDS`.
    pub id_secret: Word,
    /// Hash of all that decides where things stand but the addresses of the pools.
    pub fixed: Word,
    /// A hash of the rules that `HITS` counts.
    pub rules: Word,
    /// Share of new subscribers that is put off, see [`crate::guards::puts_off`].
    pub put_off: Word,
}

macro_rules! shape {
    ($($type:ty: $size:literal, $align:literal;)*) => {
        $(const _: () = assert!(size_of::<$type>() == $size && align_of::<$type>() == $align);)*
    };
}

shape! {
    Settings: 64, 64;
    Page: 8, 4;
    External: 8, 8;
    Scattering: 32, 32;
    Subscriber: 32, 32;
    FurtherBlocks: 32, 32;
    Quota: 64, 64;
    BlockEntry: 8, 8;
    Line: 64, 64;
    RouteLine: 64, 64;
    RealmLine: 64, 64;
    NextHopEntry: 32, 8;
    Access: 2176, 64;
    Hits: 1536, 8;
    Punts: 8, 8;
    Link: 16, 4;
    VlanKey: 8, 4;
    VlanRole: 8, 4;
    SessionKey: 16, 4;
    FragmentKey: 12, 4;
    Datagram: 16, 4;
    Constants: 864, 8;
    Guards: 64, 4;
    Unsolicited: 16, 16;
    Newcomers: 16, 16;
    NewcomersIpv6: 32, 32;
}

const _: () = assert!(core::mem::offset_of!(Subscriber, secret) == 8);
const _: () = assert!(core::mem::offset_of!(Subscriber, blocks) == 16);
