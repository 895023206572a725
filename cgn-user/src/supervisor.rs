//! Which task owns what, and in which order things start and stop.
//!
//! ```text
//! start: config -> log (lock) -> API, metrics (bind) -> tables -> routes -> XDP -> sockets -> engine
//! stop:  engine: what is to be logged -> log threads -> API, metrics; XDP and tables stay
//! ```
//! The engine has a thread of its own, the sealer of the mapping log another, and each sink one; API and metrics share one more.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, Result, anyhow};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::config::Checked;
use crate::dataplane::interface;
use crate::engine::Engine;
use crate::engine::sealing::Sealing;
use crate::engine::start::Switches;
use crate::engine::streaming::Streaming;
use crate::state::State;
use crate::{api, cli, engine, metrics};

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

/// Runs the daemon until SIGINT or SIGTERM.
///
/// # Errors
/// What keeps it from starting, or made it end.
pub fn run(arguments: &cli::Run) -> Result<()> {
    let checked = configuration(&arguments.config)?;
    // A write beyond a file size limit shall be an error, not death.
    // SAFETY: ignoring a signal touches no memory.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .context("no runtime")?;
    // All that can be in use by another daemon, before anything is changed.
    let log = engine::start::open_log(&checked)?;
    let sealing = Sealing::open(&checked.config.log, log.0.committed())?;
    let streaming = Streaming::open(&checked.config, &log.0.committed())?;
    let metrics = runtime.block_on(metrics::Listener::bind(checked.config.metrics.listen))?;
    let api = {
        let _context = runtime.enter();
        api::Socket::bind(&checked.config.control.socket)?
    };
    let switches = Switches {
        is_test_clock: arguments.test_clock,
        diagnose: arguments.diagnose,
        discard_tables: arguments.discard_tables,
    };
    let (state, engine) = engine::start::start(checked, log, switches)?;
    runtime.block_on(serve(state, engine, (sealing, streaming), api, metrics))
}

async fn serve(
    state: Arc<State>,
    engine: Engine,
    (sealing, streaming): (Sealing, Streaming),
    api: api::Socket,
    metrics: metrics::Listener,
) -> Result<()> {
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM")?;
    let (stop_servers, stopped) = watch::channel(false);
    let until_stopped = |mut stopped: watch::Receiver<bool>| async move {
        // An error means that the sender is gone: stop, too.
        let _ = stopped.wait_for(|stop| *stop).await;
    };
    let api = tokio::spawn(api.serve(Arc::clone(&state), until_stopped(stopped.clone())));
    let metrics = tokio::spawn(metrics.serve(Arc::clone(&state), until_stopped(stopped)));
    let stop = Arc::new(AtomicBool::new(false));
    let thread = {
        let stop = Arc::clone(&stop);
        std::thread::Builder::new()
            .name("cgn-engine".into())
            .spawn(move || engine.run(&stop))
            .context("no thread for the engine")?
    };
    let stop_log = Arc::new(AtomicBool::new(false));
    let sealer = sealing.spawn(Arc::clone(&state), Arc::clone(&stop_log))?;
    let mut log_threads = streaming.spawn(&state, &stop_log)?;
    log_threads.push(sealer);
    tracing::info!("ready");
    let died = async {
        while !thread.is_finished() {
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        }
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        () = died => {}
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
    stop_servers.send_replace(true);
    for server in [api, metrics] {
        if let Err(error) = server.await? {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "a server ended badly"
            );
        }
    }
    ended.map_err(|_| anyhow!("the engine died; tables and programs stay pinned, traffic of known subscribers goes on: start again"))
}
