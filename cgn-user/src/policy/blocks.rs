//! When a subscriber gets a further block, and when one is taken back.

/// Ports in use in one block, by protocol.
pub type PortsUsed = [u32; 3];

/// True if the subscriber should get its next block now: for some protocol,
/// all its blocks together are filled to the watermark. One block may be
/// fuller than the others by chance.
#[must_use]
pub fn wants_next(blocks: &[PortsUsed], watermark_ports: u32) -> bool {
    let wanted = watermark_ports * blocks.len() as u32;
    (0..3).any(|protocol| blocks.iter().map(|used| used[protocol]).sum::<u32>() >= wanted)
}

/// True if the block numbered `empty` may be taken back: the others alone would
/// not ask for it again at once.
#[must_use]
pub fn may_take(blocks: &[PortsUsed], empty: usize, watermark_ports: u32) -> bool {
    let others: Vec<PortsUsed> = blocks
        .iter()
        .enumerate()
        .filter(|(at, _)| *at != empty)
        .map(|(_, used)| *used)
        .collect();
    blocks.get(empty) == Some(&[0; 3])
        && (others.is_empty() || !wants_next(&others, watermark_ports))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_block_is_wanted_when_all_together_are_filled_to_the_watermark() {
        let cases: &[(&[PortsUsed], bool, &str)] = &[
            (&[[0, 0, 0]], false, "an empty block"),
            (&[[79, 79, 79]], false, "just below, in each protocol"),
            (&[[0, 80, 0]], true, "one protocol is enough"),
            (
                &[[0, 100, 0], [0, 59, 0]],
                false,
                "one full block, much room in the other",
            ),
            (
                &[[0, 100, 0], [0, 60, 0]],
                true,
                "both together at the watermark",
            ),
        ];
        for (blocks, expected, what) in cases {
            assert_eq!(wants_next(blocks, 80), *expected, "{what}");
        }
    }

    #[test]
    fn an_empty_block_is_taken_back_unless_the_others_would_ask_for_it_again() {
        let cases: &[(&[PortsUsed], usize, bool, &str)] = &[
            (&[[0, 0, 0]], 0, true, "the only block, empty"),
            (&[[0, 0, 1]], 0, false, "a mapping is left"),
            (
                &[[90, 0, 0], [0, 0, 0]],
                1,
                false,
                "the first is above the watermark",
            ),
            (&[[70, 0, 0], [0, 0, 0]], 1, true, "the first has room"),
            (
                &[[0, 0, 0], [70, 0, 0]],
                0,
                true,
                "the older one is the empty one",
            ),
            (&[[0, 0, 0]], 1, false, "there is no such block"),
        ];
        for (blocks, empty, expected, what) in cases {
            assert_eq!(may_take(blocks, *empty, 80), *expected, "{what}");
        }
    }
}
