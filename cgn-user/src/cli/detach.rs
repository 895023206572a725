//! `cgn detach`.

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::Result;

use super::Detach;
use super::check::counted;
use super::config_file::read_config;
use crate::engine::detach::{self, Detached};

/// Ends what a stopped daemon left running, and says what that was. Exit code 1 if it cannot.
#[must_use]
pub fn detach(arguments: &Detach) -> ExitCode {
    let detached = || -> Result<Detached> { detach::detach(&read_config(&arguments.config)?) };
    // Without an output, the exit code is all that can be said.
    match detached() {
        Ok(done) => {
            let _ = writeln!(io::stdout(), "{}", told(&done));
            ExitCode::SUCCESS
        }
        Err(error) => {
            let _ = writeln!(io::stderr(), "cgn: {error:#}");
            ExitCode::FAILURE
        }
    }
}

pub(super) fn told(done: &Detached) -> String {
    let xdp = match done.interfaces.as_slice() {
        [] => "XDP was on no interface".to_owned(),
        interfaces => format!("XDP is off {}", interfaces.join(", ")),
    };
    format!(
        "{xdp}; {} of {} released on record",
        counted(done.blocks, "block"),
        counted(done.subscribers, "subscriber")
    )
}
