//! Conformance: one test per demand of an RFC, and the table of them all.
//!
//! Every test runs in all homes of the translator at once (host, slow path, both BPF objects, everything
//! forced to the slow path), which must agree byte for byte; without rights the BPF objects are left out, and that is said. One
//! laboratory serves all tests, so that a hundred of them take seconds: hence a harness of its own.
//!
//! | file | what |
//! |---|---|
//! | `registry` | rows, tests, `docs/rfc.md` |
//! | `rows/` | every row with its verdict |
//! | `rfc4787` ... | the tests, by RFC |
//! | `settings` | what the daemon does by default |

mod registry;
mod rfc3022;
mod rfc4787;
mod rfc5382;
mod rfc5508;
mod rfc6056;
mod rfc6598;
mod rfc6888;
mod rfc7857;
mod rows;
mod settings;

use std::cell::RefCell;
use std::process::ExitCode;

use cgn_tests::harness::namespace::in_namespace;
use cgn_tests::harness::trial::Trial;
use cgn_tests::skip;
use libtest_mimic::{Arguments, Failed};
use registry::Test;

const TESTS: &[&[Test]] = &[
    rfc3022::TESTS,
    rfc4787::TESTS,
    rfc5382::TESTS,
    rfc5508::TESTS,
    rfc6056::TESTS,
    rfc6598::TESTS,
    rfc6888::TESTS,
    rfc7857::TESTS,
];

/// Prints `docs/rfc.md`, for `cargo xtask rfc`.
const TABLE: &str = "--table";

fn main() -> ExitCode {
    let tests = TESTS.concat();
    let rows: Vec<_> = rows::CHAPTERS.iter().flat_map(|(_, rows)| *rows).collect();
    let faults = registry::faults(&rows, &tests);
    if !faults.is_empty() {
        eprintln!(
            "rows and tests of the conformance table:\n{}",
            faults.join("\n")
        );
        return ExitCode::FAILURE;
    }
    if std::env::args().any(|argument| argument == TABLE) {
        print!("{}", registry::document(rows::CHAPTERS, &tests));
        return ExitCode::SUCCESS;
    }
    let mut arguments = Arguments::from_args();
    // They share one laboratory, which stays on one thread.
    arguments.test_threads = Some(1);
    if arguments.list || !skip::is_root("conformance::* in the kernel") {
        run(&arguments, &tests, Trial::on_host)
    } else {
        in_namespace(|| run(&arguments, &tests, Trial::everywhere))
    }
}

thread_local! {
    static LABORATORY: RefCell<Option<Trial>> = const { RefCell::new(None) };
}

fn run(arguments: &Arguments, tests: &[Test], build: fn() -> Trial) -> ExitCode {
    let trials = tests.iter().map(|test| {
        let test = *test;
        let name = test.name.trim_start_matches("conformance::");
        libtest_mimic::Trial::test(name, move || in_laboratory(&test, build))
    });
    libtest_mimic::run(arguments, trials.collect()).exit_code()
}

/// A test that panics leaves the laboratory as it is; the next one begins anew.
fn in_laboratory(test: &Test, build: fn() -> Trial) -> Result<(), Failed> {
    LABORATORY.with_borrow_mut(|laboratory| {
        let trial = laboratory.get_or_insert_with(build);
        trial.begin(test.demand);
        (test.run)(trial);
        Ok(())
    })
}
