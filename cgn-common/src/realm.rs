//! Realms: several inside networks may have equal addresses (RFC 6598 section 4). In every table
//! a subscriber is known by a 32-bit *inside key* (ADR 32). In the first realm that is the
//! address. In the others it is the address with another upper half, which makes it one that no
//! packet has: so one key names one subscriber, and nothing else of the tables knows of realms.
//!
//! What comes from inside has its key from [`key_of`]; what goes there gets its address from
//! [`address_of`]. Where there is one realm, both are gone at load.

use crate::layout::{EXACT_LOCAL, FIRST_KEY, Features, VlanKey, half_of_address, half_of_key};
use crate::tables::Tables;
use crate::verdict::Reason;
use crate::wire::ethernet::Ethernet;

/// Number of the first realm.
pub const FIRST: u8 = 0;

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

/// Realm of a frame from inside with this link header.
#[inline(always)]
pub fn realm_of<T: Tables>(tables: &T, link: &Ethernet) -> u8 {
    if !tables.features().has(Features::REALMS) {
        return FIRST;
    }
    let key = VlanKey {
        ifindex: tables.ingress(),
        vlans: link.vlans(),
    };
    tables.vlan_role(&key).map_or(FIRST, |role| role.realm())
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
    if realm == FIRST {
        return match is_key(address) {
            true => Err(Reason::SpoofedSource),
            false => Ok(address),
        };
    }
    match tables.realm_half(half_of_key(realm, address)) {
        0 => Err(Reason::SpoofedSource),
        half => Ok((half as u32) << 16 | address & 0xffff),
    }
}

/// Inside address with this key.
#[inline(always)]
pub fn address_of<T: Tables + ?Sized>(tables: &T, key: u32) -> u32 {
    if !is_key_here(tables, key) {
        return key;
    }
    (tables.realm_half(half_of_address(key)) as u32) << 16 | key & 0xffff
}

/// True for an address that is the router's own by the routes of a realm.
#[inline(always)]
pub fn is_own<T: Tables>(tables: &T, realm: u8, address: u32) -> bool {
    if !tables.features().has(Features::REALMS) || realm == FIRST {
        return false;
    }
    match key_of(tables, realm, address) {
        Ok(key) => tables.exact_route(key) == Some(EXACT_LOCAL),
        Err(_) => false,
    }
}
