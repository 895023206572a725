//! What describes the command line itself: completions for shells, pages for `man`.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use clap::CommandFactory as _;
use clap_complete::Shell;

use super::Arguments;

/// `cgn completions`.
#[must_use]
pub fn completions(shell: Shell) -> ExitCode {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "cgn", &mut text);
    match io::stdout().lock().write_all(&text) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => ExitCode::FAILURE,
        _ => ExitCode::SUCCESS,
    }
}

/// `cgn manual`: a page for each command, `cgn.1`, `cgn-show.1` and so on, into a folder that exists.
#[must_use]
pub fn manual(folder: &Path) -> ExitCode {
    match clap_mangen::generate_to(Arguments::command().flatten_help(false), folder) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Without stderr, the exit code is all that can be said.
            let folder = folder.display();
            let _ = writeln!(
                io::stderr(),
                "cannot write manual pages to {folder}: {error}"
            );
            ExitCode::FAILURE
        }
    }
}
