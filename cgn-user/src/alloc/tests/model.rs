//! Random operations against a reference that is too simple to be wrong.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::super::*;
use super::FIRST;

const HOLD_MS: u64 = 50;
const QUARANTINE_MS: u64 = 10;
const SUBSCRIBERS: u32 = 6;

#[derive(Debug, Clone, Copy, PartialEq)]
enum State {
    Free,
    Owned { subscriber: u32, slab: u32 },
    Held { until_ms: u64 },
}

#[derive(Debug, Clone)]
enum Operation {
    Allocate {
        subscriber: u32,
    },
    Withdraw {
        subscriber: u32,
    },
    Release {
        which: prop::sample::Index,
    },
    ReleaseAny {
        subscriber: u32,
        block: u16,
    },
    Adopt {
        subscriber: u32,
        address: u32,
        block: u16,
        slab: u32,
    },
    Hold {
        address: u32,
        block: u16,
        for_ms: u64,
    },
    Pass {
        ms: u64,
    },
}

fn operation() -> impl Strategy<Value = Operation> {
    let (subscriber, address, block) = (0..SUBSCRIBERS, 0..4_u32, 0..5_u16);
    prop_oneof![
        6 => subscriber.clone().prop_map(|subscriber| Operation::Allocate { subscriber }),
        1 => subscriber.clone().prop_map(|subscriber| Operation::Withdraw { subscriber }),
        4 => any::<prop::sample::Index>().prop_map(|which| Operation::Release { which }),
        1 => (subscriber.clone(), block.clone())
            .prop_map(|(subscriber, block)| Operation::ReleaseAny { subscriber, block }),
        1 => (subscriber, address.clone(), block.clone(), 0..9_u32).prop_map(
            |(subscriber, address, block, slab)| Operation::Adopt { subscriber, address, block, slab }
        ),
        1 => (address, block, 0..80_u64)
            .prop_map(|(address, block, for_ms)| Operation::Hold { address, block, for_ms }),
        3 => (0..40_u64).prop_map(|ms| Operation::Pass { ms }),
    ]
}

/// Every block with its state; every slab with the time from when it is free.
struct Reference {
    spec: PoolSpec,
    now_ms: u64,
    blocks: BTreeMap<(u32, u16), State>,
    slab_free_at_ms: Vec<Option<u64>>,
}

impl Reference {
    fn new(spec: &PoolSpec) -> Self {
        let per_address = (USABLE_PORTS / spec.block_ports) as u16;
        let addresses = spec
            .addresses
            .iter()
            .flat_map(|&(first, last)| first..=last);
        let keys =
            addresses.flat_map(|address| (0..per_address).map(move |block| (address, block)));
        Self {
            spec: spec.clone(),
            now_ms: 0,
            blocks: keys.map(|key| (key, State::Free)).collect(),
            slab_free_at_ms: vec![Some(0); spec.max_blocks as usize],
        }
    }

    fn is_free(&self, key: (u32, u16)) -> bool {
        match self.blocks.get(&key) {
            Some(State::Free) => true,
            Some(&State::Held { until_ms }) => until_ms <= self.now_ms,
            _ => false,
        }
    }

    fn slab_is_free(&self, slab: u32) -> bool {
        let at = self.slab_free_at_ms.get(slab as usize).copied().flatten();
        at.is_some_and(|at| at <= self.now_ms)
    }

    fn owned(&self) -> Vec<(u32, u16, u32, u32)> {
        let all = self
            .blocks
            .iter()
            .filter_map(|(&(external, block), state)| match *state {
                State::Owned { subscriber, slab } => Some((external, block, subscriber, slab)),
                _ => None,
            });
        all.collect()
    }

    fn owned_by(&self, subscriber: u32) -> Vec<(u32, u16, u32, u32)> {
        let mut all = self.owned();
        all.retain(|&(_, _, owner, _)| owner == subscriber);
        all
    }

    /// What `allocate` must say: a refusal, or None if it must find a block.
    fn refusal(&self, subscriber: u32) -> Option<Refusal> {
        let mine = self.owned_by(subscriber);
        let limit = self.spec.blocks_per_subscriber;
        if mine.len() >= limit as usize {
            return Some(Refusal::SubscriberLimit { limit });
        }
        let paired = mine.first().map(|one| one.0);
        let mut keys = self.blocks.keys();
        let has_free = keys.any(|&key| paired.is_none_or(|p| p == key.0) && self.is_free(key));
        match paired {
            Some(external) if !has_free => Some(Refusal::AddressExhausted {
                external: external.into(),
            }),
            None if !has_free => Some(Refusal::PoolExhausted),
            _ if (0..self.spec.max_blocks).any(|slab| self.slab_is_free(slab)) => None,
            _ => Some(Refusal::NoSlab {
                max_blocks: self.spec.max_blocks,
            }),
        }
    }

    fn may_adopt(&self, subscriber: u32, external: u32, block: u16, slab: u32) -> bool {
        // A hold that is due but not yet ended by `advance` still refuses.
        self.blocks.get(&(external, block)) == Some(&State::Free)
            && self.slab_is_free(slab)
            && self
                .owned_by(subscriber)
                .iter()
                .all(|one| one.0 == external)
    }

    fn end_due(&mut self) {
        for state in self.blocks.values_mut() {
            if matches!(*state, State::Held { until_ms } if until_ms <= self.now_ms) {
                *state = State::Free;
            }
        }
    }
}

struct Pair {
    real: Allocator<StdRng>,
    reference: Reference,
}

impl Pair {
    fn allocate(&mut self, subscriber: u32) -> Result<Option<Allocation>, TestCaseError> {
        let reference = &mut self.reference;
        let expected = reference.refusal(subscriber);
        let outcome = self.real.allocate(0, subscriber, reference.now_ms);
        prop_assert_eq!(outcome.err(), expected);
        let Ok(got) = outcome else { return Ok(None) };
        let key = (got.external, got.block);
        prop_assert!(reference.is_free(key), "{:?} was not free", got);
        prop_assert!(reference.slab_is_free(got.slab), "{:?}: slab in use", got);
        let mine = reference.owned_by(subscriber);
        prop_assert!(mine.iter().all(|one| one.0 == got.external), "paired");
        let ports = u32::from(got.block) * reference.spec.block_ports;
        prop_assert_eq!(u32::from(got.base_port), FIRST_PORT + ports);
        reference.blocks.insert(
            key,
            State::Owned {
                subscriber,
                slab: got.slab,
            },
        );
        reference.slab_free_at_ms[got.slab as usize] = None;
        Ok(Some(got))
    }

    fn release(&mut self, subscriber: u32, external: u32, block: u16) -> Result<(), TestCaseError> {
        let now_ms = self.reference.now_ms;
        let outcome = self.real.release(0, subscriber, external, block, now_ms);
        let state = self.reference.blocks.get_mut(&(external, block));
        match (state, outcome) {
            (Some(state), Ok(released)) => {
                let slab = released.slab;
                prop_assert_eq!(*state, State::Owned { subscriber, slab });
                prop_assert_eq!(released.free_at_ms, now_ms + HOLD_MS);
                *state = State::Held {
                    until_ms: now_ms + HOLD_MS,
                };
                self.reference.slab_free_at_ms[slab as usize] = Some(now_ms + QUARANTINE_MS);
            }
            (state, Err(_)) => {
                let is_owner = matches!(state, Some(State::Owned { subscriber: owner, .. }) if *owner == subscriber);
                prop_assert!(!is_owner, "the owner could not release");
            }
            (None, Ok(_)) => prop_assert!(false, "released a block that does not exist"),
        }
        Ok(())
    }

    fn apply(&mut self, operation: Operation) -> Result<(), TestCaseError> {
        match operation {
            Operation::Allocate { subscriber } => {
                self.allocate(subscriber)?;
            }
            Operation::Withdraw { subscriber } => {
                if let Some(got) = self.allocate(subscriber)? {
                    self.real.withdraw(0, subscriber, &got).unwrap();
                    self.reference
                        .blocks
                        .insert((got.external, got.block), State::Free);
                    self.reference.slab_free_at_ms[got.slab as usize] = Some(0);
                }
            }
            Operation::Release { which } => {
                let owned = self.reference.owned();
                if !owned.is_empty() {
                    let (external, block, subscriber, _) = *which.get(&owned);
                    self.release(subscriber, external, block)?;
                }
            }
            Operation::ReleaseAny { subscriber, block } => {
                self.release(subscriber, FIRST, block)?
            }
            Operation::Adopt {
                subscriber,
                address,
                block,
                slab,
            } => {
                self.pass(0);
                let external = FIRST + address;
                let expected = self.reference.may_adopt(subscriber, external, block, slab);
                let outcome = self.real.adopt(0, subscriber, external, block, slab);
                prop_assert_eq!(outcome.is_ok(), expected, "{:?}", outcome);
                if expected {
                    let state = State::Owned { subscriber, slab };
                    self.reference.blocks.insert((external, block), state);
                    self.reference.slab_free_at_ms[slab as usize] = None;
                }
            }
            Operation::Hold {
                address,
                block,
                for_ms,
            } => self.hold(FIRST + address, block, for_ms)?,
            Operation::Pass { ms } => self.pass(ms),
        }
        Ok(())
    }

    fn hold(&mut self, external: u32, block: u16, for_ms: u64) -> Result<(), TestCaseError> {
        let asked = self.reference.now_ms + for_ms;
        let outcome = self.real.hold_until(0, external, block, asked);
        match self.reference.blocks.get_mut(&(external, block)) {
            None | Some(State::Owned { .. }) => prop_assert!(outcome.is_err()),
            Some(state) => {
                prop_assert!(outcome.is_ok());
                let until_ms = match *state {
                    State::Held { until_ms } => until_ms.max(asked),
                    _ => asked,
                };
                *state = State::Held { until_ms };
            }
        }
        Ok(())
    }

    fn pass(&mut self, ms: u64) {
        self.reference.now_ms += ms;
        self.real.advance(self.reference.now_ms);
        self.reference.end_due();
    }

    /// Ownership, gauges and conservation agree after every step.
    fn check(&mut self) -> Result<(), TestCaseError> {
        let mut real: Vec<(u32, u16, u32, u32)> = Vec::new();
        for one in self.real.subscribers(0) {
            prop_assert!(!one.blocks.is_empty());
            prop_assert_eq!(self.real.blocks_of(0, one.subscriber), Some(one));
            let of_one = one.blocks.iter();
            real.extend(of_one.map(|b| (one.external, b.block, one.subscriber, b.slab)));
        }
        real.sort_unstable();
        let owned = self.reference.owned();
        prop_assert_eq!(&real, &owned);
        let status = self.real.status(0).unwrap();
        prop_assert_eq!(status.blocks_used, owned.len() as u64);
        let sum = status.blocks_used + status.blocks_held + status.blocks_free;
        prop_assert_eq!(sum, status.blocks_total);
        let slabs = u64::from(status.slabs_free + status.slabs_quarantined) + status.blocks_used;
        prop_assert_eq!(slabs, u64::from(status.slabs_total));
        let mut addresses: Vec<u32> = owned.iter().map(|one| one.0).collect();
        addresses.dedup();
        prop_assert_eq!(status.addresses_used as usize, addresses.len());
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]
    #[test]
    fn agrees_with_the_reference(
        seed in any::<u64>(),
        max_blocks in 1_u32..9,
        limit in 1_u32..4,
        operations in prop::collection::vec(operation(), 1..120),
    ) {
        // Three addresses (not adjacent) of four blocks: small enough to run out of everything.
        let spec = PoolSpec {
            scattered: false,
        static_blocks: 0,
            name: "model".into(),
            addresses: vec![(FIRST + 3, FIRST + 3), (FIRST, FIRST + 1)],
            block_ports: 16_000,
            blocks_per_subscriber: limit,
            reserved_blocks: BTreeSet::new(),
            max_blocks,
        };
        let policy = HoldPolicy {
            block_hold_ms: HOLD_MS,
            slab_quarantine_ms: QUARANTINE_MS,
            ..HoldPolicy::default()
        };
        let real = Allocator::new(std::slice::from_ref(&spec), policy, StdRng::seed_from_u64(seed)).unwrap();
        let mut pair = Pair { real, reference: Reference::new(&spec) };
        for operation in operations {
            pair.apply(operation)?;
            pair.check()?;
        }
        pair.pass(1_000);
        let status = pair.real.status(0).unwrap();
        prop_assert_eq!((status.blocks_held, status.slabs_quarantined), (0, 0));
    }
}
