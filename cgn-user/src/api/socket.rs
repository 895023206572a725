//! The Unix socket of the API: made, and removed again.

use std::fs::{self, DirBuilder, File, Permissions};
use std::future::Future;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::net::{UnixListener, UnixSocket};

use super::{router, serve_until};
use crate::state::State;

/// Owner and group may use the API, nobody else.
const MODE: u32 = 0o660;
const DIRECTORY_MODE: u32 = 0o755;
const BACKLOG: u32 = 64;

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    #[error(
        "another daemon answers at {path}; stop it first, or set another path in control.socket"
    )]
    InUse { path: PathBuf },
    #[error(
        "{path} exists and is not a socket; move it away, or set another path in control.socket"
    )]
    NotASocket { path: PathBuf },
    #[error("cannot make the directory {path} for the control socket")]
    Directory { path: PathBuf, source: io::Error },
    #[error("cannot tell whether a daemon answers at {path}; remove the file if none does")]
    Probe { path: PathBuf, source: io::Error },
    #[error("cannot remove the socket {path} of a daemon that is gone")]
    Remove { path: PathBuf, source: io::Error },
    #[error("cannot make the control socket {path}")]
    Bind { path: PathBuf, source: io::Error },
}

/// A bound socket that does not answer yet. Its file is removed on drop.
#[derive(Debug)]
pub struct Socket {
    listener: UnixListener,
    file: SocketFile,
}

/// Removes the file when it goes.
#[derive(Debug)]
struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        // If it is gone already, that is what was wanted.
        let _ = fs::remove_file(&self.0);
    }
}

impl Socket {
    /// Makes the socket with mode 0660, and its directory with mode 0755 where
    /// it is missing. A socket that a dead daemon left is replaced. Needs a
    /// tokio runtime.
    ///
    /// # Errors
    /// See [`BindError`]; a socket that someone answers at is left alone.
    pub fn bind(path: &Path) -> Result<Self, BindError> {
        if let Some(directory) = path.parent() {
            let made = DirBuilder::new()
                .recursive(true)
                .mode(DIRECTORY_MODE)
                .create(directory);
            made.map_err(|source| BindError::Directory {
                path: directory.to_owned(),
                source,
            })?;
        }
        remove_stale(path)?;
        let listener = listen(path).map_err(|source| BindError::Bind {
            path: path.to_owned(),
            source,
        })?;
        let file = SocketFile(path.to_owned());
        Ok(Self { listener, file })
    }

    /// Answers until `stop` is ready, and for at most a few seconds longer.
    ///
    /// # Errors
    /// The kernel's.
    pub async fn serve<S>(self, state: Arc<State>, stop: S) -> io::Result<()>
    where
        S: Future<Output = ()> + Send + 'static,
    {
        let Self { listener, file } = self;
        let result = serve_until(listener, router(state), stop).await;
        drop(file);
        result
    }
}

/// Removes a socket that nobody answers at.
fn remove_stale(path: &Path) -> Result<(), BindError> {
    let path_buf = || path.to_owned();
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => {
            return Err(BindError::Probe {
                path: path_buf(),
                source,
            });
        }
        Ok(found) if !found.file_type().is_socket() => {
            return Err(BindError::NotASocket { path: path_buf() });
        }
        Ok(_) => {}
    }
    match UnixStream::connect(path) {
        Ok(_) => Err(BindError::InUse { path: path_buf() }),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path)
            .map_err(|source| BindError::Remove {
                path: path_buf(),
                source,
            }),
        Err(source) => Err(BindError::Probe {
            path: path_buf(),
            source,
        }),
    }
}

fn listen(path: &Path) -> io::Result<UnixListener> {
    let socket = UnixSocket::new_stream()?;
    // Linux makes the file with the mode of the unbound socket, less the umask:
    // at no moment can others connect.
    let descriptor = File::from(socket.as_fd().try_clone_to_owned()?);
    descriptor.set_permissions(Permissions::from_mode(MODE))?;
    socket.bind(path)?;
    let listener = socket.listen(BACKLOG)?;
    // What the umask took away.
    fs::set_permissions(path, Permissions::from_mode(MODE))?;
    Ok(listener)
}
