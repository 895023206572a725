//! `cargo xtask rfc`: the table of RFC rows and the tests that prove them, `docs/rfc.md`.
//!
//! The rows and most of the tests are in `tests/tests/conformance`, whose program prints the table.
//! Here it is compared with the committed one, and with the tests that there are; `cargo xtask test`
//! looks whether those that it names have passed.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use crate::programs::{self, BuildSupport};
use crate::step::{self, note, step};
use crate::workspace;

/// The table, from the top folder.
const DOCUMENT: &str = "docs/rfc.md";

#[derive(clap::Args)]
pub struct Args {
    /// Change nothing; fail if the table is stale or names a test that does not exist
    #[arg(long)]
    check: bool,
}

pub fn run(args: &Args) -> Result<()> {
    ensure!(
        programs::ensure_build()? == BuildSupport::Complete,
        "the test package cannot be compiled here, and it has the rows"
    );
    if args.check {
        return check();
    }
    step("conformance tests", || step::run(&mut conformance(&[])))?;
    let table = table()?;
    let path = workspace::root().join(DOCUMENT);
    fs::write(&path, &table).with_context(|| format!("cannot write {}", path.display()))?;
    note(format_args!("wrote {DOCUMENT}"));
    every_test_exists(&table)
}

/// Compares the committed table with the rows, and its tests with those that there are.
pub fn check() -> Result<()> {
    step("RFC table", || {
        let table = table()?;
        let committed = committed()?;
        if let Some(line) = first_difference(&committed, &table) {
            bail!("{DOCUMENT} is stale at line {line}; remedy: cargo xtask rfc");
        }
        every_test_exists(&table)
    })
}

/// Rows that are said to be met, and are not proven by this run.
pub struct Unproven {
    /// A sentence for each test that did not pass.
    pub failures: Vec<String>,
    /// Rows one of whose tests skipped itself.
    pub skipped: Vec<String>,
}

/// Looks for the tests of each row among those that passed (`target::path::test`) and those that
/// skipped themselves (without the target), which the harness counts as passed.
pub fn unproven(passed: &BTreeSet<String>, skipped: &BTreeSet<String>) -> Result<Unproven> {
    let table = committed()?;
    let mut unproven = Unproven {
        failures: Vec::new(),
        skipped: Vec::new(),
    };
    for row in table.lines().filter_map(MetRow::read) {
        for test in &row.tests {
            let name = test.split_once("::").map_or(*test, |(_, name)| name);
            if !passed.contains(*test) {
                let sentence = format!(
                    "{DOCUMENT} says that {} is met; {test} did not pass",
                    row.id
                );
                unproven.failures.push(sentence);
            } else if skipped.contains(name) {
                unproven.skipped.push(row.id.to_owned());
            }
        }
    }
    Ok(unproven)
}

/// A line of the table that says `met`.
#[derive(Debug, PartialEq, Eq)]
struct MetRow<'a> {
    id: &'a str,
    tests: Vec<&'a str>,
}

impl<'a> MetRow<'a> {
    fn read(line: &'a str) -> Option<Self> {
        let mut cells = line.split(" | ");
        let id = cells.next()?.strip_prefix("| ")?;
        if cells.next()? != "met" {
            return None;
        }
        let tests = tests_of(cells.nth(1)?);
        Some(Self { id, tests })
    }
}

/// Names between backticks that are tests': of the last cell of a line.
fn tests_of(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

fn committed() -> Result<String> {
    let path = workspace::root().join(DOCUMENT);
    fs::read_to_string(&path)
        .with_context(|| format!("cannot read {}; remedy: cargo xtask rfc", path.display()))
}

fn first_difference(a: &str, b: &str) -> Option<usize> {
    if a == b {
        return None;
    }
    let same = a.lines().zip(b.lines()).take_while(|(a, b)| a == b).count();
    Some(same + 1)
}

fn conformance(arguments: &[&str]) -> Command {
    let mut command = workspace::cargo_test();
    command
        .args(["--quiet", "--test", "conformance", "--"])
        .args(arguments);
    command
}

fn table() -> Result<String> {
    step::capture(&mut conformance(&["--table"]))
}

fn every_test_exists(table: &str) -> Result<()> {
    let there = all_tests()?;
    let missing: BTreeSet<&str> = table
        .lines()
        .filter(|line| line.starts_with("| "))
        .filter_map(|line| line.rsplit(" | ").next())
        .flat_map(tests_of)
        .filter(|name| !there.contains(*name))
        .collect();
    ensure!(
        missing.is_empty(),
        "{DOCUMENT} names tests that do not exist: {}; remedy: their right names in tests/tests/conformance/rows",
        missing.into_iter().collect::<Vec<_>>().join(", ")
    );
    Ok(())
}

/// Names of all tests of the workspace, as `target::path::test`.
fn all_tests() -> Result<BTreeSet<String>> {
    let mut command = workspace::cargo_test();
    command.args(["--no-run", "--message-format=json"]);
    let messages = step::capture(&mut command)?;
    let mut names = BTreeSet::new();
    for (target, program) in messages.lines().filter_map(test_program) {
        let list = step::capture(Command::new(&program).args(["--list", "--format", "terse"]))?;
        let tests = list.lines().filter_map(|line| line.strip_suffix(": test"));
        names.extend(tests.map(|test| format!("{target}::{}", test.trim())));
    }
    Ok(names)
}

/// Name and path of a test program that cargo tells to have built.
fn test_program(message: &str) -> Option<(String, PathBuf)> {
    let message: Value = serde_json::from_str(message).ok()?;
    let is_test = message["profile"]["test"].as_bool()?;
    let target = message["target"]["name"].as_str()?;
    let program = message["executable"].as_str()?;
    is_test.then(|| (target.replace('-', "_"), program.into()))
}

#[cfg(test)]
mod tests {
    use super::{MetRow, first_difference, test_program};

    #[test]
    fn met_rows_are_read_and_others_are_not() {
        let met = MetRow {
            id: "R1-2",
            tests: vec!["a::b", "c::d"],
        };
        let cases = [
            (
                "a met row",
                "| R1-2 | met | what | `a::b`, `c::d` |",
                Some(met),
            ),
            (
                "a refused one, with a test",
                "| R1-3 | refused | what: why | `a::b` |",
                None,
            ),
            (
                "one that is not met",
                "| R1-4 | not met | what: why |  |",
                None,
            ),
            (
                "the headline",
                "| id | met / refused / not met | reason | test |",
                None,
            ),
            ("text", "R1-2 is met", None),
        ];
        for (sentence, line, wanted) in cases {
            assert_eq!(MetRow::read(line), wanted, "{sentence}");
        }
    }

    #[test]
    fn the_first_different_line_is_told() {
        assert_eq!(first_difference("a\nb\n", "a\nb\n"), None);
        assert_eq!(first_difference("a\nb\n", "a\nc\n"), Some(2));
        assert_eq!(first_difference("a\n", "a\nb\n"), Some(2));
    }

    #[test]
    fn programs_are_read_from_cargos_messages() {
        let program = r#"{"reason":"compiler-artifact","target":{"name":"cgn-user"},"profile":{"test":true},"executable":"/t/x-1"}"#;
        assert_eq!(
            test_program(program),
            Some(("cgn_user".to_owned(), "/t/x-1".into()))
        );
        assert_eq!(test_program(&program.replace("true", "false")), None);
        assert_eq!(test_program(r#"{"reason":"build-finished"}"#), None);
    }
}
