//! Damaged and random files: never a panic, never an error without words, never a broken line.

use proptest::collection::vec;
use proptest::prelude::*;

use super::super::{AddressSpan, Config, Ipv4Range, Problem};
use super::BASE;

/// What may replace a piece of a file.
const SCRAPS: [&str; 16] = [
    "",
    "\n",
    "\"",
    "[",
    "]",
    "[[",
    "=",
    "0",
    "-1",
    "{}",
    "\\u0007",
    "'\\'",
    "/0",
    "é\u{1b}[2J",
    "99999999999999999999999",
    "[[pool]]\n",
];

fn check_lines(text: &str, problems: &[Problem]) {
    let lines = text.matches('\n').count() + 1;
    for problem in problems {
        let said = problem.in_file("f").to_string();
        assert!(!said.contains(char::is_control), "{said:?}");
        assert!(
            said.len() > "f: ".len() + problem.path.as_str().len(),
            "{said}"
        );
        assert!(
            problem.line.is_none_or(|line| (1..=lines).contains(&line)),
            "{said}"
        );
    }
}

fn check_answer(text: &str) {
    match Config::parse(text) {
        Ok(checked) => {
            check_lines(text, &checked.warnings);
            // What was accepted must be acceptable as a configuration without a file, too.
            assert!(checked.config.check().is_ok(), "{text}");
        }
        Err(errors) => {
            assert!(!errors.problems().is_empty());
            check_lines(text, errors.problems());
        }
    }
}

/// The nearest place at or before `at` where `text` can be cut.
fn cut(text: &str, at: usize) -> usize {
    (0..=at.min(text.len()))
        .rev()
        .find(|at| text.is_char_boundary(*at))
        .unwrap_or(0)
}

proptest! {
    #[test]
    fn damaged_files_get_an_answer(
        whole in prop::sample::select(vec![BASE, Config::SAMPLE]),
        damages in vec((any::<prop::sample::Index>(), 0..12usize, prop::sample::select(SCRAPS.to_vec())), 1..4),
    ) {
        let mut text = whole.to_owned();
        for (at, length, scrap) in damages {
            let at = at.index(text.len() + 1);
            let (start, end) = (cut(&text, at), cut(&text, at + length));
            text.replace_range(start..end, scrap);
        }
        check_answer(&text);
    }

    #[test]
    fn lines_in_any_order_get_an_answer(
        order in vec(any::<prop::sample::Index>(), 0..40),
    ) {
        let lines: Vec<&str> = BASE.lines().collect();
        let text: Vec<&str> = order.iter().map(|at| *at.get(&lines)).collect();
        check_answer(&text.join("\n"));
    }

    #[test]
    fn random_text_gets_an_answer(text in "\\PC{0,60}") {
        check_answer(&text);
    }

    /// Whatever is valid survives being written and read.
    #[test]
    fn valid_configurations_read_back(
        block_ports in prop::sample::select(vec![64u16, 512, 1024]),
        pools in vec((any::<u8>(), 0..40u8), 1..5),
        max_blocks in prop::option::of(1..15u32),
        secs in 7440..604_801u32,
        vlan in vec(1..4095u16, 0..3),
    ) {
        let mut config = Config::parse(BASE).expect("valid").config;
        config.inside.vlan = vlan;
        config.timeouts.udp_secs = secs;
        config.timeouts.tcp_established_secs = secs;
        config.hold.port_secs = secs;
        config.pool[0].block_ports = block_ports;
        config.pool[0].max_blocks = max_blocks;
        config.pool[0].addresses = pools
            .iter()
            .enumerate()
            .filter_map(|(third, (first, length))| {
                let third = u8::try_from(third).ok()?;
                let last = first.saturating_add(*length);
                Ipv4Range::new([203, 0, third, *first].into(), [203, 0, third, last].into())
            })
            .map(AddressSpan::Range)
            .collect();
        let text = toml::to_string(&config).expect("serializes");
        let read = Config::parse(&text).map(|checked| checked.config);
        prop_assert_eq!(read, Ok(config));
    }
}
