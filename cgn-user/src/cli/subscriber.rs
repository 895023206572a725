//! `cgn subscriber`: all about one.

use std::net::Ipv4Addr;
use std::process::ExitCode;

use serde::Serialize;

use super::OneSubscriber;
use super::client::Client;
use super::listing::{Listed, named};
use super::show::{ShowError, json, parts, print, socket_path, table};
use crate::api::rows::{BlockRow, MappingRow, RefusalRow, SubscriberRow};

/// What the JSON has.
#[derive(Debug, Serialize)]
struct About {
    inside: Ipv4Addr,
    /// Empty (and left out) for the first.
    #[serde(skip_serializing_if = "String::is_empty")]
    realm: String,
    /// `null`: it has no block, and was refused none.
    subscriber: Option<SubscriberRow>,
    blocks: Vec<BlockRow>,
    mappings: Vec<MappingRow>,
}

/// Shows all about one subscriber; an error goes to stderr, with exit code 1.
#[must_use]
pub fn subscriber(arguments: &OneSubscriber) -> ExitCode {
    print(about(arguments))
}

/// What is to be printed.
pub(super) async fn about(arguments: &OneSubscriber) -> Result<String, ShowError> {
    let path = socket_path(&arguments.daemon)?;
    let mut client = Client::connect(&path).await?;
    let inside = arguments.address;
    let realm = arguments.realm.clone().unwrap_or_default();
    let mut pairs = vec![("subscriber", inside.to_string())];
    pairs.extend(arguments.realm.clone().map(|name| ("realm", name)));
    let subscribers = parts::<SubscriberRow>(&mut client, "/v1/subscribers", &pairs, usize::MAX);
    let subscribers = subscribers.await?;
    let blocks = parts::<BlockRow>(&mut client, "/v1/blocks", &pairs, usize::MAX).await?;
    let mappings = parts::<MappingRow>(&mut client, "/v1/mappings", &pairs, usize::MAX).await?;
    if arguments.json {
        return json(&About {
            inside,
            realm,
            subscriber: subscribers.rows.into_iter().next(),
            blocks: blocks.rows,
            mappings: mappings.rows,
        });
    }
    if subscribers.rows.is_empty() {
        let who = named(&realm, inside);
        return Ok(format!("{who} has no block; {}\n", BlockRow::NONE_YET));
    }
    Ok(format!(
        "{}{}\n{}\n{}",
        table(&subscribers, false),
        refusals(&subscribers.rows),
        table(&blocks, false),
        table(&mappings, false)
    ))
}

/// A line for the group, one for a pool that is to come, and one for each reason for which flows were refused.
fn refusals(rows: &[SubscriberRow]) -> String {
    let mut lines = String::new();
    for row in rows {
        if let Some(group) = &row.group {
            lines += &format!("group: {group}\n");
        }
        if let Some(pool) = &row.next_pool {
            lines += &format!(
                "pool: {pool} by the configuration; blocks of {} until the last is released\n",
                row.pool
            );
        }
        for refusal in &row.refusals {
            let RefusalRow {
                reason,
                last_secs,
                since_secs,
            } = refusal;
            lines += &format!(
                "refused: {reason}, last {last_secs} s ago, again and again since {since_secs} s ago\n"
            );
        }
    }
    lines
}
