//! Which processor a thread runs on, and for how long.

use std::fs;
use std::io;

use anyhow::{Context as _, Result, bail, ensure};

/// Number of processors that this process may use.
///
/// # Errors
/// The operating system's.
pub fn count() -> Result<usize> {
    let count = std::thread::available_parallelism().context("cannot count processors")?;
    Ok(count.get())
}

/// Keeps this thread on one processor.
///
/// # Errors
/// There is none of this number.
pub fn stay_on(cpu: usize) -> Result<()> {
    keep(0, cpu)
}

/// Keeps all threads of a process on one processor.
///
/// # Errors
/// There is none of this number, or no such process.
pub fn keep_process(process: u32, cpu: usize) -> Result<()> {
    for thread in fs::read_dir(format!("/proc/{process}/task"))? {
        keep(thread?.file_name().to_string_lossy().parse()?, cpu)?;
    }
    Ok(())
}

/// The thread of a process with this name.
///
/// # Errors
/// There is none, or no such process.
pub fn thread_of(process: u32, name: &str) -> Result<i32> {
    for thread in fs::read_dir(format!("/proc/{process}/task"))? {
        let thread = thread?;
        // A thread may have ended since.
        let named = fs::read_to_string(thread.path().join("comm")).unwrap_or_default();
        if named.trim() == name {
            return Ok(thread.file_name().to_string_lossy().parse()?);
        }
    }
    bail!("process {process} has no thread {name}")
}

/// Seconds that a thread has had a processor.
///
/// # Errors
/// There is no such thread.
pub fn seconds_of(thread: i32) -> Result<f64> {
    let path = format!("/proc/{thread}/schedstat");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let nanoseconds = text.split(' ').next().context("no figures")?;
    Ok(nanoseconds.parse::<f64>()? / 1e9)
}

/// Keeps a thread (0: this one) on one processor.
///
/// # Errors
/// There is none of this number, or no such thread.
pub fn keep(thread: i32, cpu: usize) -> Result<()> {
    ensure!(cpu < libc::CPU_SETSIZE as usize, "no processor {cpu}");
    // SAFETY: a set of processors is plain bits, and all zero is the empty set.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: `cpu` is within the set (checked above).
    unsafe { libc::CPU_SET(cpu, &mut set) };
    // SAFETY: the set is valid for the call and of the length given.
    let result = unsafe { libc::sched_setaffinity(thread, size_of_val(&set), &raw const set) };
    ensure!(
        result == 0,
        "cannot keep thread {thread} on processor {cpu}: {}",
        io::Error::last_os_error()
    );
    Ok(())
}
