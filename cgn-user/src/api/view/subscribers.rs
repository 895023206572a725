//! Subscribers that have a block, or were refused one.

use std::net::Ipv4Addr;

use cgn_common::layout::{OwnedBlock, Refused, SubscriberHead, refusal_of};
use cgn_common::limits::MAX_BLOCKS_PER_SUBSCRIBER;
use cgn_common::limits::TICK_SHIFT;
use cgn_common::verdict::Reason;

use super::blocks::ports_used;
use super::{Part, Selection, TRIES, View};
use crate::api::rows::{Page, RefusalRow, SubscriberRow};
use crate::realms::InsideKey;

/// A subscriber's line, as it was at one moment.
type Line = (SubscriberHead, [OwnedBlock; MAX_BLOCKS_PER_SUBSCRIBER]);

impl<'a> View<'a> {
    /// The selected subscribers, by realm and address. The cursor counts addresses of
    /// the configuration's prefixes. `now` in ticks, of the data plane's clock.
    #[must_use]
    pub fn subscribers(self, selection: Selection, part: Part, now: u32) -> Page<SubscriberRow> {
        let mut rows = Vec::new();
        for (position, inside) in self.keys(selection.subscriber, part.cursor) {
            let Some(row) = self.subscriber_row(inside, selection, now) else {
                continue;
            };
            if rows.len() == part.limit {
                return Page {
                    rows,
                    next_cursor: Some(position),
                };
            }
            rows.push(row);
        }
        Page {
            rows,
            next_cursor: None,
        }
    }

    /// Inside keys with their positions, from `cursor` on.
    pub(super) fn keys(
        self,
        only: Option<InsideKey>,
        cursor: u64,
    ) -> impl Iterator<Item = (u64, InsideKey)> + 'a {
        let mut before = 0;
        self.geometry.subscribers.iter().flat_map(move |range| {
            let (first, last) = (range.first.to_bits(), range.last.to_bits());
            let base = before;
            before += u64::from(last - first) + 1;
            // A cursor beyond the range leaves nothing of it.
            let skipped = u32::try_from(cursor.saturating_sub(base)).ok();
            let from = skipped.and_then(|skipped| first.checked_add(skipped));
            let only = only.map_or(0..=u32::MAX, |only| only.to_bits()..=only.to_bits());
            let wanted = from.map(|from| from.max(*only.start())..=last.min(*only.end()));
            wanted.into_iter().flatten().map(move |key| {
                let position = base + u64::from(key - first);
                (position, InsideKey::from_bits(key))
            })
        })
    }

    pub(super) fn subscriber_row(
        self,
        inside: InsideKey,
        selection: Selection,
        now: u32,
    ) -> Option<SubscriberRow> {
        let index = self.geometry.subscriber_index(inside)?;
        let refusals = self.refusals(index, now);
        for _ in 0..TRIES {
            let (head, blocks) = self.line(index)?;
            let count = (head.block_count() as usize).min(MAX_BLOCKS_PER_SUBSCRIBER);
            let refused = head.has(SubscriberHead::REFUSED);
            let external = (count > 0).then(|| Ipv4Addr::from_bits(head.external()));
            if (count == 0 && !refused && refusals.is_empty())
                || selection
                    .pool
                    .is_some_and(|pool| pool != u16::from(head.pool()))
                || selection
                    .realm
                    .is_some_and(|realm| realm != self.geometry.realms.who(inside).number)
                || selection
                    .external
                    .is_some_and(|wanted| external != Some(wanted))
            {
                return None;
            }
            let mut used = [0; 3];
            for block in &blocks[..count] {
                let ports = ports_used(self.memory.room(block.slab_line())?.used());
                used.iter_mut()
                    .zip(ports)
                    .for_each(|(sum, ports)| *sum += ports);
            }
            if self.line(index)? == (head, blocks) {
                let who = self.geometry.realms.who(inside);
                return Some(SubscriberRow {
                    inside: who.address,
                    realm: who.realm.to_owned(),
                    external,
                    pool: self.pool_name(head.pool()),
                    next_pool: self
                        .geometry
                        .pool_of(inside)
                        .filter(|pool| *pool != u16::from(head.pool()))
                        .map(|pool| self.pool_name(pool as u8)),
                    blocks: count as u32,
                    ports_used: used.into(),
                    ports_usable: (count as u64) << head.block_shift(),
                    refused,
                    group: self.group_name(inside),
                    refusals,
                });
            }
        }
        None
    }

    /// Of the subscriber with this index, as it is at the moment.
    fn line(self, index: u32) -> Option<Line> {
        let head = SubscriberHead(self.memory.subscribers.get(index)?.head.load());
        let mut blocks = [OwnedBlock(0); MAX_BLOCKS_PER_SUBSCRIBER];
        for (copy, word) in blocks.iter_mut().zip(self.memory.owned_blocks(index)) {
            *copy = OwnedBlock(word.load());
        }
        Some((head, blocks))
    }
}

impl View<'_> {
    fn group_name(self, inside: InsideKey) -> Option<String> {
        let groups = &self.geometry.groups;
        let number = groups.number_of(inside)?;
        Some(groups.all()[number].name.clone())
    }

    /// What was refused to a subscriber, in the order of the reasons' numbers.
    fn refusals(self, subscriber: u32, now: u32) -> Vec<RefusalRow> {
        let Some(quota) = self.memory.quotas.get(subscriber) else {
            return Vec::new();
        };
        let secs = |tick: u32| {
            let ticks = (now.wrapping_sub(tick) as i32).max(0);
            ((ticks as u64) << TICK_SHIFT) / 1_000_000_000
        };
        let reasons = Reason::ALL.iter().filter_map(|reason| {
            let seen = Refused(quota.refused[refusal_of(*reason)?].load());
            (seen.0 != 0).then(|| RefusalRow {
                reason: reason.name().to_owned(),
                last_secs: secs(seen.last()),
                since_secs: secs(seen.since()),
            })
        });
        reasons.collect()
    }
}
