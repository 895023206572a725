//! One TCP connection through a system, by iperf3.
//!
//! A veth end with an XDP program makes the kernel copy every packet of a local sender, and needs
//! checksum offload off, so that this does not rank XDP programs against the kernel's own ways:
//! it is here for completeness, and packets a second are what to quote.

use std::process::Command;

use anyhow::{Context as _, Result};

use super::ends::Ends;
use super::population::{PORTS, Population};
use super::system::System;
use crate::lab::{Bed, Process, run_to_end};

/// Gbit/s of one connection from a subscriber to the server, for some seconds.
///
/// # Errors
/// iperf3 is missing or fails, or the system does not start.
pub fn measure(system: &System, secs: u32, cpu: usize) -> Result<f64> {
    let bed = Bed::new()?;
    let population = Population::of(16 * PORTS)?;
    // Its sinks are not in place: the ends have sockets.
    let mut ends = Ends::load(&bed, population, cpu)?;
    let _running = system.start(&bed, &mut ends, population)?;
    let log = bed.folder().join("iperf3.log");
    let mut server = bed.server.command("iperf3");
    server.args(["-s", "-B", "192.0.2.10", "--forceflush"]);
    let mut server = Process::start("iperf3", &mut server, &log)
        .context("iperf3 is missing (Debian package iperf3)")?;
    server.wait_for_output("Server listening", 10.0)?;
    let mut client: Command = bed.client.command("iperf3");
    client.args(["-c", "192.0.2.10", "-B", "100.64.0.1", "-J", "-t"]);
    client.arg(secs.to_string());
    let text = run_to_end(&mut client, f64::from(secs) + 30.0)?;
    let report: serde_json::Value = serde_json::from_str(&text).context("iperf3's report")?;
    let bits = report["end"]["sum_received"]["bits_per_second"]
        .as_f64()
        .context("iperf3 tells no bits_per_second")?;
    Ok(bits / 1e9)
}
