//! What the running daemon may still do, as the kernel tells it.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use anyhow::{Context as _, Result, ensure};
use cgn_tests::lab::{self, Daemon, Plan, Settings, UdpEcho, address, cgn_program, run_to_end};

use crate::{PATIENCE_SECS, SERVER, in_lab};

/// Numbers of capabilities (linux/capability.h).
const NET_ADMIN: u64 = 1 << 12;
const NET_RAW: u64 = 1 << 13;
const IPC_LOCK: u64 = 1 << 14;
const SYS_ADMIN: u64 = 1 << 21;
const SYS_RESOURCE: u64 = 1 << 24;
const PERFMON: u64 = 1 << 38;
const BPF: u64 = 1 << 39;

/// What each thread may keep, by name; those without a name of their own are the main thread's.
const ALLOWED: &[(&str, u64)] = &[
    ("cgn-engine", BPF | PERFMON | NET_ADMIN | NET_RAW),
    ("cgn-front", BPF | PERFMON | NET_ADMIN),
    ("cgn-sealer", 0),
    ("cgn-sink", 0),
];
const START: u64 = BPF | PERFMON | NET_ADMIN | NET_RAW | IPC_LOCK | SYS_ADMIN | SYS_RESOURCE;

#[test]
fn process_and_threads_keep_only_what_they_need_also_after_a_reload() {
    let name = "privileges::process_and_threads_keep_only_what_they_need_also_after_a_reload";
    in_lab(name, &Plan::default(), |lab| {
        let settings = Settings::default();
        let sink = "\n[[sink]]\nname = \"dead\"\nformat = \"jsonl\"\ntransport = \"tcp\"\naddress = \"127.0.0.1:9\"\n";
        let toml = settings.toml(lab) + sink;
        let mut daemon = Daemon::start_with(lab, &toml, &cgn_program()?, &["--test-clock"])?;
        let echo = UdpEcho::start(&lab.internet, SERVER)?;
        let socket = lab::echo_from(&lab.subscribers[0], address::subscriber(1, 2))?;
        let seen = lab::exchange(&socket, echo.address(), b"one", false, PATIENCE_SECS)?;
        confined(daemon.process().id())?;
        let mode = fs::metadata(daemon.socket())?.permissions().mode() & 0o777;
        ensure!(mode == 0o660, "the control socket has mode {mode:o}");
        // A reload loads programs and opens sockets again.
        let changed = toml + "\n[timeouts]\nudp_secs = 400\n";
        fs::write(lab.folder().join("cgn.toml"), changed)?;
        let mut reload = lab.cgn.command(cgn_program()?);
        run_to_end(
            reload.arg("reload").arg("--socket").arg(daemon.socket()),
            60.0,
        )?;
        confined(daemon.process().id()).context("after the reload")?;
        let again = lab::exchange(&socket, echo.address(), b"two", false, PATIENCE_SECS)?;
        ensure!(again == seen, "{seen} became {again}");
        let fresh = lab::echo_from(&lab.subscribers[0], address::subscriber(1, 3))?;
        lab::exchange(&fresh, echo.address(), b"new", true, PATIENCE_SECS)?;
        Ok(())
    });
}

/// Looks at each thread of a process.
fn confined(pid: u32) -> Result<()> {
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let status = fs::read_to_string(task?.path().join("status"))?;
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.map(str::trim)
                .with_context(|| format!("no {name} in {status}"))
        };
        let mask = |name: &str| Ok::<u64, anyhow::Error>(u64::from_str_radix(field(name)?, 16)?);
        let thread = field("Name:")?;
        let known = ALLOWED.iter().find(|(name, _)| thread.starts_with(name));
        let allowed = known.map_or(START, |(_, allowed)| *allowed);
        for set in ["CapEff:", "CapPrm:"] {
            let more = mask(set)? & !allowed;
            ensure!(more == 0, "thread {thread} has {set} {more:#x} too much");
        }
        let (inherited, ambient) = (mask("CapInh:")?, mask("CapAmb:")?);
        ensure!(
            inherited == 0 && ambient == 0,
            "thread {thread} passes capabilities on"
        );
        let bounding = mask("CapBnd:")? & !START;
        ensure!(bounding == 0, "thread {thread} could gain {bounding:#x}");
        ensure!(
            field("NoNewPrivs:")? == "1",
            "thread {thread} may gain privileges"
        );
        if let Some((name, _)) = known {
            *seen.entry(name).or_default() += 1;
        }
    }
    ensure!(seen.len() == ALLOWED.len(), "threads seen: {seen:?}");
    Ok(())
}
