//! Hosts, blocks and mappings in the product's own tables, and the plans that
//! make the generator send exactly their packets.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use anyhow::{Context as _, Result, bail};
use cgn_common::block::{block_of, blocks_per_address, first_port};
use cgn_common::layout::{Line, NextHop, Room, Side, SlotState, Used, buckets, peer};
use cgn_common::limits::{MAX_BLOCK_PORTS, SLOTS_PER_BUCKET};
use cgn_common::nat::open::{self, Flow};
use cgn_common::nat::search::Candidate;
use cgn_common::verdict::{Direction, Protocol};
use cgn_user::dataplane::geometry::{Arrangement, Geometry, PoolShape, SubscriberShape};
use cgn_user::dataplane::install::{self, Grant};
use cgn_user::dataplane::memory::Memory;
use cgn_user::dataplane::tables::{Counted, Resolved, Routing, UserTables};

use super::plan::{LAYOUTS, OFFSETS, Plan, reciprocal, remote};

/// Inside addresses are 100.64.0.0 and up, external ones 198.18.0.0 and up.
const INSIDE: u32 = 0x6440_0000;
const EXTERNAL: u32 = 0xc612_0000;
/// Networks (/16) of the inside: all of 100.64.0.0/10.
const INSIDE_NETWORKS: std::ops::Range<u16> = 0x6440..0x6480;
/// First inside port of every host.
const FIRST_INSIDE_PORT: u16 = 20_000;
const INSIDE_HOP: u16 = 1;
const OUTSIDE_HOP: u16 = 2;
/// Test runs come from the loopback device, and what leaves by the device that
/// it came from is `XDP_TX`.
const LOOPBACK: u32 = 1;
const PROTOCOL: Protocol = Protocol::Udp;
/// Types of Ethernet frames, as they lie in them.
const IPV4: u16 = 0x0800_u16.to_be();
const IPV6: u16 = 0x86dd_u16.to_be();

/// How many mappings a host has, in a block of how many ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Density {
    pub ports_per_host: u32,
    /// log2 of the ports of a block.
    pub block_shift: u32,
}

/// The two densities of the FD.io CSIT project.
pub const FEW: Density = Density {
    ports_per_host: 63,
    block_shift: 6,
};
/// See [`FEW`].
pub const MANY: Density = Density {
    ports_per_host: 1008,
    block_shift: 10,
};

/// So many flows at this density.
#[derive(Debug)]
pub struct World {
    pub geometry: Geometry,
    density: Density,
    flows: u64,
    /// By row (block of an external address): index of the host that owns it.
    host_of_row: Vec<u32>,
    /// By row: number of its slab.
    slab_of_row: Vec<u32>,
    /// Slot of each flow of a host, by layout; see [`World::fill`].
    slots: Vec<u16>,
}

impl World {
    /// `flows` is a power of two.
    #[must_use]
    pub fn new(density: Density, flows: u64) -> Self {
        let rows = flows.div_ceil(u64::from(density.ports_per_host)) as u32;
        let addresses = rows.div_ceil(blocks_per_address(density.block_shift));
        let pool = PoolShape {
            arrangement: Arrangement::Contiguous,
            name: "bench".to_owned(),
            addresses: vec![(
                Ipv4Addr::from_bits(EXTERNAL),
                Ipv4Addr::from_bits(EXTERNAL + addresses - 1),
            )],
            block_shift: density.block_shift,
            blocks_per_subscriber: 1,
            watermark_ports: 1 << density.block_shift,
            max_blocks: rows,
        };
        let subscribers = SubscriberShape {
            first: Ipv4Addr::from_bits(INSIDE).into(),
            // As many again have no block: what they send is the slow path's.
            last: Ipv4Addr::from_bits(INSIDE + 2 * rows - 1).into(),
            pool: 0,
        };
        Self {
            geometry: Geometry::new(vec![pool], vec![subscribers]),
            density,
            flows,
            // As after a day of arrivals: neither neighbours of an address nor
            // slabs in memory are in the order of the subscribers.
            host_of_row: shuffled(rows, 0x0dd_b1a5),
            slab_of_row: shuffled(rows, 0x5eed),
            slots: vec![0; OFFSETS],
        }
    }

    /// Writes directories, routes, subscribers and blocks into empty tables.
    ///
    /// # Errors
    /// The tables do not fit the geometry.
    pub fn install(&self, memory: &Memory) -> Result<()> {
        let mut layout_of_host = vec![0; self.host_of_row.len()];
        for (row, host) in self.host_of_row.iter().enumerate() {
            layout_of_host[*host as usize] = row as u64 % LAYOUTS;
        }
        let mut hosts = layout_of_host.into_iter();
        // Rows of equal layout share a secret, and so the slots of their mappings.
        self.geometry
            .install(memory, || mix(hosts.next().unwrap_or_default()));
        install_routes(memory);
        for row in 0..self.rows() {
            let grant = self.grant(row);
            install::give(memory, &self.geometry, &grant, 0, 0)
                .with_context(|| format!("cannot give {grant:?}"))?;
        }
        Ok(())
    }

    /// Ends all mappings.
    pub fn clear(&self, memory: &Memory) {
        for row in 0..self.rows() {
            let (room, lines) = self.lines(memory, row);
            for word in lines.iter().flat_map(|line| &line.0) {
                word.store(0);
            }
            room.set_used(Used::NONE);
        }
    }

    /// Opens all mappings, in the same order in every host; notes in which
    /// slots they stand.
    ///
    /// # Errors
    /// The translator opens no mapping, or rows of one layout would differ.
    pub fn fill(&mut self, memory: &Memory) -> Result<()> {
        self.clear(memory);
        for row in 0..self.layouts() {
            self.open_all(memory, row)?;
        }
        self.copy_layouts(memory);
        Ok(())
    }

    /// After [`World::fill`]: opens mappings until every block is full to the
    /// last port.
    ///
    /// # Errors
    /// As of [`World::fill`].
    pub fn fill_up(&self, memory: &Memory) -> Result<()> {
        let left = self.density.ports_per_host..1 << self.density.block_shift;
        for row in 0..self.layouts() {
            for number in left.clone() {
                self.open(memory, row, number)?;
            }
        }
        self.copy_layouts(memory);
        Ok(())
    }

    /// After [`World::fill`]: gives each mapping the remote endpoint of its flow in this direction, as if
    /// that were whom it has sent to. Where a pool filters, others are not let in.
    pub fn meet(&self, memory: &Memory, direction: Direction) {
        let flows = self.density.ports_per_host;
        for row in 0..self.rows() {
            let first = match direction {
                Direction::Outbound => self.host_of_row[row as usize],
                Direction::Inbound => row,
            };
            let (_, lines) = self.lines(memory, row);
            let peers = buckets(self.density.block_shift);
            let layout = row % LAYOUTS as u32;
            for number in 0..flows {
                let slot = u32::from(self.slots[(layout * flows + number) as usize]);
                let line = lines[(peers + slot / SLOTS_PER_BUCKET) as usize];
                let flow = u64::from(first) * u64::from(flows) + u64::from(number);
                let end = peer::remote(remote(flow), super::plan::REMOTE_PORT);
                line.at(slot).store(end);
            }
        }
    }

    fn layouts(&self) -> u32 {
        self.rows().min(LAYOUTS as u32)
    }

    /// Gives the rows beyond the first ones the mappings of those.
    fn copy_layouts(&self, memory: &Memory) {
        let layouts = self.layouts();
        for row in layouts..self.rows() {
            let (model, model_lines) = self.lines(memory, row % LAYOUTS as u32);
            let (room, lines) = self.lines(memory, row);
            for (to, from) in lines.iter().zip(model_lines) {
                for (to, from) in to.0.iter().zip(&from.0) {
                    to.store(from.load());
                }
            }
            room.set_used(model.used());
        }
    }

    /// Opens the mappings of one row as a packet would.
    fn open_all(&mut self, memory: &Memory, row: u32) -> Result<()> {
        for number in 0..self.density.ports_per_host {
            let at = row * self.density.ports_per_host + number;
            self.slots[at as usize] = self.open(memory, row, number)?;
        }
        Ok(())
    }

    /// Opens one mapping of a row; its slot.
    fn open(&self, memory: &Memory, row: u32, number: u32) -> Result<u16> {
        let vlans = HashMap::new();
        let counted = Counted::default();
        let tables = UserTables::new(memory, &Nowhere, &vlans, &counted);
        let grant = self.grant(row);
        let subscriber = self
            .geometry
            .subscriber_index(grant.inside)
            .context("a host that is no subscriber")?;
        let first = first_port(u32::from(grant.block), self.density.block_shift);
        let flow = Flow {
            subscriber,
            protocol: PROTOCOL,
            inside_port: FIRST_INSIDE_PORT + number as u16,
            remote: peer::remote(remote(u64::from(number)), super::plan::REMOTE_PORT),
            state: SlotState::Open as u64,
            tick: 0,
        };
        let Ok(port) = open::open(&tables, flow, 0, Candidate::NONE) else {
            bail!("no mapping could be opened for {flow:?}");
        };
        Ok(port - first)
    }

    /// Plan and table of offsets for packets from inside.
    #[must_use]
    pub fn outbound(&self) -> (Plan, Vec<u16>) {
        let flows = self.density.ports_per_host;
        let mut offsets: Vec<u16> = (0..LAYOUTS).flat_map(|_| 0..flows as u16).collect();
        offsets.resize(OFFSETS, 0);
        let plan = Plan {
            address_rows: 1,
            address_reciprocal: reciprocal(1),
            first_address: u64::from(INSIDE),
            first_port: u64::from(FIRST_INSIDE_PORT),
            ..self.plan()
        };
        (plan, offsets)
    }

    /// The same from inside ports that have no mapping.
    #[must_use]
    pub fn refused(&self) -> (Plan, Vec<u16>) {
        let (mut plan, offsets) = self.outbound();
        plan.first_port += u64::from(MAX_BLOCK_PORTS);
        (plan, offsets)
    }

    /// The same from hosts without a block.
    #[must_use]
    pub fn punted(&self) -> (Plan, Vec<u16>) {
        let (mut plan, offsets) = self.outbound();
        plan.first_address += u64::from(self.rows());
        (plan, offsets)
    }

    /// The same in frames that are no IPv4, which are the kernel's.
    #[must_use]
    pub fn passed(&self) -> (Plan, Vec<u16>) {
        let (mut plan, offsets) = self.outbound();
        plan.ethertype = u64::from(IPV6);
        (plan, offsets)
    }

    /// The same to external endpoints of [`World::inbound`].
    #[must_use]
    pub fn hairpinned(&self) -> (Plan, Vec<u16>) {
        let (mut plan, offsets) = self.outbound();
        plan.hairpin = 1;
        (plan, offsets)
    }

    /// ICMP errors from outside about packets of the flows, after [`World::fill`].
    #[must_use]
    pub fn icmp_errors(&self) -> (Plan, Vec<u16>) {
        let (mut plan, offsets) = self.inbound();
        plan.icmp_error = 1;
        (plan, offsets)
    }

    /// Plan and table of offsets for packets from outside, after [`World::fill`].
    #[must_use]
    pub fn inbound(&self) -> (Plan, Vec<u16>) {
        let shift = self.density.block_shift;
        let blocks = u64::from(blocks_per_address(shift));
        let plan = Plan {
            address_rows: blocks,
            address_reciprocal: reciprocal(blocks),
            first_address: u64::from(EXTERNAL),
            first_port: u64::from(first_port(0, shift)),
            row_ports: 1 << shift,
            inbound: 1,
            ..self.plan()
        };
        (plan, self.slots.clone())
    }

    /// True if `external` (address and port) is a port of the block of the
    /// host with the address of `inside`.
    #[must_use]
    pub fn owns(&self, inside: (u32, u16), external: (u32, u16)) -> bool {
        let shift = self.density.block_shift;
        let Some(block) = block_of(external.1, shift) else {
            return false;
        };
        let row = external
            .0
            .wrapping_sub(EXTERNAL)
            .wrapping_mul(blocks_per_address(shift))
            + block;
        let port = FIRST_INSIDE_PORT..FIRST_INSIDE_PORT + self.density.ports_per_host as u16;
        let host = self.host_of_row.get(row as usize);
        host.is_some_and(|host| INSIDE + host == inside.0) && port.contains(&inside.1)
    }

    fn plan(&self) -> Plan {
        let mask = self.flows - 1;
        let row_flows = u64::from(self.density.ports_per_host);
        Plan {
            mask,
            shift: u64::from(mask.count_ones() / 2).max(1),
            row_flows,
            row_reciprocal: reciprocal(row_flows),
            ethertype: u64::from(IPV4),
            ..Plan::default()
        }
    }

    fn rows(&self) -> u32 {
        self.host_of_row.len() as u32
    }

    fn grant(&self, row: u32) -> Grant {
        let blocks = blocks_per_address(self.density.block_shift);
        Grant {
            inside: Ipv4Addr::from_bits(INSIDE + self.host_of_row[row as usize]).into(),
            external: Ipv4Addr::from_bits(EXTERNAL + row / blocks),
            pool: 0,
            block: (row % blocks) as u16,
            slab: self.slab_of_row[row as usize],
        }
    }

    /// Room of a row's block, and the lines of its buckets' keys and peers.
    fn lines<'m>(&self, memory: &'m Memory, row: u32) -> (Room<'m>, Vec<&'m Line>) {
        let shift = self.density.block_shift;
        let slab = self.geometry.slab_line(0, self.slab_of_row[row as usize]);
        let keys = memory.parts.keys(slab, PROTOCOL);
        let peers = memory.parts.peers(keys);
        let line = |at| {
            memory
                .slabs
                .get(at)
                .expect("the table was sized by the geometry")
        };
        (
            memory.room(slab).expect("as above"),
            (keys..keys + buckets(shift))
                .chain(peers..peers + buckets(shift))
                .map(line)
                .collect(),
        )
    }
}

/// As at an ISP with a default route: nearly every network has the same next hop.
fn install_routes(memory: &Memory) {
    for (number, side) in [(INSIDE_HOP, Side::Inside), (OUTSIDE_HOP, Side::Outside)] {
        if let Some(entry) = memory.next_hops.get(u32::from(number)) {
            entry.write(&NextHop {
                destination_mac: [2, 0, 0, 0, 1, number as u8],
                source_mac: [2, 0, 0, 0, 0, number as u8],
                ifindex: LOOPBACK,
                mtu: 1500,
                side: side as u8,
                ..NextHop::default()
            });
        }
    }
    for network in 0..0xe000 {
        let number = match network {
            network if INSIDE_NETWORKS.contains(&network) => INSIDE_HOP,
            network if network == (EXTERNAL >> 16) as u16 => 0,
            _ => OUTSIDE_HOP,
        };
        memory.set_route(network, number);
    }
}

/// Opening mappings asks for no route.
struct Nowhere;

impl Routing for Nowhere {
    fn exact(&self, _address: u32) -> Option<u32> {
        None
    }
    fn resolve(&self, _address: u32) -> Resolved {
        Resolved::None
    }
}

/// 0 to `len - 1` in an order that `seed` decides.
fn shuffled(len: u32, seed: u64) -> Vec<u32> {
    let mut order: Vec<u32> = (0..len).collect();
    for at in (1..len).rev() {
        let other = mix(seed << 32 | u64::from(at)) % (u64::from(at) + 1);
        order.swap(at as usize, other as usize);
    }
    order
}

/// The output function of the SplitMix64 generator.
fn mix(seed: u64) -> u64 {
    let x = seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}
