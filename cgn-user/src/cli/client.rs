//! Asks the daemon over its Unix socket.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::http::request::Builder;
use hyper::{Request, Response, header};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use crate::api::rows::Failure;

/// How long an answer may take: a walk through the largest tables takes seconds.
const PATIENCE: Duration = Duration::from_secs(60);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error(
        "there is no control socket {path}: is the daemon running? Start it with `cgn run --config FILE`, \
         or name its socket with --socket PATH or its configuration with --config FILE"
    )]
    NoSocket { path: PathBuf, source: io::Error },
    #[error(
        "nobody answers at {path}: the daemon that made this socket is gone. Start it with `cgn run --config FILE`"
    )]
    NobodyThere { path: PathBuf, source: io::Error },
    #[error(
        "no permission to use the control socket {path}: run this as root (sudo), or as a member of the socket's group"
    )]
    NoPermission { path: PathBuf, source: io::Error },
    #[error("cannot connect to the control socket {path}: {source}")]
    Connect { path: PathBuf, source: io::Error },
    #[error("the daemon did not answer within {} seconds", PATIENCE.as_secs())]
    Slow,
    #[error("the daemon hung up: {0}")]
    HungUp(#[source] hyper::Error),
    /// What the daemon says is wrong with the request.
    #[error("{0}")]
    Refused(String),
    #[error(
        "the answer cannot be understood; is the daemon of another version than this command? ({0})"
    )]
    Nonsense(#[source] serde_json::Error),
}

/// A connection to the daemon.
#[derive(Debug)]
pub struct Client(SendRequest<Full<Bytes>>);

impl Client {
    /// Needs a tokio runtime.
    ///
    /// # Errors
    /// No socket, no daemon, no permission.
    pub async fn connect(path: &Path) -> Result<Self, ClientError> {
        let stream = UnixStream::connect(path).await.map_err(|source| {
            let path = path.to_owned();
            match source.kind() {
                io::ErrorKind::NotFound => ClientError::NoSocket { path, source },
                io::ErrorKind::ConnectionRefused => ClientError::NobodyThere { path, source },
                io::ErrorKind::PermissionDenied => ClientError::NoPermission { path, source },
                _ => ClientError::Connect { path, source },
            }
        })?;
        let connected = http1::handshake(TokioIo::new(stream)).await;
        let (sender, connection) = connected.map_err(ClientError::HungUp)?;
        // Its error reaches us through the request that it breaks.
        tokio::spawn(connection);
        Ok(Self(sender))
    }

    /// The answer to `GET target`.
    ///
    /// # Errors
    /// The daemon's refusal, or no answer.
    pub async fn get<T: DeserializeOwned>(&mut self, target: &str) -> Result<T, ClientError> {
        self.ask(Request::get(target), Bytes::new()).await
    }

    /// The answer to `POST target` with `body` as JSON.
    ///
    /// # Errors
    /// The daemon's refusal, or no answer.
    pub async fn post<T: DeserializeOwned>(
        &mut self,
        target: &str,
        body: &impl Serialize,
    ) -> Result<T, ClientError> {
        let body = serde_json::to_vec(body).map_err(ClientError::Nonsense)?;
        self.ask(Request::post(target), body.into()).await
    }

    async fn ask<T: DeserializeOwned>(
        &mut self,
        request: Builder,
        body: Bytes,
    ) -> Result<T, ClientError> {
        let answer = tokio::time::timeout(PATIENCE, self.exchange(request, body)).await;
        let (is_ok, body) = answer.map_err(|_| ClientError::Slow)??;
        if is_ok {
            serde_json::from_slice(&body).map_err(ClientError::Nonsense)
        } else {
            let failure = serde_json::from_slice::<Failure>(&body);
            Err(ClientError::Refused(
                failure.map_err(ClientError::Nonsense)?.error,
            ))
        }
    }

    /// The lines of the answer to `GET target`, one after the other, until there is no more or
    /// `each` says so with `false`.
    ///
    /// # Errors
    /// The daemon's refusal, no answer, or what `each` returns.
    pub async fn lines<E: From<ClientError>>(
        &mut self,
        target: &str,
        mut each: impl FnMut(&str) -> Result<bool, E>,
    ) -> Result<(), E> {
        let mut text = Vec::new();
        let take = |bytes: &[u8]| {
            text.extend(bytes);
            while let Some(end) = text.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = text.drain(..=end).collect();
                if !each(String::from_utf8_lossy(&line).trim_end())? {
                    return Ok(false);
                }
            }
            Ok(true)
        };
        self.stream(Request::get(target), Bytes::new(), take).await
    }

    /// The answer to a request as it comes, until there is no more or `each` says so with `false`.
    ///
    /// # Errors
    /// The daemon's refusal, no answer, or what `each` returns.
    pub async fn stream<E: From<ClientError>>(
        &mut self,
        request: Builder,
        body: Bytes,
        mut each: impl FnMut(&[u8]) -> Result<bool, E>,
    ) -> Result<(), E> {
        let answer = self.begin(request, body).await?;
        let is_ok = answer.status().is_success();
        let mut body = answer.into_body();
        let mut refusal = Vec::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(ClientError::HungUp)?;
            let bytes = frame.into_data().unwrap_or_default();
            match is_ok {
                true if !each(&bytes)? => return Ok(()),
                true => {}
                false => refusal.extend(bytes),
            }
        }
        if is_ok {
            return Ok(());
        }
        let failure: Failure = serde_json::from_slice(&refusal).map_err(ClientError::Nonsense)?;
        Err(ClientError::Refused(failure.error).into())
    }

    async fn begin(
        &mut self,
        request: Builder,
        body: Bytes,
    ) -> Result<Response<Incoming>, ClientError> {
        let request = request
            .header(header::HOST, "cgn")
            .body(Full::new(body))
            .map_err(|error| ClientError::Refused(error.to_string()))?;
        self.0.ready().await.map_err(ClientError::HungUp)?;
        self.0
            .send_request(request)
            .await
            .map_err(ClientError::HungUp)
    }

    async fn exchange(
        &mut self,
        request: Builder,
        body: Bytes,
    ) -> Result<(bool, Bytes), ClientError> {
        let answer = self.begin(request, body).await?;
        let is_ok = answer.status().is_success();
        let body = answer
            .into_body()
            .collect()
            .await
            .map_err(ClientError::HungUp)?;
        Ok((is_ok, body.to_bytes()))
    }
}

/// `path` with the pairs as its query part.
pub(super) fn target(path: &str, pairs: &[(&str, String)]) -> String {
    let mut target = path.to_owned();
    for (number, (key, value)) in pairs.iter().enumerate() {
        target.push(if number == 0 { '?' } else { '&' });
        target.push_str(key);
        target.push('=');
        for byte in value.bytes() {
            if byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte) {
                target.push(char::from(byte));
            } else {
                target.push_str(&format!("%{byte:02X}"));
            }
        }
    }
    target
}
