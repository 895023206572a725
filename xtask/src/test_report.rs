//! Reads what test programs print and adds it up.
//!
//! A test that cannot run appends `test <name><TAB><reason>` to the file that `CGN_SKIPS` names and
//! returns. The test harness counts it as passed; here it is moved to the skipped ones.

use std::collections::BTreeSet;
use std::fmt;

/// Reasons that begin so speak of missing rights; where `CI=true` that is a failure.
const RIGHTS: &str = "rights:";

/// A test that said why it cannot run.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Skip {
    pub test: String,
    pub reason: String,
}

/// Results of one or more test programs.
#[derive(Debug, Default)]
pub struct Report {
    harness_passed: usize,
    harness_failed: usize,
    ignored: usize,
    /// As `target::path::test`.
    passed: BTreeSet<String>,
    failures: BTreeSet<String>,
    skips: Vec<Skip>,
    /// Target of the program that runs.
    target: String,
    /// The test whose result was not on the line of its name: it printed something itself.
    interrupted: Option<String>,
    /// The program whose results are still to come, and those whose results never came.
    running: Option<String>,
    unfinished: Vec<String>,
    /// Failures that no harness counted: a crash, a broken build, something left behind.
    problems: Vec<String>,
}

/// The closing figures.
#[derive(Debug, PartialEq, Eq)]
pub struct Totals {
    pub passed: usize,
    pub failed: usize,
    pub skipped: usize,
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} passed, {} failed, {} skipped",
            self.passed, self.failed, self.skipped
        )
    }
}

impl Report {
    /// Takes one line of output; lines that say nothing about results are left alone.
    pub fn read_line(&mut self, line: &str) {
        let line = without_colours(line);
        let line = line.trim();
        if let Some(figures) = line.strip_prefix("test result: ") {
            let count = |word: &str| figure(figures, word);
            self.harness_passed += count("passed");
            self.harness_failed += count("failed");
            self.ignored += count("ignored");
            self.running = None;
        } else if let Some(program) = line.strip_prefix("Running ") {
            self.target = target_of(program).to_owned();
            self.interrupted = None;
            self.unfinished
                .extend(self.running.replace(program.to_owned()));
        } else if let Some((name, outcome)) = line
            .strip_prefix("test ")
            .and_then(|rest| rest.split_once(" ..."))
        {
            self.interrupted = Some(name.trim().to_owned());
            self.read_outcome(outcome.trim());
        } else {
            self.read_outcome(line);
        }
    }

    /// Takes the outcome of the test that was named last; other text is the test's own.
    fn read_outcome(&mut self, outcome: &str) {
        match outcome {
            "ok" => {
                let name = self.interrupted.take();
                self.passed
                    .extend(name.map(|name| format!("{}::{name}", self.target)));
            }
            "FAILED" => self.failures.extend(self.interrupted.take()),
            _ => {}
        }
    }

    /// Tests that passed, or skipped themselves, as `target::path::test`.
    pub fn passed(&self) -> &BTreeSet<String> {
        &self.passed
    }

    /// Names of the tests that skipped themselves.
    pub fn skipped(&self) -> BTreeSet<String> {
        self.skips.iter().map(|skip| skip.test.clone()).collect()
    }

    /// Takes the text of a `CGN_SKIPS` file.
    pub fn read_skips(&mut self, text: &str) {
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            let line = line.strip_prefix("test ").unwrap_or(line);
            let (test, reason) = line.split_once('\t').unwrap_or((line, "no reason given"));
            self.skips.push(Skip {
                test: test.to_owned(),
                reason: reason.to_owned(),
            });
        }
    }

    /// A failure that no harness counted.
    pub fn problem(&mut self, sentence: String) {
        self.problems.push(sentence);
    }

    /// Takes the end of a `cargo test` that did not succeed: programs that crashed and a build that
    /// broke are failures that no harness counted.
    pub fn close_failed_run(&mut self, command: &str) {
        self.unfinished.extend(self.running.take());
        for program in std::mem::take(&mut self.unfinished) {
            self.problem(format!("{program} ended without a result"));
        }
        if self.harness_failed + self.problems.len() == 0 {
            self.problem(format!("`{command}` failed outside of a test; see above"));
        }
    }

    /// Failures that harnesses counted so far.
    pub fn harness_failed(&self) -> usize {
        self.harness_failed
    }

    /// Adds everything up; `on_ci`, a skip for want of rights counts as a failure.
    pub fn totals(&self, on_ci: bool) -> Totals {
        let skips = self.real_skips();
        let refused = skips.iter().filter(|skip| is_refused(skip, on_ci)).count();
        let skipped_in_harness = skips
            .iter()
            .filter(|skip| !skip.test.ends_with('*'))
            .count();
        Totals {
            passed: self.harness_passed.saturating_sub(skipped_in_harness),
            failed: self.harness_failed + self.problems.len() + refused,
            skipped: skips.len() - refused + self.ignored,
        }
    }

    /// Prints every skip with its reason, and every problem.
    pub fn print_details(&self, on_ci: bool) {
        for skip in self.real_skips() {
            let outcome = if is_refused(&skip, on_ci) {
                "FAILED, skipped on CI"
            } else {
                "skipped"
            };
            println!("{outcome}: {}: {}", skip.test, skip.reason);
        }
        if self.ignored > 0 {
            println!("skipped: {} tests marked #[ignore]", self.ignored);
        }
        for failure in &self.failures {
            println!("FAILED: {failure}");
        }
        for problem in &self.problems {
            println!("FAILED: {problem}");
        }
    }

    /// Skips without those of tests that failed afterwards.
    fn real_skips(&self) -> Vec<Skip> {
        self.skips
            .iter()
            .filter(|skip| !self.failures.contains(&skip.test))
            .cloned()
            .collect()
    }
}

fn is_refused(skip: &Skip, on_ci: bool) -> bool {
    on_ci && skip.reason.starts_with(RIGHTS)
}

/// `e2e` of `tests/e2e/main.rs (target/debug/deps/e2e-0123456789abcdef)`.
fn target_of(program: &str) -> &str {
    let file = program.rsplit('/').next().unwrap_or_default();
    file.rsplit_once('-').map_or(file, |(target, _)| target)
}

/// The number before a word in `ok. 12 passed; 0 failed; 1 ignored`.
fn figure(figures: &str, word: &str) -> usize {
    figures
        .split([';', '.'])
        .filter_map(|part| part.trim().strip_suffix(word))
        .find_map(|number| number.trim().parse().ok())
        .unwrap_or(0)
}

/// A line without the terminal's colour sequences (ESC `[` ... letter).
fn without_colours(line: &str) -> String {
    let mut plain = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(at) = rest.find("\x1b[") {
        plain.push_str(&rest[..at]);
        rest = rest[at + 2..].trim_start_matches(|c: char| !c.is_ascii_alphabetic());
        rest = rest.get(1..).unwrap_or_default();
    }
    plain.push_str(rest);
    plain
}

#[cfg(test)]
mod tests {
    use super::{Report, Totals};

    fn totals(output: &str, skips: &str, on_ci: bool) -> (usize, usize, usize) {
        let mut report = Report::default();
        for line in output.lines() {
            report.read_line(line);
        }
        report.read_skips(skips);
        let Totals {
            passed,
            failed,
            skipped,
        } = report.totals(on_ci);
        (passed, failed, skipped)
    }

    const THREE: &str = "test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 7 filtered out; finished in 0.01s";

    #[test]
    fn results_add_up() {
        let two = format!(
            "{THREE}\nnoise 9 passed\ntest result: FAILED. 1 passed; 2 failed; 4 ignored; 0 measured; 0 filtered out; finished in 1.50s"
        );
        let coloured = "test result: \x1b[32mok\x1b[m. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out";
        let cases = [
            ("nothing ran", "", "", false, (0, 0, 0)),
            ("one program", THREE, "", false, (3, 0, 0)),
            (
                "two programs, ignored tests are skipped ones",
                two.as_str(),
                "",
                false,
                (4, 2, 4),
            ),
            ("colours", coloured, "", false, (3, 0, 1)),
            (
                "carriage returns of a serial line",
                "test result: ok. 3 passed; 0 failed; 0 ignored\r",
                "",
                false,
                (3, 0, 0),
            ),
            (
                "a skip is not a pass",
                THREE,
                "test a\tno curl\n",
                false,
                (2, 0, 1),
            ),
            (
                "rights at home",
                THREE,
                "test a\trights: not root\n",
                false,
                (2, 0, 1),
            ),
            (
                "rights on CI",
                THREE,
                "test a\trights: not root\n",
                true,
                (2, 1, 0),
            ),
            (
                "another reason on CI",
                THREE,
                "test a\tno curl\n",
                true,
                (2, 0, 1),
            ),
            (
                "a test that skipped something and then failed has failed",
                "test a ... FAILED\ntest result: FAILED. 2 passed; 1 failed; 0 ignored",
                "test a\tno curl\n",
                false,
                (2, 1, 0),
            ),
            (
                "a skip of a whole package was no pass before",
                THREE,
                "cgn-tests::*\tno libelf\n",
                false,
                (3, 0, 1),
            ),
        ];
        for (sentence, output, skips, on_ci, wanted) in cases {
            assert_eq!(totals(output, skips, on_ci), wanted, "{sentence}");
        }
    }

    #[test]
    fn a_failed_run_is_never_without_failures() {
        let crash = "Running a.rs (t/a)\nrunning 1 test\n Running b.rs (t/b)\ntest result: FAILED. 1 passed; 2 failed; 0 ignored\n";
        let last = "Running a.rs (t/a)\ntest result: ok. 3 passed; 0 failed; 0 ignored\n\x1b[1m     Running\x1b[0m b.rs (t/b)\n";
        let cases = [
            ("a crash beside failed tests", crash, 3),
            ("a crash of the last program", last, 1),
            ("a build that broke", "error: could not compile\n", 1),
            (
                "failed tests alone",
                "Running a.rs\ntest result: FAILED. 1 passed; 2 failed; 0 ignored",
                2,
            ),
        ];
        for (sentence, output, wanted) in cases {
            let mut report = Report::default();
            for line in output.lines() {
                report.read_line(line);
            }
            report.close_failed_run("cargo test");
            assert_eq!(report.totals(false).failed, wanted, "{sentence}");
        }
    }

    #[test]
    fn passed_tests_are_told_with_their_target() {
        let output = "     Running unittests src/lib.rs (target/debug/deps/cgn_user-0123abcd)\n\
            test alloc::a ... ok\ntest alloc::b ... FAILED\ntest result: FAILED. 1 passed; 1 failed; 0 ignored\n\
            \x1b[1m     Running\x1b[0m tests/conformance/main.rs (/t/debug/deps/conformance-77)\n\
            test rfc1::c      ... ok\n\
            test rfc1::d      ... a row of its table\nanother row\nok\n\
            test rfc1::e      ... a row\nFAILED\nok\n\
            test rfc1::f      ... \na row\nok\n";
        let mut report = Report::default();
        output.lines().for_each(|line| report.read_line(line));
        let passed: Vec<&str> = report.passed().iter().map(String::as_str).collect();
        assert_eq!(
            passed,
            [
                "cgn_user::alloc::a",
                "conformance::rfc1::c",
                "conformance::rfc1::d",
                "conformance::rfc1::f"
            ]
        );
        assert_eq!(
            report.failures.iter().collect::<Vec<_>>(),
            ["alloc::b", "rfc1::e"]
        );
    }

    #[test]
    fn a_problem_is_a_failure() {
        let mut report = Report::default();
        report.problem("namespace left behind".to_owned());
        assert_eq!(
            report.totals(false).to_string(),
            "0 passed, 1 failed, 0 skipped"
        );
    }
}
