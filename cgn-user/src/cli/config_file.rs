//! A configuration file, read and checked.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::config::{Checked, Config, ConfigErrors};

/// A configuration file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigFileError {
    #[error("cannot read the configuration file {path}: {reason}", path = path.display())]
    Unreadable {
        path: PathBuf,
        reason: String,
        source: io::Error,
    },
    /// Every error, one a line: `FILE:LINE: key: what is wrong; what would be right`.
    #[error("{0}")]
    Wrong(ConfigErrors),
}

/// Reads and checks a configuration file. Does not look for the interfaces.
///
/// # Errors
/// The file cannot be read, or has errors: then all of them.
pub fn read_config(path: &Path) -> Result<Checked, ConfigFileError> {
    let text = fs::read_to_string(path).map_err(|source| ConfigFileError::Unreadable {
        path: path.to_owned(),
        reason: match source.kind() {
            io::ErrorKind::NotFound => {
                "there is no such file; `cgn sample-config` prints one to begin with".to_owned()
            }
            io::ErrorKind::InvalidData => "it is not UTF-8 text".to_owned(),
            _ => source.to_string(),
        },
        source,
    })?;
    Config::parse(&text)
        .and_then(|checked| checked.read_lists(|file| fs::read_to_string(file)))
        .map_err(|errors| ConfigFileError::Wrong(errors.in_file(path.display().to_string())))
}
