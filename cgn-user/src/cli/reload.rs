//! `cgn reload`.

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use super::Reload;
use super::check::counted;
use super::client::{Client, ClientError};
use super::show::{ShowError, socket_path, wait_for};
use super::table::{Column, Table, numbers, words};
use crate::api::rows::{ChangeRow, ReloadAnswer, ReloadRequest, Status};
use crate::config::difference::Effect;

/// Exit code of a reload that was refused because it would do harm.
const REFUSED: u8 = 3;

/// How long the daemon may take to be there again: the verifier's time.
const PATIENCE_SECS: u64 = 120;

const COLUMNS: &[Column] = &[
    words("KEY"),
    words("FROM"),
    words("TO"),
    words("EFFECT"),
    numbers("SUBSCRIBERS"),
];

/// Has the daemon read its configuration again. Exit code 0: done, or nothing to do; 1: it
/// cannot; 3: refused, because it would do harm.
#[must_use]
pub fn reload(arguments: &Reload) -> ExitCode {
    match wait_for(ask(arguments)) {
        Ok(code) => code,
        Err(error) => {
            // Without stderr, the exit code is all that can be said.
            let _ = writeln!(io::stderr(), "{error}");
            ExitCode::FAILURE
        }
    }
}

async fn ask(arguments: &Reload) -> Result<ExitCode, ShowError> {
    let path = socket_path(&arguments.daemon)?;
    let mut client = Client::connect(&path).await?;
    let before: Status = client.get("/v1/status").await?;
    let request = ReloadRequest {
        dry_run: arguments.dry_run,
        allow_disruption: arguments.allow_disruption,
    };
    let answer: ReloadAnswer = client.post("/v1/reload", &request).await?;
    print(&format!(
        "{}{}\n",
        told(&answer.changes),
        outcome(&answer, arguments)
    ))?;
    if !answer.applies {
        let is_refused = answer.effect >= Effect::Disruptive && !arguments.dry_run;
        return Ok(if is_refused {
            ExitCode::from(REFUSED)
        } else {
            ExitCode::SUCCESS
        });
    }
    drop(client);
    for _ in 0..PATIENCE_SECS * 5 {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let Ok(mut client) = Client::connect(&path).await else {
            continue;
        };
        if let Ok(status) = client.get::<Status>("/v1/status").await
            && status.started != before.started
        {
            print("the daemon is ready with the new configuration\n")?;
            return Ok(ExitCode::SUCCESS);
        }
    }
    Err(ClientError::Refused(format!(
        "the daemon did not come back within {PATIENCE_SECS} s; its log says why. Traffic of known \
         subscribers goes on"
    ))
    .into())
}

fn print(text: &str) -> Result<(), ShowError> {
    Ok(io::stdout().lock().write_all(text.as_bytes())?)
}

fn told(changes: &[ChangeRow]) -> String {
    if changes.is_empty() {
        return String::new();
    }
    let value = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".to_owned());
    let cells = changes.iter().map(|change| {
        vec![
            change.key.clone(),
            value(&change.from),
            value(&change.to),
            change.effect.to_string(),
            change.subscribers.to_string(),
        ]
    });
    format!("{}\n", Table::new(COLUMNS, cells.collect()))
}

fn outcome(answer: &ReloadAnswer, arguments: &Reload) -> String {
    let count = counted(answer.changes.len(), "change");
    match (answer.effect, answer.applies) {
        (_, true) => format!(
            "{count}; a new daemon takes over. First packets of new subscribers are lost until it is ready"
        ),
        (Effect::None, _) if answer.changes.is_empty() => "no change".to_owned(),
        (Effect::None, _) => format!("{count} without effect before `cgn detach` and a new start"),
        (Effect::NeedsDetach, _) => format!(
            "{count}, not applied: the pins cannot be moved. Stop the daemon, `cgn detach` with the old file, start anew"
        ),
        (Effect::Disruptive, _) if !arguments.dry_run => format!(
            "{count}, not applied: mappings would be lost or traffic stop; --allow-disruption accepts that"
        ),
        _ => format!("{count}, not applied: a dry run"),
    }
}
