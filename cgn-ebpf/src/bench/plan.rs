//! What the generator sends: pure arithmetic from a packet's number to its
//! flow. The bench program in user space includes this file, too, and so knows
//! what each packet must have become.

use bytemuck::{Pod, Zeroable};

/// Layouts of mappings in blocks that the world of the bench has. Hosts whose
/// rows are equal modulo this have their mappings in the same slots.
pub const LAYOUTS: u64 = 32;
/// Elements of the table of offsets: flows of a row, for each layout.
pub const OFFSETS: usize = 1 << 15;
/// Packets between two time stamps, as a shift.
pub const CHUNK_SHIFT: u32 = 10;
/// Time stamps that are kept.
pub const STAMPS: usize = 1 << 15;
/// Bytes of a frame: the shortest that Ethernet carries, without its checksum.
pub const FRAME_BYTES: usize = 60;
/// Bytes of the frame of an ICMP error: one that quotes header and 8 bytes.
pub const ERROR_BYTES: usize = 70;
/// Port of every remote endpoint.
pub const REMOTE_PORT: u16 = 443;

/// Shift of the reciprocals in a [`Plan`].
const RECIPROCAL_SHIFT: u32 = 40;
/// Odd factors: multiplying by one is a bijection modulo a power of two.
const FACTORS: [u64; 3] = [7_368_787, 0x9e37_79b1, 0x9e37_79b9_7f4a_7c15];
/// Remote addresses are 16.0.0.0 to 79.255.255.255: one /16 in four of the internet.
const REMOTE_FIRST: u32 = 0x1000_0000;
const REMOTE_MASK: u32 = 0x3fff_ffff;

/// Which flows a run has, and the generator's own state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Plan {
    /// Number of the next packet.
    pub next: u64,
    /// Packets whose key was not in the hash map, or could not be put there.
    pub missed: u64,
    /// Flows minus one; flows are a power of two.
    pub mask: u64,
    /// Half of the bits of `mask`, at least 1.
    pub shift: u64,
    /// Flows in a row: of a host (outbound) or of a block (inbound).
    pub row_flows: u64,
    pub row_reciprocal: u64,
    /// Rows that share one address: 1 (outbound) or blocks of an address (inbound).
    pub address_rows: u64,
    pub address_reciprocal: u64,
    /// Address of row 0, host order.
    pub first_address: u64,
    /// Port of flow 0 of a row 0.
    pub first_port: u64,
    /// Ports from one row of an address to the next.
    pub row_ports: u64,
    /// 1: packets come from the remote endpoint.
    pub inbound: u64,
    /// 1: packets go to another subscriber's external endpoint: that of the next packet's flow, by
    /// the plan beside this one.
    pub hairpin: u64,
    /// 1: ICMP errors from the remote endpoint about packets of the flow.
    pub icmp_error: u64,
    /// `EtherType` as it lies in the frame.
    pub ethertype: u64,
    /// log2 of the packets of a flow that come one after the other.
    pub burst: u64,
}

/// One flow as it is on the wire, host order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    pub source: u32,
    pub destination: u32,
    pub source_port: u16,
    pub destination_port: u16,
}

/// Number of a flow: its row, its number in the row, and its place in the
/// table of offsets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Number {
    pub flow: u64,
    pub row: u64,
    pub in_row: u64,
    pub offset_at: usize,
}

#[cfg_attr(
    target_arch = "bpf",
    expect(dead_code, reason = "plans are made in user space")
)]
/// For exact division of numbers below 2^30 by `divisor` (at most 1024).
#[must_use]
pub const fn reciprocal(divisor: u64) -> u64 {
    (1_u64 << RECIPROCAL_SHIFT).div_ceil(divisor)
}

/// `number` (below 2^30) divided by what `reciprocal` is of.
#[inline(always)]
#[must_use]
pub const fn divide(number: u64, reciprocal: u64) -> u64 {
    (number * reciprocal) >> RECIPROCAL_SHIFT
}

impl Plan {
    /// A flow of this plan, to the near end of `partner`.
    #[inline(always)]
    #[must_use]
    pub const fn hairpin(flow: Flow, partner: Flow) -> Flow {
        Flow {
            destination: partner.destination,
            destination_port: partner.destination_port,
            ..flow
        }
    }

    /// Which flow packet `packet` belongs to: a bijection on each run of
    /// `mask + 1` packets (bursts, if there are any), without any order that a prefetcher could learn.
    #[inline(always)]
    #[must_use]
    pub const fn number(&self, packet: u64) -> Number {
        let mixed = (packet >> (self.burst & 63)).wrapping_mul(FACTORS[0]) & self.mask;
        let mixed = mixed ^ (mixed >> (self.shift & 63));
        let flow = mixed.wrapping_mul(FACTORS[1]) & self.mask;
        let row = divide(flow, self.row_reciprocal);
        let in_row = flow - row * self.row_flows;
        let at = (row & (LAYOUTS - 1)) * self.row_flows + in_row;
        Number {
            flow,
            row,
            in_row,
            offset_at: at as usize & (OFFSETS - 1),
        }
    }

    /// Both endpoints; `offset` is the element of the table of offsets.
    #[inline(always)]
    #[must_use]
    pub const fn flow(&self, number: Number, offset: u16) -> Flow {
        let address = divide(number.row, self.address_reciprocal);
        let row_in_address = number.row - address * self.address_rows;
        let near = (self.first_address + address) as u32;
        let near_port = (self.first_port + row_in_address * self.row_ports) as u16 + offset;
        let far = remote(number.flow);
        if self.inbound != 0 {
            return Flow {
                source: far,
                destination: near,
                source_port: REMOTE_PORT,
                destination_port: near_port,
            };
        }
        Flow {
            source: near,
            destination: far,
            source_port: near_port,
            destination_port: REMOTE_PORT,
        }
    }
}

/// Address of the remote endpoint of a flow.
#[inline(always)]
#[must_use]
pub const fn remote(flow: u64) -> u32 {
    let mixed = (flow + 1).wrapping_mul(FACTORS[2]) >> 32;
    REMOTE_FIRST + (mixed as u32 & REMOTE_MASK)
}
