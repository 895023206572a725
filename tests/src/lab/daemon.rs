//! The CGN's daemon in a laboratory, and what it says of itself.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use cgn_common::verdict::Reason;
use cgn_user::api::rows::{
    BlockRow, DropRow, Explanation, MappingRow, MirrorRow, Page, PoolRow, RuleRow, Status,
    SubscriberRow,
};
use cgn_user::maplog::scatter::Keyring;
use cgn_user::maplog::{self, Block, Event, Record};
use serde::de::DeserializeOwned;

use super::deadline::{poll, wait_until};
use super::http::http;
use super::namespace::Namespace;
use super::process::{Process, run_to_end};
use super::program::cgn_program;
use super::topology::Lab;

/// How long the daemon may take to load, attach and answer; a guest without KVM is slow.
const START_SECS: f64 = 60.0;
/// How long `cgn show` may take.
const SHOW_SECS: f64 = 20.0;

/// A configuration for a laboratory. The defaults are small, so that tests fill blocks soon.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `pool.addresses`, each as in TOML, with quotes.
    pub addresses: String,
    pub block_ports: u16,
    /// `contiguous` or `scattered`.
    pub port_mode: &'static str,
    pub keep_class: bool,
    pub blocks_per_subscriber: u8,
    pub watermark_percent: u8,
    pub xdp_mode: &'static str,
    /// Folder of the mapping log; the laboratory's own if there is none.
    pub log_folder: Option<PathBuf>,
    pub log_sync: bool,
    /// `log.on_full`.
    pub log_on_full: &'static str,
    pub block_idle_secs: u32,
    pub max_blocks: Option<u32>,
    /// Everything goes by the slow path.
    pub force_slow_path: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            addresses: r#""203.0.113.0/29", "203.0.113.77""#.to_owned(),
            block_ports: 64,
            port_mode: "contiguous",
            keep_class: false,
            blocks_per_subscriber: 4,
            watermark_percent: 75,
            xdp_mode: "auto",
            log_folder: None,
            log_sync: true,
            log_on_full: "refuse",
            block_idle_secs: 60,
            max_blocks: None,
            force_slow_path: false,
        }
    }
}

impl Settings {
    /// The configuration file.
    #[must_use]
    pub fn toml(&self, lab: &Lab) -> String {
        let mut text = String::new();
        for (side, (interface, vlan)) in ["inside", "outside"].into_iter().zip(lab.sides()) {
            // Writing to a String cannot fail.
            let _ = writeln!(
                text,
                "[{side}]\ninterface = \"{interface}\"\nvlan = {vlan:?}"
            );
        }
        let folder = lab.folder().display();
        let _ = writeln!(
            text,
            "[xdp]\nmode = \"{}\"\n\
             [[pool]]\nname = \"lab\"\naddresses = [{}]\nblock_ports = {}\nport_mode = \"{}\"\nkeep_class = {}\n\
             blocks_per_subscriber = {}\nwatermark_percent = {}\n{}\n\
             [[subscribers]]\nprefixes = [\"100.64.0.0/16\"]\npool = \"lab\"\n\
             [hold]\nblock_idle_secs = {}\n\
             [log]\ndirectory = \"{}/mapping-log\"\nsync = \"{}\"\non_full = \"{}\"\n\
             [control]\nsocket = \"{folder}/cgn.sock\"\npin_directory = \"{}\"\n\
             [debug]\nforce_slow_path = {}",
            self.xdp_mode,
            self.addresses,
            self.block_ports,
            self.port_mode,
            self.keep_class,
            self.blocks_per_subscriber,
            self.watermark_percent,
            self.max_blocks
                .map_or_else(String::new, |blocks| format!("max_blocks = {blocks}")),
            self.block_idle_secs,
            self.log_folder.as_deref().unwrap_or(lab.folder()).display(),
            if self.log_sync { "full" } else { "relaxed" },
            self.log_on_full,
            lab.pins().display(),
            self.force_slow_path,
        );
        text
    }
}

/// A daemon that runs in the namespace `cgn`; stopped when this value ends.
#[derive(Debug)]
pub struct Daemon {
    process: Process,
    namespace: Namespace,
    program: PathBuf,
    socket: PathBuf,
    log: PathBuf,
    metrics: SocketAddr,
}

impl Daemon {
    /// Writes the configuration, starts the daemon and waits until it answers.
    ///
    /// # Errors
    /// It ended or does not answer; the error shows what it printed.
    pub fn start(lab: &Lab, settings: &Settings) -> Result<Self> {
        Self::start_with(lab, &settings.toml(lab), &cgn_program()?, &["--test-clock"])
    }

    /// The same with any configuration text, program and further arguments.
    ///
    /// # Errors
    /// As of [`Daemon::start`].
    pub fn start_with(lab: &Lab, toml: &str, program: &Path, arguments: &[&str]) -> Result<Self> {
        let mut daemon = Self::launch(lab, toml, program, arguments)?;
        daemon.wait_until_ready()?;
        Ok(daemon)
    }

    /// Starts the daemon and does not wait.
    ///
    /// # Errors
    /// It cannot be started, or the text is no configuration.
    pub fn launch(lab: &Lab, toml: &str, program: &Path, arguments: &[&str]) -> Result<Self> {
        Self::launch_in(&lab.cgn, lab.folder(), toml, program, arguments)
    }

    /// The same in any namespace, with a folder for its files.
    ///
    /// # Errors
    /// As of [`Daemon::launch`].
    pub fn launch_in(
        namespace: &Namespace,
        folder: &Path,
        toml: &str,
        program: &Path,
        arguments: &[&str],
    ) -> Result<Self> {
        let file = folder.join("cgn.toml");
        std::fs::write(&file, toml).with_context(|| format!("cannot write {}", file.display()))?;
        let config = cgn_user::config::Config::parse(toml)
            .with_context(|| format!("the laboratory's configuration:\n{toml}"))?;
        let mut command = namespace.command(program);
        command.args(["run", "--config"]).arg(&file).args(arguments);
        // `cgn run` colours its log only on a terminal; this is for people who force it.
        command.env("NO_COLOR", "1");
        let process = Process::start("cgn run", &mut command, &folder.join("daemon.log"))?;
        Ok(Self {
            process,
            namespace: namespace.clone(),
            program: program.to_owned(),
            socket: config.config.control.socket.clone(),
            log: config.config.log.directory.clone(),
            metrics: config.config.metrics.listen,
        })
    }

    /// Waits until it answers on its control socket.
    ///
    /// # Errors
    /// It ended or does not answer; the error shows what it printed.
    pub fn wait_until_ready(&mut self) -> Result<()> {
        let outcome = poll(START_SECS, || match self.process.ended() {
            Ok(None) => self.status().ok().map(|_| None),
            Ok(Some(status)) => Some(Some(status)),
            Err(_) => None,
        });
        match outcome {
            Some(None) => Ok(()),
            Some(Some(status)) => bail!(
                "cgn run ended at once ({status}); it printed:\n{}",
                self.process.tail()
            ),
            None => bail!(
                "cgn run did not answer at {} within {START_SECS} s; it printed:\n{}",
                self.socket.display(),
                self.process.tail()
            ),
        }
    }

    /// The process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Asks it to end, as a service manager does, and waits.
    ///
    /// # Errors
    /// It did not end in time.
    pub fn stop(mut self) -> Result<ExitStatus> {
        self.process.stop()
    }

    /// Path of its control socket.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Path of its mapping log.
    #[must_use]
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Where Prometheus would scrape, within the namespace.
    #[must_use]
    pub fn metrics_address(&self) -> SocketAddr {
        self.metrics
    }

    /// `cgn show WHAT --json`.
    ///
    /// # Errors
    /// The command failed, or printed something else.
    fn show<T: DeserializeOwned>(&self, what: &str) -> Result<Vec<T>> {
        let mut command = Command::new(&self.program);
        command
            .args(["show", what, "--json", "--socket"])
            .arg(&self.socket);
        let text = run_to_end(&mut command, SHOW_SECS).with_context(|| self.last_words())?;
        let page: Page<T> = serde_json::from_str(&text)
            .with_context(|| format!("`cgn show {what} --json` printed other rows:\n{text}"))?;
        ensure!(
            page.next_cursor.is_none(),
            "`cgn show {what} --json` left rows out"
        );
        Ok(page.rows)
    }

    /// `cgn explain PACKET --json`.
    ///
    /// # Errors
    /// The command failed, or printed something else.
    pub fn explain(&self, packet: &str) -> Result<Explanation> {
        let mut command = Command::new(&self.program);
        command
            .args(["explain", packet, "--json", "--socket"])
            .arg(&self.socket);
        let text = run_to_end(&mut command, SHOW_SECS).with_context(|| self.last_words())?;
        serde_json::from_str(&text)
            .with_context(|| format!("`cgn explain --json` printed something else:\n{text}"))
    }

    /// `cgn show subscribers`.
    ///
    /// # Errors
    /// As of all `show`s: the command failed.
    pub fn subscribers(&self) -> Result<Vec<SubscriberRow>> {
        self.show("subscribers")
    }

    /// `cgn show blocks`.
    ///
    /// # Errors
    /// The command failed.
    pub fn blocks(&self) -> Result<Vec<BlockRow>> {
        self.show("blocks")
    }

    /// `cgn show mappings`.
    ///
    /// # Errors
    /// The command failed.
    pub fn mappings(&self) -> Result<Vec<MappingRow>> {
        self.show("mappings")
    }

    /// `cgn show pools`.
    ///
    /// # Errors
    /// The command failed.
    pub fn pools(&self) -> Result<Vec<PoolRow>> {
        self.show("pools")
    }

    /// `cgn show drops`.
    ///
    /// # Errors
    /// The command failed.
    pub fn drops(&self) -> Result<Vec<DropRow>> {
        self.show("drops")
    }

    /// `cgn show rules`.
    ///
    /// # Errors
    /// The command failed.
    pub fn rules(&self) -> Result<Vec<RuleRow>> {
        self.show("rules")
    }

    /// `cgn show mirrors`.
    ///
    /// # Errors
    /// It failed.
    pub fn mirrors(&self) -> Result<Vec<MirrorRow>> {
        self.show("mirrors")
    }

    /// Waits until all mirrors are on.
    ///
    /// # Errors
    /// They are not, after a minute.
    pub fn wait_for_mirrors(&self) -> Result<()> {
        wait_until("all mirrors are on", 60.0, || {
            let all = self.mirrors()?;
            Ok(all
                .iter()
                .all(|row| row.state.starts_with("on"))
                .then_some(()))
        })
    }

    /// Packets with this reason, in both paths.
    ///
    /// # Errors
    /// The command failed, or there is no such reason.
    pub fn count_of(&self, reason: &str) -> Result<u64> {
        ensure!(
            Reason::ALL.iter().any(|known| known.name() == reason),
            "there is no reason {reason}"
        );
        // What was never counted may be left out.
        let row = self.drops()?.into_iter().find(|row| row.reason == reason);
        Ok(row.map_or(0, |row| row.fast_path + row.slow_path))
    }

    /// Waits until a reason was counted `more` times since it stood at `before`.
    ///
    /// # Errors
    /// It was not; the error shows all drops.
    pub fn wait_for_count(&self, reason: &str, before: u64, more: u64) -> Result<()> {
        wait_until(&format!("{more} packets with reason {reason}"), 5.0, || {
            let count = self.count_of(reason)?;
            Ok((count >= before + more).then_some(()))
        })
        .with_context(|| {
            let rows = self.drops().unwrap_or_default();
            let counted: Vec<String> = rows
                .iter()
                .filter(|row| row.fast_path + row.slow_path > 0)
                .map(|row| format!("{} {}+{}", row.reason, row.fast_path, row.slow_path))
                .collect();
            format!("counted so far: {}", counted.join(", "))
        })
    }

    /// `GET /v1/status`.
    ///
    /// # Errors
    /// It does not answer.
    pub fn status(&self) -> Result<Status> {
        let body = self.request("GET", "/v1/status", "")?;
        serde_json::from_str(&body).with_context(|| format!("/v1/status answered {body}"))
    }

    /// Moves the daemon's clock forward; it needs `--test-clock`.
    ///
    /// # Errors
    /// It refuses.
    pub fn advance_clock(&self, secs: u32) -> Result<()> {
        self.request("POST", "/v1/clock", &format!("{{\"advance_secs\":{secs}}}"))
            .map(drop)
    }

    /// The metrics page.
    ///
    /// # Errors
    /// It does not answer.
    pub fn metrics(&self) -> Result<String> {
        let address = self.metrics;
        let mut stream = self.namespace.within(|| {
            TcpStream::connect_timeout(&address, Duration::from_secs(5))
                .with_context(|| format!("no connection to {address}"))
        })?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        http(&mut stream, "GET", "/metrics", "")
    }

    /// Value of a metric, named with its labels; 0 if it has none.
    ///
    /// # Errors
    /// The page does not answer.
    pub fn figure(&self, series: &str) -> Result<f64> {
        let page = self.metrics()?;
        let line = page.lines().find_map(|line| line.strip_prefix(series));
        Ok(line
            .and_then(|rest| rest.trim().parse().ok())
            .unwrap_or(0.0))
    }

    /// Notices of this kind so far.
    ///
    /// # Errors
    /// The page does not answer.
    pub fn notices(&self, kind: &str) -> Result<f64> {
        self.figure(&format!("cgn_notices_total{{kind=\"{kind}\"}}"))
    }

    /// All records of the mapping log.
    ///
    /// # Errors
    /// The file is missing or damaged.
    pub fn log_records(&self) -> Result<Vec<Record>> {
        maplog::read(&self.log)?
            .collect::<std::result::Result<_, _>>()
            .with_context(|| format!("in {}", self.log.display()))
    }

    fn request(&self, method: &str, path: &str, body: &str) -> Result<String> {
        let mut stream = UnixStream::connect(&self.socket)
            .with_context(|| format!("no connection to {}", self.socket.display()))?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        http(&mut stream, method, path, body)
    }

    fn last_words(&self) -> String {
        format!("the daemon printed last:\n{}", self.process.tail())
    }
}

/// Which subscriber had this external address and port at the end of `records`.
#[must_use]
pub fn owner_in(records: &[Record], external: SocketAddrV4) -> Option<Ipv4Addr> {
    owner(records, external, |block| {
        block.key == 0 && block.ports.contains(external.port())
    })
}

/// The same where blocks may be scattered with these keys.
///
/// # Errors
/// A record names a key that is not there.
pub fn owner_by(
    records: &[Record],
    keys: &Keyring,
    external: SocketAddrV4,
) -> Result<Option<Ipv4Addr>> {
    let blocks = records
        .iter()
        .filter_map(|record| record.entry.event.block());
    for block in blocks {
        keys.has(&block, external.port())?;
    }
    let has = |block: &Block| keys.has(block, external.port()).unwrap_or(false);
    Ok(owner(records, external, has))
}

fn owner(
    records: &[Record],
    external: SocketAddrV4,
    has: impl Fn(&Block) -> bool,
) -> Option<Ipv4Addr> {
    let covers = |block: &Block| block.external == *external.ip() && has(block);
    let mut owner = None;
    for record in records {
        match &record.entry.event {
            Event::Allocate(block) if covers(block) => owner = Some(block.inside),
            Event::Release { block, .. } if covers(block) => owner = None,
            _ => {}
        }
    }
    owner
}
