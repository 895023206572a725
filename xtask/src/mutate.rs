//! `cargo xtask mutate`: would the tests notice? Each fault of the table is put into a copy of the last
//! commit, and the tests of the translator must fail.
//!
//! All faults are compiled in at once, each behind a question for its number, so that there is one
//! build and not one for each. The copy is a git worktree of its own: nothing here is ever changed.

mod faults;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};

use crate::step::{self, note, step};
use crate::workspace;
use faults::{FAULTS, Fault};

/// Chooses the fault of a run.
const SWITCH: &str = "CGN_FAULT";
/// What the faults ask, in the copy's `cgn-common`.
const QUESTION: &str = r#"
extern crate std;
/// True if this fault is on.
pub fn fault(number: usize) -> bool {
    static CHOSEN: std::sync::LazyLock<Option<usize>> =
        std::sync::LazyLock::new(|| std::env::var("CGN_FAULT").ok()?.parse().ok());
    *CHOSEN == Some(number)
}
"#;

/// Packages and tests that may notice, the quick ones first; they need no rights.
const TESTS: [(&str, &[&str], &[&str]); 6] = [
    (
        "the cases",
        &["cgn-tests", "--test=translator"],
        &["every_case"],
    ),
    ("the fuzz targets", &["cgn-tests", "--test=fuzz"], &[]),
    ("unit tests", &["cgn-common", "--lib"], &[]),
    (
        "tests of the tables",
        &["cgn-user", "--lib"],
        &["dataplane::tests"],
    ),
    ("the model", &["cgn-tests", "--test=model"], &[]),
    (
        "the table of RFCs",
        &["cgn-tests", "--test=conformance"],
        &[],
    ),
];

#[derive(clap::Args)]
pub struct Args {
    /// One fault only, by its number
    fault: Option<usize>,
}

pub fn run(args: &Args) -> Result<()> {
    let copy = workspace::store().join("mutate");
    step("a copy of the last commit with every fault", || {
        fresh(&copy)?;
        plant(&copy)
    })?;
    let built: Vec<PathBuf> = step("building its tests", || {
        TESTS
            .iter()
            .map(|(_, package, _)| build(&copy, package))
            .collect()
    })?;
    let notices = |number: usize| {
        let mut tests = TESTS.iter().zip(&built);
        tests.find(|((_, _, filter), test)| !passes(&copy, test, filter, number))
    };
    if let Some(((name, ..), _)) = notices(usize::MAX) {
        bail!("{name} fail without a fault");
    }
    let chosen = |number: &usize| args.fault.is_none_or(|one| one == *number);
    let numbers: Vec<usize> = (0..FAULTS.len()).filter(chosen).collect();
    ensure!(
        !numbers.is_empty(),
        "there are {} faults, from 0",
        FAULTS.len()
    );
    let mut noticed = 0;
    for number in &numbers {
        let by = match notices(*number) {
            Some(((name, ..), _)) => {
                noticed += 1;
                format!("noticed by {name}")
            }
            None => "NOT NOTICED".to_owned(),
        };
        note(format_args!("{number:2} {}: {by}", FAULTS[*number].what));
    }
    note(format_args!("{noticed} of {} noticed", numbers.len()));
    ensure!(noticed == numbers.len(), "faults that no test notices");
    git(&["worktree", "remove", "--force"], Some(&copy))
}

fn git(arguments: &[&str], place: Option<&Path>) -> Result<()> {
    let mut git = Command::new("git");
    git.arg("-C")
        .arg(workspace::root())
        .args(arguments)
        .args(place);
    step::capture(&mut git).map(drop)
}

/// What an interrupted run left is taken away first.
fn fresh(copy: &Path) -> Result<()> {
    if copy.exists() {
        git(&["worktree", "remove", "--force"], Some(copy))?;
    }
    git(&["worktree", "prune"], None)?;
    let mut add = Command::new("git");
    add.arg("-C")
        .arg(workspace::root())
        .args(["worktree", "add", "--detach"]);
    step::capture(add.arg(copy).arg("HEAD")).map(drop)
}

fn plant(copy: &Path) -> Result<()> {
    for (number, fault) in FAULTS.iter().enumerate() {
        let file = copy.join(fault.file);
        let source = fs::read_to_string(&file)?;
        let source = planted(&source, fault, number).with_context(|| fault.what)?;
        fs::write(&file, source)?;
    }
    let root = copy.join("cgn-common/src/lib.rs");
    fs::write(&root, fs::read_to_string(&root)? + QUESTION)?;
    Ok(())
}

/// The source in which the expression between « and » is another if the fault is on. A `const fn`
/// could not ask: it becomes a plain one.
fn planted(source: &str, fault: &Fault, number: usize) -> Result<String> {
    let (before, rest) = fault.place.split_once('«').context("no «")?;
    let (right, after) = rest.split_once('»').context("no »")?;
    let place = [before, right, after].concat();
    let count = source.matches(&place).count();
    ensure!(count == 1, "{place:?} is {count} times in {}", fault.file);
    let (head, tail) = source.split_once(&place).context("it is there")?;
    let own = if fault.file.starts_with("cgn-common") {
        "crate"
    } else {
        "cgn_common"
    };
    let asks = format!(
        "(if {own}::fault({number}) {{ {} }} else {{ {right} }})",
        fault.wrong
    );
    let head = format!("{head}{before}");
    let (outside, function) = head.rsplit_once("fn ").context("not in a function")?;
    let outside = outside.strip_suffix("const ").unwrap_or(outside);
    Ok(format!("{outside}fn {function}{asks}{after}{tail}"))
}

/// The program of a test.
fn build(copy: &Path, package: &[&str]) -> Result<PathBuf> {
    let mut cargo = workspace::cargo();
    cargo
        .current_dir(copy)
        // Not ours: cargo would take what it builds of the copy for what it built of us.
        .env("CARGO_TARGET_DIR", workspace::store().join("mutated"))
        .args([
            "test",
            "--locked",
            "--no-run",
            "--message-format=json",
            "--package",
        ])
        .args(package);
    let said = step::capture(&mut cargo)?;
    let messages = said
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok());
    let is_test = |message: &serde_json::Value| message["profile"]["test"] == true;
    let program = |message: serde_json::Value| Some(message["executable"].as_str()?.into());
    messages
        .filter(is_test)
        .filter_map(program)
        .next_back()
        .context("cargo built no test")
}

fn passes(copy: &Path, test: &Path, filter: &[&str], number: usize) -> bool {
    let mut test = Command::new(test);
    test.current_dir(copy.join("tests"))
        .args(filter)
        .env(SWITCH, number.to_string());
    let status = test.stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_fault_has_its_place_in_the_source() {
        for (number, fault) in FAULTS.iter().enumerate() {
            let source = fs::read_to_string(workspace::root().join(fault.file)).expect("a file");
            let faulty = planted(&source, fault, number).expect(fault.what);
            assert!(
                faulty.contains(&format!("fault({number})")),
                "{}",
                fault.what
            );
        }
    }
}
