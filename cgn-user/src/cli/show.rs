//! `cgn show`: asks the daemon, part by part, and prints.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::check::counted;
use super::client::{Client, ClientError, target};
use super::config_file::{ConfigFileError, read_config};
use super::csv::csv;
use super::listing::{self, Listed};
use super::table::Table;
use super::{Filters, Show, What, WhichDaemon};
use crate::api::query::MAX_LIMIT;
use crate::api::rows::{
    BlockRow, DropRow, MappingRow, MirrorRow, Page, PoolRow, RuleRow, Status, SubscriberRow,
};
use crate::config::Control;

/// Rows of a table, unless --limit says how many: as many as one can look through.
const TABLE_ROWS: usize = 1000;

/// Why nothing can be shown.
#[derive(Debug, thiserror::Error)]
pub enum ShowError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    Config(#[from] ConfigFileError),
    #[error("cannot start: {0}")]
    Runtime(#[source] io::Error),
    #[error("cannot print: {0}")]
    Print(#[from] io::Error),
    #[error("the tree of RFC 8512 is JSON only; leave --csv away")]
    NoTable,
    #[error("cannot print as JSON: {0}")]
    Json(#[from] serde_json::Error),
}

/// Shows what the daemon does; an error goes to stderr, with exit code 1.
#[must_use]
pub fn show(arguments: &Show) -> ExitCode {
    print(text(arguments))
}

/// Runs a client of the daemon to its end.
pub(super) fn wait_for<T>(
    client: impl Future<Output = Result<T, ShowError>>,
) -> Result<T, ShowError> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(ShowError::Runtime)?
        .block_on(client)
}

/// Prints what an answer of the daemon is made into; an error goes to stderr, with exit code 1.
pub(super) fn print(text: impl Future<Output = Result<String, ShowError>>) -> ExitCode {
    let shown = wait_for(text).and_then(|text| {
        io::stdout().lock().write_all(text.as_bytes())?;
        Ok(())
    });
    match shown {
        Ok(()) => ExitCode::SUCCESS,
        // Who reads has seen enough, as in `cgn show mappings | head`.
        Err(ShowError::Print(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            ExitCode::SUCCESS
        }
        Err(error) => {
            // Without stderr, the exit code is all that can be said.
            let _ = writeln!(io::stderr(), "{error}");
            ExitCode::FAILURE
        }
    }
}

/// What is to be printed.
pub(super) async fn text(arguments: &Show) -> Result<String, ShowError> {
    if arguments.csv && arguments.what == What::IetfNat {
        return Err(ShowError::NoTable);
    }
    let path = socket_path(&arguments.daemon)?;
    let mut client = Client::connect(&path).await?;
    match arguments.what {
        What::Subscribers => rows::<SubscriberRow>(arguments, &mut client, "/v1/subscribers").await,
        What::Blocks => rows::<BlockRow>(arguments, &mut client, "/v1/blocks").await,
        What::Mappings => rows::<MappingRow>(arguments, &mut client, "/v1/mappings").await,
        What::Pools => rows::<PoolRow>(arguments, &mut client, "/v1/pools").await,
        What::Drops => rows::<DropRow>(arguments, &mut client, "/v1/drops").await,
        What::Rules => rows::<RuleRow>(arguments, &mut client, "/v1/rules").await,
        What::Mirrors => rows::<MirrorRow>(arguments, &mut client, "/v1/mirrors").await,
        What::IetfNat => json(&client.get::<serde_json::Value>("/v1/ietf-nat").await?),
        What::Status => {
            let status: Status = client.get("/v1/status").await?;
            if arguments.json {
                json(&status)
            } else if arguments.csv {
                Ok(csv(&[status])?)
            } else {
                Ok(listing::status(&status))
            }
        }
    }
}

/// Where the daemon listens, by what was typed.
pub(super) fn socket_path(daemon: &WhichDaemon) -> Result<PathBuf, ConfigFileError> {
    match (&daemon.socket, &daemon.config) {
        (Some(socket), _) => Ok(socket.clone()),
        (None, Some(file)) => Ok(read_config(file)?.config.control.socket),
        (None, None) => Ok(Control::default().socket),
    }
}

async fn rows<T>(arguments: &Show, client: &mut Client, path: &str) -> Result<String, ShowError>
where
    T: Listed + Serialize + DeserializeOwned,
{
    let has_parts = !matches!(
        arguments.what,
        What::Pools | What::Drops | What::Rules | What::Mirrors
    );
    let most = match arguments.limit {
        Some(0) => usize::MAX,
        Some(limit) => limit,
        None if arguments.json || arguments.csv => usize::MAX,
        None => TABLE_ROWS,
    };
    let pairs = pairs(&arguments.filters);
    let page: Page<T> = if has_parts {
        parts(client, path, &pairs, most).await?
    } else {
        client.get(&target(path, &pairs)).await?
    };
    if arguments.json {
        json(&page)
    } else if arguments.csv {
        Ok(csv(&page.rows)?)
    } else {
        Ok(table(&page, pairs.is_empty()))
    }
}

/// Asks for part after part, until there is no more or `most` rows are there.
pub(super) async fn parts<T: DeserializeOwned>(
    client: &mut Client,
    path: &str,
    pairs: &[(&str, String)],
    most: usize,
) -> Result<Page<T>, ClientError> {
    let mut all = Page {
        rows: Vec::new(),
        next_cursor: None,
    };
    loop {
        let limit = (most - all.rows.len()).min(MAX_LIMIT);
        let mut pairs = pairs.to_vec();
        pairs.push(("limit", limit.to_string()));
        pairs.extend(all.next_cursor.map(|cursor| ("cursor", cursor.to_string())));
        let part: Page<T> = client.get(&target(path, &pairs)).await?;
        all.rows.extend(part.rows);
        all.next_cursor = part.next_cursor;
        if all.next_cursor.is_none() || all.rows.len() >= most {
            return Ok(all);
        }
    }
}

fn pairs(filters: &Filters) -> Vec<(&'static str, String)> {
    let texts = [
        ("subscriber", &filters.subscriber),
        ("realm", &filters.realm),
        ("pool", &filters.pool),
        ("protocol", &filters.protocol),
        ("external", &filters.external),
    ];
    let texts = texts.into_iter();
    let mut pairs: Vec<_> = texts
        .filter_map(|(key, text)| Some((key, text.clone()?)))
        .collect();
    if filters.all {
        pairs.push(("all", "true".to_owned()));
    }
    pairs
}

pub(super) fn json(answer: &impl Serialize) -> Result<String, ShowError> {
    Ok(serde_json::to_string_pretty(answer)? + "\n")
}

pub(super) fn table<T: Listed>(page: &Page<T>, is_everything: bool) -> String {
    if page.rows.is_empty() {
        return if is_everything {
            format!("{}\n", T::NONE_YET)
        } else {
            format!("no {} matches\n", T::ONE)
        };
    }
    let cells = page.rows.iter().map(Listed::cells).collect();
    let mut text = Table::new(T::COLUMNS, cells).to_string();
    text.push('\n');
    let count = counted(page.rows.len(), T::ONE);
    match page.next_cursor {
        None => text.push_str(&format!("{count}.\n")),
        Some(_) => text.push_str(&format!(
            "{count} shown; there are more: --limit 0 shows all, the filters of --help choose.\n"
        )),
    }
    for note in T::notes(&page.rows) {
        text.push_str(&note);
        text.push('\n');
    }
    text
}
