//! `cgn capture`: packets of the fast path into a pcapng file.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use hyper::Request;

use super::client::{Client, ClientError, target};
use super::show::{ShowError, socket_path, wait_for};
use super::{Capture, trace};
use crate::api::rows::CaptureRequest;
use crate::secret::{self, SecretError};
use crate::watch::crypto_pan::{Key, NoKey};
use crate::watch::pcapng::{Blocks, NoBlock};

/// Others' packets are nobody else's business.
const MODE: u32 = 0o600;

/// Why there is no capture, or no more of it.
#[derive(Debug, thiserror::Error)]
enum CaptureError {
    #[error(transparent)]
    Show(#[from] ShowError),
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("cannot write {path}: {source}", path = path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error("{path}: {source}", path = path.display())]
    Key { path: PathBuf, source: NoKey },
    #[error(
        "the answer cannot be understood; is the daemon of another version than this command? ({0})"
    )]
    Nonsense(#[from] NoBlock),
}

/// Writes packets until there were enough, or Ctrl-C; an error goes to stderr, with exit code 1.
#[must_use]
pub fn capture(arguments: &Capture) -> ExitCode {
    // Errors of the capture are inside, so that those of starting it are one kind.
    let written = wait_for(async { Ok(write(arguments).await) });
    match written.unwrap_or_else(|error| Err(error.into())) {
        Ok(()) => ExitCode::SUCCESS,
        // Who reads has seen enough, as in `cgn capture -w - | tshark -c 5 -r -`.
        Err(CaptureError::Write { source, .. }) if source.kind() == io::ErrorKind::BrokenPipe => {
            ExitCode::SUCCESS
        }
        Err(error) => {
            // Without stderr, the exit code is all that can be said.
            let _ = writeln!(io::stderr(), "{error}");
            ExitCode::FAILURE
        }
    }
}

async fn write(arguments: &Capture) -> Result<(), CaptureError> {
    let request = CaptureRequest {
        key: arguments.anonymise.as_deref().map(read_key).transpose()?,
    };
    let path = socket_path(&arguments.daemon).map_err(ShowError::from)?;
    let mut client = Client::connect(&path).await?;
    let file_error = |source| CaptureError::Write {
        path: arguments.write.clone(),
        source,
    };
    let mut file = open(&arguments.write).map_err(file_error)?;
    tell(
        "the watching programs are being loaded, which takes some seconds; Ctrl-C ends the capture",
    );
    let mut blocks = Blocks::default();
    let take = |bytes: &[u8]| {
        let whole = blocks.take(bytes)?;
        file.write_all(&whole)
            .and_then(|()| file.flush())
            .map_err(file_error)?;
        Ok(true)
    };
    let body = serde_json::to_vec(&request).map_err(ClientError::Nonsense)?;
    let request = Request::post(target("/v1/capture", &pairs(arguments)));
    // What is in the file is whole in any case.
    let ended: Result<(), CaptureError> = tokio::select! {
        ended = client.stream(request, body.into(), take) => ended,
        interrupted = tokio::signal::ctrl_c() => interrupted.map_err(file_error),
    };
    if matches!(ended, Err(CaptureError::Client(ClientError::Refused(_))))
        && !is_stdout(&arguments.write)
    {
        // Nothing was written; if the empty file stays, that harms nobody.
        let _ = fs::remove_file(&arguments.write);
        return ended;
    }
    let (frames, missed) = (blocks.frames, blocks.missed);
    tell(&format!("{frames} frames in {}", arguments.write.display()));
    if missed > 0 {
        tell(&format!(
            "{missed} more packets fitted and are missing: more came than --rate allows, or than could be written"
        ));
    }
    ended
}

/// To stderr; that nobody hears it is no reason to end.
fn tell(words: &str) {
    let _ = writeln!(io::stderr(), "{words}");
}

fn pairs(arguments: &Capture) -> Vec<(&'static str, String)> {
    let mut pairs = trace::pairs(&arguments.which);
    let more = [
        ("side", arguments.side.clone()),
        ("snap", arguments.snap.map(|bytes| bytes.to_string())),
        ("rate", arguments.rate.map(|packets| packets.to_string())),
    ];
    pairs.extend(
        more.into_iter()
            .filter_map(|(key, text)| Some((key, text?))),
    );
    pairs
}

fn is_stdout(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// A new file: nothing is overwritten.
fn open(path: &Path) -> io::Result<Box<dyn Write>> {
    if is_stdout(path) {
        return Ok(Box::new(io::stdout()));
    }
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(MODE)
        .open(path)?;
    Ok(Box::new(file))
}

fn read_key(path: &Path) -> Result<Key, CaptureError> {
    let bytes = secret::read(path)?;
    let text = String::from_utf8_lossy(&bytes);
    text.trim_end().parse().map_err(|source| CaptureError::Key {
        path: path.into(),
        source,
    })
}
