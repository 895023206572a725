//! Interfaces and VLANs: what leads where.

use bytemuck::{Pod, Zeroable};

/// Which network an interface or VLAN leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Side {
    Inside = 1,
    Outside = 2,
}

/// Value of `LINKS`, by ifindex (also of VLAN devices): what
/// `bpf_fib_lookup` answers with becomes a next hop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Link {
    pub ifindex: u32,
    pub device: u16,
    pub mtu: u16,
    pub side: u8,
    pub vlan_count: u8,
    pub vlans: [u16; 2],
    /// Realm that it leads to, inside.
    pub realm: u8,
    pub reserved: u8,
}

/// Key of `VLANS`: a receiving interface and its tags (0: none), outermost first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct VlanKey {
    pub ifindex: u32,
    pub vlans: [u16; 2],
}

/// Value of `VLANS`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct VlanRole {
    /// See [`Role`].
    pub role: u32,
    /// First key in `SOCKETS` of the receiving interface.
    pub socket_base: u32,
}

/// What a receiving interface or VLAN is to us: bits 0-7 [`Side`] as a number, 8-15 the realm,
/// inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Role(pub u32);

impl Role {
    #[inline(always)]
    #[must_use]
    pub const fn new(side: Side, realm: u8) -> Self {
        Self(side as u32 | (realm as u32) << 8)
    }
    /// None for a number that is no side's.
    #[inline(always)]
    #[must_use]
    pub const fn side(self) -> Option<Side> {
        match self.0 as u8 {
            1 => Some(Side::Inside),
            2 => Some(Side::Outside),
            _ => None,
        }
    }
    #[inline(always)]
    #[must_use]
    pub const fn realm(self) -> u8 {
        (self.0 >> 8) as u8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_is_read_as_it_was_written() {
        for side in [Side::Inside, Side::Outside] {
            for realm in [0, 1, 255] {
                let role = Role::new(side, realm);
                assert_eq!((role.side(), role.realm()), (Some(side), realm));
            }
        }
        assert_eq!(Role(0).side(), None);
    }
}
