//! `cgn report`.

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use super::Report;
use crate::report::{Request, Source, page};

/// Writes the report. Exit code 1 if Prometheus does not answer, or the file cannot be written.
#[must_use]
pub fn report(arguments: &Report) -> ExitCode {
    match make(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Without stderr, the exit code is all that can be said.
            let _ = writeln!(io::stderr(), "cgn report: {error}");
            ExitCode::FAILURE
        }
    }
}

fn make(arguments: &Report) -> Result<(), Box<dyn std::error::Error>> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let request = Request {
        instance: &arguments.instance,
        until_secs: now,
        period_secs: u64::from(arguments.minutes) * 60,
        scrape_secs: u64::from(arguments.scrape_secs),
    };
    let source = Source {
        address: arguments.prometheus.clone(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let page = runtime.block_on(page(&source, &request))?;
    match &arguments.output {
        Some(path) => std::fs::write(path, page)
            .map_err(|error| format!("cannot write {}: {error}", path.display()))?,
        None => io::stdout().lock().write_all(page.as_bytes())?,
    }
    Ok(())
}
