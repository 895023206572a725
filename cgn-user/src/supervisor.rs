//! Which task owns what, and in which order things start and stop.
//!
//! ```text
//! start: config -> log (lock) -> API, RADIUS, metrics (bind) -> tables -> routes -> XDP -> sockets -> engine
//! reload: a stop, then the program executes itself again (ADR 13)
//! stop:  engine: what is to be logged -> log threads -> API, metrics; XDP and tables stay
//! ```
//! The engine has a thread of its own, the sealer of the mapping log another, the listener for RADIUS one, and each sink one; API and metrics share one more.

use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, Result, anyhow};
use sd_notify::NotifyState;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::api::rows::ReloadRequest;
use crate::config::Checked;
use crate::dataplane::interface;
use crate::engine::Engine;
use crate::engine::sealing::Sealing;
use crate::engine::start::Switches;
use crate::engine::streaming::Streaming;
use crate::privileges::{self, Work};
use crate::radius;
use crate::reload::Reload;
use crate::state::State;
use crate::watch::mirror;
use crate::{api, cli, engine, metrics, reload, service};

/// Reads and checks a configuration file; warnings go to the log.
///
/// # Errors
/// Every error of the file, one a line.
pub fn configuration(path: &Path) -> Result<Checked> {
    let name = path.display().to_string();
    let checked = cli::read_config(path)?;
    checked
        .check_interfaces(|interface| interface::index_of(interface).is_some())
        .map_err(|errors| errors.in_file(&name))?;
    for warning in &checked.warnings {
        tracing::warn!("{}", warning.in_file(&name));
    }
    Ok(checked)
}

/// Runs the daemon until SIGINT or SIGTERM, or until it is to be executed again with a new
/// configuration.
///
/// # Errors
/// What keeps it from starting, or made it end.
pub fn run(arguments: &cli::Run) -> Result<Option<Reload>> {
    let checked = configuration(&arguments.config)?;
    // A write beyond a file size limit shall be an error, not death.
    // SAFETY: ignoring a signal touches no memory.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
    // A reload while it starts changes nothing that is not read in a moment anyway.
    // SAFETY: as above.
    unsafe { libc::signal(libc::SIGHUP, libc::SIG_IGN) };
    privileges::give_up()?;
    engine::clock::warn_if_off();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("cgn-front")
        .on_thread_start(|| privileges::narrow(Work::Front))
        .enable_all()
        .build()
        .context("no runtime")?;
    // All that can be in use by another daemon, before anything is changed.
    let log = engine::start::open_log(&checked)?;
    let sealing = Sealing::open(&checked.config.log, log.0.committed())?;
    let realms = engine::start::name_realms(&checked.config)?;
    let streaming = Streaming::open(&checked, &log.0.committed(), &realms)?;
    let names = log.1.names.clone();
    let identities = radius::Listener::open(&checked, names)?;
    let metrics = runtime.block_on(metrics::Listener::bind(checked.config.metrics.listen))?;
    let api = {
        let _context = runtime.enter();
        api::Socket::bind(&checked.config.control.socket)?
    };
    let remote = runtime.block_on(api::Remote::bind(&checked.config.control))?;
    let switches = Switches {
        is_test_clock: arguments.test_clock,
        diagnose: arguments.diagnose,
        discard_tables: arguments.discard_tables,
    };
    let config_path = &arguments.config;
    let (state, engine) = engine::start::start(checked, config_path, log, &realms, switches)?;
    runtime.block_on(serve(
        state,
        engine,
        (sealing, streaming, identities),
        (api, remote),
        metrics,
    ))
}

async fn serve(
    state: Arc<State>,
    engine: Engine,
    (sealing, streaming, identities): (Sealing, Streaming, Option<radius::Listener>),
    (api, remote): (api::Socket, Option<api::Remote>),
    metrics: metrics::Listener,
) -> Result<Option<Reload>> {
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM")?;
    let mut hang_up = signal(SignalKind::hangup()).context("SIGHUP")?;
    let mut reload = state.reload.subscribe();
    let (stop_servers, stopped) = watch::channel(false);
    let until_stopped = |mut stopped: watch::Receiver<bool>| async move {
        // An error means that the sender is gone: stop, too.
        let _ = stopped.wait_for(|stop| *stop).await;
    };
    let api = tokio::spawn(api.serve(Arc::clone(&state), until_stopped(stopped.clone())));
    let remote = remote.map(|remote| {
        let stop = until_stopped(stopped.clone());
        tokio::spawn(remote.serve(Arc::clone(&state), stop))
    });
    let metrics = tokio::spawn(metrics.serve(Arc::clone(&state), until_stopped(stopped)));
    let stop = Arc::new(AtomicBool::new(false));
    let thread = {
        let stop = Arc::clone(&stop);
        std::thread::Builder::new()
            .name("cgn-engine".into())
            .spawn(move || {
                privileges::narrow(Work::Engine);
                engine.run(&stop);
            })
            .context("no thread for the engine")?
    };
    let stop_log = Arc::new(AtomicBool::new(false));
    let sealer = sealing.spawn(Arc::clone(&state), Arc::clone(&stop_log))?;
    let mut log_threads = streaming.spawn(&state, &stop_log)?;
    log_threads.push(sealer);
    if let Some(identities) = identities {
        log_threads.push(identities.spawn(Arc::clone(&state), Arc::clone(&stop_log))?);
    }
    tokio::spawn(mirror::start_all(
        Arc::clone(&state),
        mirror::open_all(&state),
    ));
    tracing::info!("ready");
    service::notify(&[NotifyState::Ready]);
    let died = async {
        let mut watchdog = service::Watchdog::new();
        while !thread.is_finished() {
            watchdog.look(state.turns.load(Ordering::Relaxed));
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        }
    };
    let hung_up = async {
        while hang_up.recv().await.is_some() {
            let state = Arc::clone(&state);
            // It reads a file.
            let _ = tokio::task::spawn_blocking(move || hung_up(&state)).await;
        }
    };
    let reload = tokio::select! {
        _ = interrupt.recv() => None,
        _ = terminate.recv() => None,
        asked = reload.wait_for(Option::is_some) => asked.ok().and_then(|asked| *asked),
        () = hung_up => None,
        () = died => None,
    };
    match reload {
        Some(_) => service::reloading(),
        None => service::notify(&[NotifyState::Stopping]),
    }
    stop.store(true, Ordering::Relaxed);
    let ended = tokio::task::spawn_blocking(move || thread.join()).await?;
    stop_log.store(true, Ordering::Relaxed);
    for thread in log_threads {
        thread.thread().unpark();
        let ended = tokio::task::spawn_blocking(move || thread.join()).await?;
        if ended.is_err() {
            tracing::error!(
                "a thread of the mapping log died; the log is whole, and is sealed and sent after a start"
            );
        }
    }
    let watched = Arc::clone(&state);
    // No watching programs stay behind.
    tokio::task::spawn_blocking(move || watched.watch.close()).await?;
    stop_servers.send_replace(true);
    for server in [api, metrics].into_iter().chain(remote) {
        if let Err(error) = server.await? {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "a server ended badly"
            );
        }
    }
    ended.map(|()| reload).map_err(|_| anyhow!("the engine died; tables and programs stay pinned, traffic of known subscribers goes on: start again"))
}

/// SIGHUP: a reload that does no harm, or a line that says why not.
fn hung_up(state: &State) {
    match reload::reload(state, ReloadRequest::default()) {
        Ok(answer) if answer.applies => {
            for change in &answer.changes {
                tracing::info!(
                    key = change.key,
                    from = change.from,
                    to = change.to,
                    effect = %change.effect,
                    "SIGHUP: the configuration has changed"
                );
            }
        }
        Ok(answer) => tracing::warn!(
            changes = answer.changes.len(),
            effect = %answer.effect,
            "SIGHUP: nothing is applied; `cgn reload --dry-run` shows the changes"
        ),
        Err(error) => tracing::error!("SIGHUP: the old configuration stays: {error:#}"),
    }
}

/// Executes this program again in the same process, with the same arguments; tables may be
/// discarded only if this reload says so. Returns only with an error.
pub fn execute_again(reload: Reload) -> std::io::Error {
    const DISCARD: &str = "--discard-tables";
    let arguments = std::env::args_os().skip(1);
    let mut command = std::process::Command::new("/proc/self/exe");
    if let Some(name) = std::env::args_os().next() {
        command.arg0(name);
    }
    command.args(arguments.filter(|argument| argument != DISCARD));
    if reload.discard_tables {
        command.arg(DISCARD);
    }
    command.exec()
}
