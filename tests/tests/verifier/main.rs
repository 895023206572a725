//! What the verifier says of each program: instructions that it followed, and stack.
//!
//! `--table` prints the figures only, for `cargo xtask verifier`.

mod statistics;

use std::collections::BTreeMap;
use std::process::ExitCode;

use anyhow::Result;
use cgn_tests::harness::VERIFIER_BUDGET;
use cgn_tests::skip;
use cgn_user::dataplane::load::{DIAGNOSTICS_OBJECT, OBJECT, WATCH_OBJECT};
use libtest_mimic::{Arguments, Failed, Trial};
use statistics::{Statistics, by_aya, by_libbpf};

/// The kernel refuses a program for which it would have to follow more.
const LIMIT: u64 = 1_000_000;

/// How the statistics of an object are had.
type Ask = fn() -> Result<BTreeMap<String, Statistics>>;

const OBJECTS: [(&str, Ask); 3] = [
    ("cgn", || by_libbpf(OBJECT)),
    ("cgn-diagnostics", || by_aya(DIAGNOSTICS_OBJECT)),
    ("cgn-watch", || by_aya(WATCH_OBJECT)),
];

const TABLE: &str = "--table";

fn main() -> ExitCode {
    if std::env::args().any(|argument| argument == TABLE) {
        return table();
    }
    let mut arguments = Arguments::from_args();
    // Programs of one object are loaded at once, and libbpf talks to one listener.
    arguments.test_threads = Some(1);
    let trials = OBJECTS.map(|(name, ask)| {
        let test = format!("programs_of_{name}_are_within_the_budget");
        Trial::test(test.clone(), move || within_budget(&test, name, ask))
    });
    libtest_mimic::run(&arguments, trials.into()).exit_code()
}

fn within_budget(test: &str, name: &str, ask: Ask) -> std::result::Result<(), Failed> {
    if !skip::is_root(test) {
        return Ok(());
    }
    // The whole chain: it ends with what the verifier said.
    let programs = ask().map_err(|error| format!("{error:#}"))?;
    if programs.is_empty() {
        return Err("the verifier told nothing".into());
    }
    for (program, statistics) in &programs {
        println!("{}", line(name, program, statistics));
    }
    for (program, statistics) in &programs {
        if statistics.followed > u64::from(VERIFIER_BUDGET) {
            return Err(format!(
                "{name} {program}: the verifier followed {} instructions, more than the budget of {VERIFIER_BUDGET} (its limit is {LIMIT})",
                statistics.followed
            )
            .into());
        }
    }
    Ok(())
}

/// A table in Markdown.
fn table() -> ExitCode {
    println!(
        "| object | program | instructions | followed by the verifier | of its limit | stack of the functions in bytes | ms |"
    );
    println!("|---|---|---|---|---|---|---|");
    let mut is_within = true;
    for (name, ask) in OBJECTS {
        match ask() {
            Ok(programs) => {
                for (program, statistics) in &programs {
                    println!("{}", line(name, program, statistics));
                    is_within &= statistics.followed <= u64::from(VERIFIER_BUDGET);
                }
            }
            Err(error) => {
                eprintln!("error: cannot ask the verifier about {name}: {error:#}; it takes root");
                return ExitCode::FAILURE;
            }
        }
    }
    if !is_within {
        eprintln!("error: a program is over the budget of {VERIFIER_BUDGET} instructions");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

fn line(object: &str, program: &str, s: &Statistics) -> String {
    let percent = s.followed as f64 * 100.0 / LIMIT as f64;
    format!(
        "| {object} | {program} | {} | {} | {percent:.1} % | {} | {} |",
        s.instructions, s.followed, s.stack, s.milliseconds
    )
}
