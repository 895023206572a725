//! Realms: several inside networks may have equal addresses (RFC 6598 section 4). In every table
//! a subscriber is known by a 32-bit *inside key* (ADR 32). In the first realm that is the
//! address. In the others it is the address with another upper half, which makes it one that no
//! packet has: so one key names one subscriber, and nothing else of the tables knows of realms.
//!
//! What comes from inside has its key from [`key_of`]; what goes there gets its address from
//! [`address_of`]. Where there is one realm, both are gone at load.

use crate::frame::Frame;
use crate::layout::{
    EXACT_LOCAL, FIRST_KEY, Features, MOST_REALMS, Side, VlanKey, half_of_address, half_of_key,
    realm_of_key,
};
use crate::nat::lookup;
use crate::nat::next_hop::rows_of;
use crate::tables::Tables;
use crate::verdict::Reason;
use crate::wire::{Be16, Be32, ethernet, ipv4, transport};

/// Number of the first realm.
pub const FIRST: u8 = 0;
/// What a frame is of whose VLANs are not ours, or not any more: no realm has this number.
pub const NOBODY: u8 = u8::MAX;
const _: () = assert!(MOST_REALMS <= NOBODY as usize);

/// True for the key of a subscriber that is in another realm than the first.
#[inline(always)]
#[must_use]
pub const fn is_key(address: u32) -> bool {
    address >= FIRST_KEY
}

/// True if there are realms, and `address` is a key of one of them.
#[inline(always)]
pub fn is_key_here<T: Tables + ?Sized>(tables: &T, address: u32) -> bool {
    tables.features().has(Features::REALMS) && is_key(address)
}

/// Key of who sent a frame from inside, from the address `source`. In XDP all is read anew: its
/// stack has no room to keep the tags.
///
/// # Errors
/// [`Reason::SpoofedSource`]: no subscriber of the realm has it.
#[inline(always)]
pub fn sender<F: Frame, T: Tables>(frame: &F, tables: &T, source: u32) -> Result<u32, Reason> {
    if !tables.features().has(Features::REALMS) {
        return Ok(source);
    }
    match tables.sender(frame) {
        NO_KEY => Err(Reason::SpoofedSource),
        key => Ok(key),
    }
}

/// The same, where there are several realms; [`NO_KEY`] if there is none.
#[inline(always)]
pub fn sender_of_frame<F: Frame, T: Tables + ?Sized>(frame: &F, tables: &T) -> u32 {
    let Ok(link) = ethernet::parse(frame) else {
        return NO_KEY;
    };
    let source: Option<Be32> = frame.load(link.length + ipv4::field::SOURCE);
    match source {
        Some(source) => key(tables, of_vlans(tables, link.vlans()), source.get()),
        None => NO_KEY,
    }
}

/// Realm of a frame from inside.
#[inline(always)]
pub fn realm_of<F: Frame, T: Tables>(frame: &F, tables: &T) -> u8 {
    if !tables.features().has(Features::REALMS) {
        return FIRST;
    }
    tables.realm_of(frame)
}

/// The same, where there are several.
#[inline(always)]
pub fn of_frame<F: Frame, T: Tables + ?Sized>(frame: &F, tables: &T) -> u8 {
    match ethernet::parse(frame) {
        Ok(link) => of_vlans(tables, link.vlans()),
        Err(_) => NOBODY,
    }
}

/// The same, by the VLAN ids of the frame.
#[inline(always)]
pub fn of_vlans<T: Tables + ?Sized>(tables: &T, vlans: [u16; 2]) -> u8 {
    let key = VlanKey {
        ifindex: tables.ingress(),
        vlans,
    };
    match tables.vlan_role(&key) {
        Some(role) => role.realm(),
        // An interface without VLANs of ours has no role, and leads to the first realm.
        None if vlans[0] == 0 => FIRST,
        None => NOBODY,
    }
}

/// Key of an inside address.
///
/// # Errors
/// [`Reason::SpoofedSource`]: no subscriber of the realm has it.
#[inline(always)]
pub fn key_of<T: Tables>(tables: &T, realm: u8, address: u32) -> Result<u32, Reason> {
    if !tables.features().has(Features::REALMS) {
        return Ok(address);
    }
    // Without a call, which is what a program of the first realm only has.
    if realm == FIRST {
        return match is_key(address) {
            true => Err(Reason::SpoofedSource),
            false => Ok(address),
        };
    }
    match tables.key_of(realm, address) {
        NO_KEY => Err(Reason::SpoofedSource),
        key => Ok(key),
    }
}

/// What [`key`] says of who has none: nobody's address.
pub const NO_KEY: u32 = 0;

/// Key of an address in a realm, [`NO_KEY`] if it has no such network; where there are several
/// realms.
#[inline(always)]
pub fn key<T: Tables + ?Sized>(tables: &T, realm: u8, address: u32) -> u32 {
    if realm == FIRST {
        return if is_key(address) { NO_KEY } else { address };
    }
    if realm == NOBODY {
        return NO_KEY;
    }
    match tables.realm_half(half_of_key(realm, address)) {
        0 => NO_KEY,
        half => (half as u32) << 16 | address & 0xffff,
    }
}

/// Inside address with this key.
#[inline(always)]
pub fn address_of<T: Tables + ?Sized>(tables: &T, key: u32) -> u32 {
    if !is_key_here(tables, key) {
        return key;
    }
    tables.address_of(key)
}

/// The same of a key of another realm than the first.
#[inline(always)]
pub fn address<T: Tables + ?Sized>(tables: &T, key: u32) -> u32 {
    (tables.realm_half(half_of_address(key)) as u32) << 16 | key & 0xffff
}

/// Number of the realm that a key is of.
#[inline(always)]
pub fn of_key<T: Tables + ?Sized>(tables: &T, key: u32) -> u8 {
    match is_key(key) {
        true => tables.realm_half(realm_of_key(key)) as u8,
        false => FIRST,
    }
}

/// Realm that a dropped frame is counted for, where there are several; [`NOBODY`]: for none. From inside that
/// of its VLANs, whatever its source is; from outside see [`of_external`].
#[inline(always)]
pub fn of_dropped<F: Frame, T: Tables + ?Sized>(frame: &F, tables: &T) -> u8 {
    let Ok(link) = ethernet::parse(frame) else {
        return NOBODY;
    };
    let key = VlanKey {
        ifindex: tables.ingress(),
        vlans: link.vlans(),
    };
    let Some(role) = tables.vlan_role(&key) else {
        return NOBODY;
    };
    match role.side() {
        Some(Side::Inside) => return role.realm(),
        Some(Side::Outside) if link.ethertype == ethernet::IPV4 => {}
        _ => return NOBODY,
    }
    let Ok(ip) = ipv4::parse(frame, link.length) else {
        return NOBODY;
    };
    let has_ports = matches!(ip.protocol, transport::TCP | transport::UDP);
    let ports: Option<[Be16; 2]> = match has_ports && !ip.is_later_fragment() {
        true => frame.load(link.length + ip.header_length()),
        false => None,
    };
    of_external(
        tables,
        ip.destination.get(),
        ports.map(|[_, port]| port.get()),
    )
}

/// Realm of an external address: of the subscriber who has this port of it, else the one realm that its pool
/// serves. [`NOBODY`] if the pool serves several, or there is none.
#[inline(always)]
pub fn of_external<T: Tables + ?Sized>(tables: &T, external: u32, port: Option<u16>) -> u8 {
    let rows = rows_of(tables, external);
    if !rows.is_pool_address() {
        return NOBODY;
    }
    let owner = match port {
        Some(port) => lookup::owner_of(tables, (external, rows), port),
        None => NO_KEY,
    };
    match owner {
        NO_KEY => tables.realm_of_pool(rows.pool()),
        key => of_key(tables, key),
    }
}

/// True for an address that is the router's own by the routes of a realm.
#[inline(always)]
pub fn is_own<T: Tables>(tables: &T, realm: u8, address: u32) -> bool {
    tables.features().has(Features::REALMS) && realm != FIRST && tables.is_own_in(realm, address)
}

/// The same, of another realm than the first, as a number.
#[inline(always)]
pub fn own_in<T: Tables + ?Sized>(tables: &T, realm: u8, address: u32) -> u64 {
    let exact = match key(tables, realm, address) {
        NO_KEY => None,
        key => tables.exact_route(key),
    };
    match exact {
        // LLVM would compute with the value also where there is none, and the verifier refuses.
        Some(value) => core::hint::black_box((value == EXACT_LOCAL) as u64),
        None => 0,
    }
}
