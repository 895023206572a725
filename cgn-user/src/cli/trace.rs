//! `cgn trace`: packets as the fast path sees them.

use std::io::{self, Write};
use std::process::ExitCode;

use super::client::{Client, ClientError, target};
use super::show::{ShowError, socket_path, wait_for};
use super::{Trace, WhichPackets};
use crate::api::rows::TraceLine;
use crate::realms::FIRST_NAME;

/// Prints packets until there were enough; an error goes to stderr, with exit code 1.
#[must_use]
pub fn trace(arguments: &Trace) -> ExitCode {
    match wait_for(print(arguments)) {
        Ok(()) => ExitCode::SUCCESS,
        // Who reads has seen enough, as in `cgn trace | head`.
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

/// Also tells on stderr when it begins: the programs take some seconds.
async fn print(arguments: &Trace) -> Result<(), ShowError> {
    let path = socket_path(&arguments.daemon)?;
    let mut client = Client::connect(&path).await?;
    let pairs = pairs(&arguments.which);
    if !arguments.json {
        writeln!(
            io::stderr(),
            "the watching programs are being loaded, which takes some seconds"
        )?;
    }
    let is_json = arguments.json;
    let print = |line: &str| -> Result<bool, ShowError> {
        let mut out = io::stdout().lock();
        if is_json {
            writeln!(out, "{line}")?;
        } else {
            let parsed = serde_json::from_str(line).map_err(ClientError::Nonsense)?;
            writeln!(out, "{}", words(&parsed))?;
        }
        out.flush()?;
        Ok(true)
    };
    client.lines(&target("/v1/trace", &pairs), print).await
}

/// What was typed, as keys of the request.
pub(super) fn pairs(which: &WhichPackets) -> Vec<(&'static str, String)> {
    let texts = [
        ("inside", which.inside.clone()),
        ("realm", which.realm.clone()),
        ("port", which.port.map(|port| port.to_string())),
        ("outside", which.outside.clone()),
        ("protocol", which.protocol.clone()),
        ("count", which.count.map(|count| count.to_string())),
        ("seconds", which.seconds.map(|seconds| seconds.to_string())),
    ];
    let texts = texts.into_iter();
    texts.filter_map(|(key, text)| Some((key, text?))).collect()
}

/// A line for people.
pub(super) fn words(line: &TraceLine) -> String {
    let row = match line {
        TraceLine::Missed { missed } => return format!("{missed} more packets, without a line"),
        TraceLine::Packet(row) => row,
    };
    let time = row
        .time
        .split_once('T')
        .map_or(row.time.as_str(), |(_, time)| time);
    let (interface, queue) = (&row.interface, row.queue);
    let packet = match row.realm.as_deref() {
        None => row.packet.clone(),
        Some(FIRST_NAME) => format!("{} of the first realm", row.packet),
        Some(realm) => format!("{} of realm {realm}", row.packet),
    };
    if row.verdict == "send" {
        return format!("{time} the slow path sends {packet} on {interface}");
    }
    let end = match (&row.sent, &row.reason) {
        (Some(sent), _) => {
            let by = row.sent_by.as_deref().unwrap_or("?");
            format!("translate: {sent} on {by}")
        }
        (None, reason) => format!("{} {}", row.verdict, reason.as_deref().unwrap_or_default()),
    };
    let steps = row.steps.join(" ");
    let took = row.took_ns;
    format!("{time} {packet} on {interface} queue {queue} => {end} ({took} ns: {steps})")
}
