//! What the configuration accepts, refuses and computes.

mod address;
mod behaviour;
mod deterministic;
mod hostile;
mod identity;
mod logged;
mod mirrors;
mod pools_of_groups;
mod realms;
mod refused_addresses;
mod refused_text;
mod refused_values;
mod reports;
mod sample;
mod scatter;
mod warned;

use super::{Config, ConfigErrors};

/// A valid file without warnings; the line numbers in the tables count from its first line.
const BASE: &str = r#"[inside]
interface = "eth0"
vlan = []
[outside]
interface = "eth1"
vlan = []
[[pool]]
name = "residential"
addresses = ["203.0.113.0/28", "198.51.100.7"]
block_ports = 512
[[pool]]
name = "business"
addresses = ["198.51.100.64-198.51.100.70"]
[[subscribers]]
prefixes = ["100.64.0.0/24"]
pool = "residential"
[[subscribers]]
prefixes = ["100.65.0.0/24"]
pool = "business"
"#;

/// `BASE` with `from`, which must stand there, replaced once by `to`.
fn base_with(from: &str, to: &str) -> String {
    assert!(BASE.contains(from), "the base file has no {from:?}");
    BASE.replacen(from, to, 1)
}

/// `BASE` with sections added at its end: from line 20 on.
fn base_and(more: &str) -> String {
    format!("{BASE}{more}")
}

fn errors_of(text: &str) -> ConfigErrors {
    match Config::parse(text) {
        Ok(checked) => panic!("was accepted: {:?}\n{text}", checked.config),
        Err(errors) => errors,
    }
}

/// A line (0: none), the path of a key and parts of the message.
type Expected<'a> = (usize, &'a str, &'a [&'a str]);

/// Checks that `text` gives exactly the expected errors, in this order.
fn expect(sentence: &str, text: &str, expected: &[Expected<'_>]) {
    let errors = errors_of(text);
    let problems = errors.problems();
    assert_eq!(problems.len(), expected.len(), "{sentence}:\n{errors}");
    for (problem, (line, path, fragments)) in problems.iter().zip(expected) {
        let said = problem.to_string();
        assert_eq!(problem.line.unwrap_or(0), *line, "{sentence}: {said}");
        assert_eq!(problem.path.as_str(), *path, "{sentence}: {said}");
        for fragment in *fragments {
            assert!(
                said.contains(fragment),
                "{sentence}: no {fragment:?} in {said}"
            );
        }
    }
}
