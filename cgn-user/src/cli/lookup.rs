//! `cgn lookup`: from an inside endpoint to the external one, and back.

use std::process::ExitCode;

use super::client::{Client, ClientError};
use super::show::{ShowError, json, parts, print, socket_path, table};
use super::{Lookup, listing::Listed};
use crate::api::rows::{BlockRow, MappingRow, Page};

/// Shows the mappings of an endpoint; an error goes to stderr, with exit code 1.
#[must_use]
pub fn lookup(arguments: &Lookup) -> ExitCode {
    print(found(arguments))
}

/// What is to be printed.
pub(super) async fn found(arguments: &Lookup) -> Result<String, ShowError> {
    let path = socket_path(&arguments.daemon)?;
    let mut client = Client::connect(&path).await?;
    let (address, port) = match arguments.endpoint.split_once(':') {
        Some((address, port)) => (address, Some(port)),
        None => (arguments.endpoint.as_str(), None),
    };
    let mut pairs = vec![("subscriber", address.to_owned())];
    pairs.extend(arguments.realm.clone().map(|name| ("realm", name)));
    pairs.extend(arguments.protocol.clone().map(|name| ("protocol", name)));
    let page = match mappings(&mut client, &pairs).await {
        Ok(page) => of_port(page, port)?,
        // No subscriber of ours: it may be an address of a pool.
        Err(ClientError::Refused(as_inside)) => {
            pairs[0] = ("external", arguments.endpoint.clone());
            match mappings(&mut client, &pairs).await {
                Ok(page) => page,
                Err(ClientError::Refused(as_external)) => {
                    let both = format!("{as_inside}; {as_external}");
                    return Err(ClientError::Refused(both).into());
                }
                Err(error) => return Err(error.into()),
            }
        }
        Err(error) => return Err(error.into()),
    };
    if arguments.json {
        return json(&page);
    }
    if !page.rows.is_empty() || pairs[0].0 == "subscriber" {
        return Ok(table(&page, false));
    }
    // Without a mapping, the block tells whose port it is.
    let blocks: Page<BlockRow> = parts(&mut client, "/v1/blocks", &pairs[..1], usize::MAX).await?;
    Ok(match blocks.rows.is_empty() {
        true => format!(
            "no {} matches, and nobody has a block there\n",
            MappingRow::ONE
        ),
        false => format!(
            "no {} matches; who has the ports:\n{}",
            MappingRow::ONE,
            table(&blocks, false)
        ),
    })
}

async fn mappings(
    client: &mut Client,
    pairs: &[(&str, String)],
) -> Result<Page<MappingRow>, ClientError> {
    parts(client, "/v1/mappings", pairs, usize::MAX).await
}

/// Only the mappings of this inside port.
fn of_port(mut page: Page<MappingRow>, port: Option<&str>) -> Result<Page<MappingRow>, ShowError> {
    if let Some(text) = port {
        let port: u16 = text.parse().map_err(|_| {
            let error = format!("{text} is no port; write ADDRESS:PORT with 0 to 65535");
            ClientError::Refused(error)
        })?;
        page.rows.retain(|row| row.inside_port == port);
    }
    Ok(page)
}
