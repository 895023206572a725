//! The device under test on a processor of its own: the kernel polls its devices in threads, which
//! are kept there.

use std::fs;

use anyhow::{Context as _, Result, ensure};

use crate::bench::processor;
use crate::lab::{Bed, DEVICES, poll, run_to_end};

/// Rank of these threads among those in real time: before whatever else runs there.
const PRIORITY: i32 = 40;

/// Has both devices of the device under test polled on processor `cpu`.
///
/// # Errors
/// The kernel has no threads for that (before Linux 5.12), or they cannot be moved.
pub fn move_to(bed: &Bed, cpu: usize) -> Result<()> {
    for device in DEVICES {
        // /sys shows the devices of the namespace that it was mounted in: `ip` mounts another.
        let set = format!("echo 1 >/sys/class/net/{device}/threaded");
        let mut command = std::process::Command::new("ip");
        command.args(["netns", "exec", bed.dut.name(), "/bin/sh", "-c", &set]);
        run_to_end(&mut command, 10.0).context("threaded NAPI")?;
        let thread = poll(5.0, || thread_of(device))
            .with_context(|| format!("{device} has no thread of NAPI"))?;
        processor::keep(thread, cpu)?;
        let rank = libc::sched_param {
            sched_priority: PRIORITY,
        };
        // SAFETY: a valid parameter; the thread is the kernel's, and stays while its device does.
        let result = unsafe { libc::sched_setscheduler(thread, libc::SCHED_FIFO, &raw const rank) };
        ensure!(
            result == 0,
            "the thread of {device} cannot run in real time"
        );
    }
    Ok(())
}

/// The newest thread for this device: only one rig is there at a time.
fn thread_of(device: &str) -> Option<i32> {
    let wanted = format!("napi/{device}-");
    let mut found = None;
    for entry in fs::read_dir("/proc").ok()?.flatten() {
        let Ok(id) = entry.file_name().to_string_lossy().parse::<i32>() else {
            continue;
        };
        let Ok(name) = fs::read_to_string(entry.path().join("comm")) else {
            continue;
        };
        if name.starts_with(&wanted[..wanted.len().min(15)]) {
            found = found.max(Some(id));
        }
    }
    found
}
