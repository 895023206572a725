//! Boots the guest, shows its console and reads the tests' results.
//!
//! The guest has two serial lines: the first is the console, on which the kernel may write at any
//! time; the second carries the tests' output alone, so that results cannot be torn.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use super::image::Kernel;
use super::{Request, TestProgram, as_text, initramfs};
use crate::step::note;
use crate::test_report::Report;
use crate::workspace;

/// Begins each line on the second serial line that is from our script and not from a test.
const MARK: &str = "@cgn-guest ";

/// Processors of the guest, each a thread of the emulator, and tests at a time.
const THREADS: usize = 2;

/// Boots, waits, and adds the results to the report.
pub fn run(
    kernel: &Kernel,
    programs: &[TestProgram],
    request: &Request,
    report: &mut Report,
) -> Result<()> {
    let run = RunFolder::new()?;
    let archive = initramfs::build(kernel, &job(programs, request.filter)?)?;
    let initrd = run.path.join("initramfs");
    fs::write(&initrd, archive).with_context(|| format!("cannot write {}", initrd.display()))?;
    let results = run.path.join("results");
    let outcome = boot(kernel, &initrd, &results, request.timeout_secs)?;
    let bytes = fs::read(&results).unwrap_or_default();
    read_results(&String::from_utf8_lossy(&bytes), programs, report);
    if let Outcome::TimedOut = outcome {
        report.problem(format!(
            "the guest was ended after {} s; --timeout-secs gives it longer",
            request.timeout_secs
        ));
    }
    Ok(())
}

#[derive(Debug)]
enum Outcome {
    PoweredOff,
    TimedOut,
}

fn boot(kernel: &Kernel, initrd: &Path, results: &Path, timeout_secs: u64) -> Result<Outcome> {
    let mut command = emulator();
    command
        // Emulation on purpose: there are machines whose /dev/kvm opens and then never boots a guest.
        .args([
            "-accel",
            "tcg,thread=multi",
            "-machine",
            "q35",
            "-cpu",
            "max",
        ])
        .args([
            "-m",
            "2048",
            "-smp",
            &THREADS.to_string(),
            "-display",
            "none",
            "-monitor",
            "none",
        ])
        .args(["-no-reboot", "-nic", "none", "-serial", "stdio"])
        .args(["-serial", &format!("file:{}", escaped(results)?)])
        .arg("-kernel")
        .arg(kernel.image())
        .arg("-initrd")
        .arg(initrd)
        .args([
            "-append",
            "console=ttyS0 panic=-1 quiet loglevel=4 mitigations=off",
        ])
        .args([
            "-virtfs",
            &format!(
                "local,path=/,mount_tag={},security_model=none,readonly=on,multidevs=remap",
                initramfs::HOST_TAG
            ),
        ])
        .stdin(Stdio::null());
    let mut guest = Guest(command.spawn().context("cannot start the emulator")?);
    let deadline = Instant::now() + Duration::from_secs(timeout_secs);
    while Instant::now() < deadline {
        if let Some(status) = guest.0.try_wait().context("cannot wait for qemu")? {
            if !status.success() {
                note(format_args!("qemu ended with {status}"));
            }
            return Ok(Outcome::PoweredOff);
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(Outcome::TimedOut)
}

/// The emulator, which the kernel ends with us where `setpriv` (util-linux) is there to ask for it.
fn emulator() -> Command {
    const EMULATOR: &str = "qemu-system-x86_64";
    if workspace::find_program("setpriv").is_none() {
        return Command::new(EMULATOR);
    }
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", EMULATOR]);
    command
}

/// The running emulator; it ends with this value.
struct Guest(Child);

impl Drop for Guest {
    fn drop(&mut self) {
        // It has ended already in the good case.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// In qemu's options a comma within a value is written twice.
fn escaped(path: &Path) -> Result<String> {
    Ok(as_text(path)?.replace(',', ",,"))
}

/// The script that runs the tests in the guest, one program after the other.
fn job(programs: &[TestProgram], filter: Option<&str>) -> Result<String> {
    let mut job = format!(
        "export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TMPDIR=/tmp\n\
         export CGN_VM=1 CGN_SKIPS=/run/cgn-skips RUST_BACKTRACE=1\n\
         : > $CGN_SKIPS\n\
         stty -F /dev/ttyS1 raw -echo\n\
         exec 3>/dev/ttyS1\n\
         hostname guest; ip link set lo up\n\
         echo \"guest kernel $(uname -r)\"\n\
         cd {}\n",
        quoted(as_text(&workspace::root().join("tests"))?)
    );
    let filter = filter.map(quoted).unwrap_or_default();
    for TestProgram { target, file } in programs {
        let file = quoted(as_text(file)?);
        job.push_str(&format!(
            "echo \"guest runs {target}\"\n\
             {{ {file} --test-threads={THREADS} {filter} 2>&1; echo \"{MARK}exit {target} $?\"; }} | tee /dev/ttyS1\n"
        ));
    }
    job.push_str(&format!(
        "while IFS= read -r skip; do echo \"{MARK}skip $skip\" >&3; done < $CGN_SKIPS\n\
         echo \"{MARK}done\" >&3\n\
         sync; busybox poweroff -f\n"
    ));
    Ok(job)
}

/// A word that the shell leaves as it is.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// Adds what the second serial line carried to the report. A program that ended badly without a
/// failed test, or not at all, is a failure of its own.
fn read_results(text: &str, programs: &[TestProgram], report: &mut Report) {
    let mut finished = Vec::new();
    let mut done = false;
    let mut failed_before = report.harness_failed();
    for line in text.lines() {
        let line = line.trim_end_matches('\r');
        // A test may print without a line's end before our mark.
        let Some((output, mark)) = line.split_once(MARK) else {
            report.read_line(line);
            continue;
        };
        report.read_line(output);
        let mut words = mark.splitn(3, ' ');
        match (words.next(), words.next(), words.next()) {
            (Some("exit"), Some(target), Some(status)) => {
                if status != "0" && report.harness_failed() == failed_before {
                    report.problem(format!("{target} ended with status {status} in the guest"));
                }
                failed_before = report.harness_failed();
                finished.push(target.to_owned());
            }
            (Some("skip"), ..) => report.read_skips(mark.trim_start_matches("skip ")),
            (Some("done"), ..) => done = true,
            _ => {}
        }
    }
    for program in programs {
        if !finished.contains(&program.target) {
            report.problem(format!("{} did not finish in the guest", program.target));
        }
    }
    if !done && finished.len() == programs.len() {
        report.problem("the guest stopped before it told which tests were skipped".to_owned());
    }
}

/// Files of one run; removed at its end.
struct RunFolder {
    path: PathBuf,
}

impl RunFolder {
    fn new() -> Result<Self> {
        let path = workspace::store().join(format!("guest-{}", std::process::id()));
        fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self { path })
    }
}

impl Drop for RunFolder {
    fn drop(&mut self) {
        // A folder that stays in target/ harms nobody.
        let _ = fs::remove_dir_all(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::{TestProgram, job, quoted, read_results};
    use crate::test_report::Report;
    use std::path::PathBuf;

    fn programs() -> Vec<TestProgram> {
        ["prog_run", "vlan"]
            .map(|target| TestProgram {
                target: target.to_owned(),
                file: PathBuf::from("/t/a b"),
            })
            .into()
    }

    #[test]
    fn results_of_a_guest() {
        let good = "\r\ntest result: ok. 4 passed; 0 failed; 0 ignored\r\n@cgn-guest exit prog_run 0\r\n\
                    test result: ok. 2 passed; 0 failed; 0 ignored\r\n@cgn-guest exit vlan 0\r\n";
        let cases = [
            (
                "all well",
                format!("{good}@cgn-guest done\r\n"),
                "6 passed, 0 failed, 0 skipped",
            ),
            (
                "a skip",
                format!("{good}@cgn-guest skip test a\tno VLAN\r\n@cgn-guest done\r\n"),
                "5 passed, 0 failed, 1 skipped",
            ),
            ("no end", good.to_owned(), "6 passed, 1 failed, 0 skipped"),
            (
                "nothing at all: no kernel, no script",
                String::new(),
                "0 passed, 2 failed, 0 skipped",
            ),
            (
                "a failed test is counted once, though its program ends with 101",
                good.replace("ok. 2 passed; 0 failed", "FAILED. 1 passed; 1 failed")
                    .replace("vlan 0", "vlan 101")
                    + "@cgn-guest done\n",
                "5 passed, 1 failed, 0 skipped",
            ),
            (
                "a crash has no result line",
                "running 4 tests\ntest a ... @cgn-guest exit prog_run 139\n".to_owned()
                    + &good[good.find("test result: ok. 2").unwrap()..]
                    + "@cgn-guest done\n",
                "2 passed, 1 failed, 0 skipped",
            ),
        ];
        for (sentence, text, wanted) in cases {
            let mut report = Report::default();
            read_results(&text, &programs(), &mut report);
            assert_eq!(report.totals(false).to_string(), wanted, "{sentence}");
        }
    }

    #[test]
    fn words_survive_the_shell() {
        assert_eq!(quoted("it's"), r"'it'\''s'");
        let job = job(&programs(), Some("a b")).expect("paths are text");
        assert!(
            job.contains("{ '/t/a b' --test-threads=2 'a b' 2>&1;"),
            "{job}"
        );
    }
}
