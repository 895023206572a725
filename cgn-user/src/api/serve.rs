//! Answering HTTP until told to stop.

use std::future::{Future, IntoFuture};
use std::io;
use std::time::Duration;

use axum::Router;
use axum::serve::Listener;
use tokio::sync::oneshot;

/// How long a request under way may take after the daemon was told to stop.
const GRACE: Duration = Duration::from_secs(2);

/// Answers until `stop` is ready; then finishes what is under way, but a
/// client that does not read cannot keep the daemon from stopping.
pub(crate) async fn serve_until<L, S>(listener: L, router: Router, stop: S) -> io::Result<()>
where
    L: Listener,
    L::Addr: std::fmt::Debug,
    S: Future<Output = ()> + Send + 'static,
{
    let (stopping, stopped) = oneshot::channel();
    let signal = async move {
        stop.await;
        // The receiver lives as long as the server.
        let _ = stopping.send(());
    };
    let server = axum::serve(listener, router).with_graceful_shutdown(signal);
    let deadline = async move {
        match stopped.await {
            Ok(()) => tokio::time::sleep(GRACE).await,
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        result = server.into_future() => result,
        () = deadline => Ok(()),
    }
}
