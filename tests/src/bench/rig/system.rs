//! Devices under test: ours, and what it is compared with.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use super::ends::Ends;
use super::population::Population;
use crate::lab::{Bed, DEVICES, Daemon, Process, cgn_program, run_to_end};

/// Seconds that a program may take to be ready, and to end.
const PATIENCE_SECS: f64 = 30.0;
/// Idle seconds after which a session of ours ends: a week, the most that there can be. Packets from outside
/// alone keep none, and the RFC's trials of those take hours.
pub const UDP_SECS: u32 = 604_800;
/// Idle time after which conntrack forgets a UDP flow, in seconds: longer than any run.
const CONNTRACK_SECS: &str = "900";

/// Interface that a mirror sends to.
const COPIES: &str = "copies";
/// As many copies as one processor may make.
const MIRROR: &str = "[[mirror]]\nname = \"tenth\"\nto = \"interface\"\ninterface = \"copies\"\n\
                      packets_of = 10\nwhen = \"after\"\nrate = 1000000\n";

/// What stands between the two ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum System {
    /// XDP programs that only send frames on: the limit.
    Redirect,
    /// Everything is dropped: the generator and the first link alone.
    Drop,
    /// The kernel's forwarding, without NAT.
    Forward,
    /// nftables' masquerade, with conntrack.
    Nftables,
    /// Ours, in the driver.
    CgnNative,
    /// Ours, in generic mode.
    CgnGeneric,
    /// Ours, in the driver, with a tenth of all packets mirrored to an interface.
    CgnMirror,
    /// Another state of ours, in the driver: name, program.
    OtherCgn(String, PathBuf),
    /// einat's program at this path.
    Einat(PathBuf),
    /// Whatever this script sets up: name, path.
    Script(String, PathBuf),
}

impl System {
    /// Name in tables and in JSON.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Redirect => "xdp_redirect",
            Self::Drop => "xdp_drop",
            Self::Forward => "kernel_forward",
            Self::Nftables => "nftables_masquerade",
            Self::CgnNative => "cgn_native",
            Self::CgnGeneric => "cgn_generic",
            Self::CgnMirror => "cgn_mirror",
            Self::Einat(_) => "einat",
            Self::OtherCgn(name, _) | Self::Script(name, _) => name,
        }
    }

    /// Whether frames must come out with another source.
    #[must_use]
    pub const fn is_nat(&self) -> bool {
        !matches!(self, Self::Redirect | Self::Drop | Self::Forward)
    }

    /// What hinders this system on this machine, before any run.
    ///
    /// # Errors
    /// The program that is missing, with its package.
    pub fn check(&self) -> Result<()> {
        let runs = |program: &str, package: &str| -> Result<()> {
            let found = Command::new(program).arg("--version").output();
            ensure!(
                found.is_ok(),
                "{program} is missing (Debian package {package})"
            );
            Ok(())
        };
        match self {
            Self::Nftables => runs("nft", "nftables"),
            Self::Einat(path) | Self::OtherCgn(_, path) | Self::Script(_, path) => {
                ensure!(path.is_file(), "{} is no file", path.display());
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Sets it up for these subscribers, on a fresh rig.
    ///
    /// # Errors
    /// What is missing, or does not start.
    pub fn start<'b>(
        &self,
        bed: &'b Bed,
        ends: &mut Ends,
        population: Population,
    ) -> Result<Running<'b>> {
        let mut running = Running {
            daemon: None,
            has_mirror: *self == Self::CgnMirror,
            process: None,
            script: None,
        };
        match self {
            Self::Redirect => ends.redirect(bed)?,
            Self::Drop => ends.drop_all(bed)?,
            Self::Forward => bed.dut.set_sysctl("ipv4/ip_forward", "1")?,
            Self::Nftables => masquerade(bed)?,
            Self::CgnNative | Self::CgnGeneric => {
                let mode = match self {
                    Self::CgnNative => "native",
                    _ => "generic",
                };
                running.daemon = Some(cgn(bed, population, mode, &[])?);
            }
            Self::OtherCgn(_, program) => {
                let toml = configuration(bed, population, "native");
                running.daemon = Some(start(bed, &toml, program, &[])?);
            }
            Self::CgnMirror => {
                ends.drop_copies(bed, COPIES)?;
                let toml = configuration(bed, population, "native") + MIRROR;
                let daemon = start(bed, &toml, &cgn_program()?, &[])?;
                daemon.wait_for_mirrors()?;
                running.daemon = Some(daemon);
            }
            Self::Einat(path) => running.process = Some(einat(bed, path)?),
            Self::Script(_, path) => {
                script(bed, path, "up", population)?;
                running.script = Some((bed, path.clone(), population));
            }
        }
        Ok(running)
    }
}

/// A system that is set up; ends with this value.
pub struct Running<'b> {
    daemon: Option<Daemon>,
    has_mirror: bool,
    process: Option<Process>,
    script: Option<(&'b Bed, PathBuf, Population)>,
}

impl Running<'_> {
    /// Our daemon, if it is ours.
    pub fn daemon(&mut self) -> Option<&mut Daemon> {
        self.daemon.as_mut()
    }

    /// That it still runs.
    ///
    /// # Errors
    /// It ended; the error shows what it printed.
    pub fn check(&mut self) -> Result<()> {
        if let Some(daemon) = self.daemon.as_ref().filter(|_| self.has_mirror) {
            for row in daemon.mirrors()? {
                ensure!(row.sent > 0, "it mirrored nothing: {row:?}");
                eprintln!(
                    "    mirrored: {} packets, {} missed; {} frames sent, {} lost",
                    row.matched, row.missed, row.sent, row.lost
                );
            }
        }
        if let Some(process) = &mut self.process
            && let Some(status) = process.ended()?
        {
            anyhow::bail!("it ended ({status}); it printed:\n{}", process.tail());
        }
        Ok(())
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if let Some((bed, path, population)) = &self.script
            && let Err(error) = script(bed, path, "down", *population)
        {
            eprintln!("{error:#}");
        }
    }
}

/// Starts our daemon on the rig.
///
/// # Errors
/// It does not start; the error shows what it printed.
pub fn cgn(bed: &Bed, population: Population, mode: &str, arguments: &[&str]) -> Result<Daemon> {
    let toml = configuration(bed, population, mode);
    start(bed, &toml, &cgn_program()?, arguments)
}

fn start(bed: &Bed, toml: &str, program: &Path, arguments: &[&str]) -> Result<Daemon> {
    let mut daemon = Daemon::launch_in(&bed.dut, bed.folder(), toml, program, arguments)?;
    daemon.wait_until_ready()?;
    Ok(daemon)
}

/// Ours, for so many subscribers, with the blocks that their sessions need.
fn configuration(bed: &Bed, population: Population, mode: &str) -> String {
    let (first, last) = population.pool();
    let [inside, outside] = DEVICES;
    let folder = bed.folder().display();
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = write!(
        text,
        "[inside]\ninterface = \"{inside}\"\n[outside]\ninterface = \"{outside}\"\n\
         [xdp]\nmode = \"{mode}\"\n\
         [[pool]]\nname = \"rig\"\naddresses = [\"{first}-{last}\"]\nblock_ports = {}\n\
         blocks_per_subscriber = {}\nmax_blocks = {}\n\
         [timeouts]\nudp_secs = {UDP_SECS}\n\
         [[subscribers]]\nprefixes = [\"{}\"]\npool = \"rig\"\n\
         [log]\ndirectory = \"{folder}/mapping-log\"\nsync = \"relaxed\"\n\
         [control]\nsocket = \"{folder}/cgn.sock\"\npin_directory = \"{}\"\n",
        population.block_ports(),
        population.blocks_per_host(),
        population.hosts() * population.blocks_per_host(),
        population.prefix(),
        bed.pins().display(),
    );
    text
}

/// The kernel's own NAT44, with room for every flow.
fn masquerade(bed: &Bed) -> Result<()> {
    bed.dut.set_sysctl("ipv4/ip_forward", "1")?;
    let [_, outside] = DEVICES;
    let rules = bed.folder().join("rules.nft");
    std::fs::write(
        &rules,
        format!(
            "table ip rig {{\n  chain post {{\n    type nat hook postrouting priority srcnat;\n    \
             oifname \"{outside}\" masquerade\n  }}\n}}\n"
        ),
    )?;
    run_to_end(bed.dut.command("nft").arg("-f").arg(&rules), 10.0)?;
    for key in ["udp_timeout", "udp_timeout_stream"] {
        let key = format!("netfilter/nf_conntrack_{key}");
        bed.dut.set_sysctl(&key, CONNTRACK_SECS)?;
    }
    bed.set_for_now("/proc/sys/net/netfilter/nf_conntrack_max", "4194304")?;
    bed.set_for_now("/sys/module/nf_conntrack/parameters/hashsize", "1048576")
}

/// einat on the outside device, with all ports and without hairpinning.
fn einat(bed: &Bed, path: &Path) -> Result<Process> {
    bed.dut.set_sysctl("ipv4/ip_forward", "1")?;
    let [_, outside] = DEVICES;
    let mut command = bed.dut.command(path);
    command.args(["--ifname", outside, "--nat44", "--ports", "1024-65535"]);
    let mut process = Process::start("einat", &mut command, &bed.folder().join("einat.log"))?;
    std::thread::sleep(std::time::Duration::from_secs(1));
    ensure!(
        process.ended()?.is_none(),
        "einat ended at once; it printed:\n{}",
        process.tail()
    );
    Ok(process)
}

/// Runs an adapter script inside the device under test.
fn script(bed: &Bed, path: &Path, verb: &str, population: Population) -> Result<()> {
    let (first, last) = population.pool();
    let [inside, outside] = DEVICES;
    let mut command = bed.dut.command(path);
    command
        .arg(verb)
        .env("RIG_INSIDE", inside)
        .env("RIG_OUTSIDE", outside)
        .env("RIG_SUBSCRIBERS", population.prefix())
        .env("RIG_POOL", format!("{first}-{last}"))
        .env("RIG_SESSIONS", population.sessions().to_string())
        .env("RIG_FOLDER", bed.folder())
        .env("RIG_NAMESPACE", bed.dut.name());
    run_to_end(&mut command, PATIENCE_SECS)
        .map(drop)
        .with_context(|| format!("{} {verb}", path.display()))
}
