//! A small CGN in memory for tests of the front end: two pools, two prefixes
//! of subscribers, real packets through the real translator.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, OnceLock};

use cgn_common::counters::{Carried, Counters};
use cgn_common::frame::Buffer;
use cgn_common::layout::{Hits, NextHop, Side};
use cgn_common::path::{self, Entry};
use cgn_common::verdict::{Protocol, Reason, Verdict};
use tokio::sync::watch;

use super::view::View;
use crate::config::Config;
use crate::dataplane::geometry::{Arrangement, Geometry, PoolShape, SubscriberShape};
use crate::dataplane::install::{Grant, give};
use crate::dataplane::memory::Memory;
use crate::dataplane::tables::{Counted, Resolved, Routing, UserTables};
use crate::policy::access::Lists;
use crate::routes::Fib;
use crate::state::{State, Stats};
use crate::watch::desk::Desk;
use crate::wiring::{Way, Wiring};

pub const HOME: Ipv4Addr = Ipv4Addr::new(100, 64, 0, 10);
pub const OTHER_HOME: Ipv4Addr = Ipv4Addr::new(100, 64, 0, 20);
pub const OFFICE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
pub const SERVER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 80);
/// Interfaces that do not exist.
pub const INSIDE: u32 = 0x7fff_0001;
pub const OUTSIDE: u32 = 0x7fff_0002;
/// Ports of a block in pool `residential`.
pub const RESIDENTIAL_PORTS: u16 = 64;
/// 2025-03-01T00:09:10.123Z
pub const ALLOCATED_MS: u64 = 1_740_787_750_123;

/// Every destination is reached through next hop 1, outside.
struct OneHop;

impl Routing for OneHop {
    fn exact(&self, _address: u32) -> Option<u32> {
        None
    }
    fn resolve(&self, _address: u32) -> Resolved {
        Resolved::Hop(1)
    }
}

pub struct Fixture {
    pub memory: Arc<Memory>,
    pub geometry: Geometry,
    next_slab: u32,
}

impl Fixture {
    pub fn new() -> Self {
        let pool = |name: &str, first: [u8; 4], last: [u8; 4], block_shift| PoolShape {
            arrangement: Arrangement::Contiguous,
            name: name.to_owned(),
            addresses: vec![(first.into(), last.into())],
            block_shift,
            blocks_per_subscriber: 2,
            watermark_ports: 51,
            max_blocks: 16,
        };
        let pools = vec![
            pool("residential", [203, 0, 113, 0], [203, 0, 113, 3], 6),
            pool("business", [198, 51, 100, 7], [198, 51, 100, 7], 9),
        ];
        let range = |first: [u8; 4], last: [u8; 4], pool| SubscriberShape {
            first: first.into(),
            last: last.into(),
            pool,
        };
        let subscribers = vec![
            range([10, 0, 0, 0], [10, 0, 0, 15], 1),
            range([100, 64, 0, 0], [100, 64, 0, 255], 0),
        ];
        let geometry = Geometry::new(pools, subscribers);
        let memory = Memory::private(geometry.sizes).unwrap();
        let mut secret = 1;
        geometry.install(&memory, || {
            secret = u64::wrapping_mul(secret, 0x9e37_79b9_7f4a_7c15) + 1;
            secret
        });
        let hop = NextHop {
            side: Side::Outside as u8,
            mtu: 1500,
            ..NextHop::default()
        };
        memory.next_hops.get(1).unwrap().write(&hop);
        Self {
            memory: Arc::new(memory),
            geometry,
            next_slab: 0,
        }
    }

    /// Gives a block and returns what was given; its log record is number
    /// 100 + slab.
    pub fn give(&mut self, inside: Ipv4Addr, external: [u8; 4], block: u16) -> Grant {
        let grant = Grant {
            inside: inside.into(),
            external: external.into(),
            pool: self.geometry.pool_of(inside).unwrap(),
            block,
            slab: self.next_slab,
        };
        self.next_slab += 1;
        let sequence = 100 + u64::from(grant.slab);
        give(&self.memory, &self.geometry, &grant, ALLOCATED_MS, sequence).unwrap();
        grant
    }

    /// Sends a packet from inside to the server, which must be translated.
    pub fn send(&self, protocol: Protocol, inside: Ipv4Addr, inside_port: u16, tick: u32) {
        let verdict = self.try_send(protocol, inside, inside_port, tick);
        assert!(matches!(verdict, Verdict::Transmit { .. }), "{verdict:?}");
    }

    pub fn try_send(
        &self,
        protocol: Protocol,
        inside: Ipv4Addr,
        inside_port: u16,
        tick: u32,
    ) -> Verdict {
        let vlans = HashMap::new();
        let counted = Counted::default();
        let tables = UserTables::new(&self.memory, &OneHop, &vlans, &counted);
        tables.now.set(tick);
        let mut bytes = packet(protocol, inside, inside_port);
        let length = bytes.len();
        let mut frame = Buffer::new(&mut bytes, 0, length).unwrap();
        path::whole(&mut frame, &tables, Entry::Inside)
    }

    pub fn view(&self) -> View<'_> {
        View {
            memory: &self.memory,
            geometry: &self.geometry,
        }
    }

    /// Routes: the server is outside, behind next hop 1, 100.64.0.0/16 inside behind 2.
    pub fn route(&self) {
        let inside = NextHop {
            side: Side::Inside as u8,
            mtu: 1500,
            ifindex: INSIDE,
            destination_mac: [2, 0, 0, 0, 0, 2],
            ..NextHop::default()
        };
        let outside = NextHop {
            side: Side::Outside as u8,
            ifindex: OUTSIDE,
            destination_mac: [2, 0, 0, 0, 0, 1],
            ..inside
        };
        self.memory.next_hops.get(1).unwrap().write(&outside);
        self.memory.next_hops.get(2).unwrap().write(&inside);
        self.memory.set_route(0xc000, 1);
        self.memory.set_route(0x6440, 2);
    }

    /// A daemon with these tables: 7 packets had no port in the fast path and
    /// 2 in the slow path, 4 were the first of their subscribers.
    pub fn state(self, is_test_clock: bool) -> Arc<State> {
        let mut stats = Stats::default();
        let mut fast_path = Counters::ZERO;
        for (counters, count) in [(&mut stats.slow_path, 2), (&mut fast_path, 7)] {
            counters.drops[Reason::NoPort as usize][Carried::Tcp as usize] = count;
        }
        fast_path.reasons[Reason::FirstPacket as usize] = 4;
        Arc::new(State {
            config: Config::parse(Config::SAMPLE).unwrap(),
            geometry: self.geometry,
            log_realms: Vec::new(),
            memory: self.memory,
            stats: Mutex::new(stats),
            notices: Default::default(),
            identities: Default::default(),
            started_unix_ms: ALLOCATED_MS,
            fast_path_counters: Box::new(move || fast_path),
            fast_path_hits: Box::new(|| Hits::ZERO),
            fast_path_realms: Box::new(Vec::new),
            lists: Lists::default(),
            is_test_clock,
            config_path: PathBuf::new(),
            reload: watch::Sender::new(None),
            wiring: OnceLock::from(wiring()),
            watch: Desk::default(),
            mirrors: Vec::new(),
            peaks: Mutex::default(),
            turns: AtomicU64::new(0),
        })
    }
}

/// Two interfaces without VLANs, and routes that are in the tables only.
fn wiring() -> Wiring {
    let way = |interface: &str, ifindex, entry, side| Way {
        interface: interface.to_owned(),
        ifindex,
        entry,
        side,
        realm: 0,
        tags: Vec::new(),
    };
    Wiring {
        ways: vec![
            way("in0", INSIDE, Entry::Inside, Side::Inside),
            way("out0", OUTSIDE, Entry::Outside, Side::Outside),
        ],
        vlans: HashMap::new(),
        fib: watch::channel(Arc::new(Fib::unknown(Vec::new()))).1,
    }
}

/// A SYN, a datagram or an echo request to the server, port 443 (ICMP: none).
fn packet(protocol: Protocol, inside: Ipv4Addr, inside_port: u16) -> Vec<u8> {
    let port = inside_port.to_be_bytes();
    let (number, transport) = match protocol {
        Protocol::Tcp => {
            let mut tcp = vec![0; 20];
            tcp[..2].copy_from_slice(&port);
            tcp[2..4].copy_from_slice(&443_u16.to_be_bytes());
            (tcp[12], tcp[13]) = (5 << 4, 0x02);
            (6, tcp)
        }
        Protocol::Udp => (17, vec![port[0], port[1], 1, 187, 0, 8, 0, 0]),
        Protocol::Icmp => (1, vec![8, 0, 0, 0, port[0], port[1], 0, 1]),
    };
    let mut ip = vec![
        0x45,
        0,
        0,
        (20 + transport.len()) as u8,
        0,
        0,
        0,
        0,
        64,
        number,
        0,
        0,
    ];
    ip.extend(inside.octets());
    ip.extend(SERVER.octets());
    let checksum = header_checksum(&ip);
    ip[10..12].copy_from_slice(&checksum.to_be_bytes());
    let mut frame = vec![0; 12];
    frame.extend([8, 0]);
    frame.extend(ip);
    frame.extend(transport);
    frame
}

/// RFC 1071.
fn header_checksum(header: &[u8]) -> u16 {
    let words = header
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1]));
    let sum: u32 = words.sum();
    !((sum & 0xffff) + (sum >> 16)) as u16
}

/// A directory that goes with the test.
pub struct Scratch(pub PathBuf);

impl Scratch {
    pub fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("cgn-front-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
