//! Realms: inside networks with equal addresses, and the keys that tell their subscribers apart.

use bytemuck::{Pod, Zeroable};

/// Keys of subscribers that are in another realm than the first begin here. No packet has such an
/// address (RFC 1112 section 4).
pub const FIRST_KEY: u32 = 0xf000_0000;
/// /16 networks that such keys can have; the last one holds the limited broadcast address.
pub const KEY_NETWORKS: u32 = (u32::MAX >> 16) - (FIRST_KEY >> 16);
/// Realms that a configuration can have, the first one included.
pub const MOST_REALMS: usize = 255;

/// Upper halves in one [`RealmLine`].
pub const HALVES_PER_LINE: u32 = 32;
/// Upper halves of addresses by those of keys: the first part of `REALMS`.
const OF_KEYS: u32 = 1 << 12;
/// Numbers of the realms of keys, by their upper halves: the second part, as large.
const REALMS_OF_KEYS: u32 = OF_KEYS;
/// Upper halves of keys by those of addresses: so many for each realm but the first.
const OF_REALM: u32 = 1 << 16;

/// 32 neighbouring elements of `REALMS`, each the upper half of an address or key, or a realm; 0: none.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C, align(64))]
pub struct RealmLine(pub [u16; HALVES_PER_LINE as usize]);

/// Lines of `REALMS` for so many realms, the first one included.
#[must_use]
pub const fn realm_lines(realms: usize) -> u32 {
    if realms <= 1 {
        return 1;
    }
    (OF_KEYS + REALMS_OF_KEYS + (realms as u32 - 1) * OF_REALM) / HALVES_PER_LINE
}

/// Element of `REALMS` with the upper half of the address of a key.
#[inline(always)]
#[must_use]
pub const fn half_of_address(key: u32) -> u32 {
    (key >> 16) & (OF_KEYS - 1)
}

/// Element of `REALMS` with the number of the realm of a key.
#[inline(always)]
#[must_use]
pub const fn realm_of_key(key: u32) -> u32 {
    OF_KEYS + half_of_address(key)
}

/// Element of `REALMS` with the upper half of the key of an address in a realm but the first.
#[inline(always)]
#[must_use]
pub const fn half_of_key(realm: u8, address: u32) -> u32 {
    OF_KEYS + REALMS_OF_KEYS + (realm as u32).wrapping_sub(1) * OF_REALM + (address >> 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_elements_stand_at_one_place() {
        let last = half_of_address(u32::MAX);
        assert_eq!(half_of_address(FIRST_KEY), 0);
        assert_eq!(realm_of_key(FIRST_KEY), last + 1);
        assert_eq!(half_of_key(1, 0), realm_of_key(u32::MAX) + 1);
        assert_eq!(half_of_key(2, 0), half_of_key(1, u32::MAX) + 1);
        for realms in 2..=MOST_REALMS {
            let most = half_of_key((realms - 1) as u8, u32::MAX);
            assert_eq!(most / HALVES_PER_LINE + 1, realm_lines(realms));
        }
        assert_eq!(realm_lines(1), 1, "a table is never empty");
    }
}
