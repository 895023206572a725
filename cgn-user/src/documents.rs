//! What the documents for operators say is compared with the program.

use std::collections::BTreeSet;

use cgn_common::layout::Subscriber;
use cgn_common::verdict::{Effect, Reason};

use crate::config::Config;
use crate::metrics::TABLE;

const TROUBLESHOOTING: &str = include_str!("../../docs/operate/troubleshooting.md");
const SIZING: &str = include_str!("../../docs/operate/sizing.md");
const METRICS: &str = include_str!("../../docs/operate/metrics.md");

#[test]
fn every_reason_has_its_line_under_what_it_does() {
    let part = |headline: &str| TROUBLESHOOTING.split(headline).nth(1).unwrap();
    for (effect, headline) in [
        (Effect::Drop, "## Dropped"),
        (Effect::Punt, "## Punted"),
        (Effect::Pass, "## Passed"),
    ] {
        let lines = part(headline).split("\n## ").next().unwrap().lines();
        let rows = lines.filter_map(|line| line.strip_prefix("| `"));
        let told: BTreeSet<&str> = rows.filter_map(|row| row.split('`').next()).collect();
        let all = Reason::ALL
            .iter()
            .filter(|reason| reason.effect() == effect);
        let known: BTreeSet<&str> = all.map(|reason| reason.name()).collect();
        assert_eq!(
            told, known,
            "docs/operate/troubleshooting.md, {headline}: the reasons of cgn-common/src/verdict.rs"
        );
    }
}

#[test]
fn metrics_in_the_table_of_the_mib_are_there() {
    let words = METRICS.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let asked: BTreeSet<&str> = words.filter(|word| word.starts_with("cgn_")).collect();
    assert!(asked.len() > 10);
    for name in asked {
        assert!(TABLE.iter().any(|metric| metric.name == name), "{name}");
    }
}

#[test]
fn the_sizes_are_those_that_the_program_works_out() {
    let number = |cell: &str| cell.replace(',', "").parse::<u64>().unwrap();
    let memory = SIZING.split("\n## ").next().unwrap();
    let rows = memory.lines().filter(|line| {
        line.strip_prefix("| ")
            .is_some_and(|row| row.starts_with(|c: char| c.is_ascii_digit()))
    });
    let mut count = 0;
    for row in rows {
        count += 1;
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [subscribers, addresses, each, ports, blocks, most, memory] = cells[..] else {
            panic!("{row}");
        };
        let last = u32::from(std::net::Ipv4Addr::new(198, 18, 0, 0)) + number(addresses) as u32 - 1;
        let toml = format!(
            "[inside]\ninterface = \"a\"\n[outside]\ninterface = \"b\"\n[[pool]]\nname = \"p\"\n\
             addresses = [\"198.18.0.0-{}\"]\nblock_ports = {ports}\nblocks_per_subscriber = {blocks}\n\
             max_blocks = {}\n[[subscribers]]\nprefixes = [\"100.64.0.0/10\"]\npool = \"p\"\n",
            std::net::Ipv4Addr::from(last),
            number(most)
        );
        let config = Config::parse(&toml).unwrap_or_else(|error| panic!("{row}: {error}"));
        let pool = &config.config.pool[0];
        let bytes = pool.slot_bytes() + size_of::<Subscriber>() as u64 * number(subscribers);
        assert!(
            pool.total_blocks() >= number(most),
            "{row}: no room for max_blocks"
        );
        assert!(
            number(subscribers) <= number(addresses) * number(each),
            "{row}"
        );
        let (value, unit) = match bytes {
            0..1_000_000_000 => (bytes as f64 / 1e6, "MB"),
            _ => (bytes as f64 / 1e9, "GB"),
        };
        assert_eq!(memory, format!("{value:.1} {unit}"), "{row}");
    }
    assert!(count >= 4, "{count} rows");
}
