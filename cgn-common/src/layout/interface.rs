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
    pub reserved: [u8; 2],
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
    /// [`Side`] as a number.
    pub side: u32,
    /// First key in `SOCKETS` of the receiving interface.
    pub socket_base: u32,
}
