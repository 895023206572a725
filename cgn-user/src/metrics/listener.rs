//! The HTTP server that Prometheus scrapes: `GET /metrics`.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::State as Shared;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;

use super::{Snapshot, encode};
use crate::api::serve_on_record;
use crate::state::State;

/// The address for Prometheus cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot listen on {address} for Prometheus; set another address in metrics.listen, or stop what uses it"
)]
pub struct ListenError {
    pub address: SocketAddr,
    pub source: io::Error,
}

/// A bound socket that does not answer yet.
#[derive(Debug)]
pub struct Listener(TcpListener);

impl Listener {
    /// Binds `address`; port 0 takes any free port.
    ///
    /// # Errors
    /// The address is in use, or not this machine's.
    pub async fn bind(address: SocketAddr) -> Result<Self, ListenError> {
        let bound = TcpListener::bind(address).await;
        let listener = bound.map_err(|source| ListenError { address, source })?;
        Ok(Self(listener))
    }

    /// The address that was bound.
    ///
    /// # Errors
    /// The kernel's.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    /// Answers until `stop` is ready, and for at most a few seconds longer.
    ///
    /// # Errors
    /// The kernel's.
    pub async fn serve<S>(self, state: Arc<State>, stop: S) -> io::Result<()>
    where
        S: Future<Output = ()> + Send + 'static,
    {
        let router = Router::new()
            .route(
                "/",
                get(async || "Metrics of the CGN for Prometheus are at /metrics\n"),
            )
            .route("/metrics", get(scrape))
            .with_state(state);
        // A Prometheus on this machine asks every few seconds, by an address that nobody shares.
        serve_on_record(self.0, router, |client| client.ip().is_loopback(), stop).await
    }
}

async fn scrape(Shared(state): Shared<Arc<State>>) -> Response {
    // Waits for a lock and makes system calls.
    let text = tokio::task::spawn_blocking(move || encode(&Snapshot::take(&state))).await;
    match text {
        Ok(Ok(text)) => {
            let content_type = "text/plain; version=0.0.4; charset=utf-8";
            ([(header::CONTENT_TYPE, content_type)], text).into_response()
        }
        Ok(Err(error)) => failed(&error),
        Err(error) => failed(&error),
    }
}

fn failed(error: &(dyn std::error::Error + 'static)) -> Response {
    tracing::error!(error, "metrics could not be encoded");
    (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response()
}
