//! `cargo xtask fuzz`: libFuzzer on the targets of `fuzz/`, with the toolchain of the workspace.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::step::{self, note, step};
use crate::workspace;

/// Coverage as libFuzzer wants it: edges as counters, comparisons, no sanitizer beside it, for those
/// need a nightly toolchain and find little in code without `unsafe`.
const INSTRUMENTED: &str = "--cfg fuzzing -Cpasses=sancov-module \
    -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares \
    -Ccodegen-units=1";

/// So that instrumentation is not for build scripts.
const TRIPLE: &str = "x86_64-unknown-linux-gnu";

#[derive(clap::Args)]
pub struct Args {
    /// One target only, as in fuzz/fuzz_targets; without it all, one after the other
    target: Option<String>,
    /// How long each is fuzzed
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    seconds: u32,
    /// Then add to fuzz/corpus what reaches further than the inputs that are there
    #[arg(long)]
    keep: bool,
}

pub fn run(args: &Args) -> Result<()> {
    let folder = workspace::root().join("fuzz");
    let all = targets(&folder)?;
    let chosen = match &args.target {
        Some(name) if !all.contains(name) => {
            bail!("no target {name}; there are {}", all.join(", "))
        }
        Some(name) => vec![name.clone()],
        None => all,
    };
    let built = workspace::root().join("target/fuzz");
    step("building the targets with instrumentation", || {
        let mut command = workspace::cargo();
        command
            .args(["build", "--release", "--target", TRIPLE, "--manifest-path"])
            .arg(folder.join("Cargo.toml"))
            .args(chosen.iter().flat_map(|name| ["--bin", name]))
            .env("CARGO_TARGET_DIR", &built)
            .env("RUSTFLAGS", INSTRUMENTED);
        step::run(&mut command)
    })?;
    let programs = built.join(TRIPLE).join("release");
    for name in &chosen {
        let places = Places::new(&folder, name)?;
        step(format!("fuzzing {name} for {} s", args.seconds), || {
            places.fuzz(&programs.join(name), args.seconds)
        })?;
        if args.keep {
            places.keep(&programs.join(name))?;
        }
    }
    Ok(())
}

/// Names of the targets, by their files.
fn targets(folder: &Path) -> Result<Vec<String>> {
    let folder = folder.join("fuzz_targets");
    let mut names = Vec::new();
    for file in
        fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?
    {
        if let Some(stem) = file?.path().file_stem().and_then(|stem| stem.to_str()) {
            names.push(stem.to_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// Inputs of one target.
struct Places {
    /// In the repository.
    corpus: PathBuf,
    crashes: PathBuf,
    /// Of this machine: all that a fuzzer found worth keeping.
    found: PathBuf,
}

impl Places {
    fn new(folder: &Path, name: &str) -> Result<Self> {
        let places = Self {
            corpus: folder.join("corpus").join(name),
            crashes: folder.join("crashes").join(name),
            found: workspace::root().join("target/fuzz/found").join(name),
        };
        for folder in [&places.corpus, &places.crashes, &places.found] {
            fs::create_dir_all(folder)
                .with_context(|| format!("cannot make {}", folder.display()))?;
        }
        Ok(places)
    }

    fn fuzz(&self, program: &Path, seconds: u32) -> Result<()> {
        let mut command = Command::new(program);
        command
            .arg(format!("-max_total_time={seconds}"))
            .arg(format!("-artifact_prefix={}/", self.crashes.display()))
            .args(["-print_final_stats=1", "-verbosity=0", "-max_len=1600"])
            .args([&self.found, &self.corpus]);
        step::run(&mut command).with_context(|| {
            format!(
                "an input that breaks it is in {}: give it a name that tells what was wrong, and commit it",
                self.crashes.display()
            )
        })
    }

    /// Adds to the corpus what reaches code that nothing there reaches.
    fn keep(&self, program: &Path) -> Result<()> {
        let mut command = Command::new(program);
        command
            .args(["-merge=1", "-max_len=400", "-verbosity=0"])
            .args([&self.corpus, &self.found]);
        step::run(&mut command)?;
        let count = fs::read_dir(&self.corpus)?.count();
        note(format_args!("{count} inputs in {}", self.corpus.display()));
        Ok(())
    }
}
