//! Counts the tables again, slot by slot, and compares with what they say.

use std::collections::BTreeMap;

use cgn_common::layout::{
    Detour, OwnedBlock, SlotKey, SlotState, Subscriber, SubscriberHead, astray, buckets,
};
use cgn_common::limits::SLOTS_PER_BUCKET;
use cgn_common::nat::place::Place;
use cgn_common::verdict::Protocol;
use cgn_user::dataplane::memory::Memory;

/// Where a live mapping stands.
type At = (u32, u32);

/// What contradicts itself in the blocks of a subscriber, when nobody changes
/// them: two mappings of one inside port, use counts, overflow counts, claims
/// that were left.
#[must_use]
pub fn contradictions(memory: &Memory, subscriber: u32) -> Vec<String> {
    let Some(entry) = memory.subscribers.get(subscriber) else {
        return vec![format!("no subscriber {subscriber}")];
    };
    let mut found = Vec::new();
    for protocol in Protocol::ALL {
        let mut live: BTreeMap<u16, At> = BTreeMap::new();
        for block in blocks(memory, subscriber) {
            let part = Part::new(memory, entry, block, protocol);
            part.check(&mut live, &mut found);
        }
    }
    found
}

/// Slots in use of a subscriber, whatever their state.
#[must_use]
pub fn in_use(memory: &Memory, subscriber: u32) -> usize {
    let Some(entry) = memory.subscribers.get(subscriber) else {
        return 0;
    };
    let parts = Protocol::ALL.into_iter().flat_map(|protocol| {
        blocks(memory, subscriber).map(move |block| Part::new(memory, entry, block, protocol))
    });
    parts
        .map(|part| part.keys().filter(|(_, key)| !key.is_free()).count())
        .sum()
}

/// Inside ports that have two live mappings at this very moment, while others
/// change the tables: each of the two is seen live, before and after the other.
#[must_use]
pub fn doubled(memory: &Memory, subscriber: u32, protocol: Protocol) -> Vec<u16> {
    let Some(entry) = memory.subscribers.get(subscriber) else {
        return Vec::new();
    };
    let mut seen: BTreeMap<u16, (OwnedBlock, u32, SlotKey)> = BTreeMap::new();
    let mut doubled = Vec::new();
    for block in blocks(memory, subscriber) {
        for (slot, key) in Part::new(memory, entry, block, protocol).keys() {
            if !key.is_live() {
                continue;
            }
            if let Some((other, at, before)) = seen.insert(key.inside_port(), (block, slot, key)) {
                let is_still = |block, slot, key| {
                    Part::new(memory, entry, block, protocol).key(slot) == Some(key)
                };
                if is_still(other, at, before) && is_still(block, slot, key) {
                    doubled.push(key.inside_port());
                }
            }
        }
    }
    doubled
}

fn blocks(memory: &Memory, subscriber: u32) -> impl Iterator<Item = OwnedBlock> + '_ {
    let entry = memory.subscribers.get(subscriber);
    let count = entry.map_or(0, |entry| SubscriberHead(entry.head.load()).block_count());
    memory
        .owned_blocks(subscriber)
        .take(count as usize)
        .map(|block| OwnedBlock(block.load()))
        .filter(|block| block.slab_line() != 0)
}

/// The slots of one protocol in one block.
struct Part<'a> {
    memory: &'a Memory,
    block: OwnedBlock,
    protocol: Protocol,
    shift: u32,
    secret: u64,
}

impl<'a> Part<'a> {
    fn new(memory: &'a Memory, entry: &Subscriber, block: OwnedBlock, protocol: Protocol) -> Self {
        Self {
            memory,
            block,
            protocol,
            shift: SubscriberHead(entry.head.load()).block_shift(),
            secret: entry.secret.load(),
        }
    }

    fn key(&self, slot: u32) -> Option<SlotKey> {
        let first = self
            .memory
            .parts
            .keys(self.block.slab_line(), self.protocol);
        let line = self.memory.slabs.get(first + slot / SLOTS_PER_BUCKET)?;
        Some(SlotKey(line.at(slot % SLOTS_PER_BUCKET).load()))
    }

    fn keys(&self) -> impl Iterator<Item = (u32, SlotKey)> {
        let slots = 0..1_u32 << self.shift;
        slots
            .filter_map(|slot| Some((slot, self.key(slot)?)))
            .collect::<Vec<_>>()
            .into_iter()
    }

    /// The detours of a bucket that lead somewhere.
    fn detours(&self, bucket: u32) -> Vec<Detour> {
        let first = self
            .memory
            .parts
            .keys(self.block.slab_line(), self.protocol);
        let Some(line) = self.memory.slabs.get(first + bucket) else {
            return Vec::new();
        };
        (1..SLOTS_PER_BUCKET)
            .map(|at| Detour::of(line.at(at).load()))
            .filter(|detour| detour.is_some())
            .collect()
    }

    fn check(&self, live: &mut BTreeMap<u16, At>, found: &mut Vec<String>) {
        let line = self.block.slab_line();
        let what = format!("{:?} in slab {line}", self.protocol);
        let mut used = 0;
        let mut spilled = vec![0_u64; buckets(self.shift) as usize];
        let mut gone = spilled.clone();
        for (slot, key) in self.keys().filter(|(_, key)| !key.is_free()) {
            used += 1;
            if key.state() == SlotState::Tentative as u64 {
                found.push(format!("{what}: slot {slot} is left tentative"));
            }
            if key.is_live()
                && let Some(other) = live.insert(key.inside_port(), (line, slot))
            {
                let port = key.inside_port();
                found.push(format!("{what}: slot {slot} and {other:?} both map {port}"));
            }
            let place = Place::new(self.secret, self.protocol, key.inside_port());
            let mut bucket = place.bucket(self.shift);
            let detour = Detour::new(place.tag(), slot);
            let is_away = bucket != slot / SLOTS_PER_BUCKET;
            let has_detour = self.detours(bucket).contains(&detour);
            if key.is_astray() && !is_away {
                found.push(format!("{what}: slot {slot} is said to be astray, at home"));
            }
            if is_away && !key.is_astray() && !has_detour {
                found.push(format!("{what}: nothing leads to slot {slot}"));
            }
            gone[bucket as usize] += u64::from(key.is_astray());
            while key.is_astray() && bucket != slot / SLOTS_PER_BUCKET {
                spilled[bucket as usize] += 1;
                bucket = (bucket + place.stride()) % buckets(self.shift);
            }
        }
        let stated = self.memory.room(line).expect("a slab").used();
        if stated.of(self.protocol) != used || stated.is_closed() {
            found.push(format!("{what}: {used} in use, {stated:?} stated"));
        }
        let first = self.memory.parts.keys(line, self.protocol);
        for (bucket, counted) in (0..).zip(spilled.into_iter().zip(gone)) {
            let line = self.memory.slabs.get(first + bucket).expect("a bucket");
            let word = line.at(0).load();
            let stated = (astray::overflow(word), astray::astray(word));
            if stated != counted {
                found.push(format!(
                    "{what}: bucket {bucket}: (passed, astray) are {counted:?}, stated {stated:?}"
                ));
            }
        }
    }
}
