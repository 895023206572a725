//! Loads an object and asks what the verifier said of its programs.
//!
//! libbpf passes the verifier's own statistics on. It does not read the diagnostics object, whose ring
//! of lines is declared by aya-log; aya asks the kernel, which keeps only the number of instructions.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use anyhow::{Context as _, Result};
use aya::EbpfLoader;
use aya::programs::Xdp;
use libbpf_rs::{ObjectBuilder, PrintLevel, set_print};

/// `BPF_LOG_STATS` of the kernel's `bpf_verifier.h`.
const LOG_STATISTICS: u32 = 4;

/// What the verifier says of a program.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Instructions of the program with its functions.
    pub instructions: usize,
    /// Instructions that the verifier followed, on all ways.
    pub followed: u64,
    /// Bytes of stack of each function, as the kernel writes it: `224+0+200`. A chain of calls has at
    /// most 512, or the program is refused.
    pub stack: String,
    pub milliseconds: u128,
}

/// What libbpf logged.
static LOG: Mutex<String> = Mutex::new(String::new());

fn note(_: PrintLevel, text: String) {
    LOG.lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push_str(&text);
}

/// Statistics of each program of an object, by name, as the verifier tells them.
pub fn by_libbpf(object: &[u8]) -> Result<BTreeMap<String, Statistics>> {
    LOG.lock().unwrap_or_else(PoisonError::into_inner).clear();
    let before = set_print(Some((PrintLevel::Debug, note)));
    let loaded = load(object);
    set_print(before);
    let sizes = loaded?;
    let log = LOG.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(read(&log, &sizes))
}

/// The same without the stack, from what the kernel keeps of a loaded program.
pub fn by_aya(object: &[u8]) -> Result<BTreeMap<String, Statistics>> {
    let mut ebpf = EbpfLoader::new().load(object)?;
    let mut found = BTreeMap::new();
    for (name, program) in ebpf.programs_mut() {
        let program: &mut Xdp = program.try_into()?;
        let began = Instant::now();
        program.load().with_context(|| format!("loading {name}"))?;
        let info = program.info()?;
        let followed = info.verified_instruction_count();
        let statistics = Statistics {
            instructions: info.size_translated().context("no size")? as usize / 8,
            followed: u64::from(followed.context("the kernel keeps no count (before Linux 5.16)")?),
            stack: "not told".to_owned(),
            milliseconds: began.elapsed().as_millis(),
        };
        found.insert(name.to_owned(), statistics);
    }
    Ok(found)
}

/// Loads it; the number of instructions of each program.
fn load(object: &[u8]) -> Result<BTreeMap<String, usize>> {
    let mut open = ObjectBuilder::default().open_memory(object)?;
    for mut program in open.progs_mut() {
        program.set_log_level(LOG_STATISTICS);
    }
    let object = open.load()?;
    let sizes = object.progs().map(|program| {
        let name = program.name().to_string_lossy().into_owned();
        (name, program.insn_cnt())
    });
    Ok(sizes.collect())
}

/// Reads `prog 'NAME': -- BEGIN PROG LOAD LOG --`, the statistics, `-- END PROG LOAD LOG --`.
fn read(log: &str, sizes: &BTreeMap<String, usize>) -> BTreeMap<String, Statistics> {
    let mut found: BTreeMap<String, Statistics> = BTreeMap::new();
    let mut current = None;
    for line in log.lines() {
        if line.contains("-- BEGIN PROG LOAD LOG --") {
            current = line.split('\'').nth(1).map(str::to_owned);
        } else if line.contains("-- END PROG LOAD LOG --") {
            current = None;
        }
        let Some(name) = &current else {
            continue;
        };
        let statistics = found.entry(name.clone()).or_default();
        statistics.instructions = sizes.get(name).copied().unwrap_or_default();
        if let Some(stack) = line.strip_prefix("stack depth ") {
            statistics.stack = stack.trim().to_owned();
        } else if let Some(count) = number(line, "processed ") {
            statistics.followed = count;
        } else if let Some(time) = number(line, "verification time ") {
            statistics.milliseconds = u128::from(time / 1000);
        }
    }
    found
}

fn number(line: &str, before: &str) -> Option<u64> {
    line.strip_prefix(before)?.split(' ').next()?.parse().ok()
}
