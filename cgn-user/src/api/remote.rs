//! The API over TCP, for clients with a certificate: they may read, and nothing else.

use std::future::{Future, pending};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::handlers::reading_router;
use super::{Client, serve_on_record};
use crate::config::Control;
use crate::secret::{self, SecretError};
use crate::state::State;

/// Handshakes at once; who comes then waits in the kernel's queue.
const HANDSHAKES: usize = 32;
/// How long one may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// After the kernel has no descriptor or memory for a connection.
const REST: Duration = Duration::from_secs(1);

/// Why the API cannot be reached over TCP.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    #[error("cannot read certificates from {path}: {source}", path = path.display())]
    Certificates { path: PathBuf, source: pem::Error },
    #[error("there is no certificate in {path}", path = path.display())]
    NoCertificate { path: PathBuf },
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error("{path} is no private key in PEM: {source}", path = path.display())]
    Key { path: PathBuf, source: pem::Error },
    #[error(
        "control.cert_file, control.key_file and control.client_ca_file do not go together: {0}"
    )]
    Tls(#[from] rustls::Error),
    #[error("no client can be known by control.client_ca_file: {0}")]
    Clients(#[from] VerifierBuilderError),
    #[error("cannot listen on {address} for the API: {source}")]
    Bind {
        address: SocketAddr,
        source: io::Error,
    },
}

/// A bound port that does not answer yet.
pub struct Remote {
    listener: TcpListener,
    tls: TlsAcceptor,
}

impl Remote {
    /// None: the configuration does not want it. Needs a tokio runtime.
    ///
    /// # Errors
    /// A file of the configuration, or the port, is of no use.
    pub async fn bind(control: &Control) -> Result<Option<Self>, RemoteError> {
        let (Some(address), Some(tls)) = (control.listen, tls(control)?) else {
            return Ok(None);
        };
        let listener = TcpListener::bind(address).await;
        let listener = listener.map_err(|source| RemoteError::Bind { address, source })?;
        let tls = TlsAcceptor::from(Arc::new(tls));
        Ok(Some(Self { listener, tls }))
    }

    /// Answers until `stop` is ready, and for at most a few seconds longer.
    ///
    /// # Errors
    /// The kernel's.
    pub async fn serve<S>(self, state: Arc<State>, stop: S) -> io::Result<()>
    where
        S: Future<Output = ()> + Send + 'static,
    {
        let address = self.listener.local_addr()?;
        let (sender, clients) = mpsc::channel(HANDSHAKES);
        let shaking = tokio::spawn(shake_hands(self, sender));
        let clients = Clients { clients, address };
        let result = serve_on_record(clients, reading_router(state), |_| false, stop).await;
        shaking.abort();
        result
    }
}

/// What the files of the configuration say; None: it does not want TCP. Also asked before a reload, which
/// could not go on otherwise.
///
/// # Errors
/// A file of the configuration is of no use.
pub fn tls(control: &Control) -> Result<Option<ServerConfig>, RemoteError> {
    if control.listen.is_none() {
        return Ok(None);
    }
    let mut roots = RootCertStore::empty();
    for certificate in certificates(&control.client_ca_file)? {
        roots.add(certificate)?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let clients =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
    let path = &control.key_file;
    let key = PrivateKeyDer::from_pem_slice(&secret::read(path)?).map_err(|source| {
        let path = path.clone();
        RemoteError::Key { path, source }
    })?;
    let builder = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(clients.build()?);
    Ok(Some(builder.with_single_cert(
        certificates(&control.cert_file)?,
        key,
    )?))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, RemoteError> {
    let named = |source| RemoteError::Certificates {
        path: path.into(),
        source,
    };
    let all = CertificateDer::pem_file_iter(path).map_err(named)?;
    let all: Vec<_> = all.collect::<Result<_, _>>().map_err(named)?;
    match all.is_empty() {
        true => Err(RemoteError::NoCertificate { path: path.into() }),
        false => Ok(all),
    }
}

/// Clients whose certificate is good.
struct Clients {
    clients: mpsc::Receiver<(TlsStream<TcpStream>, SocketAddr)>,
    address: SocketAddr,
}

impl Listener for Clients {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, SocketAddr) {
        match self.clients.recv().await {
            Some(client) => client,
            None => pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }
}

impl Connected<IncomingStream<'_, Clients>> for Client {
    fn connect_info(stream: IncomingStream<'_, Clients>) -> Self {
        Self(*stream.remote_addr())
    }
}

/// Each by itself: one who is slow, or stays silent, keeps nobody else waiting.
async fn shake_hands(remote: Remote, sender: mpsc::Sender<(TlsStream<TcpStream>, SocketAddr)>) {
    let free = Arc::new(Semaphore::new(HANDSHAKES));
    // It is never closed.
    while let Ok(permit) = Arc::clone(&free).acquire_owned().await {
        let (stream, peer) = match remote.listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::debug!(%error, "no connection to the API");
                tokio::time::sleep(REST).await;
                continue;
            }
        };
        let (tls, sender) = (remote.tls.clone(), sender.clone());
        tokio::spawn(async move {
            match tokio::time::timeout(PATIENCE, tls.accept(stream)).await {
                // If nobody takes it, the daemon stops.
                Ok(Ok(stream)) => drop(sender.send((stream, peer)).await),
                Ok(Err(error)) => tracing::debug!(%peer, %error, "a client of the API is refused"),
                Err(_) => tracing::debug!(%peer, "a client of the API says nothing"),
            }
            drop(permit);
        });
    }
}
