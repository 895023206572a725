//! A network namespace: sockets and processes inside it.

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;

use anyhow::{Context as _, Result, anyhow, bail};

/// A named network namespace, made with `ip netns`. Removed by the laboratory's janitor.
#[derive(Debug, Clone)]
pub struct Namespace {
    name: String,
    file: Arc<File>,
}

impl Namespace {
    /// Makes a namespace with its loopback up and IPv6 off.
    pub(super) fn make(name: String) -> Result<Self> {
        super::process::run_to_end(Command::new("ip").args(["netns", "add", &name]), 10.0)?;
        let path = PathBuf::from("/run/netns").join(&name);
        let file = File::open(&path).with_context(|| format!("cannot open {}", path.display()))?;
        let namespace = Self {
            name,
            file: Arc::new(file),
        };
        namespace.ip("link set lo up\n")?;
        for (key, value) in [
            ("ipv6/conf/all/disable_ipv6", "1"),
            ("ipv6/conf/default/disable_ipv6", "1"),
            ("ipv4/conf/all/rp_filter", "0"),
            ("ipv4/conf/default/rp_filter", "0"),
        ] {
            namespace.set_sysctl(key, value)?;
        }
        Ok(namespace)
    }

    /// Its name, as in `ip netns list`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs `work` on a thread inside the namespace. Sockets that it returns stay inside.
    ///
    /// # Errors
    /// What `work` returns, or that the namespace cannot be entered.
    pub fn within<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        std::thread::scope(|scope| {
            scope
                .spawn(|| {
                    enter(self.file.as_fd())
                        .with_context(|| format!("cannot enter namespace {}", self.name))?;
                    work()
                })
                .join()
                .map_err(|_| anyhow!("a thread in namespace {} panicked", self.name))?
        })
        .with_context(|| format!("in namespace {}", self.name))
    }

    /// A command that will run inside the namespace. Unlike `ip netns exec`, this leaves /sys and
    /// the BPF file system below it as they are. The command has a process group of its own, so
    /// that Ctrl-C reaches only us.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        let file = Arc::clone(&self.file);
        command.stdin(Stdio::null()).process_group(0);
        // SAFETY: setns(2) is a system call without memory; the file is open until exec.
        unsafe { command.pre_exec(move || enter(file.as_fd())) };
        command
    }

    /// Gives lines to `ip -batch`.
    ///
    /// # Errors
    /// What `ip` says of the first line that fails.
    pub fn ip(&self, lines: &str) -> Result<()> {
        let mut child = Command::new("ip")
            .args(["-n", &self.name, "-batch", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot start ip (package iproute2)")?;
        if let Some(mut stdin) = child.stdin.take() {
            // When `ip` stops at an error it says why; the broken pipe adds nothing to that.
            let _ = stdin.write_all(lines.as_bytes());
        }
        let output = child.wait_with_output().context("cannot wait for ip")?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!("ip -n {} refused: {}\n{lines}", self.name, said.trim());
        }
        Ok(())
    }

    /// Whether there is a device of this name.
    ///
    /// # Errors
    /// The namespace cannot be entered.
    pub fn has_device(&self, name: &str) -> Result<bool> {
        let name = CString::new(name).context("the device's name has a zero in it")?;
        // SAFETY: a string that ends in zero.
        self.within(|| Ok(unsafe { libc::if_nametoindex(name.as_ptr()) } != 0))
    }

    /// Sets `/proc/sys/net/KEY` of this namespace. A key that the kernel lacks is passed over.
    ///
    /// # Errors
    /// The kernel's.
    pub fn set_sysctl(&self, key: &str, value: &str) -> Result<()> {
        let path = PathBuf::from("/proc/sys/net").join(key);
        self.within(move || match std::fs::write(&path, value) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            result => result.with_context(|| format!("cannot set {}", path.display())),
        })
    }

    /// A counter of this namespace's protocols, by group and name as in `/proc/net/snmp` and `netstat`.
    ///
    /// # Errors
    /// There is none of that name.
    pub fn counter(&self, group: &str, name: &str) -> Result<u64> {
        // `/proc/net` is that of the process's first thread.
        let files = [
            "/proc/thread-self/net/snmp",
            "/proc/thread-self/net/netstat",
        ];
        let text = self.within(|| Ok(files.map(std::fs::read_to_string)))?;
        let text = text.into_iter().collect::<io::Result<String>>()?;
        let lines = text.lines().filter_map(|line| line.split_once(": "));
        let mut lines = lines.filter(|(of, _)| *of == group);
        let (names, values) = lines.next().zip(lines.next()).context("two lines of it")?;
        let mut counters = names.1.split(' ').zip(values.1.split(' '));
        let found = counters.find(|(of, _)| *of == name);
        let (_, value) = found.with_context(|| format!("no counter {group} {name}"))?;
        Ok(value.parse()?)
    }

    /// Switches features of a device, as `ethtool -K` names them.
    ///
    /// # Errors
    /// What `ethtool` says.
    pub fn set_features(&self, device: &str, features: &[&str]) -> Result<()> {
        let mut command = self.command("ethtool");
        command.args(["-K", device]).args(features);
        super::process::run_to_end(&mut command, 10.0).map(drop)
    }
}

fn enter(namespace: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: a valid descriptor; setns(2) changes only the calling thread.
    match unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
