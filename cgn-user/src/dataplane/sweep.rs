//! Expiry: the control plane walks the slots of allocated blocks, ends idle
//! mappings, and frees their ports when the hold is over. No timer per flow.

use cgn_common::layout::{
    Detour, Line, Room, SlotKey, SlotState, Subscriber, astray, buckets, header,
};
use cgn_common::limits::{SLOTS_PER_BUCKET, STAMP_TICKS};
use cgn_common::nat::place::Place;
use cgn_common::nat::walk;
use cgn_common::verdict::Protocol;
use cgn_common::word::Word;

use super::memory::Memory;

/// Idle times in ticks after which a mapping ends, and the hold of its port.
/// None ends early: what is left of the tick of the stamp is waited for, and
/// with a mapping also that it is stamped in every [`STAMP_TICKS`]th only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timers {
    pub udp: u32,
    pub icmp: u32,
    pub tcp_established: u32,
    /// A SYN from inside without an answer.
    pub tcp_opening: u32,
    /// After FIN from both sides, or RST, and mappings opened in mid-stream.
    pub tcp_closing: u32,
    /// UDP mappings that talk to one of `short_udp_ports` only (RFC 4787 REQ-5).
    pub short_udp: u32,
    pub short_udp_ports: PortSet,
    /// Hold of a freed port (RFC 6888 REQ-8).
    pub hold: u32,
    /// Ports that may begin their hold now; beyond them, a port is free at once.
    pub hold_room: u32,
    /// What the log must know of before it ends.
    pub logged: Logged,
}

/// What the log has of a subscriber besides its blocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Logged {
    #[default]
    Nothing,
    /// Mappings, without their destinations.
    Mappings,
    /// Sessions with their destinations.
    Sessions,
}

/// A set of well-known ports, 0 to 1023.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortSet([u64; 16]);

impl PortSet {
    /// The empty set.
    pub const NONE: Self = Self([0; 16]);

    /// Ports above 1023 are left out: they are nobody's by agreement.
    #[must_use]
    pub fn new(ports: &[u16]) -> Self {
        let mut set = Self::NONE;
        for port in ports {
            if let Some(word) = set.0.get_mut(usize::from(port / 64)) {
                *word |= 1 << (port % 64);
            }
        }
        set
    }
    #[must_use]
    pub fn has(&self, port: u16) -> bool {
        let word = self.0.get(usize::from(port / 64));
        word.is_some_and(|word| word >> (port % 64) & 1 != 0)
    }
}

/// A claim that is still tentative after so many ticks was left by a slow
/// path that died in the middle of it (16 ticks = 4.3 s).
const ABANDONED: u32 = 16;

/// What one sweep of one slab saw and did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Mappings alive, by protocol.
    pub live: [u32; 3],
    /// Ports in hold.
    pub held: u32,
    /// Sum of the buckets' counts of mappings that stand further on, by protocol.
    pub overflow: [u64; 3],
    /// Mappings that ended now, by protocol.
    pub expired: [u32; 3],
    /// Ports whose hold ended now.
    pub freed: u32,
    /// Ports that began their hold now; they are in `held`, too.
    pub newly_held: u32,
    /// Ports that were free at once, for want of room to hold them.
    pub unheld: u32,
    /// Slots that the log has the beginning of, and not the end.
    pub logged: u32,
}

impl Swept {
    /// Adds another.
    pub fn merge(&mut self, other: &Self) {
        for at in 0..3 {
            self.live[at] += other.live[at];
            self.overflow[at] += other.overflow[at];
            self.expired[at] += other.expired[at];
        }
        self.held += other.held;
        self.freed += other.freed;
        self.newly_held += other.newly_held;
        self.unheld += other.unheld;
        self.logged += other.logged;
    }
}

/// Sweeps the slab whose header is at `slab_line`. `now` in ticks.
#[must_use]
pub fn sweep_slab(memory: &Memory, slab_line: u32, now: u32, timers: &Timers) -> Swept {
    let mut swept = Swept::default();
    let slab = memory.header(slab_line).zip(memory.room(slab_line));
    let Some((head, room)) = slab else {
        return swept;
    };
    let used = room.used();
    let block = head.0[header::BLOCK].load();
    let Some(subscriber) = memory.subscribers.get((block >> 32) as u32) else {
        return swept;
    };
    let shift = (block >> 16) as u32 & 0xff;
    for protocol in Protocol::ALL {
        if used.of(protocol) != 0 {
            let part = Part {
                memory,
                room,
                subscriber,
                protocol,
                shift,
                first_line: memory.parts.keys(slab_line, protocol),
            };
            part.sweep(now, timers, &mut swept);
        }
    }
    swept
}

/// The buckets of one protocol in one slab.
struct Part<'a> {
    memory: &'a Memory,
    room: Room<'a>,
    subscriber: &'a Subscriber,
    protocol: Protocol,
    shift: u32,
    first_line: u32,
}

impl Part<'_> {
    fn sweep(&self, now: u32, timers: &Timers, swept: &mut Swept) {
        for bucket in 0..buckets(self.shift) {
            let Some(line) = self.memory.slabs.get(self.first_line + bucket) else {
                return;
            };
            for at in 0..SLOTS_PER_BUCKET {
                let key = SlotKey(line.at(at).load());
                if !key.is_free() {
                    let key = self.know_peer(bucket, line, at, key, timers);
                    self.visit(bucket, line, at, key, now, timers, swept);
                }
            }
            let detours = self.drop_stale_detours(bucket, line);
            swept.overflow[self.protocol as usize] += detours + astray::astray(line.at(0).load());
        }
    }

    #[expect(clippy::too_many_arguments, reason = "the inner step of one loop")]
    fn visit(
        &self,
        bucket: u32,
        line: &Line,
        at: u32,
        key: SlotKey,
        now: u32,
        timers: &Timers,
        swept: &mut Swept,
    ) {
        let number = self.protocol as usize;
        swept.logged += u32::from(key.is_logged());
        // A packet may have stamped the slot a moment after `now` was read.
        let idle = key.age(now).max(0) as u32;
        let word = line.at(at);
        if key.is_live() {
            let over = idle >= self.timeout(bucket, at, key, timers) + STAMP_TICKS
                && (key.is_logged() || timers.logged == Logged::Nothing);
            let held = key.with(SlotState::Held as u64, now);
            // A packet that refreshes it meanwhile wins.
            if over && word.replace(key.0, held.0) {
                swept.expired[number] += 1;
                // One that is logged is held until its end is, too.
                if swept.newly_held < timers.hold_room || key.is_logged() {
                    swept.held += 1;
                    swept.newly_held += 1;
                } else {
                    self.free(bucket, line, at, held);
                    swept.unheld += 1;
                }
            } else {
                swept.live[number] += 1;
            }
        } else if key.state() == SlotState::Held as u64 {
            if idle > timers.hold && !key.is_logged() {
                self.free(bucket, line, at, key);
                swept.freed += 1;
            } else {
                swept.held += 1;
            }
        } else if idle >= ABANDONED && word.replace(key.0, key.removed().0) {
            self.free(bucket, line, at, key.removed());
        }
    }

    /// Frees a slot in hold, whose detour nobody needs any more. What one that was
    /// astray counted is taken back afterwards, so that at every moment the counts
    /// cover at least what is there.
    fn free(&self, bucket: u32, line: &Line, at: u32, key: SlotKey) {
        // The next mapping has none until it says so: see `open::write_peer`.
        if let Some(peer) = self.peer(bucket, at) {
            peer.store(0);
        }
        let secret = self.subscriber.secret.load();
        let place = Place::new(secret, self.protocol, key.inside_port());
        let home = place.bucket(self.shift);
        let slot = bucket * SLOTS_PER_BUCKET + at;
        if home != bucket
            && !key.is_astray()
            && let Some(line) = self.memory.slabs.get(self.first_line + home)
        {
            Detour::new(place.tag(), slot).take_from(line);
        }
        if !SlotKey::exchange(line.at(at), key.mapping(), SlotKey(0)) {
            return;
        }
        if key.is_astray() {
            let mask = buckets(self.shift) - 1;
            let mut at = home;
            while at != bucket {
                if let Some(line) = self.memory.slabs.get(self.first_line + at) {
                    line.at(0).add(walk::passed(at, home).wrapping_neg());
                }
                at = (at + place.stride()) & mask;
            }
        }
        self.room.give_port(self.protocol);
    }
}

impl Part<'_> {
    /// Takes out the detours that lead no longer to a mapping that wanted this
    /// bucket, as a processor leaves one whose claim was found abandoned. They do no
    /// harm, but keep the place of others. Returns how many are left.
    fn drop_stale_detours(&self, home: u32, line: &Line) -> u64 {
        let mut left = 0;
        for at in 1..SLOTS_PER_BUCKET {
            let word = line.at(at);
            let old = word.load();
            let detour = Detour::of(old);
            if detour.is_some() && self.leads_home(detour, home) {
                left += 1;
            } else if detour.is_some() {
                // A packet of the mapping there wins, until the next sweep.
                let _ = word.replace(old, Detour::NONE.put_into(old));
            }
        }
        left
    }

    /// The second word of a slot.
    fn peer(&self, bucket: u32, at: u32) -> Option<&Word> {
        let line = self.memory.parts.peers(self.first_line + bucket);
        Some(self.memory.slabs.get(line)?.at(at))
    }

    /// The key, marked where short timers are on and the peer's port has none: packets need not look at that
    /// any more.
    fn know_peer(
        &self,
        bucket: u32,
        line: &Line,
        at: u32,
        key: SlotKey,
        timers: &Timers,
    ) -> SlotKey {
        let ports = &timers.short_udp_ports;
        let is_udp = self.protocol == Protocol::Udp && key.is_live();
        if !is_udp || key.is_peer_known() || *ports == PortSet::NONE {
            return key;
        }
        let remote = self.peer(bucket, at).map_or(0, Word::load);
        let known = SlotKey(key.0 | SlotKey::PEER_KNOWN);
        // A packet that changes it meanwhile wins, until the next sweep.
        match remote != 0
            && !ports.has((remote >> 32) as u16)
            && line.at(at).replace(key.0, known.0)
        {
            true => known,
            false => key,
        }
    }

    /// Idle ticks after which the mapping ends.
    fn timeout(&self, bucket: u32, at: u32, key: SlotKey, timers: &Timers) -> u32 {
        match self.protocol {
            // Only where it may matter, another line is read.
            Protocol::Udp if timers.short_udp_ports == PortSet::NONE || key.is_peer_known() => {
                timers.udp
            }
            Protocol::Udp => {
                let remote = self.peer(bucket, at).map_or(0, Word::load);
                match timers.short_udp_ports.has((remote >> 32) as u16) {
                    true => timers.short_udp,
                    false => timers.udp,
                }
            }
            Protocol::Icmp => timers.icmp,
            Protocol::Tcp if key.is_shared() => timers.tcp_established,
            Protocol::Tcp => tcp_timeout(key.state(), timers),
        }
    }

    fn leads_home(&self, detour: Detour, home: u32) -> bool {
        let line = self.first_line + detour.slot() / SLOTS_PER_BUCKET;
        let Some(line) = self.memory.slabs.get(line) else {
            return false;
        };
        let key = SlotKey(line.at(detour.slot() % SLOTS_PER_BUCKET).load());
        let secret = self.subscriber.secret.load();
        let place = Place::new(secret, self.protocol, key.inside_port());
        !key.is_free() && place.bucket(self.shift) == home && place.tag() == detour.tag()
    }
}

/// Idle ticks after which a TCP session in `state` (a number) ends.
pub(super) fn tcp_timeout(state: u64, timers: &Timers) -> u32 {
    match SlotState::from_bits(state as u8) {
        SlotState::TcpInit => timers.tcp_opening,
        SlotState::TcpClosing | SlotState::TcpTransitory => timers.tcp_closing,
        _ => timers.tcp_established,
    }
}
