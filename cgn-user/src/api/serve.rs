//! Answering HTTP until told to stop, and telling who asked over the network.

use std::future::{Future, IntoFuture};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::extract::connect_info::{ConnectInfo, Connected};
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use axum::serve::{IncomingStream, Listener};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::oneshot;

/// How long a request under way may take after the daemon was told to stop.
const GRACE: Duration = Duration::from_secs(2);

/// Who asks at the Unix socket, as the kernel says: user and process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer {
    pub uid: Option<u32>,
    pub pid: Option<i32>,
}

impl Connected<IncomingStream<'_, UnixListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, UnixListener>) -> Self {
        let known = stream.io().peer_cred().ok();
        Self {
            uid: known.map(|known| known.uid()),
            pid: known.and_then(|known| known.pid()),
        }
    }
}

/// A client's address and port.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Client(pub SocketAddr);

impl Connected<IncomingStream<'_, TcpListener>> for Client {
    fn connect_info(stream: IncomingStream<'_, TcpListener>) -> Self {
        Self(*stream.remote_addr())
    }
}

/// As [`serve_until`], for clients with an address. Each request is in the daemon's log with its source
/// port, as any server's should be: the address may be one that many share (RFC 6302). Those of clients that
/// `is_quiet` says yes to are there at the level debug only.
pub(crate) async fn serve_on_record<L, S>(
    listener: L,
    router: Router,
    is_quiet: fn(SocketAddr) -> bool,
    stop: S,
) -> io::Result<()>
where
    L: Listener<Addr = SocketAddr>,
    Client: for<'a> Connected<IncomingStream<'a, L>>,
    S: Future<Output = ()> + Send + 'static,
{
    let router = router.layer(from_fn_with_state(is_quiet, record));
    let service = router.into_make_service_with_connect_info::<Client>();
    let (signal, stopped) = told(stop);
    let server = axum::serve(listener, service).with_graceful_shutdown(signal);
    within_grace(server.into_future(), stopped).await
}

async fn record(
    State(is_quiet): State<fn(SocketAddr) -> bool>,
    ConnectInfo(Client(client)): ConnectInfo<Client>,
    request: Request,
    next: Next,
) -> Response {
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let response = next.run(request).await;
    let status = response.status().as_u16();
    if is_quiet(client) {
        tracing::debug!(%client, %method, path, status, "request");
    } else {
        tracing::info!(%client, %method, path, status, "request");
    }
    response
}

/// Answers clients, each known as a [`Peer`], until `stop` is ready; then finishes what is under way, but a
/// client that does not read cannot keep the daemon from stopping.
pub(crate) async fn serve_until<S>(
    listener: UnixListener,
    router: Router,
    stop: S,
) -> io::Result<()>
where
    S: Future<Output = ()> + Send + 'static,
{
    let (signal, stopped) = told(stop);
    let service = router.into_make_service_with_connect_info::<Peer>();
    let server = axum::serve(listener, service).with_graceful_shutdown(signal);
    within_grace(server.into_future(), stopped).await
}

/// `stop` for a server, and what tells that it was ready.
fn told<S>(
    stop: S,
) -> (
    impl Future<Output = ()> + Send + 'static,
    oneshot::Receiver<()>,
)
where
    S: Future<Output = ()> + Send + 'static,
{
    let (stopping, stopped) = oneshot::channel();
    let signal = async move {
        stop.await;
        // The receiver lives as long as the server.
        let _ = stopping.send(());
    };
    (signal, stopped)
}

/// Runs a server to its end, or until it had its time after it was told to stop.
async fn within_grace(
    server: impl Future<Output = io::Result<()>>,
    stopped: oneshot::Receiver<()>,
) -> io::Result<()> {
    let deadline = async move {
        match stopped.await {
            Ok(()) => tokio::time::sleep(GRACE).await,
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        result = server => result,
        () = deadline => Ok(()),
    }
}
