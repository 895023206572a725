//! `cgn explain`: what would happen to a packet, and why.

use std::fmt::Write as _;
use std::process::ExitCode;

use super::Explain;
use super::client::{Client, target};
use super::show::{ShowError, json, print, socket_path};
use crate::api::rows::Explanation;

/// Shows what would happen to a packet; an error goes to stderr, with exit code 1.
#[must_use]
pub fn explain(arguments: &Explain) -> ExitCode {
    print(explained(arguments))
}

/// What is to be printed.
pub(super) async fn explained(arguments: &Explain) -> Result<String, ShowError> {
    let path = socket_path(&arguments.daemon)?;
    let mut client = Client::connect(&path).await?;
    let mut pairs = vec![("packet", arguments.packet.join(" "))];
    pairs.extend(arguments.realm.clone().map(|name| ("realm", name)));
    pairs.extend(arguments.from.clone().map(|side| ("side", side)));
    let explanation: Explanation = client.get(&target("/v1/explain", &pairs)).await?;
    if arguments.json {
        return json(&explanation);
    }
    let mut text = words(&explanation);
    if let Some(answer) = &explanation.answer {
        text.push_str("\nThe answer to it:\n");
        text.push_str(&words(answer));
    }
    Ok(text)
}

/// An explanation without its answer, in lines.
fn words(explanation: &Explanation) -> String {
    let Explanation {
        packet,
        side,
        interface,
        ..
    } = explanation;
    let mut text = format!("{packet}, from {side} on {interface}\n");
    // Writing to a String cannot fail.
    for (number, step) in explanation.steps.iter().enumerate() {
        let _ = writeln!(text, "{:>3} {}", number + 1, step.text);
    }
    if let Some(mapping) = &explanation.mapping {
        let idle = mapping.idle_secs;
        let _ = match explanation.mapping_is_new {
            true => writeln!(
                text,
                "  = the mapping is not there yet: the port is one that it could get"
            ),
            false => writeln!(
                text,
                "  = the mapping is there, {}, last used {idle} s ago",
                mapping.state
            ),
        };
    }
    let (verdict, reason) = (&explanation.verdict, explanation.reason.as_deref());
    match (&explanation.sent, reason) {
        (Some(sent), _) => {
            let packet = sent.packet.as_deref().unwrap_or("another packet");
            let tags: Vec<String> = sent.vlans.iter().map(u16::to_string).collect();
            let vlans = match tags.is_empty() {
                true => String::new(),
                false => format!(", VLAN {}", tags.join(".")),
            };
            let (interface, neighbour) = (&sent.interface, &sent.link_address);
            let _ = writeln!(
                text,
                "=> {verdict}: {packet}\n   out of {interface}{vlans} to {neighbour}"
            );
        }
        (None, reason) => {
            let help = explanation.help.as_deref().unwrap_or_default();
            let _ = writeln!(text, "=> {verdict} {}: {help}", reason.unwrap_or_default());
        }
    }
    if let Some(then) = &explanation.then {
        let _ = writeln!(text, "   then {then}");
    }
    text
}
