//! Rows (what an RFC or the plan of this product asks), tests that prove them, and the table of both.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use cgn_tests::harness::cases;
use cgn_tests::harness::trial::Trial;

/// What is to be said of a row.
pub enum Verdict {
    /// Proved by the tests of this program that name the row, and by these others, written as
    /// `target::path::test`.
    Met(&'static [&'static str]),
    /// Not done, as an RFC allows; with the place that allows it.
    Refused(&'static str),
    /// Not done, or not all of it, and why.
    NotMet(&'static str),
}

/// One demand.
pub struct Row {
    pub id: &'static str,
    /// The demand in a few words.
    pub title: &'static str,
    pub verdict: Verdict,
}

/// A row that tests of this program prove.
pub const fn met(id: &'static str, title: &'static str) -> Row {
    met_by(id, title, &[])
}

/// A row that other tests prove, too.
pub const fn met_by(id: &'static str, title: &'static str, others: &'static [&'static str]) -> Row {
    let verdict = Verdict::Met(others);
    Row { id, title, verdict }
}

pub const fn refused(id: &'static str, title: &'static str, reason: &'static str) -> Row {
    let verdict = Verdict::Refused(reason);
    Row { id, title, verdict }
}

pub const fn not_met(id: &'static str, title: &'static str, reason: &'static str) -> Row {
    let verdict = Verdict::NotMet(reason);
    Row { id, title, verdict }
}

/// A test of this program.
#[derive(Clone, Copy)]
pub struct Test {
    /// `file::function`.
    pub name: &'static str,
    /// Rows that it proves, or whose refusal it shows.
    pub rows: &'static [&'static str],
    /// What the RFC demands, in one sentence.
    pub demand: &'static str,
    pub run: fn(&mut Trial),
}

/// Declares the tests of a file: `function [rows] "what the RFC demands";`.
macro_rules! tests {
    ($($name:ident [$($row:literal),+] $demand:literal;)*) => {
        pub const TESTS: &[$crate::registry::Test] = &[$($crate::registry::Test {
            name: concat!(module_path!(), "::", stringify!($name)),
            rows: &[$($row),+],
            demand: $demand,
            run: $name,
        },)*];
    };
}
pub(crate) use tests;

thread_local! {
    /// Laboratories in which something is on that is off by default, by the name of their group.
    static GROUPS: RefCell<BTreeMap<&'static str, Trial>> = const { RefCell::new(BTreeMap::new()) };
}

/// Name of the group of cases with filters, inbound refresh and short timers.
pub const EVERYTHING: &str = "everything is on";
/// Name of the group in which a port below 1024 stays below 1024.
pub const CLASSES: &str = "classes of ports are kept";
/// Name of the group in which senders are told of the end of their packets.
pub const TOLD: &str = "senders are told";
/// Name of the group in which subscribers have limits of their own.
pub const LIMITED: &str = "groups have limits";
/// Name of the group with three realms, whose subscribers have equal addresses.
pub const REALMS: &str = "several realms";
/// Name of the group with access lists.
pub const LISTED: &str = "access lists";
/// Name of the group in which TCP sessions are timed one by one.
pub const TIMED: &str = "TCP sessions are timed one by one";

/// Runs cases of a group, each by the beginning of its sentence, in the group's laboratory; then
/// `more` there. `plain` tells whether the kernel takes part.
///
/// # Panics
/// There is no such group, or no such case.
pub fn in_group(plain: &Trial, name: &str, beginnings: &[&str], more: fn(&mut Trial)) {
    let in_kernel = plain.homes.len() > 2;
    let mut groups = cases::groups();
    groups.retain(|group| group.name == name);
    let [group] = &groups[..] else {
        panic!("{} groups are called {name:?}", groups.len());
    };
    GROUPS.with_borrow_mut(|laboratories| {
        let trial = laboratories
            .entry(group.name)
            .or_insert_with(|| match in_kernel {
                true => Trial::everywhere_of((group.world)()),
                false => Trial::on_host_of((group.world)()),
            });
        run_each(trial, &group.cases, beginnings);
        trial.begin(group.name);
        more(trial);
    });
}

/// Runs cases of the common table, each by the beginning of its sentence.
///
/// # Panics
/// The table has none that begins so, or several.
pub fn run_cases(trial: &mut Trial, beginnings: &[&str]) {
    run_each(trial, &cases::all(), beginnings);
}

fn run_each(trial: &mut Trial, cases: &[cases::Case], beginnings: &[&str]) {
    for beginning in beginnings {
        let mut found = cases.to_vec();
        found.retain(|(sentence, _)| sentence.starts_with(beginning));
        let [(sentence, case)] = found[..] else {
            panic!("{} cases begin with {beginning:?}", found.len());
        };
        trial.begin(sentence);
        case(trial);
    }
}

/// What is wrong with rows and tests, a sentence each.
pub fn faults(rows: &[&Row], tests: &[Test]) -> Vec<String> {
    let mut faults = Vec::new();
    let mut known = BTreeMap::new();
    for row in rows {
        if known.insert(row.id, row).is_some() {
            faults.push(format!("{} has two entries", row.id));
        }
        if let Verdict::Met(others) = row.verdict
            && others.is_empty()
            && !tests.iter().any(|test| test.rows.contains(&row.id))
        {
            faults.push(format!(
                "{} is said to be met, and no test names it",
                row.id
            ));
        }
    }
    let mut names = BTreeSet::new();
    for test in tests {
        if !names.insert(test.name) {
            faults.push(format!("two tests are called {}", test.name));
        }
        for id in test.rows {
            match known.get(id).map(|row| &row.verdict) {
                None => faults.push(format!("{} names {id}, which is no row", test.name)),
                Some(Verdict::NotMet(_)) => {
                    faults.push(format!(
                        "{} proves {id}, which is said not to be met",
                        test.name
                    ));
                }
                Some(Verdict::Met(_) | Verdict::Refused(_)) => {}
            }
        }
    }
    faults
}

/// `docs/rfc.md`.
pub fn document(chapters: &[(&str, &[Row])], tests: &[Test]) -> String {
    let mut text = HEAD.to_owned();
    let count = |wanted: fn(&Verdict) -> bool| {
        let rows = chapters.iter().flat_map(|(_, rows)| *rows);
        rows.filter(|row| wanted(&row.verdict)).count()
    };
    // Writing to a String cannot fail.
    let _ = writeln!(
        text,
        "{} rows are met, {} refused, {} not met.",
        count(|v| matches!(v, Verdict::Met(_))),
        count(|v| matches!(v, Verdict::Refused(_))),
        count(|v| matches!(v, Verdict::NotMet(_)))
    );
    for (chapter, rows) in chapters {
        let _ = writeln!(
            text,
            "\n## {chapter}\n\n| id | met / refused / not met | reason | test |"
        );
        text.push_str("|---|---|---|---|\n");
        for row in *rows {
            let _ = writeln!(text, "{}", line(row, tests));
        }
    }
    text
}

const HEAD: &str = "\
# What is met of the RFCs, row by row

Generated by `cargo xtask rfc` from `tests/tests/conformance`; `cargo xtask lint` refuses a stale table. A row is
*met* when the tests that it names pass: `cargo xtask test` fails if one of them did not run or did not pass, and says
which could not run for want of a program or of rights. *Refused*: an RFC allows to leave it, the reason says where.
*Not met*: all of it or a part is missing.

Each test `conformance::...` runs the same frames on the host, through the slow path, and in the kernel through both
BPF objects, and once more with everything forced to the slow path (`debug.force_slow_path`); all frames that come out
must be equal byte for byte. Expected bytes and checksums are those of a foreign crate (`etherparse`).

";

fn line(row: &Row, tests: &[Test]) -> String {
    let mut names: Vec<&str> = tests
        .iter()
        .filter(|test| test.rows.contains(&row.id))
        .map(|test| test.name)
        .collect();
    let (verdict, reason) = match row.verdict {
        Verdict::Met(others) => {
            names.extend(others);
            ("met", None)
        }
        Verdict::Refused(reason) => ("refused", Some(reason)),
        Verdict::NotMet(reason) => ("not met", Some(reason)),
    };
    let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    let reason = reason.map_or_else(String::new, |reason| format!(": {reason}"));
    format!(
        "| {} | {verdict} | {}{reason} | {} |",
        row.id,
        row.title,
        names.join(", ")
    )
}
