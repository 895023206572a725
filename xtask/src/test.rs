//! `cargo xtask test`: the one test command. It ends with `N passed, N failed, N skipped`.

use std::ffi::OsString;
use std::fs;
use std::io::{BufRead as _, BufReader, IsTerminal as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::judges;
use crate::leftovers::Before;
use crate::programs::{self, BuildSupport};
use crate::step::{self, note, step};
use crate::test_report::Report;
use crate::{rfc, vm, workspace};

#[derive(clap::Args)]
pub struct Args {
    /// Boot Debian's kernel of this series (6.1) under emulation and run there the tests that load the object
    #[arg(long, value_name = "SERIES")]
    kernel: Option<String>,
    /// With --kernel: take the kernel from this linux-image package instead of Debian's mirror
    #[arg(long, value_name = "FILE", requires = "kernel")]
    kernel_package: Option<PathBuf>,
    /// With --kernel: end the guest after so many seconds
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = 2400,
        requires = "kernel"
    )]
    timeout_secs: u64,
    /// Only the run of the daemon's timers by the clock on the wall: about three minutes
    #[arg(long, conflicts_with = "kernel")]
    real_time: bool,
    /// Only tests whose name holds this text
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,
}

pub fn run(args: &Args) -> Result<()> {
    let on_ci = std::env::var_os("CI").is_some_and(|value| value == "true");
    let mut report = Report::default();
    match &args.kernel {
        None if args.real_time => real_time(&mut report)?,
        None => on_host(args.filter.as_deref(), &mut report)?,
        Some(series) => {
            let request = vm::Request {
                series,
                package: args.kernel_package.as_deref(),
                timeout_secs: args.timeout_secs,
                filter: args.filter.as_deref(),
                targets: vm::TARGETS,
            };
            vm::run(&request, &mut report)?;
        }
    }
    report.print_details(on_ci);
    let totals = report.totals(on_ci);
    println!("{totals}");
    if totals.failed > 0 {
        // The closing line has said it; an error text below it would no longer leave it last.
        std::process::exit(1);
    }
    Ok(())
}

/// The normal tests move the clock instead.
fn real_time(report: &mut Report) -> Result<()> {
    programs::ensure_build()?;
    programs::ensure_run()?;
    let mut command = workspace::cargo_test();
    command.args(["--test", "real_time", "--", "--nocapture"]);
    let name = step::shown(&command);
    step(&name, || {
        if !stream(&mut command, report)? {
            report.close_failed_run(&name);
        }
        Ok(())
    })
}

fn on_host(filter: Option<&str>, report: &mut Report) -> Result<()> {
    let build = programs::ensure_build()?;
    programs::ensure_run()?;
    if build == BuildSupport::WithoutTestPackage {
        let tests = count_tests(&workspace::root().join("tests"))?;
        let reason = "the headers of libelf and zlib or a C compiler are missing";
        report.read_skips(&format!("cgn-tests::*\tall {tests} tests: {reason}\n"));
    }
    let before = Before::look()?;
    let skips = SkipFile::new()?;
    let mut command = workspace::cargo_test();
    command
        .arg("--no-fail-fast")
        .args(build.excluded())
        .args(filter)
        .env("CGN_SKIPS", &skips.path)
        .env("PATH", path_with_unpacked()?);
    if let Some(python) =
        judges::python().filter(|_| std::env::var_os("CGN_JUDGE_PYTHON").is_none())
    {
        command.env("CGN_JUDGE_PYTHON", python);
    }
    if std::io::stdout().is_terminal() {
        command.args(["--color", "always"]);
    }
    let name = step::shown(&command);
    // A failed test is told by the report, not by this step.
    step(&name, || {
        if !stream(&mut command, report)? {
            report.close_failed_run(&name);
        }
        Ok(())
    })?;
    report.read_skips(&skips.text()?);
    if filter.is_none() && build == BuildSupport::Complete {
        step(
            "looking whether the tests that docs/rfc.md names have passed",
            || {
                let unproven = rfc::unproven(report.passed(), &report.skipped())?;
                if !unproven.skipped.is_empty() {
                    let rows = unproven.skipped.join(", ");
                    note(format_args!(
                        "not proven here, as tests were skipped: {rows}"
                    ));
                }
                unproven
                    .failures
                    .into_iter()
                    .for_each(|sentence| report.problem(sentence));
                Ok(())
            },
        )?;
    }
    step(
        "looking for namespaces, pins and processes left behind",
        || {
            for thing in before.left_behind() {
                report.problem(format!("left behind: {thing}"));
            }
            Ok(())
        },
    )
}

/// Runs a command, shows what it prints while it prints it, and reads results from it. Returns
/// whether it succeeded.
fn stream(command: &mut Command, report: &mut Report) -> Result<bool> {
    let (reader, writer) = std::io::pipe().context("cannot make a pipe")?;
    // One pipe for both streams keeps cargo's headlines with the results below them.
    let other = writer.try_clone().context("cannot make a pipe")?;
    let mut child = command
        .stdout(writer)
        .stderr(other)
        .spawn()
        .with_context(|| format!("cannot start `{}`", step::shown(command)))?;
    // The command holds our ends of the pipe; without them the reader sees the end.
    command.stdout(std::process::Stdio::null());
    command.stderr(std::process::Stdio::null());
    let mut reader = BufReader::new(reader);
    let mut line = Vec::new();
    while reader
        .read_until(b'\n', &mut line)
        .context("cannot read the tests' output")?
        > 0
    {
        let text = String::from_utf8_lossy(&line);
        print!("{text}");
        report.read_line(&text);
        line.clear();
    }
    Ok(child.wait().context("cannot wait for the tests")?.success())
}

/// The file to which tests write why they cannot run; removed at the end.
struct SkipFile {
    path: PathBuf,
}

impl SkipFile {
    fn new() -> Result<Self> {
        let folder = workspace::store();
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let path = folder.join(format!("skips-{}", std::process::id()));
        fs::write(&path, "").with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Self { path })
    }

    fn text(&self) -> Result<String> {
        fs::read_to_string(&self.path)
            .with_context(|| format!("cannot read {}", self.path.display()))
    }
}

impl Drop for SkipFile {
    fn drop(&mut self) {
        // A file that stays in target/ harms nobody.
        let _ = fs::remove_file(&self.path);
    }
}

fn path_with_unpacked() -> Result<OsString> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from);
    std::env::join_paths(
        std::env::split_paths(&path)
            .chain(system)
            .chain(programs::unpacked_folders()),
    )
    .context("a folder of PATH has a colon in its name")
}

/// Tests in the source files of a folder, to say how many are left out with it.
fn count_tests(folder: &Path) -> Result<usize> {
    let mut count = 0;
    for entry in
        fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?
    {
        let path = entry?.path();
        if path.is_dir() {
            count += count_tests(&path)?;
        } else if path.extension().is_some_and(|ext| ext == "rs") {
            let text = fs::read_to_string(&path)
                .with_context(|| format!("cannot read {}", path.display()))?;
            count += text.lines().filter(|line| line.trim() == "#[test]").count();
        }
    }
    Ok(count)
}
