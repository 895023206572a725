//! Address ranges and sets against a plain set of numbers.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use proptest::collection::vec;
use proptest::prelude::*;

use super::super::{AddressSpan, Config, Ipv4Prefix, Ipv4Range, Ipv4Set};
use super::BASE;

fn range(first: u32, last: u32) -> Ipv4Range {
    Ipv4Range::new(first.into(), last.into()).expect("first <= last")
}

/// Small ranges near `base`, so that they often overlap or touch.
fn ranges_near(base: u32) -> impl Strategy<Value = Vec<Ipv4Range>> {
    let one = (0..60u32, 0..12u32).prop_map(move |(start, length)| {
        let first = base.saturating_add(start);
        range(first, first.saturating_add(length))
    });
    vec(one, 0..12)
}

/// Ranges at both ends of the address space and in its middle.
fn any_ranges() -> impl Strategy<Value = Vec<Ipv4Range>> {
    prop_oneof![
        ranges_near(0),
        ranges_near(u32::MAX - 64),
        ranges_near(0xc000_0200)
    ]
}

fn model(ranges: &[Ipv4Range]) -> BTreeSet<u32> {
    let numbers = |range: &Ipv4Range| range.first().to_bits()..=range.last().to_bits();
    ranges.iter().flat_map(numbers).collect()
}

proptest! {
    #[test]
    fn a_set_is_the_union_of_its_ranges(ranges in any_ranges()) {
        let set: Ipv4Set = ranges.iter().copied().collect();
        let model = model(&ranges);
        prop_assert_eq!(set.address_count(), model.len() as u64);
        prop_assert_eq!(set.is_empty(), model.is_empty());
        for pair in set.ranges().windows(2) {
            // A gap of one address at least: sorted, not overlapping, not adjacent.
            prop_assert!(u64::from(pair[0].last().to_bits()) + 1 < pair[1].first().to_bits().into());
        }
        for (position, address) in model.iter().enumerate() {
            let address = Ipv4Addr::from(*address);
            prop_assert!(set.contains(address));
            prop_assert_eq!(set.position(address), Some(position as u64));
            prop_assert_eq!(set.address_at(position as u64), Some(address));
        }
        prop_assert_eq!(set.address_at(model.len() as u64), None);
        prop_assert_eq!(set.address_at(u64::MAX), None);
    }

    #[test]
    fn addresses_beside_a_set_are_not_in_it(ranges in any_ranges()) {
        let set: Ipv4Set = ranges.iter().copied().collect();
        let model = model(&ranges);
        for address in &model {
            for beside in [address.wrapping_sub(1), address.wrapping_add(1)] {
                prop_assert_eq!(set.contains(beside.into()), model.contains(&beside));
            }
        }
    }

    #[test]
    fn a_set_does_not_depend_on_order(ranges in any_ranges(), turn in 0..12usize) {
        let mut turned = ranges.clone();
        turned.rotate_left(turn.min(ranges.len()));
        turned.reverse();
        prop_assert_eq!(
            turned.into_iter().collect::<Ipv4Set>(),
            ranges.into_iter().collect::<Ipv4Set>()
        );
    }

    #[test]
    fn ranges_overlap_when_they_share_an_address(ranges in any_ranges()) {
        for a in &ranges {
            for b in &ranges {
                let shared = model(&[*a]).intersection(&model(&[*b])).count() > 0;
                prop_assert_eq!(a.overlaps(b), shared);
            }
        }
    }

    #[test]
    fn only_a_network_address_is_a_prefix(address: u32, length in 8..=32u8) {
        let hosts = (1u64 << (32 - length)) - 1;
        let network = u32::try_from(u64::from(address) & !hosts).expect("32 bits");
        let prefix = Ipv4Prefix::new(network.into(), length).expect("no host bits");
        prop_assert_eq!(prefix.range().address_count(), hosts + 1);
        prop_assert!(prefix.range().contains(address.into()));
        prop_assert_eq!(prefix.to_string().parse(), Ok(prefix));
        prop_assert_eq!(Ipv4Prefix::new(address.into(), length).is_ok(), address == network);
    }

    #[test]
    fn a_span_reads_back_as_it_was_written(a: u32, length in 0..1u32 << 24, form in 0..3u8) {
        let (first, last) = (Ipv4Addr::from(a), Ipv4Addr::from(a.saturating_add(length)));
        let text = match form {
            0 => first.to_string(),
            1 => format!("{first}-{last}"),
            _ => format!("{first}/32"),
        };
        let span: AddressSpan = text.parse().expect("valid");
        prop_assert_eq!(span.to_string(), text);
        prop_assert_eq!(span.range().first(), first);
        prop_assert_eq!(span.range().last(), if form == 1 { last } else { first });
    }

    /// The one-pass search for overlaps against a comparison of every pair.
    #[test]
    fn overlaps_are_found_exactly(
        pools in vec(ranges_near(0xc633_6400), 2),
        prefixes in vec((0..96u32, 26..=32u8), 0..8),
    ) {
        let mut config = Config::parse(BASE).expect("valid").config;
        let prefixes: Vec<Ipv4Prefix> = prefixes
            .into_iter()
            .filter_map(|(at, length)| Ipv4Prefix::new((0xc633_6400 + at).into(), length).ok())
            .collect();
        let mut claims = Vec::new();
        for (index, pool) in pools.iter().enumerate() {
            config.pool[index].addresses = pool.iter().map(|range| AddressSpan::Range(*range)).collect();
            let path = |at| format!("pool[{index}].addresses[{at}]");
            claims.extend(pool.iter().enumerate().map(|(at, range)| (path(at), *range)));
        }
        let path = |at| format!("subscribers[0].prefixes[{at}]");
        claims.extend(prefixes.iter().enumerate().map(|(at, prefix)| (path(at), prefix.range())));
        config.subscribers[0].prefixes = prefixes;

        let mut expected = BTreeSet::new();
        for (a, (path, range)) in claims.iter().enumerate() {
            let others = claims.iter().enumerate().filter(|(b, _)| *b != a);
            if others.into_iter().any(|(_, (_, other))| other.overlaps(range)) {
                expected.insert(path.clone());
            }
        }
        let mut found = BTreeSet::new();
        if let Err(errors) = config.check() {
            for problem in errors.problems() {
                if let super::super::Fault::Overlap { other, .. } = &problem.fault {
                    found.insert(problem.path.as_str().to_owned());
                    found.insert(other.as_str().to_owned());
                }
            }
        }
        prop_assert_eq!(found, expected);
    }
}

#[test]
fn the_whole_address_space_is_one_set() {
    let all: Ipv4Set = [range(0, u32::MAX), range(5, 9)].into_iter().collect();
    assert_eq!(all.address_count(), 1 << 32);
    assert_eq!(all.ranges(), [range(0, u32::MAX)]);
    assert_eq!(all.address_at((1 << 32) - 1), Some(Ipv4Addr::BROADCAST));
    assert_eq!(all.address_at(1 << 32), None);
    assert_eq!(Ipv4Range::new(2.into(), 1.into()), None);
}
